"""Right ports of programs that choose: the best experts, the best tokens, one token of attention, and rounded weights.

Where two candidates are equal but for rounding, each framework may choose another one, and neither is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch.nn import functional

import paritree

WIDTH, LENGTH, EXPERTS = 8, 5, 4
LEVELS = 127


class Experts(torch.nn.Module):
    """The best two of four, their shares divided by their sum."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.out = torch.nn.LayerNorm(WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.router = torch.nn.Linear(WIDTH, EXPERTS, bias=False)
        self.up = torch.nn.Parameter(0.3 * torch.randn(EXPERTS, WIDTH, 2 * WIDTH))
        self.down = torch.nn.Parameter(0.3 * torch.randn(EXPERTS, 2 * WIDTH, WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(x)
        best, chosen = self.router(h).softmax(-1).topk(2, -1)
        shares = x.new_zeros(*x.shape[:-1], EXPERTS).scatter(-1, chosen, best / best.sum(-1, keepdim=True))
        inner = functional.gelu(torch.einsum("btd,edf->btef", h, self.up))
        return self.out(x + torch.einsum("bte,btef,efd->btd", shares, inner, self.down))


def experts(
    x: jax.Array, h: jax.Array, router: Callable[[jax.Array], jax.Array], up: jax.Array, down: jax.Array
) -> jax.Array:
    best, chosen = jax.lax.top_k(jax.nn.softmax(router(h), -1), 2)
    shares = (jax.nn.one_hot(chosen, EXPERTS) * (best / best.sum(-1, keepdims=True))[..., None]).sum(-2)
    inner = jax.nn.gelu(jnp.einsum("btd,edf->btef", h, up), approximate=False)
    return x + jnp.einsum("bte,bted->btd", shares, jnp.einsum("btef,efd->bted", inner, down))


class NnxExperts(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.norm = nnx.LayerNorm(WIDTH, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.router = nnx.Linear(WIDTH, EXPERTS, use_bias=False, rngs=rngs)
        self.out = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.up = nnx.Param(0.3 * jax.random.normal(rngs.params(), (EXPERTS, WIDTH, 2 * WIDTH)))
        self.down = nnx.Param(0.3 * jax.random.normal(rngs.params(), (EXPERTS, 2 * WIDTH, WIDTH)))

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.out(experts(x, self.norm(x), self.router, self.up[...], self.down[...]))


class LinenExperts(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        h = linen.LayerNorm(epsilon=1e-5, use_fast_variance=False, name="norm")(x)
        up = self.param("up", linen.initializers.normal(0.3), (EXPERTS, WIDTH, 2 * WIDTH))
        down = self.param("down", linen.initializers.normal(0.3), (EXPERTS, 2 * WIDTH, WIDTH))
        router = linen.Dense(EXPERTS, use_bias=False, name="router")
        return linen.Dense(WIDTH, name="out")(experts(x, h, router, up, down))


class SortedPooling(torch.nn.Module):
    """The best three tokens by their last feature, in that order."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(WIDTH, WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.head = torch.nn.Linear(3 * WIDTH, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.second(torch.tanh(self.first(x)))
        order = h[..., -1].sort(dim=1, descending=True).indices[:, :3]
        return self.head(h.gather(1, order[..., None].expand(-1, -1, WIDTH)).flatten(1))


def sorted_pooling(x: jax.Array, first: Any, second: Any, head: Any) -> jax.Array:
    h = second(jnp.tanh(first(x)))
    order = jnp.argsort(h[..., -1], axis=1, descending=True)[:, :3]
    return head(jnp.take_along_axis(h, order[..., None], 1).reshape(x.shape[0], -1))


class NnxSortedPooling(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first, self.second = nnx.Linear(WIDTH, WIDTH, rngs=rngs), nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.head = nnx.Linear(3 * WIDTH, 4, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return sorted_pooling(x, self.first, self.second, self.head)


class LinenSortedPooling(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        first, second = (linen.Dense(WIDTH, name=name) for name in ("first", "second"))
        return sorted_pooling(x, first, second, linen.Dense(4, name="head"))


class HardAttention(torch.nn.Module):
    """Each token looks at one alone; the gradient is that of the softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (torch.nn.Linear(WIDTH, WIDTH) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shares = (self.q(x) @ self.k(x).mT / WIDTH**0.5).softmax(-1)
        hard = functional.one_hot(shares.argmax(-1), LENGTH).to(x)
        return self.o(x + (hard - shares.detach() + shares) @ self.v(x))


def hard_attention(x: jax.Array, q: Any, k: Any, v: Any, o: Any) -> jax.Array:
    shares = jax.nn.softmax(q(x) @ k(x).swapaxes(-1, -2) / WIDTH**0.5, -1)
    hard = jax.nn.one_hot(shares.argmax(-1), LENGTH, dtype=x.dtype)
    return o(x + (hard - jax.lax.stop_gradient(shares) + shares) @ v(x))


class NnxHardAttention(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.q, self.k, self.v, self.o = (nnx.Linear(WIDTH, WIDTH, rngs=rngs) for _ in range(4))

    def __call__(self, x: jax.Array) -> jax.Array:
        return hard_attention(x, self.q, self.k, self.v, self.o)


class LinenHardAttention(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return hard_attention(x, *(linen.Dense(WIDTH, name=name) for name in "qkvo"))


class Quantized(torch.nn.Module):
    """Weights and activations rounded to eight bits; the gradient goes straight through."""

    def __init__(self) -> None:
        super().__init__()
        self.up, self.down = torch.nn.Linear(WIDTH, 2 * WIDTH), torch.nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = functional.relu(functional.linear(x, self.rounded(self.up.weight, 1), self.up.bias))
        return functional.linear(self.rounded(h, None), self.rounded(self.down.weight, 1), self.down.bias)

    @staticmethod
    def rounded(values: torch.Tensor, axis: int | None) -> torch.Tensor:
        step = (values.detach().abs().amax(axis, True) if axis else values.detach().abs().amax()) / LEVELS
        return values + ((values / step).round() * step - values).detach()


def quantized(x: jax.Array, up: jax.Array, up_bias: jax.Array, down: jax.Array, down_bias: jax.Array) -> jax.Array:
    def rounded(values: jax.Array, axis: int | None) -> jax.Array:
        step = jax.lax.stop_gradient(jnp.abs(values)).max(axis, keepdims=True) / LEVELS
        return values + jax.lax.stop_gradient(jnp.round(values / step) * step - values)

    h = jax.nn.relu(x @ rounded(up, 0) + up_bias)
    return rounded(h, None) @ rounded(down, 0) + down_bias


class NnxQuantized(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.up, self.down = nnx.Linear(WIDTH, 2 * WIDTH, rngs=rngs), nnx.Linear(2 * WIDTH, WIDTH, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return quantized(x, *(array[...] for each in (self.up, self.down) for array in (each.kernel, each.bias)))


class LinenQuantized(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, zeros = linen.initializers.lecun_normal(), linen.initializers.zeros
        up = self.param("up", kernel, (WIDTH, 2 * WIDTH)), self.param("up_bias", zeros, (2 * WIDTH,))
        down = self.param("down", kernel, (2 * WIDTH, WIDTH)), self.param("down_bias", zeros, (WIDTH,))
        return quantized(x, *up, *down)


KINDS: dict[str, tuple[Callable[[], torch.nn.Module], Callable[[nnx.Rngs], nnx.Module], Callable[[], linen.Module]]] = {
    "experts": (Experts, NnxExperts, LinenExperts),
    "sorted pooling": (SortedPooling, NnxSortedPooling, LinenSortedPooling),
    "hard attention": (HardAttention, NnxHardAttention, LinenHardAttention),
    "quantized": (Quantized, NnxQuantized, LinenQuantized),
}


def pair(kind: str, wing: str, seed: int) -> paritree.Pair:
    of_torch, of_nnx, of_linen = KINDS[kind]
    torch.manual_seed(seed)
    x = np.random.default_rng(seed).normal(size=(3, LENGTH, WIDTH)).astype(np.float32)
    if wing == "nnx":
        return paritree.Pair(of_torch(), of_nnx(nnx.Rngs(seed)), (x,))
    module = of_linen()
    return paritree.Pair(of_torch(), (module, module.init(jax.random.key(seed), x)), (x,))
