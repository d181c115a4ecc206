"""Naming the scheme of draws: what each framework draws by its own functions, what is none of these, and mistakes."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import ml_dtypes
import numpy as np
import pytest
import torch
from jax.nn import initializers as flax_init
from torch.nn import init as torch_init

from paritree.common.initializers import (
    Initializer,
    Kaiming,
    LeCun,
    Masked,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    Xavier,
)
from paritree.conformance.statistics import diagnose, likeliest
from paritree.conformance.statistics.catalogue import BY_FAN_OUT, NAMES, PLAIN, USUAL

from .samples import Draw, Draws, cut, normal, uniform


def torchs(fill: Callable[[torch.Tensor], Any], shape: tuple[int, ...], draws: int = 4) -> Draws:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = [torch.empty(shape) for _ in range(draws)]
        for tensor in made:
            fill(tensor)
    return np.stack([tensor.numpy() for tensor in made])


def flaxs(initializer: Any, shape: tuple[int, ...], draws: int = 4) -> Draws:
    return np.stack([np.asarray(initializer(jax.random.key(100 + number), shape)) for number in range(draws)])


MATRIX, KERNEL = (96, 64), (64, 96)
# draws, how the shape is read, the words
CASES: list[tuple[Draws, str | None, str]] = [
    (
        torchs(lambda t: torch_init.kaiming_uniform_(t, a=5**0.5), MATRIX),
        None,
        "uniform +-1/sqrt(fan_in) (PyTorch Linear's default)",
    ),
    (
        torchs(lambda t: torch_init.kaiming_uniform_(t, a=5**0.5), (32, 16, 3, 3)),
        None,
        "uniform +-1/sqrt(fan_in) (PyTorch Linear's default)",
    ),
    (torchs(torch_init.xavier_uniform_, MATRIX), None, "uniform +-sqrt(6/(fan_in + fan_out)) (Glorot)"),
    (torchs(torch_init.xavier_normal_, MATRIX), None, "normal, std sqrt(2/(fan_in + fan_out)) (PyTorch's Glorot)"),
    (torchs(torch_init.kaiming_normal_, MATRIX), "out in", "normal, std sqrt(2/fan_in) (PyTorch's He)"),
    (
        torchs(lambda t: torch_init.kaiming_normal_(t, mode="fan_out"), (48, 32, 3, 3)),
        None,
        "normal, std sqrt(2/fan_out) (PyTorch's He)",
    ),
    (torchs(lambda t: t.normal_(0, 0.02), MATRIX), None, "normal, std 0.02"),
    # Its cut is at two, which is a hundred of its stds.
    (torchs(lambda t: torch_init.trunc_normal_(t, std=0.02), MATRIX), None, "normal, std 0.02"),
    (
        torchs(lambda t: t.normal_(0, 0.02 / 24**0.5), MATRIX),
        None,
        "normal, std 0.02/sqrt(2 n) with n = 12 (GPT-2's residual projections)",
    ),
    (torchs(torch.nn.init.normal_, MATRIX), None, "normal, std 1 (PyTorch Embedding's default)"),
    *(
        (torchs(lambda t, bound=bound: t.uniform_(-bound, bound), MATRIX), None, f"uniform +-{bound:g}")
        for bound in (1.0, 0.1, 0.05, 0.01)
    ),
    (torchs(torch.nn.init.uniform_, (30, 30)), None, "uniform on [0, 1) (PyTorch's uniform_)"),
    (torchs(torch_init.orthogonal_, (16, 8)), None, "orthogonal, gain 1"),
    (torchs(lambda t: torch_init.orthogonal_(t, 1.41), (16, 8)), None, "orthogonal, gain 1.41"),
    (torchs(torch_init.eye_, (5, 4)), None, "identity"),
    (torchs(torch_init.zeros_, (5,)), None, "constant 0"),
    (torchs(torch_init.ones_, (5,)), None, "ones"),
    (torchs(lambda t: t.fill_(0.25), (5,)), None, "constant 0.25"),
    (
        flaxs(flax_init.lecun_normal(), KERNEL),
        "in out",
        "truncated normal, std 1/sqrt(fan_in) (Flax Dense's default)",
    ),
    (
        flaxs(flax_init.lecun_normal(), KERNEL),
        None,
        "truncated normal, std 1/sqrt(fan_in) (Flax Dense's default), the shape read as (in, out)",
    ),
    (
        flaxs(nn.Conv(1, (3, 3)).kernel_init, (3, 3, 16, 32)),
        None,
        "truncated normal, std 1/sqrt(fan_in) (Flax Dense's default)",
    ),
    (flaxs(flax_init.he_normal(), KERNEL), "in out", "truncated normal, std sqrt(2/fan_in) (Flax's He)"),
    (
        flaxs(flax_init.glorot_normal(), KERNEL),
        "in out",
        "truncated normal, std sqrt(2/(fan_in + fan_out)) (Flax's Glorot)",
    ),
    (
        flaxs(nn.Embed.embedding_init, MATRIX),
        None,
        "normal, std 1/sqrt(fan_in) (LeCun, and Flax Embed's default)",
    ),
    (flaxs(flax_init.normal(), MATRIX), None, "normal, std 0.01 (Flax's normal())"),
    (flaxs(flax_init.uniform(), MATRIX), None, "uniform on [0, 0.01) (Flax's uniform())"),
    (
        flaxs(flax_init.truncated_normal(0.02), MATRIX),
        None,
        "truncated normal, std 0.02 before the cut at two sigma (Flax's truncated_normal(0.02))",
    ),
]


@pytest.mark.parametrize("number", range(len(CASES)), ids=lambda number: CASES[number][2])
def test_a_scheme_is_named(number: int) -> None:
    draws, fans, words = CASES[number]
    found = likeliest(draws, draws.shape[1:], fans=fans)
    assert found is not None
    assert found.words == words
    assert found.named
    assert found.std == pytest.approx(draws.std(dtype="f8"))


def test_a_fused_matrix_and_a_part_of_one_are_told_from_a_plain_one() -> None:
    fused = torchs(torch_init.xavier_uniform_, (192, 64))
    part = likeliest(fused[:, :64], (64, 64))
    assert part is not None
    assert part.words == "uniform +-sqrt(6/(fan_in + fan_out)) (Glorot), the fans of 3 such blocks fused"
    one_by_one = torchs(lambda t: [torch_init.xavier_uniform_(block) for block in t.view(3, 64, 96)], (192, 96))
    found = likeliest(one_by_one, (192, 96), fans="out in")
    assert found is not None
    assert found.words == "uniform +-sqrt(6/(fan_in + fan_out)) (Glorot), the fans of one of 3 fused blocks"


@pytest.mark.parametrize(
    ("fill", "words"),
    [
        (lambda t: t.normal_(0, 1 / 64), "normal, std 1/fan_in: the variance taken for the std"),
        (lambda t: t.normal_(0, (6 / 160) ** 0.5), "normal whose std is Glorot's bound"),
        (lambda t: t.uniform_(-(0.0125**0.5), 0.0125**0.5), "uniform whose bound is Glorot's std"),
        (
            lambda t: torch_init.trunc_normal_(t, 0, 0.125, -0.25, 0.25),
            "truncated normal, std 1/sqrt(fan_in) before the cut, not divided by 0.8796",
        ),
    ],
)
def test_a_slip_is_named(fill: Callable[[torch.Tensor], Any], words: str) -> None:
    found = likeliest(torchs(fill, MATRIX), MATRIX, fans="out in")
    assert found is not None
    assert found.words == words


@pytest.mark.parametrize(
    ("draws", "words"),
    [
        (torchs(lambda t: t.normal_(0, 0.0337), MATRIX), r"normal-like, std 0\.033\d"),
        (torchs(lambda t: t.normal_(0.5, 0.0337), MATRIX), r"normal-like, std 0\.033\d, mean 0\.5"),
        (torchs(lambda t: t.uniform_(-0.0777, 0.0777), MATRIX), r"uniform-like, \+-0\.0777"),
        (
            torchs(lambda t: torch_init.trunc_normal_(t, 0, 0.3, -0.6, 0.6), (40, 40)),
            r"truncated normal-like, std 0\.26\d?",
        ),
        (np.random.default_rng(0).laplace(size=(4, 96, 64)), r"of no usual family, std 1\.4\d"),
        (torchs(torch.nn.init.normal_, (2, 3)), r"random, std [\d.]+, of too few values for more"),
        (np.random.default_rng(0).random((4, 30, 30)) < 0.3, r"random among a few values, std 0\.4\d+"),
        (np.stack([np.arange(4.0)] * 2), r"constant in every draw, values from 0 to 3"),
    ],
)
def test_what_has_no_name_is_measured(draws: Draws, words: str) -> None:
    found = likeliest(draws, draws.shape[1:])
    assert found is not None
    assert re.fullmatch(words, found.words), found.words


def test_zeros_among_the_draws_and_few_digits_hide_no_scheme() -> None:
    draws = torchs(lambda t: t.normal_(0, 0.02), MATRIX)
    draws[:, 3] = 0
    padded = likeliest(draws, MATRIX)
    rounded = likeliest(torchs(lambda t: t.normal_(0, 0.02), MATRIX).astype(ml_dtypes.bfloat16), MATRIX)
    assert padded is not None
    assert rounded is not None
    assert padded.words == rounded.words == "normal, std 0.02"


def test_the_density_of_a_scheme_is_given_for_a_drawing() -> None:
    found = likeliest(torchs(lambda t: t.normal_(0, 0.02), MATRIX), MATRIX)
    assert found is not None
    assert found.law is not None
    assert found.law.std == pytest.approx(0.02)


def test_what_is_not_finite_or_empty_has_no_scheme() -> None:
    assert likeliest(np.full((2, 3), np.nan), (3,)) is None
    assert likeliest(np.zeros((2, 0)), (0,)) is None


def test_what_a_spec_may_name_is_in_the_catalogue_that_draws_alone_are_held_against() -> None:
    assert NAMES.keys() <= USUAL.keys() | BY_FAN_OUT.keys() | PLAIN.keys()


SHAPE = (96, 32)


def draw(initializer: Initializer, shape: tuple[int, ...], seed: int, count: int = 1) -> Draws:
    return initializer.law(shape).ppf(np.random.default_rng(seed).random((count, *shape))).astype(np.float32)


# spec, drawn, words that must be in the diagnosis
DIAGNOSES = {
    "torch's default": (LeCun(), Kaiming(a=5**0.5), "PyTorch's default of Linear and Conv"),
    "Flax's default": (Kaiming(a=5**0.5), LeCun(), "Flax's default kernel"),
    "He": (Xavier(), Kaiming(), "Kaiming (He) uniform"),
    "Glorot": (Kaiming(), Xavier(), "Xavier (Glorot) uniform"),
    "not cut": (LeCun(), LeCun("normal"), "the spec's mean and std, but normal"),
    "cut": (Normal(std=0.02), TruncatedNormal(std=0.02 / 0.87962566103423978, cut="sigma"), "cut at two sigma"),
    "no correction": (LeCun(), TruncatedNormal(std=32**-0.5, cut="sigma"), "without the correction by 0.8796"),
    "sigma": (
        TruncatedNormal(std=0.5, low=-2.5, high=2.5),
        TruncatedNormal(std=0.5, low=-2.5, high=2.5, cut="sigma"),
        "bounds read as sigma",
    ),
    "uniform": (Normal(std=0.02), Uniform(-0.02 * 3**0.5, 0.02 * 3**0.5), "the spec's mean and std, but uniform"),
    "variance": (Normal(std=0.1), Normal(std=0.01), "a normal whose std is the spec's variance"),
    "bound": (Uniform(-0.3, 0.3), Normal(std=0.3), "a normal whose std is the spec's bound"),
    "fans": (Kaiming("normal"), Kaiming("normal", mode="fan_out"), "fan_in and fan_out swapped"),
    "flax normal": (Normal(), Normal(std=0.01), "Flax's normal()"),
    "fused": (Xavier(), Uniform(-((6 / 64) ** 0.5), (6 / 64) ** 0.5), "the fans of one of 3 fused blocks"),
}


@pytest.mark.parametrize("name", DIAGNOSES)
def test_the_likeliest_mistake_is_named(name):
    spec, drawn, words = DIAGNOSES[name]
    found = diagnose(draw(drawn, SHAPE, 0, count=3), SHAPE, spec)
    assert found is not None
    assert words in found


def test_without_a_spec_the_scheme_is_named():
    assert diagnose(draw(Xavier("normal"), SHAPE, 0, count=3), SHAPE) == "Xavier (Glorot) normal"


def test_schemes_that_are_one_law_at_this_shape_are_named_together():
    shape = (64, 64)
    found = diagnose(draw(LeCun("normal"), shape, 0, count=2), shape)
    assert found == "LeCun normal, not truncated, or Xavier (Glorot) normal"


@pytest.mark.parametrize(
    ("samples", "spec"),
    [
        (draw(Normal(std=0.0437), SHAPE, 0), LeCun()),  # No scheme's scale.
        (draw(LeCun(), SHAPE, 0), LeCun()),  # Nothing is wrong.
        (draw(Uniform(), SHAPE, 0), Uniform()),
        (draw(LeCun(), SHAPE, 0)[:, :1, :8], LeCun()),  # Too few values.
        (np.full((1, *SHAPE), np.nan, np.float32), LeCun()),
        (draw(Masked(Uniform(-10, 10), 4.0), SHAPE, 0), Masked(Uniform(-10, 10), 5.0)),
    ],
)
def test_what_no_scheme_explains_gets_no_name(samples, spec):
    assert diagnose(samples, samples.shape[1:], spec) is None


def test_orthogonal_draws_without_the_sign_fix_are_named():
    q, r = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 8, 8)))
    fixed = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None, :]
    words = "a QR factorization whose signs were not fixed: the first entry never changes sign"
    assert diagnose(q, (8, 8), Orthogonal()) == words
    assert diagnose(fixed, (8, 8), Orthogonal()) is None


def test_draws_of_few_digits_are_diagnosed_too() -> None:
    rounded = draw(Xavier("normal"), SHAPE, 0, count=3).astype(ml_dtypes.bfloat16)
    assert diagnose(rounded, SHAPE) == "Xavier (Glorot) normal"


@pytest.mark.parametrize(("draw", "family"), [(normal(0.3), "normal"), (uniform(0.4), "uniform"), (cut(0.3), "trunc")])
def test_of_the_families_that_explain_few_draws_the_likeliest_is_named(draw: Draw, family: str) -> None:
    """Of so few values the tests accept more than one."""
    found = [likeliest(draw(np.random.default_rng(seed), (2, 100)), (100,)) for seed in range(12)]
    assert sum(scheme is not None and scheme.family.startswith(family) for scheme in found) >= 9


def test_two_values_that_are_zero_by_chance_are_left_out() -> None:
    draws = torchs(lambda t: t.normal_(0.5, 0.0337), MATRIX)
    draws[0, 3, 5] = draws[1, 70, 2] = 0
    found = likeliest(draws, MATRIX)
    assert found is not None
    assert re.fullmatch(r"normal-like, std 0\.033\d, mean 0\.5", found.words), found.words


def test_a_large_parameter_is_measured_in_all_of_its_columns() -> None:
    """Every third column is narrower, and so many values are thinned to a third."""
    shape = (512, 516)
    draws = np.random.default_rng(0).standard_normal((2, *shape)).astype(np.float32)
    draws[:, :, ::3] *= 0.1
    found = likeliest(draws, shape)
    assert found is not None
    assert found.std == pytest.approx(draws.std(dtype="f8"), rel=0.01)
