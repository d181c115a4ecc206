"""A training step: gradient descent on the mean squared error, dropout, ties, and what is left as it was."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from flax import nnx as flax_nnx
from flax.errors import ScopeParamShapeError

from paritree import impl_torch
from paritree.common.initializers import Eye
from paritree.common.layers import Dropout, Linear
from paritree.common.models.reference import neutral_weights
from paritree.common.spec import Sequential
from paritree.common.spec.expansion import table_of
from paritree.impl_jax import nnx

from .conftest import assert_close, assert_same, normal
from .specs import SPECS, inputs_of

X, TARGETS = (normal(2, 4, seed=1),), normal(2, 1, seed=2)


@pytest.mark.parametrize("name", ["shared-layer", "language-model", "buffers, shared"])
def test_a_step_goes_down_the_gradient(wing: Any, name: str) -> None:
    spec, inputs = SPECS[name], inputs_of(name, "float64")
    with wing.running(dtype="float64"):
        weights = neutral_weights(table_of(spec), dtype="float64")
        model = wing.load(wing.build(spec, dtype="float64"), weights)
        output, ties = wing.call(model, inputs), wing.table(model).ties
        targets = normal(*output.shape, dtype="float64")
        # The mean squared error's derivative by the output, so that the gradient is one that is tested elsewhere.
        _, gradients = wing.value_and_gradients(model, inputs, 2 * (output - targets) / output.size)
        model_after, loss = wing.step(model, inputs, targets, learning_rate=0.25)
        assert loss == pytest.approx(np.mean((output - targets) ** 2), rel=1e-12)
        moved = {path: weights[path] - 0.25 * gradient for path, gradient in gradients.items()}
        assert_close(wing.weights(model_after), {**weights, **moved})
        assert wing.table(model_after).ties == ties
        if wing.NAME == "linen":
            assert_same(wing.weights(model), weights)
        else:
            assert model_after is model


def test_ties_hold_and_the_loss_falls_over_many_steps(wing: Any) -> None:
    model = wing.build(SPECS["shared-layer"], seed=3)
    ties, losses = wing.table(model).ties, []
    for _ in range(20):
        model, loss = wing.step(model, X, TARGETS, learning_rate=0.05)
        losses.append(loss)
    assert losses[-1] < losses[0]
    assert wing.table(model).ties == ties
    assert wing.identical(model, "2.weight", "4.weight")


WIDE = 4000
DROPPING = Sequential(Dropout(0.5), Dropout(0.5), Linear(WIDE, 2, bias=False, weight_init=Eye()))


def kept(wing: Any, model: Any, seed: int) -> np.ndarray:
    """Which inputs a step lets through: the gradient by the weight has a column for each."""
    inputs, targets = (np.ones((1, WIDE), np.float32),), np.full((1, 2), 100, np.float32)
    before = wing.weights(model)["2.weight"]
    after, _ = wing.step(model, inputs, targets, learning_rate=0.01, seed=seed)
    return (wing.weights(after)["2.weight"] != before).any(0)


def test_dropout_works_in_a_step_by_its_seed_and_not_in_a_call(wing: Any) -> None:
    masks = [kept(wing, wing.build(DROPPING), seed) for seed in (1, 1, 2)]
    assert np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])
    # Two layers with masks of their own keep a quarter (6 standard deviations are 164); with one mask, a half.
    assert abs(masks[0].sum() - WIDE / 4) < 164
    model = wing.build(DROPPING)
    x = normal(1, WIDE)
    np.testing.assert_array_equal(wing.call(model, (x,)), x[:, :2])
    stepped, _ = wing.step(model, (x,), x[:, :2], learning_rate=0.0)
    np.testing.assert_array_equal(wing.call(stepped, (x,)), x[:, :2])


def test_a_seed_repeats_its_masks_whatever_came_before(wing: Any) -> None:
    model = wing.build(DROPPING)
    first = kept(wing, model, 5)
    kept(wing, model, 6)
    assert np.array_equal(kept(wing, model, 5), first)


def test_a_step_leaves_torchs_global_generator_alone() -> None:
    before = torch.get_rng_state()
    kept(impl_torch, impl_torch.build(DROPPING), 1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_that_fails_leaves_inference_mode_and_the_weights(wing: Any) -> None:
    model = wing.build(Sequential(Linear(4, 4), Dropout(0.5)))
    before = wing.weights(model)
    with pytest.raises({"torch": RuntimeError, "linen": ScopeParamShapeError, "nnx": TypeError}[wing.NAME]):
        wing.step(model, (normal(2, 3),), normal(2, 4))
    assert_same(wing.weights(model), before)
    np.testing.assert_array_equal(wing.call(model, X), wing.call(model, X))


def test_a_model_without_parameters_takes_a_step(wing: Any) -> None:
    model = wing.build(Dropout(0.0))
    _, loss = wing.step(model, X, X[0] + 2)
    assert loss == pytest.approx(4, rel=1e-6)


def test_a_strangers_running_statistics_move_in_training() -> None:
    torchs = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Linear(3, 1))
    rngs = flax_nnx.Rngs(0)
    layers = (flax_nnx.Linear(4, 3, rngs=rngs), flax_nnx.BatchNorm(3, rngs=rngs), flax_nnx.Linear(3, 1, rngs=rngs))
    path = "1.running_mean"
    for wing, model in ((impl_torch, torchs), (nnx, flax_nnx.Sequential(*layers))):
        assert not wing.weights(model)[path].any()
        stepped, _ = wing.step(model, X, TARGETS)
        assert wing.weights(stepped)[path].all()
        moved = wing.weights(stepped)
        wing.call(stepped, X)
        assert_same(wing.weights(stepped), moved)
