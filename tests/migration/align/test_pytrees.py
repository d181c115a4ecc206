"""Bare pytrees with running averages: everything in them is trained, and the outputs of two norms are summed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch import nn

import paritree
from paritree import AlignmentError, Pair

from .packed.case import filled, tree_port

WIDTH = 6
INPUT = np.random.default_rng(0).normal(size=(2, 3, 6, 6)).astype(np.float32)
AVERAGES = ("mean", "var")
Tree = Any


class Reference(nn.Module):
    """Blocks of a convolution and a shortcut, both normed."""

    def __init__(self, blocks: int = 2) -> None:
        super().__init__()
        widths = [3] + [WIDTH] * blocks
        self.convs = nn.ModuleList(nn.Conv2d(width, WIDTH, 3, padding=1, bias=False) for width in widths[:-1])
        self.shortcuts = nn.ModuleList(nn.Conv2d(width, WIDTH, 1, bias=False) for width in widths[:-1])
        self.norms, self.shortcut_norms = (nn.ModuleList(nn.BatchNorm2d(WIDTH) for _ in range(blocks)) for _ in "ab")
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for conv, norm, shortcut, other in zip(
            self.convs, self.norms, self.shortcuts, self.shortcut_norms, strict=True
        ):
            x = (norm(conv(x)) + other(shortcut(x))).relu()
        return self.head(x.mean((2, 3)))


def variables(blocks: int = 2) -> Tree:
    """Parameters and running averages, each with the modules' paths."""
    parameters: dict[str, Any] = {"head": {"kernel": (WIDTH, 4), "bias": (4,)}}
    averages: dict[str, Any] = {}
    for block in range(blocks):
        before = WIDTH if block else 3
        for name, kernel in (("main", 3), ("short", 1)):
            parameters[f"{name}{block}"] = {"kernel": (kernel, kernel, before, WIDTH)}
            parameters[f"{name}_norm{block}"] = {"scale": (WIDTH,), "bias": (WIDTH,)}
            averages[f"{name}_norm{block}"] = dict.fromkeys(AVERAGES, (WIDTH,))
    return tree_port({"params": parameters, "batch_stats": averages})


def call(tree: Tree, given: Any, averages: Callable[[str], str] = lambda name: name) -> Any:
    """averages: the norm whose variance a norm takes."""
    x, parameters, state = jnp.moveaxis(given[0], 1, -1), tree["params"], tree["batch_stats"]
    for block in range(len(state) // 2):
        both = 0
        for name in (f"main{block}", f"short{block}"):
            y = jax.lax.conv_general_dilated(
                x, parameters[name]["kernel"], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
            )
            norm = f"{name[:-1]}_norm{block}"
            spread = jnp.sqrt(state[averages(norm)]["var"] + 1e-5)
            both += (y - state[norm]["mean"]) / spread * parameters[norm]["scale"] + parameters[norm]["bias"]
        x = jax.nn.relu(both)
    return x.mean((1, 2)) @ parameters["head"]["kernel"] + parameters["head"]["bias"]


def beside(tree: Tree) -> Tree:
    """The averages in the dict of their norm."""
    return {name: {**arrays, **tree["batch_stats"].get(name, {})} for name, arrays in tree["params"].items()}


def apart(tree: Tree) -> Tree:
    """The way back."""
    averages = {name: {key: norm[key] for key in AVERAGES} for name, norm in tree.items() if "mean" in norm}
    return {"params": tree, "batch_stats": averages}


FORMS: dict[str, tuple[Callable[[Tree], Tree], Callable[[Tree], Tree]]] = {
    "variables": (lambda tree: tree, lambda tree: tree),
    "other keys": (
        lambda tree: {"weights": tree["params"], "state": tree["batch_stats"]},
        lambda tree: {"params": tree["weights"], "batch_stats": tree["state"]},
    ),
    "a tuple": (
        lambda tree: (tree["params"], tree["batch_stats"]),
        lambda tree: {"params": tree[0], "batch_stats": tree[1]},
    ),
    "beside": (beside, apart),
}
ROLES = {"scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("is_reference", [False, True])
def test_every_norm_keeps_its_tensors(form: str, is_reference: bool) -> None:
    make, back = FORMS[form]
    tree, model = make(variables()), filled(Reference())

    def given(tree: Tree, inputs: Any) -> Any:
        return call(back(tree), inputs)

    if is_reference:
        found = paritree.align(Pair(tree, model, (INPUT,), reference_call=given)).inverse()
    else:
        found = paritree.align(Pair(model, tree, (INPUT,), port_call=given))
    assert found.coverage == 1.0
    partners = {row.reference: row.port for row in found.rows}
    for block in range(2):
        for ours, theirs in (("norms", "main_norm"), ("shortcut_norms", "short_norm")):
            for name, role in ROLES.items():
                assert partners[f"{ours}.{block}.{role}"].endswith(f"{theirs}{block}.{name}")


def test_a_norm_that_takes_the_variance_of_the_other_is_refused() -> None:
    wrong = {"main_norm0": "short_norm0"}
    pair = Pair(
        filled(Reference(1)),
        variables(1),
        (INPUT,),
        port_call=lambda tree, given: call(tree, given, lambda name: wrong.get(name, name)),
    )
    with pytest.raises(AlignmentError):
        paritree.align(pair)
