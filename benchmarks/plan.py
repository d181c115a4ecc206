"""Planning a load of 671 billion parameters, with the shapes of DeepSeek-V3, for 64 hosts with eight devices each.

The map is that of a tiny configuration, as `align` would find it, and the port stacks its dense layers and those with
experts. Nothing but shapes is made.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P

import paritree
from paritree.common.layouts import Layout
from paritree.pairs.maps import Map, MapRow, Piece

from .measure import row

HOSTS, MESH = 64, {"data": 64, "model": 8}


class Size(NamedTuple):
    """A DeepSeek's depths and widths: of its latent attention, its dense layers and its experts."""

    layers: int = 61
    dense: int = 3
    experts: int = 256
    words: int = 129280
    hidden: int = 7168
    heads: int = 128
    head: int = 128
    rotary: int = 64
    queries: int = 1536
    keys: int = 512
    inner: int = 18432
    expert: int = 2048


TINY = Size(5, 3, 4, 32, 8, 2, 3, 2, 6, 4, 12, 10)


class Tensor(NamedTuple):
    """A tensor of the reference, its place in the port, and how its axes become the port's, some of them sharded."""

    path: str
    shape: tuple[int, ...]
    port: str
    index: tuple[int, ...]
    stack: tuple[int, ...]
    pattern: str
    spec: tuple[str | None, ...] = ()
    sizes: tuple[tuple[str, int], ...] = ()


def tensors(size: Size) -> Iterator[Tensor]:
    """As DeepseekV3ForCausalLM names them; kernels come to lie (in, out), with an axis for the heads."""
    table = (size.words, size.hidden)
    yield Tensor("model.embed_tokens.weight", table, "embed", (), (), "v w -> v w", ("model", "data"))
    yield Tensor("lm_head.weight", table, "head", (), (), "v w -> w v", ("data", "model"))
    yield Tensor("model.norm.weight", (size.hidden,), "norm", (), (), "w -> w")
    for layer in range(size.layers):
        is_dense = layer < size.dense
        kind, first, depth = ("dense", 0, size.dense) if is_dense else ("sparse", size.dense, size.layers - size.dense)
        for each in (*_attention(size), *(_dense(size) if is_dense else _sparse(size))):
            yield each._replace(
                path=f"model.layers.{layer}.{each.path}",
                port=f"{kind}.{each.port}",
                index=(layer - first, *each.index),
                stack=(depth, *each.stack),
                spec=(None, *each.spec) if each.spec else (),
            )


def _attention(size: Size) -> Iterator[Tensor]:
    for name in ("input_layernorm", "post_attention_layernorm"):
        yield Tensor(f"{name}.weight", (size.hidden,), name, (), (), "w -> w")
    yield _kernel("self_attn.q_a_proj", size.queries, size.hidden, "query_a", ("data", "model"))
    yield Tensor("self_attn.q_a_layernorm.weight", (size.queries,), "query_norm", (), (), "w -> w")
    yield _heads("self_attn.q_b_proj", size.head + size.rotary, size.queries, "query_b", size)
    yield _kernel("self_attn.kv_a_proj_with_mqa", size.keys + size.rotary, size.hidden, "key_value_a", ("data", None))
    yield Tensor("self_attn.kv_a_layernorm.weight", (size.keys,), "key_value_norm", (), (), "w -> w")
    yield _heads("self_attn.kv_b_proj", 2 * size.head, size.keys, "key_value_b", size)
    out = (size.hidden, size.heads * size.head)
    sizes = (("d", size.head), ("h", size.heads))
    yield Tensor("self_attn.o_proj.weight", out, "out", (), (), "o (h d) -> h d o", ("model", None, "data"), sizes)


def _dense(size: Size) -> Iterator[Tensor]:
    yield from _gated("mlp", size.inner, size.hidden, "mlp", ())


def _sparse(size: Size) -> Iterator[Tensor]:
    yield _kernel("mlp.gate", size.experts, size.hidden, "router", ("data", None))
    yield Tensor("mlp.gate.e_score_correction_bias", (size.experts,), "router_bias", (), (), "e -> e")
    yield from _gated("mlp.shared_experts", size.expert, size.hidden, "shared", ())
    for number in range(size.experts):
        for each in _gated(f"mlp.experts.{number}", size.expert, size.hidden, "experts", ("data",)):
            yield each._replace(index=(number,), stack=(size.experts,))


def _gated(path: str, inner: int, hidden: int, port: str, stack: tuple[str, ...]) -> Iterator[Tensor]:
    """stack: by what the axis of the experts is sharded, which leaves the others less to be sharded by."""
    width = None if stack else "data"
    for name in ("gate", "up"):
        yield _kernel(f"{path}.{name}_proj", inner, hidden, f"{port}_{name}", (*stack, width, "model"))
    yield _kernel(f"{path}.down_proj", hidden, inner, f"{port}_down", (*stack, "model", width))


def _kernel(path: str, out: int, into: int, port: str, spec: tuple[str | None, ...]) -> Tensor:
    return Tensor(f"{path}.weight", (out, into), port, (), (), "o i -> i o", spec)


def _heads(path: str, head: int, into: int, port: str, size: Size) -> Tensor:
    sizes = (("d", head), ("h", size.heads))
    shape, spec = (size.heads * head, into), ("data", "model", None)
    return Tensor(f"{path}.weight", shape, port, (), (), "(h d) i -> i h d", spec, sizes)


def port_shape(each: Tensor) -> tuple[int, ...]:
    layout = Layout(each.pattern, each.sizes)
    return (*each.stack, *layout.to_native(np.broadcast_to(np.int8(0), each.shape)).shape)


def map_of(size: Size) -> Map:
    rows = [
        MapRow(
            each.path,
            each.port,
            each.shape,
            port_shape(each),
            each.pattern,
            "rule",
            each.sizes,
            port_piece=Piece(index=each.index),
        )
        for each in tensors(size)
    ]
    return Map(tuple(rows), ("torch", "pytree"))


def source(size: Size) -> dict[str, Any]:
    return {each.path: jax.ShapeDtypeStruct(each.shape, jnp.bfloat16) for each in tensors(size)}


def port(size: Size) -> dict[str, Any]:
    mesh = AbstractMesh(tuple(MESH.values()), tuple(MESH))
    found = {each.port: (port_shape(each), NamedSharding(mesh, P(*each.spec))) for each in tensors(size)}
    return {path: jax.ShapeDtypeStruct(shape, jnp.bfloat16, sharding=over) for path, (shape, over) in found.items()}


def main() -> None:
    given, like, made = source(Size()), port(Size()), map_of(TINY)
    numbers = sum(prod(each.shape) for each in given.values())
    print(f"Planning a load of {numbers / 1e9:,.0f} billion parameters in {len(given):,} tensors for {HOSTS} hosts")
    start = time.perf_counter()
    plan = paritree.plan(given, made, like, processes=HOSTS)
    elapsed = time.perf_counter() - start
    print(plan)
    row("the most that a host reads over the mean (<= 1.05)", f"{plan.unevenness:.3f}")
    row("all reads over the source", f"{sum(plan.reads) / plan.nbytes:.4f}")
    row("time (< 60 s)", f"{elapsed:.1f} s")
