"""The laws: moments in closed form, quantiles, masses, and agreement with SciPy."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from paritree.common.errors import InitializerError
from paritree.common.initializers import (
    Constant,
    Continuous,
    DeltaOrthogonal,
    Dirac,
    Eye,
    Kaiming,
    Law,
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
)

# The std of N(0, 1) cut at two sigma: sqrt(1 - 2 * 2 phi(2) / (1 - 2 Phi(-2))).
CUT_STD = math.sqrt(1 - 4 * stats.norm.pdf(2) / (1 - 2 * stats.norm.cdf(-2)))

SHAPE = (32, 16, 3)  # fan_in 48, fan_out 96

# initializer, mean, std, support
MOMENTS = [
    (Uniform(-1, 3), 1.0, 4 / math.sqrt(12), (-1, 3)),
    (Normal(0.5, 0.02), 0.5, 0.02, (-math.inf, math.inf)),
    (TruncatedNormal(std=0.02), 0.0, 0.02, (-2, 2)),
    (TruncatedNormal(std=0.02, cut="sigma"), 0.0, 0.02 * CUT_STD, (-0.04, 0.04)),
    (TruncatedNormal(mean=1.0, std=0.02, cut="sigma"), 1.0, 0.02 * CUT_STD, (0.96, 1.04)),
    (TruncatedNormal(0.0, 1.0, 0.0, 50.0), math.sqrt(2 / math.pi), math.sqrt(1 - 2 / math.pi), (0, 50)),
    (VarianceScaling(3.0, "fan_in", "normal"), 0.0, 0.25, (-math.inf, math.inf)),
    (VarianceScaling(3.0, "fan_in", "truncated_normal"), 0.0, 0.25, (-0.5 / CUT_STD, 0.5 / CUT_STD)),
    (VarianceScaling(3.0, "fan_in", "uniform"), 0.0, 0.25, (-0.25 * 3**0.5, 0.25 * 3**0.5)),
    (VarianceScaling(1.0, "fan_out", "normal"), 0.0, 96**-0.5, (-math.inf, math.inf)),
    (VarianceScaling(1.0, "fan_avg", "normal"), 0.0, 72**-0.5, (-math.inf, math.inf)),
    (VarianceScaling(1.0, "fan_geo_avg", "normal"), 0.0, (48 * 96) ** -0.25, (-math.inf, math.inf)),
    (Xavier(), 0.0, math.sqrt(2 / 144), (-math.sqrt(6 / 144), math.sqrt(6 / 144))),
    (Xavier("normal", gain=2.0), 0.0, 2 * math.sqrt(2 / 144), (-math.inf, math.inf)),
    (Kaiming(), 0.0, math.sqrt(2 / 48), (-math.sqrt(6 / 48), math.sqrt(6 / 48))),
    (Kaiming(a=math.sqrt(5)), 0.0, math.sqrt(1 / 144), (-1 / math.sqrt(48), 1 / math.sqrt(48))),
    (Kaiming("normal", mode="fan_out", nonlinearity="relu"), 0.0, math.sqrt(2 / 96), (-math.inf, math.inf)),
    (Kaiming("normal", nonlinearity="tanh"), 0.0, 5 / 3 / math.sqrt(48), (-math.inf, math.inf)),
    (LeCun(), 0.0, 48**-0.5, (-2 / CUT_STD * 48**-0.5, 2 / CUT_STD * 48**-0.5)),
    (Constant(42), 42.0, 0.0, (42, 42)),
    (Zeros(), 0.0, 0.0, (0, 0)),
    (Ones(), 1.0, 0.0, (1, 1)),
    (Orthogonal(2.0), 0.0, 2 / math.sqrt(48), (-2, 2)),
    (DeltaOrthogonal(), 0.0, math.sqrt(1 / 32 / 3), (-1, 1)),
    (Dirac(), 16 / 1536, math.sqrt(16 / 1536 * (1 - 16 / 1536)), (0, 1)),
    # Half of the mass is 0; of U(-10, 10) given |x| >= 5 the second moment is (10^3 - 5^3) / (3 * 5).
    (Masked(Uniform(-10, 10), 5.0), 0.0, math.sqrt(0.5 * 875 / 15), (-10, 10)),
    # E[x] = int_5^10 x / 20 dx - int_-6^-5 ... over U(-6, 14).
    (Masked(Uniform(-6, 14), 5.0), (14**2 - 5**2 - 6**2 + 5**2) / 40, None, (-6, 14)),
    (Masked(Normal(), 1.0), 0.0, math.sqrt(2 * (stats.norm.sf(1) + stats.norm.pdf(1))), (-math.inf, math.inf)),
]


@pytest.mark.parametrize(("initializer", "mean", "std", "support"), MOMENTS, ids=lambda v: repr(v)[:60])
def test_moments_and_support_in_closed_form(initializer, mean, std, support):
    law = initializer.law(SHAPE)
    assert law.mean == pytest.approx(mean, rel=1e-9, abs=1e-12)
    assert law.support == pytest.approx(support, rel=1e-9, abs=1e-12)
    if std is not None:
        assert law.std == pytest.approx(std, rel=1e-9, abs=1e-12)


def test_the_constant_of_the_rescaling_is_the_std_of_the_cut_normal():
    assert pytest.approx(0.87962566103423978, rel=1e-12) == CUT_STD
    assert VarianceScaling(1.0, "fan_in", "truncated_normal").law((1, 1)).std == pytest.approx(1.0, rel=1e-12)


LAWS = [
    Uniform(-1, 3).law(()),
    Normal(0.5, 2.0).law(()),
    TruncatedNormal(0.3, 1.0, -1.0, 2.0).law(()),
    LeCun().law((3, 4)),
    Orthogonal().law((3, 4)),
    Masked(Uniform(-10, 10), 5.0).law(()),
    Masked(Normal(0.5, 1.0), 0.7).law(()),
    Masked(Uniform(-6, 4), 5.0).law(()),
    Masked(Masked(Uniform(-10, 10), 2.0), 5.0).law(()),
    Sparse(0.3).law((10, 4)),
    DeltaOrthogonal().law((4, 3, 5)),
    Orthogonal(2.0).law((1, 1)),
    Eye().law((3, 4)),
    Constant(3).law(()),
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: str(law)[:70])
@settings(max_examples=25, deadline=None)
@given(level=st.floats(1e-6, 1 - 1e-6))
def test_the_quantile_function_is_the_generalized_inverse_of_the_cdf(law, level):
    value = float(law.ppf(level))
    step = 1e-7 * max(1.0, abs(value))
    assert law.cdf(value + step) >= level - 1e-9
    assert law.cdf(value - step) <= level + 1e-9
    low, high = law.support
    assert low <= value <= high


@pytest.mark.parametrize("law", LAWS, ids=lambda law: str(law)[:70])
def test_moments_are_those_of_the_quantile_function(law):
    """E[g(X)] is the integral of g(ppf(u)) over u, whatever the law."""
    levels = (np.arange(400_000) + 0.5) / 400_000
    draws = law.ppf(levels)
    assert draws.mean() == pytest.approx(law.mean, rel=1e-4, abs=1e-4)
    assert draws.std() == pytest.approx(law.std, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: str(law)[:70])
def test_the_quantile_function_ends_at_the_support_and_nowhere_else(law):
    assert law.ppf(0.0) == law.support[0]
    assert law.ppf(1.0) == law.support[1]
    assert np.isnan(law.ppf([-0.1, 1.1, np.nan])).all()


def test_laws_agree_with_scipy():
    x = np.linspace(-3, 3, 101)
    np.testing.assert_allclose(Normal(0.5, 2.0).law(()).cdf(x), stats.norm(0.5, 2.0).cdf(x), rtol=1e-14)
    cut = TruncatedNormal(0.3, 0.5, -1.0, 2.0).law(())
    np.testing.assert_allclose(cut.cdf(x), stats.truncnorm(-2.6, 3.4, 0.3, 0.5).cdf(x), rtol=1e-12)
    entry = Orthogonal(2.0).law((5, 3)).cdf(x)
    np.testing.assert_allclose(entry, stats.beta(2, 2).cdf((1 + x / 2) / 2), rtol=1e-12)


def test_the_masked_uniform_of_the_study():
    law = Masked(Uniform(-10, 10), below=5.0).law((3, 4))
    assert dict(law.point_masses)[0.0] == pytest.approx(0.5)
    np.testing.assert_allclose(
        law.cdf([-10, -7.5, -5, -0.001, 0, 4.9, 5, 7.5, 10]), [0, 0.125, *[0.25] * 2, *[0.75] * 3, 0.875, 1]
    )
    np.testing.assert_allclose(law.ppf([0.125, 0.25, 0.251, 0.5, 0.75, 0.875]), [-7.5, -5, 0, 0, 0, 7.5], atol=1e-12)


def test_a_mask_over_a_mask_is_the_wider_mask():
    nested, plain = Masked(Masked(Uniform(-10, 10), 2.0), 5.0).law(()), Masked(Uniform(-10, 10), 5.0).law(())
    x = np.linspace(-11, 11, 45)
    np.testing.assert_allclose(nested.cdf(x), plain.cdf(x), atol=1e-12)
    assert nested.std == pytest.approx(plain.std, rel=1e-9)


def test_a_mask_that_takes_all_or_nothing():
    assert Masked(Uniform(-1, 1), 5.0).law(()) == Law.point(0.0)
    assert Masked(Uniform(6, 7), 5.0).law(()) == Uniform(6, 7).law(())
    one_sided = Masked(Uniform(-6, 4), 5.0).law(())
    assert dict(one_sided.point_masses)[0.0] == pytest.approx(0.9)
    assert one_sided.continuous is not None
    assert one_sided.continuous.support == (-6, -5)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: str(law)[:70])
def test_the_density_integrates_to_the_distribution_function(law):
    part = law.continuous
    if part is None:
        assert law.spread == 0
        return
    low, middle = float(part.ppf(0.1)), float(part.ppf(0.4))
    area, _ = integrate.quad(lambda x: math.exp(float(part.logpdf(x))), low, middle, points=[-5.0, 0.0], limit=200)
    assert area == pytest.approx(0.3, abs=1e-4)
    np.testing.assert_allclose(part.sf([low, middle]), [0.9, 0.6], atol=1e-9)


def test_a_sign_is_the_haar_matrix_of_one_entry():
    assert Orthogonal(2.0).law((1, 1)) == Law(None, ((-2.0, 0.5), (2.0, 0.5)))


def test_the_laws_of_eye_and_sparse_are_those_of_an_entry_at_an_index_chosen_at_random():
    assert Eye().law((2, 3)).point_masses == ((0.0, 4 / 6), (1.0, 2 / 6))
    assert dict(Sparse(0.25).law((10, 3)).point_masses)[0.0] == pytest.approx(0.3)
    assert Sparse(1.0).law((10, 3)) == Law.point(0.0)
    assert dict(DeltaOrthogonal().law((4, 4, 3, 3)).point_masses)[0.0] == pytest.approx(8 / 9)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (
            lambda: Law(None, ((0.0, 0.5), (0.0, 0.5))),
            "point masses of distinct values, each above 0 and of a sum of at most 1, found ((0.0, 0.5), (0.0, 0.5)).",
        ),
        (
            lambda: Law(None, ((0.0, 0.7), (1.0, 0.7))),
            "point masses of distinct values, each above 0 and of a sum of at most 1, found ((0.0, 0.7), (1.0, 0.7)).",
        ),
        (
            lambda: Law(None, ((0.0, 0.5),)),
            "a continuous part exactly if the point masses leave some for one, found a sum of 0.5.",
        ),
        (
            lambda: Law(Continuous("norm"), ((0.0, 1.0),)),
            "a continuous part exactly if the point masses leave some for one, found a sum of 1.",
        ),
    ],
)
def test_masses_that_make_no_law_are_refused(make, text):
    with pytest.raises(InitializerError, match=f"^{re.escape(f'expected {text}')}$"):
        make()
