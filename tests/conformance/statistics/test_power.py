"""What is promised about error rates: sample sizes, smallest effects, Holm's levels, and that they come true."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from paritree.common.initializers import Orthogonal, Sparse, Uniform, Zeros
from paritree.conformance.statistics import (
    Evidence,
    judge,
    replicates,
    sample_size_cut_off,
    sample_size_distance,
    sample_size_mean,
    sample_size_outside,
    sample_size_std,
    smallest_effects,
)
from paritree.conformance.statistics.evidence import constraint, inapplicable
from paritree.conformance.statistics.holm import thresholds
from paritree.conformance.statistics.power import cut_off, masses, mean_shift, std_factors

ALPHA, BETA = 1e-10, 1e-6
CUT_STD = 0.87962566103423978


def normal_distance(factor):
    """The distance of N(0, 1) and N(0, factor^2); by calculus the worst x is where the densities meet."""
    x = np.sqrt(2 * np.log(factor) / (1 - factor**-2))
    return abs(stats.norm.cdf(x) - stats.norm.cdf(x / factor))


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
def test_the_sample_sizes_of_the_method_for_a_wrong_std(factor, chi_square, distribution):
    assert sample_size_std(factor, ALPHA, BETA) == chi_square
    if distribution:
        assert sample_size_distance(normal_distance(factor), ALPHA, BETA) == pytest.approx(distribution, rel=0.003)


def test_the_omitted_correction_is_a_factor_for_the_normal_only():
    """The method's 3,884 treats the truncated normal as a normal. In its own scores the omission is a factor of
    0.845 and not of 0.880, so that about half of the values are enough."""
    assert sample_size_std(CUT_STD, ALPHA, BETA) == pytest.approx(3_884, rel=0.001)
    spec, drawn = stats.truncnorm(-2, 2, 0, 1 / CUT_STD), stats.truncnorm(-2, 2)
    second = drawn.expect(lambda x: stats.norm.ppf(spec.cdf(x)) ** 2)
    assert second**0.5 == pytest.approx(0.845, abs=0.001)
    fourth = drawn.expect(lambda x: stats.norm.ppf(spec.cdf(x)) ** 4)
    n = 2_000
    missed = stats.norm.sf((stats.chi2.ppf(ALPHA / 2, n) - n * second) / (n * (fourth - second**2)) ** 0.5)
    assert missed < 1e-6


def test_the_other_sample_sizes_of_the_method():
    assert [sample_size_mean(shift, ALPHA, BETA) for shift in (0.1, 0.05)] == [12_590, 50_359]
    assert [sample_size_cut_off(share, ALPHA) for share in (0.1, 0.01, 0.001)] == [219, 2_292, 23_015]
    assert sample_size_outside(2 * stats.norm.sf(2 / CUT_STD), BETA) == 595
    x = np.linspace(-4, 4, 100_001)
    uniform = np.abs(stats.norm.cdf(x) - stats.uniform(-(3**0.5), 12**0.5).cdf(x)).max()
    assert sample_size_distance(uniform, ALPHA, BETA) == pytest.approx(11_510, rel=0.001)
    truncated = np.abs(stats.norm.cdf(x) - stats.truncnorm(-2, 2, 0, 1 / CUT_STD).cdf(x)).max()
    assert sample_size_distance(truncated, ALPHA, BETA) == pytest.approx(135_614, rel=0.001)


def test_the_price_of_ten_thousand_tests():
    assert sample_size_std(1.1, 1e-6, BETA) == 5_119
    assert sample_size_std(1.1, 1e-6 / 10_000, BETA) == 6_867


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


def test_the_smallest_effects_in_words():
    assert str(smallest_effects(8192, 1e-10)) == (
        "n = 8192, false alarm 1e-10, miss 1e-06: std times 1.09 or 0.916, mean off by 0.12 std, "
        "0.28 % of the mass cut off, distribution function off by 0.068"
    )


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


def test_holms_levels():
    levels = thresholds([0.04, 0.001, 0.5, 0.012], alpha=0.05)
    # 0.001 <= 0.05 / 4, 0.012 <= 0.05 / 3, 0.04 > 0.05 / 2: the last two pass, both at the level that stopped.
    assert levels == pytest.approx([0.025, 0.0125, 0.025, 0.05 / 3])
    assert thresholds([], 0.05) == []
    assert thresholds([0.01, 0.01], 0.05) == pytest.approx([0.025, 0.05])


def test_a_p_value_below_its_own_level_passes_once_a_smaller_one_has():
    # 0.03 > 0.05 / 2 stops the procedure; 0.04 would have met 0.05 / 1.
    assert thresholds([0.04, 0.03], 0.05) == pytest.approx([0.025, 0.025])


def evidence(p_value):
    return Evidence("0.weight", "chi-square", 100, 1.0, p_value, "std is 1.100 times the spec's", smallest=factor)


def factor(alpha, beta):
    return f"a factor of {alpha / beta:.3g}"


def test_verdicts_and_their_messages():
    run = [
        evidence(3e-17),
        constraint("0.bias", "finite", 4, None),
        constraint("0.bias", "constraint", 4, "entry (1,) is 2.0, expected exactly 1.0 (1 of 4 entries differ)"),
        evidence(0.0),
        inapplicable("1.weight", "rows mean", "groups of 1 values are below 16: draw more replicates"),
        evidence(0.3),
    ]
    verdicts = judge(run, alpha=3e-6, beta=1e-6)
    assert [verdict.status for verdict in verdicts] == ["fail", "pass", "fail", "fail", "not applicable", "pass"]
    assert [verdict.passed for verdict in verdicts] == [False, True, False, False, True, True]
    assert [verdict.message for verdict in verdicts] == [
        "0.weight: std is 1.100 times the spec's (chi-square p = 3e-17, allowed 2e-06; "
        "would have caught a factor of 1.5)",
        "0.bias: finite kept",
        "0.bias: entry (1,) is 2.0, expected exactly 1.0 (1 of 4 entries differ) (constraint: no exception is allowed)",
        "0.weight: std is 1.100 times the spec's (chi-square p = 0 (below 1e-300), allowed 1e-06; "
        "would have caught a factor of 1)",
        "1.weight: rows mean not applicable: groups of 1 values are below 16: draw more replicates",
        "0.weight: std is 1.100 times the spec's (chi-square p = 0.3, allowed 3e-06; would have caught a factor of 3)",
    ]


def test_constraints_do_not_dilute_the_levels():
    alone = judge([evidence(1e-7)], alpha=1e-6)
    among = judge([evidence(1e-7), *[constraint("a", "finite", 1, None)] * 50], alpha=1e-6)
    assert alone[0].allowed == among[0].allowed == 1e-6
