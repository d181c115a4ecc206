"""I16: zeroing the bias of a layer that has none."""

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ... import canonical
from ...record import Behaviour, Verdict, raised


def in_torch():
    zeroed = []

    def zero_bias(module):
        if module.bias is not None:
            nn.init.zeros_(module.bias)
            zeroed.append("bias")

    layer = nn.Linear(4, 8, bias=False)
    layer.apply(zero_bias)
    return {
        "parameters": [name for name, _ in layer.named_parameters()],
        "asking for the bias and zeroing it": raised(lambda: nn.init.zeros_(layer.bias)),
        "zeroed by the guarded rule": zeroed,
    }


def in_linen():
    zeroed = []

    def zero_bias(path, old):
        if path[-1].key != "bias":
            return old
        zeroed.append(path[-1].key)
        return jnp.zeros_like(old)

    layer = linen.Dense(8, use_bias=False, bias_init=linen.initializers.zeros)  # never called
    params = layer.init(jax.random.key(0), jnp.ones((1, 4)))["params"]
    jax.tree.map_with_path(zero_bias, params)
    return {
        "parameters": list(params),
        "asking for the bias and zeroing it": raised(lambda: jnp.zeros_like(params["bias"])),
        "zeroed by the guarded rule": zeroed,
    }


def in_nnx():
    zeroed = []

    def zero_bias(module):
        if module.bias is not None:
            module.bias[...] = jnp.zeros(module.bias.shape)
            zeroed.append("bias")

    def zero_bias_unguarded():
        layer.bias[...] = jnp.zeros(8)

    layer = nnx.Linear(4, 8, use_bias=False, rngs=nnx.Rngs(0))
    zero_bias(layer)
    return {
        "parameters": list(nnx.state(layer, nnx.Param)),
        "asking for the bias and zeroing it": raised(zero_bias_unguarded),
        "zeroed by the guarded rule": zeroed,
    }


RECORD = Behaviour(
    id="I16",
    title="A layer without a bias breaks an initializer that asks for one",
    statement=(
        "With bias=False the attribute is still there, as None: `zeros_(m.bias)` raises AttributeError in PyTorch, and "
        "assigning to it TypeError in NNX, until a guard asks `is not None`. A Linen rule by path walks over what is "
        "there, so it needs no guard and is unaffected."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"parameters": canonical.names},
    reason=(
        "PyTorch and NNX keep an absent bias as an attribute that is None, so that the layer's code can test it; in "
        "Linen's `params` an absent parameter is an absent key. The three errors are Python's, for None and for a "
        "missing key."
    ),
    notes=(
        "Linen raises too if the tree is asked for the key by name; the rule by path never asks. `bias_init` beside "
        "use_bias=False is ignored.",
        "The same walk is possible elsewhere: `named_parameters()` and `nnx.state` leave an absent bias out.",
    ),
)
