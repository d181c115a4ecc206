"""The contract `recipe` and the table of optimizers agree on each of the table's recipes: equal, or not."""

from __future__ import annotations

from functools import cache
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx

import paritree
from paritree.common.optimizers import OPTIMIZERS, Recipe

# A few of each kind; the others behind the marker.
QUICK = ("SGD-1", "AdamW-0", "AdamW-2", "RMSprop-1", "Adagrad-3")
RECIPES = {
    f"{each.name}-{number}": recipe
    for each in OPTIMIZERS.values()
    for number, recipe in enumerate(each.recipes)
    if "matrices" not in recipe.torch  # PyTorch's Muon takes no biases
}


@cache
def trained() -> tuple[Any, Any, np.ndarray, paritree.Map]:
    torch.manual_seed(0)
    reference = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Tanh(), torch.nn.Linear(5, 3))
    port = nnx.Sequential(nnx.Linear(4, 5, rngs=nnx.Rngs(0)), nnx.tanh, nnx.Linear(5, 3, rngs=nnx.Rngs(1)))
    inputs = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    found = paritree.align(paritree.Pair(reference, port, (inputs,)))
    return reference, paritree.carry(reference, port, found), inputs, found


@pytest.mark.parametrize(
    "recipe",
    [
        pytest.param(each, id=name, marks=[] if name in QUICK else pytest.mark.thorough)
        for name, each in RECIPES.items()
    ],
)
def test_the_contract_says_what_the_table_says(recipe: Recipe) -> None:
    reference, port, inputs, found = trained()
    pair = paritree.Pair(
        reference,
        port,
        (inputs,),
        reference_optimizer=lambda parameters: eval(recipe.torch, {"torch": torch, "parameters": parameters}),
        port_optimizer=eval(recipe.optax, {"optax": optax, "jnp": jnp}),
        loaded=True,
    )

    report = paritree.check(pair, found, contracts=("recipe",))

    assert report.ok == (not recipe.gap), str(report)
