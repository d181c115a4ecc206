"""The proof of a map: what disagrees is told, and what rounding, a frozen tensor or a silent one explains is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from paritree import AlignmentError
from paritree.common.wing import Probe
from paritree.migration.align.proof import disagreements, output_errors, outputs_apart, prove
from paritree.pairs.comparison import Bound
from paritree.pairs.maps import Map
from paritree.pairs.precision import STRICT

from ...conformance.faults import runs
from ...conformance.faults.runs import BIAS, KERNEL
from ...conformance.faults.sides import Lie, holding, lying, network

CLEAN = network("torch")
Change = Callable[[np.ndarray], np.ndarray]
ENDS = "The programs differ, or these rows are not right; no map was made."


def message(bound: Bound) -> str:
    """What the proof says; empty if it holds."""
    try:
        prove(bound.comparison(STRICT))
    except AlignmentError as error:
        return str(error)
    return ""


def scaled(factor: float) -> Change:
    return lambda array: array.astype(np.float64) * factor


def in_float32(lie: Lie) -> Lie:
    """Not in the run that tells what rounding makes."""

    def told(probe: Probe, *asked: Any, **how: Any) -> Probe:
        return lie(probe, *asked, **how) if next(iter(probe.outputs.values())).dtype == np.float32 else probe

    return told


def rounded(of_reference: float, of_port: float, path: str = KERNEL) -> Bound:
    """The gradient of one parameter, off on both sides where it is not computed in float64."""
    first = lying(CLEAN, "reference", prober=in_float32(runs.derived(path, scaled(1 + of_reference))))
    return lying(first, "port", prober=in_float32(runs.derived(path, scaled(1 + of_port))))


def test_a_right_map_is_proved() -> None:
    assert message(CLEAN) == ""


def test_what_differs_is_told_with_its_size_and_the_largest_first() -> None:
    bound = lying(CLEAN, "port", prober=runs.told(scaled(1.5)))
    assert message(bound) == (
        "expected outputs and gradients that agree within 1.0e-05 once distinct values are carried across, "
        f"found 1 that do not: the output by 5.0e-01. {ENDS}"
    )
    small = lying(CLEAN, "port", prober=runs.derived(KERNEL, scaled(1.25)))
    assert "found 1 that do not: the gradient of last.weight (= last.weight, by " in message(small)
    assert "by 2.5e-01" in message(small) or "by 2.0e-01" in message(small)
    both = lying(small, "port", prober=runs.derived(BIAS, scaled(3.0)))
    told = message(both)
    assert told.index("last.bias (= last.bias") < told.index("last.weight (= last.weight")


@pytest.mark.parametrize(
    ("of_reference", "of_port", "holds"),
    [
        (0.001, 0.0, True),
        # Within eight times what rounding makes of the reference.
        (0.001, -0.006, True),
        (0.001, -0.009, False),
        # What the reference is that far from explains nothing.
        (0.009, 0.0, True),
        (0.015, 0.0, False),
    ],
)
def test_a_gradient_that_the_reference_rounds_coarsely_is_none_of_the_maps(
    of_reference: float, of_port: float, holds: bool
) -> None:
    assert (message(rounded(of_reference, of_port)) == "") is holds


def test_no_rounding_explains_outputs_at_ordinary_values() -> None:
    first = lying(CLEAN, "reference", prober=in_float32(runs.told(scaled(1.001))))
    assert "the output by 1.0e-03" in message(first)


def faint(change: Change) -> Lie:
    def is_faint(weights: Mapping[str, np.ndarray]) -> bool:
        return bool(np.abs(weights["norm.weight"]).max() < 1e-3)

    return runs.told(change, is_faint)


@pytest.mark.parametrize(("of_port", "holds"), [(1.0, True), (0.994, True), (0.985, False)])
def test_at_the_outer_points_the_references_rounding_explains_outputs(of_port: float, holds: bool) -> None:
    first = lying(CLEAN, "reference", prober=in_float32(faint(scaled(1.001))))
    told = message(lying(first, "port", prober=in_float32(faint(scaled(of_port)))))
    assert (told == "") is holds
    if not holds:
        assert told == (
            "expected outputs that agree within 1.0e-05 at faint vectors too, found the output by 1.6e-02. "
            "The programs differ where values are small or large, as in an eps or a bound; no map was made."
        )


def test_outputs_that_the_reference_has_no_number_for_are_not_compared() -> None:
    nothing = lying(CLEAN, "reference", prober=faint(lambda array: array * np.nan))
    assert message(nothing) == ""
    assert "at faint vectors too" in message(lying(CLEAN, "port", prober=faint(lambda array: array * np.nan)))


def by(evidence: Any) -> Bound:
    rows = tuple(replace(row, evidence=evidence) for row in CLEAN.map.rows)
    return replace(CLEAN, map=Map(rows, CLEAN.map.direction))


@pytest.mark.parametrize(("evidence", "holds"), [("fingerprint", False), ("name", True)])
def test_what_had_a_fingerprint_may_not_hide_behind_rounding(evidence: str, holds: bool) -> None:
    """Both gradients are no more than rounding, and not the same."""

    def noise(seed: int) -> Change:
        return lambda array: 1e-9 * np.random.default_rng(seed).normal(size=array.shape)

    first = lying(by(evidence), "reference", prober=runs.derived(KERNEL, noise(0)))
    assert (message(lying(first, "port", prober=runs.derived(KERNEL, noise(1)))) == "") is holds


@pytest.mark.parametrize("evidence", ["fingerprint", "name"])
def test_no_gradient_on_one_side_alone_is_told(evidence: str) -> None:
    for role in ("reference", "port"):
        silent = lying(by(evidence), role, prober=runs.derived(KERNEL, np.zeros_like))
        assert "the gradient of last.weight (= last.weight" in message(silent)


def test_one_side_may_have_no_gradient_of_what_is_frozen() -> None:
    silent = lying(CLEAN, "port", prober=runs.derived(BIAS, np.zeros_like))
    assert "last.bias" in message(silent)
    probes = silent.comparison(STRICT).probes
    assert [fault.row.reference for fault in disagreements(silent, probes, 1e-5, False) if fault.row] == [BIAS]
    assert disagreements(silent, probes, 1e-5, False, {BIAS}) == []
    wrong = lying(CLEAN, "port", prober=runs.derived(BIAS, scaled(2.0)))
    assert [fault.name for fault in disagreements(wrong, wrong.comparison(STRICT).probes, 1e-5, True, {BIAS})] == [""]
    frozen = holding(silent, "port", lambda found: {**found, BIAS: replace(found[BIAS], frozen=True)})
    assert "last.bias" not in message(frozen)


ONE, TWO = np.ones(3), np.full(3, 2.0)


def test_outputs_are_held_against_each_other_by_name_or_else_by_place() -> None:
    assert output_errors({"a": ONE, "b": TWO}, {"b": TWO, "a": ONE}) == [("a", "a", 0.0), ("b", "b", 0.0)]
    assert output_errors({"a": ONE, "b": TWO}, {"x": ONE, "y": ONE}) == [("a", "x", 0.0), ("b", "y", 0.5)]
    found = outputs_apart({"a": ONE, "b": TWO, "c": ONE}, {"x": ONE, "y": ONE, "z": ONE * np.nan}, 0.1)
    assert [(fault.text, fault.name) for fault in found] == [
        ("output 'b' (= 'y') by 5.0e-01", "b"),
        ("output 'c' (= 'z') by inf", "c"),
    ]
    (same,) = outputs_apart({"b": TWO}, {"b": ONE}, 0.1)
    assert (same.text, same.size, same.row) == ("output 'b' by 5.0e-01", 0.5, None)
    assert outputs_apart({"b": TWO}, {"b": ONE}, 0.5) == []
