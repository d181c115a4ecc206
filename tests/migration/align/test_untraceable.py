"""Ports that run as they are and not under jax.jit: they are run op by op, and it is said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

import paritree
from paritree import Pair, PairError

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
Code = Callable[[Any, Any], Any]


def as_a_length(layer: Any, x: Any) -> Any:
    return layer(x[:, : int(jnp.max(jnp.arange(x.shape[1]))) + 1])


def in_a_slice(layer: Any, x: Any) -> Any:
    return layer(x[:, : jnp.max(jnp.arange(x.shape[1])) + 1])


def in_a_branch(layer: Any, x: Any) -> Any:
    y = layer(x)
    return y if jnp.abs(y).sum() >= 0 else 2 * y


def as_a_mask(layer: Any, x: Any) -> Any:
    return layer(x[jnp.abs(x).sum(-1) >= 0].reshape(x.shape))


def in_numpy(layer: Any, x: Any) -> Any:
    return layer(jnp.asarray(np.asarray(x) * 1))


def in_numpy_after_the_layer(layer: Any, x: Any) -> Any:
    return jnp.asarray(np.asarray(layer(x)))


class NnxPort(nnx.Module):
    def __init__(self, code: Code) -> None:
        self.layer, self.code = nnx.Linear(4, 5, rngs=nnx.Rngs(0)), code

    def __call__(self, x: Any) -> Any:
        return self.code(self.layer, x)


class LinenPort(linen.Module):
    code: Code

    @linen.compact
    def __call__(self, x: Any) -> Any:
        return self.code(linen.Dense(5, name="layer"), x)


def pair(kind: str, code: Code) -> Pair:
    torch.manual_seed(0)
    reference = torch.nn.Linear(4, 5)
    if kind == "nnx":
        return Pair(reference, NnxPort(code), (X,))
    if kind == "linen":
        module = LinenPort(code)
        return Pair(reference, (module, module.init(jax.random.key(0), X)), (X,))
    tree = {"k": jnp.ones((4, 5)), "b": jnp.zeros(5)}
    return Pair(
        reference, tree, (X,), port_call=lambda tree, given: code(lambda x: x @ tree["k"] + tree["b"], given[0])
    )


NOTES = {
    as_a_length: "ConcretizationTypeError",
    in_a_slice: "IndexError",
    in_a_branch: "TracerBoolConversionError",
    as_a_mask: "NonConcreteBooleanIndexError",
    in_numpy: "TracerArrayConversionError",
}


@pytest.mark.parametrize("kind", ["nnx", "linen", "pytree"])
@pytest.mark.parametrize("code", NOTES)
def test_it_is_run_op_by_op_and_a_note_says_so(code: Code, kind: str) -> None:
    found = paritree.align(pair(kind, code))
    assert found.verified
    assert found.notes == (f"the port: it is run op by op, since jax.jit cannot trace it ({NOTES[code]})",)


def test_so_it_is_trained_and_reported() -> None:
    made = pair("nnx", as_a_length)
    contracts = ("forward", "gradients", "tied gradients", "training")
    report = paritree.check(made, paritree.align(made), contracts=contracts, devices=("cpu",))
    assert report.ok
    note = "the port: it is run op by op, since jax.jit cannot trace it (ConcretizationTypeError)"
    assert report.facts["notes"] == [note]
    assert f"note: {note}" in " ".join(str(report).split())


@pytest.mark.parametrize("kind", ["nnx", "linen", "pytree"])
def test_what_cannot_be_differentiated_either_is_refused_with_the_reason(kind: str) -> None:
    with pytest.raises(PairError) as caught:
        paritree.align(pair(kind, in_numpy_after_the_layer))
    assert str(caught.value) == (
        "port: expected a call that JAX can trace, to compile and to differentiate it, found "
        "TracerArrayConversionError: The numpy.ndarray conversion method __array__() was called on traced array with "
        "shape float32[2,3,5]. Under jax.jit an array has no values, and under jax.grad none for NumPy and float(): "
        "use jax.numpy in their place, or take jax.lax.stop_gradient of what they are given."
    )


def test_an_error_that_is_no_tracing_error_stays_what_it_is() -> None:
    with pytest.raises(PairError, match="port: expected inputs that the model takes, found TypeError"):
        paritree.align(pair("nnx", lambda layer, x: layer(x) + "a"))


def test_a_port_that_is_traced_has_no_notes() -> None:
    assert paritree.align(pair("nnx", lambda layer, x: layer(x))).notes == ()
