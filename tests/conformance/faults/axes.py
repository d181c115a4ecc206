"""Three arrays whose axes have equal lengths, and three ports that hold them in other orders of the axes.

The outputs are linear in each array, so that one used in another order of its axes has its gradient in that order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx

import paritree
from paritree.pairs.maps import MapRow

ORDINARY, SMALL = np.random.default_rng(5).normal(size=(2, 6, 4)).astype(np.float32)
INPUTS = (ORDINARY, SMALL)
SHAPES = {"square": (4, 4), "cube": (4, 4, 4), "kernel": (4, 4, 2, 2)}
LAYOUTS = {"square": "a b -> b a", "cube": "a b c -> c a b", "kernel": "o i h w -> h w i o"}
# How a port's array is seen in the reference's order.
BACK = {"square": (1, 0), "cube": (1, 2, 0), "kernel": (3, 2, 0, 1)}
PORT_SHAPES = {name: tuple(SHAPES[name][axis] for axis in np.argsort(BACK[name])) for name in SHAPES}


def outputs(einsum: Callable[..., Any], arrays: dict[str, Any], x: Any, y: Any) -> dict[str, Any]:
    return {
        "square": einsum("ni,ij->nj", x, arrays["square"]),
        "cube": einsum("ni,nj,ijk->nk", x, y, arrays["cube"]),
        "kernel": einsum("ni,na,nb,ijab->nj", x, x[:, :2], y[:, 2:], arrays["kernel"]),
    }


def drawn(path: str, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(len(path)).normal(size=shape).astype(np.float32)


class Reference(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, shape in SHAPES.items():
            self.register_parameter(name, torch.nn.Parameter(torch.tensor(drawn(name, shape))))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return outputs(torch.einsum, dict(self.named_parameters()), x, y)


class InTorch(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, shape in PORT_SHAPES.items():
            self.register_parameter(name, torch.nn.Parameter(torch.zeros(shape)))

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> dict[str, torch.Tensor]:
        return outputs(
            torch.einsum, {name: self.get_parameter(name).permute(order) for name, order in BACK.items()}, x, y
        )


class InNnx(nnx.Module):
    def __init__(self) -> None:
        self.square, self.cube, self.kernel = (nnx.Param(jnp.zeros(shape)) for shape in PORT_SHAPES.values())

    def __call__(self, x: Any, y: Any) -> dict[str, Any]:
        arrays = {name: jnp.transpose(getattr(self, name)[...], order) for name, order in BACK.items()}
        return outputs(jnp.einsum, arrays, x, y)


class InLinen(linen.Module):
    @linen.compact
    def __call__(self, x: Any, y: Any) -> dict[str, Any]:
        zeros = linen.initializers.zeros
        held = {name: self.param(name, zeros, shape) for name, shape in PORT_SHAPES.items()}
        return outputs(jnp.einsum, {name: jnp.transpose(held[name], order) for name, order in BACK.items()}, x, y)


def in_linen() -> tuple[Any, Any]:
    module = InLinen()
    return module, module.init(jax.random.key(0), *INPUTS)


def linen_train_call(model: Any, inputs: Any) -> Any:
    return model[0].apply(model[1], *inputs), {}


def pair(wing: str) -> paritree.Pair:
    made: dict[str, Callable[[], Any]] = {"torch": InTorch, "nnx": InNnx, "linen": in_linen}
    train = linen_train_call if wing == "linen" else None
    return paritree.Pair(Reference(), made[wing](), INPUTS, port_train_call=train)


def rows(wing: str) -> tuple[MapRow, ...]:
    prefix = "params." if wing == "linen" else ""
    return tuple(
        MapRow(name, prefix + name, shape, PORT_SHAPES[name], LAYOUTS[name], "rule") for name, shape in SHAPES.items()
    )
