"""Pairs of which one side has weight norms and the other their products: right ones are green, wrong ones are told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen, nnx
from torch import nn
from torch.nn.utils import parametrizations

import paritree
from paritree import Map, Pair, PairError
from paritree.conformance.report import Report
from paritree.pairs.maps import MapRow

X = np.random.default_rng(0).normal(size=(2, 3, 8)).astype(np.float32)
ROWS = (X[:, :, 0],)
CONTRACTS = ("names", "shapes", "ties", "layout", "forward", "gradients", "training", "modes", "values", "round trip")
pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
Put = Callable[[nn.Module], nn.Module]


class Torch(nn.Module):
    """Convolutions and a linear layer, of which `put` makes what it wants."""

    def __init__(self, put: Put = lambda layer: layer) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = put(nn.Conv1d(3, 5, 3, padding=1))
        self.up = put(nn.ConvTranspose1d(5, 4, 2, stride=2, bias=False))
        self.norm = nn.LayerNorm(4)
        self.out = put(nn.Linear(4, 4))
        with torch.no_grad():
            for each in self.parameters():
                each.mul_(torch.rand(each.shape) + 0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.norm(self.up(torch.tanh(self.conv(x))).transpose(1, 2)))


class Plain(nnx.Module):
    def __init__(self, act: Any = jnp.tanh, eps: float = 1e-5) -> None:
        rngs = nnx.Rngs(0)
        self.conv = nnx.Conv(3, 5, (3,), padding=1, rngs=rngs)
        self.up = nnx.ConvTranspose(5, 4, (2,), (2,), padding="VALID", use_bias=False, transpose_kernel=True, rngs=rngs)
        self.norm = nnx.LayerNorm(4, epsilon=eps, rngs=rngs)
        self.out = nnx.Linear(4, 4, rngs=rngs)
        self.act = act

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(self.norm(self.up(self.act(self.conv(x.transpose(0, 2, 1))))))


def put_as(old: bool, dim: int | None) -> Put:
    weight_norm: Any = nn.utils.weight_norm if old else parametrizations.weight_norm
    return lambda layer: weight_norm(layer, dim=dim)


def check(pair: Pair, found: Map | None = None, contracts: Any = CONTRACTS, **others: Any) -> Report:
    return paritree.check(pair, found, contracts=contracts, devices=("cpu",), **others)


def told(report: Report, status: str = "fail") -> set[tuple[str, str, str]]:
    return {
        (each.contract, each.path, each.cause if status == "fail" else each.message)
        for each in report.results
        if each.status == status and not each.follows_from
    }


LEFT_OUT = "the {} trains a magnitude and a direction, whose product the {} trains"


@pytest.mark.parametrize(("old", "dim"), [(True, 0), (False, 1)])
def test_a_reference_with_weight_norms_and_a_plain_port(old: bool, dim: int | None) -> None:
    reference, port = Torch(put_as(old, dim)), Plain()
    found = paritree.align(Pair(reference, port, (X,)))
    paritree.carry(reference, port, found)
    report = check(Pair(reference, port, (X,), loaded=True), found)
    assert report.ok, str(report)
    assert told(report, "skip") == {
        ("training", f"{name}.weight", f"{optimizer}: {LEFT_OUT.format('reference', 'port')}")
        for name in ("conv", "up", "out")
        for optimizer in ("sgd", "adamw")
    }
    assert report.facts["notes"] == [
        "the reference has 3 weight norms, such as that of conv.weight, where the port has the products: these are "
        "compared. How the reference trains its magnitudes and directions is another thing"
    ]


def test_a_plain_reference_and_a_port_with_weight_norms_need_no_map() -> None:
    report = check(Pair(Plain(), Torch(put_as(False, 0)), (X,)))
    assert report.ok, str(report)
    assert ("training", "out.kernel", f"sgd: {LEFT_OUT.format('port', 'reference')}") in told(report, "skip")


WRONG = {
    "activation": (Plain(act=nnx.sigmoid), ("forward", "activation", "the reference takes tanh and the port sigmoid")),
    "eps": (Plain(eps=1e-3), ("forward", "eps", "eps is 1e-05 in the reference and 1e-03 in the port")),
}


@pytest.mark.parametrize(("case", "old"), [("activation", True), ("eps", False)])
def test_what_is_wrong_elsewhere_is_told_as_without_weight_norms(case: str, old: bool) -> None:
    port, (contract, cause, words) = WRONG[case]
    report = check(Pair(Torch(put_as(old, 0)), port, (X,)), contracts=("names", "forward"))
    (failure,) = [each for each in report.failures if not each.follows_from]
    assert (failure.contract, failure.cause) == (contract, cause)
    assert words in failure.message
    assert "weight_norm_interface" not in failure.message


@lru_cache
def of_the_two() -> Map:
    return paritree.align(Pair(Torch(put_as(False, 0)), Plain(), (X,)))


def merged(how: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Report:
    """The values of a port that was given what somebody made of magnitudes and directions."""
    reference, port, found = Torch(put_as(False, 0)), Plain(), of_the_two()
    paritree.carry(reference, port, found)
    parts = reference.out.parametrizations.weight
    g, v = (each.detach().numpy() for each in (parts.original0, parts.original1))
    port.out.kernel[...] = jnp.asarray(how(g, v).T)
    return check(Pair(reference, port, (X,)), found, ("values",))


G, V = (f"out.parametrizations.weight.original{number}" for number in (0, 1))
OTHERWISE = {
    "direction": (lambda g, v: v, "weight norm", f"is {V} as it is, without its length and {G}"),
    "unit": (
        lambda g, v: v / np.linalg.norm(v, axis=1, keepdims=True),
        "weight norm",
        f"is {V} by its length, without {G}",
    ),
    "no norm": (lambda g, v: g * v, "weight norm", f"is {G} times {V}, which is not divided by its length"),
    "other axis": (
        lambda g, v: g * v / np.linalg.norm(v, axis=0, keepdims=True),
        "weight norm",
        f"has the length of {V} over axis 0, where the weight norm has it over axis 1",
    ),
    "both along another axis": (
        lambda g, v: g.T * v / np.linalg.norm(v, axis=0, keepdims=True),
        "weight norm",
        f"has the length of {V} over axis 0, where the weight norm has it over axis 1, and {G} along other axes, too",
    ),
    "whole": (
        lambda g, v: g * v / np.linalg.norm(v),
        "weight norm",
        f"has the length of {V} over the axes 0, 1, where the weight norm has it over axis 1",
    ),
    "eps": (
        lambda g, v: g * v / np.sqrt((v**2).sum(1, keepdims=True) + 1e-5),
        "eps",
        f"has 1e-05 added to the square of the length of {V}, which the weight norm has as it is",
    ),
    "eps of the length": (
        lambda g, v: g * v / (np.linalg.norm(v, axis=1, keepdims=True) + 1e-3),
        "eps",
        f"has 0.001 added to the length of {V}, which the weight norm has as it is",
    ),
}


@pytest.mark.parametrize("case", OTHERWISE)
def test_a_weight_that_was_merged_otherwise_is_told(case: str) -> None:
    how, cause, words = OTHERWISE[case]
    (failure,) = merged(how).failures
    assert (failure.contract, failure.path, failure.cause) == ("values", "out.weight", cause)
    assert f"out.kernel: what the port holds {words} (by the map" in failure.message


def test_where_all_were_merged_otherwise_it_is_no_port_that_was_never_loaded() -> None:
    torch.manual_seed(0)
    reference, port = (
        parametrizations.weight_norm(nn.Linear(3, 4, bias=False)),
        nnx.Linear(3, 4, use_bias=False, rngs=nnx.Rngs(0)),
    )
    with torch.no_grad():
        reference.parametrizations.weight.original0.mul_(torch.tensor([[-9.0], [0.1], [3.0], [-0.5]]))
    port.kernel[...] = jnp.asarray(reference.parametrizations.weight.original1.detach().numpy().T)
    row = MapRow("weight", "kernel", (4, 3), (3, 4), "o i -> i o", "rule")
    report = check(Pair(reference, port, ROWS), Map((row,), ("torch", "nnx")), ("values",))
    assert {cause for _, _, cause in told(report)} == {"weight norm"}


def test_a_weight_that_was_put_into_the_direction_alone_is_told() -> None:
    torch.manual_seed(0)
    reference, port = nn.Sequential(nn.Linear(3, 4), nn.Tanh()), Own()
    port.way[...] = jnp.asarray(reference[0].weight.detach().numpy().T)
    report = check(Pair(reference, port, ROWS, loaded=True), LINEAR, ("values",))
    (failure,) = [each for each in report.failures if each.path == "0.weight"]
    assert failure.cause == "weight norm"
    words = "has the right direction in way, and size is not the length over axis 0 of the weight"
    assert f"weight: what the port holds {words} (by the map" in failure.message


def test_a_weight_that_was_merged_with_an_eps_below_rounding_is_right() -> None:
    report = merged(lambda g, v: g * v / np.sqrt((v**2).sum(1, keepdims=True) + 1e-12))
    assert report.ok
    assert not told(report, "skip")


class Own(nnx.Module):
    """A weight norm of its own, whose tensors have names of their own."""

    def __init__(self, is_flat: bool = False, uses: str = "g v / |v|", eps: float = 0.0) -> None:
        rngs = nnx.Rngs(0)
        self.way = nnx.Param(jax.random.normal(rngs.params(), (3, 4)))
        self.size = nnx.Param(jnp.full((4,) if is_flat else (1, 4), 1.5))
        self.bias, self.uses, self.eps = nnx.Param(jnp.zeros(4)), uses, eps

    def __call__(self, x: jax.Array) -> jax.Array:
        way = self.way[...]
        weight = way if self.uses == "v" else self.size[...] * way
        if self.uses == "g v / |v|":
            weight = weight / jnp.sqrt((way**2).sum(0) + self.eps)
        return jnp.tanh(x @ weight + self.bias[...])


LINEAR = Map(
    (
        MapRow("0.weight", "weight", (4, 3), (3, 4), "o i -> i o", "rule", port_factors=("size", "way")),
        MapRow("0.bias", "bias", (4,), (4,), "o -> o", "rule"),
    ),
    ("torch", "nnx"),
)


@pytest.mark.parametrize("is_flat", [False, True])
def test_factors_that_a_map_names_in_a_program_of_ones_own(is_flat: bool) -> None:
    linear = nn.Sequential(nn.Linear(3, 4), nn.Tanh())
    contracts = ("names", "layout", "forward", "gradients", "training", "determinism")
    report = check(Pair(linear, Own(is_flat), ROWS), LINEAR, contracts)
    assert report.ok, str(report)
    assert check(Pair(Own(is_flat), linear, ROWS), LINEAR.inverse(), ("names", "forward", "gradients")).ok


@pytest.mark.parametrize("wrong", [{"uses": "v"}, {"uses": "g v"}, {"eps": 1e-3}], ids=str)
def test_a_program_that_makes_something_else_of_them_is_wrong(wrong: Any) -> None:
    report = check(Pair(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), Own(**wrong), ROWS), LINEAR, ("names", "forward"))
    (failure,) = [each for each in report.failures if not each.follows_from]
    assert (failure.contract, failure.cause) == ("forward", "weight norm")
    words = "no value of the port's program is size * way / |way|, with the length over axis 0"
    assert f"Likely cause: {words}." in failure.message


def test_a_magnitude_that_is_no_parameter_leaves_the_gradient_unknown() -> None:
    port = Own()
    port.size = nnx.BatchStat(port.size[...])
    report = check(
        Pair(nn.Sequential(nn.Linear(3, 4), nn.Tanh()), port, ROWS), LINEAR, ("shapes", "layout", "gradients")
    )
    words = "in the port size is a buffer and way is a parameter: the gradient by their product is not known"
    assert report.ok, str(report)
    assert told(report, "skip") == {("layout", "0.weight", words), ("gradients", "0.weight", words)}


def test_flax_s_own_by_its_names() -> None:
    module = linen.WeightNorm(linen.Dense(4))
    variables = module.init(jax.random.key(0), jnp.ones((1, 3)))
    rows = (
        MapRow("params.layer_instance.kernel", "weight", (3, 4), (4, 3), "i o -> o i", "rule"),
        MapRow("params.layer_instance.bias", "bias", (4,), (4,), "o -> o", "rule"),
    )
    contracts = ("names", "forward", "gradients", "training")
    report = check(Pair((module, variables), nn.Linear(3, 4), ROWS), Map(rows, ("linen", "torch")), contracts)
    assert report.ok, str(report)


def test_layers_that_the_port_stacks() -> None:
    class Stack(nnx.Module):
        def __init__(self) -> None:
            self.kernel = nnx.Param(jax.random.normal(jax.random.key(0), (3, 4, 4)) * 0.5)

        def __call__(self, x: jax.Array) -> jax.Array:
            for number in range(3):
                x = jnp.tanh(x @ self.kernel[number])
            return x

    torch.manual_seed(0)
    layers = [parametrizations.weight_norm(nn.Linear(4, 4, bias=False)) for _ in range(3)]
    model = nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())))
    pair = Pair(model, Stack(), (np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32),))
    report = check(pair, paritree.align(pair), ("names", "shapes", "forward", "gradients", "training"))
    assert report.ok, str(report)


def test_recipes_are_compared_by_all_other_parameters() -> None:
    pair = Pair(
        Torch(put_as(False, 0)),
        Plain(),
        (X,),
        reference_optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=1e-3, weight_decay=1e-2),
        port_optimizer=optax.adamw(1e-3, weight_decay=1e-2),
    )
    found = of_the_two()
    right = check(pair, found, ("recipe",))
    assert right.ok
    assert {path for _, path, _ in told(right, "skip")} == {"conv.weight", "up.weight", "out.weight"}
    wrong = check(replace(pair, port_optimizer=optax.adamw(1e-2, weight_decay=1e-2)), found, ("recipe",))
    assert {cause for _, _, cause in told(wrong)} == {"learning rate"}


def test_initial_products_are_drawn_alike() -> None:
    def reference(seed: int) -> nn.Module:
        torch.manual_seed(seed)
        model = nn.Linear(3, 4, bias=False)
        nn.init.xavier_normal_(model.weight)
        return parametrizations.weight_norm(model)

    def port(scale: float) -> Any:
        made = nnx.initializers.variance_scaling(scale, "fan_avg", "normal")
        return lambda seed: nnx.Linear(3, 4, use_bias=False, kernel_init=made, rngs=nnx.Rngs(seed))

    found = paritree.align(Pair(reference, port(1.0), ROWS))
    assert check(Pair(reference, port(1.0), ROWS), found, ("initialization", "determinism")).ok
    assert not check(Pair(reference, port(2.0), ROWS), found, ("initialization",)).ok


def test_one_module_under_two_names_is_one_product() -> None:
    class Twice(nn.Module):
        def __init__(self, put: Put = lambda layer: layer) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.one = put(nn.Linear(3, 3, bias=False))
            self.two = self.one

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.two(torch.tanh(self.one(x)))

    class Once(nnx.Module):
        def __init__(self) -> None:
            self.one = nnx.Linear(3, 3, use_bias=False, rngs=nnx.Rngs(0))

        def __call__(self, x: jax.Array) -> jax.Array:
            return self.one(jnp.tanh(self.one(x)))

    for pair in (Pair(Twice(put_as(True, 0)), Once(), ROWS), Pair(Once(), Twice(put_as(False, 0)), ROWS)):
        report = check(pair, None, ("names", "ties", "forward", "gradients", "tied gradients"))
        assert report.ok, str(report)
        assert not told(report, "skip")


def test_a_record_of_factors_is_refused() -> None:
    record = paritree.record(Torch(put_as(False, 0)), (X,), contracts=("forward",))
    with pytest.raises(PairError) as refused:
        check(Pair(record, Plain(), (X,)), of_the_two())
    assert str(refused.value) == (
        "reference: expected a reference that runs at any values, where the map has the products of its weight norms, "
        "found a record, of runs at a magnitude and a direction each. Record the model with these as weights (torch's "
        "remove_weight_norm, remove_parametrizations)."
    )
