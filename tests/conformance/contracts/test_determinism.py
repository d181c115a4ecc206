"""What is made or run twice is the same; a factory or a program that is not is told."""

from __future__ import annotations

import numpy as np
import torch

import paritree
from paritree import Map, Pair
from paritree.conformance.results import Result
from paritree.pairs.maps import MapRow

INPUTS = (np.ones((2, 3), np.float32),)
ROWS = tuple(
    MapRow(name, name, shape, shape, layout, "rule")
    for name, shape, layout in (("weight", (2, 3), "a b -> a b"), ("bias", (2,), "a -> a"))
)
MAP = Map(ROWS, ("torch", "torch"))


def seeded(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Linear(3, 2)


def unseeded(seed: int) -> torch.nn.Module:
    return torch.nn.Linear(3, 2)


def results(port: object) -> list[Result]:
    report = paritree.check(Pair(seeded, port, INPUTS), MAP, contracts=("determinism",), devices=("cpu",))
    return list(report.results)


def test_runs_and_models_that_are_the_same_twice() -> None:
    found = results(seeded)
    assert [(each.status, each.message) for each in found] == [
        ("pass", f"{role}: {what} are equal bit for bit")
        for what in ("two runs at the same values", "two models of one seed")
        for role in ("reference", "port")
    ]


def test_a_factory_that_gives_another_model_for_one_seed() -> None:
    torch.manual_seed(3)
    (failure,) = (each for each in results(unseeded) if each.status == "fail")
    assert failure.message.startswith("port: two models of one seed differ in 2 arrays, most in ")
    assert failure.cause == "random"


class Noisy(torch.nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input) + torch.rand(())


def test_a_program_that_is_random_in_inference() -> None:
    (failure,) = (each for each in results(Noisy(3, 2)) if each.status == "fail")
    assert failure.message.startswith("port: two runs at the same values differ in 1 arrays, most in the output by ")
