"""A small decoder with a tied head in torch, ports of it to NNX and Linen, and what goes wrong in porting one.

The ports are one program over two sets of modules, with names of their own. What a port does is told by `Ways`; a
mutant does one thing in another way, in its second block if it is one of a block's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F

import paritree

from .frame import Clean, Mutant
from .parts import drawn_normal, identity, in_dtype, scaled_gradient

WIDTH, HEADS, WORDS, PLACES, INNER, LAYERS = 8, 2, 13, 7, 16, 2
CAP = 30.0
STD = 0.3
TOKENS = np.array([[3, 0, 12, 7, 7], [1, 5, 9, 11, 2]], np.int32)


class SelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fused, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = [each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in self.fused(x).chunk(3, -1)]
        scores = parts[0] @ parts[1].transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        shown = torch.ones(scores.shape[-2:], dtype=torch.bool, device=x.device).tril()
        mixed = scores.masked_fill(~shown, -1e9).softmax(-1) @ parts[2]
        return self.out(mixed.transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attention, self.norm2 = nn.LayerNorm(WIDTH), SelfAttention(), nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, INNER), nn.Linear(INNER, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(WORDS, WIDTH), nn.Embedding(PLACES, WIDTH)
        self.layers = nn.ModuleList([Layer() for _ in range(LAYERS)])
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.words.weight

    def forward(self, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.words(tokens) + self.places(torch.arange(tokens.shape[-1], device=tokens.device))
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        return {"logits": CAP * torch.tanh(self.head(x) / CAP), "hidden": x}


def exact_gelu(x: Any) -> Any:
    return jax.nn.gelu(x, approximate=False)


def chunked(x: Any) -> list[Any]:
    """The query, key and value of each head: (batch, head, position, feature)."""
    return [each.reshape(*each.shape[:2], HEADS, -1).swapaxes(1, 2) for each in jnp.split(x, 3, -1)]


def causal(length: int) -> Any:
    return jnp.tri(length, dtype=bool)


def merged(mixed: Any) -> Any:
    """Heads beside each other: (batch, position, width)."""
    mixed = mixed.swapaxes(1, 2)
    return mixed.reshape(*mixed.shape[:2], -1)


def pre_norm(block: Any, x: Any, ways: Ways) -> Any:
    x = x + block.att(block.ln_a(x))
    return x + block.feed(block.ln_b(x))


def head_of(model: Any, x: Any) -> Any:
    return model.tok.attend(x)


def looked_up(model: Any, tokens: Any) -> Any:
    return model.tok(tokens)


@dataclass(frozen=True)
class Ways:
    """What the port does and how; by default as the reference does.

    Of the blocks the second alone is told: parts, scale, shown, axis, merge, project of its attention, act, between
    and down of its feed-forward part, block of how these are put together.
    """

    eps: float = 1e-5
    last_eps: float = 1e-5
    parts: Callable[[Any], list[Any]] = chunked
    scale: float = 1 / math.sqrt(WIDTH // HEADS)
    shown: Callable[[int], Any] = causal
    axis: int = -1
    merge: Callable[[Any], Any] = merged
    project: Callable[[Any, Any], Any] = lambda layer, x: layer(x)
    mixed: Callable[[Any], Any] = identity
    act: Callable[[Any], Any] = exact_gelu
    inner: Callable[[Any], Any] = identity
    down: Callable[[Any, Any], Any] = lambda layer, x: layer(x)
    block: Callable[[Any, Any, Ways], Any] = pre_norm
    words: Callable[[Any, Any], Any] = looked_up
    places: Callable[[int], Any] = jnp.arange
    order: tuple[int, ...] = (0, 1)
    head: Callable[[Any, Any], Any] = head_of
    capped: Callable[[Any], Any] = lambda x: CAP * jnp.tanh(x / CAP)
    outputs: Callable[[dict[str, Any]], dict[str, Any]] = identity
    tie: str = "shared"
    frozen: str = ""


USUAL = Ways()


def attended(module: Any, x: Any) -> Any:
    ways = module.ways
    query, key, value = ways.parts(module.qkv(x))
    scores = query @ key.swapaxes(-1, -2) * ways.scale
    scores = jnp.where(ways.shown(scores.shape[-1]), scores, -1e9)
    mixed = ways.mixed(jax.nn.softmax(scores, ways.axis) @ value)
    return ways.project(module.proj, ways.merge(mixed))


def fed(module: Any, x: Any) -> Any:
    return module.ways.down(module.back, module.ways.inner(module.ways.act(module.fc(x))))


def decoded(model: Any, tokens: Any) -> dict[str, Any]:
    ways = model.ways
    x = ways.words(model, tokens) + model.pos(ways.places(tokens.shape[-1]))
    for number in ways.order:
        x = model.blocks[number](x)
    before, x = x, model.ln_out(x)
    return ways.outputs({"logits": ways.capped(ways.head(model, x)), "hidden": x, "before": before})


class NnxAttention(nnx.Module):
    def __init__(self, ways: Ways, rngs: nnx.Rngs) -> None:
        self.ways = ways
        init = nnx.initializers.normal(STD)
        self.qkv = nnx.Linear(WIDTH, 3 * WIDTH, kernel_init=init, rngs=rngs)
        self.proj = nnx.Linear(WIDTH, WIDTH, kernel_init=init, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return attended(self, x)


class NnxFeed(nnx.Module):
    def __init__(self, ways: Ways, rngs: nnx.Rngs) -> None:
        self.ways = ways
        init = nnx.initializers.normal(STD)
        self.fc = nnx.Linear(WIDTH, INNER, kernel_init=init, rngs=rngs)
        self.back = nnx.Linear(INNER, WIDTH, kernel_init=init, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return fed(self, x)


class NnxBlock(nnx.Module):
    def __init__(self, ways: Ways, rngs: nnx.Rngs) -> None:
        self.ways = ways
        self.ln_a = nnx.LayerNorm(WIDTH, epsilon=ways.eps, use_fast_variance=False, rngs=rngs)
        self.ln_b = nnx.LayerNorm(WIDTH, epsilon=1e-5, use_fast_variance=False, rngs=rngs)
        self.att, self.feed = NnxAttention(ways, rngs), NnxFeed(ways, rngs)

    def __call__(self, x: Any) -> Any:
        return self.ways.block(self, x, self.ways)


class NnxDecoder(nnx.Module):
    """The head is an embedding of its own, whose table is that of the words."""

    def __init__(self, ways: Ways, rngs: nnx.Rngs) -> None:
        self.ways = ways
        init = nnx.initializers.normal(STD)
        self.tok = nnx.Embed(WORDS, WIDTH, embedding_init=init, rngs=rngs)
        self.pos = nnx.Embed(PLACES, WIDTH, embedding_init=init, rngs=rngs)
        self.blocks = nnx.List([NnxBlock(each, rngs) for each in (USUAL, ways)])
        self.ln_out = nnx.LayerNorm(WIDTH, epsilon=ways.last_eps, use_fast_variance=False, rngs=rngs)
        self.out = nnx.Embed(WORDS, WIDTH, embedding_init=init, rngs=rngs)
        if ways.tie != "lost":
            self.out.embedding = self.tok.embedding
        if ways.tie == "too many":
            self.blocks[1].ln_b = self.blocks[0].ln_b
        if ways.frozen:
            block = self.blocks[1]
            block.ln_b.scale = nnx.Variable(block.ln_b.scale[...])

    def __call__(self, tokens: Any) -> dict[str, Any]:
        return decoded(self, tokens)


class LinenAttention(linen.Module):
    ways: Ways

    def setup(self) -> None:
        init = linen.initializers.normal(STD)
        self.qkv, self.proj = linen.Dense(3 * WIDTH, kernel_init=init), linen.Dense(WIDTH, kernel_init=init)

    def __call__(self, x: Any) -> Any:
        return attended(self, x)


class LinenFeed(linen.Module):
    ways: Ways

    def setup(self) -> None:
        init = linen.initializers.normal(STD)
        self.fc, self.back = linen.Dense(INNER, kernel_init=init), linen.Dense(WIDTH, kernel_init=init)

    def __call__(self, x: Any) -> Any:
        return fed(self, x)


class LinenBlock(linen.Module):
    ways: Ways

    def setup(self) -> None:
        self.ln_a = linen.LayerNorm(epsilon=self.ways.eps, use_fast_variance=False)
        self.ln_b = linen.LayerNorm(epsilon=1e-5, use_fast_variance=False)
        self.att, self.feed = LinenAttention(self.ways), LinenFeed(self.ways)

    def __call__(self, x: Any) -> Any:
        return self.ways.block(self, x, self.ways)


class LinenDecoder(linen.Module):
    """The head is the table of the words, used a second time."""

    ways: Ways

    def setup(self) -> None:
        init = linen.initializers.normal(STD)
        self.tok = linen.Embed(WORDS, WIDTH, embedding_init=init)
        self.pos = linen.Embed(PLACES, WIDTH, embedding_init=init)
        self.blocks = [LinenBlock(each) for each in (USUAL, self.ways)]
        self.ln_out = linen.LayerNorm(epsilon=self.ways.last_eps, use_fast_variance=False)
        if self.ways.tie == "lost":
            self.out = linen.Embed(WORDS, WIDTH, embedding_init=init)

    def __call__(self, tokens: Any) -> dict[str, Any]:
        return decoded(self, tokens)


def reference(seed: int) -> Decoder:
    return drawn_normal(Decoder(), STD, seed)


def in_nnx(ways: Ways = USUAL) -> paritree.Pair:
    """The pair whose port is NNX's; there the head's table is a Variable that two modules hold."""
    ways = replace(ways, head=_through_out) if ways.head is head_of else ways
    return paritree.Pair(reference, lambda seed: NnxDecoder(ways, nnx.Rngs(seed)), (TOKENS,), None, _nnx_call)


def in_linen(ways: Ways = USUAL) -> paritree.Pair:
    module = LinenDecoder(ways)

    def port(seed: int) -> Any:
        return module, module.init(jax.random.key(seed), TOKENS)

    return paritree.Pair(reference, port, (TOKENS,), None, _linen_call, None, _linen_train_call)


def _through_out(model: Any, x: Any) -> Any:
    return model.out.attend(x)


def _told(outputs: dict[str, Any]) -> dict[str, Any]:
    return {name: outputs[name] for name in ("logits", "hidden")}


def _nnx_call(model: Any, inputs: Any) -> Any:
    return _told(model(*inputs))


def _linen_call(model: Any, inputs: Any) -> Any:
    return _told(model[0].apply(model[1], *inputs))


def _linen_train_call(model: Any, inputs: Any) -> Any:
    return _linen_call(model, inputs), {}


NNX, LINEN = "decoder in NNX", "decoder in Linen"
PAIRS = {NNX: in_nnx, LINEN: in_linen}
CLEAN = [Clean(name, pair) for name, pair in PAIRS.items()]


def planted(
    name: str,
    clean: str,
    ways: Ways,
    module: str,
    *causes: str,
    trap: str = "forward",
    contracts: tuple[str, ...] = ("forward",),
) -> Mutant:
    return Mutant(name, clean, lambda: PAIRS[clean](ways), contracts, module, causes, trap)


def transposed(layer: Any, x: Any) -> Any:
    kernel, bias = _kernel_and_bias(layer)
    return x @ kernel.T + bias


def without_bias(layer: Any, x: Any) -> Any:
    return x @ _kernel_and_bias(layer)[0]


def _kernel_and_bias(layer: Any) -> tuple[Any, Any]:
    if isinstance(layer, nnx.Linear):
        return layer.kernel[...], layer.bias[...]
    # A Linen layer has its parameters from its first call on.
    layer(jnp.zeros((1, INNER)))
    params = layer.variables["params"]
    return params["kernel"], params["bias"]


def features_first(mixed: Any) -> Any:
    mixed = mixed.transpose(0, 2, 3, 1)
    return mixed.reshape(*mixed.shape[:2], -1)


def split_as_d_h(x: Any) -> list[Any]:
    return [each.reshape(*each.shape[:2], -1, HEADS).transpose(0, 3, 1, 2) for each in jnp.split(x, 3, -1)]


def key_first(x: Any) -> list[Any]:
    key, query, value = chunked(x)
    return [query, key, value]


def per_head(x: Any) -> list[Any]:
    """Each head's query, key and value beside each other, as GPT-NeoX has them."""
    split = x.reshape(*x.shape[:2], HEADS, 3, -1)
    return [split[..., part, :].swapaxes(1, 2) for part in range(3)]


def norms_swapped(block: Any, x: Any, ways: Ways) -> Any:
    x = x + block.att(block.ln_b(x))
    return x + block.feed(block.ln_a(x))


def post_norm(block: Any, x: Any, ways: Ways) -> Any:
    x = block.ln_a(x + block.att(x))
    return block.ln_b(x + block.feed(x))


def no_residual(block: Any, x: Any, ways: Ways) -> Any:
    x = x + block.att(block.ln_a(x))
    return block.feed(block.ln_b(x))


def side_by_side(block: Any, x: Any, ways: Ways) -> Any:
    return x + block.att(block.ln_a(x)) + block.feed(block.ln_b(x))


def residual_of_the_norm(block: Any, x: Any, ways: Ways) -> Any:
    x = x + block.att(block.ln_a(x))
    normed = block.ln_b(x)
    return normed + block.feed(normed)


def attention_cut_off(block: Any, x: Any, ways: Ways) -> Any:
    x = x + jax.lax.stop_gradient(block.att(block.ln_a(x)))
    return x + block.feed(block.ln_b(x))


def dropped_at_inference(x: Any) -> Any:
    kept = jax.random.bernoulli(jax.random.key(0), 0.75, x.shape)
    return jnp.where(kept, x / 0.75, 0)


def one_not_a_number(outputs: dict[str, Any]) -> dict[str, Any]:
    return outputs | {"logits": outputs["logits"].at[1, 2, 3].set(jnp.nan)}


def hidden_before_the_norm(outputs: dict[str, Any]) -> dict[str, Any]:
    return outputs | {"hidden": outputs["before"]}


def head_cut_off(model: Any, x: Any) -> Any:
    return x @ jax.lax.stop_gradient(model.tok.embedding[...] if isinstance(model, nnx.Module) else _table(model)).T


def _table(model: Any) -> Any:
    return model.tok.variables["params"]["embedding"]


def embedding_cut_off(model: Any, tokens: Any) -> Any:
    return jax.lax.stop_gradient(model.tok(tokens))


MUTANTS = [
    planted("projection transposed", NNX, Ways(project=transposed), "blocks.1.att", "transposed", trap="layout"),
    planted(
        "heads split as (d h)",
        LINEN,
        Ways(parts=split_as_d_h),
        "layers.1.attention",
        "axis order",
        "heads",
        trap="layout",
    ),
    planted(
        "heads merged as (d h)", NNX, Ways(merge=features_first), "attention.out", "axis order", "heads", trap="layout"
    ),
    planted(
        "fused order k q v", NNX, Ways(parts=key_first), "layers.1.attention", "wiring", "block order", trap="layout"
    ),
    planted(
        "fused order per head",
        LINEN,
        Ways(parts=per_head),
        "layers.1.attention",
        "axis order",
        "heads",
        "block order",
        trap="layout",
    ),
    planted(
        "norms swapped",
        LINEN,
        Ways(block=norms_swapped),
        "layers.1.norm1",
        "swapped",
        "norm placed elsewhere",
        trap="layout",
    ),
    planted("layers in another order", NNX, Ways(order=(1, 0)), "layers.", "swapped", "order", trap="layout"),
    planted("a layer left out", LINEN, Ways(order=(0,)), "blocks_1", "missing parameter", contracts=("names",)),
    planted("a layer run twice", NNX, Ways(order=(0, 1, 1)), "layers.1", "wiring", "missing site", "calls"),
    planted(
        "eps of Flax in one norm", LINEN, Ways(eps=1e-6), "layers.1.norm1", "eps", contracts=("forward", "gradients")
    ),
    planted(
        "eps of Flax in the last norm", LINEN, Ways(last_eps=1e-6), "norm", "eps", contracts=("forward", "gradients")
    ),
    planted("GELU by tanh", LINEN, Ways(act=jax.nn.gelu), "layers.1", "activation"),
    planted("GELU by sigmoid", NNX, Ways(act=lambda x: x * jax.nn.sigmoid(1.702 * x)), "layers.1", "activation"),
    planted(
        "embedding times sqrt(d)",
        NNX,
        Ways(words=lambda model, tokens: model.tok(tokens) * WIDTH**0.5),
        "places",
        "scale",
    ),
    planted("attention without a scale", LINEN, Ways(scale=1.0), "layers.1.attention", "scale"),
    planted("attention scaled by the width", NNX, Ways(scale=WIDTH**-0.5), "layers.1.attention", "scale"),
    planted("no causal mask", NNX, Ways(shown=lambda n: jnp.ones((n, n), bool)), "layers.1.attention", "mask"),
    planted(
        "causal mask off by one", LINEN, Ways(shown=lambda n: jnp.tri(n, k=1, dtype=bool)), "layers.1.attention", "mask"
    ),
    planted(
        "causal mask without itself",
        NNX,
        Ways(shown=lambda n: jnp.tri(n, k=-1, dtype=bool)),
        "layers.1.attention",
        "mask",
    ),
    planted(
        "causal mask turned over", LINEN, Ways(shown=lambda n: jnp.tri(n, dtype=bool).T), "layers.1.attention", "mask"
    ),
    planted("softmax over the queries", LINEN, Ways(axis=-2), "layers.1.attention", "axis", "axis order", "softmax"),
    planted("positions from one", NNX, Ways(places=lambda n: jnp.arange(n) + 1), "places", "default input"),
    planted("no residual", NNX, Ways(block=no_residual), "layers.1", "wiring"),
    planted("norms after", LINEN, Ways(block=post_norm), "layers.1", "norm placed elsewhere", "wiring"),
    planted("blocks side by side", NNX, Ways(block=side_by_side), "layers.1", "wiring"),
    planted("residual of the norm's output", LINEN, Ways(block=residual_of_the_norm), "layers.1", "wiring"),
    planted("a bias left out", LINEN, Ways(down=without_bias), "layers.1.down", "bias"),
    planted("softcap left out", LINEN, Ways(capped=identity), "head", "activation", "softcap"),
    planted("bfloat16 inside", NNX, Ways(inner=in_dtype(jnp.bfloat16)), "layers.1", "dropped dtype"),
    planted("float16 inside", LINEN, Ways(mixed=in_dtype(jnp.float16)), "layers.1", "dropped dtype"),
    planted("dropout at inference", NNX, Ways(inner=dropped_at_inference), "layers.1", "dropout"),
    planted("one NaN", LINEN, Ways(outputs=one_not_a_number), "", "not finite"),
    planted("another output", NNX, Ways(outputs=hidden_before_the_norm), "norm", "wiring", "swapped", "another output"),
    planted(
        "attention's gradient cut off",
        NNX,
        Ways(block=attention_cut_off),
        "layers.1.attention",
        "no gradient",
        trap="gradients",
        contracts=("gradients",),
    ),
    planted(
        "a gradient's sign",
        LINEN,
        Ways(inner=scaled_gradient(-1.0)),
        "layers.1",
        "gradient scale",
        trap="gradients",
        contracts=("gradients",),
    ),
    planted(
        "gradients averaged over the batch",
        NNX,
        Ways(outputs=lambda each: jax.tree.map(scaled_gradient(0.5), each)),
        "norm",
        "gradient scale",
        trap="gradients",
        contracts=("gradients",),
    ),
    planted(
        "a frozen scale",
        NNX,
        Ways(frozen="blocks.1.ln_b"),
        "layers.1.norm2",
        "kind",
        "frozen",
        trap="gradients",
        contracts=("shapes", "gradients"),
    ),
    planted("an untied head", NNX, Ways(tie="lost"), "out.embedding", "lost tie", trap="ties", contracts=("ties",)),
    planted(
        "a head of its own",
        LINEN,
        Ways(tie="lost", head=_through_out),
        "out",
        "lost tie",
        "unmatched parameter",
        trap="ties",
        contracts=("names", "ties"),
    ),
    planted(
        "two norms in one",
        NNX,
        Ways(tie="too many"),
        "norm2",
        "new tie",
        "missing parameter",
        trap="ties",
        contracts=("names", "ties"),
    ),
    planted(
        "the head's share cut off",
        LINEN,
        Ways(head=head_cut_off),
        "words",
        "missing site",
        trap="ties",
        contracts=("gradients", "tied gradients"),
    ),
    planted(
        "the embedding's share cut off",
        NNX,
        Ways(words=embedding_cut_off),
        "words",
        "missing site",
        trap="ties",
        contracts=("gradients", "tied gradients"),
    ),
]
