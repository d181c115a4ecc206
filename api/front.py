"""The front door's own functions: they find out which wing a model belongs to and hand it over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import is_dataclass, replace
from typing import Any

import numpy as np

from .common import paths
from .common.draws import Stream, check_seed, check_stream
from .common.errors import UsageError
from .common.models import ReferenceModel
from .common.spec import Layer, table_of
from .common.tables import Row, Table
from .common.trees import is_array, members, walk
from .common.wing import Call, Inputs, Wing, is_tree, name_of
from .pairs.modes import ordinary
from .pairs.side import Side
from .pairs.wings import load_wing, side_wing


def wing(of: Any) -> Wing:
    """A wing by name (`torch`, `linen`, `nnx`) or by a live model of it: the module with all its functions.

    Raises:
        UsageError: no such wing, or no model of any.
    """
    return load_wing(of if isinstance(of, str) else name_of(of))


@ordinary()
def build(
    spec: Layer | ReferenceModel,
    wing: str,
    *,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
    stream: Stream = "portable",
) -> Any:
    """A live model of a spec, its parameters drawn by path from `seed`, in inference mode.

    Returns an `nn.Module`, an `nnx.Module` or `(linen module, variables)`.

    stream: `portable` draws the same numbers, bit for bit, in every wing; `native` with the framework's own generator.

    Raises:
        SpecError, PathError, InitializerError: the spec does not hold together.
        NotExpressibleError: this wing's framework cannot express it; UsageError: no such wing, seed or stream.
    """
    layer = spec.resolved if isinstance(spec, ReferenceModel) else spec
    if not isinstance(layer, Layer):
        raise UsageError("", "a spec or a reference model", type(layer).__name__, "For example Linear(4, 8).")
    seed, stream = check_seed(seed), check_stream(stream)
    return load_wing(wing).build(layer, seed=seed, dtype=dtype, device=device, stream=stream)


@ordinary()
def table(model: Any, inputs: Inputs | None = None, *, call: Call | None = None) -> Table:
    """The table of a spec, a reference model, an `nn.Module`, an `nnx.Module`, `(linen module, variables)` or a pytree.

    inputs: arrays of one call, as a tuple or a dict. With them the model is called once, in inference mode, and the
        table has the modules that were called: what each gives, and how much it holds. A Linen module needs them, given
        by position, to show its layers; without, its names and layouts are those that are stored, as they are for a
        bare pytree: nested mappings and sequences of arrays, and nodes that are registered with JAX.
    call: `call(model, inputs)` for a model that wants another call than `model(*inputs)`; see `Pair`.

    Raises:
        UsageError: none of these; inputs for a spec, which cannot be called. PairError: a call that raises.
    """
    if isinstance(model, Table | ReferenceModel | Layer):
        if inputs is not None:
            remedy = 'Build the spec first: paritree.build(spec, "torch").'
            raise UsageError("inputs", "a live model, which can be called", type(model).__name__, remedy)
        return _of_spec(model)
    if isinstance(model, str):
        raise UsageError(model, "a model", "a text", "Reference models are in paritree.MODELS.")
    if inputs is None:
        return _of_live(model, None)
    given = {name: np.asarray(each) for name, each in inputs.items()} if isinstance(inputs, Mapping) else None
    arrays = tuple(map(np.asarray, inputs)) if given is None else ()
    side = Side("model", side_wing(model), model, model, arrays if given is None else given, call)
    modules = tuple(side.modules())
    is_plain = given is None and call is None
    return replace(_of_live(model, arrays if is_plain else None), modules=modules)


def _of_spec(model: Table | ReferenceModel | Layer) -> Table:
    if isinstance(model, Table):
        return model
    return model.table() if isinstance(model, ReferenceModel) else table_of(model)


def _of_live(model: Any, inputs: Sequence[np.ndarray] | None) -> Table:
    try:
        return wing(model).table(model, inputs)
    except UsageError as error:
        if isinstance(model, Mapping | list | tuple) or is_tree(model):
            return Table(tuple(_tree_rows(model)))
        raise error


def _tree_rows(tree: Any) -> Iterator[Row]:
    """The arrays of a pytree in its own order; one array under two keys is two rows, since a tree has no ties."""
    # A dataclass is a node only where it is registered with JAX, which then tells what it holds.
    for keys, leaf in walk(tree, lambda node: None if is_dataclass(node) else members(node)):
        if is_array(leaf):
            yield _tree_row(keys, leaf)
        elif is_tree(leaf):
            for each in side_wing(leaf).stored_tensors(leaf).values():
                yield _tree_row((*keys, *each.keys), each.array)
        elif leaf is not None:
            path, remedy = paths.join(*map(str, keys)), "Give a model or a pytree."
            raise UsageError(path, "an array or a tree of arrays", type(leaf).__name__, remedy)


def _tree_row(keys: tuple[str | int, ...], array: Any) -> Row:
    dtype = str(array.dtype).removeprefix("torch.")
    return Row(paths.join(*map(str, keys)), tuple(array.shape), dtype, native_path=keys)
