"""Sides that cannot be aligned are refused with what is wrong, and factories and trees are sides too."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import paritree
from paritree import AlignmentError, DtypeError, NotExpressibleError, Pair, PairError, UsageError

INPUT = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
ADVICE = "Check the inputs, and the call if the pair has one: names, shapes and dtypes."


def torch_model(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def tree(seed: int = 0) -> dict[str, jax.Array]:
    random = np.random.default_rng(seed)
    shapes = {"a": (3, 5), "b": (5,), "c": (5, 2), "d": (2,)}
    return {name: jnp.asarray(random.normal(size=shape), jnp.float32) for name, shape in shapes.items()}


def call(tree: Any, inputs: Any) -> Any:
    (x,) = inputs
    return jnp.tanh(x @ tree["a"] + tree["b"]) @ tree["c"] + tree["d"]


class Nnx(nnx.Module):
    def __init__(self, seed: int = 0) -> None:
        rngs = nnx.Rngs(seed)
        self.one, self.two = nnx.Linear(3, 5, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.two(jnp.tanh(self.one(x)))


def refused(error: type[Exception], reference: Any, port: Any, inputs: Any = (INPUT,), **calls: Any) -> str:
    with pytest.raises(error) as caught:
        paritree.align(Pair(reference, port, inputs, **calls))
    return str(caught.value)


@pytest.mark.parametrize(
    ("reference", "port"), [(torch_model, tree), (tree, Nnx), (Nnx, torch_model), (torch_model(), Nnx)]
)
def test_factories_are_sides(reference: Any, port: Any) -> None:
    calls = {f"{role}_call": call for role, side in (("reference", reference), ("port", port)) if side is tree}
    if reference is tree or port is tree:
        assert calls
    # A class of modules is a factory only as a function.
    sides = [(lambda seed, made=side: made(seed)) if isinstance(side, type) else side for side in (reference, port)]
    found = paritree.align(Pair(sides[0], sides[1], (INPUT,), **calls))
    assert (found.verified, found.coverage) == (True, 1.0)


def test_a_factory_that_fails_is_named() -> None:
    def broken(seed: int) -> Any:
        raise ValueError("no such configuration")

    assert refused(PairError, torch_model, broken) == (
        "port: expected a factory that makes a model, found ValueError: no such configuration. "
        "A factory is a function of a seed."
    )
    assert refused(PairError, lambda: torch_model(), tree).startswith(
        "reference: expected a factory that makes a model, found TypeError"
    )


def test_a_factory_that_makes_no_model_and_what_is_no_side_are_refused() -> None:
    expected = "expected a spec, an nn.Module, an nnx.Module or (linen module, variables), found"
    assert refused(UsageError, torch_model(), lambda seed: 3) == f"what the port's factory makes: {expected} int."
    assert refused(UsageError, 3, torch_model()) == f"reference: {expected} int."
    assert refused(UsageError, torch_model(), {"a": 3.0}) == f"port: {expected} dict."


def test_a_bare_tree_needs_a_call() -> None:
    assert refused(PairError, torch_model(), tree()) == (
        "port: expected a call(tree, inputs) for a pytree, which cannot be called itself, found none. "
        "Give the pair a reference_call or a port_call."
    )


def test_inputs_that_the_reference_cannot_take_are_told_with_its_message() -> None:
    assert refused(PairError, torch_model(), Nnx(), (INPUT[:, :2],)) == (
        "reference: expected inputs that the model takes, found RuntimeError: mat1 and mat2 shapes cannot be "
        f"multiplied (4x2 and 3x5). {ADVICE}"
    )
    assert refused(PairError, torch_model(), Nnx(), {"y": INPUT}) == (
        "reference: expected inputs that the model takes, found TypeError: Sequential.forward() got an unexpected "
        f"keyword argument 'y'. {ADVICE}"
    )


def test_inputs_that_the_port_cannot_take_are_told_with_its_message() -> None:
    wide = {"reference_call": lambda model, inputs: model(inputs[0][:, :3])}
    said = refused(PairError, torch_model(), Nnx(), (np.ones((4, 6), np.float32),), **wide)
    assert said.startswith("port: expected inputs that the model takes, found TypeError: dot_general requires")
    assert said.endswith(ADVICE)


def test_outputs_of_another_structure_are_refused() -> None:
    two = {"port_call": lambda model, inputs: {"logits": model(inputs[0]), "pooled": model(inputs[0])[:, 0]}}
    assert refused(PairError, torch_model(), Nnx(), **two) == (
        "port: expected the reference's outputs (4, 2), found (4, 2), (4,). Give the pair calls that return the same."
    )
    none = {"port_call": lambda model, inputs: model(inputs[0]).argmax(-1)}
    assert refused(PairError, torch_model(), Nnx(), **none) == (
        "port: expected the reference's outputs (4, 2), found without a floating-point number. "
        "Give the pair calls that return the same."
    )


def test_an_output_that_is_no_structure_of_arrays_is_refused() -> None:
    text = {"reference_call": lambda model, inputs: {"logits": model(*inputs), "name": "x"}}
    assert refused(NotExpressibleError, torch_model(), Nnx(), **text) == (
        "name: expected arrays, or mappings, sequences and dataclasses of arrays, found str. Give the pair a call."
    )


def test_outputs_under_other_names_are_compared_in_their_order() -> None:
    calls = {
        "reference_call": lambda model, inputs: (model(*inputs), model(*inputs)[:, :1]),
        "port_call": lambda model, inputs: {"logits": model(*inputs), "first": model(*inputs)[:, :1]},
    }
    assert paritree.align(Pair(torch_model(), Nnx(), (INPUT,), **calls)).verified


def test_numbers_that_are_not_finite_are_named_with_their_side() -> None:
    def divided(model: Any, inputs: Any) -> Any:
        return {"logits": model(*inputs), "rate": model(*inputs) / 0.0}

    both = {"reference_call": divided, "port_call": divided}
    said = refused(AlignmentError, torch_model(), Nnx(), **both)
    assert said.startswith(
        "reference: expected finite numbers when tensors of one shape hold the same ones, "
        "found others in 5 arrays: output 'rate'; the "
        "gradient of 0.weight; "
    )
    assert said.endswith("Check the inputs and masks.")


def test_inputs_that_are_not_finite_are_seen_too() -> None:
    bad = INPUT.copy()
    bad[0, 0] = np.nan
    said = refused(AlignmentError, torch_model(), Nnx(), (bad,))
    assert said.startswith(
        "reference: expected finite numbers when tensors of one shape hold the same ones, "
        "found others in 4 arrays: the "
    )


def test_a_side_without_a_trainable_tensor_is_named() -> None:
    text = "expected a model with trainable tensors, found none of floating-point numbers."
    assert refused(AlignmentError, nn.Tanh(), Nnx()) == f"reference: {text}"
    whole = {"table": np.arange(6).reshape(2, 3)}
    port = {"port_call": lambda tree, inputs: inputs[0]}
    assert refused(AlignmentError, torch_model(), whole, **port) == f"port: {text}"


def test_outputs_that_do_not_depend_on_the_parameters_are_refused() -> None:
    def constant(model: Any, inputs: Any) -> Any:
        return inputs[0] * 2

    said = refused(AlignmentError, torch_model(), Nnx(), reference_call=constant, port_call=constant)
    assert said == "expected outputs that depend on the parameters, found no gradient but zero. Give other inputs."


def test_a_dtype_that_nothing_is_compared_in_is_refused() -> None:
    with pytest.raises(DtypeError) as caught:
        paritree.align(Pair(torch_model(), Nnx(), (INPUT,)), dtype="bfloat16")
    assert str(caught.value) == "expected 'float32' or 'float64', found 'bfloat16'."
