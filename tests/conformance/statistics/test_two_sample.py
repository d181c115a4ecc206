"""Two initializers of which only draws are known: no alarm where they are one, each fault by the test made for it."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from scipy import special, stats

from paritree.common.errors import ShapeError
from paritree.common.initializers import Masked, Normal, Uniform
from paritree.conformance.statistics import compare, examine, gain_of, judge
from paritree.conformance.statistics.matched import in_one_format, matched, spread
from paritree.conformance.statistics.rounding import cells, coarser, eps
from paritree.conformance.statistics.sign_tests import count_p, critical, run_p, sum_p

from .samples import PATH, Draw, Draws, by_rows, cut, haar, half, normal, padded, pair, uniform

LAWS: dict[str, Draw] = {
    "normal": normal(),
    "uniform": uniform(),
    "a mask": lambda rng, shape: (rng.random(shape) < 0.3).astype(np.float32),
    "a zero row": padded(normal()),
    "heavy tails": lambda rng, shape: rng.standard_cauchy(shape),
    "bfloat16": half(normal()),
    "a law for each row": by_rows,
    "orthogonal": haar(),
}


def failures(reference: Draws, port: Draws) -> dict[str, str]:
    """The messages of what fails at the default rate, by test."""
    verdicts = judge(compare(reference, port, path=PATH))
    return {verdict.evidence.test: verdict.message for verdict in verdicts if not verdict.passed}


def test_small_p_values_are_no_more_frequent_than_they_say() -> None:
    """For every test, over all laws: at level a in at most the binomial's upper 1e-6 quantile of the runs."""
    rng = np.random.default_rng(7)
    seen: Counter[str] = Counter()
    small: dict[float, Counter[str]] = {0.1: Counter(), 0.01: Counter(), 0.001: Counter()}
    for law in LAWS.values():
        for run in range(50):
            shape = (8, 6, 4) if run % 2 else (3, 12, 24)
            for row in compare(law(rng, shape), law(rng, shape)):
                if row.p_value is None:
                    continue
                assert not row.constraint or row.p_value == 1
                seen[row.test] += 1
                for level, counter in small.items():
                    counter[row.test] += row.p_value <= level
    assert len(seen) > 25
    for level, counter in small.items():
        too_many = {test: n for test, n in counter.items() if n > stats.binom.isf(1e-6, seen[test], level)}
        assert too_many == {}
    # The pooled tests are not so careful that they say nothing.
    assert small[0.1]["std"] > 0.01 * seen["std"]
    assert small[0.1]["shape"] > 0


@pytest.mark.parametrize("law", LAWS)
def test_one_law_on_both_sides_raises_no_alarm(law: str) -> None:
    for seed in range(3):
        reference, port = pair(LAWS[law], LAWS[law], (64, 24, 16), seed)
        assert failures(reference, port) == {}


# reference, port, the test that must say so
FAULTS: dict[str, tuple[Draw, Draw, str]] = {
    "std 10 % too large": (normal(), normal(0.022), "std"),
    "std 10 % too small": (normal(), normal(0.018), "std"),
    "swapped fans": (normal(96**-0.5), normal(64**-0.5), "std"),
    "PyTorch's default against Flax's": (uniform(64**-0.5), cut(64**-0.5), "std"),
    "a cut that is not made up for": (cut(0.02), cut(0.02 * 0.8796), "std"),
    "truncated against not, of one std": (normal(), cut(0.02), "extremes"),
    "cut at two sigma against absolute": (normal(), cut(0.0176), "extremes"),
    "bound 1 % small": (uniform(), uniform(0.99), "extremes"),
    "uniform against normal of one std": (normal(3**-0.5), uniform(), "shape"),
    "mean": (normal(), lambda rng, shape: normal()(rng, shape) + np.float32(0.003), "mean"),
    "one-sided": (uniform(), lambda rng, shape: np.abs(uniform()(rng, shape)), "minimum"),
    "a zero row that is not": (padded(normal()), normal(), "constant rows"),
    "constant": (normal(), lambda rng, shape: np.zeros(shape, np.float32), "constants"),
    "another constant": (
        lambda rng, shape: np.zeros(shape, np.float32),
        lambda rng, shape: np.ones(shape, np.float32),
        "constants",
    ),
    "masked more": (
        lambda rng, shape: (rng.random(shape) < 0.3).astype(np.float32),
        lambda rng, shape: (rng.random(shape) < 0.2).astype(np.float32),
        "zeros",
    ),
    "in bfloat16": (half(normal()), half(normal(0.022)), "std"),
    "float32 against bfloat16": (normal(), half(normal(0.022)), "std"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_by_the_test_that_is_made_for_it(fault: str) -> None:
    reference, port, test = FAULTS[fault]
    found = failures(*pair(reference, port))
    assert test in found
    assert found[test].startswith(f"{PATH}: ")


def test_a_fused_block_of_the_wrong_scale_is_named_though_the_whole_has_the_right_one() -> None:
    reference, port = pair(normal(), normal())
    port[:, :64] *= np.float32(0.9)
    port[:, 64:] *= np.float32((3 - 2 * 0.9**2) ** 0.5)
    found = failures(reference, port)
    assert "std" not in found
    assert found["rows in 3 blocks std"].startswith(f"{PATH}: rows in 3 blocks, block 2: the port's std is 1.")
    found = failures(reference.transpose(0, 2, 1), port.transpose(0, 2, 1))
    assert found["columns in 3 blocks std"].startswith(f"{PATH}: columns in 3 blocks, block 2: the port's std is 1.")


def test_one_wrong_row_is_named() -> None:
    reference, port = pair(normal(), normal(), (16, 40, 32))
    port[:, 5] *= np.float32(1.7)
    assert failures(reference, port)["rows std"].startswith(f"{PATH}: row 5: the port's std is 1.")


def test_messages_say_what_each_side_is() -> None:
    reference, port = pair(normal(), normal(0.022))
    ratio = port.std(dtype="f8") / reference.std(dtype="f8")
    words = f"{PATH}: the port's std is {ratio:.3f} times the reference's (0.0221 against 0.0199) (std p = "
    assert failures(reference, port)["std"].startswith(words)
    assert failures(reference, np.zeros_like(port)) == {
        "constants": f"{PATH}: the port's is constant 0, the reference's is random, std 0.0199 "
        "(constants: must always hold)"
    }
    assert failures(np.ones_like(port), np.zeros_like(port)) == {
        "constants": f"{PATH}: the port's is constant 0, the reference's is constant 1 (constants: must always hold)"
    }
    eye = np.stack([np.eye(3)] * 2)
    assert failures(eye, np.ones_like(eye)) == {
        "constants": f"{PATH}: both are constant, but entry (0, 1) is 1 in the port and 0 in the reference "
        "(6 of 9 entries differ) (constants: must always hold)"
    }
    several = np.stack([np.arange(2.0, 5.0)] * 2)
    assert failures(np.random.default_rng(0).random((2, 3)), several) == {
        "constants": f"{PATH}: the port's is constant in every draw, its values from 2 to 4, "
        "the reference's is random, std 0.358 (constants: must always hold)"
    }
    port[1, 2, 3] = np.nan
    assert failures(reference, port) == {
        "finite": f"{PATH}: entry (2, 3) of the port's draw 1 is nan, expected a finite number "
        "(finite: must always hold)"
    }


def test_entries_that_are_constant_at_different_values_are_found_among_random_ones() -> None:
    reference, port = pair(normal(), normal(), (4, 30, 20))
    reference[:, :3], port[:, :3] = 0, 1
    assert failures(reference, port)["constant values"].startswith(
        f"{PATH}: 60 entries are constant on both sides and differ: the first is 1 in the port and 0 in the reference "
        "(constant values p = 2e-93, allowed "
    )


def test_a_law_with_point_masses_that_repeats_itself_by_chance_is_no_constant() -> None:
    port = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]])
    assert failures(np.zeros((3, 2)), port) == {}


def test_constants_are_equal_up_to_the_coarser_format() -> None:
    ones = np.full((2, 5), 0.1, np.float32)
    assert failures(ones, ones.astype(ml_dtypes.bfloat16)) == {}
    assert "constants" in failures(ones, (ones * 1.02).astype(ml_dtypes.bfloat16))
    assert coarser(np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)) == ml_dtypes.bfloat16
    assert coarser(np.dtype(np.float32), np.dtype(np.int32)) is None


@pytest.mark.parametrize("shape", [(64, 12, 12), (64, 6, 16), (64, 16, 6)])
def test_orthogonal_draws_are_recognized_and_held_to_each_other(shape: tuple[int, ...]) -> None:
    reference, port = pair(haar(), haar(), shape)
    assert failures(reference, port) == {}
    assert gain_of(reference) == pytest.approx(1.0)
    assert gain_of(normal()(np.random.default_rng(0), shape)) is None
    assert failures(reference, port * np.float32(1.1)) == {
        "orthogonal": f"{PATH}: the port's draws are orthogonal with gain 1.1, the reference's with gain 1 "
        "(orthogonal: must always hold)"
    }
    others = normal(0.25)(np.random.default_rng(1), shape)
    assert failures(reference, others) == {
        "orthogonal": f"{PATH}: the reference's draws are orthogonal with gain 1, the port's are not: "
        f"random, std {others.std(dtype='f8'):.3g} (orthogonal: must always hold)"
    }
    unfixed = haar(signs_fixed=False)(np.random.default_rng(2), shape)
    for one, other in ((reference, unfixed), (unfixed, reference)):
        assert list(failures(one, other)) == ["sign"]
        assert ", as without the sign fix of the QR factorization (sign p = " in failures(one, other)["sign"]


def test_the_middle_of_a_delta_orthogonal_convolution_is_recognized() -> None:
    reference = np.zeros((40, 6, 4, 3, 3), np.float32)
    port = reference.copy()
    reference[..., 1, 1], port[..., 1, 1] = pair(haar(), haar(), (40, 6, 4))
    assert gain_of(reference) == pytest.approx(1.0)
    assert failures(reference, port) == {}


def test_kernels_of_either_framework_are_recognized_as_orthogonal() -> None:
    """PyTorch's `(out, in, height, width)` has orthogonal rows, Flax's `(height, width, in, out)` columns."""
    draws = haar(gain=2.0)(np.random.default_rng(0), (20, 36, 16))
    assert gain_of(draws.reshape(20, 3, 3, 4, 16)) == pytest.approx(2.0)
    assert gain_of(draws.transpose(0, 2, 1).reshape(20, 16, 4, 3, 3)) == pytest.approx(2.0)


def test_draws_that_cannot_be_compared_are_refused() -> None:
    cases = [
        (np.zeros((2, 3)), np.zeros((2, 4)), "draws of the port of shape (draws, *(3,)), found shape (2, 4)."),
        (
            np.zeros((1, 3)),
            np.zeros((2, 3)),
            "two draws or more of each side, found 1 and 2. A value that is constant shows by a second draw.",
        ),
    ]
    for reference, port, text in cases:
        with pytest.raises(ShapeError, match=f"^{PATH}: expected {re.escape(text)}$"):
            compare(reference, port, path=PATH)
    assert [row.finding for row in compare(np.zeros((2, 0)), np.zeros((2, 0)))] == ["there are none"]


def test_the_bound_on_sums_of_signs_is_above_the_truth_and_near_it() -> None:
    """Against all signs of twelve numbers, and against the normal law for many equal ones."""
    for weights in (np.ones(12), np.arange(1.0, 13.0), np.r_[np.ones(11), 9.0]):
        signs = 1 - 2 * ((np.arange(2**12)[:, None] >> np.arange(12)) & 1)
        sums = np.abs(signs @ weights)
        for total in np.unique(sums):
            assert sum_p(total, np.square(weights).sum()) >= np.mean(sums >= total - 1e-9) - 1e-12
    assert sum_p(60.0, 100.0) < 3.3 * 2 * special.ndtr(-6.0)
    assert sum_p(0.0, 0.0) == 1
    assert sum_p(critical(1e-9), 1.0) == pytest.approx(1e-9, rel=1e-6)
    assert count_p(2, 10) == pytest.approx(stats.binomtest(2, 10).pvalue)
    assert count_p(0, 0) == 1
    assert run_p(11) == 2.0**-10


@pytest.mark.parametrize(
    ("shape", "most"), [((3000, 96), 2**14), ((300, 64), 9600), ((300, 1, 64), 9600), ((64, 66), 2112), ((50, 9), 150)]
)
def test_a_large_parameter_is_cut_to_entries_in_all_rows_and_columns(shape: tuple[int, ...], most: int) -> None:
    indices = spread(np.arange(np.prod(shape)), most, shape)
    assert most / 4 < len(indices) <= most
    for axis, length in zip(np.unravel_index(indices, shape), shape, strict=True):
        counts = np.bincount(axis, minlength=length)
        assert counts.min() >= 1
        assert counts.max() - counts.min() <= 2


def test_of_more_draws_than_are_needed_one_entry_each_is_used() -> None:
    draws = np.random.default_rng(0).standard_normal((2, 6, 4))
    found = matched(*draws, most=4)
    assert found.n == 6
    np.testing.assert_array_equal(found.reference, draws[0, :, :1])


@pytest.mark.parametrize(
    ("dtype", "distance"),
    [(np.float16, 2**-10), (ml_dtypes.bfloat16, 2**-7), (np.float32, 2**-23), (np.float64, 2**-52), (np.int32, 0)],
)
def test_the_distance_from_one_to_the_next_number(dtype: Any, distance: float) -> None:
    assert eps(np.dtype(dtype)) == distance


@pytest.mark.parametrize(
    ("reference", "port"),
    [(np.float32(1), np.ones(3)), (np.ones(3), np.float32(1)), (np.ones((3, 2)), np.ones((3, 4)))],
)
def test_draws_that_are_not_of_one_shape_are_refused(reference: Any, port: Any) -> None:
    with pytest.raises(ShapeError, match=r"^w: expected draws of the port of shape \(draws, \*\("):
        in_one_format(reference, port, "w")


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_a_cell_ends_half_way_to_the_neighbours(dtype: Any) -> None:
    values = np.array([1.0, 1.5, -1.0, 2.0, 0.02, 0.0, -3.0]).astype(dtype)
    low, high = cells(values)
    assert (np.nextafter(low, high).astype(dtype) == values).all()
    assert (np.nextafter(high, low).astype(dtype) == values).all()
    assert (np.nextafter(high, 9.0).astype(dtype) >= values).all()
    assert (high - low)[0] == pytest.approx(0.75 * float(ml_dtypes.finfo(dtype).eps))


def test_the_one_sample_tests_take_rounded_draws_and_spread_each_over_its_cell() -> None:
    """Between 1 and 1.1 there are 13 numbers in bfloat16: held as they are, correct draws are off by this grid."""
    naive, spread_out = [], []
    rng = np.random.default_rng(0)
    for _ in range(40):
        samples = rng.uniform(1.0, 1.1, (1, 2000)).astype(ml_dtypes.bfloat16)
        naive.append(stats.kstest(samples[0].astype("f8"), "uniform", (1.0, 0.1)).pvalue)
        rows = {row.test: row.p_value for row in examine(samples, Uniform(1.0, 1.1), (2000,))}
        spread_out.append([rows[test] for test in ("mean", "chi-square", "maximum")])
    assert max(naive) < 1e-3
    for column in np.array(spread_out).T:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    for dtype in (np.float16, ml_dtypes.bfloat16):
        for spec, samples in (
            (Uniform(-0.1, 0.1), rng.uniform(-0.1, 0.1, (4, 3000)).astype(dtype)),
            (Masked(Uniform(-10, 10), 5.0), masked(rng).astype(dtype)),
        ):
            verdicts = judge(examine(samples, spec, (3000,), path=PATH))
            assert [verdict.message for verdict in verdicts if not verdict.passed] == []
        wrong = judge(examine(half(normal(0.022))(rng, (1, 20000)).astype(dtype), Normal(std=0.02), (20000,)))
        assert "chi-square" in {verdict.evidence.test for verdict in wrong if not verdict.passed}


def masked(rng: np.random.Generator) -> Draws:
    values = rng.uniform(-10, 10, (4, 3000))
    return np.where(np.abs(values) < 5, 0.0, values)


@pytest.mark.parametrize(
    ("positive", "signs", "p_value"),
    [(0, 0, 1.0), (0, 1, 1.0), (1, 2, 1.0), (0, 2, 0.5), (2, 2, 0.5), (1, 4, 0.625), (0, 10, 2.0**-9)],
)
def test_the_sign_test_is_twice_the_binomial_tail(positive: int, signs: int, p_value: float) -> None:
    assert float(count_p(positive, signs)) == pytest.approx(p_value)


def test_a_sum_of_no_signs_tells_nothing() -> None:
    assert float(sum_p(np.zeros(1), np.zeros(1))[0]) == 1.0
    assert float(sum_p(np.zeros(1), np.ones(1))[0]) == 1.0
