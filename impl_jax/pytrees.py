"""Bare pytrees: any tree of arrays that JAX knows, as a side of a pair. A function of it is given with it.

A path is made of JAX's keys, joined with dots: a dict's keys, a sequence's positions, the names of attributes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..common.errors import NotExpressibleError, UsageError
from ..common.wing import (
    Call,
    Inputs,
    PairError,
    Passer,
    Prober,
    RoundTrip,
    SiteProber,
    StepFunction,
    Stepper,
    StoredTensor,
    Taper,
    Tracer,
    Trainer,
    Updater,
    all_unlike,
    has_safetensors,
    loading,
    saving,
    through_safetensors,
)
from .core import INFERENCE, Arrays, Functional, Mode, Run, called, is_floating
from .devices import check_dtype
from .devices import devices as devices
from .devices import running as running
from .draws import draws_of
from .loading import holders as holders
from .loading import part as part
from .loading import placed as placed
from .loading import processes as processes
from .loading import spread as spread
from .loading import targets as targets
from .loading import with_placed as with_placed
from .meshes import abstract, as_planned, given_shardings, loosened, lying
from .probing import compiled_prober, compiled_site_prober
from .tapes import taper_of
from .training import REMEDY, compiled_passer, compiled_stepper, compiled_trainer, flattened
from .trees import Owned, arrays_of, as_stored_tensors, by_path, filled, replaced
from .updates import Home, updater_of

NAME = "pytree"


def stored_tensors(model: Any) -> dict[str, StoredTensor]:
    """Every array of the tree by its path. Those of floating-point numbers count as parameters.

    One array under two keys is two: a tree knows no ties.

    Raises:
        UsageError: no tree, or one without an array of JAX's or NumPy's.
        ChildNameError: two arrays whose keys lead to one path.
    """
    return as_stored_tensors(_owned(model))


def with_stored_tensors(model: Any, arrays: Mapping[str, Any]) -> Any:
    """A new tree with some or all of its arrays replaced, in their own dtypes. `model` is as it was.

    arrays: of any framework, by path.

    Raises:
        WeightsError: one message for every path that is none of the tree's and every wrong shape.
    """
    return replaced(model, _owned(model), arrays)


def prober(model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober:
    """The tree made ready to be probed: `run(weights, cotangents)` gives a Probe.

    call: `call(tree, inputs)`, with jax arrays in both.

    The run is compiled once, for all weights.

    Raises:
        As `SideWing`, and
        PairError: no call.
    """
    return compiled_prober(_functional(model, call, dtype), inputs, dtype)


def site_prober(model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> SiteProber:
    """The tree made ready to be asked for sites: `run(weights, cotangents, paths)` gives those of each path.

    A site is an operation of the traced program that takes the parameter as an argument; a loop is one. The program is
    compiled once for each choice of paths. The rest is as for `prober`.

    Raises:
        PairError, DtypeError, WeightsError, NotExpressibleError: as from `prober`.
        PathError: from the run, a path of no parameter.
    """
    return compiled_site_prober(_functional(model, call, dtype), inputs, dtype)


def trainer(
    model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32", train_call: Call | None = None
) -> Trainer:
    """The tree made ready to be trained: `run(weights, targets, optimizer, steps)` gives a Training.

    train_call: `call(tree, inputs)` in training mode and without dropout, since nobody but itself can tell where it
        drops. It returns the outputs. A function that knows no modes is given again.

    Trained is every array of floating-point numbers. The gradients are compiled once, for all weights and optimizers.

    Raises:
        As `SideWing`, and
        NotExpressibleError: no train_call; or, from the run, an output that is no structure of arrays.
    """
    return compiled_trainer(_functional(model, _in_training(train_call), dtype), inputs, dtype)


def stepper(
    model: Any,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
    optimizer: Any = None,
    step: StepFunction | None = None,
) -> Stepper:
    """The tree made ready to make the caller's own steps: `run(weights, targets, steps)` gives a Training.

    optimizer: as of `updater`. step: `step(tree, batch)`, which gives the new tree, or `step(tree, state, batch)`,
        which gives it with the optimizer's new state. Without one the loss is that of a `Trainer`. The batch is the
        inputs.

    Raises:
        As `SideWing`, and
        NotExpressibleError: neither a step nor a train_call. PairError: as from `updater`, whatever the step raises, or
            one that changes the tree's structure.
    """
    side = _functional(model, _in_training(train_call) if step is None else lambda tree, inputs: None, dtype)
    return compiled_stepper(side, inputs, dtype, _HOME, optimizer, step)


def updater(model: Any, optimizer: Any, *, dtype: str = "float64") -> Updater:
    """The tree's optimizer made ready to be fed with gradients: `run(weights)` gives a function that makes a step.

    optimizer: an Optax transformation over the tree, or over what it has under `params`; what has one as its `tx`; or a
        function that gives either for these parameters. A tuple has an average of the parameters as its second: a
        transformation, or a function `average(old, new)`.

    Raises:
        DtypeError, WeightsError: as `SideWing`.
        PairError: what is no such thing, or whatever the optimizer itself raises.
    """
    side = _functional(model, lambda tree, inputs: None, dtype)
    return updater_of(side, _HOME, optimizer, dtype)


def _trained(tree: Any, wrt: Any) -> Any:
    return tree["params"] if isinstance(tree, Mapping) and "params" in tree else tree


_HOME = Home(
    _trained, as_model=lambda tree, given: given if jax.tree.structure(given) == jax.tree.structure(tree) else None
)


def passer(
    model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32", train_call: Call | None = None
) -> Passer:
    """The tree made ready to be run in either mode: `run(weights, training=...)` gives a Pass.

    The arguments are those of `trainer`; in inference mode the call is `call`. Dropout and its seed are the
    train_call's own. Compiled once for each mode, for all weights.

    Raises:
        As `SideWing`, and
        PairError: no call.
        NotExpressibleError: from the run in training mode, no train_call; or an output that is no structure of arrays.
    """
    side = _functional(model, call, dtype)

    def run_in(training: bool) -> Run:
        return _functional(model, _in_training(train_call), dtype).run if training else side.run

    return compiled_passer(side, run_in, inputs, dtype)


def own_gradients(
    model: Any, inputs: Inputs, call: Call, *, dtype: str = "float32"
) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]:
    """See `SideWing`."""
    run = passer(model, inputs, call, dtype=dtype, train_call=flattened(call))
    return lambda weights: run(weights, training=True).outputs


def _in_training(train_call: Call | None) -> Call:
    if train_call is None:
        expected = "a call in training mode, since nothing else tells a pytree's modes"
        raise NotExpressibleError("", expected, "none", f"{REMEDY} One that knows no modes is given again.")
    return train_call


def _functional(model: Any, call: Call | None, dtype: str) -> Functional:
    """The tree as a function of its arrays, which changes none of them, and has its mode from the call."""
    if call is None:
        remedy = "Give the pair a reference_call or a port_call."
        raise PairError("", "a call(tree, inputs) for a pytree, which cannot be called itself", "none", remedy)
    check_dtype(dtype)
    model = sharded(model)
    owned = _owned(model)

    def made(arrays: Arrays) -> Any:
        return filled(model, {owned[path].keys: array for path, array in arrays.items()})

    def run(arrays: Arrays, inputs: Any, mode: Mode) -> tuple[Any, Any]:
        own = made(arrays)
        return called(own, inputs, call, call), own

    return Functional(owned, _owned, made, run, lambda: lying(targets(abstract(model), given_shardings())))


def sharded(model: Any) -> Any:
    """The tree as the plan that `running` was entered with shards it, a copy; itself where it says nothing."""
    return as_planned(model, lambda tree: jax.tree.map(loosened, tree))


def sharded_tensors(model: Any, arrays: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """See `SideWing`."""
    return stored_tensors(sharded(with_stored_tensors(model, arrays)))


def _owned(model: Any) -> dict[str, Owned]:
    found = by_path(arrays_of(model))
    if not found:
        raise UsageError("", "a pytree with arrays of JAX's or NumPy's", type(model).__name__, "")
    return {
        path: Owned(keys, array, "parameter" if is_floating(array) else "buffer")
        for path, (keys, array) in found.items()
    }


def tracer(model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Tracer:
    """What traces nothing: a function of a tree has no modules."""
    return lambda weights, recorder=None: ()


def taper(model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Taper:
    """The tree made ready to be taped: `run(weights)` gives all values of a pass.

    Raises:
        As `SideWing`, and
        PairError: no call. NotExpressibleError: from the run, code that `jax.jit` cannot trace.
    """
    side = _functional(model, call, dtype)
    return taper_of(side, lambda arrays, inputs, stack: side.run(arrays, inputs, INFERENCE)[0], inputs, dtype)


def round_trips(model: Any) -> Iterator[RoundTrip]:
    """Save the tree and load it, in turn by `flatten and unflatten` and, where it is installed, `safetensors`.

    Each time it is loaded into a tree of the same structure with other values, in safetensors under their paths.
    Nothing stays on disk.

    Raises:
        UsageError, ChildNameError: as from `stored_tensors`.
        NotExpressibleError, WeightsError: JAX or safetensors refuses to save it or to load it; its path is the way.
    """
    fresh = with_stored_tensors(model, all_unlike(stored_tensors(model)))
    with saving("flatten and unflatten"):
        leaves = jax.tree.leaves(model)
    with loading("flatten and unflatten"):
        loaded = jax.tree.unflatten(jax.tree.structure(fresh), leaves)
    yield RoundTrip("flatten and unflatten", stored_tensors(loaded))
    if has_safetensors():
        yield RoundTrip(
            "safetensors", stored_tensors(with_stored_tensors(fresh, through_safetensors(stored_tensors(model))))
        )


def draws(
    factory: Any, seeds: Sequence[int], *, device: str = "cpu", target: int | None = None
) -> dict[str, np.ndarray]:
    """Every tensor of the models that a factory makes, `(draws, *native shape)` by native path, whatever it is for.

    Draw i is that of `seeds[i]`. All are made by one compilation if the factory takes a traced seed, as
    `jax.random.key` does, and one by one if not; the first two are made both ways and must agree.

    Raises:
        PairError: the factory raises, ignores its seed, or gives another structure for another seed.
        DeviceError: JAX does not see the device.
    """
    return draws_of(factory, seeds, _owned, device, target)
