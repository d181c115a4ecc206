"""What probing has in common on every side that JAX runs: a tree of arrays and a function of it, compiled once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..common.arrays import as_numpy
from ..common.wing import Call, Cotangents, Inputs, Probe, Prober, Site, SiteProber, asked, check_fit, named_arrays
from .sites import SplitUses

# A side's arrays by their paths.
Arrays = dict[str, Any]


def compiled(
    output_of: Callable[[Arrays, Any], Any],
    stored: Mapping[str, Any],
    trainable: Iterable[str],
    inputs: Inputs,
    dtype: str,
) -> Prober:
    """`run(weights, cotangents)` for a side.

    output_of: the output for the arrays by path, all of them, and the inputs.
    stored: what the side's arrays are now. trainable: the paths of those to differentiate by, if they are floating.

    All arrays are arguments of the compiled program, so that no values of theirs, and no choice of which are given,
    compile it again; the model's own code is traced once, for the outputs and for the gradients.
    """
    device = _device()
    arguments = given(inputs, dtype)
    own = {path: _typed(array, dtype, device) for path, array in stored.items()}
    wanted = {path for path in trainable if _is_floating(own[path])}
    trained, kept = [path for path in own if path in wanted], [path for path in own if path not in wanted]
    names: list[str] = []

    def outputs(arrays: Any, rest: Any, inputs: Any) -> tuple[jax.Array, ...]:
        values = {**dict(zip(trained, arrays, strict=True)), **dict(zip(kept, rest, strict=True))}
        found = named_arrays(output_of(values, inputs))
        floats = {name: array for name, array in found.items() if _is_floating(array)}
        names[:] = floats
        return tuple(floats.values())

    # Compiled for itself too, so that its trace is kept: the shapes and the gradients are made from that one.
    forward = jax.jit(outputs)

    def objective(arrays: Any, rest: Any, inputs: Any, cotangents: Any) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        made = forward(arrays, rest, inputs)
        return _weighted(made, cotangents), made

    differentiated = jax.jit(jax.value_and_grad(objective, has_aux=True))

    def run(weights: Mapping[str, Any], cotangents: Cotangents, *, gradients: bool = True) -> Probe:
        check_fit({path: tuple(array.shape) for path, array in own.items()}, weights)
        values = {**own, **_new(weights, own, device)}
        arrays = tuple(values[path] for path in trained), tuple(values[path] for path in kept), arguments
        shapes = [tuple(each.shape) for each in jax.eval_shape(forward, *arrays)]
        if not gradients:
            return Probe(dict(zip(names, jax.device_get(forward(*arrays)), strict=True)), {})
        weighted = [jnp.asarray(each) for each in cotangents(shapes)]
        (_, found), derivatives = jax.device_get(differentiated(*arrays, weighted))
        return Probe(dict(zip(names, found, strict=True)), dict(zip(trained, derivatives, strict=True)))

    return run


def divided(
    output_of: Callable[[Arrays, Any], Any],
    stored: Mapping[str, Any],
    trainable: Iterable[str],
    inputs: Inputs,
    dtype: str,
) -> SiteProber:
    """`run(weights, cotangents, paths)` for a side; the arguments are those of `compiled`.

    Compiled once for each choice of paths. The other arrays are arguments of the program, and constants in it.
    """
    device = _device()
    arguments = given(inputs, dtype)
    own = {path: _typed(array, dtype, device) for path, array in stored.items()}
    parameters = [path for path in trainable if _is_floating(own[path])]
    programs: dict[tuple[str, ...], tuple[SplitUses, Callable[..., list[jax.Array]]]] = {}

    def outputs(arrays: Arrays, inputs: Any) -> tuple[jax.Array, ...]:
        return tuple(array for array in named_arrays(output_of(arrays, inputs)).values() if _is_floating(array))

    # Its trace is kept: the shapes and the sites are found in that one.
    forward = jax.jit(outputs)

    def program(paths: tuple[str, ...], parts: Sequence[jax.Array], rest: Any) -> SplitUses:
        def objective(parts: Sequence[jax.Array], rest: Any) -> jax.Array:
            others, inputs, cotangents = rest
            return _weighted(forward({**others, **dict(zip(paths, parts, strict=True))}, inputs), cotangents)

        return SplitUses(objective, parts, rest)

    def run(weights: Mapping[str, Any], cotangents: Cotangents, paths: Iterable[str]) -> dict[str, tuple[Site, ...]]:
        wanted = asked(paths, parameters)
        check_fit({path: tuple(array.shape) for path, array in own.items()}, weights)
        values = {**own, **_new(weights, own, device)}
        shapes = [tuple(each.shape) for each in jax.eval_shape(forward, values, arguments)]
        weighted = [jnp.asarray(each) for each in cotangents(shapes)]
        parts = [values.pop(path) for path in wanted]
        rest = (values, arguments, weighted)
        if wanted not in programs:
            made = program(wanted, parts, rest)
            programs[wanted] = made, jax.jit(made.shares)
        split, shares = programs[wanted]
        sites: dict[str, list[Site]] = {path: [] for path in wanted}
        for (part, operation), share in zip(split.uses, jax.device_get(shares(parts, rest)), strict=True):
            sites[wanted[part]].append(Site(operation, share))
        return {path: tuple(members) for path, members in sites.items()}

    return run


def _weighted(outputs: Sequence[jax.Array], cotangents: Sequence[jax.Array]) -> jax.Array:
    """<outputs, cotangents> as one number."""
    terms = [(output * each.astype(output.dtype)).sum() for output, each in zip(outputs, cotangents, strict=True)]
    return sum(terms, jnp.zeros(()))


def called(model: Any, arguments: Any, call: Call | None, default: Callable[..., Any]) -> Any:
    """The output of `call(model, arguments)`, or without one of `default`."""
    if call is not None:
        return call(model, arguments)
    return default(**arguments) if isinstance(arguments, Mapping) else default(*arguments)


def _new(weights: Mapping[str, Any], own: Arrays, device: Any) -> Arrays:
    """The given weights on the device, in the dtypes of the side's own."""
    held = [np.asarray(as_numpy(value), own[path].dtype) for path, value in weights.items()]
    return dict(zip(weights, jax.device_put(held, device), strict=True))


def _device() -> Any:
    """Where arrays go by themselves, since that is the device under test; all at one place, the model's own too."""
    (device,) = jnp.zeros(()).devices()
    return device


def given(inputs: Inputs, dtype: str) -> Any:
    """The inputs as jax arrays on one device, floating ones in `dtype`."""
    device = _device()
    if isinstance(inputs, Mapping):
        return {name: _typed(array, dtype, device) for name, array in inputs.items()}
    return tuple(_typed(array, dtype, device) for array in inputs)


def _typed(array: Any, dtype: str, device: Any) -> jax.Array:
    """A jax array on the device, if floating in `dtype`. One of NumPy's is copied: JAX would share its memory."""
    # A conversion even to its own dtype, after which the dtype is no weak one: that would be a program of its own.
    own = array.astype(dtype if _is_floating(array) else array.dtype)
    # Typed as JAX holds them: outside of 64-bit mode there is no float64 array to be had.
    return jax.device_put(own if isinstance(own, jax.Array) else jnp.array(own), device)


def _is_floating(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jnp.floating)
