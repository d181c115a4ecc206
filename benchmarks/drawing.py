"""Drawing a model's parameters against the framework's own initializers on the same shapes."""

from __future__ import annotations

from collections.abc import Callable

import jax
import torch

from paritree import initializers as init
from paritree.common.draws import STREAMS, Stream
from paritree.common.layers import Linear
from paritree.common.spec import expansion
from paritree.impl_jax import draws
from paritree.impl_torch import initialization

from .measure import Action, ratio, row, seconds

SHAPE = (1024, 1024)
MANY = (4096, 4096)
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


def our_torch(initializer: init.Initializer, stream: Stream, shape: tuple[int, int] = SHAPE) -> Action:
    tensor = torch.empty(shape)
    return lambda: initialization.fill(tensor, initializer, 0, "weight", stream)


def our_jax(initializer: init.Initializer, stream: Stream, shape: tuple[int, int] = SHAPE) -> Action:
    """As a wing draws a kernel: by path, in the native layout."""
    row = expansion.table_of(Linear(shape[1], shape[0], weight_init=initializer))["weight"]
    layout = draws.layout_of(row)

    def draw() -> jax.Array:
        return jax.block_until_ready(draws.drawn_row(stream, 0, row.path, initializer, row.sizes, layout, row.dtype))

    return draw


def their_jax(initializer: Callable[..., jax.Array], shape: tuple[int, int] = SHAPE) -> Action:
    # Compiled as a whole, as ours is.
    compiled = jax.jit(initializer, static_argnums=1)
    return lambda: jax.block_until_ready(compiled(jax.random.key(0), shape[::-1]))


def many(name: str, ours: Action, theirs: Action) -> None:
    """Normal values of a large parameter: how many a second at best, and the time over the framework's own."""
    ours()
    rate = MANY[0] * MANY[1] / min(seconds(ours) for _ in range(9)) / 1e6
    row(f"{name}, normal, {MANY}", f"{rate:.0f} million a second; {ratio(ours, theirs, 9)}")


def main() -> None:
    for stream in STREAMS:
        print(f"Drawing a parameter of shape {SHAPE} by path, {stream} stream, over the framework's own initializer")
        for name, (initializer, native) in TORCH.items():
            tensor = torch.empty(SHAPE)
            theirs = lambda native=native, tensor=tensor: native(tensor)  # noqa: E731
            row(f"torch, {name}", ratio(our_torch(initializer, stream), theirs))
        for name, (initializer, function) in JAX.items():
            row(f"linen and nnx, {name}", ratio(our_jax(initializer, stream), their_jax(function)))
    print("Portable normal values, expected at least 25 million a second on two cores, in at most 4 times their time")
    normal, tensor = init.Normal(0.0, 0.02), torch.empty(MANY)
    many("torch", our_torch(normal, "portable", MANY), lambda: torch.nn.init.normal_(tensor, 0.0, 0.02))
    many("linen and nnx", our_jax(normal, "portable", MANY), their_jax(jax.nn.initializers.normal(0.02), MANY))
