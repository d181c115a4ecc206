"""Drawing a model's parameters against the framework's own initializers on the same shapes."""

from __future__ import annotations

from collections.abc import Callable

import jax
import torch

from paritree import initializers as init
from paritree.common.layers import Linear
from paritree.common.spec import expansion
from paritree.impl_jax import draws
from paritree.impl_torch import initialization

from .measure import Action, ratio, row

SHAPE = (1024, 1024)
TORCH: dict[str, tuple[init.Initializer, Callable[[torch.Tensor], object]]] = {
    "uniform": (init.Uniform(-0.1, 0.1), lambda tensor: torch.nn.init.uniform_(tensor, -0.1, 0.1)),
    "normal": (init.Normal(0.0, 0.02), lambda tensor: torch.nn.init.normal_(tensor, 0.0, 0.02)),
    "xavier uniform": (init.Xavier(), torch.nn.init.xavier_uniform_),
    "kaiming normal": (init.Kaiming("normal"), torch.nn.init.kaiming_normal_),
    "truncated normal": (init.TruncatedNormal(std=0.02), lambda tensor: torch.nn.init.trunc_normal_(tensor, std=0.02)),
}
JAX = {
    "normal": (init.Normal(0.0, 0.02), jax.nn.initializers.normal(0.02)),
    "glorot uniform": (init.Xavier(), jax.nn.initializers.glorot_uniform()),
    "he normal": (init.Kaiming("truncated_normal"), jax.nn.initializers.he_normal()),
    "lecun normal": (init.LeCun(), jax.nn.initializers.lecun_normal()),
}


def our_torch(initializer: init.Initializer) -> Action:
    tensor = torch.empty(SHAPE)
    return lambda: initialization.fill(tensor, initializer, 0, "weight")


def our_jax(initializer: init.Initializer) -> Action:
    """As a wing draws a kernel: by path, in the native layout."""
    row = expansion.table_of(Linear(SHAPE[1], SHAPE[0], weight_init=initializer))["weight"]
    layout = draws.layout_of(row)

    def draw() -> jax.Array:
        key = draws.path_key(0, row.path)
        return jax.block_until_ready(draws.draw_native(key, initializer, row.sizes, layout, row.dtype))

    return draw


def their_jax(initializer: Callable[..., jax.Array]) -> Action:
    return lambda: jax.block_until_ready(initializer(jax.random.key(0), SHAPE[::-1]))


def main() -> None:
    print(f"Drawing a parameter of shape {SHAPE} by path over the framework's own initializer")
    for name, (initializer, native) in TORCH.items():
        tensor = torch.empty(SHAPE)
        theirs = lambda native=native, tensor=tensor: native(tensor)  # noqa: E731
        row(f"torch, {name}", ratio(our_torch(initializer), theirs))
    for name, (initializer, function) in JAX.items():
        row(f"linen and nnx, {name}", ratio(our_jax(initializer), their_jax(function)))
