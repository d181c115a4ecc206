"""A map's rows at work on arrays: each port tensor from the pieces of the reference's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...common.arrays import as_numpy
from .rows import MapRow


def assemble(rows: Sequence[MapRow], get: Callable[[str], Any], out: np.ndarray | None = None) -> np.ndarray:
    """One port tensor from all its rows, in the order of their map.

    get: the whole reference array of a path, of any framework. Without `out` it is asked once for each path, with
        `out` row by row, so that no more than one reference array needs to be held.
    out: what the tensor is written to, in its own dtype, such as a memory-mapped view.

    A view of the reference's array where one row is all of both and its axes only change places.
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
        out = np.empty(first.port_shape, _common_dtype([array.dtype for array in held.values()]))
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


def _common_dtype(dtypes: Sequence[np.dtype]) -> np.dtype:
    """One that holds all of them; NumPy knows none for two of the small floating-point types."""
    try:
        return np.result_type(*dict.fromkeys(dtypes))
    except TypeError:
        return np.dtype(np.float32)
