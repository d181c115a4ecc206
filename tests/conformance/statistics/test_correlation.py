"""Parameters against each other: of a model whose laws are known, and of the two sides of a pair."""

from __future__ import annotations

import numpy as np
from scipy import stats

from paritree.common.initializers import Constant, Kaiming, LeCun, Masked, Normal, Orthogonal, Uniform, Zeros
from paritree.conformance.statistics import across, copies, judge
from paritree.conformance.statistics.correlation import correlation

from .samples import normal, side

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
        "(copies: must always hold)"
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


def test_copies_on_one_side_are_found_and_those_of_both_are_not() -> None:
    reference, port = side(0), side(1)
    port["b.weight"] = port["a.weight"]
    found = [verdict.message for verdict in judge(copies(reference, port)) if not verdict.passed]
    assert found == [
        "b.weight: the port's draws are those of its a.weight, the reference's are draws of their own: "
        "a reused key, or a tie that one side does not have (copies: must always hold)"
    ]
    assert all(verdict.passed for verdict in judge(copies(reference, port, [("a.weight", "b.weight")])))
    reference["b.weight"] = reference["a.weight"]
    assert all(verdict.passed for verdict in judge(copies(reference, port)))
    port = side(1)
    found = [verdict.evidence.path for verdict in judge(copies(reference, port)) if not verdict.passed]
    assert found == ["b.weight"]


def test_a_reused_key_shows_in_parameters_of_unlike_shapes_and_scales() -> None:
    rng = np.random.default_rng(3)
    stream = rng.standard_normal((4, 1200)).astype(np.float32)
    reference = side(0)
    reference["d.weight"] = normal()(rng, (4, 30, 40))
    port = side(1)
    port["c.weight"] = stream.reshape(4, 40, 30) * 3
    # As a matrix of Flax's lies once it is transposed.
    port["d.weight"] = stream.reshape(4, 40, 30).transpose(0, 2, 1)
    found = {verdict.evidence.path: verdict for verdict in judge(copies(reference, port)) if not verdict.passed}
    assert list(found) == []
    port["d.weight"] = stream.reshape(4, 30, 40)
    (verdict,) = [verdict for verdict in judge(copies(reference, port)) if not verdict.passed]
    assert (verdict.evidence.path, verdict.evidence.test) == ("d.weight", "correlation in the port")
    assert verdict.message.startswith(
        "d.weight: the correlation of the port's draws with those of its c.weight is 1, and the reference's have none"
    )


def test_correlations_of_independent_parameters_have_valid_p_values() -> None:
    p_values = []
    for seed in range(60):
        rows = copies(side(2 * seed), side(2 * seed + 1))
        p_values += [row.p_value for row in rows if row.test.startswith("correlation")]
    assert np.mean(np.array(p_values) <= 0.05) <= 0.08


def test_scalars_are_held_against_each_other_too() -> None:
    rng = np.random.default_rng(0)
    reference, port = ({path: rng.standard_normal(100) for path in "ab"} for _ in range(2))
    assert all(verdict.passed for verdict in judge(copies(reference, port)))
    port["b"] = port["a"]
    assert [verdict.evidence.path for verdict in judge(copies(reference, port)) if not verdict.passed] == ["b"]


def test_a_declared_tie_may_hold_a_multiple_of_the_other_end() -> None:
    """It is no copy, and its correlation is that of one."""
    rng = np.random.default_rng(0)
    reference, port = ({path: normal()(rng, (4, 40, 30)) for path in "ab"} for _ in range(2))
    port["b"] = 3 * port["a"]
    assert [each.evidence.path for each in judge(copies(reference, port)) if not each.passed] == ["b"]
    for tie in (("a", "b"), ("b", "a")):
        assert all(each.passed for each in judge(copies(reference, port, [tie])))
