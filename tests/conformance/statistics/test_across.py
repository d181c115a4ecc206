"""Parameters against each other, and the names of what a failure looks like."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from paritree.common.initializers import (
    Constant,
    Kaiming,
    LeCun,
    Masked,
    Normal,
    Orthogonal,
    TruncatedNormal,
    Uniform,
    Xavier,
    Zeros,
)
from paritree.conformance.statistics import across, diagnose, judge
from paritree.conformance.statistics.independence import correlation

SHAPE = (96, 32)


def draw(initializer, shape, seed, count=1):
    return initializer.law(shape).ppf(np.random.default_rng(seed).random((count, *shape))).astype(np.float32)


def messages(samples, initializers, ties=()):
    verdicts = judge(across(samples, initializers, ties))
    return [verdict.message for verdict in verdicts if not verdict.passed]


def model(**initializers):
    samples = {path: draw(initializer, SHAPE, seed) for seed, (path, initializer) in enumerate(initializers.items())}
    return samples, initializers


def test_independent_parameters_raise_no_alarm():
    samples, initializers = model(
        a=Normal(), b=LeCun(), c=Normal(), d=Uniform(), e=Masked(Uniform(-10, 10), 5.0), f=Zeros(), g=Constant(2)
    )
    assert messages(samples, initializers) == []
    assert len(across(samples, initializers)) == 2 * 4  # The first has none before it; constants are not random.


def test_looking_at_many_pairs_does_not_raise_the_rate_of_false_alarms():
    """A p-value of at most 0.1 in 200 runs of one parameter against nine: 20 expected, 41 has a chance of 4e-6."""
    rng, paths = np.random.default_rng(0), "abcdefghij"
    initializers = dict.fromkeys(paths, Normal())
    small = 0
    for _ in range(200):
        evidence = across({path: rng.standard_normal((1, 64)) for path in paths}, initializers)
        small += evidence[-1].p_value <= 0.1
    assert 0 < small <= 40


def test_the_p_values_of_the_correlation_are_uniform():
    rng = np.random.default_rng(0)
    p_values = [correlation(*rng.standard_normal((2, 50)))[1] for _ in range(500)]
    assert stats.kstest(p_values, "uniform").pvalue > 1e-6


def test_a_copy_is_caught_and_a_declared_tie_is_not():
    samples, initializers = model(a=Normal(), b=Normal(), c=Normal())
    samples["c"] = samples["a"].copy()
    found = messages(samples, initializers)
    assert found[0] == (
        "c: its draws are those of a, expected draws of its own: no tie of the two is declared "
        "(copies: no exception is allowed)"
    )
    assert found[1].startswith(
        "c: the correlation of its draws with those of a is 1, as with a reused key (correlation p"
    )
    assert messages(samples, initializers, ties=[("c", "a")]) == []


def test_a_key_that_is_reused_under_another_scale_or_family_is_caught():
    same = np.random.default_rng(0).random((1, *SHAPE))
    initializers = {"a": Normal(), "b": Kaiming(a=5**0.5)}
    samples = {path: item.law(SHAPE).ppf(same).astype(np.float32) for path, item in initializers.items()}
    (found,) = messages(samples, initializers)
    assert found.startswith(
        "b: the correlation of its draws with those of a is 1, as with a reused key (correlation p = "
    )


def test_a_reused_key_is_seen_through_the_transpose_of_unlike_shapes():
    """One stream in Flax's storage (in, out), seen in the canonical layout."""
    stream = np.random.default_rng(0).standard_normal(4096).astype(np.float32)
    samples = {"a": stream[:2048].reshape(64, 32).T[None], "b": stream.reshape(64, 64).T[None]}
    assert len(messages(samples, {"a": Normal(), "b": Normal()})) == 1


def test_a_weak_correlation_is_not_called_a_reused_key():
    samples, initializers = model(a=Normal(), b=Normal())
    samples["b"] = (0.6 * samples["a"] + 0.8 * samples["b"]).astype(np.float32)
    (found,) = messages(samples, initializers)
    assert ", expected none (correlation p = " in found
    assert found.endswith("would have caught a correlation of 0.31)")


def test_copied_orthogonal_matrices_are_caught_though_their_entries_depend_on_each_other():
    q = np.linalg.qr(np.random.default_rng(0).standard_normal((2, 16, 16)))[0].astype(np.float32)
    initializers = {"a": Orthogonal(), "b": Orthogonal()}
    assert messages({"a": q, "b": q[::-1]}, initializers) == []
    assert len(messages({"a": q, "b": q}, initializers)) == 1


def test_too_few_common_values_are_a_row_with_a_reason():
    samples = {path: draw(Normal(), (4,), seed) for seed, path in enumerate("ab")}
    verdicts = judge(across(samples, {"a": Normal(), "b": Normal()}))
    assert [verdict.message for verdict in verdicts] == [
        "b: copies kept",
        "b: correlation not applicable: no other parameter shares 64 values with it",
    ]


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
