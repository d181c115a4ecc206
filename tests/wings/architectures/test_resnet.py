"""What is ResNet's alone: published configurations, and running statistics, which a training step moves."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from paritree.common.models.architectures import RESNET_18, RESNET_50, ResNetConfig
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.pairs.closeness import allowed, relative_error

from .cases import CASES, RESNET
from .twin import Twin, assert_same_tables, config_of

LEARNING_RATE = 0.5
each_name = pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.architecture is RESNET])


@pytest.mark.parametrize(
    ("ours", "settings"),
    [
        (RESNET_18, {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}),
        (RESNET_50, {}),
    ],
    ids=["ResNet-18", "ResNet-50"],
)
def test_the_named_configurations_are_those_of_the_published_models(
    ours: ResNetConfig, settings: dict[str, Any]
) -> None:
    with torch.device("meta"):
        theirs = RESNET.model(RESNET.their_config(num_labels=1000, **settings))
    assert config_of(ResNetConfig, theirs.config) == ours
    assert_same_tables(RESNET.spec(ours), theirs)


# One step of SGD


def targets(pair: Twin) -> np.ndarray:
    return np.random.default_rng(2).normal(size=(len(pair.inputs[0]), 5)).astype(np.float32)


def trained(pair: Twin, wing: str, dtype: str = "float32") -> dict[str, np.ndarray]:
    """The arrays by name after one step of our spec in a wing."""
    own = load_wing(wing)
    inputs = tuple(array.astype(dtype) for array in pair.inputs)
    with own.running("cpu", dtype):
        model = own.load(own.build(pair.spec, dtype=dtype), pair.weights(dtype))
        model, _ = own.step(model, inputs, targets(pair).astype(dtype), learning_rate=LEARNING_RATE)
        return own.weights(model)


def trained_theirs(pair: Twin) -> dict[str, np.ndarray]:
    """The arrays by name after one step of the torch model itself, by PyTorch's own optimizer."""
    model = copy.deepcopy(pair.model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    output = pair.run(model, *map(torch.from_numpy, pair.inputs))
    nn.functional.mse_loss(output, torch.from_numpy(targets(pair))).backward()
    optimizer.step()
    return {name: array.detach().numpy() for name, array in (*model.named_parameters(), *model.named_buffers())}


@cache
def exactly_trained(name: str) -> dict[str, np.ndarray]:
    """The torch wing's step in float64."""
    return trained(CASES[name].twin, "torch", "float64")


def too_far(name: str, found: dict[str, np.ndarray]) -> dict[str, float]:
    """The errors after the step that are above the allowance, relative to the tensor's norm."""
    assert found.keys() == exactly_trained(name).keys()
    errors = {path: relative_error(found[path], exact) for path, exact in exactly_trained(name).items()}
    return {path: error for path, error in errors.items() if not error <= allowed(CASES[name].depth)}


@each_name
def test_the_step_of_the_torch_class_itself_is_within_the_allowance(name: str) -> None:
    assert too_far(name, trained_theirs(CASES[name].twin)) == {}


@pytest.mark.parametrize("wing", WINGS)
@each_name
def test_a_training_step_gives_its_parameters_and_running_statistics(name: str, wing: str) -> None:
    assert too_far(name, trained(CASES[name].twin, wing)) == {}


@each_name
def test_the_step_moves_every_array_by_far_more_than_the_allowance(name: str) -> None:
    before = CASES[name].twin.weights("float64")
    moved = {path: relative_error(before[path], after) for path, after in exactly_trained(name).items()}
    assert {path: move for path, move in moved.items() if move < 100 * allowed(CASES[name].depth)} == {}
