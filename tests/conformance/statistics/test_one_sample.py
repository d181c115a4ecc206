"""The one-sample tests against correct draws (no alarm) and planted faults (each caught, by name)."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np
import pytest
from scipy import stats

from paritree.common.errors import DtypeError, InitializerError, ShapeError
from paritree.common.initializers import (
    Constant,
    Continuous,
    DeltaOrthogonal,
    Dirac,
    Eye,
    Initializer,
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
from paritree.conformance.statistics import examine, judge, replicates

PATH = "0.weight"


@dataclass(frozen=True)
class Laplace(Initializer):
    def law(self, shape):
        return Law(Continuous("laplace", (), 0.0, 0.1))


@dataclass(frozen=True)
class Signs(Initializer):
    def law(self, shape):
        return Law(None, ((-1.0, 0.5), (1.0, 0.5)))


@dataclass(frozen=True)
class FirstRowOnes(Initializer):
    """Depends on the index, so that only one entry of each draw can be used."""

    @property
    def independent(self):
        return False

    def law(self, shape):
        return Law(Continuous("norm"), ((1.0, 1 / shape[0]),))


def haar(rng, rows, columns, signs_fixed=True):
    q, r = np.linalg.qr(rng.standard_normal((max(rows, columns), min(rows, columns))))
    q = q * np.sign(np.diag(r)) if signs_fixed else q
    return q if rows >= columns else q.T


def draw(initializer, shape, rng):
    """One correct draw in float64."""
    match initializer:
        case Constant() | Zeros() | Ones() | Eye() | Dirac():
            return initializer.draw(shape)
        case Orthogonal():
            return initializer.gain * haar(rng, shape[0], int(np.prod(shape[1:]))).reshape(shape)
        case DeltaOrthogonal():
            array = np.zeros(shape)
            array[(..., *initializer.middle(shape))] = initializer.gain * haar(rng, *shape[:2])
            return array
        case Sparse():
            array = initializer.std * rng.standard_normal(shape)
            for column in range(shape[1]):
                array[rng.permutation(shape[0])[: initializer.zeros(shape)], column] = 0
            return array
        case FirstRowOnes():
            array = rng.standard_normal(shape)
            array[0] = 1
            return array
    return initializer.law(shape).ppf(rng.random(shape))


def draws(initializer, shape, rng, dtype=np.float32, count=None):
    count = count or replicates(shape, initializer=initializer)
    return np.stack([draw(initializer, shape, rng) for _ in range(count)]).astype(dtype)


def failures(samples, initializer, shape):
    return [verdict for verdict in judge(examine(samples, initializer, shape, path=PATH)) if not verdict.passed]


def failed_tests(samples, initializer, shape):
    return {verdict.evidence.test for verdict in failures(samples, initializer, shape)}


CORRECT = [
    (Uniform(), (40, 30)),
    (Uniform(-0.1, 0.1), (7,)),
    (Normal(std=0.02), (64, 32)),
    (Normal(mean=3.0), ()),
    (TruncatedNormal(std=0.02), (64, 32)),
    (TruncatedNormal(std=0.02, cut="sigma"), (64, 32)),
    (TruncatedNormal(1.0, 0.5, 0.0, 9.0), (12, 5)),
    (VarianceScaling(1.0, "fan_geo_avg", "truncated_normal"), (16, 8, 3)),
    (Xavier(), (96, 32)),
    (Xavier("normal"), (96, 32)),
    (Kaiming(a=5**0.5), (16, 8, 3, 3)),
    (LeCun(), (10, 4)),
    (Masked(Uniform(-10, 10), 5.0), (8, 4)),
    (Masked(Normal(), 1.0), (50, 50)),
    (Orthogonal(), (12, 12)),
    (Orthogonal(1.4), (6, 4, 3)),
    (Orthogonal(), (1, 1)),
    (Orthogonal(), (2, 2)),
    (DeltaOrthogonal(), (6, 4, 3, 3)),
    (Sparse(0.3), (30, 20)),
    (Sparse(1.0), (3, 2)),
    (Constant(0.1), (3, 2)),
    (Zeros(), (3,)),
    (Ones(), (3,)),
    (Eye(), (3, 4)),
    (Dirac(), (4, 3, 5)),
    (Laplace(), (30, 30)),
    (Signs(), (30, 30)),
    (FirstRowOnes(), (4, 2)),
]


@pytest.mark.parametrize(("initializer", "shape"), CORRECT, ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_correct_draws_raise_no_alarm(initializer, shape, dtype):
    rng = np.random.default_rng(0)
    for _ in range(3):
        verdicts = judge(examine(draws(initializer, shape, rng, dtype), initializer, shape, path=PATH))
        assert [verdict.message for verdict in verdicts if not verdict.passed] == []
        assert len(verdicts) >= 2


@pytest.mark.parametrize(
    ("initializer", "shape"),
    [
        (Uniform(-0.1, 0.1), (10, 8)),
        (Normal(), (10, 8)),
        (LeCun(), (10, 8)),
        (Masked(Uniform(-10, 10), 5.0), (10, 8)),
        (Sparse(0.3), (10, 8)),
    ],
    ids=repr,
)
def test_the_rate_of_false_alarms_is_the_one_that_is_stated(initializer, shape):
    """At a family-wise rate of 0.1 over 200 runs: at most 20 expected, and 41 has a chance of 4e-6."""
    rng = np.random.default_rng(1)
    runs, alarms, p_values, small = 200, 0, [], Counter()
    for _ in range(runs):
        evidence = examine(draws(initializer, shape, rng, count=8), initializer, shape, path=PATH)
        alarms += any(not verdict.passed for verdict in judge(evidence, alpha=0.1))
        small.update(item.test for item in evidence if not item.constraint and item.p_value <= 0.1)
        p_values.append([item.p_value for item in evidence if item.test in ("mean", "chi-square")])
    assert alarms <= 40
    assert small
    assert {test: count for test, count in small.items() if count > 40} == {}
    # Mean and chi-square are exact, so that their p-values are uniform: neither too small nor too large.
    for column in np.array(p_values).T:
        assert stats.kstest(column, "uniform").pvalue > 1e-6


def test_a_std_ten_percent_too_large_is_caught_at_the_default_size_with_a_message_that_says_all():
    shape, spec = (96, 32), Normal(std=0.02)
    samples = draws(Normal(std=0.022), shape, np.random.default_rng(0))
    assert samples.size == 9216
    found = {verdict.evidence.test: verdict.message for verdict in failures(samples, spec, shape)}
    assert found["chi-square"] == (
        "0.weight: std is 1.103 times the spec's "
        "(chi-square p = 7e-43, allowed 8e-08; would have caught a factor of 1.08)"
    )


@pytest.mark.parametrize("factor", [1.1, 0.9])
@pytest.mark.parametrize("spec", [Normal(std=0.02), Xavier("normal"), Kaiming("normal", mode="fan_out")], ids=repr)
@pytest.mark.parametrize("shape", [(96, 32), (20, 10), (8, 4, 3)])
def test_a_wrong_scale_is_caught_at_every_shape(spec, factor, shape):
    samples = draws(spec, shape, np.random.default_rng(0)) * np.float32(factor)
    assert "chi-square" in failed_tests(samples, spec, shape)


# spec, what is drawn, the test that must say so
FAULTS = {
    "untruncated for truncated": (LeCun(), LeCun("normal"), "support"),
    "truncated for untruncated": (LeCun("normal"), LeCun(), "extremes"),
    "correction by 0.8796 missing": (LeCun(), TruncatedNormal(std=32**-0.5, cut="sigma"), "chi-square"),
    "sigma for absolute bounds": (TruncatedNormal(std=0.02), TruncatedNormal(std=0.02, cut="sigma"), "chi-square"),
    "bound 1 % small": (Uniform(-1, 1), Uniform(-0.99, 0.99), "extremes"),
    "upper bound 1 % small": (Uniform(0, 1), Uniform(0, 0.99), "maximum"),
    "lower bound 1 % large": (Uniform(0, 1), Uniform(0.01, 1), "minimum"),
    "bound 1 % large": (Uniform(-1, 1), Uniform(-1.01, 1.01), "support"),
    "one-sided": (Uniform(-0.01, 0.01), Uniform(0, 0.01), "minimum"),
    "shifted": (Normal(std=0.1), Normal(mean=0.02, std=0.1), "mean"),
    "Flax's normal for PyTorch's": (Normal(), Normal(std=0.01), "chi-square"),
    "He for Glorot": (Xavier(), Kaiming(), "support"),
    "Glorot for He": (Kaiming(), Xavier(), "extremes"),
    "PyTorch's default for Flax's": (LeCun(), Kaiming(a=5**0.5), "chi-square"),
    "fans swapped": (Kaiming("normal"), Kaiming("normal", mode="fan_out"), "chi-square"),
    "uniform for normal of equal std": (LeCun("normal"), LeCun("uniform"), "shape"),
    "Laplace for normal of equal std": (Laplace(), Normal(std=0.1 * 2**0.5), "shape"),
    "mask at 4.8 for 5": (Masked(Uniform(-10, 10), 5.0), Masked(Uniform(-10, 10), 4.8), "constraint"),
    "mask at 6 for 5": (Masked(Uniform(-10, 10), 5.0), Masked(Uniform(-10, 10), 6.0), "mass at 0"),
    "nothing masked": (Masked(Uniform(-10, 10), 5.0), Uniform(-10, 10), "constraint"),
    "wrong kept part": (Masked(Uniform(-10, 10), 5.0), Masked(Uniform(-10, 10.5), 5.0), "support"),
    "sparse std": (Sparse(0.3), Sparse(0.3, std=0.012), "chi-square"),
    "sparse count": (Sparse(0.3), Sparse(0.4), "constraint"),
    "gain": (Orthogonal(), Orthogonal(1.001), "constraint"),
    "constant": (Constant(1.0), Constant(1.0001), "constraint"),
    "zeros that are small": (Zeros(), Normal(std=1e-30), "constraint"),
    "a sign that is not fair": (Signs(), Normal(), "support"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_planted_faults_are_caught_by_the_test_that_is_made_for_them(fault):
    spec, drawn, test = FAULTS[fault]
    shape = (96, 32)
    samples = draws(drawn, shape, np.random.default_rng(0))
    found = failures(samples, spec, shape)
    assert test in {verdict.evidence.test for verdict in found}
    assert all(verdict.message.startswith("0.weight: ") for verdict in found)


def test_negative_zeros_of_a_mask_by_product_are_caught_by_their_sign_alone():
    spec, shape = Masked(Uniform(-10, 10), 5.0), (96, 32)
    samples = draws(Uniform(-10, 10), shape, np.random.default_rng(0))
    samples = samples * (np.abs(samples) >= 5).astype(np.float32)
    found = failures(samples, spec, shape)
    assert [verdict.evidence.test for verdict in found] == ["constraint"]
    assert re.search(r"entry \(\d+, \d+\) is -0.0, expected \+0.0", found[0].message)


def test_a_wrong_share_of_zeros_is_said_in_words():
    spec, shape = Masked(Uniform(-10, 10), 5.0), (96, 32)
    samples = draws(spec, shape, np.random.default_rng(0))
    samples[np.random.default_rng(1).random(samples.shape) < 0.1] = 0
    found = {verdict.evidence.test: verdict.message for verdict in failures(samples, spec, shape)}
    assert found["mass at 0"] == (
        "0.weight: a share of 0.5462 of the values is 0, the spec's is 0.5 (mass at 0 p = 7e-19, allowed 7e-08; "
        "would have caught a mass below 0.447 or above 0.553)"
    )


@pytest.mark.parametrize("shape", [(12, 12), (16, 6), (6, 16), (4, 2, 3)])
def test_orthogonal_draws_without_the_sign_fix_are_caught(shape):
    rng, count = np.random.default_rng(0), 64
    columns = int(np.prod(shape[1:]))
    samples = np.stack([haar(rng, shape[0], columns, signs_fixed=False) for _ in range(count)])
    samples = samples.reshape(count, *shape).astype(np.float32)
    found = {verdict.evidence.test: verdict.message for verdict in failures(samples, Orthogonal(), shape)}
    assert found["sign"].startswith(
        "0.weight: the first entry is positive in 0 of 64 draws, as without the sign fix of the QR factorization"
    )


def test_the_sign_needs_35_replicates_and_says_so_below():
    corner = -np.ones((35, 1, 1), np.float32)
    evidence = {item.test: item for item in examine(corner, Orthogonal(), (1, 1), path=PATH)}
    assert evidence["sign"].p_value == pytest.approx(2 * 2.0**-35)
    assert evidence["sign"].smallest(1e-9, 1e-6) == "a sign that is positive in less than 2.9e-06 % of the draws"
    few = {item.test: item for item in examine(corner[:10], Orthogonal(), (1, 1), path=PATH)}
    assert few["sign"].smallest(1e-9, 1e-6) == "nothing: 10 replicates are too few"


def test_the_middle_of_a_delta_orthogonal_is_held_to_haar():
    rng, shape = np.random.default_rng(0), (6, 4, 3, 3)
    samples = np.zeros((64, *shape), np.float32)
    samples[..., 1, 1] = [haar(rng, 6, 4, signs_fixed=False) for _ in range(64)]
    assert failed_tests(samples, DeltaOrthogonal(), shape) == {"sign"}


def test_zeros_of_a_sparse_matrix_in_fixed_rows_are_caught_by_row():
    spec, shape = Sparse(0.3), (30, 20)
    samples = draws(Normal(std=0.01), shape, np.random.default_rng(0))
    samples[:, :9] = 0
    found = failures(samples, spec, shape)
    assert [verdict.evidence.test for verdict in found] == ["rows mass"]
    assert found[0].message.startswith(
        "0.weight: row 0: a share of 1 of the values is at a point mass, the spec's is 0.3 "
    )


def test_a_fused_block_with_the_wrong_fan_is_caught_by_the_sections():
    """The pooled std is right by construction: 2/3 of the rows too narrow, 1/3 too wide."""
    spec, shape = Normal(std=0.1), (96, 96)
    samples = draws(spec, shape, np.random.default_rng(0))
    narrow = 0.9
    samples[:, :64] *= narrow
    samples[:, 64:] *= (3 - 2 * narrow**2) ** 0.5
    found = {verdict.evidence.test: verdict.message for verdict in failures(samples, spec, shape)}
    assert "chi-square" not in found
    assert found["sections chi-square"].startswith("0.weight: block of rows 64 to 95: std is 1.1")


@pytest.mark.parametrize(("axis", "test", "name"), [(1, "rows", "row 5"), (2, "columns", "column 5")])
def test_one_wrong_row_or_column_is_caught_and_named(axis, test, name):
    spec, shape = Normal(std=0.1), (64, 64)
    samples = draws(spec, shape, np.random.default_rng(0), count=8)
    samples[(slice(None),) * axis + (5,)] *= 1.5
    found = {verdict.evidence.test: verdict.message for verdict in failures(samples, spec, shape)}
    assert found[f"{test} chi-square"].startswith(f"0.weight: {name}: std is 1.")
    samples = draws(spec, shape, np.random.default_rng(0), count=8)
    samples[(slice(None),) * axis + (5,)] += np.float32(0.05)
    found = {verdict.evidence.test: verdict.message for verdict in failures(samples, spec, shape)}
    assert found[f"{test} mean"].startswith(f"0.weight: {name}: mean is 0.")


def test_rows_that_are_too_short_are_a_row_with_a_reason():
    verdicts = judge(examine(draws(Normal(), (64, 3), np.random.default_rng(0), count=2), Normal(), (64, 3), path=PATH))
    messages = [verdict.message for verdict in verdicts if verdict.status == "not applicable"]
    assert messages == [
        "0.weight: rows mean not applicable: groups of 6 values are below 16: draw more replicates",
        "0.weight: rows chi-square not applicable: groups of 6 values are below 16: draw more replicates",
    ]


def test_a_bound_one_percent_small_is_seen_by_the_extremes_and_not_by_the_std():
    rng = np.random.default_rng(0)
    seen = [
        failed_tests(draws(Uniform(-0.99, 0.99), (3000,), rng, count=1), Uniform(-1, 1), (3000,)) for _ in range(20)
    ]
    assert all("extremes" in tests and "chi-square" not in tests for tests in seen)


def test_the_p_value_of_the_shape_bounds_the_exact_one_closely_from_above():
    samples = draws(Normal(std=1.03), (2000,), np.random.default_rng(0), count=1)
    (shape,) = [item for item in examine(samples, Normal(), (2000,)) if item.test == "shape"]
    exact = stats.kstest(samples.ravel(), "norm")
    assert shape.statistic == pytest.approx(exact.statistic)
    far = examine(samples + np.float32(0.1), Normal(), (2000,))
    (shape,) = [item for item in far if item.test == "shape"]
    exact = stats.kstest(samples.ravel() + np.float32(0.1), "norm").pvalue
    assert exact <= shape.p_value <= 1.2 * exact


def test_a_uniform_may_hit_its_end_points_in_float32():
    samples = draws(Uniform(-0.1, 0.1), (96, 96), np.random.default_rng(0))
    samples[0, 0, :2] = [-0.1, 0.1]
    samples[0, 1, 0] = np.nextafter(np.float32(0.1), np.float32(1))
    assert failures(samples, Uniform(-0.1, 0.1), (96, 96)) == []


def test_a_seed_that_does_not_reach_the_draw_is_caught():
    samples = np.repeat(draws(Normal(), (4, 2), np.random.default_rng(0), count=1), 3, axis=0)
    assert "0.weight: all 3 replicates are the same draw, expected one for each seed (seeds: must always hold)" in [
        verdict.message for verdict in failures(samples, Normal(), (4, 2))
    ]


def test_draws_that_may_well_agree_are_not_called_copies():
    samples = np.ones((2, 4), np.float32)
    assert failures(samples, Signs(), (4,)) == []


def test_what_is_not_finite_stops_the_tests():
    samples = np.zeros((2, 3), np.float32)
    samples[1, 2] = np.nan
    assert [verdict.message for verdict in judge(examine(samples, Normal(), (3,), path=PATH))] == [
        "0.weight: entry (2,) of replicate 1 is nan, expected a finite number (finite: must always hold)"
    ]


def test_a_violation_names_the_replicate():
    samples = np.ones((3, 2), np.float32)
    samples[2, 1] = 2
    found = failures(samples, Ones(), (2,))
    assert found[0].message == (
        "0.weight: replicate 2: entry (1,) is 2.0, expected exactly 1.0 (1 of 2 entries differ) "
        "(constraint: must always hold)"
    )


def test_values_outside_the_support_say_where_and_how_far_off_the_scale_is():
    samples = np.linspace(-2, 2, 4001, dtype=np.float32).reshape(1, -1)
    found = failures(samples, Uniform(-1, 1), (4001,))
    assert found[0].message == (
        "0.weight: entry (0,) of replicate 0 is -2, expected between -1 and 1 (2000 of 4001 values are not); "
        "std is 2.000 times the spec's (support: must always hold)"
    )
    last = judge(examine(samples, Uniform(-1, 1), (4001,), path=PATH))[-1]
    assert last.message == "0.weight: scores not applicable: values outside the spec's support have none"


def test_an_empty_parameter_is_a_row_with_a_reason():
    (verdict,) = judge(examine(np.zeros((3, 0, 4), np.float32), Normal(), (0, 4), path=PATH))
    assert verdict.message == "0.weight: values not applicable: there are none"


@pytest.mark.parametrize(
    ("samples", "error", "text"),
    [
        (
            np.zeros((2, 3), np.float32),
            ShapeError,
            "0.weight: expected samples of shape (replicates, *(4,)), found shape (2, 3).",
        ),
        (
            np.zeros((), np.float32),
            ShapeError,
            "0.weight: expected samples of shape (replicates, *(4,)), found shape ().",
        ),
        (
            np.zeros((2, 4), np.int32),
            DtypeError,
            "0.weight: expected samples in float64, float32, float16 or bfloat16, found int32. "
            "Give them as they were drawn.",
        ),
    ],
)
def test_samples_that_cannot_be_examined_are_refused(samples, error, text):
    with pytest.raises(error, match=f"^{re.escape(text)}$"):
        examine(samples, Normal(), (4,), path=PATH)


def test_an_initializer_that_does_not_fit_is_refused_by_path():
    with pytest.raises(InitializerError, match=r"^0\.weight: expected a shape of 2 dimensions for Eye, found shape"):
        examine(np.zeros((2, 4), np.float32), Eye(), (4,), path=PATH)


def test_a_p_value_is_a_probability_also_of_draws_that_are_as_even_as_can_be():
    evenly = (np.arange(64, dtype=np.float32) + 0.5).reshape(1, 64) / 64
    rows = {row.test: row for row in examine(evenly, Uniform(), (64,), path=PATH) if row.p_value is not None}
    assert rows["shape"].p_value == 1
    assert all(0 <= row.p_value <= 1 for row in rows.values())


def test_what_a_law_says_for_certain_is_held_by_constraints_alone():
    nothing_is_left = Masked(Uniform(-1, 1), 5.0)
    rows = examine(np.zeros((3, 8, 8), np.float32), nothing_is_left, (8, 8), path=PATH)
    assert all(row.constraint and row.p_value == 1 for row in rows)


def test_one_entry_of_a_vector_that_is_at_its_point_mass_too_often_is_named():
    samples = np.where(np.random.default_rng(0).random((256, 8)) < 0.5, -1, 1).astype(np.float32)
    assert failures(samples, Signs(), (8,)) == []
    spec = Masked(Uniform(-1, 1), 0.5)
    drawn = np.random.default_rng(0).uniform(-1, 1, (256, 8)).astype(np.float32)
    samples = np.where(np.abs(drawn) < 0.5, 0, drawn)
    samples[:, 3] = 0
    found = {verdict.evidence.test: verdict.message for verdict in failures(samples, spec, (8,))}
    assert found["rows mass"].startswith(
        "0.weight: row 3: a share of 1 of the values is at a point mass, the spec's is 0.5"
    )
