"""I17: what a layer's draws depend on."""

from zlib import crc32

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...figures import Equals
from ...record import Behaviour, Verdict


def build_in_torch(*names):
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Linear(8, 8) for name in names})


def in_torch():
    build = build_in_torch

    def build_by_name(*names):
        net = build(*names)
        for name, layer in net.items():
            generator = torch.Generator().manual_seed(crc32(name.encode()))
            nn.init.normal_(layer.weight, generator=generator)
        return net

    def same(layer, other):
        return torch.equal(layer.weight, other.weight)

    ab, ba, zb = build("a", "b"), build("b", "a"), build("z", "b")
    return {
        "a keeps its draws if b is built first": same(ab["a"], ba["a"]),
        "a keeps its draws if it is renamed z": same(ab["a"], zb["z"]),
        "a and b, each on seed 0, are clones": same(build("a")["a"], build("b")["b"]),
        "keyed by name, a keeps its draws if b is built first": same(
            build_by_name("a", "b")["a"], build_by_name("b", "a")["a"]
        ),
    }


def build_in_linen(*names):
    class Net(linen.Module):
        names: tuple

        def setup(self):
            for name in self.names:
                setattr(self, name, linen.Dense(8))

        def __call__(self, x):
            for name in self.names:
                x = getattr(self, name)(x)
            return x

    return Net(names).init(jax.random.key(0), jnp.ones((1, 8)))["params"]


def in_linen():
    build = build_in_linen

    def same(layer, other):
        return jnp.array_equal(layer["kernel"], other["kernel"]).item()

    ab, ba, zb = build("a", "b"), build("b", "a"), build("z", "b")
    layers = [linen.Dense(8).init(jax.random.key(0), jnp.ones((1, 8)))["params"] for _ in range(2)]
    return {
        "a keeps its draws if b is built first": same(ab["a"], ba["a"]),
        "a keeps its draws if it is renamed z": same(ab["a"], zb["z"]),
        "a and b, each on seed 0, are clones": same(*layers),
        "keyed by name, a keeps its draws if b is built first": same(ab["a"], ba["a"]),  # Linen's own rule
    }


def build_in_nnx(*names):
    rngs = nnx.Rngs(0)
    return nnx.Dict({name: nnx.Linear(8, 8, rngs=rngs) for name in names})


def in_nnx():
    build = build_in_nnx

    def build_by_name(*names):
        def rngs(name):
            return nnx.Rngs(jax.random.fold_in(jax.random.key(0), crc32(name.encode())))

        return nnx.Dict({name: nnx.Linear(8, 8, rngs=rngs(name)) for name in names})

    def same(layer, other):
        return jnp.array_equal(layer.kernel[...], other.kernel[...]).item()

    ab, ba, zb = build("a", "b"), build("b", "a"), build("z", "b")
    return {
        "a keeps its draws if b is built first": same(ab["a"], ba["a"]),
        "a keeps its draws if it is renamed z": same(ab["a"], zb["z"]),
        "a and b, each on seed 0, are clones": same(build("a")["a"], build("b")["b"]),
        "keyed by name, a keeps its draws if b is built first": same(
            build_by_name("a", "b")["a"], build_by_name("b", "a")["a"]
        ),
    }


BUILT = {"a, then b": ("a", "b"), "b, then a": ("b", "a"), "z, then b": ("z", "b")}


def kernels(build, weight_of):
    """The weight of each layer, of nets that are built in several ways on one seed."""
    return lambda: {
        head: {name: weight_of(build(*names)[name]) for name in sorted(names)} for head, names in BUILT.items()
    }


RECORD = Behaviour(
    id="I17",
    title="Draws follow the construction order in PyTorch and NNX, the name in Linen",
    statement=(
        "Two layers, a and b, are built in either order on one seed. In PyTorch and NNX a's draws change with the "
        "order and not with its name; in Linen with its name and not with the order. Keying each layer by its name "
        "frees all three from the order."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"a keeps its draws if b is built first": False},
        "linen": {"a keeps its draws if b is built first": True},
        "nnx": {"a keeps its draws if b is built first": False},
    },
    reason=(
        "PyTorch draws from one generator whose state every draw advances, and `nnx.Rngs` counts its calls: whatever "
        "is drawn before a layer decides what the layer gets. Linen folds the parameter's path into the key, so no "
        "layer can disturb another."
    ),
    notes=(
        "Inserting a layer therefore changes all later draws in PyTorch and NNX, and a refactoring of the constructor "
        "changes a seeded experiment.",
        "Linen's names under @nn.compact are numbered in the order of construction (Dense_0, Dense_1), so there an "
        "inserted layer renames, and redraws, the later ones of its class. Names given in setup do not move.",
        "A key that is used twice gives the same draws twice: layers of one shape begin as clones.",
    ),
    figures=(
        Equals(
            "torch",
            "the first layer built draws A",
            kernels(build_in_torch, lambda layer: layer.weight.detach()),
            "One letter is one set of numbers; each box begins with its first one.",
        ),
        Equals(
            "linen",
            "the name decides",
            kernels(build_in_linen, lambda layer: layer["kernel"]),
            "The order is nothing to `a` and `b`, and the new name `z` draws anew.",
        ),
        Equals(
            "nnx",
            "the first layer built draws A",
            kernels(build_in_nnx, lambda layer: layer.kernel[...]),
            "As in PyTorch: what is drawn before decides, and the name does not.",
        ),
    ),
)
