"""Tracking: from the values that both sides have to the first ones that should be equal and are not.

The port is given the reference's value in the place of one of its own, and run on. Where what comes next is then the
reference's, all after that value is right: the difference arises before it, and after the last values that are equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice, permutations

import numpy as np

from ....common.wing import Tape, Value
from ..coarseness import SINGLE
from ..comparing import apart
from .equal import Equals, Marked, are_equal, marks_of, may_be_equal, noise_on, tame, views
from .reasons import MOVES, SWAPPED, source
from .state import Cut, Region, Tracking, is_reordered
from .stretches import Stretch
from .telling import stretch_of

# How many differences of one pair are told, how many values are exchanged to find one, in how many orders of the axes.
_MOST_STRETCHES, _MOST_TRIALS, _MOST_VIEWS = 6, 600, 3
# In numbers made.
_MOST_WORK, _FEWEST_TRIALS = 2_000_000_000, 50
# Once there is a value that makes something right, so many more for one that makes all of it.
_MORE_TRIALS = 300
_MOST_ROUNDS = 16
_ALL_VIEWS = 12
# After a value that is exchanged so many operations are looked at.
_NEXT = 16


def stretches_of(
    reference: Tape, port: Tape, partners: Mapping[str, str], eps: float, depth: int, *, is_guess: bool = False
) -> list[Stretch]:
    """Where the port parts ways with the reference, one stretch for each difference, in the order of the program.

    partners: by the names of the reference's outputs those of the port's.
    is_guess: whether the map may be wrong: a parameter that is taken for another one is then no difference of theirs.
    eps: the rounding of the type that both were run in. depth: how many tensors an error adds up over.

    What one side computes in a coarser type explains small differences. Where all are, that type is the difference.
    """
    # What is random gives other values each time, and nothing can be learned from running it again.
    if any(tape.replay({}, {}, math.inf) for tape in (reference, port)):
        return []
    noise = noise_on(reference), noise_on(port)
    for coarsest in (math.inf, SINGLE, eps):
        ours = Marked(reference, depth, noise[0], coarsest)
        theirs = Marked(port, depth, noise[1], coarsest)
        found = _tracked(Tracking(ours, theirs, Equals(ours, theirs)), partners)
        if found:
            return [each for each in found if not (is_guess and each.cause and each.cause.name == SWAPPED)]
    return []


def _tracked(state: Tracking, partners: Mapping[str, str]) -> list[Stretch]:
    found: list[Stretch] = []
    for _ in range(_MOST_ROUNDS):
        wrong = _wrong_outputs(state, partners)
        if not wrong:
            break
        regions = (
            _region(state, state.reference, [one for one, _ in wrong]),
            _region(state, state.port, [other for _, other in wrong]),
        )
        cuts = _first_cuts(state, regions, wrong)
        if not cuts:
            found.append(_at_outputs(state, regions, wrong))
            break
        found += [stretch_of(state, regions, cut) for cut in cuts]
        state.commit(cuts)
    return _joined(found)[:_MOST_STRETCHES]


def _joined(found: Sequence[Stretch]) -> list[Stretch]:
    """Stretches without those on lines of one before: a loop that goes round, a function that is called again."""
    made: list[Stretch] = []
    for each in found:
        if not any(each.is_within(other) for other in made):
            made.append(each)
    return made


def _wrong_outputs(state: Tracking, partners: Mapping[str, str]) -> list[tuple[int, int]]:
    wrong = []
    for name, other in partners.items():
        one, two = state.reference.tape.outputs[name], state.port.tape.outputs[other]
        if not _is_output(state, one, state.array(two), two):
            wrong.append((one, two))
    return wrong


def _is_output(state: Tracking, place: int, array: np.ndarray, port: int) -> bool:
    """Whether an array is an output of the reference's."""
    exact = state.reference.values[place].array
    limit = max(state.reference.limit(place), state.port.limit(port))
    return array.shape == exact.shape and apart(tame(array), tame(exact)) <= limit


def _region(state: Tracking, side: Marked, ends: Sequence[int]) -> Region:
    inside: set[int] = set()
    before: set[int] = set()
    left = list(ends)
    while left:
        place = left.pop()
        if place in inside:
            continue
        if place not in ends and state.equals.is_known(side, place):
            before.add(place)
            continue
        inside.add(place)
        left += side.values[place].made_of
    return Region(frozenset(inside), frozenset(before))


def _first_cuts(state: Tracking, regions: tuple[Region, Region], wrong: Sequence[tuple[int, int]]) -> list[Cut]:
    """The earliest value of the port with which all that comes next is right, narrowed to what it is made of.

    Where nothing makes the outputs right, since there is another difference behind, the one that makes most right.
    """
    consumers = _consumers(state.port.values, regions[1].inside)
    after = _descendants(state.reference.values, regions[0].inside)
    best: tuple[int, Cut] | None = None
    left = _trials(state.port.values)
    for cut in _candidates(state, regions, consumers):
        left -= 1
        if left < 0:
            break
        if not _is_right_after(state, cut, after, wrong):
            continue
        cut, right, is_whole = _best_view(state, cut, after, wrong)
        if is_whole:
            return _narrowed(state, regions, cut)
        if best is None or right > best[0]:
            best = right, cut
        left = min(left, _MORE_TRIALS)
    return _narrowed(state, regions, best[1]) if best else []


def _trials(values: Sequence[Value]) -> int:
    """How many values are exchanged: of large programs fewer, of which each run takes long."""
    numbers = sum(value.array.size for value in values)
    return max(min(_MOST_TRIALS, _MOST_WORK // max(numbers, 1)), _FEWEST_TRIALS)


def _best_view(
    state: Tracking, cut: Cut, after: Mapping[int, frozenset[int]], wrong: Sequence[tuple[int, int]]
) -> tuple[Cut, int, bool]:
    """The order of the axes with which most of all that comes next is right: a step for each number is in any order.

    With how many values are, and whether the outputs are.
    """
    found: list[tuple[Cut, int, bool]] = []
    for view in _seen(state, cut.reference, state.array(cut.port), _ALL_VIEWS):
        own = replace(cut, array=view)
        new = state.with_cuts([own])
        is_whole = all(_is_output(state, one, new.get(other, state.array(other)), other) for one, other in wrong)
        found.append((own, sum(_right_ones(state, own, new, after)), is_whole))
        if is_whole:
            break
    return max(found, key=lambda each: (each[2], each[1]))


def _consumers(values: Sequence[Value], inside: frozenset[int]) -> dict[int, frozenset[int]]:
    """By a value the steps inside that take it."""
    found: dict[int, set[int]] = {}
    for place in inside:
        for taken in values[place].made_of:
            found.setdefault(taken, set()).add(values[place].step)
    return {place: frozenset(steps) for place, steps in found.items()}


def _descendants(values: Sequence[Value], inside: frozenset[int]) -> dict[int, frozenset[int]]:
    """By a value of a region, or right before it, what is made of it inside."""
    found: dict[int, set[int]] = {}
    for place in sorted(inside, reverse=True):
        own = found.setdefault(place, set())
        for taken in values[place].made_of:
            found.setdefault(taken, set()).update(own, (place,))
    return {place: frozenset(after) for place, after in found.items()}


def _candidates(
    state: Tracking, regions: tuple[Region, Region], consumers: Mapping[int, frozenset[int]]
) -> Iterator[Cut]:
    """Pairs of values of one size, those that are made first at first."""
    ours, theirs = regions
    mine = sorted(ours.inside | ours.before)
    first = _first_steps(state.reference.values, ours), _first_steps(state.port.values, theirs)
    for port in sorted(theirs.inside | theirs.before):
        array = state.array(port)
        if marks_of(array) is None:
            continue
        is_before = port in theirs.before
        for reference in mine:
            steps = consumers.get(port, frozenset()) if is_before else None
            if steps is not None and reference in ours.before:
                # Of two values that both sides have, one taken for the other by what comes first.
                if not _are_of_parameters(state, reference, port):
                    steps &= first[1].get(port, frozenset())
                if reference not in first[0] or not steps or reference in state.equals.of_port.get(port, ()):
                    continue
            one = state.reference.values[reference].array
            if one.size != array.size or (one.dtype.kind == "f") != (array.dtype.kind == "f"):
                continue
            if state.reference.marks[reference] is None:
                continue
            for view in _seen(state, reference, array):
                yield Cut(reference, port, view, steps)


def _are_of_parameters(state: Tracking, reference: int, port: int) -> bool:
    """Whether both are parameters, or made of one by moving its numbers."""
    both = source(state.reference, reference), source(state.port, port)
    return all(value.kind == "parameter" for value in both)


def _seen(state: Tracking, reference: int, like: np.ndarray, most: int = _MOST_VIEWS) -> list[np.ndarray]:
    """A value of the reference's in the shape of one of the port's: as the port has it, if it does, or in any order."""
    own = [state.array(place) for place in state.equals.of_reference.get(reference, ())]
    same = next((array for array in own if array.shape == like.shape), None)
    return [same] if same is not None else views(state.reference.values[reference].array, like, most)


def _first_steps(values: Sequence[Value], region: Region) -> dict[int, frozenset[int]]:
    """By a value that both sides have the steps of a region that take it, and nothing else but such."""
    found: dict[int, set[int]] = {}
    for place in region.inside:
        if not region.inside.intersection(values[place].made_of):
            for taken in values[place].made_of:
                found.setdefault(taken, set()).add(values[place].step)
    return {place: frozenset(steps) for place, steps in found.items()}


def _is_right_after(
    state: Tracking, cut: Cut, after: Mapping[int, frozenset[int]], wrong: Sequence[tuple[int, int]]
) -> bool:
    """Whether the port, given the reference's value, soon makes one that the reference makes of it."""
    is_output = cut.steps is None and any(cut.port == port for _, port in wrong)
    if is_output or not after.get(cut.reference):
        return False
    return any(islice(_right_ones(state, cut, state.with_cuts([cut], _NEXT), after), _NEXT))


def _right_ones(
    state: Tracking, cut: Cut, new: Mapping[int, np.ndarray], after: Mapping[int, frozenset[int]]
) -> Iterator[bool]:
    """Of each value that the port makes with the reference's, and that tells anything, whether the reference makes it.

    new: what is other in the port's pass.
    """
    own = state.reference.marks[cut.reference]
    for place, array in sorted(new.items()):
        mark = marks_of(array)
        # The same numbers in another order, or a part of them, tell nothing of what is done with them.
        is_moved = state.port.values[place].operation in MOVES
        if mark is None or own is None or is_moved or may_be_equal(own, mark, state.port.limit(place)):
            continue
        yield bool(state.equals.found(place, array, mark, after.get(cut.reference, frozenset())))


def _narrowed(state: Tracking, regions: tuple[Region, Region], cut: Cut) -> list[Cut]:
    """The values that a cut is made of in the same way on both sides, as far back as that goes."""
    if cut.steps is not None or is_reordered(state, cut):
        return [cut]
    for cuts in _made_of(state, regions, cut):
        return [each for one in cuts for each in _narrowed(state, regions, one)]
    return [cut]


def _made_of(state: Tracking, regions: tuple[Region, Region], cut: Cut) -> Iterator[list[Cut]]:
    """Cuts right before one, with which the port makes the reference's value there."""
    ours, theirs = regions
    mine = [each for each in state.reference.values[cut.reference].made_of if each in ours.inside]
    yours = [each for each in state.port.values[cut.port].made_of if each in theirs.inside]
    choices: list[tuple[list[int], list[int]]] = []
    if len(yours) == 1:
        # What only moves numbers stands on one side alone, too.
        choices.append(([cut.reference], yours))
    if len(mine) == 1:
        moved = state.reference.values[mine[0]].array
        if moved.size == cut.array.size and are_equal(state.reference.values[cut.reference].array, moved, 0.0):
            for view in views(moved, cut.array, _MOST_VIEWS):
                if np.array_equal(view, cut.array, equal_nan=True):
                    yield [replace(cut, reference=mine[0])]
                    return
    if mine and len(mine) == len(yours) <= 3:
        choices += [([*order], yours) for order in permutations(mine)]
    for references, ports in choices:
        for cuts in _assignments(state, references, ports):
            made = state.with_cuts(cuts, _NEXT).get(cut.port, state.array(cut.port))
            if apart(made, cut.array) <= max(state.port.limit(cut.port), state.reference.limit(cut.reference)):
                yield cuts
                return


def _assignments(state: Tracking, references: Sequence[int], ports: Sequence[int]) -> Iterator[list[Cut]]:
    """The reference's values in the places of the port's, in the ways to see them in these shapes."""
    options = []
    for reference, port in zip(references, ports, strict=True):
        one, other = state.reference.values[reference].array, state.array(port)
        if one.size != other.size:
            return
        options.append([Cut(reference, port, view) for view in views(one, other, _MOST_VIEWS)])
    if not all(options):
        return
    for number in range(max(map(len, options))):
        yield [each[min(number, len(each) - 1)] for each in options]


def _at_outputs(state: Tracking, regions: tuple[Region, Region], wrong: Sequence[tuple[int, int]]) -> Stretch:
    """Where nothing but the outputs themselves could be exchanged."""
    one, other = wrong[0]
    return stretch_of(state, regions, Cut(one, other, state.reference.values[one].array))
