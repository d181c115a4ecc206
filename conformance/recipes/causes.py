"""Causes: by what two recipes differ, in words with both numbers, from how their parameters moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from .courses import CONSTANT, HUGEST, LAST, ORDINARY, SCHEDULE, SPARSE, TINIEST, ZERO
from .differences import NEAR, differences, kind
from .multiples import multiples_of, shares_kept
from .responses import Response, Responses, Trail
from .rules import (
    EXPLAINED,
    Clip,
    Course,
    Fitted,
    clipped,
    decays,
    directions,
    fitted,
    is_steady,
    is_uneven,
    left_of,
    rates,
    rates_and_decays,
)

_SHOWN = 4
# What has a sign nearly everywhere.
_MOSTLY = 0.99
# What is not compared of a schedule is for the caller to say.
_SHORTER = "; if a training ends before, say so: Pair(..., training_steps=)"
# A recipe has no more schedules for its groups.
_MOST_RATES = 3
# So many rules are looked for in one model; to find one takes seconds.
_MOST_RULES = 4


class Cause(NamedTuple):
    """A difference: in a word or two, in a sentence, and the port's paths of the parameters that it is about."""

    cause: str
    words: str
    paths: tuple[str, ...]


def causes_of(seen: Responses, wrong: Mapping[str, Sequence[str]]) -> list[Cause]:
    """What is not the same in two recipes.

    wrong: by the port's path the courses in which a parameter moved otherwise.
    """
    found = list(_Search(seen, wrong).causes())
    named = {path for cause in found for path in cause.paths}
    rest = tuple(path for path in wrong if path not in named)
    return [*found, *_by_course(rest, wrong)] if rest else found


def rule_of(seen: Responses, path: str) -> tuple[Fitted, Fitted]:
    """The rules of both sides for a parameter."""
    return _Search(seen, {}).fits(path)


# Which part of a recipe shows in one course alone, where no rule explains how the parameters moved.
_TOLD = {
    ZERO: ("weight decay", "without a gradient they move otherwise"),
    SCHEDULE: ("schedule", "the first steps are the same and later ones are not"),
    TINIEST: ("eps", "only gradients as small as an eps make other steps"),
    HUGEST: ("clipping", "only gradients as large as what is clipped make other steps"),
    SPARSE: ("sparse rows", "only gradients that are zero in most rows make other steps"),
}


def _by_course(paths: Sequence[str], wrong: Mapping[str, Sequence[str]]) -> Iterator[Cause]:
    for courses in dict.fromkeys(tuple(wrong[path]) for path in paths):
        mine = tuple(path for path in paths if tuple(wrong[path]) == courses)
        cause, words = _TOLD.get(courses[0], ("update", "")) if len(courses) == 1 else ("update", "")
        yield Cause(cause, words or f"they go another way at {_listed(courses)}", mine)


@dataclass(frozen=True)
class _Search:
    seen: Responses
    wrong: Mapping[str, Sequence[str]]

    def _response(self, course: str, path: str) -> Response:
        return self.seen.by_course[course][path]

    def causes(self) -> Iterator[Cause]:
        accumulated = list(self._accumulated(tuple(self.wrong)))
        yield from accumulated
        if accumulated:
            return
        still = [path for path in self.wrong if self._is_still(path)]
        yield from self._stills(still)
        moving = [path for path in self.wrong if path not in still]
        limited = list(self._limited(moving))
        yield from limited
        if limited or not moving:
            return
        multiples = list(self._multiples(moving))
        yield from multiples
        moving = [path for path in moving if not any(path in cause.paths for cause in multiples)]
        yield from self._decays(moving)
        rest = [path for path in moving if set(self.wrong[path]) - {ZERO}]
        yield from self._rules(rest)

    # Other rates, whatever the rule.

    def _multiples(self, paths: Sequence[str]) -> Iterator[Cause]:
        """What goes a multiple as far, where no rule that explains it has its rate."""
        found: dict[tuple[str, str], list[str]] = {}
        for path in paths:
            times = multiples_of(self.seen, path)
            if (
                times
                and max(abs(each - 1) for each in times.values()) > NEAR
                and (self._is_relative or max(fit.error for fit in self.fits(path)) > 100 * EXPLAINED)
            ):
                found.setdefault(_told_multiple(times), []).append(path)
        for (cause, words), mine in found.items():
            yield Cause(cause, words, tuple(mine))

    @cached_property
    def _is_relative(self) -> bool:
        """Whether each parameter's rate goes its own way on both sides, as where steps are relative to its norm."""
        own = [[each[-1] / each[0] for each in self._rates(ORDINARY, path, self.fits(path))] for path in self.wrong]
        return all(len({f"{each:.3g}" for each in side}) > _MOST_RATES for side in zip(*own, strict=True))

    # What one side leaves alone.

    def _moves(self, path: str, side: int) -> bool:
        return any(course[path].of(side).moves.any() for course in self.seen.by_course.values() if path in course)

    def _is_still(self, path: str) -> bool:
        return self._moves(path, 0) != self._moves(path, 1)

    def _stills(self, paths: Sequence[str]) -> Iterator[Cause]:
        for side, (mover, other) in enumerate((("reference", "port"), ("port", "reference"))):
            mine = tuple(path for path in paths if self._moves(path, side))
            decaying = tuple(path for path in mine if self._response(ZERO, path).of(side).moves.any())
            given = tuple(path for path in mine if self._response(CONSTANT, path).given.any())
            frozen = tuple(path for path in decaying if path not in given)
            if frozen:
                share = _share(self._response(ZERO, frozen[0]).of(side))
                words = f"the {mover} decays by {share:.4g} of its value in a step what the {other} leaves alone"
                yield Cause("frozen parameters decay", words, frozen)
            rest = tuple(path for path in mine if path not in frozen)
            if rest:
                yield Cause("frozen", f"the {mover} trains what the {other} leaves alone", rest)

    # Gradients that are added up.

    def _accumulated(self, paths: Sequence[str]) -> Iterator[Cause]:
        ours, theirs = self.seen.every
        if paths and ours != theirs and not self.seen.is_whole:
            one, other = (f"every {each} gradients" if each > 1 else "each gradient" for each in (ours, theirs))
            words = f"the reference makes a step of {one}, the port of {other}"
            yield Cause("accumulation", words, tuple(paths))

    # What is done to steps instead of gradients.

    def _limited(self, paths: Sequence[str]) -> Iterator[Cause]:
        """Where all steps are as long, whatever the gradients: each tensor's by itself, or all together."""
        sizes = [np.concatenate([self.seen.totals[name][:, side] for name in (ORDINARY, HUGEST)]) for side in (0, 1)]
        steady = [is_steady(each) for each in sizes]
        if not paths or steady[0] == steady[1]:
            return
        side = steady.index(True)
        one, other = ("reference", "port")[side], ("port", "reference")[side]
        if all(is_steady(self._lengths(path, side)) for path in paths):
            moves = np.abs(np.concatenate([self._response(ORDINARY, path).of(side).moves for path in paths], axis=1))
            how = "goes by the signs alone" if is_steady(moves) else "makes steps of each tensor that are as long"
            yield Cause("optimizer", f"the {one} {how}, whatever the gradients, the {other} does not", tuple(paths))
            return
        size = sizes[side].mean()
        words = f"the {one} clips the steps and not the gradients: all of a step is {size:.4g} long, in the {other} not"
        yield Cause("clipping", words, tuple(paths))

    def _lengths(self, path: str, side: int) -> np.ndarray:
        """How far a parameter goes in each step."""
        courses = [self._response(name, path).of(side) for name in (ORDINARY, HUGEST)]
        return np.concatenate([np.sqrt((trail.moves**2).sum(axis=1)) for trail in courses])

    # Weight decay.

    def _decays(self, paths: Sequence[str]) -> Iterator[Cause]:
        found: dict[tuple[str, str], list[str]] = {}
        for path in paths:
            if ZERO in self.wrong[path]:
                found.setdefault(self._decay(path), []).append(path)
        decaying = {path for path in self.seen.rows if self._decay_shares(path) != (0.0, 0.0)}
        for (cause, words), mine in found.items():
            if not cause:
                continue
            is_part = "mask" in cause and len(decaying) > len(mine)
            yield Cause(cause if is_part or "mask" not in cause else "weight decay", words, tuple(mine))

    def _decay_shares(self, path: str) -> tuple[float, float]:
        if path not in self.seen.by_course[ZERO]:
            return 0.0, 0.0
        response = self._response(ZERO, path)
        return _share(response.ours), _share(response.theirs)

    def _decay(self, path: str) -> tuple[str, str]:
        """Cause and words for what a parameter without a gradient does otherwise."""
        ours, theirs = self._decay_shares(path)
        coupled = [self._is_in_gradient(path, side) for side in (0, 1)]
        if coupled[0] != coupled[1] and ours and theirs:
            names = ("reference", "port") if coupled[0] else ("port", "reference")
            words = f"the {names[0]} adds it to the gradient, the {names[1]} decays the values by themselves"
            return "weight decay in the gradient", words
        if not (ours and theirs):
            side = 0 if ours else 1
            mover, other = ("reference", "port")[:: 1 - 2 * side]
            zero = self._response(ZERO, path).of(side)
            if is_uneven(zero):
                return self._uneven(side, mover, other)
            share = self._decay_words(path, side)
            return "weight decay mask", f"the {mover} decays {share}, the {other} not"
        rate, other = self._rate(path), self._rate(path, 1)
        if all(coupled) or (rate and other and abs(ours / theirs * other / rate - 1) < NEAR):
            # What the rules and their rates tell.
            return "", ""
        words = f"the reference decays {self._decay_words(path, 0)}, the port {self._decay_words(path, 1)}"
        if rate and any(abs(theirs / ours * factor - 1) < 0.05 for factor in (rate, 1 / rate)):
            who = "port" if theirs > ours else "reference"
            return "weight decay without the rate", f"{words}: the {who} does not multiply it by its rate of {rate:.4g}"
        if abs(ours / theirs - 1) < NEAR:
            return "", ""
        return "weight decay", words

    def _uneven(self, side: int, mover: str, other: str) -> tuple[str, str]:
        """Cause and words for what moves without a gradient, by no share of its values."""
        trails = [self._response(ZERO, path).of(side) for path in self.wrong if ZERO in self.wrong[path]]
        first = [int(np.argmax(trail.moves.any(axis=1))) for trail in trails]
        towards = np.concatenate([each.moves[n] * each.before[n] for n, each in zip(first, trails, strict=True)])
        if (towards[towards != 0] < 0).mean() > _MOSTLY:
            return "weight decay mask", f"the {mover} adds a decay to the gradient, the {other} not"
        return "optimizer", f"the {mover} moves without a gradient, and not by a share of the values, the {other} not"

    def _is_in_gradient(self, path: str, side: int) -> bool:
        """Whether a decay goes through the rule: no multiple of the values, or one that is not the rate's."""
        return bool(self.fits(path)[side].numbers.coupled) or is_uneven(self._response(ZERO, path).of(side))

    def _decay_words(self, path: str, side: int) -> str:
        share = self._decay_shares(path)[side]
        rate = self._rate(path, side)
        times = f" ({share / rate:.4g} times its rate)" if rate else ""
        return f"by {share:.4g} of its value in a step{times}"

    def _rate(self, path: str, side: int = 0) -> float:
        """The rate of the step at which the decay is told; 0 where no rule explains it, or it is no parameter's own."""
        fit = self.fits(path)[side]
        if fit.error > EXPLAINED * 100 or self._is_relative:
            return 0.0
        response = self._response(CONSTANT, path)
        found = rates(fit.numbers, self.seen.counts[CONSTANT], response.given, response.of(side))
        zero = self._response(ZERO, path).of(side).moves
        first = next((n for n, move in enumerate(zero) if move.any()), 0)
        return float(found[first]) if first < len(found) and np.isfinite(found[first]) else 0.0

    # The rule.

    @cached_property
    def _fits(self) -> dict[str, tuple[Fitted, Fitted]]:
        return {}

    def fits(self, path: str) -> tuple[Fitted, Fitted]:
        """The rules of both sides for a parameter: those of one that was fitted before, where they explain it too."""
        if path in self._fits:
            return self._fits[path]
        trails = [
            {name: (course[path].given, course[path].of(side)) for name, course in self.seen.by_course.items()}
            for side in (0, 1)
        ]
        known = None
        for known in dict.fromkeys(self._fits.values()):
            if all(_explains(fit, trail) for fit, trail in zip(known, trails, strict=True)):
                self._fits[path] = known
                return known
        if known and len(set(self._fits.values())) >= _MOST_RULES:
            return known
        self._fits[path] = fitted(trails[0]), fitted(trails[1])
        return self._fits[path]

    def _rules(self, paths: Sequence[str]) -> Iterator[Cause]:
        """What differs beside the decay of parameters without a gradient."""
        largest = sorted(paths, key=lambda path: -self._response(CONSTANT, path).given.shape[1])
        found: dict[tuple[str, str], list[str]] = {}
        for path in largest:
            for cause in self._rule(path):
                found.setdefault(cause, []).append(path)
        for (cause, words), mine in found.items():
            yield Cause(cause, words, tuple(path for path in self.wrong if path in mine))
        # Of relative steps a rate in the huge ones tells of nothing but the norm, where others differ, too.
        limited = [path for path in paths if HUGEST in self.wrong[path]]
        yield from self._clips([path for path in limited if len(self.wrong[path]) == 1 or not self._is_relative])

    def _rule(self, path: str) -> Iterator[tuple[str, str]]:
        ours, theirs = self.fits(path)
        if max(ours.error, theirs.error) > 100 * EXPLAINED:
            yield from self._cycled(path, ours, theirs)
            return
        told = list(differences(ours.numbers, theirs.numbers))
        yield from told
        if kind(ours.numbers) == kind(theirs.numbers) and not self._is_relative:
            yield from self._schedules(path, ours, theirs)
        elif self._is_relative and not told and ZERO not in self.wrong[path]:
            yield from self._inner_decays(path, ours, theirs)

    def _inner_decays(self, path: str, ours: Fitted, theirs: Fitted) -> Iterator[tuple[str, str]]:
        """Of steps that are relative to a norm, a decay that is added before."""
        response, shares = self._response(CONSTANT, path), []
        for side, fit in enumerate((ours, theirs)):
            trail = response.of(side)
            made = directions(fit.numbers, Course(response.given, trail.before, self.seen.counts[CONSTANT]))
            rate, decay = rates_and_decays(made, trail.before, trail.moves, decays=True)
            shares.append(float(decay[0] / rate[0]))
        if not np.isclose(*shares, rtol=1e-2, atol=1e-6):
            one, other = (f"{share if abs(share) > 1e-6 else 0:.4g}" for share in shares)
            words = f"the reference adds {one} of the values to a step before it is scaled, the port {other}"
            yield "weight decay", words

    def _cycled(self, path: str, ours: Fitted, theirs: Fitted) -> Iterator[tuple[str, str]]:
        """Of a side that no rule explains the other's, but for a momentum or a first beta that changes."""
        known = int(theirs.error < ours.error)
        numbers = (ours, theirs)[known].numbers
        # One of few entries goes by any such shares: they are those of the largest.
        largest = max(self.wrong, key=lambda each: self._response(ORDINARY, each).given.shape[1])
        response = self._response(ORDINARY, largest)
        if min(ours.error, theirs.error) > 100 * EXPLAINED:
            return
        kept = shares_kept(numbers, self.seen.counts[ORDINARY], response.given, response.of(1 - known))
        if kept is None:
            return
        who, other = ("port", "reference") if known == 0 else ("reference", "port")
        if numbers.momentum:
            told = f"from {kept[0]:.4g} at step 2 to {kept[-1]:.4g} at step {len(kept) + 1}"
            words = f"the {who}'s momentum changes with the steps, {told}; the {other}'s is {numbers.momentum:.4g}"
            yield "momentum", words
        else:
            yield "betas", f"the {who}'s first beta changes with the steps, the {other}'s is {numbers.first:.4g}"

    def _rates(self, course: str, path: str, fits: tuple[Fitted, Fitted]) -> list[np.ndarray]:
        response = self._response(course, path)
        steps = self.seen.counts[course]
        return [rates(fits[side].numbers, steps, response.given, response.of(side)) for side in (0, 1)]

    def _schedules(self, path: str, ours: Fitted, theirs: Fitted) -> Iterator[tuple[str, str]]:
        first = self._rates(CONSTANT, path, (ours, theirs))
        later = self._rates(SCHEDULE, path, (ours, theirs))
        steps = [*self.seen.counts[CONSTANT], *self.seen.counts[SCHEDULE]]
        one, other = np.concatenate([first[0], later[0]]), np.concatenate([first[1], later[1]])
        apart = ~np.isclose(one, other, rtol=NEAR / 10, atol=1e-9 * np.nanmax(np.abs(one), initial=0.0))
        apart &= ~(np.isnan(one) & np.isnan(other))
        if not apart.any():
            return
        place = int(np.argmax(apart))
        both = f"the reference's rate is {one[place] + 0.0:.4g} and the port's {other[place] + 0.0:.4g}"
        told = f"at step {steps[place]} {both}"
        shift = _shift(first[0], first[1])
        if shift:
            yield "schedule", f"{told}: the port's schedule is {shift}"
            return
        times = _multiple(one, other)
        if times:
            many = max(self.seen.every)
            if many > 1 and any(abs(times * factor - 1) < NEAR for factor in (many, 1 / many)):
                who = "port" if times > 1 else "reference"
                yield "accumulation", f"{told}: of {many} gradients the {who} has the sum where the other has the mean"
                return
            yield "learning rate", f"{told}: {times:.4g} times it at every step"
            return
        is_late = place >= len(first[0]) and max(steps) == LAST
        yield "schedule", told + _SHORTER * is_late

    # Clipping.

    def _clips(self, paths: Sequence[str]) -> Iterator[Cause]:
        found = {path: clips for path in paths if (clips := self._clip(path)) is not None}
        unlike = tuple(path for path, (ours, theirs) in found.items() if not _is_same(ours, theirs))
        if unlike:
            words = [self._clip_words({path: found[path][side] for path in unlike}) for side in (0, 1)]
            yield Cause("clipping", f"the reference {words[0]}, the port {words[1]}", unlike)

    def _clip(self, path: str) -> tuple[Clip | None, Clip | None] | None:
        fits, response, row = self.fits(path), self._response(HUGEST, path), self.seen.rows[path]
        if max(fit.error for fit in fits) > 100 * EXPLAINED:
            return None
        steady, size = self._rates(CONSTANT, path, fits), int(np.prod(row.port_shape))
        norms = self.seen.norms[HUGEST]
        ours, theirs = (
            clipped(fits[side].numbers, response.given, response.of(side), norms, steady[side], size) for side in (0, 1)
        )
        return ours, theirs

    def _clip_words(self, clips: Mapping[str, Clip | None]) -> str:
        known = {path: clip for path, clip in clips.items() if clip is not None}
        hows = {clip.how for clip in known.values()}
        if len(known) < len(clips) or len(hows) > 1:
            return "limits huge steps in another way"
        if hows == {"none"}:
            return "does not clip"
        most = np.array([clip.most for clip in known.values()])
        if hows == {"tensor"} and len(most) > 1 and not is_steady(most):
            most = most / np.sqrt([np.prod(self.seen.rows[path].port_shape) for path in known])
            hows = {"root"}
        what = {
            "value": "each value",
            "norm": "the global norm",
            "tensor": "each tensor's norm",
            "root": "each tensor's root mean square",
        }[hows.pop()]
        return f"clips {what} of gradients at {most.mean():.4g}" if is_steady(most) else f"clips {what} of gradients"


def _is_same(ours: Clip | None, theirs: Clip | None) -> bool:
    if ours is None or theirs is None:
        return False
    return ours.how == theirs.how and bool(np.isclose(ours.most, theirs.most, rtol=NEAR))


def causes_of_averages(seen: Responses, wrong: Sequence[str]) -> list[Cause]:
    """What is not the same in two averages of the parameters. wrong: the port's paths of those that are apart."""
    if seen.averaged[0] != seen.averaged[1]:
        one, other = ("reference", "port") if seen.averaged[0] else ("port", "reference")
        words = f"the {one} averages its parameters, the {other} does not"
        return [Cause("average of weights", words, tuple(seen.rows))]
    if not wrong:
        return []
    response = seen.by_course[CONSTANT][wrong[0]]
    kept = [_kept(averages, trail) for averages, trail in zip(response.averages or (), response[1:3], strict=True)]
    place = next((n for n, (one, other) in enumerate(zip(*kept, strict=True)) if abs(one - other) > NEAR / 10), 0)
    words = (
        f"at step {place + 2} the reference keeps {kept[0][place]:.4g} of its average and the port {kept[1][place]:.4g}"
    )
    if abs(kept[0][place] - kept[1][place]) <= NEAR / 10:
        words = "the averages of both begin otherwise: with the first values, or with those after the first step"
    return [Cause("average of weights", words, tuple(wrong))]


def _kept(averages: np.ndarray, trail: Trail) -> list[float]:
    """From the second step on, which share of itself an average keeps beside the new values."""
    after = trail.before + trail.moves
    new, old = after[1:] - averages[:-1], averages[1:] - averages[:-1]
    return [1 - float((each * step).sum() / max((each**2).sum(), 1e-300)) for each, step in zip(new, old, strict=True)]


def _share(zero: Trail) -> float:
    """What share of itself a parameter loses in the first step without a gradient in which it moves."""
    found = decays(zero)
    moving = [abs(found[n]) for n, move in enumerate(zero.moves) if move.any()]
    return float(moving[0]) if moving else 0.0


def _told_multiple(times: Mapping[int, float]) -> tuple[str, str]:
    """Cause and words for by how many times as far the port goes at each step."""
    all_times = np.array(list(times.values()))
    middle = float(np.median(all_times))
    # Where the values go apart a multiple is one but for a part.
    if np.abs(all_times - middle).max() <= 0.1 * abs(middle - 1):
        return "learning rate", f"the port goes {middle:.2g} times as far as the reference at every step"
    first = next(count for count in sorted(times) if abs(times[count] - 1) > NEAR / 10)
    return "schedule", f"at step {first} the port goes {times[first]:.3g} times as far as the reference"


def _multiple(ours: np.ndarray, theirs: np.ndarray) -> float:
    """By what the port's rate is a multiple of the reference's in all steps alike; 0 where it is not."""
    moving = (ours != 0) & np.isfinite(ours)
    if not moving.any() or (theirs[~moving & ~np.isnan(theirs)] != 0).any():
        return 0.0
    ratio = theirs[moving] / ours[moving]
    times = float(np.median(ratio))
    # A curve that is stretched is nearly a multiple where it begins, and none where it ends.
    is_one = np.abs(ratio - times).max() < NEAR * max(abs(times - 1), NEAR / 10)
    return times if is_one and np.isfinite(times) else 0.0


def _shift(ours: np.ndarray, theirs: np.ndarray) -> str:
    """By how many steps one schedule is before the other; empty for a rate that stays, or where none is so."""
    if np.isnan(ours).any() or np.isnan(theirs).any() or np.allclose(ours, ours[0], rtol=NEAR / 10):
        return ""
    for steps, word in ((1, "a step"), (2, "two steps")):
        if np.allclose(theirs[steps:], ours[:-steps], rtol=NEAR / 10, atol=1e-12):
            return f"{word} late"
        if np.allclose(ours[steps:], theirs[:-steps], rtol=NEAR / 10, atol=1e-12):
            return f"{word} early"
    return ""


def _explains(fit: Fitted, trails: Mapping[str, tuple[np.ndarray, Trail]]) -> bool:
    return left_of(fit.numbers, trails) < EXPLAINED


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
