"""W9: one layer called several times in the forward pass."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import names
from ...record import Behaviour, Verdict, raised


def in_torch():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.s = nn.Linear(4, 4)

        def forward(self, x):
            return self.s(self.s(self.s(x)))

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.s = nn.Linear(4, 4)
            self.s = nn.Linear(4, 3)  # an attribute is assigned anew; the first layer is gone

    net = Net()
    with torch.no_grad():
        net.s.weight.copy_(0.5 * torch.eye(4))
        net.s.bias.fill_(1.0)
    net(torch.ones(1, 4)).sum().backward()
    return {
        "parameters": [name for name, _ in net.named_parameters()],
        "output": net(torch.ones(1, 4)).tolist(),
        "gradient of the bias": net.s.bias.grad.tolist(),
        "the name declared twice": list(Twice().state_dict()),
    }


def in_linen():
    class Net(linen.Module):
        def setup(self):
            self.s = linen.Dense(4)

        def __call__(self, x):
            return self.s(self.s(self.s(x)))

    class Compact(linen.Module):  # the same net, its layer held by a local variable
        @linen.compact
        def __call__(self, x):
            s = linen.Dense(4, name="s")
            return s(s(s(x)))

    class Twice(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.Dense(4, name="s")(x)
            return linen.Dense(3, name="s")(x)

    net, key, x = Net(), jax.random.key(0), jnp.ones((1, 4))
    paths = list(flatten_dict(net.init(key, x)["params"], sep="."))
    assert paths == list(flatten_dict(Compact().init(key, x)["params"], sep="."))

    params = {"s": {"kernel": 0.5 * jnp.eye(4), "bias": jnp.ones(4)}}
    gradient = jax.grad(lambda p: net.apply({"params": p}, x).sum())(params)
    return {
        "parameters": paths,
        "output": net.apply({"params": params}, x).tolist(),
        "gradient of the bias": gradient["s"]["bias"].tolist(),
        "the name declared twice": raised(lambda: Twice().init(key, x)),
    }


def in_nnx():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.s = nnx.Linear(4, 4, rngs=rngs)

        def __call__(self, x):
            return self.s(self.s(self.s(x)))

    class Twice(nnx.Module):
        def __init__(self, rngs):
            self.s = nnx.Linear(4, 4, rngs=rngs)
            self.s = nnx.Linear(4, 3, rngs=rngs)

    net, x = Net(nnx.Rngs(0)), jnp.ones((1, 4))
    net.s.kernel[...] = 0.5 * jnp.eye(4)
    net.s.bias[...] = jnp.ones(4)
    gradient = nnx.grad(lambda net: net(x).sum())(net)
    return {
        "parameters": [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param))],
        "output": net(x).tolist(),
        "gradient of the bias": gradient["s"]["bias"][...].tolist(),
        "the name declared twice": [
            ".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(Twice(nnx.Rngs(0)), nnx.Param))
        ],
    }


RECORD = Behaviour(
    id="W9",
    title="Calling a layer three times is a tie without a second slot",
    statement="A net whose forward pass calls one layer three times has that layer's parameters once, and their "
    "gradient is the sum over the three sites.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"parameters": names},
    expect={"linen": {"the name declared twice": "NameInUseError"}},
    reason="In PyTorch and NNX a layer is the value of an attribute, and a second assignment replaces the first. A "
    "Linen layer is found by its name, so a second declaration of the name would be a second claim on the same "
    "parameters; Linen refuses it.",
    notes=(
        "With weight I/2 and bias 1, the input 1 gives 1/2 + 1 = 3/2, then 7/4, then 15/8; the bias's gradient is "
        "1 + 1/2 + 1/4 = 7/4, one term for each site.",
        "To use a Linen layer again, keep it in a variable and call that; setup and compact both allow it.",
    ),
    sources=("S1",),
)
