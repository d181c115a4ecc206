"""T4: assigning a plain array over a parameter."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ... import canonical
from ...record import Behaviour, Verdict, raised


def in_torch():
    def names_with_gradient():
        layer.zero_grad()
        layer(torch.ones(1, 2)).sum().backward()
        return sorted(name for name, parameter in layer.named_parameters() if parameter.grad is not None)

    def assign():
        layer.bias = torch.ones(3)

    layer = nn.Linear(2, 3)
    error = raised(assign)
    parameters, after = sorted(dict(layer.named_parameters())), names_with_gradient()
    nn.init.ones_(layer.bias)  # the right way
    return {
        "assigning the array": error,
        "parameters after it": parameters,
        "gradients after it": after,
        "gradients after the right way": names_with_gradient(),
    }


def in_linen():
    class Linear(linen.Module):
        def setup(self):
            self.kernel = self.param("kernel", linen.initializers.lecun_normal(), (2, 3))
            self.bias = self.param("bias", linen.initializers.zeros, (3,))

        def __call__(self, x):
            return x @ self.kernel + self.bias

    def names_with_gradient():
        return sorted(jax.grad(lambda params: layer.apply({"params": params}, jnp.ones((1, 2))).sum())(params))

    def assign():
        layer.bind({"params": params}).bias = jnp.ones(3)

    layer = Linear()
    params = layer.init(jax.random.key(0), jnp.ones((1, 2)))["params"]
    error = raised(assign)
    parameters, after = sorted(params), names_with_gradient()
    params["bias"] = jnp.ones(3)  # the right way: the parameters are a dict
    return {
        "assigning the array": error,
        "parameters after it": parameters,
        "gradients after it": after,
        "gradients after the right way": names_with_gradient(),
    }


def in_nnx():
    def names_with_gradient():
        return sorted(nnx.grad(lambda layer: layer(jnp.ones((1, 2))).sum())(layer))

    layer = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    layer.bias[...] = jnp.ones(3)  # the right way
    right = names_with_gradient()

    layer.bias = jnp.ones(3)  # the bias was a Param
    return {
        "assigning the array": f"accepted, and the bias is a Param: {isinstance(layer.bias, nnx.Param)}",
        "parameters after it": sorted(nnx.state(layer, nnx.Param)),
        "gradients after it": names_with_gradient(),
        "gradients after the right way": right,
    }


RECORD = Behaviour(
    id="T4",
    title="Assigning an array over a parameter: an error in PyTorch, a silent demotion in NNX",
    statement=(
        "PyTorch refuses to put a tensor where a Parameter is registered. NNX accepts the array: from then on the "
        "attribute is no Param, has no gradient and is not trained, and the forward still runs. A Linen module is "
        "frozen outside `setup`, and its parameters are not on it."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"gradients after the right way": canonical.names},
    expect={"nnx": {"parameters after it": ["kernel"], "gradients after it": ["kernel"]}},
    reason=(
        "`nn.Module.__setattr__` guards its registry, and a frozen Linen module guards itself. An NNX module is an "
        "ordinary Python object without a registry: what an attribute is, is decided by the value it holds now."
    ),
    notes=(
        "The mistake is easily made: `m.kernel = m.kernel * 2` reads as an update, and the product of a Param is a "
        "plain array (T2). Write `m.kernel[...] *= 2`, or assign a new nnx.Param.",
        "The demoted array stays in `nnx.state(m)` (T1), so a checkpoint looks complete. PyTorch has one silent case, "
        "`m.weight = None`, which removes the parameter.",
    ),
)
