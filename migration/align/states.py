"""States: which buffers and frozen parameters both sides have, and which are constants of one side's program.

At the symmetric point the former are filled like parameters, and the latter keep their values. How many of a shape
there are on each side says which is which, unless one side has more that are of the shape by chance.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...pairs.side import Side
from ...pairs.values import ShapeClass, shape_class
from .tie_breaking import TRAINED, similarity

# By side, the paths of the buffers and frozen parameters that are filled.
States = tuple[frozenset[str], frozenset[str]]
# Of more tensors of one shape the names are not compared.
MOST_NAMED = 64


def states(reference: Side, port: Side) -> Iterator[States]:
    """What may be the state of both sides: what is named alike, what would be trained, or nothing; none if all is."""
    fixed = [{path for path in side.tensors if not side.is_free(path)} for side in (reference, port)]
    if not any(fixed):
        return
    named = _named_alike(reference, port)
    frozen = [
        {path for path in each if side.is_frozen(path)} for side, each in zip((reference, port), fixed, strict=True)
    ]
    for ours, theirs in ((fixed[0] & named[0], fixed[1] & named[1]), (frozen[0], frozen[1]), (set(), set())):
        yield frozenset(ours), frozenset(theirs)


def _named_alike(reference: Side, port: Side) -> tuple[set[str], set[str]]:
    """The tensors that have one of the same shape for a partner, the closest names first."""
    found: tuple[set[str], set[str]] = set(), set()
    classes = [_classes(side) for side in (reference, port)]
    for of, ours in classes[0].items():
        theirs = classes[1].get(of, [])
        if max(len(ours), len(theirs)) > MOST_NAMED:
            continue
        likeness = {
            (one, other): similarity(one, other) + TRAINED * (reference.is_free(one) == port.is_free(other))
            for one in ours
            for other in theirs
        }
        for one, other in sorted(likeness, key=lambda pair: -likeness[pair]):
            if one not in found[0] and other not in found[1]:
                found[0].add(one)
                found[1].add(other)
    return found


def _classes(side: Side) -> dict[ShapeClass, list[str]]:
    found: dict[ShapeClass, list[str]] = {}
    for path in side.tensors:
        found.setdefault(shape_class(side.shape(path)), []).append(path)
    return found
