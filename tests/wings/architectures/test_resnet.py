"""ResNet against transformers' `ResNetForImageClassification`."""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np
import pytest
import torch
import transformers
from torch import nn

from paritree.common.errors import UsageError
from paritree.common.models.architectures.resnet import RESNET_18, RESNET_50, ResNetConfig, resnet
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.pairs.closeness import allowed, relative_error

from .twin import Twin, assert_same_distributions, assert_same_tables, config_of, scatter

LEARNING_RATE = 0.5
# Few different shapes, since JAX compiles for each.
CONFIGURATIONS = {
    "basic": {"layer_type": "basic", "hidden_sizes": [8, 8], "depths": [1, 2]},
    "basic, downsampled": {
        "layer_type": "basic",
        "hidden_sizes": [8],
        "depths": [2],
        "downsample_in_first_stage": True,
    },
    "bottleneck": {"layer_type": "bottleneck", "hidden_sizes": [32, 32], "depths": [2, 1]},
    "bottleneck, downsampled": {
        "layer_type": "bottleneck",
        "hidden_sizes": [32],
        "depths": [2],
        "downsample_in_first_stage": True,
        "downsample_in_bottleneck": True,
        "hidden_act": "gelu",
    },
}


def config(name: str) -> transformers.ResNetConfig:
    return transformers.ResNetConfig(num_channels=3, embedding_size=8, num_labels=5, **CONFIGURATIONS[name])


class ResNetTwin(Twin):
    """With one training step: the arrays after it, by name."""

    def trained(self, wing: str, dtype: str = "float32") -> dict[str, np.ndarray]:
        """One step of our spec in a wing."""
        own = load_wing(wing)
        inputs = tuple(array.astype(dtype) for array in self.inputs)
        with own.running("cpu", dtype):
            model = own.load(own.build(self.spec, dtype=dtype), self.weights(dtype))
            model, _ = own.step(model, inputs, self.targets.astype(dtype), learning_rate=LEARNING_RATE)
            return own.weights(model)

    def trained_theirs(self) -> dict[str, np.ndarray]:
        """One step of the torch model itself, by PyTorch's own optimizer."""
        model = copy.deepcopy(self.model).train()
        optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
        output = self.run(model, *map(torch.from_numpy, self.inputs))
        nn.functional.mse_loss(output, torch.from_numpy(self.targets)).backward()
        optimizer.step()
        return {name: array.detach().numpy() for name, array in (*model.named_parameters(), *model.named_buffers())}

    @cached_property
    def targets(self) -> np.ndarray:
        return np.random.default_rng(2).normal(size=(len(self.inputs[0]), 5)).astype(np.float32)

    @cached_property
    def exactly_trained(self) -> dict[str, np.ndarray]:
        """The torch wing's step in float64."""
        return self.trained("torch", "float64")

    def too_far(self, found: dict[str, np.ndarray]) -> dict[str, float]:
        """The errors after the step that are above the allowance, relative to the tensor's norm."""
        assert found.keys() == self.exactly_trained.keys()
        errors = {path: relative_error(found[path], exact) for path, exact in self.exactly_trained.items()}
        return {path: error for path, error in errors.items() if not error <= allowed(self.depth)}


def scatter_statistics(model: nn.Module) -> nn.Module:
    """The model with running statistics that differ from channel to channel, and a count."""
    generator = torch.Generator().manual_seed(3)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.5 * torch.randn(buffer.shape, generator=generator))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + torch.rand(buffer.shape, generator=generator))
        else:
            buffer.fill_(7)
    return model


def twin(name: str) -> ResNetTwin:
    theirs = config(name)
    torch.manual_seed(0)
    convolutions = {"basic": 2, "bottleneck": 3}[theirs.layer_type]
    return ResNetTwin(
        spec=resnet(config_of(ResNetConfig, theirs)),
        model=scatter_statistics(scatter(transformers.ResNetForImageClassification(theirs))),
        inputs=(np.random.default_rng(0).normal(size=(4, 3, 22, 30)).astype(np.float32),),
        run=lambda module, pixels: module(pixels).logits,
        # A convolution and a norm in the stem and in each convolutional layer, and the classifier.
        depth=2 * (1 + convolutions * sum(theirs.depths)) + 1,
    )


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def pair(request: pytest.FixtureRequest) -> ResNetTwin:
    return twin(request.param)


def test_the_spec_has_the_names_shapes_and_order_of_the_torch_class(pair: ResNetTwin):
    assert_same_tables(pair.spec, pair.model)


@pytest.mark.parametrize(
    ("ours", "settings"),
    [
        (RESNET_18, {"layer_type": "basic", "hidden_sizes": [64, 128, 256, 512], "depths": [2, 2, 2, 2]}),
        (RESNET_50, {}),
    ],
    ids=["ResNet-18", "ResNet-50"],
)
def test_the_named_configurations_are_those_of_the_published_models(ours: ResNetConfig, settings: dict):
    with torch.device("meta"):
        theirs = transformers.ResNetForImageClassification(transformers.ResNetConfig(num_labels=1000, **settings))
    assert config_of(ResNetConfig, theirs.config) == ours
    assert_same_tables(resnet(ours), theirs)


def test_the_torch_class_itself_is_within_the_allowance(pair: ResNetTwin):
    assert pair.too_large(pair.theirs()) == {}


@pytest.mark.parametrize("wing", WINGS)
def test_its_weights_give_its_output_and_gradients(pair: ResNetTwin, wing: str):
    assert pair.too_large(pair.ours(wing)) == {}


def test_the_step_of_the_torch_class_itself_is_within_the_allowance(pair: ResNetTwin):
    assert pair.too_far(pair.trained_theirs()) == {}


@pytest.mark.parametrize("wing", WINGS)
def test_a_training_step_gives_its_parameters_and_running_statistics(pair: ResNetTwin, wing: str):
    assert pair.too_far(pair.trained(wing)) == {}


def test_the_step_moves_every_array_by_far_more_than_the_allowance(pair: ResNetTwin):
    before = pair.weights("float64")
    moved = {path: relative_error(before[path], after) for path, after in pair.exactly_trained.items()}
    assert {path: move for path, move in moved.items() if move < 100 * allowed(pair.depth)} == {}


def test_every_parameter_has_the_initial_distribution_of_the_torch_class():
    theirs = config("bottleneck")
    spec = resnet(config_of(ResNetConfig, theirs))
    assert_same_distributions(spec, lambda: transformers.ResNetForImageClassification(theirs), draws=24)


def test_an_unknown_layer_type_is_refused():
    with pytest.raises(UsageError) as raised:
        ResNetConfig(layer_type="wide")
    assert str(raised.value) == "ResNetConfig.layer_type: expected 'basic' or 'bottleneck', found 'wide'."


def test_depths_that_are_not_one_for_each_stage_are_refused():
    with pytest.raises(UsageError) as raised:
        ResNetConfig(depths=(2, 2))
    assert str(raised.value) == (
        "ResNetConfig.depths: expected one for each of the hidden_sizes, and at least one, "
        "found 2 of them for 4 hidden_sizes."
    )
