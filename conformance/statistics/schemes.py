"""Which of the usual schemes is this? A name for draws, in words that lead to the line to be changed.

A scheme is named only if the draws pass its own tests; a guess that is not proved is worth less than none, since it is
what somebody will go and change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...common.errors import InitializerError
from ...common.initializers import (
    TWO_SIGMA_STD,
    Continuous,
    ContinuousPart,
    Initializer,
    Law,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Uniform,
)
from .blocks import SECTIONS
from .catalogue import NAMES, Candidate, bound_for_std, candidates, uncorrected, variance_for_std
from .constants import still
from .matched import spread
from .orthogonality import gain_of
from .pooled import pooled
from .rounding import eps, unrounded
from .scores import outside, scores

Values = np.ndarray[Any, Any]

# A scheme whose tests fall below this is not named.
_ACCEPT = 1e-4
# More values tell no two usual schemes apart, and take time.
_MOST_VALUES = 16384
_MOST_MEASURED = 2**17
# Of fewer values no scheme is named: `likeliest` then says so, `diagnose` says nothing.
_LEAST_VALUES = 32
_LEAST_DIAGNOSED = 64
# A mask, or whole numbers; a continuous law has more values even in a coarse format.
_FEW = 8
# A scheme is tried if its std is within this many standard errors of the draws'.
_ERRORS = 5.0
# Log-likelihoods nearer than this tell nothing.
_TOLD_APART = 2.0
_FAMILIES = {"norm": "normal", "uniform": "uniform", "truncnorm": "truncated normal"}


@dataclass(frozen=True)
class Scheme:
    """A scheme that explains the draws of a parameter, or the family that is nearest to them.

    words: `uniform +-1/sqrt(fan_in) (PyTorch Linear's default)`.
    family: `constant`, `identity`, `orthogonal`, `uniform`, `normal`, `truncated normal`, `other`.
    std: that of the draws, of a large parameter at many indices all over it. mean: likewise.
    fan: what the scale is made of: `fan_in`, `fan_out`, `fan_avg`, `width`, `depth`; empty for a plain number.
    law: the density, for a drawing of it; None if there is none, or none is known.
    named: whether the scheme was found, or only the family measured.
    """

    words: str
    family: str
    std: float
    mean: float = 0.0
    fan: str = ""
    law: Continuous | None = None
    named: bool = True


def likeliest(samples: Values, shape: Sequence[int], *, fans: str | None = None) -> Scheme | None:
    """The likeliest scheme of draws `(draws, *shape)`; None if there are no values, or not only finite ones.

    samples: floating-point of any format; whole numbers and truth values are measured, too.
    fans: how the shape is read: `out in` as PyTorch stores a matrix or a convolution, `in out` as Flax does. Without
        it both readings are tried, PyTorch's first, and the words say so where they need the other one.

    Only a scheme that the draws pass its own tests of is named; else the words say what was measured, as in
    `normal-like, std 0.0312`.
    """
    samples = np.asarray(samples)
    # Whole numbers and truth values have a law of point masses, of which only the numbers are told.
    samples = samples if eps(samples.dtype) else samples.astype(np.float64)
    if samples.size == 0 or not np.isfinite(samples).all():
        return None
    if still(samples).all():
        return _constant(samples[0])
    flat = samples.reshape(len(samples), -1)
    thinned = flat[:, spread(np.arange(flat.shape[1]), _MOST_MEASURED, samples.shape[1:])]
    std, mean = float(thinned.astype(np.float64).std()), float(thinned.astype(np.float64).mean())
    gain = gain_of(samples)
    if gain is not None:
        return Scheme(f"orthogonal, gain {gain:.4g}", "orthogonal", std, mean)
    values = _some(thinned)
    if len(values) < _LEAST_VALUES:
        return Scheme(f"random, std {std:.3g}, of too few values for more", "other", std, mean, named=False)
    if len(np.unique(values)) <= _FEW:
        return Scheme(f"random among a few values, std {std:.3g}", "other", std, mean, named=False)
    found = _named(values, candidates(tuple(shape), fans))
    if found is not None:
        return Scheme(found.words, _FAMILIES[found.law.family], std, mean, found.fan, found.law)
    return _measured(values, std, mean)


def diagnose(samples: Values, shape: Sequence[int], initializer: Initializer | None = None) -> str | None:
    """What draws `(draws, *shape)` look like: the likeliest scheme's name, or None if none explains them.

    With the initializer that was expected, the mistakes that are made with it are among the rivals. Rivals are
    ranked by likelihood; those with the same law for this shape are named together, "A, or B".

    Raises:
        InitializerError: the shape does not suit the initializer.
    """
    samples = np.asarray(samples)
    if samples.size < _LEAST_DIAGNOSED or not np.isfinite(samples).all():
        return None
    if isinstance(initializer, Orthogonal):
        return _missing_sign_fix(samples)
    rivals: dict[ContinuousPart, list[str]] = {}
    for words, part in _rivals(tuple(shape), initializer):
        rivals.setdefault(_rounded(part), []).append(words)
    likely = {part: _log_likelihood(samples, part) for part in rivals}
    for part in sorted(rivals, key=lambda rival: likely[rival], reverse=True):
        if likely[part] > -math.inf and _accepted(samples, part):
            return ", or ".join(rivals[part])
    return None


def _constant(draw: Values) -> Scheme:
    wide = draw.astype(np.float64)
    std, mean = float(wide.std()), float(wide.mean())
    value = float(wide.flat[0])
    if (wide == value).all():
        words = {0.0: "constant 0", 1.0: "ones"}.get(value, f"constant {value:g}")
        return Scheme(words, "constant", std, mean)
    if wide.ndim == 2 and np.array_equal(wide, np.eye(*wide.shape)):
        return Scheme("identity", "identity", std, mean)
    return Scheme(f"constant in every draw, values from {wide.min():.3g} to {wide.max():.3g}", "constant", std, mean)


def _some(samples: Values) -> Values:
    """Entries that are random, from all over the parameter, zeros left out where they are many."""
    flat = samples[:, ~still(samples)]
    # A fixed order: the same draws have the same name.
    step = max(1, flat.size // _MOST_VALUES)
    values = flat.ravel()[::step][:_MOST_VALUES]
    zero = values == 0
    return values[~zero] if np.count_nonzero(zero) > 1 and not zero.all() else values


def _named(values: Values, tiers: Iterator[list[Candidate]]) -> Candidate | None:
    """The likeliest candidate of the first tier that has one which passes its tests.

    A slip whose scale is by chance near the draws' must not be named where a usual scheme explains them.
    """
    std, n = float(values.astype(np.float64).std()), len(values)
    for tier in tiers:
        found: dict[ContinuousPart, Candidate] = {}
        for each in tier:
            if abs(std / each.law.std - 1) < _ERRORS / math.sqrt(n):
                found.setdefault(_rounded(each.law), each)
        likely = {law: _log_likelihood(values, law) for law in found}
        best = max(likely.values(), default=-math.inf)
        # Of two that the draws can hardly tell apart the one that is listed first is the more usual one.
        for law in sorted(found, key=lambda law: 0.0 if likely[law] > best - _TOLD_APART else -likely[law]):
            if likely[law] > -math.inf and _accepted(values, law):
                return found[law]
    return None


def _measured(values: Values, std: float, mean: float) -> Scheme:
    """The family that fits best once its numbers are those of the draws."""
    wide = values.astype(np.float64)
    half, middle = float(np.ptp(wide)) / 2, float(wide.max() + wide.min()) / 2
    own_std, own_mean = float(wide.std()), float(wide.mean())
    # The expected largest of n uniform values is bound (n - 1) / (n + 1), and the least as far below the middle.
    bound = half * (len(wide) + 1) / (len(wide) - 1)
    fits = [
        Continuous("norm", (), own_mean, own_std),
        Continuous("uniform", (), middle - bound, 2 * bound),
        Continuous("truncnorm", (-2.0, 2.0), middle, half / 2),
    ]
    accepted = [law for law in fits if _accepted(values, law)]
    if not accepted:
        return Scheme(f"of no usual family, std {own_std:.3g}", "other", std, mean, named=False)
    best = max(accepted, key=lambda law: _log_likelihood(values, law))
    family = _FAMILIES[best.family]
    around = "" if abs(own_mean) < 5 * own_std / math.sqrt(len(wide)) else f", mean {own_mean:.3g}"
    size = f"+-{bound:.4g}" if family == "uniform" and not around else f"std {own_std:.3g}"
    return Scheme(f"{family}-like, {size}{around}", family, std, mean, law=best, named=False)


def _rivals(shape: tuple[int, ...], initializer: Initializer | None) -> Iterator[tuple[str, ContinuousPart]]:
    """What may have been drawn instead; the expected law itself is no rival."""
    expected: set[ContinuousPart] = set()
    tried = [(words, scheme, shape) for scheme, words in NAMES.items()]
    if initializer is not None:
        expected = {_rounded(part) for _, part in _part("", initializer, shape)}
        tried = [*_slips(shape, initializer), *_misread_shapes(shape, initializer), *tried]
    for words, scheme, read_as in tried:
        yield from (found for found in _part(words, scheme, read_as) if _rounded(found[1]) not in expected)


def _part(words: str, candidate: Initializer, shape: Sequence[int]) -> Iterator[tuple[str, ContinuousPart]]:
    """The candidate's law, if it fits the shape and is continuous."""
    try:
        law = candidate.law(shape)
    except InitializerError:
        return
    if law.continuous is not None and not law.point_masses:
        yield words, law.continuous


def _slips(shape: tuple[int, ...], initializer: Initializer) -> Iterator[tuple[str, Initializer, tuple[int, ...]]]:
    """Initializers that are right but for the family, the cut, or what the number means."""
    law = initializer.law(shape)
    if not initializer.independent or law.point_masses or not 0 < law.std < math.inf:
        return
    mean, std = law.mean, law.std
    half_width = math.sqrt(3) * std
    slips = {
        "the spec's mean and std, but normal": Normal(mean, std),
        "the spec's mean and std, but uniform": Uniform(mean - half_width, mean + half_width),
        "the spec's mean and std, but cut at two sigma": TruncatedNormal(mean, std / TWO_SIGMA_STD, cut="sigma"),
        "a normal cut at two sigma without the correction by 0.8796": uncorrected(law),
        "a normal whose std is the spec's variance": variance_for_std(law),
        "a normal whose std is the spec's bound": bound_for_std(law),
    }
    if isinstance(initializer, TruncatedNormal):
        other = "sigma" if initializer.cut == "absolute" else "absolute"
        slips[f"the spec's truncated normal with its bounds read as {other}"] = replace(initializer, cut=other)
    yield from ((words, slip, shape) for words, slip in slips.items())


def _misread_shapes(
    shape: tuple[int, ...], initializer: Initializer
) -> Iterator[tuple[str, Initializer, tuple[int, ...]]]:
    """The right initializer, its fans taken from the wrong axes."""
    if len(shape) < 2:
        return
    yield "the spec's initializer with fan_in and fan_out swapped", initializer, (shape[1], shape[0], *shape[2:])
    for parts in SECTIONS:
        if shape[0] % parts == 0:
            words = f"the spec's initializer with the fans of one of {parts} fused blocks"
            yield words, initializer, (shape[0] // parts, *shape[1:])


def _rounded(part: ContinuousPart) -> ContinuousPart:
    """The law up to rounding, so that two ways to compute one scale count as one."""
    if not isinstance(part, Continuous):
        return part
    # What is left of a difference of two numbers that are equal but for rounding is no location of its own.
    loc = 0.0 if abs(part.loc) < 1e-12 * part.scale else part.loc
    shapes = tuple(float(f"{number:.12g}") for number in part.shapes)
    return Continuous(part.family, shapes, float(f"{loc:.12g}"), float(f"{part.scale:.12g}"))


def _log_likelihood(values: Values, part: ContinuousPart) -> float:
    values = unrounded(values, Law(part))
    if outside(values, Law(part)):
        return -math.inf
    low, high = part.support
    return float(np.sum(part.logpdf(np.clip(values.astype(np.float64), low, high))))


def _accepted(values: Values, part: ContinuousPart) -> bool:
    rows = pooled("", scores(unrounded(values, Law(part)), Law(part)))
    return all(row.p_value is not None and row.p_value > _ACCEPT for row in rows)


def _missing_sign_fix(samples: Values) -> str | None:
    corner = samples.reshape(len(samples), -1)[:, 0]
    if len(corner) >= 20 and (np.all(corner < 0) or np.all(corner > 0)):
        return "a QR factorization whose signs were not fixed: the first entry never changes sign"
    return None
