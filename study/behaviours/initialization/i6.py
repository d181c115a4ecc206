"""I6: an initializer for each named sub-block."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ... import canonical
from ...record import Behaviour, Verdict


def in_torch():
    class Block(nn.Sequential):
        def __init__(self, size_in, size_out):
            super().__init__()
            self.add_module("Linear_1", nn.Linear(size_in, 8))
            self.add_module("Linear_2", nn.Linear(8, size_out))

    def xavier(module):
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)

    def all_42(module):
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 42)

    torch.manual_seed(0)
    net = nn.Sequential()
    net.add_module("first", Block(4, 4))
    net.add_module("second", Block(4, 1))
    old = {path: p.detach().clone() for path, p in net.named_parameters()}
    net.first.apply(xavier)
    net.second.apply(all_42)
    new = dict(net.named_parameters())
    return {
        "changed": [path for path in new if not torch.equal(old[path], new[path])],
        "all 42": [path for path in new if (new[path] == 42).all()],
        "first.Linear_1.weight lies within its Xavier bound": (
            net.first.Linear_1.weight.abs().max().item() <= (6 / (4 + 8)) ** 0.5
        ),
    }


def in_linen():
    class Block(linen.Module):
        size_out: int

        def setup(self):
            self.Linear_1 = linen.Dense(8)
            self.Linear_2 = linen.Dense(self.size_out)

        def __call__(self, x):
            return self.Linear_2(self.Linear_1(x))

    class Net(linen.Module):
        def setup(self):
            self.first, self.second = Block(4), Block(1)

        def __call__(self, x):
            return self.second(self.first(x))

    xavier, all_42 = linen.initializers.xavier_uniform(), linen.initializers.constant(42.0)

    def by_prefix(path, old):
        block, *_, leaf = (part.key for part in path)
        rule = {"first": xavier, "second": all_42}[block]
        return rule(jax.random.key(1), old.shape) if leaf == "kernel" else old

    old = Net().init(jax.random.key(0), jnp.ones((1, 4)))["params"]
    new = jax.tree.map_with_path(by_prefix, old)
    rows = [
        (jax.tree_util.keystr(path, simple=True, separator="."), before, after)
        for (path, before), after in zip(jax.tree.leaves_with_path(old), jax.tree.leaves(new), strict=True)
    ]
    return {
        "changed": [name for name, before, after in rows if not jnp.array_equal(before, after)],
        "all 42": [name for name, _, after in rows if (after == 42).all()],
        "first.Linear_1.weight lies within its Xavier bound": (
            jnp.abs(new["first"]["Linear_1"]["kernel"]).max().item() <= (6 / (4 + 8)) ** 0.5
        ),
    }


def in_nnx():
    class Block(nnx.Module):
        def __init__(self, size_in, size_out, rngs):
            self.Linear_1 = nnx.Linear(size_in, 8, rngs=rngs)
            self.Linear_2 = nnx.Linear(8, size_out, rngs=rngs)

    class Net(nnx.Module):
        def __init__(self, rngs):
            self.first, self.second = Block(4, 4, rngs), Block(4, 1, rngs)

    def reinitialize(block, initializer, rngs):
        for _, module in nnx.iter_modules(block):
            if isinstance(module, nnx.Linear):
                module.kernel[...] = initializer(rngs.params(), module.kernel.shape)

    net = Net(nnx.Rngs(0))
    old = nnx.to_pure_dict(nnx.state(net))
    reinitialize(net.first, nnx.initializers.xavier_uniform(), nnx.Rngs(1))
    reinitialize(net.second, nnx.initializers.constant(42.0), nnx.Rngs(1))
    new = nnx.to_pure_dict(nnx.state(net))
    rows = [
        (jax.tree_util.keystr(path, simple=True, separator="."), before, after)
        for (path, before), after in zip(jax.tree.leaves_with_path(old), jax.tree.leaves(new), strict=True)
    ]
    return {
        "changed": [name for name, before, after in rows if not jnp.array_equal(before, after)],
        "all 42": [name for name, _, after in rows if (after == 42).all()],
        "first.Linear_1.weight lies within its Xavier bound": (
            jnp.abs(net.first.Linear_1.kernel[...]).max().item() <= (6 / (4 + 8)) ** 0.5
        ),
    }


RECORD = Behaviour(
    id="I6",
    title="A sub-block is re-initialized by its name: a submodule, or a prefix of the path",
    statement=(
        "Two named blocks, `first` and `second`, of two linear layers each: Xavier on the first, the constant 42 on "
        "the second. In PyTorch and NNX the name reaches a submodule, which is walked as a net of its own; in Linen it "
        "is the first part of the path. The same four weights change and no bias does."
    ),
    verdict=Verdict.RELABELLED,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"changed": canonical.names, "all 42": canonical.names},
    notes=(
        "A child that is called Linear_1 keeps its name in all wings; only the leaf is renamed, weight to kernel. In "
        "Linen the names come from attributes set in `setup`: linen.Sequential would call the children layers_0 and "
        "layers_1 (N2).",
        "The Linen rule uses one key throughout, as a short example may: layers of one shape would be clones (I17).",
    ),
    sources=("S3",),
)
