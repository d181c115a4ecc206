"""A small language model as a pytree, parted by `shard_map` over data and model; right, and wrong in one thing each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import paritree
from paritree.pairs.records import identity_map

Tree = dict[str, Any]
VOCABULARY, WIDTH, INNER, BATCH, LENGTH = 12, 6, 8, 8, 5
SPECS = {
    "embed": P(),
    "up": P(None, "model"),
    "up_bias": P("model"),
    "down": P("model", None),
    "down_bias": P(),
}


def mesh(kind: AxisType = AxisType.Auto, shape: tuple[int, int] = (4, 2)) -> Mesh:
    return jax.make_mesh(shape, ("data", "model"), axis_types=(kind, kind))


def parameters(seed: int = 0) -> Tree:
    random = np.random.default_rng(seed)
    shapes = {
        "embed": (VOCABULARY, WIDTH),
        "up": (WIDTH, INNER),
        "up_bias": (INNER,),
        "down": (INNER, WIDTH),
        "down_bias": (WIDTH,),
    }
    return {name: jnp.asarray(0.3 * random.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def batch() -> tuple[np.ndarray, np.ndarray]:
    """Tokens, and which of them count: each row has another number."""
    random = np.random.default_rng(1)
    tokens = random.integers(0, VOCABULARY, (BATCH, LENGTH)).astype(np.int32)
    counts = np.arange(BATCH) % LENGTH + 1
    return tokens, (np.arange(LENGTH) < counts[:, None]).astype(np.float32)


def plain(params: Tree, inputs: Any) -> jax.Array:
    x = params["embed"][inputs[0]]
    h = jnp.tanh(x @ params["up"] + params["up_bias"])
    return (x + h @ params["down"] + params["down_bias"]) @ params["embed"].T


@dataclass(frozen=True)
class Program:
    """What the parted program does in each place.

    down: the sum over `model`, and where the bias comes in.
    """

    down: Callable[[jax.Array, jax.Array], jax.Array] = lambda part, bias: jax.lax.psum(part, "model") + bias
    check: bool = True

    def local(self, params: Tree, tokens: jax.Array) -> jax.Array:
        x = params["embed"][tokens]
        h = jnp.tanh(x @ params["up"] + params["up_bias"])
        return (x + self.down(h @ params["down"], params["down_bias"])) @ params["embed"].T

    def call(self, params: Tree, inputs: Any) -> jax.Array:
        specs = {"in_specs": (SPECS, P("data")), "out_specs": P("data"), "check_vma": self.check}
        return jax.shard_map(self.local, **specs)(params, inputs[0])


def loss_of(logits: jax.Array, tokens: jax.Array, counts: jax.Array) -> jax.Array:
    """The sum over the tokens that count."""
    told = jax.nn.log_softmax(logits)
    return -(jnp.take_along_axis(told, tokens[..., None], -1)[..., 0] * counts).sum()


@dataclass(frozen=True)
class Training:
    """Data parallel gradients as a training loop takes them, all parameters whole on each device.

    denominator: what the loss is divided by, of what counts on a device. reduced: gradients by name, over the mesh.
    """

    denominator: Callable[[jax.Array], jax.Array] = lambda counts: jax.lax.psum(counts.sum(), "data")
    reduced: Callable[[str, jax.Array], jax.Array] = lambda name, gradient: jax.lax.psum(gradient, "data")

    def gradients(self, params: Tree, inputs: Any) -> tuple[jax.Array, Tree]:
        def body(params: Tree, tokens: jax.Array, counts: jax.Array) -> tuple[jax.Array, Tree]:
            count = self.denominator(counts)
            value, found = jax.value_and_grad(lambda own: loss_of(plain(own, (tokens,)), tokens, counts) / count)(
                params
            )
            return self.reduced("loss", value), {name: self.reduced(name, each) for name, each in found.items()}

        specs = (P(), P("data"), P("data"))
        return jax.shard_map(body, in_specs=specs, out_specs=(P(), P()), check_vma=False)(params, *inputs)


def pair(program: Program | None = None, **others: Any) -> paritree.Pair:
    """The plain program as the reference, and the parted one as the port."""
    program = program or Program()
    given: dict[str, Any] = {
        "reference_call": plain,
        "reference_train_call": plain,
        "port_call": program.call,
        "port_train_call": program.call,
        "port_sharding": SPECS,
        "input_sharding": P("data"),
    }
    if "mesh" not in others:
        given["mesh"] = mesh()
    return paritree.Pair(parameters(), parameters(), batch(), **(given | others))


def map_of(pair: paritree.Pair) -> paritree.Map:
    """Each path with itself."""
    from paritree.impl_jax.pytrees import stored_tensors

    return identity_map(stored_tensors(pair.reference), stored_tensors(pair.port), ("pytree", "pytree"))


def data_parallel(training: Training) -> paritree.Pair:
    """The plain program on a mesh, with gradients of its own."""
    return pair(port_call=plain, port_train_call=plain, port_sharding=None, port_gradients=training.gradients)


def _added_before(part: jax.Array, bias: jax.Array) -> jax.Array:
    return jax.lax.psum(part + bias, "model")


def _unreduced(name: str, gradient: jax.Array) -> jax.Array:
    return gradient if name == "embed" else jax.lax.psum(gradient, "data")


def explicit(params: Tree, inputs: Any) -> jax.Array:
    """Over axes whose parts are in the types of arrays."""
    x = params["embed"].at[inputs[0]].get(out_sharding=P("data", None, None))
    h = jnp.tanh(x @ params["up"] + params["up_bias"])
    down = jnp.dot(h, params["down"], out_sharding=P("data", None, None)) + params["down_bias"]
    return (x + down) @ params["embed"].T


KIND = "pytree"


def told_the_mesh(params: Tree, inputs: Any, mesh: Mesh) -> jax.Array:
    """With an annotation that names the mesh itself."""
    logits = plain(params, inputs)
    return jax.lax.with_sharding_constraint(logits, NamedSharding(mesh, P("data")))


def with_its_own_mesh() -> paritree.Pair:
    whole = mesh()

    def call(params: Tree, inputs: Any) -> jax.Array:
        return told_the_mesh(params, inputs, whole)

    return pair(port_call=call, port_train_call=call)


CLEAN: dict[str, Callable[[], paritree.Pair]] = {
    "parted": pair,
    "data parallel": lambda: data_parallel(Training()),
    "averaged": lambda: data_parallel(
        Training(lambda counts: jax.lax.pmean(counts.sum(), "data"), lambda _, each: jax.lax.pmean(each, "data"))
    ),
    "an explicit mesh": lambda: pair(port_call=explicit, port_train_call=explicit, mesh=mesh(AxisType.Explicit)),
    "told the mesh": lambda: pair(port_call=told_the_mesh, port_train_call=told_the_mesh),
    "by another mesh": lambda: pair(mesh=mesh(shape=(2, 4))),
}


def _renamed(params: Tree, mesh: Mesh) -> Tree:
    return {{"up": "upper"}.get(name, name): each for name, each in params.items()}


def _coarse(params: Tree, mesh: Mesh) -> Tree:
    return {name: each.astype(jnp.bfloat16).astype(each.dtype) for name, each in params.items()}


# The cause, the path, and a part of the message.
FAULTS: dict[str, tuple[Callable[[], paritree.Pair], str, str, str]] = {
    "a bias added on each shard": (
        lambda: pair(Program(_added_before)),
        "added on each",
        "down_bias",
        "With 2 times down_bias one device gives the same: it is added on each of the 2 devices of 'model'",
    ),
    "no sum over the shards": (
        lambda: pair(Program(lambda part, bias: part + bias, check=False)),
        "not reduced",
        "",
        "is not one: what devices hold of it, and take for the same, differs by",
    ),
    "a mean in the place of a sum": (
        lambda: pair(Program(lambda part, bias: jax.lax.pmean(part, "model") + bias)),
        "averaged",
        "down",
        "With 1/2 of down one device gives the same: the mean over the 2 devices of 'model' is in the place of a sum",
    ),
    "an embedding's gradient that is not reduced": (
        lambda: data_parallel(Training(reduced=_unreduced)),
        "not reduced",
        "embed",
        "so that it was never summed over them",
    ),
    "a gradient summed twice": (
        lambda: data_parallel(Training(reduced=lambda _, each: jax.lax.psum(jax.lax.psum(each, "data"), "data"))),
        "summed too often",
        "embed",
        "is 4 times that of one device, the size of 'data'",
    ),
    "a sum over an axis that holds copies": (
        lambda: data_parallel(Training(reduced=lambda _, each: jax.lax.psum(each, ("data", "model")))),
        "summed too often",
        "embed",
        "is 2 times that of one device, the size of 'model'",
    ),
    "a mean over the local batch": (
        lambda: data_parallel(
            Training(lambda counts: jax.lax.pmean(counts.sum(), "data"), lambda _, each: jax.lax.psum(each, "data"))
        ),
        "summed too often",
        "embed",
        "it is summed over these once too often, or not averaged",
    ),
    "averaged where it is to be summed": (
        lambda: data_parallel(Training(reduced=lambda _, each: jax.lax.pmean(each, "data"))),
        "averaged",
        "embed",
        "is 1/4 of that of one device",
    ),
    "a loss divided by local tokens": (
        lambda: data_parallel(Training(lambda counts: counts.sum(), lambda _, each: jax.lax.pmean(each, "data"))),
        "mean of means",
        "embed",
        "It is the mean over 4 parts of the batch",
    ),
    "a name lost": (
        lambda: pair(port_call=plain, port_train_call=plain, port_sharding=_renamed),
        "lost name",
        "up",
        "the port has no tensor 'up' any more",
    ),
    "values rounded": (
        lambda: pair(port_call=plain, port_train_call=plain, port_sharding=_coarse),
        "values",
        "embed",
        "sharding changes its values: it differs by",
    ),
}
# What check refuses, and a part of what it says.
REFUSED: dict[str, tuple[Callable[[], paritree.Pair], str]] = {
    "a mesh of its own": (
        with_its_own_mesh,
        "Let its call name axes alone, as PartitionSpec('data') does under jax.set_mesh, or take the mesh as an "
        "argument: call(model, inputs, mesh).",
    ),
}
