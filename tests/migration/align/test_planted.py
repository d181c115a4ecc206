"""Ports with one planted fault: never called verified; what a map makes up for is verified by what it carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn

import paritree
from paritree import AlignmentError, Map, Pair

from . import packed, small

INPUT = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
# Others that tell no more are run where thorough ones are asked for.
QUICK = ("the root of the whole width", "no residual", "the past masked", "the epsilon of Flax")
FAULTS: dict[str, dict[str, Any]] = {
    "the root of the whole width": {"scale": small.WIDTH**-0.5},
    "no scale of the scores": {"scale": 1.0},
    "a scale that is a little off": {"scale": 1.001 * small.FEATURES**-0.5},
    "no residual": {"no_residual": True},
    "the past masked": {"past": True},
    "an epsilon": {"epsilon": 1e-4},
    "the epsilon of Flax": {"epsilon": 1e-6},
    "heads of the query exchanged": {"swapped": True},
}


def test_the_block_without_a_fault_is_verified() -> None:
    found = paritree.align(small.pair())
    assert (found.verified, found.coverage) == (True, 1.0)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.thorough) for name in FAULTS]
)
def test_a_fault_in_a_block_is_never_called_verified(name: str) -> None:
    with pytest.raises(AlignmentError) as caught:
        paritree.align(small.pair(**FAULTS[name]))
    assert "The programs differ" in str(caught.value)


class Normed(nnx.Module):
    """Two layers and a norm between them."""

    def __init__(self, norm: Callable[[nnx.Rngs], Any]) -> None:
        rngs = nnx.Rngs(0)
        self.one, self.two = nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)
        self.norm = norm(rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.two(self.norm(self.one(x)))


def layer_norm(**changes: Any) -> Any:
    return lambda rngs: nnx.LayerNorm(8, rngs=rngs, **changes)


def rms_norm(**changes: Any) -> Any:
    return lambda rngs: nnx.RMSNorm(8, rngs=rngs, **changes)


def group_norm(**changes: Any) -> Any:
    return lambda rngs: nnx.GroupNorm(8, num_groups=2, rngs=rngs, **changes)


def batch_norm(**changes: Any) -> Any:
    return lambda rngs: nnx.BatchNorm(8, rngs=rngs, use_running_average=True, **changes)


def between(norm: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), norm, nn.Linear(8, 3)).eval()


# What PyTorch's norm is, NNX's as it is without being told otherwise, and as it should be.
NORMS: dict[str, tuple[Callable[[], nn.Module], Any, Any]] = {
    "LayerNorm": (lambda: nn.LayerNorm(8), layer_norm(), layer_norm(epsilon=1e-5)),
    "RMSNorm": (lambda: nn.RMSNorm(8, eps=1e-5), rms_norm(), rms_norm(epsilon=1e-5)),
    "GroupNorm": (lambda: nn.GroupNorm(2, 8), group_norm(), group_norm(epsilon=1e-5)),
    "BatchNorm": (lambda: nn.BatchNorm1d(8, eps=1e-3), batch_norm(), batch_norm(epsilon=1e-3)),
}


@pytest.mark.parametrize("name", NORMS)
def test_the_epsilon_that_nnx_has_by_itself_is_seen(name: str) -> None:
    norm, default, right = NORMS[name]
    with pytest.raises(AlignmentError) as caught:
        paritree.align(Pair(between(norm()), Normed(default), (INPUT,)))
    said = str(caught.value)
    assert "The programs differ" in said
    assert "Likely cause: eps is 1e-0" in said
    assert paritree.align(Pair(between(norm()), Normed(right), (INPUT,))).verified


def test_the_first_layer_too_may_have_another_epsilon() -> None:
    reference = nn.Sequential(nn.LayerNorm(6), nn.Linear(6, 3))
    port = nnx.Sequential(nnx.LayerNorm(6, rngs=nnx.Rngs(0)), nnx.Linear(6, 3, rngs=nnx.Rngs(0)))
    with pytest.raises(AlignmentError, match="eps is 1e-05 in the reference and 1e-06 in the port"):
        paritree.align(Pair(reference, port, (INPUT,)))


def normalized(epsilon: float) -> Pair:
    """A bare tree with a norm of its own writing."""

    def call(tree: Any, inputs: Any) -> Any:
        y = inputs[0] @ tree["w"] + tree["b"]
        centred = y - y.mean(-1, keepdims=True)
        y = centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + epsilon) * tree["gain"] + tree["shift"]
        return y @ tree["v"] + tree["c"]

    shapes = {"w": (6, 8), "b": (8,), "gain": (8,), "shift": (8,), "v": (8, 3), "c": (3,)}
    tree = {name: jnp.ones(shape) for name, shape in shapes.items()}
    return Pair(between(nn.LayerNorm(8)), tree, (INPUT,), port_call=call)


def test_an_epsilon_in_a_bare_tree_is_seen() -> None:
    assert paritree.align(normalized(1e-5)).verified
    with pytest.raises(AlignmentError, match="The programs differ"):
        paritree.align(normalized(1e-6))


def test_statistics_of_the_batch_in_the_place_of_those_saved_are_seen() -> None:
    def trained(model: Any, inputs: Any) -> Any:
        y = model.one(*inputs)
        norm = model.norm
        mean, spread = y.mean(0), y.var(0)
        y = (y - mean) / jnp.sqrt(spread + norm.epsilon) * norm.scale[...] + norm.bias[...]
        return model.two(y) + 0 * norm.mean[...].sum()

    pair = Pair(between(nn.BatchNorm1d(8)), Normed(batch_norm()), (INPUT,), port_call=trained)
    with pytest.raises(AlignmentError, match="The programs differ"):
        paritree.align(pair)


def test_a_momentum_alone_changes_nothing_that_is_carried() -> None:
    pair = Pair(between(nn.BatchNorm1d(8, momentum=0.5)), Normed(batch_norm(momentum=0.9)), (INPUT,))
    assert paritree.align(pair).verified


def mlp(activation: Any) -> Callable[[Any, Any], Any]:
    return lambda tree, inputs: activation(inputs[0] @ tree["w"] + tree["b"]) @ tree["v"] + tree["c"]


def activated(ours: nn.Module, theirs: Any) -> Map:
    tree = {name: jnp.ones(shape) for name, shape in {"w": (6, 8), "b": (8,), "v": (8, 3), "c": (3,)}.items()}
    return paritree.align(Pair(between(ours), tree, (INPUT,), port_call=mlp(theirs)))


ACTIVATIONS: dict[str, tuple[nn.Module, Any]] = {
    "GELU by tanh": (nn.GELU(), jax.nn.gelu),
    "SiLU for GELU": (nn.GELU(), jax.nn.silu),
    "another slope": (nn.LeakyReLU(0.01), lambda x: jax.nn.leaky_relu(x, 0.02)),
    "ELU for SELU": (nn.SELU(), jax.nn.elu),
    "hard sigmoid": (nn.Sigmoid(), jax.nn.hard_sigmoid),
    "softplus for ReLU": (nn.ReLU(), jax.nn.softplus),
    "a soft bound": (nn.ReLU(), lambda x: 30 * jnp.tanh(jax.nn.relu(x) / 30)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_another_activation_is_seen(name: str) -> None:
    with pytest.raises(AlignmentError, match="The programs differ"):
        activated(*ACTIVATIONS[name])


@pytest.mark.parametrize("most", [6.0, 20.0])
def test_a_bound_that_only_large_numbers_reach_is_seen(most: float) -> None:
    with pytest.raises(AlignmentError):
        activated(nn.ReLU(), lambda x: jnp.clip(x, 0, most))


def without_sign(name: str) -> Pair:
    """The tree's norm, with the absolute values of one of its vectors."""
    pair = normalized(1e-5)
    call = pair.port_call
    assert call is not None

    def dropped(tree: Any, inputs: Any) -> Any:
        return call(tree | {name: jnp.abs(tree[name])}, inputs)

    return replace(pair, port_call=dropped)


@pytest.mark.parametrize("name", ["gain", "b"])
def test_signs_of_a_vector_that_are_dropped_are_seen(name: str) -> None:
    with pytest.raises(AlignmentError):
        paritree.align(without_sign(name))


class ThreeBiases(nn.Module):
    """What is added three times, and at first is zero."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(6, 8, bias=False), nn.Linear(8, 3)
        self.first, self.second, self.third = (nn.Parameter(torch.zeros(8)) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.two((self.one(x) + self.first + self.second + self.third).tanh())


def test_of_three_that_are_added_none_is_left_out() -> None:
    tree = {name: jnp.ones(shape) for name, shape in {"w": (6, 8), "b": (8,), "v": (8, 3), "c": (3,)}.items()}
    found = paritree.align(Pair(ThreeBiases(), tree, (INPUT,), port_call=mlp(jnp.tanh)))
    assert (found.verified, found.coverage) == (True, 1.0)
    assert {(row.reference, row.port) for row in found.rows if row.summed} == {
        (name, "b") for name in ("first", "second", "third")
    }


def test_a_bias_without_a_place_is_seen_also_where_it_is_zero() -> None:
    case = packed.FAULTS["no-place-for-a-bias"]()
    with torch.no_grad():
        case.reference.bias_hh_l0.zero_()
        case.reference.bias_ih_l0.zero_()
    with pytest.raises(AlignmentError, match="The programs differ"):
        paritree.align(case.pair)


def test_two_square_kernels_that_the_port_swaps_are_undone_by_the_map() -> None:
    torch.manual_seed(0)
    reference = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 4))
    port = {name: jnp.ones((4, 4)) if name in "wv" else jnp.ones(4) for name in ("w", "b", "v", "c")}

    def swapped(tree: Any, inputs: Any) -> Any:
        return jnp.tanh(inputs[0] @ tree["v"] + tree["b"]) @ tree["w"].T + tree["c"]

    given = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    found = paritree.align(Pair(reference, port, (given,), port_call=swapped))
    assert {(row.reference, row.port, row.layout) for row in found.rows} == {
        ("0.weight", "v", "a b -> b a"),
        ("0.bias", "b", "a -> a"),
        ("2.weight", "w", "a b -> a b"),
        ("2.bias", "c", "a -> a"),
    }


def test_a_dropped_tie_is_seen_though_both_start_equal() -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(7, 5)
            self.inner = nn.Linear(5, 5)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.inner(self.words(tokens)).tanh() @ self.words.weight.T

    reference, tokens = Tied(), np.arange(6, dtype=np.int32).reshape(2, 3)
    words = jnp.asarray(reference.words.weight.detach().numpy())
    port = {"words": words, "head": words, "w": jnp.ones((5, 5)), "b": jnp.ones(5)}

    def call(tree: Any, inputs: Any) -> Any:
        return jnp.tanh(tree["words"][inputs[0]] @ tree["w"] + tree["b"]) @ tree["head"].T

    pair = Pair(reference, port, (tokens,), port_call=call)
    found = paritree.align(pair)
    assert {(row.reference, row.port) for row in found.rows if row.copied} == {
        ("words.weight", "words"),
        ("words.weight", "head"),
    }
    report = paritree.check(pair, found, contracts=("ties", "forward", "gradients"), devices=("cpu",))
    assert {failure.contract for failure in report.failures} == {"ties"}
