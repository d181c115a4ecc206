"""Right outputs and wrong gradients: the map is told by the outputs, and the gradients fail where they are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

import paritree
from paritree import AlignmentError, Pair

D, HEADS, LAYERS = 8, 2, 2
X = np.random.default_rng(0).normal(size=(2, 5, D)).astype(np.float32)


class TorchBlock(torch.nn.Module):
    def __init__(self, stopped: str) -> None:
        super().__init__()
        self.stopped, self.ln = stopped, torch.nn.LayerNorm(D)
        self.q, self.k, self.v, self.o = (torch.nn.Linear(D, D) for _ in range(4))
        self.up, self.down = torch.nn.Linear(D, 2 * D), torch.nn.Linear(2 * D, D)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.ln(x)
        q, k, v = (each(y).unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in (self.q, self.k, self.v))
        v = v.detach() if self.stopped == "v" else v
        mixed = torch.nn.functional.scaled_dot_product_attention(q, k, v)
        x = x + self.o(mixed.transpose(1, 2).flatten(2))
        return x + self.down(torch.tanh(self.up(x)))


class Torch(torch.nn.Module):
    def __init__(self, stopped: str = "") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = torch.nn.ModuleList(TorchBlock(stopped) for _ in range(LAYERS))
        self.head = torch.nn.Linear(D, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return self.head(x)


@jax.custom_vjp
def hand_written(x: jax.Array) -> jax.Array:
    return jnp.tanh(x)


# The slope of tanh is 1 - tanh(x)^2.
hand_written.defvjp(lambda x: (jnp.tanh(x), x), lambda x, given: (given * (1 - jnp.tanh(x)),))


def block(fault: str, x: Any, y: Any, layers: dict[str, Callable[[Any], Any]]) -> Any:
    q, k, v = (layers[name](y).reshape(*x.shape[:2], HEADS, -1) for name in ("query", "key", "value"))
    v = jax.lax.stop_gradient(v) if fault == "v" else v
    weights = jax.nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", q, k) / (D // HEADS) ** 0.5, -1)
    x = x + layers["out"](jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(x.shape))
    hidden = (hand_written if fault == "tanh" else jnp.tanh)(layers["fc1"](x))
    return x + layers["fc2"](jax.lax.stop_gradient(hidden) if fault == "hidden" else hidden)


WIDTHS = {"query": D, "key": D, "value": D, "out": D, "fc1": 2 * D, "fc2": D}


class NnxBlock(nnx.Module):
    def __init__(self, fault: str, rngs: nnx.Rngs) -> None:
        self.fault, self.ln = fault, nnx.LayerNorm(D, epsilon=1e-5, rngs=rngs)
        for name, width in WIDTHS.items():
            setattr(self, name, nnx.Linear(2 * D if name == "fc2" else D, width, rngs=rngs))

    def __call__(self, x: jax.Array) -> jax.Array:
        return block(self.fault, x, self.ln(x), {name: getattr(self, name) for name in WIDTHS})


class Nnx(nnx.Module):
    def __init__(self, fault: str = "") -> None:
        rngs = nnx.Rngs(0)
        self.blocks = nnx.List([NnxBlock(fault, rngs) for _ in range(LAYERS)])
        self.head = nnx.Linear(D, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        for each in self.blocks:
            x = each(x)
        return self.head(x)


class Linen(linen.Module):
    fault: str

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in range(LAYERS):
            y = linen.LayerNorm(epsilon=1e-5, name=f"ln_{layer}")(x)
            x = block(
                self.fault, x, y, {name: linen.Dense(width, name=f"{name}_{layer}") for name, width in WIDTHS.items()}
            )
        return linen.Dense(3, name="head")(x)


def linen_model(fault: str) -> Any:
    module = Linen(fault)
    return module, module.init(jax.random.key(0), X)


def bare(fault: str) -> Pair:
    module, tree = linen_model(fault)
    return Pair(Torch(), dict(tree), (X,), port_call=lambda tree, inputs: module.apply(tree, inputs[0]))


PAIRS: dict[str, tuple[Callable[[], Pair], str]] = {
    "values that are stopped, nnx": (lambda: Pair(Torch(), Nnx("v"), (X,)), "'blocks.1.v'"),
    "values that are stopped, torch": (lambda: Pair(Nnx(), Torch("v"), (X,)), "'blocks.1.value'"),
    "a backward of its own, linen": (lambda: Pair(Torch(), linen_model("tanh"), (X,)), "'blocks.1.up'"),
    "a hidden layer that is stopped, bare": (lambda: bare("hidden"), "'blocks.1.up'"),
}


@pytest.mark.parametrize("name", PAIRS)
def test_the_map_does_not_need_the_gradients_that_are_wrong(name: str) -> None:
    make, module = PAIRS[name]
    pair = make()
    with pytest.raises(AlignmentError, match=r"expected gradients that agree within .* where the outputs do") as raised:
        paritree.align(pair)
    found = raised.value.found_map
    assert found is not None
    assert (found.verified, found.coverage) == (False, 1.0)
    assert "a backward of its own, or one that is stopped" in str(raised.value)
    report = paritree.check(pair, contracts=("forward", "gradients"), devices=("cpu",))
    assert {failure.contract for failure in report.failures} == {"gradients"}
    assert {failure.module.split(" = ")[0] for failure in report.failures} == {module}
