"""The core of every side that JAX runs: a model as a function of its arrays, which can be differentiated and compiled.

All that runs a model is derived from it. What is canonical runs op by op, with the values that the model has; what is
made ready to be run for any weights is compiled once, with all arrays as arguments.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..common.arrays import as_numpy
from ..common.wing import Call, CallRecorder, Inputs, Trace, check_fit, named_arrays, takes_mesh
from .meshes import device_under_test, inputs_lie, laid, mesh_under_test, meshed, replicated
from .trees import Owned, is_array

# A model's arrays by their native paths.
Arrays = dict[str, Any]


class Mode(NamedTuple):
    """How a model is run.

    dropout: whether it draws masks, in training mode; without, dropout passes on what it gets.
    seed: what all random streams are set to; None leaves them as they are.
    """

    training: bool
    dropout: bool = False
    seed: Any = None


INFERENCE, TRAINING = Mode(training=False), Mode(training=True)
# run(arrays, inputs, mode), for some or all of a model's arrays: the output, and the model after it.
Run = Callable[[Arrays, Any, Mode], tuple[Any, Any]]


@dataclass(frozen=True)
class Functional:
    """A model as a function of its arrays.

    owned: its arrays by native path, live, as they are now. look: those of any such model.
    made: the model with some or all of its arrays replaced, as they are given; what is not replaced it has itself.
    run: see Run. It works on what `made` gives, and changes nothing else.
    lie: where arrays lie on the mesh under test, by their native path.
    """

    owned: dict[str, Owned]
    look: Callable[[Any], dict[str, Owned]]
    made: Callable[[Arrays], Any]
    run: Run
    lie: Callable[[], Mapping[str, jax.sharding.Sharding]]

    @property
    def parameters(self) -> list[str]:
        """The paths of the parameters of floating-point numbers."""
        return [path for path, each in self.owned.items() if each.role == "parameter" and is_floating(each.array)]

    def typed(self, dtype: str) -> Arrays:
        """All arrays of the model on one device or on the mesh, floating ones in `dtype`; random keys as they are."""
        device, places = _device(), self.lie() if meshed() else {}
        found = {}
        for path, each in self.owned.items():
            made = jax.device_put(each.array, device) if each.role == "random" else _typed(each.array, dtype, device)
            found[path] = laid(made, places.get(path, replicated())) if meshed() else made
        return found

    def filled(self, own: Arrays, weights: Mapping[str, Any]) -> Arrays:
        """Arrays that `typed` gave, with weights of any framework in their places, in their dtypes.

        Raises:
            WeightsError: one message for every path that is none of the model's and every wrong shape.
        """
        check_fit(self._shapes, weights)
        if not weights:
            return dict(own)
        # By a copy of NumPy's, whose memory JAX would share: a later write to a weight would reach what was made of it.
        held = [np.array(as_numpy(value), own[path].dtype, order="C") for path, value in weights.items()]
        places = [own[path].sharding for path in weights]
        return {**own, **dict(zip(weights, jax.device_put(held, places), strict=True))}

    @functools.cached_property
    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {path: tuple(each.array.shape) for path, each in self.owned.items() if each.role != "random"}


def called(model: Any, arguments: Any, call: Call | None, default: Callable[..., Any]) -> Any:
    """The output of `call(model, arguments)`, or without one of `default`."""
    if call is not None:
        mesh = {"mesh": mesh_under_test()} if meshed() and takes_mesh(call) else {}
        return call(model, arguments, **mesh)
    return default(**arguments) if isinstance(arguments, Mapping) else default(*arguments)


def arrays(inputs: Sequence[np.ndarray]) -> tuple[jax.Array, ...]:
    """Neutral inputs as jax arrays, which go to the device where the model's arrays are."""
    return tuple(jnp.asarray(array) for array in inputs)


def given(inputs: Inputs, dtype: str) -> Any:
    """Neutral inputs, by position or by name, as jax arrays on the device or mesh, floating ones in `dtype`."""
    device = _device()
    named = dict(inputs) if isinstance(inputs, Mapping) else dict(enumerate(inputs))
    made = {name: _typed(array, dtype, device) for name, array in named.items()}
    if meshed():
        made = {name: laid(array, inputs_lie(name, array.shape)) for name, array in made.items()}
    return made if isinstance(inputs, Mapping) else tuple(made.values())


def _device() -> Any:
    """Where arrays go by themselves, since that is the device under test; all at one place, the model's own too."""
    return device_under_test()


def _typed(array: Any, dtype: str, device: Any) -> jax.Array:
    """A jax array on the device, if floating in `dtype`. One of NumPy's is copied: JAX would share its memory."""
    # A conversion even to its own dtype, after which the dtype is no weak one: that would be a program of its own.
    held = as_numpy(array) if meshed() else array
    own = held.astype(dtype if is_floating(array) else jax.dtypes.canonicalize_dtype(array.dtype))
    # Typed as JAX holds them: outside of 64-bit mode there is no float64 array to be had.
    return jax.device_put(own if isinstance(own, jax.Array) else jnp.array(own), device)


def is_floating(array: Any) -> bool:
    """Whether it is an array of floating-point numbers, bfloat16 and its like included."""
    return jnp.issubdtype(array.dtype, jnp.floating)


def floating(output: Any) -> Arrays:
    """The floating-point arrays of an output by their place in it.

    A dict's order is lost where JAX compiles a function that gives it.

    Raises:
        NotExpressibleError: the output is no structure of arrays.
    """
    return {name: array for name, array in named_arrays(output).items() if is_floating(array)}


def weighted(outputs: Iterable[jax.Array], cotangents: Iterable[jax.Array]) -> jax.Array:
    """<outputs, cotangents> as one number; each cotangent is of its output's shape."""
    terms = [(output * cotangent).sum() for output, cotangent in zip(outputs, cotangents, strict=True)]
    return sum(terms[1:], terms[0]) if terms else jnp.zeros(())


def squared_error(outputs: Iterable[jax.Array], targets: Iterable[jax.Array]) -> jax.Array:
    """The sum over the outputs of the mean squared error; each target is of its output's shape."""
    pairs = zip(outputs, targets, strict=True)
    return sum((jnp.mean((output - target) ** 2) for output, target in pairs), jnp.zeros(()))


def made_for(
    outputs: Sequence[Any], wanted: Callable[[Sequence[tuple[int, ...]]], Sequence[np.ndarray]]
) -> list[np.ndarray]:
    """What is wanted of outputs whose shapes and dtypes are known, cotangents or targets, an array for each."""
    made = wanted([tuple(output.shape) for output in outputs])
    return [np.asarray(each, output.dtype) for each, output in zip(made, outputs, strict=True)]


# jax.jit keeps what a function of the model's own was traced to. That depends on what we switch off and on the seed,
# so it must not be found again by another trace of ours.
_trace = jax.make_user_context(None)


@contextmanager
def traced_anew(runs: object = None) -> Iterator[None]:
    """For the trace of a run: a function that the model's own code compiles is traced anew in it.

    runs: what several runs have in common that switch off the same and have no seed: they find each other's traces.
    """
    with _trace(object() if runs is None else runs):
        yield


@contextmanager
def whole_attention(home: ModuleType) -> Iterator[None]:
    """Flax's attention functions without dropout of the attention weights, while they are traced.

    home: Flax's module of them. A model may call one with the rate as an argument, as transformers' models do, so no
    setting of a layer reaches it. They multiply the weights by mask / (1 - rate). For the mask they get 1 - rate.
    """
    before = home.random  # type: ignore[attr-defined]
    home.random = SimpleNamespace(bernoulli=lambda key, p, shape: np.float64(p))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        home.random = before  # type: ignore[attr-defined]


def recorded(
    run: Callable[[CallRecorder], Any], recorder: Callable[..., CallRecorder] = CallRecorder
) -> tuple[Trace, ...]:
    """The traces that a pass `run(recorder)` leaves, run op by op.

    Inside of `jax.jit`, `scan` and the like arrays have no values. If any call was in one of these, the pass is run
    again without compilation, where scans are loops; what has no values then either (inside of `jax.checkpoint`,
    `vmap`) is not seen.
    """
    made = recorder(_neutral, _restored)
    with made.passing():
        run(made)
    if made.missed:
        made = recorder(_neutral, _restored)
        with jax.disable_jit(), made.passing():
            run(made)
    return made.traces()


def _neutral(array: Any) -> np.ndarray | None:
    """A NumPy copy of an array; None of one without values. A random key is an array of no numbers."""
    if isinstance(array, Tracer):
        return None
    held = array.get_raw_value() if hasattr(array, "get_raw_value") else array
    return np.array(held) if is_array(held) else np.zeros(0, bool)


def _restored(array: np.ndarray, like: Any) -> jax.Array:
    return jnp.asarray(array, None if like is None else like.dtype)
