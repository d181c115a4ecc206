"""On a failure: which of the usual mistakes do the draws look like?

It names a scheme only if the draws pass that scheme's own tests; a guess that is not proved is worth less than
none, since it is what somebody will go and change.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...common.errors import InitializerError
from ...common.initializers import (
    TWO_SIGMA_STD,
    Continuous,
    ContinuousPart,
    Initializer,
    Kaiming,
    Law,
    LeCun,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    Xavier,
)
from .blocks import SECTIONS
from .pooled import pooled
from .scores import outside, scores

# A scheme whose tests fall below this is not named.
ACCEPT = 1e-4
_LEAST_VALUES = 64
_LAYER_DEFAULT = Kaiming(distribution="uniform", a=math.sqrt(5))

_SCHEMES: tuple[tuple[str, Initializer], ...] = (
    ("PyTorch's default of Linear and Conv, Kaiming uniform with a = sqrt(5)", _LAYER_DEFAULT),
    ("Flax's default kernel, LeCun truncated normal", LeCun()),
    ("LeCun normal, not truncated", LeCun("normal")),
    ("Kaiming (He) uniform", Kaiming()),
    ("Kaiming (He) normal", Kaiming("normal")),
    ("He truncated normal", Kaiming("truncated_normal")),
    ("Xavier (Glorot) uniform", Xavier()),
    ("Xavier (Glorot) normal", Xavier("normal")),
    ("Glorot truncated normal", Xavier("truncated_normal")),
    ("Normal with std 1, PyTorch's normal_ and Embedding", Normal()),
    ("Normal with std 0.01, Flax's normal()", Normal(0.0, 0.01)),
    ("Normal with std 0.02", Normal(0.0, 0.02)),
    ("Uniform on [0, 1), PyTorch's uniform_", Uniform()),
    ("Uniform on [0, 0.01), Flax's uniform()", Uniform(0.0, 0.01)),
)


def diagnose(samples: np.ndarray[Any, Any], shape: Sequence[int], initializer: Initializer | None = None) -> str | None:
    """What `samples`, `(replicates, *shape)`, look like: the likeliest scheme's name, or None if none explains them.

    With the initializer that was expected, the mistakes that are made with it are among the rivals. Rivals are
    ranked by likelihood; those with the same law for this shape are named together, "A, or B".
    """
    samples = np.asarray(samples)
    if samples.size < _LEAST_VALUES or not np.isfinite(samples).all():
        return None
    if isinstance(initializer, Orthogonal):
        return _missing_sign_fix(samples)
    rivals: dict[ContinuousPart, list[str]] = {}
    for words, part in _rivals(tuple(shape), initializer):
        rivals.setdefault(_rounded(part), []).append(words)
    likelihoods = {part: likelihood(samples, part) for part in rivals}
    for part in sorted(rivals, key=lambda rival: likelihoods[rival], reverse=True):
        if likelihoods[part] > -math.inf and _accepted(samples, part):
            return ", or ".join(rivals[part])
    return None


def _rivals(shape: tuple[int, ...], initializer: Initializer | None) -> Iterator[tuple[str, ContinuousPart]]:
    """What may have been drawn instead; the expected law itself is no rival."""
    expected: set[ContinuousPart] = set()
    if initializer is not None:
        expected = {_rounded(part) for _, part in _part("", initializer, shape)}
        for words, slip, on in [*_slips(shape, initializer), *_misread_shapes(shape, initializer)]:
            yield from (found for found in _part(words, slip, on) if _rounded(found[1]) not in expected)
    for words, scheme in _SCHEMES:
        yield from (found for found in _part(words, scheme, shape) if _rounded(found[1]) not in expected)


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
        "the spec's mean and std, but cut at two sigma": _cut(mean, std / TWO_SIGMA_STD),
        "a normal cut at two sigma without the correction by 0.8796": _cut(mean, std),
        "a normal whose std is the spec's variance": Normal(mean, std**2),
        "a normal whose std is the spec's bound": Normal(mean, half_width),
    }
    if isinstance(initializer, TruncatedNormal):
        other = "sigma" if initializer.cut == "absolute" else "absolute"
        slips[f"the spec's truncated normal with its bounds read as {other}"] = replace(initializer, cut=other)
    yield from ((words, slip, shape) for words, slip in slips.items())


def _cut(mean: float, std: float) -> Initializer:
    return TruncatedNormal(mean, std, -2.0, 2.0, cut="sigma")


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
    shapes = tuple(float(f"{number:.12g}") for number in part.shapes)
    return Continuous(part.family, shapes, float(f"{part.loc:.12g}"), float(f"{part.scale:.12g}"))


def likelihood(samples: np.ndarray[Any, Any], part: ContinuousPart) -> float:
    if outside(samples, Law(part)):
        return -math.inf
    low, high = part.support
    return float(np.sum(part.logpdf(np.clip(samples.astype(np.float64), low, high))))


def _accepted(samples: np.ndarray[Any, Any], part: ContinuousPart) -> bool:
    rows = pooled("", scores(samples, Law(part)))
    return all(row.p_value is not None and row.p_value > ACCEPT for row in rows)


def _missing_sign_fix(samples: np.ndarray[Any, Any]) -> str | None:
    corner = samples.reshape(len(samples), -1)[:, 0]
    if len(corner) >= 20 and (np.all(corner < 0) or np.all(corner > 0)):
        return "a QR factorization whose signs were not fixed: the first entry never changes sign"
    return None
