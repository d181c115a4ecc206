"""Probing on every side that JAX runs: outputs, gradients and sites, op by op or compiled once.

Op by op for what is canonical: of the values that a model has, once. Compiled for probers, which are called for many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..common.layouts import Layout
from ..common.wing import Cotangents, Inputs, Probe, Prober, Site, SiteProber, asked, check_cotangent
from .core import INFERENCE, Arrays, Functional, arrays, floating, given, made_for, weighted
from .meshes import fetched, tell_lying
from .parts import joined
from .programs import Program, traceable
from .rounding import rerounded
from .sites import SplitUses


class Owner(NamedTuple):
    """A canonical parameter: the native paths of the array or arrays that hold it, and the layout that these have."""

    stored_tensors: tuple[str, ...]
    layout: Layout


def canonical_gradients(
    side: Functional, owners: Mapping[str, Owner], inputs: Sequence[np.ndarray], cotangent: np.ndarray
) -> tuple[float, dict[str, np.ndarray]]:
    """The value <output, cotangent> and its gradient by every owner, in the canonical layout.

    Raises:
        NotExpressibleError: the output is not one array; ShapeError: a cotangent of another shape.
    """
    parameters = {path: side.owned[path].array for owner in owners.values() for path in owner.stored_tensors}
    value, found = jax.value_and_grad(_objective(side, inputs, cotangent))(parameters)
    return value.item(), {
        path: joined(owner.layout, [found[native] for native in owner.stored_tensors]) for path, owner in owners.items()
    }


def canonical_sites(
    side: Functional, owners: Mapping[str, Owner], inputs: Sequence[np.ndarray], cotangent: np.ndarray
) -> dict[str, tuple[Site, ...]]:
    """The sites of every owner, in the canonical layout. A site uses one of the arrays that hold an owner.

    Raises:
        NotExpressibleError: the output is not one array; ShapeError: a cotangent of another shape.
    """
    objective = _objective(side, inputs, cotangent)
    places = [(path, native) for path, owner in owners.items() for native in owner.stored_tensors]
    names = [native for _, native in places]
    parts = [side.owned[native].array for native in names]
    split = SplitUses(lambda parts, rest: objective(dict(zip(names, parts, strict=True))), parts, ())
    found: dict[str, list[Site]] = {path: [] for path in owners}
    for (part, operation), share in zip(split.uses, split.shares(parts, ()), strict=True):
        path, used = places[part]
        held = [
            share if each == used else jnp.zeros_like(side.owned[each].array) for each in owners[path].stored_tensors
        ]
        found[path].append(Site(operation, joined(owners[path].layout, held)))
    return {path: tuple(sites) for path, sites in found.items()}


def _objective(side: Functional, inputs: Sequence[np.ndarray], cotangent: np.ndarray) -> Callable[[Arrays], jax.Array]:
    """<output, cotangent> as a function of parameters by their native paths."""
    arguments, weight = arrays(inputs), jnp.asarray(cotangent)

    def value(parameters: Arrays) -> jax.Array:
        output, _ = side.run(parameters, arguments, INFERENCE)
        check_cotangent(cotangent, output)
        return weighted([output], [weight])

    return value


def compiled_prober(side: Functional, inputs: Inputs, dtype: str) -> Prober:
    """`run(weights, cotangents)` for a side.

    All arrays are arguments of the compiled program, so that no values of theirs, and no choice of which are given,
    compile it again; the model's own code is traced once, for the outputs and for the gradients.
    """
    arguments, own = given(inputs, dtype), side.typed(dtype)
    trained = side.parameters
    kept = [path for path in own if path not in set(trained)]
    names: list[str] = []

    def outputs(arrays: Any, rest: Any, inputs: Any) -> tuple[jax.Array, ...]:
        values = {**dict(zip(trained, arrays, strict=True)), **dict(zip(kept, rest, strict=True))}
        found = floating(side.run(values, inputs, INFERENCE)[0])
        names[:] = found
        return tuple(found.values())

    # Compiled for itself too, so that its trace is kept: the shapes and the gradients are made from that one.
    forward = Program(outputs)

    def objective(arrays: Any, rest: Any, inputs: Any, cotangents: Any) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        made = forward(arrays, rest, inputs)
        return weighted(made, cotangents), made

    differentiated = Program(jax.value_and_grad(objective, has_aux=True))

    def run(weights: Mapping[str, Any], cotangents: Cotangents, *, gradients: bool = True, rounded: int = 0) -> Probe:
        values = side.filled(own, weights)
        arrays = tuple(values[path] for path in trained), tuple(values[path] for path in kept), arguments
        if rounded:
            with traceable():
                made = rerounded(outputs, arrays, rounded)
            return Probe(dict(zip(names, jax.device_get(made), strict=True)), {})
        shapes = forward.shapes(*arrays)
        tell_lying(arrays, lambda: str(jax.make_jaxpr(outputs)(*arrays)))
        if not gradients:
            return Probe(dict(zip(names, fetched(forward(*arrays)), strict=True)), {})
        (_, found), derivatives = fetched(differentiated(*arrays, made_for(shapes, cotangents)))
        return Probe(dict(zip(names, found, strict=True)), dict(zip(trained, derivatives, strict=True)))

    return run


def compiled_site_prober(side: Functional, inputs: Inputs, dtype: str) -> SiteProber:
    """`run(weights, cotangents, paths)` for a side.

    Compiled once for each choice of paths. The other arrays are arguments of the program, and constants in it.
    """
    arguments, own = given(inputs, dtype), side.typed(dtype)
    programs: dict[tuple[str, ...], tuple[SplitUses, Callable[..., list[jax.Array]]]] = {}
    # Its trace is kept: the shapes and the sites are found in that one.
    forward = Program(lambda arrays, inputs: tuple(floating(side.run(arrays, inputs, INFERENCE)[0]).values()))

    def program(paths: tuple[str, ...], parts: Sequence[jax.Array], rest: Any) -> SplitUses:
        def objective(parts: Sequence[jax.Array], rest: Any) -> jax.Array:
            others, inputs, cotangents = rest
            return weighted(forward({**others, **dict(zip(paths, parts, strict=True))}, inputs), cotangents)

        return SplitUses(objective, parts, rest)

    def run(weights: Mapping[str, Any], cotangents: Cotangents, paths: Iterable[str]) -> dict[str, tuple[Site, ...]]:
        wanted = asked(paths, side.parameters)
        values = side.filled(own, weights)
        cotangent = made_for(forward.shapes(values, arguments), cotangents)
        parts = [values.pop(path) for path in wanted]
        rest = (values, arguments, cotangent)
        if wanted not in programs:
            with traceable():
                made = program(wanted, parts, rest)
            programs[wanted] = made, jax.jit(made.shares)
        split, shares = programs[wanted]
        sites: dict[str, list[Site]] = {path: [] for path in wanted}
        for (part, operation), share in zip(split.uses, jax.device_get(shares(parts, rest)), strict=True):
            sites[wanted[part]].append(Site(operation, share))
        return {path: tuple(members) for path, members in sites.items()}

    return run
