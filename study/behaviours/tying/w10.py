"""W10: what keeps a tie and what breaks it."""

import copy

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx
from torch import nn

from ...figures import Tree
from ...record import Behaviour, Verdict, raised


def two_layers():
    """Two layers that hold one weight."""
    first, second = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)
    second.weight = first.weight
    return nn.Sequential(first, second)


def load(model, assign):
    state = {name: weight.clone() for name, weight in model.state_dict().items()}
    model.load_state_dict(state, assign=assign)
    return model


def in_torch():
    layer = nn.Linear(1, 1, bias=False)
    net = nn.Sequential(layer, layer)

    def tied(model):
        return model[0].weight is model[1].weight

    visits = []
    parents = nn.ModuleDict({"a": nn.Sequential(layer), "b": nn.Sequential(layer)})
    parents.apply(lambda module: visits.append(module is layer))

    values = torch.full((1, 1), 3.0)
    twins = [nn.Parameter(values), nn.Parameter(values)]  # one storage, two parameters
    (twins[1] @ twins[0] @ torch.ones(1, 1)).sum().backward()
    return {
        "tied after": {
            "copy.deepcopy": tied(copy.deepcopy(net)),
            "to(float64)": tied(copy.deepcopy(net).to(torch.float64)),
            "load_state_dict": tied(load(two_layers(), assign=False)),
            "load_state_dict(assign=True), one layer": tied(load(copy.deepcopy(net), assign=True)),
            "load_state_dict(assign=True), one weight in two layers": tied(load(two_layers(), assign=True)),
        },
        "one array as two parameters": [twin.grad.item() for twin in twins],
        "visits of a layer shared by two parents": sum(visits),
    }


def in_linen():
    layer = linen.Dense(1, use_bias=False)
    net, x = linen.Sequential([layer, layer]), jnp.ones((1, 1))
    params = {"layers_0": {"kernel": jnp.full((1, 1), 3.0)}}

    def tied(params):
        """The one kernel receives the whole gradient."""
        gradient = jax.grad(lambda p: net.apply({"params": p}, x).sum())(params)
        return [leaf.item() for leaf in jax.tree.leaves(gradient)] == [6.0]

    class TwoParents(linen.Module):
        def setup(self):
            shared = linen.Dense(1)
            self.a, self.b = linen.Sequential([shared]), linen.Sequential([shared])

        def __call__(self, x):
            return self.b(self.a(x))

    untied = linen.Sequential([linen.Dense(1, use_bias=False), linen.Dense(1, use_bias=False)])
    twins = {"layers_0": params["layers_0"], "layers_1": params["layers_0"]}  # one array under two keys
    gradient = jax.grad(lambda p: untied.apply({"params": p}, x).sum())(twins)
    modules = TwoParents().module_paths(jax.random.key(0), x).values()
    return {
        "tied after": {
            "copy.deepcopy": tied(copy.deepcopy(params)),
            "jax.jit": tied(jax.jit(lambda p: p)(params)),
            "jax.tree.map": tied(jax.tree.map(lambda a: a, params)),
        },
        "one array as two parameters": [leaf.item() for leaf in jax.tree.leaves(gradient)],
        "visits of a layer shared by two parents": sum(isinstance(module, linen.Dense) for module in modules),
    }


def net_in_nnx():
    layer = nnx.Linear(1, 1, use_bias=False, rngs=nnx.Rngs(0))
    return nnx.Sequential(layer, layer)


def in_nnx():
    net, x = net_in_nnx(), jnp.ones((1, 1))

    def tied(model):
        return model.layers[0].kernel is model.layers[1].kernel

    values = jnp.full((1, 1), 3.0)
    untied = nnx.Sequential(*[nnx.Linear(1, 1, use_bias=False, rngs=nnx.Rngs(0)) for _ in range(2)])
    for twin in untied.layers:
        twin.kernel = nnx.Param(values)  # one array in two Variables
    gradient = nnx.grad(lambda net: net(x).sum())(untied)

    layer = net.layers[0]
    parents = nnx.Dict(a=nnx.Sequential(layer), b=nnx.Sequential(layer))
    return {
        "tied after": {
            "copy.deepcopy": tied(copy.deepcopy(net)),
            "nnx.clone": tied(nnx.clone(net)),
            "nnx.split, nnx.merge": tied(nnx.merge(*nnx.split(net))),
            "nnx.jit": tied(nnx.jit(lambda model: model)(net)),
            "jax.jit": tied(jax.jit(lambda model: model)(net)),
            "jax.tree.map": tied(jax.tree.map(lambda a: a, net)),
            "nnx.split(graph=False)": raised(lambda: nnx.split(net, graph=False)).type,
        },
        "one array as two parameters": [leaf.item() for leaf in jax.tree.leaves(gradient)],
        "visits of a layer shared by two parents": sum(module is layer for _, module in nnx.iter_modules(parents)),
    }


RECORD = Behaviour(
    id="W10",
    title="A tie survives what knows where it is kept, and nothing else",
    statement="A tied net is sent through each framework's ways of copying and transforming. A copy keeps the tie "
    "everywhere. PyTorch loses a weight shared by two layers when a state is assigned rather than copied in; NNX "
    "loses the tie whenever the model passes through JAX as a plain pytree, and refuses to work without its graph; "
    "Linen cannot lose it.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"one array as two parameters": [3.0, 3.0], "visits of a layer shared by two parents": 2},
        "linen": {"one array as two parameters": [3.0, 3.0]},
        "nnx": {
            "one array as two parameters": [3.0, 3.0],
            "tied after": {
                "copy.deepcopy": True,
                "nnx.clone": True,
                "nnx.split, nnx.merge": True,
                "nnx.jit": True,
                "jax.jit": False,
                "jax.tree.map": False,
                "nnx.split(graph=False)": "ValueError",
            },
        },
    },
    reason="In PyTorch and NNX the tie is the identity of an object, which an operation keeps only if it looks for "
    "it; a pytree has no identities. In Linen the tie is in the program and not in the arrays.",
    notes=(
        "The text of NNX's ValueError: 'Tree mode (graph=False) does not support shared references.' A model that owns "
        "the layer once and calls it twice (W9) has no tie to lose, and works in either mode.",
        "One array, or one storage, under two names is not a tie in any of the three: each name receives its own "
        "site's gradient, 3, and an update moves it alone.",
        "PyTorch's apply walks from each parent to its children and so reaches a layer with two parents twice: an "
        "initializer that draws runs twice on it, and the second draw stands.",
    ),
    figures=(
        Tree("torch", "one weight in two layers", two_layers),
        Tree("torch", "after load_state_dict(assign=True)", lambda: load(two_layers(), assign=True)),
        Tree("nnx", "one layer in two slots", net_in_nnx),
        Tree("nnx", "after jax.tree.map", lambda: jax.tree.map(lambda array: array, net_in_nnx())),
    ),
)
