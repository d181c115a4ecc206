"""Sums: what a program only ever adds to another tensor is found by equal gradients, in all or most entries."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from paritree import Pair
from paritree.migration.align.additive import Addend, additive_parameters
from paritree.pairs.closeness import allowed
from paritree.pairs.side import Side

INPUT = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)


def found(shapes: Any, call: Any) -> dict[str, Addend]:
    tree = jax.tree.map(jnp.ones, shapes, is_leaf=lambda each: isinstance(each, tuple))
    return dict(additive_parameters(Side.of(Pair(tree, tree, (INPUT,), call), "reference"), allowed(8)))


def recurrent(tree: Any, inputs: Any) -> Any:
    """One step of a cell with four gates and two biases, as PyTorch's LSTM has them."""
    (x,) = inputs
    cell = tree["cell"]
    gates = x @ cell["w_ih"] + cell["b_ih"] + jnp.tanh(x) @ cell["w_hh"] + cell["b_hh"]
    ingoing, forget, match, out = jnp.split(gates, 4, axis=-1)
    return jax.nn.sigmoid(out) * jnp.tanh(jax.nn.sigmoid(forget) + jax.nn.sigmoid(ingoing) * jnp.tanh(match))


LSTM = {"cell": {"w_ih": (4, 16), "w_hh": (4, 16), "b_ih": (16,), "b_hh": (16,)}}


def test_the_two_biases_of_an_lstm() -> None:
    additive = found(LSTM, recurrent)
    assert {path: addend.partner for path, addend in additive.items()} == {"cell.b_ih": "cell.b_hh"}
    assert additive["cell.b_ih"].mask.all()


def gated(tree: Any, inputs: Any) -> Any:
    """One step of a GRU: the second bias of the candidate is inside of the reset gate's product."""
    (x,) = inputs
    cell = tree["cell"]
    ours, theirs = x @ cell["w_ih"] + cell["b_ih"], jnp.tanh(x) @ cell["w_hh"] + cell["b_hh"]
    reset, update = (jax.nn.sigmoid(ours[:, i : i + 4] + theirs[:, i : i + 4]) for i in (0, 4))
    match = jnp.tanh(ours[:, 8:] + reset * theirs[:, 8:])
    return (1 - update) * match + update * x


def test_the_biases_of_a_gru_in_the_gates_where_they_are_added() -> None:
    additive = found({"cell": {"w_ih": (4, 12), "w_hh": (4, 12), "b_ih": (12,), "b_hh": (12,)}}, gated)
    assert additive["cell.b_ih"].partner == "cell.b_hh"
    np.testing.assert_array_equal(additive["cell.b_ih"].mask, np.arange(12) < 8)


def test_biases_of_branches_that_are_added_are_no_sum_in_unlike_modules() -> None:
    def call(tree: Any, inputs: Any) -> Any:
        (x,) = inputs
        return x @ tree["a"]["w"] + tree["a"]["b"] + jnp.tanh(x) @ tree["c"]["w"] + tree["c"]["b"]

    assert found({"a": {"w": (4, 4), "b": (4,)}, "c": {"w": (4, 4), "b": (4,)}}, call) == {}


def test_of_three_that_are_added_two_are_addends_of_the_first() -> None:
    def call(tree: Any, inputs: Any) -> Any:
        (x,) = inputs
        return jnp.tanh(x * tree["m"]["g"] + tree["m"]["a"] + tree["m"]["b"] + tree["m"]["c"])

    additive = found({"m": {"g": (4,), "a": (4,), "b": (4,), "c": (4,)}}, call)
    assert {path: addend.partner for path, addend in additive.items()} == {"m.b": "m.a", "m.c": "m.a"}


def test_zero_tensors_are_no_addends() -> None:
    def call(tree: Any, inputs: Any) -> Any:
        (x,) = inputs
        return jnp.tanh(x * tree["m"]["g"]) + 0 * (tree["m"]["a"] + tree["m"]["b"])

    assert found({"m": {"g": (4,), "a": (4,), "b": (4,)}}, call) == {}
