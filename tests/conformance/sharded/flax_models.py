"""Flax's models on a mesh: by annotations alone, and in parts by `shard_map`, with dropout and running statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen, nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import paritree
from paritree.pairs.records import identity_map

from .models import BATCH, INNER, VOCABULARY, WIDTH, batch, mesh


class Annotated(nnx.Module):
    """A language model with a tied head; its places say how they are parted."""

    def __init__(self, rngs: nnx.Rngs, *, annotated: bool = True) -> None:
        def part(made: Any, *axes: str | None) -> Any:
            return nnx.with_partitioning(made, axes) if annotated else made

        kernel, zeros = nnx.initializers.lecun_normal(), nnx.initializers.zeros
        self.embed = nnx.Embed(VOCABULARY, WIDTH, embedding_init=part(kernel, "model", None), rngs=rngs)
        self.up = nnx.Linear(
            WIDTH, INNER, kernel_init=part(kernel, None, "model"), bias_init=part(zeros, "model"), rngs=rngs
        )
        self.down = nnx.Linear(INNER, WIDTH, kernel_init=part(kernel, "model", None), rngs=rngs)
        self.drop = nnx.Dropout(0.5, rngs=rngs)
        self.out = self.embed

    def __call__(self, tokens: jax.Array) -> jax.Array:
        x = self.embed(tokens)
        x = x + self.drop(self.down(jnp.tanh(self.up(x))))
        return self.out.attend(x)


class Boxed(linen.Module):
    """The same in Linen: boxes around its parameters, or logical axes, and running statistics."""

    logical: bool = False
    axis_name: str | None = None
    rate: float = 0.5

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        kernel = linen.initializers.lecun_normal()
        inner, outer = ("wide", None) if self.logical else ("model", None)

        def part(made: Any, axes: Any) -> Any:
            if self.logical:
                return linen.with_logical_partitioning(made, axes, rules=(("wide", "model"),))
            return linen.with_partitioning(made, axes)

        x = linen.Dense(INNER, kernel_init=part(kernel, (outer, inner)), name="up")(x)
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9, axis_name=self.axis_name, name="norm")(x)
        x = linen.Dropout(self.rate, deterministic=not train)(jnp.tanh(x))
        return linen.Dense(WIDTH, kernel_init=part(kernel, (inner, outer)), name="down")(x)


def rows() -> np.ndarray:
    return np.random.default_rng(2).normal(size=(BATCH, WIDTH)).astype(np.float32)


def nnx_pair(**others: Any) -> paritree.Pair:
    """An NNX model without annotations as the reference, and one with them as the port."""

    def make(seed: int) -> nnx.Module:
        return Annotated(nnx.Rngs(seed))

    given: dict[str, Any] = {"mesh": mesh(), "input_sharding": P("data")}
    return paritree.Pair(Annotated(nnx.Rngs(0), annotated=False), make, batch()[:1], **(given | others))


def linen_pair(
    module: Boxed, call: Any = None, train_call: Any = None, axis_name: str | None = None, **others: Any
) -> paritree.Pair:
    def train(model: Any, inputs: Any) -> Any:
        module, variables = model
        key = {"dropout": jax.random.key(0)}
        return module.apply(variables, *inputs, train=True, rngs=key, mutable=["batch_stats"])

    variables = module.init(jax.random.key(0), rows())
    calls: dict[str, Any] = {"reference_train_call": train, "port_call": call, "port_train_call": train_call or train}
    given = {"mesh": mesh(), "input_sharding": P("data")}
    whole = linen.unbox(variables)
    # Within `shard_map` a box would lay its array out once more.
    reference, port = (module, whole), (module.clone(axis_name=axis_name), whole if call else variables)
    return paritree.Pair(reference, port, (rows(),), **(calls | given | others))


def folded(key: jax.Array) -> jax.Array:
    return jax.random.fold_in(key, jax.lax.axis_index("data"))


def mapped_pair(key: Callable[[jax.Array], jax.Array] = folded, axis_name: str | None = "data") -> paritree.Pair:
    """Linen, in data parallel parts."""

    def call(model: Any, inputs: Any) -> jax.Array:
        module, variables = model

        def body(variables: Any, x: jax.Array) -> jax.Array:
            return module.apply(variables, x)

        return jax.shard_map(body, in_specs=(P(), P("data")), out_specs=P("data"))(variables, *inputs)

    def train(model: Any, inputs: Any) -> Any:
        module, variables = model

        def body(variables: Any, x: jax.Array) -> Any:
            keys = {"dropout": key(jax.random.key(0))}
            return module.apply(variables, x, train=True, rngs=keys, mutable=["batch_stats"])

        specs = {"in_specs": (P(), P("data")), "out_specs": (P("data"), P()), "check_vma": False}
        return jax.shard_map(body, **specs)(variables, *inputs)

    return linen_pair(Boxed(), call, train, axis_name, port_sharding=P())


def loss_of(outputs: jax.Array) -> jax.Array:
    return (jax.nn.logsumexp(outputs, -1) - outputs[..., 0]).mean()


def nnx_trained(reduced: Callable[[str, jax.Array], jax.Array]) -> paritree.Pair:
    """Gradients by the state of an NNX module, in data parallel parts."""

    def gradients(model: nnx.Module, inputs: Any) -> Any:
        graph, params, rest = nnx.split(model, nnx.Param, ...)

        def body(params: Any, rest: Any, tokens: jax.Array) -> Any:
            value, found = jax.value_and_grad(lambda own: loss_of(nnx.merge(graph, own, rest)(tokens)))(params)
            return jax.lax.pmean(value, "data"), jax.tree.map_with_path(
                lambda path, each: reduced(str(path), each), found
            )

        specs = {"in_specs": (P(), P(), P("data")), "out_specs": (P(), P()), "check_vma": False}
        return jax.shard_map(body, **specs)(params, rest, inputs[0])

    return nnx_pair(port_gradients=gradients)


def linen_trained(reduced: Callable[[jax.Array], jax.Array]) -> paritree.Pair:
    """Gradients by Linen's parameters, in data parallel parts."""

    def gradients(model: Any, inputs: Any) -> Any:
        module, variables = model

        def body(variables: Any, x: jax.Array) -> Any:
            def loss(params: Any) -> jax.Array:
                return loss_of(module.apply({**variables, "params": params}, x))

            value, found = jax.value_and_grad(loss)(variables["params"])
            return jax.lax.pmean(value, "data"), jax.tree.map(reduced, found)

        specs = {"in_specs": (P(), P("data")), "out_specs": (P(), P()), "check_vma": False}
        return jax.shard_map(body, **specs)(linen.unbox(variables), *inputs)

    return linen_pair(Boxed(), port_gradients=gradients)


def averaged(name: str, gradient: jax.Array) -> jax.Array:
    return jax.lax.pmean(gradient, "data")


def all_but_the_embedding(name: str, gradient: jax.Array) -> jax.Array:
    return gradient if "embed" in name else averaged(name, gradient)


def map_of(pair: paritree.Pair) -> paritree.Map:
    """Each path with itself."""
    wing = paritree.wing(pair.reference)
    tensors = wing.stored_tensors(pair.reference)
    return identity_map(tensors, tensors, (wing.NAME, wing.NAME))


def with_tie_lost(model: Annotated, mesh: Mesh) -> Annotated:
    whole = NamedSharding(mesh, P())
    model.out = nnx.clone(model.embed)
    for each in (model.embed, model.out):
        each.embedding.set_raw_value(jax.device_put(each.embedding[...], whole))
    return model


def renamed(model: Any, mesh: Mesh) -> Any:
    module, variables = model
    params = {("top" if name == "down" else name): each for name, each in variables["params"].items()}
    return module, {**variables, "params": params}


KIND = "flax"
CLEAN: dict[str, Callable[[], paritree.Pair]] = {
    "NNX, annotated": nnx_pair,
    "NNX, shardings given": lambda: nnx_pair(port_sharding={"up.kernel": P(None, "data")}),
    "NNX, gradients of its own": lambda: nnx_trained(averaged),
    "Linen, gradients of its own": lambda: linen_trained(lambda each: jax.lax.pmean(each, "data")),
    "Linen, boxes": lambda: linen_pair(Boxed()),
    "Linen, logical axes": lambda: linen_pair(Boxed(logical=True)),
    "Linen, in parts": mapped_pair,
}
FAULTS: dict[str, tuple[Callable[[], paritree.Pair], str, str, str]] = {
    "a tie lost": (
        lambda: nnx_pair(port_sharding=with_tie_lost),
        "lost tie",
        "embed.embedding",
        "sharded, out.embedding is not embed.embedding any more",
    ),
    "an embedding's gradient that is not reduced": (
        lambda: nnx_trained(all_but_the_embedding),
        "not reduced",
        "embed.embedding",
        "so that it was never summed over them",
    ),
    "a gradient that is summed": (
        lambda: linen_trained(lambda each: jax.lax.psum(each, "data")),
        "summed too often",
        "params.up.kernel",
        "the gradient of port_gradients is 4 times that of one device, the size of 'data'",
    ),
    "a name lost": (
        lambda: linen_pair(Boxed(), port_sharding=renamed),
        "lost name",
        "params.down.kernel",
        "'params.down.kernel'",
    ),
    "one key on all shards": (
        lambda: mapped_pair(key=lambda key: key),
        "dropout key",
        "",
        "pairs of rows have one mask, since the key is the same on all shards",
    ),
    "statistics of a shard": (
        lambda: mapped_pair(axis_name=None),
        "statistic of a shard",
        "batch_stats.norm.mean",
        "the statistic is that of a shard and not of the batch",
    ),
}
REFUSED: dict[str, tuple[Any, str]] = {}
