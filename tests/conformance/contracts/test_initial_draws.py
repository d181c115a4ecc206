"""The verdict on a parameter of two sides, the cause that it names, and the draws that it plans."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from paritree.common.wing.runs import PairError
from paritree.conformance.contracts import initial_draws
from paritree.conformance.contracts.initial_draws import Judged, Sampling, difference, examine_pair, plan_seeds

from ..statistics.samples import PATH, Draw, Draws, cut, haar, normal, pair, side, uniform


def judged(reference: Draws, port: Draws, **settings: Any) -> Judged:
    (one,) = examine_pair({PATH: reference}, {PATH: port}, **settings)
    return one


def test_a_judged_parameter_says_what_why_and_what_to_draw() -> None:
    reference, port = pair(uniform(64**-0.5), cut(64**-0.5))
    found = judged(reference, port, fans={PATH: "out in"})
    assert not found.ok
    assert found.measured < found.allowed < 1e-6
    assert found.cause == "initializer family"
    assert "; reference: uniform +-1/sqrt(fan_in) (PyTorch Linear's default); port: truncated normal" in found.message
    assert re.search(r"; ratio of std 1\.7\d$", found.message)
    details = json.loads(json.dumps(found.details))
    assert len(details["edges"]) == len(details["reference"]) + 1 == len(details["curves"]["port"])
    widths = np.diff(details["edges"])
    assert np.dot(widths, details["reference"]) == pytest.approx(1.0)
    assert details["std"]["port"] == pytest.approx(0.125, rel=0.05)
    assert found.n == 4 * 96 * 64
    alike = judged(*pair(normal(), normal()))
    assert (alike.ok, alike.cause, alike.test != "") == (True, "", True)
    assert alike.measured > alike.allowed
    constants = judged(np.zeros((2, 5)), np.zeros((2, 5)))
    assert (constants.ok, constants.measured, constants.message) == (True, 1.0, f"{PATH}: finite kept")


@pytest.mark.parametrize("std", [1e-12, 0.02, 1e9])
def test_the_histograms_of_draws_are_as_wide_as_they_are(std: float) -> None:
    reference, port = pair(normal(std), normal(std))
    edges = judged(reference, port).details["edges"]
    assert (edges[0], edges[-1]) == (min(reference.min(), port.min()), max(reference.max(), port.max()))
    ones = judged(np.full((2, 5), std), np.full((2, 5), std)).details["edges"]
    assert ones[0] < std < ones[-1]


CAUSES: dict[str, tuple[Draw, Draw, str]] = {
    "std": (normal(), normal(0.023), "std"),
    "fan": (normal((2 / 64) ** 0.5), normal((2 / 96) ** 0.5), "fan"),
    "truncation": (normal(), cut(0.02), "truncation"),
    "constant": (normal(), lambda rng, shape: np.zeros(shape, np.float32), "constant"),
    "depth": (normal(0.02 / 24**0.5), normal(), "depth"),
    "mean": (normal(), lambda rng, shape: normal()(rng, shape) + np.float32(0.004), "mean"),
    "initializer family": (uniform(0.02 * 3**0.5), normal(), "initializer family"),
    "orthogonal": (normal(), haar(), "orthogonal"),
}


@pytest.mark.parametrize("case", CAUSES)
def test_the_cause_is_named(case: str) -> None:
    reference, port, cause = CAUSES[case]
    draws = pair(reference, port)
    found = judged(*draws, fans={PATH: "out in"})
    assert (found.ok, found.cause) == (False, cause)


def test_the_cause_of_a_reused_key_and_of_a_tie_that_goes_the_other_way() -> None:
    reference, port = side(0), side(1)
    port["b.weight"] = port["a.weight"]
    found = {each.path: each for each in examine_pair(reference, port)}
    assert [path for path, each in found.items() if not each.ok] == ["b.weight"]
    assert found["b.weight"].cause == "reused key"
    rng = np.random.default_rng(0)
    tied = {"wte.weight": normal(1.0)(rng, (4, 96, 64))}, {"wte.weight": uniform(1 / 8)(rng, (4, 96, 64))}
    (one,) = examine_pair(*tied, ties=[("wte.weight", "head.weight")])
    assert (one.ok, one.cause) == (False, "tie direction")


def test_a_constraint_that_is_broken_is_told_before_a_test_that_fails() -> None:
    """What was copied has another std as well."""
    reference, port = side(0), side(1)
    port["c.weight"] = 2 * port["c.weight"]
    reference["d.weight"], port["d.weight"] = normal()(np.random.default_rng(2), (4, 40, 30)), port["c.weight"]
    found = {each.path: each for each in examine_pair(reference, port) if not each.ok}
    assert {path: (each.test, each.cause) for path, each in found.items()} == {
        "c.weight": ("std", "std"),
        "d.weight": ("copies", "reused key"),
    }


def test_a_difference_in_words_needs_no_verdict() -> None:
    sentence, cause = difference(*pair(normal(), lambda rng, shape: np.ones(shape)))
    assert (sentence, cause) == ("reference: normal, std 0.02; port: ones", "constant")


def test_the_seeds_that_are_planned_give_the_smallest_parameter_enough() -> None:
    assert plan_seeds([(768, 768), (4096,)], target=16384) == 4
    assert plan_seeds([(768, 768)]) == 2
    assert plan_seeds([(2,), ()], most=100) == 100
    assert plan_seeds([]) == 2


def test_sides_of_unequal_parameters_are_refused() -> None:
    text = "expected draws of the same parameters of both sides, found b of the port alone."
    with pytest.raises(PairError, match=f"^{re.escape(text)}$"):
        examine_pair({"a": np.zeros((2, 1))}, {"a": np.zeros((2, 1)), "b": np.zeros((2, 1))})


def test_ten_percent_on_one_std_among_many_is_found_and_nothing_else() -> None:
    """At a family-wise rate of 1e-6; the benchmark does it for a thousand."""
    rng = np.random.default_rng(0)
    reference = {f"layers.{number}": normal()(rng, (4, 64, 64)) for number in range(40)}
    port = {f"layers.{number}": normal(0.022 if number == 30 else 0.02)(rng, (4, 64, 64)) for number in range(40)}
    assert [each.path for each in examine_pair(reference, port) if not each.ok] == ["layers.30"]


def test_small_orthogonal_tensors_are_drawn_again_so_often_that_their_signs_tell() -> None:
    """As often as a sign takes that never changes; large ones are not, nor what is not orthogonal."""
    asked: list[tuple[int, int]] = []
    made = {
        "small": haar(gain=2.0)(np.random.default_rng(0), (100, 8, 6)),
        "least": haar()(np.random.default_rng(1), (100, 3, 3)),
    }
    made |= {"vector": normal()(np.random.default_rng(0), (100, 300)), "count": np.zeros((100, 2), np.int32)}
    wide = {"large": haar()(np.random.default_rng(0), (2, 8, 5500))}

    def draws(arrays: dict[str, Any], kept: int) -> Any:
        def drawn(seeds: range, device: str, target: int) -> dict[str, Any]:
            asked.append((len(seeds), target))
            return {
                path: array[: max(kept, min(len(seeds), target // array[0].size))] for path, array in arrays.items()
            }

        tensors = {path: SimpleNamespace(array=array[0]) for path, array in arrays.items()}
        return SimpleNamespace(role="port", tensors=tensors, draws=drawn)

    found = initial_draws._draws(draws(made, 2), "cpu", Sampling(target=480), 0)
    assert asked == [(128, 480), (96, 96 * 48)]
    assert {path: len(array) for path, array in found.items()} == {"small": 96, "least": 96, "vector": 15, "count": 100}
    asked.clear()
    initial_draws._draws(draws(wide, 2), "cpu", Sampling(target=480), 0)
    assert asked == [(2, 480)]


def test_what_has_no_values_passes_and_says_so() -> None:
    (one,) = examine_pair({"w": np.zeros((2, 0))}, {"w": np.zeros((2, 0))})
    assert (one.ok, one.measured, one.allowed, one.n) == (True, 1.0, 0.0, 0)
    assert (one.message, one.cause, one.smallest, one.test) == ("w: there are none", "", "nothing", "values")
