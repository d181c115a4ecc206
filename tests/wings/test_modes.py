"""What a call must leave as it was: modes, `.grad`, what is frozen; also when the call fails."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

from paritree import impl_torch
from paritree.impl_jax import nnx as impl_nnx

X = (np.ones((4, 3), np.float32),)
ONES = np.ones((4, 3), np.float32)
WORK = ("call", "value_and_gradients", "site_gradients")


def run(wing: Any, work: str, model: Any, inputs: tuple[np.ndarray, ...] = X) -> Any:
    return getattr(wing, work)(model, inputs, *([ONES] if work != "call" else []))


class Fragile(nn.Module):
    """Fails on an input of width 2, with a module in each mode."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5)).eval()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.frozen(x))


@pytest.mark.parametrize("width", [3, 2])
@pytest.mark.parametrize("work", WORK)
def test_torch_puts_each_modules_mode_back(work: str, width: int) -> None:
    model = Fragile()
    modes = {name: module.training for name, module in model.named_modules()}
    assert set(modes.values()) == {True, False}
    state = {name: array.clone() for name, array in model.state_dict().items()}
    inputs = (np.ones((4, width), np.float32),)
    if width == 2:
        with pytest.raises(RuntimeError, match="mat1 and mat2 shapes cannot be multiplied"):
            run(impl_torch, work, model, inputs)
    else:
        run(impl_torch, work, model, inputs)
    assert {name: module.training for name, module in model.named_modules()} == modes
    # In inference mode the running statistics stay as they are.
    assert all(torch.equal(array, state[name]) for name, array in model.state_dict().items())


def test_torch_leaves_grad_and_requires_grad_alone() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].weight.requires_grad_(False)
    model[1].bias.grad = torch.full((3,), 7.0)
    _, gradients = impl_torch.value_and_gradients(model, X, ONES)
    sites = impl_torch.site_gradients(model, X, ONES)
    assert not model[0].weight.requires_grad
    assert model[0].weight.grad is None
    assert model[1].bias.grad.tolist() == [7, 7, 7]
    # A frozen parameter has a gradient all the same, as it has in the wings that know no freezing.
    free = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    free.load_state_dict(model.state_dict())
    expected = impl_torch.value_and_gradients(free, X, ONES)[1]
    np.testing.assert_array_equal(gradients["0.weight"], expected["0.weight"])
    np.testing.assert_array_equal(sites["0.weight"][0].gradient, expected["0.weight"])
    assert np.abs(expected["0.weight"]).max() > 0


def test_torch_gives_gradients_where_they_are_switched_off() -> None:
    model = nn.Sequential(nn.Linear(3, 3))
    expected = impl_torch.value_and_gradients(model, X, ONES)[1]
    with torch.no_grad():
        found = impl_torch.value_and_gradients(model, X, ONES)[1]
        sites = impl_torch.site_gradients(model, X, ONES)
    np.testing.assert_array_equal(found["0.weight"], expected["0.weight"])
    np.testing.assert_array_equal(sites["0.weight"][0].gradient, expected["0.weight"])


class FragileNnx(nnx.Module):
    """Fails on an input of width 2, with a module in each mode."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.linear = nnx.Linear(3, 3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.norm.use_running_average = True

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.dropout(self.linear(x)))


@pytest.mark.parametrize("width", [3, 2])
@pytest.mark.parametrize("work", WORK)
def test_nnx_puts_each_modules_mode_back(work: str, width: int) -> None:
    model = FragileNnx()
    model.norm.mean[...] = jnp.full(3, 5.0)
    inputs = (np.ones((4, width), np.float32),)
    if width == 2:
        with pytest.raises(TypeError, match="dot_general"):
            run(impl_nnx, work, model, inputs)
    else:
        run(impl_nnx, work, model, inputs)
    assert model.dropout.deterministic is False
    assert model.norm.use_running_average is True
    assert model.dropout.rngs.count[...] == 0
    assert model.norm.mean[...].tolist() == [5, 5, 5]


@pytest.mark.parametrize("model", [Fragile(), FragileNnx()], ids=["torch", "nnx"])
def test_a_call_is_in_inference_mode(model: Any) -> None:
    wing = impl_torch if isinstance(model, nn.Module) else impl_nnx
    np.testing.assert_array_equal(wing.call(model, X), wing.call(model, X))
