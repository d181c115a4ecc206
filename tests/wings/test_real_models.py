"""Models that nobody here wrote: GPT-2 of transformers, in torch and in Flax, at a tiny configuration."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from flax import traverse_util

import paritree

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from transformers import FlaxGPT2LMHeadModel, GPT2Config, GPT2LMHeadModel

LAYERS = 2
CONFIG = GPT2Config(n_layer=LAYERS, n_head=2, n_embd=8, vocab_size=32, n_positions=16)


@pytest.fixture(scope="module")
def torch_model() -> Any:
    return GPT2LMHeadModel(CONFIG).eval()


@pytest.fixture(scope="module")
def linen_model() -> tuple[Any, dict[str, Any]]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrapper = FlaxGPT2LMHeadModel(CONFIG, seed=0)
    return wrapper.module, {"params": wrapper.params}


@pytest.fixture(scope="module")
def linen_inputs() -> tuple[np.ndarray, ...]:
    """Tokens, attention mask and positions, which the Flax module takes in that order."""
    tokens = np.arange(8, dtype=np.int32).reshape(2, 4)
    return tokens, np.ones_like(tokens), np.broadcast_to(np.arange(4, dtype=np.int32), (2, 4))


def test_torch_paths_shapes_dtypes_and_counts_are_those_of_named_parameters(torch_model: Any) -> None:
    table = paritree.table(torch_model)
    assert [(row.path, row.shape, row.dtype) for row in table.parameters] == [
        (name, tuple(array.shape), str(array.dtype).removeprefix("torch."))
        for name, array in torch_model.named_parameters()
    ]
    assert [(row.path, row.shape) for row in table.buffers] == [
        (name, tuple(array.shape)) for name, array in torch_model.named_buffers()
    ]
    assert table.scalars == sum(array.numel() for array in torch_model.parameters())
    assert table.scalars == torch_model.num_parameters()


def test_torch_paths_are_those_of_the_state_dict(torch_model: Any) -> None:
    table, state = paritree.table(torch_model), torch_model.state_dict()
    assert [row.path for row in table if row.persistent] == list(state)
    for row in table:
        if row.persistent:
            assert row.shape == tuple(state[row.path].shape)


def test_torch_ties_are_those_of_the_storage(torch_model: Any) -> None:
    table, state = paritree.table(torch_model), torch_model.state_dict()
    (group,) = table.tie_groups
    assert group.paths == ("transformer.wte.weight", "lm_head.weight")
    storage: dict[int, list[str]] = {}
    for name, array in state.items():
        storage.setdefault(array.data_ptr(), []).append(name)
    assert [tuple(names) for names in storage.values() if len(names) > 1] == [group.paths]
    assert torch_model.lm_head.weight is torch_model.transformer.wte.weight
    assert paritree.wing(torch_model).identical(torch_model, *group.paths)


def test_the_flax_table_is_the_tree_as_it_is_stored(linen_model: Any) -> None:
    table = paritree.table(linen_model)
    flat = traverse_util.flatten_dict(linen_model[1]["params"])
    assert [(row.native_path, row.path, row.shape, row.dtype) for row in table] == [
        (path, ".".join(path), array.shape, str(array.dtype)) for path, array in flat.items()
    ]
    assert table.scalars == sum(array.size for array in flat.values())
    # A tie is a name in Linen, and the decoder has none of its own.
    assert table.ties == ()


def test_a_call_shows_the_flax_layers(linen_model: Any, linen_inputs: Any) -> None:
    table = paritree.table(linen_model, linen_inputs)
    flat = traverse_util.flatten_dict(linen_model[1]["params"])
    assert {row.native_path: row.shape for row in table} == {path: array.shape for path, array in flat.items()}
    assert table["transformer.wte.weight"].native_path == ("transformer", "wte", "embedding")
    assert table["transformer.wte.weight"].layer == "Embedding"
    # A class that the spec does not know keeps its names and its layout: this one's kernel is (out, in) already.
    row = table["transformer.h.0.attn.c_attn.kernel"]
    assert (row.layer, row.layout.is_identity, row.shape) == ("FlaxConv1D", True, (24, 8))


def test_both_sides_have_the_same_parameters(torch_model: Any, linen_model: Any) -> None:
    ours, theirs = paritree.table(torch_model), paritree.table(linen_model)
    assert len(ours.parameters) == len(theirs.parameters) == 4 + 12 * LAYERS
    assert ours.scalars == theirs.scalars

    def shapes(table: paritree.Table) -> list[tuple[int, ...]]:
        return sorted(tuple(sorted(row.shape)) for row in table.parameters)

    assert shapes(ours) == shapes(theirs)


def test_weights_go_out_and_come_back(torch_model: Any, linen_model: Any) -> None:
    for model in (torch_model, linen_model):
        wing = paritree.wing(model)
        before = wing.weights(model)
        after = wing.weights(wing.load(model, {path: array.copy() for path, array in before.items()}))
        assert list(before) == list(after)
        for path, array in before.items():
            np.testing.assert_array_equal(array, after[path], err_msg=path)


def test_a_wrapper_is_refused_with_what_to_give(linen_model: Any) -> None:
    class Wrapper:
        module, params = linen_model[0], linen_model[1]["params"]

    with pytest.raises(paritree.ParitreeError) as caught:
        paritree.table(Wrapper())
    assert str(caught.value) == (
        "expected a spec, an nn.Module, an nnx.Module or (linen module, variables), found Wrapper. Of a wrapper around "
        'a Linen module give the inside: (model.module, {"params": model.params}).'
    )
