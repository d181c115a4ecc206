"""A layer that computes in a coarse type in a finer run, groups of a norm, and a softmax over another axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen

import paritree
from paritree import AlignmentError, Pair

X = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)


def same(x: Any) -> Any:
    return x


class Reference(torch.nn.Module):
    def __init__(self, norm: torch.nn.Module | None = None, between: Callable[[Any], Any] = same) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = torch.nn.Conv2d(3, 12, 3, padding=1), norm or torch.nn.Identity()
        self.fc, self.between = torch.nn.Linear(12, 5), between

    def forward(self, x: Any) -> Any:
        return self.fc(self.between(self.norm(self.conv(x)).flatten(2).transpose(1, 2)))


class Port(linen.Module):
    groups: int = 0
    between: Callable[[Any], Any] = same
    dtype: Any = None

    @linen.compact
    def __call__(self, x: Any) -> Any:
        y = linen.Conv(12, (3, 3), name="conv")(jnp.moveaxis(x, 1, -1))
        y = linen.GroupNorm(self.groups, epsilon=1e-5, name="norm")(y) if self.groups else y
        return linen.Dense(5, dtype=self.dtype, name="fc")(self.between(y.reshape(2, -1, 12)))


def place(reference: Any, port: Port, is_exchanged: bool = False) -> Any:
    sides = reference, (port, port.init(jax.random.key(0), X))
    with pytest.raises(AlignmentError) as caught:
        paritree.align(Pair(*(sides[::-1] if is_exchanged else sides), (X,)))
    assert caught.value.place is not None
    return caught.value.place


@pytest.mark.parametrize("is_exchanged", [False, True])
def test_a_coarse_layer_is_the_place_though_rounding_may_be_as_large(is_exchanged: bool) -> None:
    found = place(Reference(), Port(dtype=jnp.bfloat16), is_exchanged)
    assert (found.reference.path, found.port.path, found.cause.name) == ("fc", "fc", "dropped dtype")
    role = "reference" if is_exchanged else "port"
    assert found.cause.text == f"the {role} computes in bfloat16, and the other side in a finer type"


def test_a_norm_of_other_groups_is_told_with_both_numbers() -> None:
    found = place(Reference(torch.nn.GroupNorm(4, 12)), Port(groups=2))
    assert found.cause.text == (
        "the reference normalizes by the statistics of each sample in 4 groups of channels, the port by the statistics "
        "of each sample in 2 groups of channels"
    )


class Steps(torch.nn.Module):
    def __init__(self, joined: Callable[[Any], Any]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc, self.joined = torch.nn.Conv1d(4, 6, 3), torch.nn.Linear(6, 3), joined

    def forward(self, x: Any) -> Any:
        return self.fc(self.joined(self.conv(x)))


class ChannelsLast(linen.Module):
    joined: Callable[[Any], Any]

    @linen.compact
    def __call__(self, x: Any) -> Any:
        y = linen.Conv(6, (3,), padding="VALID", name="conv")(jnp.moveaxis(x, 1, -1))
        return linen.Dense(3, name="fc")(self.joined(y))


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        (
            lambda y: y.mean(2),
            lambda y: y.max(1),
            "'conv' (Conv1d) the reference takes the mean along axis 2 and the port the largest along its axis 1",
        ),
        (
            lambda y: y.softmax(1).mean(2),
            lambda y: jax.nn.softmax(y, 1).mean(1),
            "the softmax goes along axis 1 of (2, 6, 8) in the reference and along axis 1 of (2, 8, 6) in the port",
        ),
        (
            lambda y: y.tanh().transpose(1, 2),
            lambda y: jax.nn.softmax(y),
            "the reference takes tanh and the port softmax over the last axis",
        ),
    ],
)
def test_each_side_has_its_own_axis(ours: Any, theirs: Any, words: str) -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 10)).astype(np.float32)
    port = ChannelsLast(theirs)
    with pytest.raises(AlignmentError) as caught:
        paritree.align(Pair(Steps(ours), (port, port.init(jax.random.key(0), x)), (x,)))
    assert caught.value.place is not None
    assert caught.value.place.cause is not None
    assert caught.value.place.cause.text.endswith(words)


def test_a_softmax_over_another_axis_is_told() -> None:
    found = place(Reference(between=lambda y: y.softmax(-1)), Port(between=lambda y: jax.nn.softmax(y, 1)))
    assert found.cause.text == (
        "of the output of 'conv' (Conv2d) the reference takes softmax over the last axis and the port softmax "
        "over axis 1"
    )
