"""The contract of the two modes: what dropout does on either side, and what is said where it is not one."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from flax import nnx

import paritree
from paritree.conformance.results import Result
from paritree.pairs.maps import Map, MapRow

LINEAR = (("weight", (4, 32), "a b -> a b"), ("bias", (4,), "a -> a"))
X = np.random.default_rng(0).normal(size=(64, 32)).astype(np.float32)


class Dropped(torch.nn.Module):
    """A layer, of which a share is dropped, and with `beside` its input beside it."""

    def __init__(self, rate: float, width: int = 32, beside: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc, self.drop, self.beside = torch.nn.Linear(32, width), torch.nn.Dropout(rate), beside

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.drop(self.fc(x)) + x if self.beside else self.drop(self.fc(x))


class DroppedPort(nnx.Module):
    def __init__(self, rate: float, width: int = 32, beside: bool = False) -> None:
        rngs = nnx.Rngs(0)
        self.fc, self.drop, self.beside = nnx.Linear(32, width, rngs=rngs), nnx.Dropout(rate, rngs=rngs), beside

    def __call__(self, x: Any) -> Any:
        return self.drop(self.fc(x)) + x if self.beside else self.drop(self.fc(x))


def of_dropout(reference: Any, port: Any, inputs: np.ndarray = X, seed: int = 0) -> Result:
    pair = paritree.Pair(reference, port, (inputs,))
    return paritree.check(pair, contracts=("modes",), devices=("cpu",), seed=seed).results[-1]


@pytest.mark.parametrize(("rate", "other", "ratio"), [(0.5, 0.5, 1.0), (0.5, 0.2, 0.25), (0.2, 0.5, 4.0)])
def test_how_much_more_a_mask_changes_on_one_side_is_told(rate: float, other: float, ratio: float) -> None:
    """A mask of rate p changes what it scales by p / (1 - p) of its square."""
    found = of_dropout(Dropped(rate), DroppedPort(other))
    words = re.fullmatch(
        r"the change that dropout makes is ([\d.]+) times the reference's \(squared, mean of 64 masks\)", found.message
    )
    assert words is not None
    assert float(words[1]) == pytest.approx(ratio, rel=0.05)
    assert (found.status, found.cause) == (("pass", "") if ratio == 1 else ("fail", "dropout"))


@pytest.mark.parametrize(("rate", "other"), [(0.5, 0.0), (0.0, 0.5), (0.1, 0.0)])
def test_dropout_that_one_side_has_not(rate: float, other: float) -> None:
    """At a rate of 1/2 every mask moves an output as far, and each another way."""
    found = of_dropout(Dropped(rate), DroppedPort(other))
    words = ("is random", "is not") if rate else ("is not", "is random")
    assert found.message == (
        f"in training mode the reference {words[0]}, the port {words[1]}: dropout is missing on one side"
    )
    assert (found.status, found.cause) == ("fail", "dropout")


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_rounding_makes_of_the_change_is_no_other_rate(seed: int) -> None:
    """What the sides add differs by rounding, which is more than their masks do at a rate of 1/2."""
    assert of_dropout(Dropped(0.5, 32, True), DroppedPort(0.5, 32, True), X, seed).status == "pass"


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("width", [1, 2])
def test_masks_of_few_entries_may_be_alike(width: int, rows: int) -> None:
    found = of_dropout(Dropped(0.1, width), DroppedPort(0.1, width), X[:rows])
    assert (found.status, "that dropout makes" in found.message) == ("pass", True)


def test_without_dropout_no_masks_are_drawn() -> None:
    assert of_dropout(Dropped(0.0), DroppedPort(0.0)).message == "training draws no masks on either side"


class Noisy(torch.nn.Linear):
    """One of its outputs is random."""

    def forward(self, input: torch.Tensor) -> Any:
        return super().forward(input), input + torch.rand(())


def test_one_random_output_is_enough_to_be_random() -> None:
    report = paritree.check(
        paritree.Pair(Noisy(32, 4), Noisy(32, 4), (X,)),
        Map(
            tuple(MapRow(*(path,) * 2, *(shape,) * 2, layout, "rule") for path, shape, layout in LINEAR), ("torch",) * 2
        ),
        contracts=("modes",),
        devices=("cpu",),
    )
    assert [each.message for each in report.failures][:2] == [
        f"the {role} is random in inference mode" for role in ("reference", "port")
    ]
