"""E6: which shapes are there after apply(init) and before net(x)?"""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn
from torch.nn.parameter import is_lazy

from ...canonical import shapes
from ...record import Absent, Behaviour, Verdict


def in_torch():
    def init(module):
        if isinstance(module, nn.Linear) and not is_lazy(module.weight):
            nn.init.xavier_uniform_(module.weight)

    def shapes_of(net):
        return {name: None if is_lazy(weight) else tuple(weight.shape) for name, weight in net.named_parameters()}

    eager = nn.Sequential(nn.Linear(20, 256), nn.ReLU(), nn.Linear(256, 10))
    lazy = nn.Sequential(nn.LazyLinear(256), nn.ReLU(), nn.LazyLinear(10))
    answers = {}
    for kind, net in (("eager", eager), ("lazy", lazy)):
        net.apply(init)
        answers[f"{kind}, before net(x)"] = shapes_of(net)
        net(torch.ones(2, 20))
        answers[f"{kind}, after net(x)"] = shapes_of(net)
    return answers


def in_linen():
    xavier = linen.initializers.xavier_uniform()
    net = linen.Sequential([linen.Dense(256, kernel_init=xavier), linen.relu, linen.Dense(10, kernel_init=xavier)])

    def shapes_of(variables):
        return {name: array.shape for name, array in flatten_dict(variables.get("params", {}), sep=".").items()}

    variables = net.init(jax.random.key(0), jnp.ones((2, 20)))
    return {
        "eager, before net(x)": Absent("a Linen layer has no parameters before init"),
        "eager, after net(x)": Absent("a Linen layer has no parameters before init"),
        "lazy, before net(x)": shapes_of(net.bind({}).variables),
        "lazy, after net(x)": shapes_of(variables),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(20, 256, rngs=rngs), nnx.relu, nnx.Linear(256, 10, rngs=rngs))

    def shapes_of(model):
        flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
        return {".".join(map(str, path)): param.shape for path, param in flat}

    for _, module in nnx.iter_modules(net):
        if isinstance(module, nnx.Linear):
            module.kernel[...] = nnx.initializers.xavier_uniform()(rngs(), module.kernel.shape)
    before = shapes_of(net)
    net(jnp.ones((2, 20)))
    return {
        "eager, before net(x)": before,
        "eager, after net(x)": shapes_of(net),
        "lazy, before net(x)": Absent("NNX has no lazy layers"),
        "lazy, after net(x)": Absent("NNX has no lazy layers"),
    }


_SHAPES = {"0.weight": (256, 20), "0.bias": (256,), "2.weight": (10, 256), "2.bias": (10,)}

RECORD = Behaviour(
    id="E6",
    title="Before the first call an eager net has all its shapes, a lazy one none",
    question="What shapes do the parameters have after `net.apply(init)` and before the first `net(x)`?",
    statement="Asked after apply(init) and before net(x), an eager net answers with the shapes that it always had: "
    "neither initializing nor calling changes them. A lazy PyTorch net lists its parameters without shapes, and a "
    "Linen net lists none.",
    verdict=Verdict.ABSENT,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"eager, before net(x)": shapes, "eager, after net(x)": shapes, "lazy, after net(x)": shapes},
    expect={
        "torch": {
            "eager, before net(x)": _SHAPES,
            "eager, after net(x)": _SHAPES,
            "lazy, before net(x)": dict.fromkeys(_SHAPES),
            "lazy, after net(x)": _SHAPES,
        },
        "linen": {"lazy, before net(x)": {}},
    },
    reason="Every Linen layer is lazy and no NNX layer is, so each of the two has half of the question; only PyTorch "
    "has both kinds.",
    notes=(
        "None stands for a parameter that is listed but has no shape yet.",
        "The initializer here passes lazy layers by on purpose. L3 shows what one that does not ask meets: silence "
        "with `type ==`, a ValueError with isinstance. Either way a lazy net leaves its first call with PyTorch's "
        "default initial values, so apply(init) belongs after it.",
    ),
    sources=("S3",),
)
