"""A14: what printing a model shows."""

import re

import jax
import jax.numpy as jnp
from flax import linen, nnx
from torch import nn

from ...record import Absent, Behaviour, Verdict


def in_torch():
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
    page = repr(net)
    return {
        "linear layers in the print": page.count("Linear("),
        "the print shows the input width": "in_features=4" in page,
        "the print shows shapes of arrays": "(8, 4)" in page,
        "a table of the parameters": Absent("PyTorch prints the module tree and ships no table"),
    }


def in_linen():
    net = linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(1)])
    page = repr(net)
    key, X = jax.random.key(0), jnp.ones((2, 4))
    table = net.tabulate(key, X, console_kwargs={"width": 100, "force_terminal": False, "force_jupyter": False})
    return {
        "linear layers in the print": page.count("Dense("),
        "the print shows the input width": re.search(r"= 4\b", page) is not None,
        "the print shows shapes of arrays": "(4, 8)" in page,
        "a table of the parameters": re.findall(r"\w+: float32\[[\d,]+\]", table),
    }


def in_nnx():
    rngs = nnx.Rngs(0)
    net = nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 1, rngs=rngs))
    page = repr(net)
    table = nnx.tabulate(
        net, jnp.ones((2, 4)), console_kwargs={"width": 100, "force_terminal": False, "force_jupyter": False}
    )
    return {
        "linear layers in the print": page.count("Linear("),
        "the print shows the input width": "in_features=4" in page,
        "the print shows shapes of arrays": "(4, 8)" in page,
        "a table of the parameters": re.findall(r"\w+: float32\[[\d,]+\]", table),
    }


RECORD = Behaviour(
    id="A14",
    title="Printing shows the tree of layers; shapes are in an NNX print and in Flax's tables",
    statement="PyTorch prints each layer with its widths. A Linen module prints its settings, without a width for its "
    "input or a shape; `net.tabulate(key, X)` runs it once and lists both. An NNX model prints its arrays' shapes, "
    "and has the table as `nnx.tabulate(net, X)`.",
    verdict=Verdict.ABSENT,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {"linear layers in the print": 2, "the print shows the input width": True},
    },
    reason="A Linen module does not know its input's width before it has seen one, so no print of it can show a "
    "shape; Flax answers with a table that calls the model. PyTorch leaves such tables to other packages.",
    notes=(
        "`nnx.display(net)` gives an interactive tree in a notebook, and prints the model elsewhere.",
        "A trap in flax 0.12.8: nnx.tabulate replaces the methods of the model's classes while it runs, and an "
        "exception (a missing input, say) leaves them replaced; from then on every nnx.List and nnx.Sequential that "
        "the process builds fails with `no attribute '_nnx_tabulate_id'`.",
        "The print of an initialized Linen model is unchanged: its arrays are in the tree, which prints all its "
        "numbers. `jax.tree.map(jnp.shape, params)` prints the shapes alone.",
    ),
    sources=("S0", "S1", "S2"),
)
