"""The families: what they refuse, what they allow in one draw, and that they are data."""

from __future__ import annotations

import doctest
import math
import re
import subprocess
import sys

import numpy as np
import pytest

from paritree.common import initializers
from paritree.common.errors import InitializerError
from paritree.common.initializers import (
    Constant,
    DeltaOrthogonal,
    Dirac,
    Eye,
    Fans,
    Kaiming,
    LeCun,
    Masked,
    Normal,
    Ones,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    Xavier,
    Zeros,
    base,
    fans,
    gain,
)

NAMES = {name: getattr(initializers, name) for name in dir(initializers) if name[0].isupper()}

EXAMPLES = [
    Uniform(),
    Uniform(-1, 2),
    Normal(0.5, 0.02),
    TruncatedNormal(std=0.02),
    TruncatedNormal(0.1, 0.02, -1.0, 3.0, cut="sigma"),
    Constant(42),
    Zeros(),
    Ones(),
    Eye(),
    Dirac(groups=2),
    DeltaOrthogonal(2.0),
    VarianceScaling(1 / 3, "fan_geo_avg", "uniform"),
    Xavier("normal", gain=5 / 3),
    Kaiming(a=math.sqrt(5)),
    LeCun("uniform"),
    Orthogonal(math.sqrt(2)),
    Sparse(0.1),
    Masked(Uniform(-10, 10), below=5.0),
]


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


@pytest.mark.parametrize("example", EXAMPLES, ids=repr)
def test_the_repr_gives_the_initializer_back(example):
    again = eval(repr(example), dict(NAMES))
    assert again == example
    assert hash(again) == hash(example)
    assert repr(again) == repr(example)


def test_numbers_of_numpy_become_floats_so_that_the_repr_is_readable():
    assert repr(Normal(np.float32(0.0), np.int64(2))) == "Normal(mean=0.0, std=2.0)"


def test_the_example_of_an_initializer_of_ones_own_runs():
    result = doctest.testmod(base)
    assert result.attempted == 4
    assert result.failed == 0


@pytest.mark.parametrize(
    ("shape", "expected"),
    [((3, 5), Fans(5, 3)), ((8, 4, 3), Fans(12, 24)), ((8, 4, 3, 2), Fans(24, 48)), ((2, 3, 1, 2, 2), Fans(12, 8))],
)
def test_fans_count_the_receptive_field(shape, expected):
    assert fans(shape) == expected


@pytest.mark.parametrize(("mode", "expected"), [("fan_in", 4), ("fan_out", 9), ("fan_avg", 6.5), ("fan_geo_avg", 6)])
def test_fan_modes(mode, expected):
    assert Fans(4, 9).mode(mode) == expected


@pytest.mark.parametrize("shape", [(), (3,)])
def test_a_vector_or_scalar_has_no_fans(shape):
    text = (
        f"0.bias: expected a shape of at least 2 dimensions, to have fans, found shape {shape}. Give a vector or "
        "scalar an initializer with its own scale, such as Uniform, Normal or Zeros."
    )
    for scheme in (VarianceScaling(), Xavier(), Kaiming(), LeCun(), Masked(LeCun(), 0.1)):
        with pytest.raises(InitializerError, match=exactly(text)):
            scheme.validate(shape, "0.bias")


@pytest.mark.parametrize(
    ("name", "param", "expected"),
    [
        ("linear", None, 1.0),
        ("conv_transpose3d", None, 1.0),
        ("sigmoid", 7.0, 1.0),
        ("tanh", None, 5 / 3),
        ("relu", None, 2**0.5),
        ("leaky_relu", None, (2 / (1 + 1e-4)) ** 0.5),
        ("leaky_relu", 0.0, 2**0.5),
        ("leaky_relu", 5**0.5, (1 / 3) ** 0.5),
        ("selu", None, 0.75),
    ],
)
def test_gain(name, param, expected):
    assert gain(name, param) == pytest.approx(expected, rel=1e-14)


WRONG_NUMBERS = [
    (lambda: Normal(std=0.0), "a finite number above 0 as std of Normal, found 0.0. A scale of 0 is Constant(value)."),
    (lambda: Normal(std=-1), "a finite number above 0 as std of Normal, found -1. A scale of 0 is Constant(value)."),
    (lambda: Normal(std=math.nan), "a finite number as std of Normal, found nan."),
    (lambda: Normal(mean=math.inf), "a finite number as mean of Normal, found inf."),
    (lambda: Normal(std="1"), "a finite number as std of Normal, found '1'."),
    (lambda: Normal(std=True), "a finite number as std of Normal, found True."),
    (lambda: Uniform(1, 0), "low below high in Uniform, found low=1.0 and high=0.0."),
    (lambda: Uniform(1, 1), "low below high in Uniform, found low=1.0 and high=1.0."),
    (lambda: Uniform(low=math.nan), "a finite number as low of Uniform, found nan."),
    (lambda: Uniform(high=math.inf), "a finite number as high of Uniform, found inf."),
    (lambda: TruncatedNormal(low=2), "low below high in TruncatedNormal, found low=2.0 and high=2.0."),
    (lambda: TruncatedNormal(cut="std"), "cut of TruncatedNormal among absolute, sigma, found 'std'."),
    (
        lambda: TruncatedNormal(std=-0.02),
        "a finite number above 0 as std of TruncatedNormal, found -0.02. A scale of 0 is Constant(value).",
    ),
    (lambda: Constant(math.nan), "a finite number as value of Constant, found nan."),
    (
        lambda: VarianceScaling(-1.0),
        "a finite number above 0 as scale of VarianceScaling, found -1.0. A scale of 0 is Constant(value).",
    ),
    (
        lambda: VarianceScaling(mode="fan"),
        "mode of VarianceScaling among fan_in, fan_out, fan_avg, fan_geo_avg, found 'fan'.",
    ),
    (
        lambda: VarianceScaling(distribution="gaussian"),
        "distribution of VarianceScaling among uniform, normal, truncated_normal, found 'gaussian'.",
    ),
    (lambda: Xavier("glorot"), "distribution of Xavier among uniform, normal, truncated_normal, found 'glorot'."),
    (lambda: Xavier(gain=math.inf), "a finite number as gain of Xavier, found inf."),
    (lambda: Kaiming("he"), "distribution of Kaiming among uniform, normal, truncated_normal, found 'he'."),
    (lambda: Kaiming(mode=""), "mode of Kaiming among fan_in, fan_out, fan_avg, fan_geo_avg, found ''."),
    (lambda: Kaiming(a=math.nan), "a finite number as a of Kaiming, found nan."),
    (
        lambda: Kaiming(nonlinearity="gelu"),
        "nonlinearity of Kaiming among linear, identity, sigmoid, conv1d, conv2d, conv3d, conv_transpose1d, "
        "conv_transpose2d, conv_transpose3d, tanh, relu, leaky_relu, selu, found 'gelu'.",
    ),
    (lambda: LeCun("he"), "distribution of LeCun among uniform, normal, truncated_normal, found 'he'."),
    (
        lambda: Orthogonal(-1),
        "a finite number above 0 as gain of Orthogonal, found -1. A scale of 0 is Constant(value).",
    ),
    (
        lambda: DeltaOrthogonal(0),
        "a finite number above 0 as gain of DeltaOrthogonal, found 0. A scale of 0 is Constant(value).",
    ),
    (lambda: Dirac(0), "a whole number of at least 1 as groups of Dirac, found 0."),
    (lambda: Dirac(1.0), "a whole number of at least 1 as groups of Dirac, found 1.0."),
    (lambda: Sparse(1.1), "sparsity of Sparse between 0 and 1, found 1.1."),
    (lambda: Sparse(math.nan), "a finite number as sparsity of Sparse, found nan."),
    (
        lambda: Sparse(0.1, std=0),
        "a finite number above 0 as std of Sparse, found 0. A scale of 0 is Constant(value).",
    ),
    (
        lambda: Masked(Uniform(), -1),
        "a finite number above 0 as below of Masked, found -1. A scale of 0 is Constant(value).",
    ),
    (
        lambda: Masked(Orthogonal(), 0.1),
        "an initializer of independent entries as of of Masked, found Orthogonal(gain=1.0).",
    ),
    (lambda: Masked("uniform", 0.1), "an initializer of independent entries as of of Masked, found 'uniform'."),
    (lambda: Fans(1, 1).mode("in"), "a fan mode among fan_in, fan_out, fan_avg, fan_geo_avg, found 'in'."),
    (
        lambda: gain("gelu"),
        "a nonlinearity among linear, identity, sigmoid, conv1d, conv2d, conv3d, conv_transpose1d, "
        "conv_transpose2d, conv_transpose3d, tanh, relu, leaky_relu, selu, found 'gelu'.",
    ),
]


@pytest.mark.parametrize(("make", "text"), WRONG_NUMBERS, ids=[text[:60] for _, text in WRONG_NUMBERS])
def test_numbers_that_make_no_distribution_are_refused(make, text):
    with pytest.raises(InitializerError, match=exactly(f"expected {text}")) as caught:
        make()
    assert caught.value.path == ""


WRONG_SHAPES = [
    (Eye(), (3,), "a shape of 2 dimensions for Eye, found shape (3,)."),
    (Sparse(0.1), (3, 3, 3), "a shape of 2 dimensions for Sparse, found shape (3, 3, 3)."),
    (Sparse(0.1), (0, 3), "a shape without 0 for Sparse, found shape (0, 3)."),
    (Dirac(), (3, 3), "a shape of 3 or 4 or 5 dimensions for Dirac, found shape (3, 3)."),
    (Dirac(2), (3, 3, 3), "a number of outputs that 2 groups divide, found 3 in shape (3, 3, 3)."),
    (Orthogonal(), (3,), "a shape of at least 2 dimensions, none of them 0, for Orthogonal, found shape (3,)."),
    (Orthogonal(), (3, 0), "a shape of at least 2 dimensions, none of them 0, for Orthogonal, found shape (3, 0)."),
    (DeltaOrthogonal(), (3, 3), "a shape of 3 or 4 or 5 dimensions for DeltaOrthogonal, found shape (3, 3)."),
    (DeltaOrthogonal(), (3, 4, 3), "at least as many outputs as inputs, found shape (3, 4, 3)."),
    (LeCun(), (3, 0), "a fan_in above 0, found shape (3, 0)."),
]


@pytest.mark.parametrize(("initializer", "shape", "text"), WRONG_SHAPES, ids=[text for *_, text in WRONG_SHAPES])
def test_shapes_that_do_not_fit_are_refused_by_path_and_have_no_law(initializer, shape, text):
    with pytest.raises(InitializerError, match=exactly(f"0.weight: expected {text}")):
        initializer.validate(shape, "0.weight")
    with pytest.raises(InitializerError):
        initializer.law(shape)


@pytest.mark.parametrize("initializer", [Normal(), Uniform(), TruncatedNormal(), Constant(1), Zeros(), Ones()])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3, 4)])
def test_what_has_its_own_scale_fits_any_shape(initializer, shape):
    initializer.validate(shape, "x")
    assert initializer.law(shape).mean == initializer.law((5, 5)).mean


@pytest.mark.parametrize(
    ("initializer", "independent", "deterministic"),
    [
        (Normal(), True, False),
        (Masked(Uniform(-10, 10), 5), True, False),
        (Orthogonal(), False, False),
        (DeltaOrthogonal(), False, False),
        (Sparse(0.5), False, False),
        (Zeros(), False, True),
        (Dirac(), False, True),
    ],
)
def test_what_is_random_and_what_is_independent(initializer, independent, deterministic):
    assert (initializer.independent, initializer.deterministic) == (independent, deterministic)


def haar(rng, rows, columns, dtype=np.float32):
    """Mezzadri's recipe: the signs of R's diagonal moved into Q."""
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = (q * np.sign(np.diag(r))).astype(dtype)
    return q if rows >= columns else q.T


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (64, 16), (16, 64), (200, 300)])
def test_orthogonal_draws_have_no_violation_and_a_gain_that_is_off_has(shape, dtype):
    draw = 2 * haar(np.random.default_rng(0), *shape, dtype)
    assert Orthogonal(2.0).violation(draw) is None
    assert Orthogonal(2.002).violation(draw) is not None


def test_orthogonality_survives_the_cast_to_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    draw = haar(np.random.default_rng(0), 64, 16).astype(ml_dtypes.bfloat16)
    assert Orthogonal().violation(draw) is None
    assert Orthogonal(1.05).violation(draw) is not None


def test_the_message_of_a_matrix_that_is_not_orthogonal():
    text = Orthogonal().violation(np.array([[1.0, 0, 0], [0.6, 0.8, 0]], np.float32))
    assert text == "the product of rows 0 and 1 is 0.6, expected 0 within 3.1e-06"
    text = Orthogonal().violation(np.array([[3.0], [0.0]]))
    assert text == "the product of columns 0 and 0 is 9, expected 1 within 4e-15"
    assert Orthogonal().violation(np.full((2, 2), np.nan)) is not None


def test_delta_orthogonal_is_zero_off_the_middle_and_orthogonal_in_it():
    draw = np.zeros((6, 4, 4, 3), np.float32)
    draw[:, :, 1, 1] = haar(np.random.default_rng(0), 6, 4)  # (k - 1) // 2 of 4 and of 3.
    assert DeltaOrthogonal().violation(draw) is None
    assert "the product of columns" in str(DeltaOrthogonal(1.1).violation(draw))
    draw[0, 0, 2, 1] = 0.5
    assert DeltaOrthogonal().violation(draw) == "entry (0, 0, 2, 1) is 0.5, expected 0 off the kernel's middle (1, 1)"


def sparse(rng, shape, zeros, std):
    draw = std * rng.standard_normal(shape).astype(np.float32)
    for column in range(shape[1]):
        draw[rng.permutation(shape[0])[:zeros], column] = 0
    return draw


def test_sparse_counts_the_zeros_of_each_column():
    draw = sparse(np.random.default_rng(0), (10, 6), 3, 0.01)
    assert Sparse(0.25).zeros((10, 6)) == 3
    assert Sparse(0.25).violation(draw) is None
    draw[np.flatnonzero(draw[:, 4])[0], 4] = 0
    assert Sparse(0.25).violation(draw) is None  # A float32 normal may be 0.
    draw[np.flatnonzero(draw[:, 4])[:3], 4] = 0
    assert Sparse(0.25).violation(draw) == "column 4 has 7 zeros, expected 3 of 10 entries"
    draw[np.flatnonzero(draw[:, 1] == 0)[0], 1] = 0.01
    assert Sparse(0.25).violation(draw) == "column 1 has 2 zeros, expected 3 of 10 entries"


def test_masked_zeros_are_positive_and_nothing_else_is_inside_the_mask():
    draw = np.array([[5.0, 0.0], [-7.0, -5.0]], np.float32)
    masked = Masked(Uniform(-10, 10), below=5.0)
    assert masked.violation(draw) is None
    assert masked.violation(draw * np.float32(-1)) == "entry (0, 1) is -0.0, expected +0.0 (1 of 4 entries are)"
    draw[1, 0] = -4.5
    assert masked.violation(draw) == "entry (1, 0) is -4.5, expected 0 or an absolute value of at least 5.0"


def test_a_mask_threshold_that_the_dtype_rounds_down_is_no_violation():
    threshold = np.float32(0.7)
    assert float(threshold) < 0.7
    assert Masked(Uniform(-1, 1), below=0.7).violation(np.array([threshold])) is None


def test_constants_are_held_bit_for_bit_in_the_dtype_of_the_array():
    assert Constant(0.1).violation(np.full((2, 3), 0.1, np.float32)) is None
    assert Constant(42).violation(np.full((2,), 42)) is None
    assert Ones().violation(np.ones((), np.float64)) is None
    wrong = np.full((2, 3), 0.1, np.float32)
    wrong[1, 2] = np.nextafter(wrong[1, 2], np.float32(1))
    text = "entry (1, 2) is 0.10000000894069672, expected exactly 0.10000000149011612 (1 of 6 entries differ)"
    assert Constant(0.1).violation(wrong) == text
    text = "entry (1,) is -0.0, expected exactly 0.0 (1 of 2 entries differ)"
    assert Zeros().violation(np.array([0.0, -0.0])) == text
    assert Constant(-0.0).violation(np.array([0.0])) is not None
    assert Zeros().violation(np.array([np.nan])) is not None


def test_eye_and_dirac_place_their_ones():
    np.testing.assert_array_equal(Eye().draw((2, 3)), [[1, 0, 0], [0, 1, 0]])
    expected = np.zeros((4, 3, 4))
    for out, inward in ((0, 0), (1, 1), (2, 0), (3, 1)):
        expected[out, inward, 2] = 1
    np.testing.assert_array_equal(Dirac(groups=2).draw((4, 3, 4)), expected)
    assert Dirac(groups=2).violation(expected.astype(np.float32)) is None
    text = "entry (2, 0, 2) is 1.0, expected exactly 0.0 (3 of 48 entries differ)"
    assert Dirac().violation(expected) == text


ISOLATION = """
import sys
import paritree.common.initializers as initializers
{use}
found = sorted({{"torch", "jax", "scipy", "paritree.impl_torch"}} & set(sys.modules))
print(",".join(found))
"""


def modules_after(use: str) -> str:
    program = ISOLATION.format(use=use)
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.strip()


def test_describing_a_model_imports_no_framework_and_no_scipy():
    assert modules_after("repr(initializers.Kaiming().std((3, 4)))") == ""


def test_the_isolation_test_would_see_an_import():
    assert modules_after("initializers.Normal().law((3,)).cdf(0.0)") == "scipy"
