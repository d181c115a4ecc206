"""Convolutions and pooling windows that go over one input in two ways: how the reference does it and how the port."""

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

LENGTHS = {1: 12, 2: 8}
Layer = Callable[[], Any]


class Reference(torch.nn.Module):
    def __init__(self, stem: torch.nn.Module, pool: torch.nn.Module | None) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.pool, self.fc = stem, pool or torch.nn.Identity(), torch.nn.Linear(6, 5)

    def forward(self, x: Any) -> Any:
        return self.fc(self.pool(self.stem(x)).movedim(1, -1))


class Port(linen.Module):
    stem: Layer
    pool: Callable[[Any], Any] | None

    @linen.compact
    def __call__(self, x: Any) -> Any:
        y = self.stem()(jnp.moveaxis(x, 1, -1))
        return linen.Dense(5, name="fc")(self.pool(y) if self.pool else y)


def conv(size: int, stride: int = 1, rank: int = 2, **settings: Any) -> Layer:
    return lambda: linen.Conv(6, (size,) * rank, stride, name="stem", **settings)


def sides(stem: torch.nn.Module, port: Layer, rank: int, pools: Any = (None, None)) -> tuple[Any, Any, Any]:
    x = np.random.default_rng(0).normal(size=(2, 4, *[LENGTHS[rank]] * rank)).astype(np.float32)
    made = Port(port, pools[1])
    return Reference(stem, pools[0]), (made, made.init(jax.random.key(0), x)), x


def cause(reference: Any, port: Any, x: np.ndarray) -> str:
    with pytest.raises(AlignmentError) as caught:
        paritree.align(Pair(reference, port, (x,)))
    assert caught.value.place is not None
    return str(caught.value.place.cause)


CASES = {
    "stride": (
        lambda: torch.nn.Conv2d(4, 6, 3, 2, 1),
        conv(3, 2, padding="SAME"),
        2,
        "padding (1, 0) in the reference and (0, 1) in the port, the port's as SAME has it with a stride of 2",
    ),
    "groups": (
        lambda: torch.nn.Conv2d(4, 6, 5, 2, 2, groups=2),
        conv(5, 2, padding="SAME", feature_group_count=2),
        2,
        "padding (2, 1) in the reference and (1, 2) in the port, the port's as SAME has it with a stride of 2",
    ),
    "one axis, dilated": (
        lambda: torch.nn.Conv1d(4, 6, 3, 3, 2, dilation=2),
        conv(3, 3, 1, padding="SAME", kernel_dilation=2),
        1,
        "padding (2, 0) in the reference and (1, 1) in the port, the port's as SAME has it with a stride of 3",
    ),
    "causal": (
        lambda: torch.nn.Conv1d(4, 6, 3, 1, 1),
        conv(3, 1, 1, padding="CAUSAL"),
        1,
        "padding (1, 1) in the reference and (2, 0) in the port, the reference's as SAME has it with a stride of 1",
    ),
    "around": (
        lambda: torch.nn.Conv2d(4, 6, 3, 1, 1, padding_mode="circular"),
        conv(3, padding="SAME"),
        2,
        "the input is continued by the other end in the reference and zeros in the port",
    ),
    "dilation": (
        lambda: torch.nn.Conv2d(4, 6, 3, 1, 2, dilation=2),
        conv(3, padding="SAME"),
        2,
        "padding (2, 2) in the reference and (1, 1) in the port, and dilation 2 in the reference and 1 in the port",
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_the_two_ways_are_told(name: str) -> None:
    stem, port, rank, words = CASES[name]
    assert cause(*sides(stem(), port, rank)) == words


def test_so_they_are_where_the_reference_has_channels_last() -> None:
    stem, port, rank, _ = CASES["stride"]
    theirs, ours, x = sides(stem(), port, rank)
    assert cause(ours, theirs, x) == (
        "padding (0, 1) in the reference and (1, 0) in the port, the reference's as SAME has it with a stride of 2"
    )


def test_a_transposed_convolution_is_cut_off_otherwise() -> None:
    def port() -> Any:
        return linen.ConvTranspose(6, (3, 3), (2, 2), padding="SAME", name="stem")

    found = cause(*sides(torch.nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1), port, 2))
    assert found.startswith(
        "padding (1, 2) in the reference and (2, 1) in the port, the port's as SAME has it with 2 times as many "
        "positions"
    )


@pytest.mark.parametrize(
    ("pools", "words"),
    [
        (
            (torch.nn.MaxPool2d(3, 2, 1), lambda y: linen.max_pool(y, (3, 3), (2, 2), "SAME")),
            "the largest in windows of 3 with a stride of 2 and 1 of padding before and the port the largest in "
            "windows of 3 with a stride of 2 and 0 of padding before",
        ),
        (
            (
                torch.nn.AvgPool2d(3, 2, 1),
                lambda y: linen.avg_pool(y, (3, 3), (2, 2), [(1, 1)] * 2, count_include_pad=False),
            ),
            "the mean in windows of 3 with a stride of 2 and 1 of padding before and the port the mean in windows of 3 "
            "with a stride of 2 and 1 of padding before, which does not count",
        ),
    ],
)
def test_a_pooling_window_begins_or_counts_otherwise(pools: Any, words: str) -> None:
    found = cause(*sides(torch.nn.Conv2d(4, 6, 3, 1, 1), conv(3, padding="SAME"), 2, pools))
    assert found == f"of the output of 'stem' (Conv2d) the reference takes {words}"
