"""T5: a Python list of parameters or modules as an attribute."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from flax.traverse_util import flatten_dict
from torch import nn

from ...record import Behaviour, Verdict, raised


def in_torch():
    class Net(nn.Module):
        def __init__(self, module_list, parameter_list):
            super().__init__()
            self.stack = module_list([nn.Linear(2, 2, bias=False) for _ in range(2)])
            self.scales = parameter_list([nn.Parameter(torch.ones(2)) for _ in range(2)])

    plain = [name for name, _ in Net(list, list).named_parameters()]
    registered = [name for name, _ in Net(nn.ModuleList, nn.ParameterList).named_parameters()]
    return {
        "list of modules": [name for name in plain if "stack" in name],
        "list of parameters": [name for name in plain if "scales" in name],
        "in the framework's own way": sorted(registered),
    }


def in_linen():
    class Net(linen.Module):
        def setup(self):
            self.stack = [linen.Dense(2, use_bias=False) for _ in range(2)]
            self.scales = [self.param(f"scales_{i}", linen.initializers.ones, (2,)) for i in range(2)]

        def __call__(self, x):
            for layer, scale in zip(self.stack, self.scales, strict=True):
                x = layer(x) * scale
            return x

    names = sorted(flatten_dict(Net().init(jax.random.key(0), jnp.ones((1, 2)))["params"], sep="."))
    return {
        "list of modules": [name for name in names if "stack" in name],
        "list of parameters": [name for name in names if "scales" in name],
        "in the framework's own way": names,
    }


def in_nnx():
    class Net(nnx.Module):
        def __init__(self, module_list, parameter_list, rngs):
            self.stack = module_list([nnx.Linear(2, 2, use_bias=False, rngs=rngs) for _ in range(2)])
            self.scales = parameter_list([nnx.Param(jnp.ones(2)) for _ in range(2)])

    net = Net(nnx.List, nnx.List, nnx.Rngs(0))
    names = [".".join(map(str, path)) for path, _ in nnx.to_flat_state(nnx.state(net, nnx.Param))]
    return {
        "list of modules": raised(lambda: Net(list, nnx.List, nnx.Rngs(0))),
        "list of parameters": raised(lambda: Net(nnx.List, list, nnx.Rngs(0))),
        "in the framework's own way": sorted(names),
    }


def dotted(wing, names):
    """`stack_0.kernel` (Linen) and `stack.0.kernel` (NNX) as `stack.0.weight`."""
    return sorted(name.replace("_", ".").replace("kernel", "weight") for name in names)


RECORD = Behaviour(
    id="T5",
    title="A Python list: lost in PyTorch, understood in Linen, refused in NNX",
    statement=(
        "Two layers and two parameters in plain lists. PyTorch registers none of them and says nothing; ModuleList and "
        "ParameterList do. Linen numbers the modules of a list, and registers a parameter when `self.param` makes it, "
        "wherever it is kept. NNX raises ValueError and asks for nnx.List."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    canonical={"in the framework's own way": dotted},
    expect={"torch": {"list of modules": [], "list of parameters": []}},
    reason=(
        "PyTorch registers by the class of the attribute's value, and a list is neither a Parameter nor a Module. "
        "Linen looks into lists and dicts that are assigned in setup. NNX tells arrays from static values by the "
        "attribute, takes a list for static, and refuses one with arrays in it, lest they be lost."
    ),
    notes=(
        "In PyTorch the symptom is an optimizer that never moves these weights, and a checkpoint without them.",
        "Parameters in a Linen list have the names that were given to `self.param`: the list itself numbers nothing.",
        "NNX refuses a tuple in the same way.",
    ),
)
