"""Three pairs to be trained in either framework: packed, stacked and tied; convolutions and norms; a tied decoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax import linen, nnx

from paritree.pairs.maps import Map, MapRow
from paritree.pairs.maps.pieces import parsed

WIDTH, HEADS, LAYERS, WORDS, LENGTH = 8, 2, 2, 11, 5


class Attention(torch.nn.Module):
    def __init__(self, has_bias: bool = True) -> None:
        super().__init__()
        self.c_attn = torch.nn.Linear(WIDTH, 3 * WIDTH, bias=has_bias)
        self.c_proj = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (each.unflatten(-1, (HEADS, -1)).transpose(1, 2) for each in self.c_attn(x).split(WIDTH, -1))
        scores = q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        masked = scores + torch.full((LENGTH, LENGTH), -1e9, dtype=x.dtype).triu(1)
        return self.c_proj((masked.softmax(-1) @ v).transpose(1, 2).flatten(-2))


class Layer(torch.nn.Module):
    def __init__(self, has_bias: bool = True) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(WIDTH), torch.nn.LayerNorm(WIDTH)
        self.attn = Attention(has_bias)
        self.c_fc, self.c_proj = torch.nn.Linear(WIDTH, 2 * WIDTH), torch.nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.ln_1(x))
        return x + self.c_proj(torch.nn.functional.gelu(self.c_fc(self.ln_2(x)), approximate="tanh"))


class GPT2(torch.nn.Module):
    """has_bias: whether the queries, keys and values have one."""

    def __init__(self, has_bias: bool = True) -> None:
        super().__init__()
        self.wte, self.wpe = torch.nn.Embedding(WORDS, WIDTH), torch.nn.Embedding(LENGTH, WIDTH)
        self.h = torch.nn.ModuleList([Layer(has_bias) for _ in range(LAYERS)])
        self.ln_f = torch.nn.LayerNorm(WIDTH)
        self.lm_head = torch.nn.Linear(WIDTH, WORDS, bias=False)
        self.lm_head.weight = self.wte.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.wte(tokens) + self.wpe(torch.arange(LENGTH))
        for layer in self.h:
            x = layer(x)
        return self.lm_head(self.ln_f(x))


def _norm(x: Any, p: Any) -> Any:
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(var + 1e-5) * p["scale"] + p["bias"]


def gpt2(tree: Any, tokens: Any) -> Any:
    """The port as a function of a tree: layers stacked for a scan, projections apart, the tie one array."""
    x = tree["wte"][tokens] + tree["wpe"]
    mask = jnp.triu(jnp.full((LENGTH, LENGTH), -1e9), 1)

    def layer(x: Any, p: Any) -> Any:
        y = _norm(x, p["ln_1"])
        q, k, v = (jnp.einsum("bti,ihd->bhtd", y, p[n]["kernel"]) + p[n]["bias"][:, None] for n in "qkv")
        weights = jax.nn.softmax(q @ k.swapaxes(-1, -2) / math.sqrt(WIDTH // HEADS) + mask)
        x = x + jnp.einsum("bhtd,hdo->bto", weights @ v, p["o"]["kernel"]) + p["o"]["bias"]
        y = jax.nn.gelu(_norm(x, p["ln_2"]) @ p["fc"]["kernel"] + p["fc"]["bias"])
        return x + y @ p["proj"]["kernel"] + p["proj"]["bias"], None

    x, _ = jax.lax.scan(layer, x, tree["h"])
    return _norm(x, tree["ln_f"]) @ tree["wte"].T


def gpt2_in_lists(tree: Any, tokens: Any) -> Any:
    """The port that keeps PyTorch's tensors whole: its layers are a list, and its projections are packed.

    They have no bias: of the keys' the gradient is rounding alone, and Adafactor's step goes by the whole tensor.
    """

    def parts(layer: Any) -> Any:
        kernels = layer["qkv"]["kernel"].reshape(WIDTH, 3, HEADS, -1)
        none = jnp.zeros((HEADS, WIDTH // HEADS))
        apart = {name: {"kernel": kernels[:, i], "bias": none} for i, name in enumerate("qkv")}
        out = {"kernel": layer["o"]["kernel"].reshape(HEADS, -1, WIDTH), "bias": layer["o"]["bias"]}
        return {**layer, **apart, "o": out}

    layers = [parts(tree["h"][str(i)]) for i in range(LAYERS)]
    return gpt2({**tree, "h": jax.tree.map(lambda *each: jnp.stack(each), *layers)}, tokens)


class Residual(torch.nn.Module):
    """channels: with two, as many as it gets, the shortcut is the input itself."""

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        own: Any = {"padding": 1, "bias": False}
        self.conv1, self.bn1 = torch.nn.Conv2d(2, channels, 3, **own), torch.nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = torch.nn.Conv2d(channels, channels, 3, **own), torch.nn.BatchNorm2d(channels)
        self.down = torch.nn.Conv2d(2, channels, 1, bias=False) if channels != 2 else torch.nn.Identity()
        self.fc = torch.nn.Linear(channels, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return self.fc((y + self.down(x)).relu().mean((-1, -2)))


class FlaxResidual(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, channels: int = 4) -> None:
        own: Any = {"use_bias": False, "rngs": rngs, "param_dtype": jnp.float64}
        self.conv1, self.conv2 = nnx.Conv(2, channels, (3, 3), **own), nnx.Conv(channels, channels, (3, 3), **own)
        self.down = nnx.Conv(2, channels, (1, 1), **own) if channels != 2 else lambda x: x
        norm: Any = {"momentum": 0.9, "epsilon": 1e-5, "rngs": rngs, "param_dtype": jnp.float64}
        self.bn1, self.bn2 = nnx.BatchNorm(channels, **norm), nnx.BatchNorm(channels, **norm)
        self.fc = nnx.Linear(channels, 3, rngs=rngs, param_dtype=jnp.float64)

    def __call__(self, x: Any) -> Any:
        x = x.transpose(0, 2, 3, 1)
        y = self.bn2(self.conv2(jax.nn.relu(self.bn1(self.conv1(x)))))
        return self.fc(jax.nn.relu(y + self.down(x)).mean((1, 2)))


class LanguageModel(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.hidden = torch.nn.Embedding(WORDS, WIDTH), torch.nn.Linear(WIDTH, WIDTH)
        self.decoder = torch.nn.Linear(WIDTH, WORDS)
        self.decoder.weight = self.encoder.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.hidden(self.encoder(tokens)).tanh())


class FlaxLanguageModel(linen.Module):
    @linen.compact
    def __call__(self, tokens: Any) -> Any:
        embed = linen.Embed(WORDS, WIDTH, name="encoder", param_dtype=jnp.float64)
        x = jnp.tanh(linen.Dense(WIDTH, name="hidden", param_dtype=jnp.float64)(embed(tokens)))
        return embed.attend(x) + self.param("decoder_bias", linen.initializers.zeros, (WORDS,), jnp.float64)


def _loss(outputs: Any, targets: np.ndarray) -> Any:
    return ((outputs - targets) ** 2).mean()


def _tokens() -> np.ndarray:
    return np.random.default_rng(3).integers(0, WORDS, (3, LENGTH))


def row(reference: str, port: str, shape: Any, port_shape: Any, layout: str, **more: Any) -> MapRow:
    pieces = {name: parsed(more.pop(name, "")) for name in ("reference_piece", "port_piece")}
    return MapRow(reference, port, shape, port_shape, layout, "rule", more.pop("sizes", ()), **pieces, **more)


def _gpt2_ends() -> list[MapRow]:
    return [
        row("wte.weight", "wte", (WORDS, WIDTH), (WORDS, WIDTH), "a b -> a b", reference_aliases=("lm_head.weight",)),
        row("wpe.weight", "wpe", (LENGTH, WIDTH), (LENGTH, WIDTH), "a b -> a b"),
        *(row(f"ln_f.{n}", f"ln_f.{m}", (WIDTH,), (WIDTH,), "a -> a") for n, m in _NORM),
    ]


def _gpt2_lists_map() -> Map:
    rows = _gpt2_ends()
    linear = {"attn.c_attn": "qkv", "attn.c_proj": "o", "c_fc": "fc", "c_proj": "proj"}
    for path, tensor in GPT2(False).h.state_dict().items():
        layer, _, rest = path.partition(".")
        name, _, kind = rest.rpartition(".")
        shape = tuple(tensor.shape)
        if name not in linear:
            rows.append(row(f"h.{path}", f"h.{layer}.{name}.{dict(_NORM)[kind]}", shape, shape, "a -> a"))
        elif kind == "bias":
            rows.append(row(f"h.{path}", f"h.{layer}.{linear[name]}.bias", shape, shape, "a -> a"))
        else:
            rows.append(row(f"h.{path}", f"h.{layer}.{linear[name]}.kernel", shape, shape[::-1], "o i -> i o"))
    return Map(tuple(rows), ("torch", "pytree"))


def _gpt2_map() -> Map:
    deep = {"sizes": (("h", HEADS),)}
    split = WIDTH // HEADS
    rows = _gpt2_ends()
    for i in range(LAYERS):
        one: dict[str, Any] = {"port_piece": f"[{i}]"}
        for j, name in enumerate("qkv"):
            part = {**one, **deep, "reference_piece": f"[{j * WIDTH}:{(j + 1) * WIDTH}]"}
            kernel, bias = (LAYERS, WIDTH, HEADS, split), (LAYERS, HEADS, split)
            own = f"h.{i}.attn.c_attn"
            rows.append(
                row(f"{own}.weight", f"h.{name}.kernel", (3 * WIDTH, WIDTH), kernel, "(h d) i -> i h d", **part)
            )
            rows.append(row(f"{own}.bias", f"h.{name}.bias", (3 * WIDTH,), bias, "(h d) -> h d", **part))
        out = (LAYERS, HEADS, split, WIDTH)
        rows.append(
            row(f"h.{i}.attn.c_proj.weight", "h.o.kernel", (WIDTH, WIDTH), out, "o (h d) -> h d o", **one, **deep)
        )
        rows.append(row(f"h.{i}.attn.c_proj.bias", "h.o.bias", (WIDTH,), (LAYERS, WIDTH), "a -> a", **one))
        for norm in ("ln_1", "ln_2"):
            rows += [
                row(f"h.{i}.{norm}.{n}", f"h.{norm}.{m}", (WIDTH,), (LAYERS, WIDTH), "a -> a", **one) for n, m in _NORM
            ]
        for name, port, (o, n) in (("c_fc", "fc", (2 * WIDTH, WIDTH)), ("c_proj", "proj", (WIDTH, 2 * WIDTH))):
            rows.append(row(f"h.{i}.{name}.weight", f"h.{port}.kernel", (o, n), (LAYERS, n, o), "o i -> i o", **one))
            rows.append(row(f"h.{i}.{name}.bias", f"h.{port}.bias", (o,), (LAYERS, o), "a -> a", **one))
    return Map(tuple(rows), ("torch", "pytree"))


_NORM = (("weight", "scale"), ("bias", "bias"))


def _residual_map(channels: int = 4) -> Map:
    kernels = {"conv1": (channels, 2, 3, 3), "conv2": (channels, channels, 3, 3), "down": (channels, 2, 1, 1)}
    if channels == 2:
        del kernels["down"]
    rows = [
        row(f"{name}.weight", f"{name}.kernel", shape, (*shape[2:], shape[1], shape[0]), "o i h w -> h w i o")
        for name, shape in kernels.items()
    ]
    one = (channels,)
    rows += [row(f"{bn}.{n}", f"{bn}.{m}", one, one, "a -> a") for bn in ("bn1", "bn2") for n, m in _NORM]
    rows += [
        row("fc.weight", "fc.kernel", (3, channels), (channels, 3), "o i -> i o"),
        row("fc.bias", "fc.bias", (3,), (3,), "a -> a"),
    ]
    running = tuple(f"{bn}.running_{what}" for bn in ("bn1", "bn2") for what in ("mean", "var"))
    return Map(
        tuple(rows), ("torch", "nnx"), running, aside_reference=("bn1.num_batches_tracked", "bn2.num_batches_tracked")
    )


def _language_map() -> Map:
    tied = {"reference_aliases": ("decoder.weight",)}
    return Map(
        (
            row("encoder.weight", "params.encoder.embedding", (WORDS, WIDTH), (WORDS, WIDTH), "a b -> a b", **tied),
            row("hidden.weight", "params.hidden.kernel", (WIDTH, WIDTH), (WIDTH, WIDTH), "o i -> i o"),
            row("hidden.bias", "params.hidden.bias", (WIDTH,), (WIDTH,), "a -> a"),
            row("decoder.bias", "params.decoder_bias", (WORDS,), (WORDS,), "a -> a"),
        ),
        ("torch", "linen"),
    )


def _residual(params: Any, inputs: Any) -> Any:
    model = nnx.eval_shape(lambda: FlaxResidual(nnx.Rngs(0), len(params["bn1"]["scale"])))
    graph, _, rest = nnx.split(model, nnx.Param, ...)
    rest = jax.tree.map(lambda each: jnp.zeros(each.shape, jnp.float64), rest)
    state = nnx.state(model, nnx.Param)
    nnx.replace_by_pure_dict(state, params)
    return nnx.merge(graph, state, rest)(inputs)


def _images() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(6, 2, 5, 5))


def _tree(flat: Mapping[str, Any]) -> Any:
    """A bare pytree is carried flat: a tree by its dots."""
    tree: dict[str, Any] = {}
    for path, array in flat.items():
        *keys, last = path.split(".")
        node = tree
        for key in keys:
            node = node.setdefault(key, {})
        node[last] = array
    return tree


@dataclass(frozen=True)
class Trained:
    """A pair: the module's class, its map, its inputs, and the port's parameters and gradients for them.

    unseen: what no output depends on, by the port's path, so that its gradient is rounding alone. The softmax does not
    see the bias of the keys, and an optimizer with a tiny eps turns such a gradient into whole steps.
    """

    reference: Callable[[], torch.nn.Module]
    inputs: np.ndarray
    outputs: tuple[int, ...]
    map: Map
    outputs_of: Callable[[Any, Any], Any]
    unseen: Mapping[str, slice] = field(default_factory=dict)

    @property
    def targets(self) -> np.ndarray:
        return np.random.default_rng(4).normal(size=self.outputs)

    @cached_property
    def _gradients(self) -> Callable[[Any], Any]:
        return jax.jit(jax.grad(lambda p: _loss(self.outputs_of(p, self.inputs), self.targets)))

    def made(self) -> torch.nn.Module:
        torch.manual_seed(0)
        return self.reference().double().train()

    def params(self, weights: Mapping[str, Any]) -> Any:
        """The port's parameters for these weights of the reference."""
        return jax.tree.map(lambda each: jnp.asarray(np.array(each)), self.map.carry(weights))

    def seen(self, params: Any) -> list[np.ndarray]:
        """Its leaves, with zeros where no output depends on them."""
        return jax.tree.leaves({**params, **{path: params[path].at[each].set(0) for path, each in self.unseen.items()}})

    def step(self, model: torch.nn.Module, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        _loss(model(torch.tensor(self.inputs)), torch.tensor(self.targets)).backward()
        optimizer.step()

    def train(self, params: Any, rule: Any, state: Any, steps: int) -> tuple[Any, Any]:
        for _ in range(steps):
            updates, state = rule.update(self._gradients(params), state, params)
            params = optax.apply_updates(params, updates)
        return params, state


PAIRS = {
    "gpt2": Trained(
        GPT2,
        _tokens(),
        (3, LENGTH, WORDS),
        _gpt2_map(),
        lambda p, x: gpt2(_tree(p), x),
        {"h.k.bias": slice(None)},
    ),
    # Adafactor is of whole tensors: nothing packed or stacked, and no convolution with more channels than its window.
    "gpt2 in lists": Trained(
        lambda: GPT2(False), _tokens(), (3, LENGTH, WORDS), _gpt2_lists_map(), lambda p, x: gpt2_in_lists(_tree(p), x)
    ),
    "resnet": Trained(Residual, _images(), (6, 3), _residual_map(), _residual),
    "narrow resnet": Trained(lambda: Residual(2), _images(), (6, 3), _residual_map(2), _residual),
    "language": Trained(
        LanguageModel, _tokens(), (3, LENGTH, WORDS), _language_map(), lambda p, x: FlaxLanguageModel().apply(p, x)
    ),
}
