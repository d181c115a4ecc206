"""Which single mistake in the use of weights explains a wrong output."""

from __future__ import annotations

import pytest

import paritree
from paritree import Pair

from ...attention import IDS, Way, linen_model, nnx_model, torch_model

HALVES, PAIRS = Way("halves"), Way("pairs")


@pytest.mark.parametrize(
    ("make", "way", "make_port", "other", "layers"),
    [
        (torch_model, HALVES, nnx_model, PAIRS, "layers.#.query and layers.#.key"),
        (nnx_model, PAIRS, torch_model, HALVES, "layers.#.q_proj and layers.#.k_proj"),
        (torch_model, HALVES, linen_model, PAIRS, "params.wq_# and params.wk_#"),
    ],
    ids=["nnx", "torch", "linen"],
)
def test_plain_weights_under_another_order_of_the_rotation(make, way, make_port, other, layers) -> None:
    known = paritree.align(Pair(make(way), make_port(way), (IDS,)))
    pair = Pair(make(way), make_port(other), (IDS,))
    report = paritree.check(pair, known, contracts=("forward",), devices=("cpu",))
    (failure,) = report.failures
    assert failure.cause == "rotary order"
    assert (
        f"rotary positions: {layers} give features that the reference rotates in {way.rotary} of a head of 6 and the "
        f"port in {other.rotary}; given in the other order, the outputs agree"
    ) in failure.message
