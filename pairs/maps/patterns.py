"""Patterns: what an einops pattern of a map's row says of axes and their lengths, without an array.

A side of a pattern is a tuple with the names of each axis: `(h d) 1 i` is `(("h", "d"), (), ("i",))`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from math import prod

from ...common.errors import MapError

Names = tuple[str, ...]
Side = tuple[Names, ...]
Sizes = tuple[tuple[str, int], ...]
_AXIS = re.compile(r"\(([^()]*)\)|(\.\.\.)|(\w+)")


@lru_cache(maxsize=65536)
def sides(pattern: str, rank: int) -> tuple[Side, Side]:
    """Both sides of a pattern for an array of so many axes; `...` gets the names `e0`, `e1` and so on.

    Raises:
        MapError: no pattern, or one that gains or loses an axis.
    """
    left, arrow, right = pattern.partition("->")
    if not arrow:
        raise _unreadable(pattern)
    missing = rank - len(_axes(left, pattern, ()))
    rest = tuple((f"e{number}",) for number in range(missing)) if "..." in left else ()
    found = _axes(left, pattern, rest), _axes(right, pattern, rest)
    names = [[name for axis in side for name in axis] for side in found]
    if sorted(names[0]) != sorted(names[1]) or len(set(names[0])) < len(names[0]):
        raise _unreadable(pattern)
    return found


def _axes(side: str, pattern: str, rest: Side) -> Side:
    if _AXIS.sub("", side).strip():
        raise _unreadable(pattern)
    found: list[Names] = []
    for several, ellipsis, one in _AXIS.findall(side):
        if ellipsis:
            found += rest
        else:
            found.append(tuple(name for name in (one or several).split() if name != "1"))
    return tuple(found)


def _unreadable(pattern: str) -> MapError:
    return MapError("", "an einops pattern such as 'o i -> i o', with the same axes on both sides", repr(pattern))


@lru_cache(maxsize=65536)
def laid_out(pattern: str, shape: tuple[int, ...], sizes: Sizes) -> tuple[tuple[int, ...], Sizes]:
    """The shape that an array of `shape` gets, and the length of every bracketed axis of the pattern.

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
        f"{pattern!r} for the shape {shape}{with_sizes}",
    )


def written(left: Side, right: Side) -> str:
    """The pattern of two sides."""
    return " -> ".join(" ".join(_axis_text(axis) for axis in side) for side in (left, right))


def _axis_text(axis: Names) -> str:
    return f"({' '.join(axis)})" if len(axis) > 1 else axis[0] if axis else "1"


def inverted(pattern: str) -> str:
    left, _, right = pattern.partition("->")
    return f"{right.strip()} -> {left.strip()}"


def permuting(shape: Iterable[int], order: Iterable[int], port_shape: Iterable[int]) -> str:
    """The pattern that gives an array of `shape` the axes of `port_shape`.

    order: of the axes longer than 1, counted without those of length 1.
    """
    names: Callable[[int], str] = lambda number: chr(ord("a") + number) if number < 26 else f"a{number}"  # noqa: E731
    long = [names(number) for number in range(sum(length != 1 for length in shape))]
    left, right = iter(long), iter([long[axis] for axis in order])
    both = (
        tuple(() if length == 1 else (next(side),) for length in lengths)
        for side, lengths in ((left, shape), (right, port_shape))
    )
    return written(*both)
