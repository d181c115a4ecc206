"""Round trips: each way of saving and loading gives back every tensor, and what a model loses on it is seen."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from flax import linen, nnx
from flax.core import freeze
from torch import nn

from paritree import NotExpressibleError, WeightsError, impl_torch
from paritree.common.wing.stored import StoredTensor, unlike
from paritree.impl_jax import linen as impl_linen
from paritree.impl_jax import nnx as impl_nnx
from paritree.impl_jax import pytrees

from .conftest import exactly, normal


class TorchOne(nn.Module):
    """A tie, running statistics, and tensors of many kinds."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3)
        self.norm = nn.BatchNorm1d(3)
        self.head = nn.Linear(3, 5, bias=False)
        self.head.weight = self.embedding.weight
        self.low = nn.Parameter(torch.tensor(normal(4)).bfloat16())
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.turned = nn.Parameter(torch.tensor(normal(4, 2)).T)
        self.register_buffer("mask", torch.tensor([True, False]))
        self.register_buffer("positions", torch.arange(4), persistent=False)


class LinenOne(linen.Module):
    @linen.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        embedding = linen.Embed(5, 3, name="embedding")
        x = linen.BatchNorm(use_running_average=True, name="norm")(embedding(tokens))
        boxed = linen.with_partitioning(linen.initializers.ones, ("model",))
        self.param("low", boxed, (4,), jnp.bfloat16)
        return embedding.attend(x) * self.param("scale", linen.initializers.constant(1.5), ())


class NnxOne(nnx.Module):
    def __init__(self) -> None:
        self.embedding = nnx.Embed(5, 3, rngs=nnx.Rngs(0))
        self.norm = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
        self.head = nnx.Embed(5, 3, rngs=nnx.Rngs(1))
        self.head.embedding = self.embedding.embedding
        self.dropout = nnx.Dropout(0.5, rngs=nnx.Rngs(0))
        self.low = nnx.Param(jnp.asarray(normal(4), jnp.bfloat16))
        self.scale = nnx.Param(jnp.asarray(1.5))


def linen_one() -> Any:
    module = LinenOne()
    return module, module.init(jax.random.key(0), jnp.zeros((1, 2), int))


def tree() -> Any:
    return {
        "layers": [{"w": jnp.asarray(normal(3, 4)), "turned": normal(4, 2).T}, {"w": normal(6)[::2]}],
        "low": normal(4).astype(ml_dtypes.bfloat16),
        "scale": np.float32(1.5),
        "exact": normal(2, dtype="float64"),
        "mask": np.array([True, False]),
        "rate": 0.1,
    }


KINDS: dict[str, tuple[Any, Callable[[], Any], list[str]]] = {
    "torch": (impl_torch, TorchOne, ["state_dict", "torch.save", "safetensors"]),
    "linen": (impl_linen, linen_one, ["state dict", "msgpack", "safetensors"]),
    "linen, frozen": (
        impl_linen,
        lambda: (linen_one()[0], freeze(linen_one()[1])),
        ["state dict", "msgpack", "safetensors"],
    ),
    "nnx": (impl_nnx, NnxOne, ["split and merge", "pure dict", "safetensors"]),
    "pytree": (pytrees, tree, ["flatten and unflatten", "safetensors"]),
}


def assert_equal(found: dict[str, StoredTensor], expected: dict[str, StoredTensor]) -> None:
    """The same tensors, bit for bit, with the same names and kinds; a tree that JAX made anew has another order."""
    assert set(found) == set(expected)
    for path, native in expected.items():
        other = found[path]
        assert (other.aliases, other.trainable, other.saved) == (native.aliases, native.trainable, native.saved)
        assert (other.array.dtype, other.array.shape) == (native.array.dtype, native.array.shape), path
        assert other.array.tobytes() == native.array.tobytes(), path


@pytest.mark.parametrize("name", KINDS)
def test_every_way_gives_everything_back(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    side, make, ways = KINDS[name]
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = make()
    before = {
        path: StoredTensor(**{**vars(native), "array": native.array.copy()})
        for path, native in stored_tensors(side, model)
    }
    found = []
    for trip in side.round_trips(model):
        found.append(trip.way)
        assert_equal(trip.stored_tensors, before)
    assert found == ways
    assert_equal(side.stored_tensors(model), before)
    assert list(tmp_path.iterdir()) == []


def stored_tensors(side: Any, model: Any) -> Any:
    return side.stored_tensors(model).items()


def test_ties_are_told_of_what_was_loaded() -> None:
    torch_trips, nnx_trips = impl_torch.round_trips(TorchOne()), impl_nnx.round_trips(NnxOne())
    assert [trip.stored_tensors["embedding.weight"].aliases for trip in torch_trips] == [("head.weight",)] * 3
    assert [trip.stored_tensors["embedding.embedding"].aliases for trip in nnx_trips] == [("head.embedding",)] * 3


class LosesTie(TorchOne):
    """Gives the head a tensor of its own on the way in."""

    def _load_from_state_dict(self, *args: Any) -> None:
        self.head.weight = nn.Parameter(self.head.weight.detach().clone())
        super()._load_from_state_dict(*args)


def test_a_tie_that_is_lost_while_loading_is_seen() -> None:
    model = LosesTie()
    before = impl_torch.stored_tensors(model)["embedding.weight"].array
    for trip in impl_torch.round_trips(model):
        assert trip.stored_tensors["embedding.weight"].aliases == ()
        assert np.array_equal(trip.stored_tensors["embedding.weight"].array, before)
        # In a file of safetensors the tensor is once, under its owner's name.
        assert np.array_equal(trip.stored_tensors["head.weight"].array, before) == (trip.way != "safetensors")
    assert model.head.weight is model.embedding.weight


class Drops(nn.Module):
    """A counter that the module does not save."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2))
        self.register_buffer("count", torch.tensor([1, 3]))

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        del destination[prefix + "count"]


class DropsQuietly(Drops):
    def _load_from_state_dict(
        self, state: Any, prefix: str, metadata: Any, strict: bool, missing: Any, *r: Any
    ) -> None:
        super()._load_from_state_dict(state, prefix, metadata, strict, missing, *r)
        missing.clear()


def test_a_buffer_that_is_not_saved_has_other_values() -> None:
    for trip in impl_torch.round_trips(DropsQuietly()):
        assert trip.stored_tensors["count"].array.tolist() == [0, 1]
        assert trip.stored_tensors["weight"].array.tolist() == [1, 1]


def test_a_strict_load_that_fails_names_the_way() -> None:
    text = (
        "state_dict: expected what was saved to load into a copy of the model, found RuntimeError: Error(s) in loading "
        'state_dict for Drops: Missing key(s) in state_dict: "count".'
    )
    with pytest.raises(WeightsError, match=exactly(text)):
        next(impl_torch.round_trips(Drops()))


def test_what_a_module_raises_while_it_is_saved_names_the_way() -> None:
    class Refuses(Drops):
        def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
            raise RuntimeError("not this one")

    text = "state_dict: expected a model that can be saved in this way, found RuntimeError: not this one."
    with pytest.raises(NotExpressibleError, match=exactly(text)):
        next(impl_torch.round_trips(Refuses()))


def test_what_only_one_format_refuses_comes_after_those_that_take_it() -> None:
    class Halves(nn.Module):
        """Two parameters in one memory, of which neither is the whole."""

        def __init__(self) -> None:
            super().__init__()
            whole = torch.tensor(normal(2, 3))
            self.one, self.other = nn.Parameter(whole[:, :2]), nn.Parameter(whole[:, 1:])

    model = Halves()
    trips = impl_torch.round_trips(model)
    before = impl_torch.stored_tensors(model)
    assert_equal(next(trips).stored_tensors, before)
    assert_equal(next(trips).stored_tensors, before)
    with pytest.raises(
        NotExpressibleError, match=r"^safetensors: expected a model that can be saved in this way, found"
    ):
        next(trips)


def test_a_weight_that_weight_norm_computes_is_no_hindrance() -> None:
    with pytest.warns(FutureWarning):
        model = torch.nn.utils.weight_norm(nn.Linear(3, 2))
    model(torch.ones(1, 3))
    for trip in impl_torch.round_trips(model):
        assert_equal(trip.stored_tensors, impl_torch.stored_tensors(model))


def test_a_variable_that_a_pure_dict_takes_apart_is_refused() -> None:
    class Tree(nnx.Module):
        def __init__(self) -> None:
            self.held = nnx.Param({"a": jnp.ones(2), "b": jnp.zeros(3)})

    model = Tree()
    trips = impl_nnx.round_trips(model)
    assert_equal(next(trips).stored_tensors, impl_nnx.stored_tensors(model))
    text = (
        "pure dict: expected what was saved to load into a copy of the model, found ValueError: key in pure_dict not "
        "available in state: ('held', 'a')."
    )
    with pytest.raises(WeightsError, match=exactly(text)):
        next(trips)


def test_numbers_that_a_format_does_not_know_are_refused() -> None:
    *trips, last = ("flatten and unflatten", "safetensors")
    found = pytrees.round_trips({"w": jnp.arange(4, dtype=jnp.int4)})
    assert [next(found).way] == trips
    with pytest.raises(NotExpressibleError, match=r'^safetensors: .* Unknown dtype "int4"') as raised:
        next(found)
    assert raised.value.path == last


@pytest.mark.parametrize("name", KINDS)
def test_without_safetensors_its_way_is_left_out(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    side, make, ways = KINDS[name]
    model = make()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert [trip.way for trip in side.round_trips(model)] == ways[:-1]


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "int32", "uint8", "bool", "complex64"])
def test_other_values_differ_everywhere(dtype: str) -> None:
    array = np.array([0, 1, 2, 1], dtype=jnp.dtype(dtype))
    if "float" in dtype:
        array = np.concatenate([array, np.array([np.nan, np.inf, 1e-3, 300], array.dtype)])
    other = unlike(array)
    assert other.dtype == array.dtype
    assert (other != array).all()
    assert unlike(array[1]).shape == ()
