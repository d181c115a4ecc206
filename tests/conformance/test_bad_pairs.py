"""Pairs that cannot be checked, and checks that do not exist: what is said, and that nothing was changed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import paritree
from paritree import PairError, UsageError
from paritree.conformance.known import KnownDifference
from paritree.conformance.report import Report
from paritree.pairs.maps import Map, MapRow

INPUTS = (np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32),)
MAP = Map(
    (
        MapRow("weight", "kernel", (3, 6), (6, 3), "a b -> b a", "rule"),
        MapRow("bias", "bias", (3,), (3,), "a -> a", "rule"),
    ),
    ("torch", "nnx"),
)
CHECK_INPUTS = "Check the inputs, and the call if the pair has one: names, shapes and dtypes."
DRAWS = ("initialization",)


def reference(seed: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Linear(6, 3)


def port(seed: int) -> nnx.Module:
    return nnx.Linear(6, 3, rngs=nnx.Rngs(seed))


def checked(
    one: Any = reference,
    other: Any = port,
    inputs: Any = INPUTS,
    calls: tuple[Any, Any] = (None, None),
    contracts: tuple[str, ...] = ("forward",),
    map: Map = MAP,
    **wanted: Any,
) -> Report:
    pair = paritree.Pair(one, other, inputs, *calls)
    return paritree.check(pair, map, **{"contracts": contracts, "devices": ("cpu",), **wanted})


def other_bias(seed: int) -> nnx.Module:
    return nnx.Linear(6, 3, use_bias=seed % 2 == 0, rngs=nnx.Rngs(seed))


def other_width(seed: int) -> nnx.Module:
    return nnx.Linear(6, 3 + seed % 2, rngs=nnx.Rngs(seed))


def failing_later(seed: int) -> nnx.Module:
    if seed:
        raise RuntimeError(f"no weights for seed {seed}")
    return port(seed)


SEEDED = "Seed the framework's generator in it, by torch.manual_seed(seed) or jax.random.key(seed)."
ONE_STRUCTURE = "a factory whose models have one structure"


@pytest.mark.parametrize(
    ("sides", "text"),
    [
        pytest.param(
            (lambda seed: reference(0), port),
            "reference: expected a factory that draws other values for another seed, "
            f"found the same values in all 2 tensors for the seeds 0 and 1. {SEEDED}",
            id="a reference that ignores its seed",
        ),
        pytest.param(
            (reference, lambda seed: port(0)),
            "port: expected a factory that draws other values for another seed, "
            f"found the same values in all 2 tensors for the seeds 1000000000 and 1000000001. {SEEDED}",
            id="a port that ignores its seed",
        ),
        pytest.param(
            (reference, other_bias),
            f"port: expected {ONE_STRUCTURE}, found bias for seed 1000000000 and none for seed 1000000001. "
            "A seed may change values, and nothing else.",
            id="another structure",
        ),
        pytest.param(
            (reference, other_width),
            f"port: expected {ONE_STRUCTURE}, found kernel as float32 of shape (6, 3) for seed 1000000000 "
            "and float32 of shape (6, 4) for 1000000001. A seed may change values, and nothing else.",
            id="another shape",
        ),
        pytest.param(
            (reference, failing_later),
            "port: expected a factory that makes a model, found RuntimeError: no weights for seed 1000000000. "
            "A factory is a function of a seed.",
            id="raises for another seed",
        ),
    ],
)
def test_factory_that_is_none(sides: tuple[Any, Any], text: str) -> None:
    with pytest.raises(PairError) as refused:
        checked(*sides, contracts=DRAWS)
    assert str(refused.value) == text


def test_factory_that_raises_at_once() -> None:
    with pytest.raises(PairError) as refused:
        checked(reference, lambda seed: 1 / 0)
    assert str(refused.value) == (
        "port: expected a factory that makes a model, found ZeroDivisionError: division by zero. "
        "A factory is a function of a seed."
    )


@pytest.mark.parametrize(
    ("other", "place", "found"),
    [
        pytest.param(lambda seed: seed, "what the port's factory makes", "int", id="a factory of numbers"),
        pytest.param(nnx.Linear, "port", "ModuleMeta", id="a class"),
    ],
)
def test_side_that_is_no_model(other: Any, place: str, found: str) -> None:
    with pytest.raises(UsageError) as refused:
        checked(reference, other)
    assert str(refused.value) == (
        f"{place}: expected a spec, an nn.Module, an nnx.Module or (linen module, variables), found {found}."
    )


@pytest.mark.parametrize(
    ("inputs", "text"),
    [
        pytest.param(
            {"input": INPUTS[0]},
            "port: expected inputs that the model takes, "
            f"found TypeError: Linear.__call__() got an unexpected keyword argument 'input'. {CHECK_INPUTS}",
            id="the port has no such argument",
        ),
        pytest.param(
            {"inputs": INPUTS[0]},
            "reference: expected inputs that the model takes, "
            f"found TypeError: Linear.forward() got an unexpected keyword argument 'inputs'. {CHECK_INPUTS}",
            id="the reference has no such argument",
        ),
        pytest.param(
            (INPUTS[0][:, :4],),
            "reference: expected inputs that the model takes, "
            f"found RuntimeError: mat1 and mat2 shapes cannot be multiplied (4x4 and 6x3). {CHECK_INPUTS}",
            id="another width",
        ),
        pytest.param(
            INPUTS[0],
            "inputs: expected a tuple or a dict of arrays, found ndarray. For one array write (array,).",
            id="no tuple",
        ),
    ],
)
def test_inputs_that_a_side_does_not_take(inputs: Any, text: str) -> None:
    with pytest.raises(PairError) as refused:
        checked(inputs=inputs)
    # Python 3.13 adds the nearest name.
    assert re.sub(r"Did you mean '\w+'\? ", "", str(refused.value)) == text


def twice(model: Any, inputs: Any) -> Any:
    return model(*inputs), model(*inputs)


def no_number(model: Any, inputs: Any) -> Any:
    return model(*inputs) * float("nan")


def test_outputs_of_unequal_number() -> None:
    with pytest.raises(PairError) as refused:
        checked(calls=(twice, None))
    assert str(refused.value) == (
        "outputs: expected the 2 of the reference ('0', '1'), found 1 in the port (''). "
        "Give the pair calls that return the same."
    )


def test_no_output() -> None:
    with pytest.raises(PairError) as refused:
        checked(calls=(None, lambda model, inputs: {}))
    assert str(refused.value) == (
        "port: expected an output of floating-point numbers, found none. Let the call return what is to agree."
    )


def test_outputs_that_are_not_finite_on_one_side_fail_and_are_counted() -> None:
    (failure,) = checked(calls=(None, no_number)).failures
    assert failure.cause == "not finite"
    assert "Not finite are 0 of the reference's 12 entries and 12 of the port's." in failure.message


def test_outputs_that_are_finite_on_neither_side_fail_in_every_contract_of_numbers() -> None:
    """Two models that give no numbers agree in nothing."""
    contracts = ("forward", "gradients", "training", "modes", "determinism")
    report = checked(calls=(no_number, no_number), contracts=contracts)
    assert {each.cause for each in report.failures} == {"not finite"}
    assert {each.contract for each in report.failures} == {"forward", "gradients", "training", "modes"}
    assert "Not finite are 12 of the reference's 12 entries and 12 of the port's." in report.failures[0].message
    skipped = [each.message for each in report.results if each.status == "skip"]
    assert skipped == ["outputs in training mode are not finite: dropout cannot be compared"]


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        (
            {"contracts": ("foward",)},
            "foward: expected the name of a contract, found 'foward', which is none. Did you mean 'forward'?",
        ),
        ({"devices": ("cud",)}, "cud: expected the name of a device, found 'cud', which is none. Did you mean 'cuda'?"),
        (
            {"required_device": "cuda:o"},
            "cuda:o: expected the name of a device, found 'o', which is none. There are 'cpu', 'cuda', 'rocm', 'tpu', "
            "'mps', 'xpu'.",
        ),
        (
            {"precisions": ("bf16",)},
            "bf16: expected the name of a precision, found 'bf16', which is none. Did you mean 'bfloat16'?",
        ),
        (
            {"known_differences": [KnownDifference("gradient", "*.weight", "they are scaled")]},
            "gradient at '*.weight': expected the name of a contract, found none of that name. "
            "Did you mean 'gradients'?",
        ),
    ],
)
def test_what_does_not_exist_is_refused_with_the_nearest_that_does(wanted: dict[str, Any], text: str) -> None:
    with pytest.raises(UsageError) as refused:
        checked(**wanted)
    assert str(refused.value) == text


def test_map_of_another_model_is_told_path_by_path() -> None:
    row = MapRow("0.weight", "layers.0.kernel", (3, 6), (6, 3), "a b -> b a", "rule")
    report = checked(map=Map((row,), ("torch", "nnx")), contracts=("names", "forward"))
    assert not report.ok
    assert [(each.contract, each.status, each.cause, each.message) for each in report.results] == [
        (
            "names",
            "fail",
            "missing parameter",
            "0.weight: the map has it and the reference does not. Did you mean 'weight'?",
        ),
        *_alone("reference", "weight", "bias"),
        (
            "names",
            "fail",
            "missing parameter",
            "layers.0.kernel: the map has it and the port does not. Did you mean 'kernel'?",
        ),
        *_alone("port", "kernel", "bias"),
        ("forward", "skip", "", "names or shapes are not the map's, so that no values can be carried"),
    ]


def _alone(role: str, *paths: str) -> Iterator[tuple[str, str, str, str]]:
    for path in paths:
        words = f"{path}: the {role} has it and nothing in the other side is its partner"
        yield "names", "fail", "unmatched parameter", words


def test_models_are_as_they_were() -> None:
    """Weights, modes and gradients of live models, after a check that ends in an error and one with failures."""
    one, other = reference(0), port(1)
    weights = [array.detach().clone() for array in one.parameters()]
    before = jax.tree.map(np.array, nnx.state(other))
    with pytest.raises(PairError):
        checked(one, other, calls=(None, lambda model, inputs: 1 / 0))
    assert not checked(one, other, calls=(None, no_number), contracts=("forward", "gradients")).ok
    assert one.training
    assert all(array.grad is None for array in one.parameters())
    assert all(torch.equal(array, kept) for array, kept in zip(one.parameters(), weights, strict=True))
    assert jax.tree.all(jax.tree.map(np.array_equal, jax.tree.map(np.array, nnx.state(other)), before))


def test_an_output_that_is_zero_in_the_reference_alone_is_no_measure_of_the_port() -> None:
    class Muted(torch.nn.Module):
        """In training mode."""

        def __init__(self, factor: float) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.fc, self.factor = torch.nn.Linear(4, 4), factor

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x) * self.factor if self.training else self.fc(x)

    pair = paritree.Pair(Muted(0.0), Muted(1.0), (np.arange(8, dtype=np.float32).reshape(2, 4),))
    (failure,) = paritree.check(pair, contracts=("modes",), devices=("cpu",)).failures
    assert failure.message == "in training mode, without dropout, the output is not zero, as the reference's is"
