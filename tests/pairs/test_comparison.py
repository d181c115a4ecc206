"""A bound pair: the values that its sides are run at, what is kept, and outputs that are not of one structure."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import nn

from paritree import Map, MapRow, Pair, PairError
from paritree.common.wing import Probe
from paritree.pairs.comparison import Bound, Comparison, check_outputs
from paritree.pairs.precision import Setting
from paritree.pairs.side import sides_of

INPUTS = (np.ones((2, 3), np.float32),)


class Scaled(nn.Module):
    """One layer and a gain; a buffer and a frozen constant stay as they are."""

    def __init__(self, extra: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.layer = nn.Linear(3, 2)
        self.gain = nn.Parameter(torch.ones(2))
        self.register_buffer("mean", torch.full((2,), 0.5))
        self.constant = nn.Parameter(torch.full((2,), 3.0), requires_grad=False)
        if extra:
            self.extra = nn.Parameter(torch.ones(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) * self.gain + self.mean * self.constant


def bound(*rows: MapRow, extra: bool = False, seed: int = 0, other: nn.Module | None = None) -> Bound:
    reference, port = sides_of(Pair(Scaled(), other or Scaled(extra), INPUTS))
    return Bound(reference, port, Map(rows or ROWS, ("torch", "torch")), seed=seed)


def row(path: str, shape: tuple[int, ...], port_shape: tuple[int, ...] | None = None, **more: Any) -> MapRow:
    layout = more.pop("layout", "a b -> a b" if len(shape) == 2 else "a -> a")
    return MapRow(path, more.pop("port", path), shape, port_shape or shape, layout, "rule", **more)


ROWS = (row("layer.weight", (2, 3)), row("layer.bias", (2,)), row("gain", (2,), transform="x + 1"))


def test_values_are_for_the_tensors_of_the_map_and_the_free_parameters() -> None:
    made = bound(row("layer.weight", (2, 3)), row("mean", (2,)))
    # The constant is frozen, and the map is not about it.
    assert set(made.ours) == {"layer.weight", "layer.bias", "gain", "mean"}
    assert set(made.theirs) == {"layer.weight", "layer.bias", "gain", "mean"}
    np.testing.assert_array_equal(made.theirs["layer.weight"], made.ours["layer.weight"])
    # What has no row has values of its own on either side.
    assert not np.array_equal(made.theirs["gain"], made.ours["gain"])
    assert set(bound(extra=True).theirs) - set(bound().theirs) == {"extra"}


def test_what_the_map_makes_of_the_values_is_the_ports() -> None:
    made = bound()
    np.testing.assert_array_equal(made.theirs["gain"], made.ours["gain"] + 1)
    assert (made.ordinary.name, made.quiet.name) == ("", "quiet values")
    assert made.ordinary.ours is made.ours
    assert made.ordinary.theirs is made.theirs
    np.testing.assert_array_equal(made.quiet.ours["layer.weight"].shape, (2, 3))
    assert np.abs(made.quiet.ours["gain"]).max() < 0.1 < np.abs(made.ours["gain"]).max()


def test_points_are_carried_and_what_one_side_holds_shifted_stays() -> None:
    made = bound()
    points = {point.name: point for point in made.outer_points}
    assert list(points) == ["faint vectors", "faint values", "large values of either sign"]
    for point in points.values():
        np.testing.assert_array_equal(np.abs(point.ours["gain"]), made.ours["gain"])
        np.testing.assert_array_equal(point.theirs["gain"], point.ours["gain"] + 1)
        np.testing.assert_array_equal(point.theirs["layer.bias"], point.ours["layer.bias"])
    assert np.abs(points["faint vectors"].ours["layer.bias"]).max() < 1e-5


def test_less_faint_points_are_those_of_faint_ones() -> None:
    made = bound()
    milder = [made.less_faint(point) for point in made.outer_points]
    assert [point and point.name for point in milder] == ["less faint vectors", "less faint values", None]
    assert milder[0] is not None
    assert 1e-5 < np.abs(milder[0].ours["layer.bias"]).max() < 1e-2
    assert made.less_faint(made.ordinary) is None


@pytest.mark.parametrize(("transform", "slope"), [("", 1), ("x + 1", 1), ("x * 2", 2), ("x / 2 - 1", 0.5)])
def test_the_ports_gradient_is_by_the_reference_s_value(transform: str, slope: float) -> None:
    made = bound(row("gain", (2,), transform=transform))
    held = np.array([3.0, -1.0], np.float32)
    both = made.gradients(made.map.rows[0], {"gain": held}, {"gain": held})
    assert both is not None
    np.testing.assert_array_equal(both[0], held)
    np.testing.assert_array_equal(both[1], slope * held)


def test_a_factor_that_the_port_holds_is_noted() -> None:
    assert bound().notes == ()
    rows = [row(path, (2,), transform=f"x * {number}") for path, number in (("gain", 2), ("mean", 4), ("constant", 8))]
    for count, more in ((1, ""), (2, " (and 1 more rows)"), (3, " (and 2 more rows)")):
        (note,) = bound(*rows[:count]).notes
        assert note.startswith(f"the port holds x * 2 of gain in gain{more}: a factor is in the weights that the other")


def test_another_seed_gives_other_values_on_both_sides() -> None:
    made, same, other = (bound(extra=True, seed=seed) for seed in (0, 0, 1))
    for path in made.theirs:
        np.testing.assert_array_equal(made.theirs[path], same.theirs[path])
        assert not np.array_equal(made.theirs[path], other.theirs[path]), path


def test_rows_are_those_whose_tensors_both_sides_have_in_their_shapes() -> None:
    assert bound().is_whole
    odd = bound(
        row("layer.weight", (2, 3)),
        row("layer.bias", (1, 2), (2,), layout="1 a -> a"),
        row("gain", (2,), (2, 1), layout="a -> a 1"),
        row("mean", (2,), port="other"),
    )
    assert [each.reference for each in odd.rows] == ["layer.weight"]
    assert not odd.is_whole
    gone = bound(row("layer.weight", (2, 3)), row("scale", (2,), port="gain"))
    assert [each.reference for each in gone.rows] == ["layer.weight"]


def test_partners_and_modules_of_a_path_are_the_maps() -> None:
    made = bound(row("layer.weight", (2, 3)), row("gain", (2,), port="extra"), extra=True)
    assert made.partners(made.reference, "gain") == ("gain", "extra")
    assert made.partners(made.port, "extra") == ("gain", "extra")
    assert made.partners(made.reference, "mean") == ("mean", "")
    assert made.partners(made.port, "mean") == ("", "mean")
    assert made.modules(made.map.rows[0]) == "'layer' = 'layer'"
    assert made.modules(made.map.rows[1]) == ""
    assert made.depth == 5


def test_a_comparison_is_made_once_for_a_setting_and_runs_once_for_a_point() -> None:
    made = bound()
    comparison = made.comparison(Setting())
    assert comparison is made.comparison(Setting())
    assert comparison is not made.comparison(Setting(precision="float64"))
    assert comparison.probes is comparison.probes
    assert comparison.limit == Setting().allowed(5)
    assert comparison.policy == Setting().policy(5)
    assert comparison.map is made.map
    first, second, *_ = made.outer_points
    assert comparison.outputs_at(first) is comparison.outputs_at(first)
    assert comparison.outputs_at(first) is not comparison.outputs_at(second)
    ours, theirs = comparison.outputs_at(first)
    np.testing.assert_array_equal(ours[""], made.reference.outputs(first.ours, Setting())[""])
    np.testing.assert_array_equal(theirs[""], made.port.outputs(first.theirs, Setting())[""])
    assert comparison.largest[0] == pytest.approx(comparison.largest[1])
    assert comparison.largest[0] > 0


def test_rounding_is_a_run_in_float64_and_some_of_weights_one_or_two_roundings_away() -> None:
    asked: list[tuple[str, dict[str, np.ndarray], bool]] = []

    def probe(weights: Any, setting: Setting, *, gradients: bool, rounded: int) -> Probe:
        asked.append((setting.precision, weights, gradients))
        return Probe({}, {})

    made = bound()
    side = cast(Any, SimpleNamespace(probe=probe))
    rounding = Comparison(replace(made, reference=side), Setting()).rounding_at(made.quiet)
    assert rounding.exact == Probe({}, {})
    assert len(rounding.nudged) == 32
    (exact, weights, gradients), *nudged = asked
    assert (exact, gradients) == ("float64", False)
    assert weights is not None
    assert [precision for precision, _, _ in nudged] == ["float32"] * 32
    own = made.quiet.ours["layer.weight"]
    steps = np.stack([each["layer.weight"].astype(np.float64) / own - 1 for _, each, _ in nudged])
    assert np.abs(steps[:8]).max() <= 2.0**-23
    assert 0 < np.abs(steps[:8]).mean() < 2.0**-23
    assert 2.0**-24 < np.abs(steps[8:]).max() <= 2.0**-22
    assert (steps > 0).any()
    assert (steps < 0).any()
    assert all(each["layer.weight"].dtype == np.float32 for _, each, _ in nudged)
    assert len({each["layer.weight"].tobytes() for _, each, _ in nudged}) > 1


@pytest.mark.parametrize("raised", [PairError("", "a run", "none"), None])
def test_a_side_that_cannot_be_run_in_float64_has_no_exact_run(raised: PairError | None) -> None:
    def probe(*_: Any, **how: Any) -> Probe:
        raise raised or ValueError("of another kind")

    rounding = Comparison(replace(bound(), reference=cast(Any, SimpleNamespace(probe=probe))), Setting()).rounding_at(
        bound().ordinary
    )
    if raised is None:
        with pytest.raises(ValueError, match="of another kind"):
            rounding.exact  # noqa: B018
        return
    assert rounding.exact is None
    assert rounding.nudged == ()


ONE = np.ones(1)


@pytest.mark.parametrize(
    ("ours", "theirs", "text"),
    [
        ({}, {"": ONE}, "reference: expected an output of floating-point numbers, found none. "),
        ({"": ONE}, {}, "port: expected an output of floating-point numbers, found none. "),
        ({"a": ONE, "b": ONE}, {"a": ONE}, "outputs: expected the 2 of the reference ('a', 'b'), found 1 in the port"),
        (
            {"a": ONE, "b": ONE},
            {"b": ONE, "a": ONE},
            "outputs: expected the order of the reference ('a', 'b'), found 'b', 'a'. "
            "Give the pair calls that return them in one order.",
        ),
    ],
)
def test_outputs_that_are_not_of_one_structure_are_refused(ours: Any, theirs: Any, text: str) -> None:
    with pytest.raises(PairError) as refused:
        check_outputs(ours, theirs)
    assert text in str(refused.value)


def test_outputs_of_other_names_are_held_against_each_other_in_their_order() -> None:
    check_outputs({"a": ONE, "b": ONE}, {"0": ONE, "1": ONE})
    check_outputs({"a": ONE, "b": ONE}, {"a": ONE, "b": ONE})
