"""Holm's levels, and what verdicts say."""

from __future__ import annotations

import pytest

from paritree.conformance.statistics import Evidence, judge
from paritree.conformance.statistics.evidence import constraint, inapplicable, thresholds


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
        "0.bias: entry (1,) is 2.0, expected exactly 1.0 (1 of 4 entries differ) (constraint: must always hold)",
        "0.weight: std is 1.100 times the spec's (chi-square p = 0 (below 1e-300), allowed 1e-06; "
        "would have caught a factor of 1)",
        "1.weight: rows mean not applicable: groups of 1 values are below 16: draw more replicates",
        "0.weight: std is 1.100 times the spec's (chi-square p = 0.3, allowed 3e-06; would have caught a factor of 3)",
    ]


def test_constraints_do_not_dilute_the_levels():
    alone = judge([evidence(1e-7)], alpha=1e-6)
    among = judge([evidence(1e-7), *[constraint("a", "finite", 1, None)] * 50], alpha=1e-6)
    assert alone[0].allowed == among[0].allowed == 1e-6
