"""Every layer against the stock classes of PyTorch and Flax: names, shapes, forward, gradients, a step, and draws."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import nnx, traverse_util
from torch import nn

from paritree.common import paths
from paritree.common.layers import KINDS
from paritree.common.layouts import Layout
from paritree.common.spec import ParameterSpec, expansion
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.conformance.statistics import Evidence, examine, judge, replicates
from paritree.pairs.closeness import allowed, relative_error

from .case import Case

FAMILIES = sorted(path.stem for path in Path(__file__).parent.glob("cases_*.py"))
CASES = {case.name: case for family in FAMILIES for case in importlib.import_module(f".{family}", __package__).CASES}
HOLDING = {name: case for name, case in CASES.items() if case.spec.parameters()}
LEARNING_RATE = 0.1

each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_wing = pytest.mark.parametrize("wing", WINGS)


def stock(case: Case) -> nn.Module:
    """The stock module with distinct values everywhere, statistics included, in inference mode."""
    module = case.torch()
    random = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for array in module.parameters():
            array += 0.3 * torch.randn(array.shape, generator=random)
        for name, array in module.named_buffers():
            if array.is_floating_point():
                low = 0.5 if name.endswith("var") else -0.5
                array.copy_(low + torch.rand(array.shape, generator=random))
    return module.eval()


def weights(module: nn.Module) -> dict[str, np.ndarray]:
    held = (*module.named_parameters(), *module.named_buffers())
    return {name: array.detach().numpy().copy() for name, array in held}


def tensors(case: Case, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, ...]:
    arrays = tuple(torch.from_numpy(array.copy()) for array in case.inputs)
    return tuple(array.to(dtype) if array.is_floating_point() else array for array in arrays)


def cotangent(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


@each_case
def test_the_table_is_the_stock_module_s(case: Case) -> None:
    module, table = case.torch(), expansion.table_of(case.spec)

    def listed(arrays: Any) -> list[tuple[str, tuple[int, ...], str]]:
        return [(name, tuple(array.shape), str(array.dtype).removeprefix("torch.")) for name, array in arrays]

    assert [(row.path, row.shape, row.dtype) for row in table.parameters] == listed(module.named_parameters())
    assert [(row.path, row.shape, row.dtype) for row in table.buffers] == listed(module.named_buffers())


@each_wing
@each_case
def test_the_wing_s_table_is_the_spec_s(case: Case, wing: str) -> None:
    found = load_wing(wing).table(load_wing(wing).build(case.spec))
    expected = expansion.table_of(case.spec)
    assert [(row.path, row.shape, row.kind, row.layer) for row in found] == [
        (row.path, row.shape, row.kind, row.layer) for row in expected
    ]


@each_wing
@each_case
def test_the_stock_module_s_weights_give_its_output_and_gradients(case: Case, wing: str) -> None:
    module = stock(case)
    exact = copy.deepcopy(module).double()
    output = case.call(exact, *tensors(case))
    names, parameters = zip(*exact.named_parameters(), strict=True) if list(exact.parameters()) else ((), ())
    weighing = cotangent(tuple(output.shape))
    loss = (output * torch.from_numpy(weighing)).sum()
    gradients = torch.autograd.grad(loss, parameters) if parameters else ()

    ours = load_wing(wing)
    with ours.running():
        model = ours.load(ours.build(case.spec), weights(module))
        assert relative_error(ours.call(model, case.inputs), output.detach().numpy()) <= allowed(1)
        _, found = ours.value_and_gradients(model, case.inputs, weighing)
    assert list(found) == list(names)
    for name, gradient in zip(names, gradients, strict=True):
        assert relative_error(found[name], gradient.numpy()) <= allowed(1), name


@each_wing
@pytest.mark.parametrize("case", HOLDING.values(), ids=HOLDING)
def test_a_training_step_is_the_stock_module_s(case: Case, wing: str) -> None:
    module = stock(case)
    exact = copy.deepcopy(module).double().train()
    output = case.call(exact, *tensors(case))
    targets = cotangent(tuple(output.shape))
    loss = nn.functional.mse_loss(output, torch.from_numpy(targets).double())
    if any(array.requires_grad for array in exact.parameters()):
        loss.backward()
        torch.optim.SGD(exact.parameters(), LEARNING_RATE).step()

    ours = load_wing(wing)
    with ours.running():
        model = ours.load(ours.build(case.spec), weights(module))
        model, _ = ours.step(model, case.inputs, targets, learning_rate=LEARNING_RATE)
        found = ours.weights(model)
    for name, array in weights(exact).items():
        assert relative_error(found[name].astype(np.float64), array) <= allowed(1), name


def evidence(found: np.ndarray, parameter: ParameterSpec, initializer: Any, name: str) -> list[Evidence]:
    return examine(found.astype(np.float32), initializer, parameter.shape, path=name)


def failures(found: list[Evidence]) -> list[str]:
    return [verdict.message for verdict in judge(found) if not verdict.passed]


def count(case: Case, initializers: list[Any]) -> int:
    """How many draws are enough for every parameter."""
    shapes = [parameter.shape for parameter in case.spec.parameters()]
    pairs = zip(shapes, initializers, strict=True)
    return max(replicates(shape, initializer=initializer) for shape, initializer in pairs if initializer is not None)


@pytest.mark.parametrize("case", HOLDING.values(), ids=HOLDING)
def test_the_stock_class_draws_from_the_spec_s_initializers(case: Case) -> None:
    parameters = case.spec.parameters()
    drawn: dict[str, list[np.ndarray]] = {parameter.name: [] for parameter in parameters}
    for seed in range(count(case, [parameter.initializer for parameter in parameters])):
        torch.manual_seed(seed)
        for name, array in weights(case.torch()).items():
            drawn[name].append(array)
    found = [
        item
        for parameter in parameters
        for item in evidence(np.stack(drawn[parameter.name]), parameter, parameter.initializer, parameter.name)
    ]
    assert failures(found) == []


def linen_draws(case: Case, seeds: int) -> dict[str, np.ndarray]:
    assert case.linen is not None
    module, inputs = case.linen(), case.flax_inputs(case.inputs)
    keys = jax.vmap(jax.random.key)(np.arange(seeds))
    variables = jax.vmap(lambda key: module.init({"params": key, "dropout": key}, *inputs))(keys)
    return {paths.join(*path[1:]): np.asarray(array) for path, array in traverse_util.flatten_dict(variables).items()}


def nnx_draws(case: Case, seeds: int) -> dict[str, np.ndarray]:
    make = case.nnx
    assert make is not None

    def one(key: jax.Array) -> Any:
        return nnx.to_pure_dict(nnx.state(make(nnx.Rngs(key)), nnx.Not(nnx.RngState)))

    state = jax.vmap(one)(jax.vmap(jax.random.key)(np.arange(seeds)))
    return {paths.join(*map(str, path)): np.asarray(array) for path, array in traverse_util.flatten_dict(state).items()}


def canonical(drawn: dict[str, np.ndarray], names: tuple[str, ...], layout: Layout) -> np.ndarray:
    """A stack of native draws in the canonical layout."""
    arrays = [drawn[name] for name in names]
    natives = arrays[0] if len(arrays) == 1 else np.stack(arrays, axis=1)
    return np.stack([layout.to_canonical(array) for array in natives])


def flax_classes() -> Iterator[Any]:
    for case in HOLDING.values():
        for name, make, draws in (("linen", case.linen, linen_draws), ("nnx", case.nnx, nnx_draws)):
            if make is not None:
                yield pytest.param(case, draws, id=f"{case.name}-{name}")


@pytest.mark.parametrize(("case", "draws"), list(flax_classes()))
def test_flax_s_own_class_draws_from_the_initializers_that_the_layer_names(case: Case, draws: Any) -> None:
    natives = {each.name: case.spec.native_of(each.name) for each in case.spec.parameters()}
    defaults = {name: native.default(case.spec) if native else None for name, native in natives.items()}
    drawn = draws(case, count(case, list(defaults.values())))
    found = []
    for parameter in case.spec.parameters():
        native, initializer = natives[parameter.name], defaults[parameter.name]
        if native is not None and initializer is not None:
            layout = native.layout.with_sizes(parameter.axes)
            stack = canonical(drawn, native.parts, layout)
            found += evidence(stack, parameter, initializer, parameter.name)
    assert found
    assert failures(found) == []


def test_every_layer_that_holds_something_has_a_case() -> None:
    without = {"Decoder", "Transposed", "Parameter", "Buffer", "BatchNorm", "InstanceNorm"}
    assert {case.spec.kind for case in HOLDING.values()} == set(KINDS) - without
