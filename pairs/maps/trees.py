"""Weights as a map is given them and as it returns them: flat by dotted path, or nested."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...common.arrays import as_numpy
from ...common.errors import MapError, WeightsError
from ...common.tables import counted, shape_text
from ...common.trees import leaves
from .correspondence import Correspondence
from .rows import MapRow


def given_arrays(made: Correspondence, weights: Any) -> dict[str, Any]:
    """The reference's arrays by owner, checked against the map's rows.

    Raises:
        WeightsError: see `Map.carry`.
    """
    if not isinstance(weights, Mapping | list | tuple):
        raise WeightsError("", "a mapping from paths to arrays, or a tree of them", type(weights).__name__)
    held = [(path, _content(leaf)) for path, leaf in leaves(weights)]
    given = dict(held)
    faults = [f"{path} is given twice" for path in _twice([path for path, _ in held])]
    found: dict[str, Any] = {}
    for path, rows in made.by_reference.items():
        names = [name for name in (path, *rows[0].reference_aliases) if name in given]
        arrays = [given.pop(name) for name in names]
        own = [_fault(name, array, rows[0].shape) for name, array in zip(names, arrays, strict=True)]
        faults += [fault for fault in own if fault] if names else [f"{path} is missing"]
        if names and not any(own):
            found[path] = arrays[0]
            faults += _conflicts(names, arrays)
    left_out = {*made.unmatched_reference, *made.aside_reference}
    faults += [f"{path} is not in the map" for path in given if path not in left_out]
    if faults:
        raise WeightsError(
            "",
            f"one array for each of {counted(len(made.by_reference), 'tensor')} of the map",
            f"{len(faults)} that {'does' if len(faults) == 1 else 'do'} not fit: " + "; ".join(faults),
            "Nothing was carried.",
        )
    return found


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


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether they are the same bit for bit; those in the same memory are not read."""
    if one.dtype != other.dtype:
        return False
    if one.strides == other.strides and one.__array_interface__["data"] == other.__array_interface__["data"]:
        return True
    return one.tobytes() == other.tobytes()


def nested(arrays: Mapping[str, Any], *, with_numbers: bool) -> dict[str, Any]:
    """A tree of dicts by the components of dotted paths, of which digits are whole numbers `with_numbers`.

    Raises:
        MapError: a path that is also a container of others.
    """
    tree: dict[Any, Any] = {}
    for path, array in arrays.items():
        keys: list[Any] = [int(key) if with_numbers and key.isdecimal() else key for key in path.split(".")]
        place = tree
        for key in keys[:-1]:
            place = place.setdefault(key, {})
            if not isinstance(place, dict):
                raise _both(path)
        if keys[-1] in place:
            raise _both(path)
        place[keys[-1]] = array
    return tree


def _both(path: str) -> MapError:
    return MapError(path, "every path of the port a tensor or a container of some", "both in one place")


def with_aliases(arrays: Mapping[str, Any], rows: Mapping[str, Sequence[MapRow]]) -> dict[str, Any]:
    """The arrays, each also under its aliases."""
    return {name: array for path, array in arrays.items() for name in (path, *rows[path][0].port_aliases)}
