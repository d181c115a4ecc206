"""The front door's own functions: they find out which wing a model belongs to and hand it over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .common import paths
from .common.errors import ParitreeError, UsageError
from .common.models import ReferenceModel
from .common.spec import Layer, table_of
from .common.tables import Row, Table
from .common.wing import Wing, is_tree, name_of
from .pairs.wings import load_wing, side_wing


def wing(of: Any) -> Wing:
    """A wing by name (`torch`, `linen`, `nnx`) or by a live model of it: the module with all its functions.

    Raises:
        UsageError: no such wing, or no model of any.
    """
    return load_wing(of if isinstance(of, str) else name_of(of))


def build(
    spec: Layer | ReferenceModel, wing: str, *, seed: int = 0, dtype: str = "float32", device: str = "cpu"
) -> Any:
    """A live model of a spec, its parameters drawn by path from `seed`, in inference mode.

    Returns an `nn.Module`, an `nnx.Module` or `(linen module, variables)`.

    Raises:
        SpecError, PathError, InitializerError: the spec does not hold together.
        NotExpressibleError: this wing's framework cannot express it; UsageError: no such wing.
    """
    layer = spec.resolved if isinstance(spec, ReferenceModel) else spec
    if not isinstance(layer, Layer):
        raise UsageError("", "a spec or a reference model", type(layer).__name__, "For example Linear(4, 8).")
    return load_wing(wing).build(layer, seed=seed, dtype=dtype, device=device)


def table(model: Any, inputs: Sequence[Any] | None = None) -> Table:
    """The table of a spec, a reference model, an `nn.Module`, an `nnx.Module`, `(linen module, variables)` or a pytree.

    inputs: arrays of one call. Only a Linen module needs them, to show its layers; without, its names and layouts are
        those that are stored, as they are for a bare pytree: nested mappings and sequences of arrays, and nodes that
        are registered with JAX.

    Raises:
        UsageError: none of these.
    """
    if isinstance(model, Table):
        return model
    if isinstance(model, ReferenceModel):
        return model.table()
    if isinstance(model, Layer):
        return table_of(model)
    if isinstance(model, str):
        raise UsageError(model, "a model", "a text", "Reference models are in paritree.MODELS.")
    try:
        return wing(model).table(model, inputs)
    except UsageError as error:
        if isinstance(model, Mapping | list | tuple) or is_tree(model):
            return Table(tuple(_tree_rows(model, ())))
        raise error


def _tree_rows(tree: Any, native: tuple[str | int, ...]) -> Iterator[Row]:
    """The arrays of a pytree in its own order; one array under two keys is two rows, since a tree has no ties."""
    if hasattr(tree, "shape") and hasattr(tree, "dtype"):
        name = str(tree.dtype).removeprefix("torch.")
        yield Row(paths.join(*map(str, native)), tuple(tree.shape), name, native_path=native)
        return
    if tree is None:
        return
    if isinstance(tree, Mapping):
        items: Any = tree.items()
    elif isinstance(tree, list | tuple):
        items = zip(getattr(tree, "_fields", range(len(tree))), tree, strict=True)
    elif is_tree(tree):
        # A node that JAX knows, such as a registered dataclass.
        found = side_wing(tree).natives(tree)
        for each in found.values():
            yield from _tree_rows(each.array, (*native, *each.keys))
        return
    else:
        raise UsageError(
            paths.join(*map(str, native)),
            "an array or a tree of arrays",
            type(tree).__name__,
            "Give a model or a pytree.",
        )
    for key, value in items:
        yield from _tree_rows(value, (*native, key))


__all__ = ["ParitreeError", "build", "table", "wing"]
