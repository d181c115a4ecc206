"""The catalogue of initialization schemes: the usual initializers, in words that lead to the line to be changed.

Each is an initializer of `common/initializers` and has its law from there; where a fan scales it, that of a matrix
`(fan_out, fan_in)`. Two tables name them: where only draws are known, by the formula (`candidates`), and where the spec
is known too, by what people call them (`NAMES`). A *slip* is a usual mistake that turns one law into another.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ...common.initializers import (
    FLAX_EMBEDDING,
    FLAX_KERNEL,
    TORCH_EMBEDDING,
    TORCH_WEIGHT,
    TWO_SIGMA_STD,
    Continuous,
    FanMode,
    FanScaled,
    Initializer,
    Kaiming,
    Law,
    LeCun,
    Normal,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    Xavier,
)

Matrix = tuple[int, int]
Scaled = FanScaled | VarianceScaling

# Of two that draws cannot tell apart, the one that is listed first is the more usual one, and is named.
USUAL: dict[Scaled, str] = {
    TORCH_WEIGHT: "uniform +-1/sqrt(fan_in) (PyTorch Linear's default)",
    FLAX_KERNEL: "truncated normal, std 1/sqrt(fan_in) (Flax Dense's default)",
    Xavier("uniform"): "uniform +-sqrt(6/(fan_in + fan_out)) (Glorot)",
    Xavier("normal"): "normal, std sqrt(2/(fan_in + fan_out)) (PyTorch's Glorot)",
    Xavier("truncated_normal"): "truncated normal, std sqrt(2/(fan_in + fan_out)) (Flax's Glorot)",
    Kaiming("normal"): "normal, std sqrt(2/fan_in) (PyTorch's He)",
    Kaiming("truncated_normal"): "truncated normal, std sqrt(2/fan_in) (Flax's He)",
    Kaiming("uniform"): "uniform +-sqrt(6/fan_in) (He)",
    FLAX_EMBEDDING: "normal, std 1/sqrt(fan_in) (LeCun, and Flax Embed's default)",
    LeCun("uniform"): "uniform +-sqrt(3/fan_in) (LeCun)",
}
BY_FAN_OUT: dict[Scaled, str] = {
    Kaiming("normal", mode="fan_out"): "normal, std sqrt(2/fan_out) (PyTorch's He)",
    Kaiming("truncated_normal", mode="fan_out"): "truncated normal, std sqrt(2/fan_out) (Flax's He)",
    Kaiming("uniform", mode="fan_out"): "uniform +-sqrt(6/fan_out) (He)",
    VarianceScaling(1.0, "fan_out", "normal"): "normal, std 1/sqrt(fan_out)",
    VarianceScaling(1 / 3, "fan_out", "uniform"): "uniform +-1/sqrt(fan_out)",
    VarianceScaling(1.0, "fan_out", "uniform"): "uniform +-sqrt(3/fan_out)",
    VarianceScaling(1.0, "fan_out", "truncated_normal"): "truncated normal, std 1/sqrt(fan_out)",
}
# For a vector, or a table of rows, as wide as its last axis.
BY_WIDTH: dict[Scaled, str] = {
    TORCH_WEIGHT: "uniform +-1/sqrt(width)",
    FLAX_EMBEDDING: "normal, std 1/sqrt(width)",
}


def _cut(std: float) -> Initializer:
    """A normal cut at two sigma, of that std before the cut."""
    return TruncatedNormal(0.0, std, cut="sigma")


def _plain() -> Iterator[tuple[Initializer, str]]:
    """Schemes that no fan enters."""
    yield TORCH_EMBEDDING, "normal, std 1 (PyTorch Embedding's default)"
    for std in (0.02, 0.01, 0.1, 0.05, 0.006, 0.001, 0.005):
        note = {0.01: " (Flax's normal())"}.get(std, "")
        yield Normal(0.0, std), f"normal, std {std:g}{note}"
        yield _cut(std / TWO_SIGMA_STD), f"truncated normal, cut at two sigma, std {std:g} after the cut"
        words = f"truncated normal, std {std:g} before the cut at two sigma (Flax's truncated_normal({std:g}))"
        yield _cut(std), words
    yield Uniform(0.0, 1.0), "uniform on [0, 1) (PyTorch's uniform_)"
    yield Uniform(0.0, 0.01), "uniform on [0, 0.01) (Flax's uniform())"
    for bound in (1.0, 0.1, 0.05, 0.01):
        yield Uniform(-bound, bound), f"uniform +-{bound:g}"


PLAIN: dict[Initializer, str] = dict(_plain())
BY_DEPTH: dict[Initializer, str] = {
    Normal(0.0, 0.02 / math.sqrt(2 * blocks)): (
        f"normal, std 0.02/sqrt(2 n) with n = {blocks} (GPT-2's residual projections)"
    )
    for blocks in range(2, 129)
}

NAMES: dict[Initializer, str] = {
    TORCH_WEIGHT: "PyTorch's default of Linear and Conv, Kaiming uniform with a = sqrt(5)",
    FLAX_KERNEL: "Flax's default kernel, LeCun truncated normal",
    FLAX_EMBEDDING: "LeCun normal, not truncated",
    Kaiming("uniform"): "Kaiming (He) uniform",
    Kaiming("normal"): "Kaiming (He) normal",
    Kaiming("truncated_normal"): "He truncated normal",
    Xavier("uniform"): "Xavier (Glorot) uniform",
    Xavier("normal"): "Xavier (Glorot) normal",
    Xavier("truncated_normal"): "Glorot truncated normal",
    TORCH_EMBEDDING: "Normal with std 1, PyTorch's normal_ and Embedding",
    Normal(0.0, 0.01): "Normal with std 0.01, Flax's normal()",
    Normal(0.0, 0.02): "Normal with std 0.02",
    Uniform(0.0, 1.0): "Uniform on [0, 1), PyTorch's uniform_",
    Uniform(0.0, 0.01): "Uniform on [0, 0.01), Flax's uniform()",
}


def uncorrected(law: Law) -> Initializer:
    """Slip: cut at two sigma, and not divided by 0.8796."""
    return TruncatedNormal(law.mean, law.std, cut="sigma")


def variance_for_std(law: Law) -> Initializer:
    """Slip: the variance taken for the std."""
    return Normal(law.mean, law.std**2)


def bound_for_std(law: Law) -> Initializer:
    """Slip: the bound of the uniform law of one std, sqrt(3) times that, taken for the std of a normal one."""
    return Normal(law.mean, math.sqrt(3) * law.std)


def std_for_bound(law: Law) -> Initializer:
    """Slip: the std taken for the bound of a uniform law."""
    return Uniform(law.mean - law.std, law.mean + law.std)


@dataclass(frozen=True)
class Candidate:
    """A scheme for one parameter: its words, its law, and what its scale is made of.

    fan: `fan_in`, `fan_out`, `fan_avg`, `width` or `depth`; empty for a plain number.
    """

    words: str
    law: Continuous
    fan: str = ""


def candidates(shape: tuple[int, ...], fans: str | None) -> Iterator[list[Candidate]]:
    """Every usual scheme for a parameter of `shape` in tiers, the more usual ones first.

    fans: how the shape is read, `out in` or `in out`; both ways if None.
    """
    plain = list(_matrices(shape, fans))
    yield [*_scaled(USUAL, plain), *_unscaled(PLAIN), *_by_width(shape)]
    yield [*_scaled(BY_FAN_OUT, plain), *_unscaled(BY_DEPTH, "depth")]
    yield [*_scaled(USUAL, _fused(plain))]
    yield [slip for matrix, note in plain for slip in _slips(matrix, note)]


def _scaled(schemes: Mapping[Scaled, str], matrices: Iterable[tuple[Matrix, str]]) -> Iterator[Candidate]:
    for matrix, note in matrices:
        for scheme, words in schemes.items():
            scaling = scheme.scaling() if isinstance(scheme, FanScaled) else scheme
            yield Candidate(words + note, _continuous(scaling, matrix), scaling.mode)


def _unscaled(schemes: Mapping[Initializer, str], fan: str = "") -> Iterator[Candidate]:
    for scheme, words in schemes.items():
        yield Candidate(words, _continuous(scheme), fan)


def _by_width(shape: tuple[int, ...]) -> Iterator[Candidate]:
    if shape:
        for scheme, words in BY_WIDTH.items():
            yield Candidate(words, _continuous(scheme, (1, shape[-1])), "width")


def _slips(matrix: Matrix, note: str) -> Iterator[Candidate]:
    glorot = Xavier("normal").law(matrix)
    fans: dict[FanMode, int] = {"fan_in": matrix[1], "fan_out": matrix[0]}
    for fan, value in fans.items():
        one, two = (VarianceScaling(scale, fan, "normal").law(matrix) for scale in (1.0, 2.0))
        slips = [(f"truncated normal, std 1/sqrt({fan}) before the cut, not divided by 0.8796", fan, uncorrected(one))]
        if value > 1:
            slips += [
                (f"normal, std 1/{fan}: the variance taken for the std", fan, variance_for_std(one)),
                (f"normal, std 2/{fan}: the variance taken for the std", fan, variance_for_std(two)),
            ]
        slips += [
            ("normal whose std is Glorot's bound", "fan_avg", bound_for_std(glorot)),
            ("uniform whose bound is Glorot's std", "fan_avg", std_for_bound(glorot)),
            (f"normal whose std is He's bound sqrt(6/{fan})", fan, bound_for_std(two)),
            (f"uniform whose bound is He's std sqrt(2/{fan})", fan, std_for_bound(two)),
        ]
        yield from (Candidate(words + note, _continuous(slip), of) for words, of, slip in slips)


def _continuous(scheme: Initializer, matrix: Matrix = (1, 1)) -> Continuous:
    part = scheme.law(matrix).continuous
    assert isinstance(part, Continuous), "the schemes of the catalogue have no point masses"
    return part


def _matrices(shape: tuple[int, ...], fans: str | None) -> Iterator[tuple[Matrix, str]]:
    """A shape as `(fan_out, fan_in)`, in each way that it may be read, with a note where that is not the plain one."""
    if len(shape) < 2 or 0 in shape:
        return
    whole = math.prod(shape)
    torch, flax = (whole // shape[1], whole // shape[0]), (whole // shape[-2], whole // shape[-1])
    if fans is None and len(shape) > 3:
        # A convolution's taps are fewer than its channels.
        fans = "out in" if math.prod(shape[2:]) <= math.prod(shape[:-2]) else "in out"
    if fans == "in out":
        yield flax, ""
    else:
        yield torch, ""
        if fans is None:
            yield flax, ", the shape read as (in, out)"
    if len(shape) == 3 and fans != "out in":
        # Flax's kernels of several heads.
        yield (whole // shape[0], shape[0]), ", the shape read as (in, heads, features)"


def _fused(matrices: Iterable[tuple[Matrix, str]]) -> Iterator[tuple[Matrix, str]]:
    for (fan_out, fan_in), note in matrices:
        for parts in (3, 4, 2):
            if fan_out % parts == 0:
                yield (fan_out // parts, fan_in), f", the fans of one of {parts} fused blocks{note}"
            yield (fan_out * parts, fan_in), f", the fans of {parts} such blocks fused{note}"
