"""The faults that a check must catch, planted one by one in each wing; the message names the path and the fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import jax
import numpy as np
import pytest
import torch
from flax import nnx
from torch.nn import functional as F

from paritree import Linear, ReLU, Sequential, Shared
from paritree.common.initializers import VarianceScaling
from paritree.common.models.reference import MODELS
from paritree.common.wing.protocols import Wing
from paritree.common.wing.recognition import WINGS
from paritree.common.wing.runs import Probe
from paritree.conformance import load_wing
from paritree.conformance.reference_models import CONTRACTS, Port, Reference, check_ports
from paritree.conformance.report import ContractFailure, Report
from paritree.conformance.results import Result

REFERENCE = Reference(MODELS["shared-layer"])
MEASURED = [contract for contract in CONTRACTS if contract != "initialization"]
STRUCTURE = ("table", "weights", "names", "shapes", "ties")
KERNEL = {"linen": "params.layers_2.kernel", "nnx": "layers.2.kernel"}


def failures(port: Port, contracts: list[str] = MEASURED) -> dict[str, list[str]]:
    """The messages of the contracts that fail, by contract."""
    found: dict[str, list[str]] = {}
    for result in check_ports([port], contracts):
        if result.status == "fail":
            found.setdefault(result.contract, []).append(result.message)
    return found


def port(wing: str, model: Any = None, **replaced: Any) -> Port:
    """The shared-layer model in a wing, with some of the wing's functions replaced."""
    whole = load_wing(wing)
    base = Port.build(REFERENCE, whole, "cpu")
    altered = cast(Wing, SimpleNamespace(**{**vars(whole), **replaced})) if replaced else whole
    return replace(base, wing=altered, model=base.model if model is None else model)


@pytest.mark.parametrize("wing", WINGS)
def test_without_a_fault_nothing_fails(wing: str) -> None:
    assert failures(port(wing), list(CONTRACTS)) == {}


# A transposed square kernel: every shape check lets it pass.


class TransposedTorch(torch.nn.Linear):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return F.linear(input, self.weight.T, self.bias)


class TransposedNnx(nnx.Linear):
    def __call__(self, inputs: jax.Array, **_: Any) -> jax.Array:
        return inputs @ self.kernel[...].T + self.bias[...]


@pytest.mark.parametrize(
    ("wing", "faulty", "module"), [("torch", TransposedTorch, "2"), ("nnx", TransposedNnx, "layers.2")]
)
def test_a_kernel_that_is_used_transposed(wing: str, faulty: type, module: str) -> None:
    planted = port(wing)
    layers = planted.model if wing == "torch" else planted.model.layers
    layers[2].__class__ = faulty
    found = failures(planted)
    (message,) = found["forward"]
    assert f"The first module to differ is reference '2' (Linear) = port '{module}' ({faulty.__name__})" in message
    assert message.partition("\n")[0].endswith(
        "Likely cause: the port uses '2.weight' transposed, against what the map says."
    )
    assert not {*STRUCTURE, "values", "layout"} & found.keys()


CARRY = "Carry it by the map: paritree.carry(reference, port, map)."
TRANSPOSED = (
    "{}: what the port holds is the transpose of what it should be "
    f"(2.weight as it is, where the map has 'o i -> i o'). {CARRY}"
)


@pytest.mark.parametrize("wing", ["linen", "nnx"])
def test_a_loader_that_forgets_to_transpose(wing: str) -> None:
    whole = load_wing(wing)

    def load(model: Any, weights: Mapping[str, np.ndarray]) -> Any:
        return whole.load(model, {**weights, "2.weight": weights["2.weight"].T})

    found = failures(port(wing, load=load))
    assert found == {
        "weights": ["2.weight: the array that comes back is the transpose of what it should be"],
        "values": [TRANSPOSED.format(KERNEL[wing])],
    }


@pytest.mark.parametrize("wing", ["linen", "nnx"])
def test_a_loader_and_a_reader_that_both_forget_to_transpose(wing: str) -> None:
    """What comes back is right, and what the model holds is not."""
    whole = load_wing(wing)

    def turned(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**weights, "2.weight": weights["2.weight"].T}

    found = failures(
        port(
            wing,
            load=lambda model, weights: whole.load(model, turned(weights)),
            weights=lambda model: turned(whole.weights(model)),
        )
    )
    assert found == {"values": [TRANSPOSED.format(KERNEL[wing])]}


# Two biases of one shape, swapped: every shape check lets them pass.


class SwappedBiases(torch.nn.Sequential):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first, second, last = self[0], self[2], self[6]
        x = F.relu(F.linear(x, first.weight, second.bias))
        for _ in range(2):
            x = F.relu(F.linear(x, second.weight, first.bias))
        return last(x)


def test_biases_swapped_in_the_program() -> None:
    planted = port("torch")
    planted.model.__class__ = SwappedBiases
    found = failures(planted)
    (message,) = found["forward"]
    assert message.partition("\n")[0].endswith(
        "Likely cause: 0.bias and 2.bias are swapped: given swapped, the outputs agree."
    )
    # Slot 2 has two sites, so swapping it with slot 0 swaps what their gradients are.
    assert not {*STRUCTURE, "values"} & found.keys()


@pytest.mark.parametrize("wing", ["linen", "nnx"])
def test_biases_swapped_by_the_loader(wing: str) -> None:
    whole = load_wing(wing)

    def swapped(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {**weights, "0.bias": weights["2.bias"], "2.bias": weights["0.bias"]}

    found = failures(port(wing, load=lambda model, weights: whole.load(model, swapped(weights))))
    assert found["weights"] == [
        "0.bias: the array that comes back is that of 2.bias",
        "2.bias: the array that comes back is that of 0.bias",
    ]
    first, second = (KERNEL[wing].replace("2.kernel", f"{slot}.bias") for slot in (0, 2))
    assert found["values"] == [
        f"{one}: what the port holds is that of {other} (by the map {slot}.bias with 'a -> a'). {CARRY}"
        for one, other, slot in ((first, second, 0), (second, first, 2))
    ]


# A tie that is lost.


def untied(wing: str) -> dict[str, list[str]]:
    planted = port(wing)
    return failures(replace(planted, model=planted.wing.untie(planted.model, "4.weight")))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wing", "owner", "alias"), [("torch", "2.weight", "4.weight"), ("nnx", "layers.2.kernel", "layers.4.kernel")]
)
def test_a_tie_that_is_lost(wing: str, owner: str, alias: str) -> None:
    found = untied(wing)
    assert found["table"] == ["4.weight: is a parameter of its own, expected an alias of 2.weight: the tie is lost"]
    assert found["ties"] == [
        f"{alias}: is a parameter of its own in the port, expected {owner} itself: the tie is lost"
    ]


def test_a_tie_that_is_lost_in_linen() -> None:
    # Linen shares modules, so it is the whole layer that is lost.
    found = untied("linen")
    assert found["table"] == [
        f"4.{name}: is a parameter of its own, expected an alias of 2.{name}: the tie is lost"
        for name in ("weight", "bias")
    ]
    assert found["ties"] == [
        f"params.layers_4.{name}: is a parameter of its own in the port, expected params.layers_2.{name} itself: "
        "the tie is lost"
        for name in ("kernel", "bias")
    ]


# A tied gradient that misses a site.


class DeafSecondCallTorch(torch.nn.Linear):
    calls = 0

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        weight = self.weight.detach() if self.calls % 2 == 0 else self.weight
        return F.linear(input, weight, self.bias)


def test_a_site_that_the_gradient_misses_in_the_program() -> None:
    planted = port("torch")
    planted.model[2].__class__ = DeafSecondCallTorch
    found = failures(planted)
    assert found["tied gradients"] == [missing("2.weight", 2)]
    assert "forward" not in found


def missing(port: str, site: int) -> str:
    parts = "1 (linear) 79%, 2 (linear) 63%"
    words = f"the gradient is not the sum over its 2 sites ({parts}): the share of site {site} is missing"
    return f"2.weight (= {port}): {words}"


@pytest.mark.parametrize("wing", ["linen", "nnx"])
@pytest.mark.parametrize("lost", [0, 1])
def test_a_site_that_the_gradient_misses(wing: str, lost: int) -> None:
    whole = load_wing(wing)

    def prober(*given: Any, **named: Any) -> Any:
        run, sites = whole.prober(*given, **named), whole.site_prober(*given, **named)

        def deaf(weights: Any, cotangents: Any, **how: Any) -> Probe:
            outputs, gradients = run(weights, cotangents, **how)
            share = sites(weights, cotangents, [KERNEL[wing]])[KERNEL[wing]][lost].gradient
            return Probe(outputs, {**gradients, KERNEL[wing]: gradients[KERNEL[wing]] - share})

        return deaf

    found = failures(port(wing, prober=prober))
    assert found.keys() == {"gradients", "tied gradients"}
    assert found["tied gradients"] == [missing(KERNEL[wing], lost + 1)]


# An initializer that is off by a tenth in scale.


def scaled(factor: float) -> Sequential:
    """The shared-layer spec with the shared weight's std scaled."""
    weight = VarianceScaling(factor**2 / 3, "fan_in", "uniform")
    layers = (Linear(4, 8), ReLU(), Linear(8, 8, weight_init=weight), ReLU(), Shared("2"), ReLU(), Linear(8, 1))
    return Sequential(*layers)


@pytest.mark.parametrize("wing", WINGS)
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_an_initializer_that_is_off_by_a_tenth(wing: str, factor: float) -> None:
    planted = Port.build(REFERENCE, load_wing(wing), "cpu", spec=scaled(factor))
    found = failures(planted, list(CONTRACTS))
    assert found.keys() == {"initialization"}
    assert all(message.startswith("2.weight: ") for message in found["initialization"])
    std = [message for message in found["initialization"] if "std is" in message]
    assert any(f"std is {factor:.1f}" in message for message in std) or factor > 1, found


def test_a_build_that_draws_otherwise_than_it_says() -> None:
    whole = load_wing("nnx")

    def build(spec: Any, **options: Any) -> Any:
        model = whole.build(spec, **options)
        model.layers[2].kernel[...] *= 1.1
        return model

    (message,) = set(failures(port("nnx", build=build), ["initialization"])["initialization"])
    assert message == "2.weight: a build draws other values than `sample` does, by 0.1 of their norm"


# What else a port may get wrong.


def test_a_path_that_is_missing_and_one_too_many() -> None:
    planted = port("torch")
    planted.model[6] = torch.nn.Linear(8, 1, bias=False)
    planted.model.add_module("7", torch.nn.PReLU())
    found = failures(planted)
    assert found["table"] == ["6.bias: is missing from the model", "7.weight: is not in the spec"]
    assert found["names"] == [
        "6.bias: the reference has it and nothing in the other side is its partner",
        "7.weight: the port has it and nothing in the other side is its partner",
    ]
    assert found["weights"] == [
        "the weights cannot be loaded: expected one array for each of 6 owners, in the canonical layout, found 2 that "
        "do not fit: 7.weight is missing; 6.bias is not in the model. Nothing was loaded."
    ]


def test_values_that_are_not_finite() -> None:
    planted = port("torch")
    planted.model[2].register_forward_hook(lambda module, args, output: output * float("nan"))
    results: tuple[Result, ...] = check_ports([planted], ["forward", "gradients"])
    assert {(result.contract, result.status) for result in results} == {("forward", "fail"), ("gradients", "fail")}
    assert "0.weight (= 0.weight): the gradient is not finite" in [result.message for result in results]


def test_a_report_with_an_infinite_error_is_json() -> None:
    planted = port("torch")
    planted.model[2].register_forward_hook(lambda module, args, output: output * float("nan"))
    report = Report(check_ports([planted], ["forward"]))
    (result,) = json.loads(report.to_json())["results"]
    assert (result["status"], result["measured"]) == ("fail", None)
    with pytest.raises(ContractFailure, match=r"shared-layer \[torch, cpu\] forward: "):
        report.raise_for_failure()


def test_a_model_that_raises_fails_its_contracts_and_not_the_check() -> None:
    planted = port("torch")

    def broken(module: Any, args: Any) -> None:
        raise RuntimeError("out of order\nfor good")

    planted.model[2].register_forward_pre_hook(broken)
    found = failures(planted)
    assert found["forward"] == ["the model raises RuntimeError: out of order"]
    assert "names" not in found


def test_a_report_of_nothing_is_not_ok() -> None:
    report = Report(())
    assert not report.ok
    with pytest.raises(ContractFailure) as caught:
        report.raise_for_failure()
    assert str(caught.value) == "expected at least one contract to be checked, found none. Look at what was skipped."
