"""L3: initializing a lazy net before its first call."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...canonical import names, shapes
from ...record import Absent, Behaviour, Verdict, raised


def in_torch():
    def by_type(module):
        if type(module) == nn.Linear:  # noqa: E721 - the habit that this row is about
            nn.init.ones_(module.weight)

    def by_isinstance(module):
        if isinstance(module, nn.Linear):
            nn.init.ones_(module.weight)

    def shapes_of(net):
        return {name: tuple(weight.shape) for name, weight in net.named_parameters()}

    def ones(net):
        return [name for name, weight in net.named_parameters() if (weight == 1).all()]

    eager = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    before = shapes_of(eager)
    eager.apply(by_isinstance)

    lazy = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(1))
    lazy.apply(by_type)  # no error: type(LazyLinear) is not Linear, so no layer is chosen
    still_lazy = lazy[0].has_uninitialized_params()
    error = raised(lambda: lazy.apply(by_isinstance))  # a LazyLinear is a Linear, but it has no weight to fill
    lazy(torch.ones(2, 4))
    missed = ones(lazy)
    lazy.apply(by_type)
    return {
        "shapes before the call": shapes_of(eager),
        "initializing changed a shape": shapes_of(eager) != before,
        "lazy, chosen by type: still without shapes": still_lazy,
        "lazy, chosen by type: weights set": missed,
        "lazy, chosen by isinstance": error,
        "call first, then initialize: weights set": ones(lazy),
    }


def in_linen():
    # The initializer is an argument of the layer. It runs inside init, when the shape is known.
    one = linen.initializers.ones
    net = linen.Sequential([linen.Dense(8, kernel_init=one), linen.relu, linen.Dense(1, kernel_init=one)])
    params = flatten_dict(net.init(jax.random.key(0), jnp.ones((2, 4)))["params"], sep=".")
    return {
        "shapes before the call": Absent("there are no parameters to show before init"),
        "initializing changed a shape": Absent("init is what makes the shapes"),
        "lazy, chosen by type: still without shapes": Absent("a Linen initializer is not applied to a built layer"),
        "lazy, chosen by type: weights set": Absent("a Linen initializer is not applied to a built layer"),
        "lazy, chosen by isinstance": Absent("a Linen initializer is not applied to a built layer"),
        "call first, then initialize: weights set": [name for name, array in params.items() if (array == 1).all()],
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))

    def flat(model):
        return {".".join(map(str, path)): param for path, param in nnx.to_flat_state(nnx.state(model, nnx.Param))}

    before = {name: param.shape for name, param in flat(net).items()}
    for _, module in nnx.iter_modules(net):
        if isinstance(module, nnx.Linear):
            module.kernel[...] = jnp.ones_like(module.kernel)
    after = {name: param.shape for name, param in flat(net).items()}
    return {
        "shapes before the call": after,
        "initializing changed a shape": after != before,
        "lazy, chosen by type: still without shapes": Absent("NNX has no lazy layers"),
        "lazy, chosen by type: weights set": Absent("NNX has no lazy layers"),
        "lazy, chosen by isinstance": Absent("NNX has no lazy layers"),
        "call first, then initialize: weights set": [name for name, p in flat(net).items() if (p[...] == 1).all()],
    }


RECORD = Behaviour(
    id="L3",
    title="An initializer applied to a lazy net fails aloud or, worse, does nothing",
    statement="An eager net has its shapes before the first call, and initializing does not change them. On a lazy "
    "net an initializer that chooses layers by `type(m) == Linear` skips them all without a word, and one that uses "
    "isinstance raises ValueError. Call the net first.",
    verdict=Verdict.ABSENT,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"shapes before the call": shapes, "call first, then initialize: weights set": names},
    expect={
        "torch": {
            "lazy, chosen by type: weights set": [],
            "lazy, chosen by isinstance": "ValueError",
            "initializing changed a shape": False,
        },
        "nnx": {"initializing changed a shape": False},
    },
    reason="Only PyTorch has a layer that exists before its weight does. In Linen the initializer is part of the "
    "layer's definition and runs when the shape is known; in NNX the shape is always known.",
    notes=(
        "The silent skip depends on when it runs: after the first call a LazyLinear's class is Linear, and the same "
        "initializer finds it.",
        "This answers notebook S3's question on the shapes after apply(init) and before net(x); E6 gives the table.",
    ),
    sources=("S3",),
)
