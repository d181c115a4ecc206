"""The vision transformer against transformers' `ViTForImageClassification`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import transformers

from paritree.common.models.architectures.vit import ViTConfig, vit
from paritree.common.wing.recognition import WINGS

from .twin import Twin, assert_same_distributions, assert_same_tables, config_of, scatter

# Images and patches that are not square show whether the patches are in order.
TINY = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "image_size": (12, 20),
    "patch_size": (4, 5),
    "num_channels": 3,
    "num_labels": 5,
}
CONFIGURATIONS = {"biases": {}, "no biases": {"qkv_bias": False, "hidden_act": "gelu_new", "layer_norm_eps": 1e-3}}


def config(name: str = "biases", **settings: object) -> transformers.ViTConfig:
    return transformers.ViTConfig(**{**TINY, **CONFIGURATIONS[name], **settings}, attn_implementation="eager")


def twin(name: str) -> Twin:
    theirs = config(name)
    torch.manual_seed(0)
    images = np.random.default_rng(0).normal(size=(2, 3, 12, 20)).astype(np.float32)
    return Twin(
        spec=vit(config_of(ViTConfig, theirs)),
        model=scatter(transformers.ViTForImageClassification(theirs)),
        inputs=(images,),
        run=lambda module, pixels: module(pixels).logits,
        # A projection, two norms and six products in each layer, a norm and a projection.
        depth=1 + 8 * TINY["num_hidden_layers"] + 2,
        vanishing=r"key\.bias$",
    )


@pytest.fixture(scope="module", params=CONFIGURATIONS)
def pair(request: pytest.FixtureRequest) -> Twin:
    return twin(request.param)


def test_the_spec_has_the_names_shapes_and_order_of_the_torch_class(pair: Twin):
    assert_same_tables(pair.spec, pair.model)


def test_a_vit_base_has_the_names_and_shapes_of_the_torch_class():
    with torch.device("meta"):
        theirs = transformers.ViTForImageClassification(transformers.ViTConfig())
    assert_same_tables(vit(ViTConfig()), theirs)


def test_the_torch_class_itself_is_within_the_allowance(pair: Twin):
    assert pair.too_large(pair.theirs()) == {}


@pytest.mark.parametrize("wing", WINGS)
def test_its_weights_give_its_output_and_gradients(pair: Twin, wing: str):
    assert pair.too_large(pair.ours(wing)) == {}


def test_every_parameter_has_the_initial_distribution_of_the_torch_class():
    # A std of 1, cut at two absolute, shows that the cut is not in units of the std.
    theirs = config(initializer_range=1.0)
    spec = vit(config_of(ViTConfig, theirs))
    assert_same_distributions(spec, lambda: transformers.ViTForImageClassification(theirs), draws=24)
