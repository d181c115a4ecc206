"""Weights through a map: checked against its rows as they are given, put together, and returned flat or nested."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ...common.arrays import as_numpy
from ...common.errors import MapError, WeightsError, unfit
from ...common.tables import counted, shape_text
from ...common.trees import leaves
from .correspondence import Correspondence
from .products import product, weight_norms
from .resize import Faults, fitting
from .rows import MapRow
from .shared import copies, is_kept

# Of a whole number in a path; longer ones are names.
_MOST_DIGITS = 18


def given_arrays(made: Correspondence, weights: Any, keep: Collection[str] = ()) -> dict[str, Any]:
    """The reference's arrays by owner, in their own shapes and dtypes, checked against the map's rows.

    keep: of copies with values of their own, the paths whose are taken.

    Raises:
        WeightsError: see `Map.carry`.
    """
    if not isinstance(weights, Mapping | list | tuple):
        raise WeightsError("", "a mapping from paths to arrays, or a tree of them", type(weights).__name__)
    held = [(path, _content(leaf)) for path, leaf in leaves(weights)]
    given = dict(held)
    for path, factors in weight_norms(_shapes(given), made).items():
        given[path] = product(*(given.pop(factor) for factor in factors))
    shapes = _shapes(given)
    faults = [f"{path} is given twice" for path in _twice([path for path, _ in held])]
    found: dict[str, Any] = {}
    for path, rows in made.by_reference.items():
        names = [name for name in (path, *rows[0].reference_aliases) if name in given]
        arrays = [given.pop(name) for name in names]
        kept = [position for position, name in enumerate(names) if name in keep]
        if kept:
            names, arrays = [names[kept[0]]], [arrays[kept[0]]]
        own = [_fault(name, array, rows[0].shape) for name, array in zip(names, arrays, strict=True)]
        faults += [fault for fault in own if fault] if names else [f"{path} is missing"]
        if names and not any(own):
            found[path] = arrays[0]
            faults += _conflicts(names, arrays)
    faults += [fault for rows in copies(made) for fault in _unlike_copies(rows, found, keep)]
    left_out = {*made.unmatched_reference, *made.aside_reference}
    faults += [f"{path} is not in the map" for path in given if path not in left_out]
    if faults:
        raise WeightsError(
            "",
            f"one array for each of {counted(len(made.by_reference), 'tensor')} of the map",
            unfit(faults),
            f"Nothing was carried.{_resized(made, shapes)}",
        )
    return found


def _shapes(given: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    return {path: tuple(array.shape) for path, array in given.items() if hasattr(array, "shape")}


def _resized(made: Correspondence, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """What to do where the arrays are those of the model in another size; empty where they are not."""
    try:
        found = fitting(made, shapes, None)
    except MapError:
        return ""
    if found is made or (isinstance(found, Faults) and not found.is_open):
        return ""
    return " For the model in another size take `map.fit(shapes, port_shapes)`, with both models' shapes by path."


def _content(leaf: Any) -> Any:
    """What an NNX Variable or a Linen box holds, and any other leaf itself."""
    for name in ("get_value", "unbox"):
        if hasattr(leaf, name):
            return getattr(leaf, name)()
    return leaf


def _twice(paths: Sequence[str]) -> list[str]:
    seen: set[str] = set()
    return [path for path in paths if path in seen or seen.add(path)] if len({*paths}) < len(paths) else []


def _fault(path: str, array: Any, shape: tuple[int, ...]) -> str:
    if not hasattr(array, "shape"):
        return f"{path} is no array but {type(array).__name__}"
    if tuple(array.shape) != shape:
        return f"{path} has shape {shape_text(tuple(array.shape))} and needs {shape_text(shape)}"
    return ""


def _conflicts(names: Sequence[str], arrays: Sequence[Any]) -> list[str]:
    owner = arrays[0]
    return [
        f"{names[0]} and {name} are one tensor of the model and have two values: leave out the one that is not to be "
        "carried"
        for name, array in zip(names[1:], arrays[1:], strict=True)
        if array is not owner and not _equal(as_numpy(owner), as_numpy(array))
    ]


def _unlike_copies(rows: Sequence[MapRow], given: Mapping[str, Any], keep: Collection[str]) -> Iterator[str]:
    """A fault for each copy that has another value than the first, where none of them is to be kept."""
    if any(is_kept(row, keep) for row in rows) or any(row.reference not in given for row in rows):
        return
    first, *others = ((row, as_numpy(row.to_port(as_numpy(given[row.reference])))) for row in rows)
    for row, value in others:
        if not _equal(np.ascontiguousarray(first[1]), np.ascontiguousarray(value)):
            yield (
                f"{first[0].reference} and {row.reference} are one tensor of the port, {row.port}, and have two "
                f"values: choose one by keep=[{first[0].reference!r}] or keep=[{row.reference!r}]"
            )


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether they are the same bit for bit; those in the same memory are not read."""
    if one.dtype != other.dtype:
        return False
    if one.strides == other.strides and one.__array_interface__["data"] == other.__array_interface__["data"]:
        return True
    return one.tobytes() == other.tobytes()


def assemble(rows: Sequence[MapRow], get: Callable[[str], Any], out: np.ndarray | None = None) -> np.ndarray:
    """One port tensor, of the rows' `port_shape`, from all its rows in the order of their map.

    get: the whole reference array of a path, of any framework. Without `out` it is asked once for each path, with
        `out` row by row, so that no more than one reference array needs to be held.
    out: what the tensor is written to, in its own dtype, such as a memory-mapped view.

    Without `out` of `common_dtype`, and a view of the reference's array where one row is all of both and its axes are
    only permuted.

    Raises:
        ShapeError: a reference array of another shape than its rows'.
    """
    first = rows[0]
    if len(rows) == 1 and first.port_piece.is_whole and not first.gives_zeros:
        value = first.to_port(as_numpy(get(first.reference)))
        if out is None:
            return value
        out[...] = value
        return out
    if out is not None and not out.flags.c_contiguous:
        # A piece of it that is seen in another shape would be a copy.
        out[...] = assemble(rows, get)
        return out
    if out is None:
        held = {row.reference: as_numpy(get(row.reference)) for row in rows}
        out = np.empty(first.port_shape, common_dtype([array.dtype for array in held.values()]))
        get = held.__getitem__
    for group in _by_piece(rows):
        group[0].port_piece.of(out)[...] = _sum(group, get)
    return out


def _by_piece(rows: Sequence[MapRow]) -> list[list[MapRow]]:
    """Summed rows of one piece together, any other one alone."""
    groups: dict[Any, list[MapRow]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(row.port_piece if row.summed else number, []).append(row)
    return list(groups.values())


def _sum(rows: Sequence[MapRow], get: Callable[[str], Any]) -> np.ndarray:
    values = [
        np.zeros_like(value) if row.gives_zeros else value
        for row in rows
        for value in [row.to_port(as_numpy(get(row.reference)))]
    ]
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


def common_dtype(dtypes: Sequence[np.dtype]) -> np.dtype:
    """The one dtype of these, or the narrowest of NumPy's own that holds the values of all."""
    found = dtypes[0]
    for dtype in dtypes[1:]:
        # NumPy knows no promotion of two types that both come from elsewhere.
        found = found if dtype == found else np.result_type(*(_known(each) for each in (found, dtype)))
    return found


def _known(dtype: np.dtype) -> np.dtype:
    return dtype if dtype.isbuiltin == 1 else np.dtype(np.float32)


def nested(arrays: Mapping[str, Any], *, with_numbers: bool) -> dict[str, Any]:
    """A tree of dicts by the components of dotted paths, of which digits are whole numbers `with_numbers`.

    Raises:
        MapError: a path that is also a container of others.
    """
    tree: dict[Any, Any] = {}
    for path, array in arrays.items():
        keys: list[Any] = [int(key) if with_numbers and _is_number(key) else key for key in path.split(".")]
        node = tree
        for key in keys[:-1]:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise _both(path)
        if keys[-1] in node:
            raise _both(path)
        node[keys[-1]] = array
    return tree


def _is_number(key: str) -> bool:
    """Whether a key is how a whole number is written: `01` is a name of its own."""
    return key.isdecimal() and key.isascii() and len(key) <= _MOST_DIGITS and str(int(key)) == key


def _both(path: str) -> MapError:
    return MapError(path, "every path of the port a tensor or a container of some", "both in one place")


def with_aliases(arrays: Mapping[str, Any], rows: Mapping[str, Sequence[MapRow]]) -> dict[str, Any]:
    """The arrays, each also under its aliases."""
    return {name: array for path, array in arrays.items() for name in (path, *rows[path][0].port_aliases)}
