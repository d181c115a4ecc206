"""E2: the parameters of a net with a constant, a layer used twice and a while loop."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import fx, nn

from ...canonical import names
from ...record import Behaviour, Verdict, raised


def start():
    """The linear layer's weight and bias in PyTorch's layout, the constant, and an input."""
    rng = np.random.default_rng(0)
    weight, bias = rng.uniform(-0.22, 0.22, (20, 20)), rng.uniform(-0.22, 0.22, 20)
    return [array.astype(np.float32) for array in (weight, bias, rng.uniform(size=(20, 20)), rng.uniform(size=(2, 20)))]


def in_torch():
    weight, bias, constant, x = map(torch.from_numpy, start())

    class FancyMLP(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(20, 20)
            self.constant = constant  # a plain tensor; register_buffer would put it into the state dict

        def forward(self, x):
            x = self.linear(x)
            x = torch.relu(x @ self.constant + 1)
            x = self.linear(x)
            while x.norm() > 1:
                x = x / 2
            return x.sum()

    net = FancyMLP()
    net.load_state_dict({"linear.weight": weight, "linear.bias": bias})
    with torch.no_grad():
        plain = net(x)
    output = net(x)
    output.backward()
    return {
        "parameters": [name for name, _ in net.named_parameters()],
        "what else the state holds": [name for name in net.state_dict() if not name.startswith("linear")],
        "output, run eagerly": plain.item(),
        "output, run for a gradient": output.item(),
        "norm of the weight's gradient": net.linear.weight.grad.norm().item(),
        "traced": raised(lambda: fx.symbolic_trace(net)),
    }


def in_linen():
    weight, bias, constant, x = map(jnp.asarray, start())

    class FancyMLP(linen.Module):
        @linen.compact
        def __call__(self, x):
            linear = linen.Dense(20)
            held = self.variable("constants", "constant", lambda: constant)
            x = linear(x)
            x = linen.relu(x @ held.value + 1)
            x = linear(x)
            while jnp.linalg.norm(x) > 1:
                x = x / 2
            return x.sum()

    net = FancyMLP()
    variables = net.init(jax.random.key(0), x)
    params = {"Dense_0": {"kernel": weight.T, "bias": bias}}

    def apply(params):
        return net.apply({**variables, "params": params}, x)

    output, gradient = jax.value_and_grad(apply)(params)
    others = {name: tree for name, tree in variables.items() if name != "params"}
    return {
        "parameters": list(flatten_dict(variables["params"], sep=".")),
        "what else the state holds": list(flatten_dict(others, sep=".")),
        "output, run eagerly": apply(params).item(),
        "output, run for a gradient": output.item(),
        "norm of the weight's gradient": jnp.linalg.norm(gradient["Dense_0"]["kernel"]).item(),
        "traced": raised(lambda: jax.jit(apply)(params)),
    }


def in_nnx():
    weight, bias, constant, x = map(jnp.asarray, start())

    class Constant(nnx.Variable):
        """State that no optimizer touches: the nnx.Param filter passes it by."""

    class FancyMLP(nnx.Module):
        def __init__(self, rngs):
            self.linear = nnx.Linear(20, 20, rngs=rngs)
            self.constant = Constant(constant)

        def __call__(self, x):
            x = self.linear(x)
            x = nnx.relu(x @ self.constant[...] + 1)
            x = self.linear(x)
            while jnp.linalg.norm(x) > 1:
                x = x / 2
            return x.sum()

    net = FancyMLP(nnx.Rngs(0))
    net.linear.kernel[...], net.linear.bias[...] = weight.T, bias

    def paths(state):
        return [".".join(map(str, path)) for path, _ in nnx.to_flat_state(state)]

    output, gradient = nnx.value_and_grad(lambda net: net(x))(net)
    return {
        "parameters": paths(nnx.state(net, nnx.Param)),
        "what else the state holds": paths(nnx.state(net, nnx.Not(nnx.Param))),
        "output, run eagerly": net(x).item(),
        "output, run for a gradient": output.item(),
        "norm of the weight's gradient": jnp.linalg.norm(gradient["linear"]["kernel"][...]).item(),
        "traced": raised(lambda: nnx.jit(lambda net: net(x))(net)),
    }


def _named(wing, value):
    """Linen's compact style names the layer by its class, Dense_0; PyTorch's attribute is `linear`."""
    return names(wing, [name.replace("Dense_0", "linear") for name in value])


RECORD = Behaviour(
    id="E2",
    title="A constant is not a parameter, and a loop on values runs only where there are values",
    question="FancyMLP calls one linear layer twice, multiplies by a fixed random matrix, and halves its output "
    "while the norm of the output is above 1. Which parameters does each framework list, and does "
    "`jax.jit` accept the loop?",
    statement="FancyMLP uses one linear layer twice, multiplies by a fixed random matrix and halves its output while "
    "its norm is above 1. Only the linear layer's weight and bias are parameters. The loop runs eagerly and under a "
    "gradient, and cannot be traced.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"parameters": _named},
    expect={
        "torch": {"parameters": ["linear.weight", "linear.bias"], "what else the state holds": []},
        "linen": {"what else the state holds": ["constants.constant"]},
        "nnx": {"what else the state holds": ["constant"]},
    },
    reason="A plain PyTorch tensor is not part of the state at all, while Linen and NNX keep the constant as state of "
    "another kind than a parameter. jax.jit traces with abstract values, which no `while` of Python can test; torch.fx "
    "refuses for the same reason in its own words, but PyTorch is usually not traced.",
    notes=(
        "Under jit the error is a TracerBoolConversionError; jax.lax.while_loop would run, and in exchange can be "
        "differentiated in forward mode only.",
        "A gradient in JAX traces too, but with the values at hand, so the loop sees numbers.",
    ),
    sources=("S3",),
)
