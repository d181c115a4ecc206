"""Hypotheses: the assumptions under which both sides may tell the same at a symmetric point, the plainest first.

At a symmetric point the outputs do not depend on the map. So where they differ, either the programs do, or one side
packs, stacks, merges, adds, turns, shuffles or transforms what the other does not. Each such assumption is tried once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import islice

from ...common.errors import NotExpressibleError
from ...pairs.side import Side
from .additive import AdditiveParameters, additive_parameters
from .axis_groupings import PLAIN, Group, Structure, kind
from .points import Hypothesis, SymmetricPoint, Uneven, agree, run, uneven
from .states import states
from .structures import fewer, finer, reordered, structures

# What is said where a record could not be asked.
UNTRIED = (
    "it is a record, which has no runs for other readings of axes and orders, so that these were not tried: if the "
    "port is right, give a map that was made where both models are"
)
# Runs after the first.
MOST_HYPOTHESES = 96


def agreeing(
    reference: Side, port: Side, plain: SymmetricPoint, limit: float, progress: Callable[[str], None]
) -> Iterator[SymmetricPoint]:
    """The points of the hypotheses at which the outputs agree, one after the other.

    plain: the point of the plainest hypothesis. Where its outputs agree it is the only one.
    progress: told the number of each hypothesis.
    """
    if agree(plain, limit):
        yield plain
        return
    for number, hypothesis in enumerate(islice(_hypotheses(reference, port, limit), MOST_HYPOTHESES), 1):
        progress(f"aligning: hypothesis {number} of at most {MOST_HYPOTHESES}")
        try:
            point = run(hypothesis, reference, port)
        except NotExpressibleError:
            # A record has no runs of it. Where each tensor has a partner of its shape the plain one is likely enough.
            if uneven(PLAIN, reference, port).more:
                raise
            reference.notes[UNTRIED] = None
            continue
        if agree(point, limit):
            yield point


def _hypotheses(reference: Side, port: Side, limit: float) -> Iterator[Hypothesis]:
    """All hypotheses but the plain one, in the order in which they are made."""
    yield from (Hypothesis(states=each) for each in states(reference, port))
    found = [Hypothesis(structure) for structure in _structures(reference, port)]
    additive = (additive_parameters(reference, limit), additive_parameters(port, limit)) if found else ({}, {})
    for hypothesis in found:
        yield from _summed(hypothesis, additive)
    for base in found[:2] or [Hypothesis()]:
        # Contents that are the same backwards serve kernels of either way, whatever else is assumed.
        wide = next(_turned(base, reference, port), base)
        if wide is not base:
            yield wide
        yield from _transformed(wide, port)
        yield from _shuffled(wide, reference, port)
        for structure in reordered(base.structure, {length for shape in reference.shapes for length in shape}):
            yield from _summed(replace(base, structure=structure), additive)
    for base in found[:3]:
        yield from (replace(base, structure=structure) for structure in finer(base.structure))


def likeliest(reference: Side, port: Side) -> list[Hypothesis]:
    """The plain hypothesis, or where the sides have unequal numbers of one shape those that leave the fewest so.

    Either what is split has all of its parts on the other side, for a layer that is wider there is no two layers; or
    one side lacks some, and then most of what is left has its like.
    """
    found = _structures(reference, port)
    if not found:
        return [Hypothesis()]
    lengths = {length for side in (reference, port) for shape in side.shapes for length in shape}
    tried = [PLAIN, *(each for structure in found for each in fewer(structure)), *reordered(PLAIN, lengths)]
    apart = [uneven(structure, reference, port) for structure in tried]

    def best(of: Callable[[Uneven], int]) -> Structure:
        return min(zip(tried, apart, strict=True), key=lambda each: (of(each[1]), len(each[0].splits), each[0].cost))[0]

    exact, most = best(lambda each: each.all), best(lambda each: each.more)
    return [Hypothesis(exact)] if most == exact else [Hypothesis(exact), Hypothesis(most)]


def _structures(reference: Side, port: Side) -> tuple[Structure, ...]:
    """By shape alone and, if there are any, by the kinds of names too, since one shape may be of two kinds."""
    by_shape, by_name = ([_groups(side, named) for side in (reference, port)] for named in (False, True))
    found = _proposed(*by_shape)
    unlike: dict[object, Structure] = {}
    for structure in (*found, *_proposed(*by_name)) if found else ():
        read = [structure.grouping(side, name, shape) for side in (0, 1) for shape, name in sorted({*by_name[side]})]
        unlike.setdefault((*read, structure.splits), structure)
    return tuple(unlike.values())


def _groups(side: Side, named: bool) -> tuple[Group, ...]:
    """Of all parameters, in order, by shape and, if `named`, kind of name."""
    tensors = side.tensors.items()
    return tuple((each.array.shape, kind(path) if named else "") for path, each in tensors if each.trainable)


@lru_cache(maxsize=4)
def _proposed(reference: tuple[Group, ...], port: tuple[Group, ...]) -> tuple[Structure, ...]:
    """Sought once, for the hypotheses and again where none of them agrees."""
    return tuple(structures(reference, port))


def _summed(hypothesis: Hypothesis, additive: tuple[AdditiveParameters, AdditiveParameters]) -> Iterator[Hypothesis]:
    """The hypothesis, and with what one of the sides only ever adds."""
    yield hypothesis
    if additive[0]:
        yield replace(hypothesis, additive=(additive[0], {}))
    if additive[1]:
        yield replace(hypothesis, additive=({}, additive[1]))


def _turned(hypothesis: Hypothesis, reference: Side, port: Side) -> Iterator[Hypothesis]:
    """Kernels that run backwards, as those of Flax's transposed convolutions do: what is not a channel's axis."""
    lengths = {length for shape in reference.shapes for length in shape[2:]}
    lengths |= {length for shape in port.shapes for length in shape[:-2]}
    lengths.discard(1)
    if lengths:
        yield replace(hypothesis, structure=replace(hypothesis.structure, turned=frozenset(lengths)))


def _shuffled(hypothesis: Hypothesis, reference: Side, port: Side) -> Iterator[Hypothesis]:
    """Each length of a matrix's axis that has factors, as one whose entries are in another order."""
    lengths = {length for side in (reference, port) for shape in side.shapes if len(shape) == 2 for length in shape}
    for length in sorted(lengths):
        if length not in hypothesis.structure.periods and any(length % factor == 0 for factor in range(2, length)):
            structure = replace(hypothesis.structure, periods={**hypothesis.structure.periods, length: 1})
            yield replace(hypothesis, structure=structure, shuffled=frozenset({length}))


def _transformed(hypothesis: Hypothesis, port: Side) -> Iterator[Hypothesis]:
    """Each kind of tensor of the port, told by its last name (of matrices those of one rank), with each transform."""
    names: dict[str, list[str]] = {}
    matrices: dict[tuple[str, int], list[str]] = {}
    for path in port.tensors:
        if port.is_free(path):
            names.setdefault(kind(path), []).append(path)
            if len(port.shape(path)) > 1:
                matrices.setdefault((kind(path), len(port.shape(path))), []).append(path)
    for members in names.values():
        # A stacked gain is a matrix by its shape; matrices alone are no gains.
        if any(hypothesis.structure.rank(1, path, port.shape(path)) < 2 for path in members):
            gains = [path for path in members if hypothesis.structure.rank(1, path, port.shape(path)) < 2]
            yield from (replace(hypothesis, transforms=dict.fromkeys(gains, text)) for text in ("x - 1", "x + 1"))
    for members in matrices.values():
        for width in sorted({length for path in members for length in port.shape(path) if length > 1}):
            for text in (f"x * {width**0.5!r}", f"x / {width**0.5!r}"):
                yield replace(hypothesis, transforms=dict.fromkeys(members, text))
