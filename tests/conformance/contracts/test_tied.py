"""The contract of the tied gradient: which share is missing, through rounding, and what is zero but for rounding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import paritree
from paritree.conformance.check import Examination, Wanted
from paritree.conformance.results import Result
from paritree.pairs.closeness import norm, root_mean_square
from paritree.pairs.comparison import Bound
from paritree.pairs.maps import Map, MapRow
from paritree.pairs.precision import STRICT, Setting
from paritree.pairs.side import sides_of

from ..faults import runs
from ..faults.runs import KERNEL, TIED
from ..faults.sides import lying, network

X = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
MAP = Map((MapRow("w", "w", (4, 4), (4, 4), "a b -> a b", "rule"),), ("torch", "nnx"))
# 32 eps, of one tensor.
LIMIT = 32 * 2.0**-23


class Thrice(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.w = torch.nn.Parameter(torch.randn(4, 4) / 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(torch.tanh(x @ self.w) @ self.w) @ self.w


class ThricePort(nnx.Module):
    """felt: how much of its gradient each use keeps."""

    def __init__(self, felt: tuple[float, ...] = (1, 1, 1)) -> None:
        self.w, self.felt = nnx.Param(jnp.ones((4, 4))), felt

    def __call__(self, x: Any) -> Any:
        one, two, three = (
            share * self.w[...] + (1 - share) * jax.lax.stop_gradient(self.w[...]) for share in self.felt
        )
        return jnp.tanh(jnp.tanh(x @ one) @ two) @ three


def checked(felt: tuple[float, ...]) -> Result:
    pair = paritree.Pair(Thrice(), ThricePort(felt), (X,))
    (found,) = paritree.check(pair, MAP, contracts=("tied gradients",), devices=("cpu",)).results
    return found


@pytest.mark.parametrize(
    ("felt", "lost"),
    [((0, 1, 1), "1"), ((1, 0, 1), "2"), ((1, 1, 0), "3"), ((1, 0, 0), "all but 1"), ((0, 0, 1), "all but 3")],
)
def test_the_share_that_is_missing_is_named(felt: tuple[float, ...], lost: str) -> None:
    found = checked(felt)
    assert (found.status, found.cause) == ("fail", "missing site")
    assert found.message.endswith(f": the share of site {lost} is missing")


@pytest.mark.parametrize("kept", [(0, 1), (0,)])
def test_a_share_is_missing_also_where_rounding_leaves_a_little_of_it(kept: tuple[int, ...]) -> None:
    """A few limits of what is there; what is more than these is a share that is wrong, and not missing."""
    bound = Bound(*sides_of(paritree.Pair(Thrice(), ThricePort(), (X,))), MAP)
    sites = bound.reference.sites(bound.ours, Setting(precision="float64"), ["w"])["w"]
    there = np.sum([sites[each].gradient for each in kept], axis=0)
    lost = np.sum([site.gradient for number, site in enumerate(sites) if number not in kept], axis=0)
    for limits, cause in ((3, "missing site"), (6, "")):
        little = limits * LIMIT * norm(there) / norm(lost)
        found = checked(tuple(1.0 if number in kept else little for number in range(3)))
        assert (found.status, found.cause) == ("fail", cause)


@pytest.mark.parametrize("larger", ["reference", "port"])
def test_a_sum_is_zero_beside_the_largest_gradient_of_its_own_side(larger: str) -> None:
    """Of a side that has a much larger gradient elsewhere; nothing but rounding is left of this one on either."""
    bound = network("torch")
    probes = bound.comparison(STRICT).probes
    largest = max(map(root_mean_square, probes[larger == "port"].gradients.values()))

    def small(role: str) -> Any:
        size = 0.5 * bound.comparison(STRICT).limit * largest * (100 if role == larger else 1)
        return lambda array: np.full_like(array, size)

    for role in ("reference", "port"):
        path = runs.port_path(bound, TIED) if role == "port" else TIED
        bound = lying(bound, role, prober=runs.derived(path, small(role)))
    halves = small("reference")

    def shares(found: Any, *_: Any) -> Any:
        return {
            path: tuple(replace(site, gradient=halves(site.gradient) / 2) for site in sites) if path == TIED else sites
            for path, sites in found.items()
        }

    bound = lying(bound, "reference", site_prober=shares)
    path = runs.port_path(bound, KERNEL) if larger == "port" else KERNEL
    bound = lying(
        bound, larger, prober=runs.derived(path, lambda array: 100 * largest / root_mean_square(array) * array)
    )
    examined = Examination(bound, Wanted(("tied gradients",), ("cpu",)))
    (found,) = examined.results(examined.units[0])
    assert (found.status, found.measured) == ("pass", 0)
    assert found.message == f"{TIED}: the sum over 2 sites is zero, as the gradient is on both sides"


def test_a_reference_whose_own_rounding_is_coarse_explains_nothing() -> None:
    """Its gradient in float32 is far from the one in float64, and the port's is nearer, but not by rounding."""

    def coarse(array: np.ndarray) -> np.ndarray:
        return array * 1.05 if array.dtype == np.float32 else array

    bound = lying(network("torch"), "reference", prober=runs.derived(TIED, coarse))
    wrong = runs.derived(runs.port_path(bound, TIED), lambda array: array * 1.03)
    examined = Examination(lying(bound, "port", prober=wrong), Wanted(("tied gradients",), ("cpu",)))
    (found,) = examined.results(examined.units[0])
    assert found.status == "fail"
    assert found.allowed == bound.comparison(STRICT).limit
