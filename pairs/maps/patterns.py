"""Patterns: what an einops pattern of a map's row says of axes and their lengths, without an array."""

from __future__ import annotations

from functools import lru_cache
from math import prod

from ...common import layouts
from ...common.errors import MapError, shown
from ...common.layouts import ELLIPSIS, Names, Side

# The lengths of axes by their names.
Sizes = tuple[tuple[str, int], ...]


@lru_cache(maxsize=65536)
def sides(pattern: str, rank: int) -> tuple[Side, Side]:
    """Both sides of a pattern for an array of so many axes; `...` gets the names `e0`, `e1` and so on.

    Raises:
        MapError: no pattern, or one that gains or loses an axis.
    """
    found = layouts.sides(pattern)
    if found is None:
        raise _unreadable(pattern)
    named = sum(axis != ELLIPSIS for axis in found[0])
    rest = tuple((f"e{number}",) for number in range(rank - named)) if ELLIPSIS in found[0] else ()
    left, right = (tuple(each for axis in side for each in (rest if axis == ELLIPSIS else (axis,))) for side in found)
    names = [[name for axis in side for name in axis] for side in (left, right)]
    if sorted(names[0]) != sorted(names[1]) or len(set(names[0])) < len(names[0]):
        raise _unreadable(pattern)
    return left, right


def _unreadable(pattern: str) -> MapError:
    return MapError("", "an einops pattern such as 'o i -> i o', with the same axes on both sides", shown(pattern))


@lru_cache(maxsize=65536)
def laid_out(pattern: str, shape: tuple[int, ...], sizes: Sizes) -> tuple[tuple[int, ...], Sizes]:
    """The shape that an array of `shape` gets, and the length of every bracketed axis of the pattern, by name.

    shape: of the axes on the pattern's left side. sizes: those lengths that do not follow from it.

    Raises:
        MapError: a pattern for other arrays, or one whose bracketed axes could have several lengths.
    """
    left, right = sides(pattern, len(shape))
    bracketed = {name for side in (left, right) for axis in side if len(axis) > 1 for name in axis}
    lengths = dict(sizes)
    unknown = {name for name in lengths if name not in {each for axis in left for each in axis}}
    if len(left) != len(shape) or unknown:
        raise _unfit(pattern, shape, sizes)
    for axis, length in zip(left, shape, strict=True):
        if not _resolve(axis, length, lengths):
            raise _unfit(pattern, shape, sizes)
    port_shape = tuple(prod(lengths[name] for name in axis) for axis in right)
    return port_shape, tuple(sorted((name, lengths[name]) for name in bracketed))


def _resolve(axis: Names, length: int, lengths: dict[str, int]) -> bool:
    """Whether the names of an axis can have that length; the one of unknown length among them gets it."""
    known = prod(lengths[name] for name in axis if name in lengths)
    open_names = [name for name in axis if name not in lengths]
    if len(open_names) > 1 or (known and length % known) or (not known and (length or open_names)):
        return False
    if open_names:
        lengths[open_names[0]] = length // known
        return True
    return known == length


def _unfit(pattern: str, shape: tuple[int, ...], sizes: Sizes) -> MapError:
    with_sizes = f" and the sizes {dict(sizes)}" if sizes else ""
    return MapError(
        "",
        "an einops pattern that fits the shape, with sizes for its bracketed axes",
        f"{shown(pattern)} for the shape {shape}{with_sizes}",
    )
