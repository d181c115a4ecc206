"""Which of the usual schemes is this? A name for one side's draws, in words that lead to the line to be changed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...common.initializers import TWO_SIGMA_STD, Continuous, Law
from .constants import still
from .diagnosis import ACCEPT, likelihood
from .formats import HALF, eps
from .matched import spread
from .orthogonality import gain_of
from .pooled import pooled
from .rounding import unrounded
from .scores import scores

Values = np.ndarray[Any, Any]

# More values tell no two usual schemes apart, and take time.
_MOST_VALUES = 16384
_MOST_MEASURED = 2**17
_LEAST_VALUES = 32
# A mask, or whole numbers; a continuous law has more values even in a coarse format.
_FEW = 8
# A scheme is tried if its std is within this many standard errors of the draws'.
_ERRORS = 5.0
# Log-likelihoods nearer than this tell nothing.
_TOLD_APART = 2.0
_MOST_BLOCKS = 128


@dataclass(frozen=True)
class Scheme:
    """A scheme that explains the draws of a parameter, or the family that is nearest to them.

    words: `uniform +-1/sqrt(fan_in) (PyTorch Linear's default)`.
    family: `constant`, `identity`, `orthogonal`, `uniform`, `normal`, `truncated normal`, `other`.
    std: that of the draws, of a large parameter at many places all over it. mean: likewise.
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


@dataclass(frozen=True)
class _Candidate:
    words: str
    family: str
    std: float
    fan: str = ""
    mean: float = 0.0
    cut: float = 2.0

    @property
    def law(self) -> Continuous:
        if self.family == "uniform":
            half = math.sqrt(3) * self.std
            return Continuous("uniform", (), self.mean - half, 2 * half)
        if self.family == "normal":
            return Continuous("norm", (), self.mean, self.std)
        return Continuous("truncnorm", (-2.0, 2.0), self.mean, self.std / TWO_SIGMA_STD)


def likeliest(samples: Values, shape: Sequence[int], *, fans: str | None = None) -> Scheme | None:
    """The likeliest scheme of draws `(draws, *shape)`; None if there are no values, or not only finite ones.

    fans: how the shape is read: `out in` as PyTorch stores a matrix or a convolution, `in out` as Flax does. Without
        it both readings are tried, PyTorch's first, and the words say so where they need the other one.

    Only a scheme that the draws pass its own tests of is named; else the words say what was measured, as in
    `normal-like, std 0.0312`.
    """
    samples = np.asarray(samples)
    # Whole numbers and truth values are a law with atoms, of which only the numbers are told.
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
    found = _named(values, _candidates(tuple(shape), fans))
    if found is not None:
        return Scheme(found.words, found.family, std, mean, found.fan, found.law)
    return _measured(values, std, mean)


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
    """Entries that are random, from all over the parameter, zeros aside where they are many, in float64."""
    flat = samples[:, ~still(samples)]
    # A fixed order: the same draws have the same name.
    step = max(1, flat.size // _MOST_VALUES)
    values = flat.reshape(-1)[::step][:_MOST_VALUES]
    zero = values == 0
    return values[~zero] if np.count_nonzero(zero) > 1 and not zero.all() else values


def _named(values: Values, tiers: Iterator[list[_Candidate]]) -> _Candidate | None:
    """The likeliest candidate of the first tier that has one which passes its tests.

    A slip whose scale is by chance near the draws' must not be named where a usual scheme explains them.
    """
    wide = values.astype(np.float64)
    std, n = float(wide.std()), len(wide)
    for tier in tiers:
        laws: dict[Continuous, str] = {}
        close = [each for each in tier if abs(std / each.std - 1) < _ERRORS / math.sqrt(n)]
        for each in close:
            laws.setdefault(_rounded(each.law), each.words)
        likely = {law: _log_likelihood(values, law) for law in laws}
        best = max(likely.values(), default=-math.inf)
        # Of two that the draws can hardly tell apart the one that is listed first is the more usual one.
        order = sorted(laws, key=lambda law: 0.0 if likely[law] > best - _TOLD_APART else -likely[law])
        for law in order:
            if likely[law] > -math.inf and _accepted(values, law):
                return next(each for each in close if each.words == laws[law])
    return None


def _candidates(shape: tuple[int, ...], fans: str | None) -> Iterator[list[_Candidate]]:
    """Every usual scheme for a shape in tiers, the more usual ones first."""
    plain = list(_readings(shape, fans))
    fused = list(_fused(plain))
    yield [each for reading in plain for each in _usual(*reading)] + list(_plain(shape))
    yield [each for reading in plain for each in _by_fan_out(*reading)] + list(_by_depth())
    yield [each for reading in fused for each in _usual(*reading)]
    yield [each for reading in plain for each in _slips(*reading)]


def _readings(shape: tuple[int, ...], fans: str | None) -> Iterator[tuple[float, float, str]]:
    """fan_in and fan_out of a shape, as it may be read, with a note where that is not the plain one."""
    if len(shape) < 2 or 0 in shape:
        return
    whole = math.prod(shape)
    torch, flax = (whole / shape[0], whole / shape[1]), (whole / shape[-1], whole / shape[-2])
    if fans is None and len(shape) > 3:
        # A convolution's taps are fewer than its channels.
        fans = "out in" if math.prod(shape[2:]) <= math.prod(shape[:-2]) else "in out"
    if fans == "in out":
        yield *flax, ""
    else:
        yield *torch, ""
        if fans is None:
            yield *flax, ", the shape read as (in, out)"
    if len(shape) == 3 and fans != "out in":
        # Flax's kernels of several heads.
        yield float(shape[0]), whole / shape[0], ", the shape read as (in, heads, features)"


def _fused(readings: Sequence[tuple[float, float, str]]) -> Iterator[tuple[float, float, str]]:
    for fan_in, fan_out, note in readings:
        for parts in (3, 4, 2):
            if fan_out % parts == 0:
                yield fan_in, fan_out / parts, f", the fans of one of {parts} fused blocks{note}"
            yield fan_in, fan_out * parts, f", the fans of {parts} such blocks fused{note}"


def _usual(fan_in: float, fan_out: float, note: str) -> Iterator[_Candidate]:
    one, two, mean = 1 / math.sqrt(fan_in), math.sqrt(2 / fan_in), math.sqrt(2 / (fan_in + fan_out))
    cut = "truncated normal"
    for words, family, std, fan in (
        ("uniform +-1/sqrt(fan_in) (PyTorch Linear's default)", "uniform", one / math.sqrt(3), "fan_in"),
        ("truncated normal, std 1/sqrt(fan_in) (Flax Dense's default)", cut, one, "fan_in"),
        ("uniform +-sqrt(6/(fan_in + fan_out)) (Glorot)", "uniform", mean, "fan_avg"),
        ("normal, std sqrt(2/(fan_in + fan_out)) (PyTorch's Glorot)", "normal", mean, "fan_avg"),
        ("truncated normal, std sqrt(2/(fan_in + fan_out)) (Flax's Glorot)", cut, mean, "fan_avg"),
        ("normal, std sqrt(2/fan_in) (PyTorch's He)", "normal", two, "fan_in"),
        ("truncated normal, std sqrt(2/fan_in) (Flax's He)", cut, two, "fan_in"),
        ("uniform +-sqrt(6/fan_in) (He)", "uniform", two, "fan_in"),
        ("normal, std 1/sqrt(fan_in) (LeCun, and Flax Embed's default)", "normal", one, "fan_in"),
        ("uniform +-sqrt(3/fan_in) (LeCun)", "uniform", one, "fan_in"),
    ):
        yield _Candidate(words + note, family, std, fan)


def _by_fan_out(fan_in: float, fan_out: float, note: str) -> Iterator[_Candidate]:
    one, two = 1 / math.sqrt(fan_out), math.sqrt(2 / fan_out)
    cut = "truncated normal"
    for words, family, std in (
        ("normal, std sqrt(2/fan_out) (PyTorch's He)", "normal", two),
        ("truncated normal, std sqrt(2/fan_out) (Flax's He)", cut, two),
        ("uniform +-sqrt(6/fan_out) (He)", "uniform", two),
        ("normal, std 1/sqrt(fan_out)", "normal", one),
        ("uniform +-1/sqrt(fan_out)", "uniform", one / math.sqrt(3)),
        ("uniform +-sqrt(3/fan_out)", "uniform", one),
        ("truncated normal, std 1/sqrt(fan_out)", cut, one),
    ):
        yield _Candidate(words + note, family, std, "fan_out")


def _by_depth() -> Iterator[_Candidate]:
    for blocks in range(2, _MOST_BLOCKS + 1):
        words = f"normal, std 0.02/sqrt(2 n) with n = {blocks} (GPT-2's residual projections)"
        yield _Candidate(words, "normal", 0.02 / math.sqrt(2 * blocks), "depth")


def _plain(shape: tuple[int, ...]) -> Iterator[_Candidate]:
    """Schemes that no fan enters, and those of vectors."""
    yield _Candidate("normal, std 1 (PyTorch Embedding's default)", "normal", 1.0)
    for std in (0.02, 0.01, 0.1, 0.05, 0.006, 0.001, 0.005):
        note = {0.01: " (Flax's normal())"}.get(std, "")
        yield _Candidate(f"normal, std {std:g}{note}", "normal", std)
        yield _Candidate(f"truncated normal, cut at two sigma, std {std:g} after the cut", "truncated normal", std)
        words = f"truncated normal, std {std:g} before the cut at two sigma (Flax's truncated_normal({std:g}))"
        yield _Candidate(words, "truncated normal", std * TWO_SIGMA_STD)
    for words, low, high in (
        ("uniform on [0, 1) (PyTorch's uniform_)", 0.0, 1.0),
        ("uniform on [0, 0.01) (Flax's uniform())", 0.0, 0.01),
    ):
        yield _Candidate(words, "uniform", (high - low) / math.sqrt(12), "", (low + high) / 2)
    for bound in (1.0, 0.1, 0.05, 0.01):
        yield _Candidate(f"uniform +-{bound:g}", "uniform", bound / math.sqrt(3))
    if shape:
        width = float(shape[-1])
        yield _Candidate("uniform +-1/sqrt(width)", "uniform", 1 / math.sqrt(3 * width), "width")
        yield _Candidate("normal, std 1/sqrt(width)", "normal", 1 / math.sqrt(width), "width")


def _slips(fan_in: float, fan_out: float, note: str) -> Iterator[_Candidate]:
    """Slips: a number taken for another one."""
    for fan, value in (("fan_in", fan_in), ("fan_out", fan_out)):
        words = f"truncated normal, std 1/sqrt({fan}) before the cut, not divided by 0.8796"
        yield _Candidate(words + note, "truncated normal", TWO_SIGMA_STD / math.sqrt(value), fan)
        if value > 1:
            yield _Candidate(f"normal, std 1/{fan}: the variance taken for the std{note}", "normal", 1 / value, fan)
            yield _Candidate(f"normal, std 2/{fan}: the variance taken for the std{note}", "normal", 2 / value, fan)
        bound = math.sqrt(6 / (fan_in + fan_out))
        yield _Candidate(f"normal whose std is Glorot's bound{note}", "normal", bound, "fan_avg")
        yield _Candidate(f"uniform whose bound is Glorot's std{note}", "uniform", bound / 3, "fan_avg")
        words = f"normal whose std is He's bound sqrt(6/{fan}){note}"
        yield _Candidate(words, "normal", math.sqrt(6 / value), fan)
        yield _Candidate(
            f"uniform whose bound is He's std sqrt(2/{fan}){note}", "uniform", math.sqrt(2 / value / 3), fan
        )


def _measured(values: Values, std: float, mean: float) -> Scheme:
    """The family that fits best once its numbers are those of the draws."""
    wide = values.astype(np.float64)
    half, middle = float(np.ptp(wide)) / 2, float(wide.max() + wide.min()) / 2
    own_std, own_mean = float(wide.std()), float(wide.mean())
    # The ends of a uniform sample are just inside its bounds: by their expectation, and rounding aside.
    bound = half * (len(wide) + 1) / (len(wide) - 1)
    fits = [
        _Candidate("", "normal", own_std, mean=own_mean),
        _Candidate("", "uniform", bound / math.sqrt(3), mean=middle),
        _Candidate("", "truncated normal", half / 2 * TWO_SIGMA_STD, mean=middle),
    ]
    accepted = [each for each in fits if _accepted(values, each.law)]
    if not accepted:
        return Scheme(f"of no usual family, std {own_std:.3g}", "other", std, mean, named=False)
    best = max(accepted, key=lambda each: _log_likelihood(values, each.law))
    around = "" if abs(own_mean) < 5 * own_std / math.sqrt(len(wide)) else f", mean {own_mean:.3g}"
    size = f"+-{bound:.4g}" if best.family == "uniform" and not around else f"std {own_std:.3g}"
    words = f"{best.family}-like, {size}{around}"
    return Scheme(words, best.family, std, mean, law=best.law, named=False)


def _rounded(law: Continuous) -> Continuous:
    return Continuous(law.family, law.shapes, float(f"{law.loc:.9g}"), float(f"{law.scale:.9g}"))


def _log_likelihood(values: Values, law: Continuous) -> float:
    return likelihood(_fine(values, law), law)


def _accepted(values: Values, law: Continuous) -> bool:
    rows = pooled("", scores(_fine(values, law), Law(law)))
    return all(row.p_value is not None and row.p_value > ACCEPT for row in rows)


def _fine(values: Values, law: Continuous) -> Values:
    """The values before their rounding, as far as that can be known."""
    return unrounded(values, Law(law)) if values.dtype.name in HALF else values
