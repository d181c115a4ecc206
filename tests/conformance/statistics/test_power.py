"""What is promised about error rates: the smallest effects, and that they come true."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from paritree.common.initializers import Orthogonal, Sparse, Uniform, Zeros
from paritree.conformance.statistics import replicates
from paritree.conformance.statistics.power import cdf_distance, cut_off, masses, mean_shift, std_factors

ALPHA, BETA = 1e-10, 1e-6
CUT_STD = 0.87962566103423978


def normal_distance(factor):
    """The distance of N(0, 1) and N(0, factor^2); by calculus the worst x is where the densities meet."""
    x = np.sqrt(2 * np.log(factor) / (1 - factor**-2))
    return abs(stats.norm.cdf(x) - stats.norm.cdf(x / factor))


def first(catches, n):
    """Whether n values are the first that catch."""
    return catches(n) and not catches(n - 1)


@pytest.mark.parametrize(
    ("factor", "chi_square", "distribution"),
    [
        (1.5, 372, 4_021),
        (1.2, 1_863, 19_460),
        (1.1, 6_867, 70_923),
        (0.9, 5_736, 58_058),
        (1.05, 26_317, 270e3),
        (1.02, 160_205, 1.64e6),
        (1.01, 635_145, 6.5e6),
        (2**0.5, 510, None),
        (0.5**0.5, 547, None),
    ],
)
def test_the_sample_sizes_of_the_method_catch_a_wrong_std(factor, chi_square, distribution):
    assert first(lambda n: catches_std(factor, n, ALPHA), chi_square)
    if distribution:
        assert cdf_distance(distribution, ALPHA, BETA) == pytest.approx(normal_distance(factor), rel=0.0015)


def catches_std(factor, n, alpha):
    below, above = std_factors(n, alpha, BETA)
    return above <= factor if factor > 1 else below >= factor


def test_the_omitted_correction_is_a_factor_for_the_normal_only():
    """The method's 3,884 treats the truncated normal as a normal. In its own scores the omission is a factor of
    0.845 and not of 0.880, so that about half of the values are enough."""
    assert std_factors(3_884, ALPHA, BETA)[0] == pytest.approx(CUT_STD, rel=0.0001)
    spec, drawn = stats.truncnorm(-2, 2, 0, 1 / CUT_STD), stats.truncnorm(-2, 2)
    second = drawn.expect(lambda x: stats.norm.ppf(spec.cdf(x)) ** 2)
    assert second**0.5 == pytest.approx(0.845, abs=0.001)
    fourth = drawn.expect(lambda x: stats.norm.ppf(spec.cdf(x)) ** 4)
    n = 2_000
    missed = stats.norm.sf((stats.chi2.ppf(ALPHA / 2, n) - n * second) / (n * (fourth - second**2)) ** 0.5)
    assert missed < 1e-6


def test_the_other_sample_sizes_of_the_method():
    for shift, n in ((0.1, 12_590), (0.05, 50_359)):
        assert first(lambda n, shift=shift: mean_shift(n, ALPHA, BETA) <= shift, n)
    for share, n in ((0.1, 219), (0.01, 2_292), (0.001, 23_015)):
        assert first(lambda n, share=share: cut_off(n, ALPHA) <= share, n)
    x = np.linspace(-4, 4, 100_001)
    uniform = np.abs(stats.norm.cdf(x) - stats.uniform(-(3**0.5), 12**0.5).cdf(x)).max()
    assert cdf_distance(11_510, ALPHA, BETA) == pytest.approx(uniform, rel=0.0005)
    truncated = np.abs(stats.norm.cdf(x) - stats.truncnorm(-2, 2, 0, 1 / CUT_STD).cdf(x)).max()
    assert cdf_distance(135_614, ALPHA, BETA) == pytest.approx(truncated, rel=0.0005)


def test_the_price_of_ten_thousand_tests():
    assert first(lambda n: catches_std(1.1, n, 1e-6), 5_119)
    assert first(lambda n: catches_std(1.1, n, 1e-6 / 10_000), 6_867)


@pytest.mark.parametrize("n", [20, 500])
def test_effects_are_missed_as_rarely_as_promised(n):
    """At the smallest effect the acceptance region has probability beta, by SciPy's distributions."""
    alpha, beta = 1e-4, 1e-3
    below, above = std_factors(n, alpha, beta)
    low, high = stats.chi2.ppf(alpha / 2, n), stats.chi2.isf(alpha / 2, n)
    for factor in (below, above):
        missed = stats.chi2.cdf(high / factor**2, n) - stats.chi2.cdf(low / factor**2, n)
        assert missed == pytest.approx(beta, rel=1e-6)
    shift = mean_shift(n, alpha, beta) * n**0.5
    edge = stats.norm.isf(alpha / 2)
    assert stats.norm.cdf(edge - shift) - stats.norm.cdf(-edge - shift) == pytest.approx(beta, rel=1e-6)
    assert (1 - cut_off(n, alpha)) ** n == pytest.approx(alpha)


def test_the_smallest_masses_bound_the_misses_of_the_binomial_test():
    n, mass, alpha, beta = 1000, 0.5, 1e-4, 1e-3
    below, above = masses(n, mass, alpha, beta)
    accepted = [k for k in range(n + 1) if 2 * min(stats.binom.cdf(k, n, mass), stats.binom.sf(k - 1, n, mass)) > alpha]
    for wrong in (below, above):
        assert stats.binom.pmf(accepted, n, wrong).sum() == pytest.approx(beta, rel=1e-6)
    assert below == pytest.approx(1 - above)


def test_too_few_values_catch_no_mass():
    assert masses(5, 0.5, 1e-4, 1e-3) == (0.0, 1.0)


def test_replicates():
    assert replicates((64, 128)) == 1
    assert replicates((64, 127)) == 2
    assert replicates((10,)) == 820
    assert replicates(()) == 8192
    assert replicates((0, 4)) == 8192
    assert replicates((10,), target=100) == 10
    assert replicates((64, 128), initializer=Uniform()) == 1
    assert replicates((64, 128), initializer=Orthogonal()) == 64
    assert replicates((2, 2), initializer=Sparse(0.5)) == 2048
    assert replicates((10,), initializer=Zeros()) == 1
