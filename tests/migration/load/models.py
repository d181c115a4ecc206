"""A GPT-2 and a Llama of transformers in shards, and ports of them that pack, stack and tie otherwise, with the maps.

The ports have the parameters of models as people write them for a mesh, and annotations of how they are sharded; what
they compute is not of interest here.
"""

from __future__ import annotations

import copy
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from jax.sharding import PartitionSpec as P
from torch import nn

from paritree.pairs.maps import WHOLE, Map, MapRow
from paritree.pairs.maps.pieces import Piece

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers


class Sizes(NamedTuple):
    words: int = 32
    width: int = 16
    heads: int = 4
    groups: int = 2
    inner: int = 48
    layers: int = 2

    @property
    def head(self) -> int:
        return self.width // self.heads


SMALL, LARGE = Sizes(), Sizes(64, 48, 8, 4, 96, 4)
# Large beside what else is read: headers and metadata.
WIDE = Sizes(2048, 128, 8, 4, 512, 4)


def gpt2(sizes: Sizes, seed: int = 0) -> Any:
    """Transformers' own, its embedding tied to its head."""
    torch.manual_seed(seed)
    config = transformers.GPT2Config(
        vocab_size=sizes.words,
        n_embd=sizes.width,
        n_head=sizes.heads,
        n_layer=sizes.layers,
        n_inner=sizes.inner,
        n_positions=8,
    )
    return _unlike(transformers.GPT2LMHeadModel(config).eval())


def llama(sizes: Sizes, seed: int = 0) -> Any:
    """Transformers' own, with grouped queries and a head of its own."""
    torch.manual_seed(seed)
    config = transformers.LlamaConfig(
        vocab_size=sizes.words,
        hidden_size=sizes.width,
        num_attention_heads=sizes.heads,
        num_key_value_heads=sizes.groups,
        num_hidden_layers=sizes.layers,
        intermediate_size=sizes.inner,
        max_position_embeddings=8,
    )
    return _unlike(transformers.LlamaForCausalLM(config).eval())


def _unlike(model: Any) -> Any:
    """No two entries alike: transformers begins with zeros and ones."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    return model


def saved(model: Any, folder: Path, shard: str = "10KB") -> Path:
    """The index of its shards, as transformers writes them."""
    model.save_pretrained(folder, max_shard_size=shard)
    return folder / "model.safetensors.index.json"


class Layers(nnx.Module):
    """All layers of a GPT-2 stacked: query, key and value with an axis for the heads."""

    def __init__(self, sizes: Sizes) -> None:
        n, w, h, d, f = sizes.layers, sizes.width, sizes.heads, sizes.head, sizes.inner
        for name in ("query", "key", "value"):
            setattr(self, name, param((n, w, h, d), (None, "data", "model", None)))
            setattr(self, f"{name}_bias", param((n, h, d), (None, "model", None)))
        self.out, self.out_bias = param((n, h, d, w), (None, "model", None, "data")), param((n, w))
        self.up, self.up_bias = param((n, w, f), (None, "data", "model")), param((n, f), (None, "model"))
        self.down, self.down_bias = param((n, f, w), (None, ("data", "model"), None)), param((n, w))
        for name in ("norm1", "norm2"):
            setattr(self, name, param((n, w)))
            setattr(self, f"{name}_bias", param((n, w)))


class Head(nnx.Module):
    def __init__(self, kernel: nnx.Param) -> None:
        self.kernel = kernel


class StackedGpt2(nnx.Module):
    """Its head has the embedding's Variable."""

    def __init__(self, sizes: Sizes) -> None:
        self.words = param((sizes.words, sizes.width), ("model", "data"))
        self.places = param((8, sizes.width), (None, "data"))
        self.layers = Layers(sizes)
        self.norm, self.norm_bias = param((sizes.width,)), param((sizes.width,))
        self.head = Head(self.words)
        self.drop = nnx.Dropout(0.1, rngs=nnx.Rngs(0))


def param(shape: tuple[int, ...], names: tuple[Any, ...] = ()) -> nnx.Param:
    return nnx.Param(jnp.zeros(shape), out_sharding=names or (None,) * len(shape))


def row(reference: str, port: str, shape: Any, port_shape: Any, layout: str, **others: Any) -> MapRow:
    return MapRow(reference, port, tuple(shape), tuple(port_shape), layout, "rule", **others)


def gpt2_map(sizes: Sizes) -> Map:
    """From transformers' to the stacked one."""
    n, w, h, d, f = sizes.layers, sizes.width, sizes.heads, sizes.head, sizes.inner
    words = {"reference_aliases": ("lm_head.weight",), "port_aliases": ("words",)}
    rows = [
        row("transformer.wte.weight", "head.kernel", (sizes.words, w), (sizes.words, w), "a b -> a b", **words),
        row("transformer.wpe.weight", "places", (8, w), (8, w), "a b -> a b"),
        row("transformer.ln_f.weight", "norm", (w,), (w,), "a -> a"),
        row("transformer.ln_f.bias", "norm_bias", (w,), (w,), "a -> a"),
    ]
    for layer in range(n):
        at, here = f"transformer.h.{layer}", {"port_piece": Piece(index=(layer,))}
        for number, name in enumerate(("query", "key", "value")):
            span, split = (number * w, (number + 1) * w, None), (("d", d), ("h", h))
            kernel = Piece(index=((None, None, None), span))
            rows += [
                row(
                    f"{at}.attn.c_attn.weight",
                    f"layers.{name}",
                    (w, 3 * w),
                    (n, w, h, d),
                    "i (h d) -> i h d",
                    sizes=split,
                    reference_piece=kernel,
                    **here,
                ),
                row(
                    f"{at}.attn.c_attn.bias",
                    f"layers.{name}_bias",
                    (3 * w,),
                    (n, h, d),
                    "(h d) -> h d",
                    sizes=split,
                    reference_piece=Piece(index=(span,)),
                    **here,
                ),
            ]
        out = f"{at}.attn.c_proj.weight"
        rows.append(
            row(out, "layers.out", (w, w), (n, h, d, w), "(h d) o -> h d o", sizes=(("d", d), ("h", h)), **here)
        )
        for name, port, shape in (
            ("attn.c_proj.bias", "out_bias", (w,)),
            ("mlp.c_fc.weight", "up", (w, f)),
            ("mlp.c_fc.bias", "up_bias", (f,)),
            ("mlp.c_proj.weight", "down", (f, w)),
            ("mlp.c_proj.bias", "down_bias", (w,)),
            ("ln_1.weight", "norm1", (w,)),
            ("ln_1.bias", "norm1_bias", (w,)),
            ("ln_2.weight", "norm2", (w,)),
            ("ln_2.bias", "norm2_bias", (w,)),
        ):
            same = "a -> a" if len(shape) == 1 else "a b -> a b"
            rows.append(row(f"{at}.{name}", f"layers.{port}", shape, (n, *shape), same, **here))
    return Map(tuple(rows), ("torch", "nnx"))


# Of the stacked Llama's parameters: the axes by their names, and how they are sharded.
LLAMA = {
    "words": ("vw", P("model", "data")),
    "head": ("wv", P("data", "model")),
    "norm": ("w", P()),
    "layers.norm1": ("nw", P()),
    "layers.norm2": ("nw", P()),
    "layers.query": ("nwhd", P(None, "data", "model", None)),
    "layers.key_value": ("n2wgd", P(None, None, "data", "model", None)),
    "layers.out": ("nhdw", P(None, "model", None, "data")),
    "layers.gate_up": ("n2wf", P(None, None, "data", "model")),
    "layers.down": ("nfw", P(None, ("model", "data"), None)),
}


def llama_shapes(sizes: Sizes) -> dict[str, tuple[int, ...]]:
    lengths = {"v": sizes.words, "w": sizes.width, "h": sizes.heads, "d": sizes.head, "g": sizes.groups}
    lengths |= {"f": sizes.inner, "n": sizes.layers, "2": 2}
    return {path: tuple(lengths[axis] for axis in axes) for path, (axes, _) in LLAMA.items()}


class Linen(linen.Module):
    """What the variables belong to."""


def llama_port(sizes: Sizes, boxed: bool = True) -> Any:
    """Abstract variables of a Linen module, annotated by boxes."""
    params: dict[str, Any] = {"layers": {}}
    for path, shape in llama_shapes(sizes).items():
        array = jax.ShapeDtypeStruct(shape, jnp.float32)
        *above, name = path.split(".")
        spec = LLAMA[path][1]
        held = linen.Partitioned(array, names=(*spec, *(None,) * (len(shape) - len(spec)))) if boxed else array
        (params["layers"] if above else params)[name] = held
    return Linen(), {"params": params}


def llama_map(sizes: Sizes) -> Map:
    """From transformers' to the stacked one, which packs keys with values and gates with what they gate."""
    w, f = sizes.width, sizes.inner
    shapes = llama_shapes(sizes)
    heads, groups = (("d", sizes.head), ("h", sizes.heads)), (("d", sizes.head), ("g", sizes.groups))
    narrow, split = sizes.groups * sizes.head, "(g d) i -> i g d"

    def made(reference: str, port: str, shape: Any, layout: str, piece: Piece = WHOLE, **others: Any) -> MapRow:
        return row(reference, f"params.{port}", shape, shapes[port], layout, port_piece=piece, **others)

    rows = [
        made("model.embed_tokens.weight", "words", (sizes.words, w), "a b -> a b"),
        made("lm_head.weight", "head", (sizes.words, w), "v w -> w v"),
        made("model.norm.weight", "norm", (w,), "a -> a"),
    ]
    for layer in range(sizes.layers):
        at, here = f"model.layers.{layer}", Piece(index=(layer,))
        first, second = Piece(index=(layer, 0)), Piece(index=(layer, 1))
        rows += [
            made(f"{at}.input_layernorm.weight", "layers.norm1", (w,), "a -> a", here),
            made(f"{at}.post_attention_layernorm.weight", "layers.norm2", (w,), "a -> a", here),
            made(f"{at}.self_attn.q_proj.weight", "layers.query", (w, w), "(h d) i -> i h d", here, sizes=heads),
            made(f"{at}.self_attn.k_proj.weight", "layers.key_value", (narrow, w), split, first, sizes=groups),
            made(f"{at}.self_attn.v_proj.weight", "layers.key_value", (narrow, w), split, second, sizes=groups),
            made(f"{at}.self_attn.o_proj.weight", "layers.out", (w, w), "o (h d) -> h d o", here, sizes=heads),
            made(f"{at}.mlp.gate_proj.weight", "layers.gate_up", (f, w), "o i -> i o", first),
            made(f"{at}.mlp.up_proj.weight", "layers.gate_up", (f, w), "o i -> i o", second),
            made(f"{at}.mlp.down_proj.weight", "layers.down", (w, f), "o i -> i o", here),
        ]
    return Map(tuple(rows), ("torch", "linen"))


def arrays(model: Any) -> dict[str, np.ndarray]:
    """A torch model's, by all their paths."""
    return {path: tensor.detach().numpy() for path, tensor in model.state_dict().items()}


def on_meta(reference: nn.Module) -> Any:
    """Its like with parameters on the meta device, and buffers with their values."""
    model = copy.deepcopy(reference)
    new = {id(each): nn.Parameter(each.to("meta")) for each in model.parameters()}
    for module in model.modules():
        module._parameters.update(
            {name: new[id(each)] for name, each in module._parameters.items() if each is not None}
        )
    return model
