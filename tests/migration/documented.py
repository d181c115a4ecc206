"""Ports built the way Flax's own guides and examples build models, of torch models that were not made for them.

Each differs from its reference as a port by hand does: fused projections are split into heads or the other way round,
gates have one bias in place of two, scales are stored less one, images lie with their channels last.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn

from paritree import Pair

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

_random = np.random.default_rng(0)
TOKENS = _random.integers(3, 32, (2, 7)).astype(np.int32)
ANSWER = _random.integers(3, 32, (2, 5)).astype(np.int32)
IMAGES = _random.normal(size=(2, 1, 8, 8)).astype(np.float32)
NOISE = _random.normal(size=(2, 3)).astype(np.float32)

WORDS, WIDTH, HEADS, GROUPS, INNER, LAYERS = 32, 16, 4, 2, 24, 2


class AttentionLayer(linen.Module):
    """A layer of GPT-2's kind around Flax's own attention, whose kernels have an axis for the heads."""

    @linen.compact
    def __call__(self, x: Any, mask: Any) -> Any:
        y = linen.LayerNorm(epsilon=1e-5)(x)
        x = x + linen.MultiHeadDotProductAttention(num_heads=HEADS)(y, mask=mask)
        y = linen.LayerNorm(epsilon=1e-5)(x)
        y = linen.Dense(WIDTH)(linen.gelu(linen.Dense(INNER)(y), approximate=True))
        return x + y


class AttentionModel(linen.Module):
    """GPT-2 as one writes it in Linen: no fused projection, layers scanned or one by one, the tie by `attend`."""

    scanned: bool = False

    @linen.compact
    def __call__(self, tokens: Any) -> Any:
        words = linen.Embed(WORDS, WIDTH, name="words")
        places = self.param("places", linen.initializers.normal(0.02), (1, 16, WIDTH))
        x = words(tokens) + places[:, : tokens.shape[1]]
        mask = linen.make_causal_mask(tokens)
        if self.scanned:
            layers = linen.scan(
                lambda layer, x, _: (layer(x, mask), None),
                variable_axes={"params": 0},
                split_rngs={"params": True},
                length=LAYERS,
            )
            x, _ = layers(AttentionLayer(name="layers"), x, None)
        else:
            for _ in range(LAYERS):
                x = AttentionLayer()(x, mask)
        return words.attend(linen.LayerNorm(epsilon=1e-5)(x))


def _gpt2(scanned: bool) -> Pair:
    settings = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "n_inner": INNER}
    reference = _transformer("GPT2LMHeadModel", "GPT2Config", **settings, vocab_size=WORDS, n_positions=16)
    return Pair(reference, _linen(AttentionModel(scanned), TOKENS), (TOKENS,), _logits)


class Einsum(nnx.Module):
    """A kernel with the axes that its equation names."""

    def __init__(self, equation: str, shape: tuple[int, ...], rngs: nnx.Rngs) -> None:
        self.equation = equation
        self.w = nnx.Param(0.1 * jax.random.normal(rngs.params(), shape))

    def __call__(self, x: Any) -> Any:
        return jnp.einsum(self.equation, x, self.w[...])


class ScaleNorm(nnx.Module):
    """A root mean square norm that stores its scale less one."""

    def __init__(self, features: int) -> None:
        self.scale = nnx.Param(jnp.zeros(features))

    def __call__(self, x: Any) -> Any:
        return x * jax.lax.rsqrt((x**2).mean(-1, keepdims=True) + 1e-6) * (1 + self.scale[...])


def rotated(x: Any) -> Any:
    """Positions as rotations of the first half of each head's features with the second."""
    half = x.shape[-1] // 2
    angles = jnp.arange(x.shape[1])[:, None] / 10000 ** (jnp.arange(half) / half)
    sines, cosines = jnp.sin(angles)[:, None], jnp.cos(angles)[:, None]
    first, second = x[..., :half], x[..., half:]
    return jnp.concatenate([first * cosines - second * sines, second * cosines + first * sines], -1)


class GroupedLayer(nnx.Module):
    """A layer of Gemma's kind: kernels (heads, in, head), keys and values in one, gate and up in one."""

    def __init__(self, head: int, rngs: nnx.Rngs) -> None:
        self.norm1, self.norm2 = ScaleNorm(WIDTH), ScaleNorm(WIDTH)
        self.q_einsum = Einsum("btd,ndh->btnh", (HEADS, WIDTH, head), rngs)
        self.kv_einsum = Einsum("btd,ckdh->cbtkh", (2, GROUPS, WIDTH, head), rngs)
        self.out_einsum = Einsum("btnh,nhd->btd", (HEADS, head, WIDTH), rngs)
        self.gating = Einsum("btd,cdf->cbtf", (2, WIDTH, INNER), rngs)
        self.linear = Einsum("btf,fd->btd", (INNER, WIDTH), rngs)

    def __call__(self, x: Any) -> Any:
        y = self.norm1(x)
        query, (key, value) = rotated(self.q_einsum(y)), self.kv_einsum(y)
        key, value = (jnp.repeat(each, HEADS // GROUPS, axis=2) for each in (rotated(key), value))
        x = x + self.out_einsum(jax.nn.dot_product_attention(query, key, value, is_causal=True))
        gate, up = self.gating(self.norm2(x))
        return x + self.linear(jax.nn.gelu(gate, approximate=True) * up)


class GroupedModel(nnx.Module):
    """Gemma with the kernels of Flax's example: embeddings scaled by the root of the width, and tied."""

    def __init__(self, head: int, rngs: nnx.Rngs) -> None:
        self.embedding = nnx.Param(jax.random.normal(rngs.params(), (WORDS, WIDTH)))
        self.layers = nnx.List([GroupedLayer(head, rngs) for _ in range(LAYERS)])
        self.norm = ScaleNorm(WIDTH)

    def __call__(self, tokens: Any) -> Any:
        x = self.embedding[...][tokens] * math.sqrt(WIDTH)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x) @ self.embedding[...].T


def _gemma(head: int = 6) -> Pair:
    settings = {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "intermediate_size": INNER, "vocab_size": WORDS}
    settings |= {"num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "head_dim": head, "pad_token_id": 0}
    reference = _transformer("GemmaForCausalLM", "GemmaConfig", **settings)
    return Pair(reference, GroupedModel(head, nnx.Rngs(1)), (TOKENS,), _logits)


class TorchTranslator(nn.Module):
    """Two LSTMs, the second of which begins in the state in which the first ends."""

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = nn.Embedding(WORDS, 6), nn.Embedding(WORDS, 6)
        self.encoder, self.decoder = (nn.LSTM(6, WIDTH, batch_first=True) for _ in range(2))
        self.head = nn.Linear(WIDTH, WORDS)

    def forward(self, source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        _, state = self.encoder(self.source(source))
        return self.head(self.decoder(self.target(target), state)[0])


class Translator(linen.Module):
    """The same with Flax's cells, whose gates are apart and have one bias each."""

    @linen.compact
    def __call__(self, source: Any, target: Any) -> Any:
        encoder = linen.RNN(linen.OptimizedLSTMCell(WIDTH), return_carry=True, name="encoder")
        decoder = linen.RNN(linen.OptimizedLSTMCell(WIDTH), name="decoder")
        state, _ = encoder(linen.Embed(WORDS, 6)(source))
        return linen.Dense(WORDS)(decoder(linen.Embed(WORDS, 6)(target), initial_carry=state))


def _translator() -> Pair:
    torch.manual_seed(0)
    return Pair(TorchTranslator().eval(), _linen(Translator(), TOKENS, ANSWER), (TOKENS, ANSWER))


class TorchAutoencoder(nn.Module):
    """A variational autoencoder of images, its noise given."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.Conv2d(1, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU(), nn.Flatten()
        )
        self.mean, self.spread = nn.Linear(24, 3), nn.Linear(24, 3)
        self.inner = nn.Linear(3, 24)
        self.up = nn.Sequential(nn.ConvTranspose2d(6, 4, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(4, 1, 4, 2, 1))

    def forward(self, images: torch.Tensor, noise: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.down(images)
        mean, spread = self.mean(hidden), self.spread(hidden)
        code = mean + noise * torch.exp(0.5 * spread)
        return {"images": self.up(self.inner(code).relu().view(-1, 6, 2, 2)), "mean": mean, "spread": spread}


class Autoencoder(linen.Module):
    """The same with channels last, so that what is flattened lies in another order; mean and spread from one layer."""

    @linen.compact
    def __call__(self, images: Any, noise: Any) -> Any:
        x = images.transpose(0, 2, 3, 1)
        for features in (4, 6):
            x = linen.relu(linen.Conv(features, (3, 3), (2, 2), padding=1)(x))
        mean, spread = jnp.split(linen.Dense(6)(x.reshape(x.shape[0], -1)), 2, axis=-1)
        code = mean + noise * jnp.exp(0.5 * spread)
        x = linen.relu(linen.Dense(24)(code)).reshape(-1, 2, 2, 6)
        x = linen.relu(linen.ConvTranspose(4, (4, 4), (2, 2), padding=2, transpose_kernel=True)(x))
        x = linen.ConvTranspose(1, (4, 4), (2, 2), padding=2, transpose_kernel=True)(x)
        return {"images": x.transpose(0, 3, 1, 2), "mean": mean, "spread": spread}


def _autoencoder() -> Pair:
    torch.manual_seed(0)
    return Pair(TorchAutoencoder().eval(), _linen(Autoencoder(), IMAGES, NOISE), (IMAGES, NOISE))


def _linen(module: linen.Module, *inputs: np.ndarray) -> Any:
    return module, module.init(jax.random.key(1), *inputs)


def _transformer(model: str, config: str, **settings: Any) -> nn.Module:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(transformers, model)(getattr(transformers, config)(**settings)).eval()


def _logits(model: Any, inputs: Any) -> Any:
    return model(inputs[0].long()).logits


DOCUMENTED: dict[str, Callable[[], Pair]] = {
    "autoencoder": _autoencoder,
    "gemma-einsum": _gemma,
    "gpt2-heads": lambda: _gpt2(scanned=False),
    "gpt2-scanned": lambda: _gpt2(scanned=True),
    "translator": _translator,
}


def build(name: str) -> Pair:
    """The pair of that name."""
    return DOCUMENTED[name]()
