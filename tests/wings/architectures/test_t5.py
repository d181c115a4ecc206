"""What is T5's alone: one embedding for all, buckets of distances, and two masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from paritree.common.layers import RelativeBuckets
from paritree.common.spec import expansion
from paritree.pairs.closeness import allowed, relative_error

from .cases import CASES


@pytest.mark.parametrize(
    ("name", "aliases"),
    [
        ("t5", ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight", "lm_head.weight"]),
        ("t5, 1.1", ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"]),
    ],
)
def test_the_embedding_is_shared(name: str, aliases: list[str]) -> None:
    ties = expansion.table_of(CASES[name].twin.spec).ties
    assert [(tie.owner, tie.alias) for tie in ties] == [("shared.weight", alias) for alias in aliases]


@pytest.mark.parametrize("bidirectional", [True, False], ids=["encoder", "decoder"])
@pytest.mark.parametrize(("buckets", "most"), [(32, 128), (8, 10), (12, 100)])
def test_the_bucket_of_every_distance_is_that_of_the_torch_class(bidirectional: bool, buckets: int, most: int) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = range(-300, 301)
    ours = RelativeBuckets(bidirectional, buckets, most)
    theirs = T5Attention._relative_position_bucket(torch.tensor(distances), bidirectional, buckets, most)
    assert [ours.bucket(distance) for distance in distances] == theirs.tolist()


@pytest.mark.parametrize("name", ["t5", "t5, 1.1"])
@pytest.mark.parametrize("place", [1, 3], ids=["encoder", "decoder"])
def test_each_mask_changes_the_output(name: str, place: int) -> None:
    """So that the comparisons with the torch class would show a mask that does not enter."""
    pair = CASES[name].twin
    shown = [np.ones_like(array) if index == place else array for index, array in enumerate(pair.inputs)]
    with torch.no_grad():
        without, output = (pair.run(pair.model, *map(torch.from_numpy, each)) for each in (shown, pair.inputs))
    assert relative_error(without.numpy(), output.numpy()) > 100 * allowed(pair.depth)
