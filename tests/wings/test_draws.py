"""The tensors that a factory draws for many seeds, in every kind of side: what comes back, and which factories do not
pass."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import flax.linen as fl
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from flax import nnx

from paritree import impl_torch
from paritree.common.wing.runs import PairError, reported
from paritree.impl_jax import linen, pytrees
from paritree.impl_jax import nnx as nnx_wing

INPUT = np.zeros((1, 8), np.float32)


class Torch(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(8, 16)
        self.norm = torch.nn.BatchNorm1d(16)
        self.last = torch.nn.Linear(16, 8)
        self.last.weight = torch.nn.Parameter(self.first.weight.detach().T.clone())


class Linen(fl.Module):
    @fl.compact
    def __call__(self, x: Any) -> Any:
        return fl.BatchNorm(use_running_average=True)(fl.Dense(16)(x))


class Nnx(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.first = nnx.Linear(8, 16, rngs=rngs)
        self.norm = nnx.BatchNorm(16, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)


class Counted:
    """A factory that counts its calls."""

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self.make = make
        self.calls = 0

    def __call__(self, seed: Any) -> Any:
        self.calls += 1
        return self.make(seed)


def torch_model(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return Torch()


def linen_model(seed: Any) -> Any:
    module = Linen()
    return module, module.init(jax.random.key(seed), jnp.asarray(INPUT))


def tree(seed: Any) -> Any:
    key = jax.random.key(seed)
    return {"w": [jax.random.uniform(key, (3, 4)), np.zeros(3, np.float32)], "ids": jnp.arange(5)}


# wing, factory, how often it is called for five seeds
KINDS: dict[str, tuple[Any, Callable[[Any], Any], int]] = {
    "torch": (impl_torch, torch_model, 5),
    "linen": (linen, linen_model, 3),
    "nnx by key": (nnx_wing, lambda seed: Nnx(nnx.Rngs(jax.random.key(seed))), 3),
    # They take a whole number alone, and give up twice before anything is drawn: what fails once is tried again.
    "nnx by seed": (nnx_wing, lambda seed: Nnx(nnx.Rngs(seed)), 7),
    "pytree": (pytrees, tree, 3),
    "pytree by int": (pytrees, lambda seed: tree(int(seed)), 7),
    "pytree of NumPy's": (pytrees, lambda seed: {"w": np.random.default_rng(seed).normal(size=(4, 3))}, 7),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_tensor_of_every_seed_is_the_factorys_own(kind: str) -> None:
    wing, make, calls = KINDS[kind]
    factory, seeds = Counted(make), [5, 3, 20, 21, 22]
    found = wing.draws(factory, seeds)
    assert factory.calls == calls
    for number in (0, 4):
        stored_tensors = wing.stored_tensors(make(seeds[number]))
        assert list(found) == list(stored_tensors)
        for path, native in stored_tensors.items():
            assert found[path].shape == (5, *native.array.shape)
            assert found[path].dtype == native.array.dtype
            # A compiled draw may be fused where one alone is rounded in between.
            np.testing.assert_allclose(found[path][number], native.array, rtol=0, atol=1e-6, err_msg=path)


@pytest.mark.parametrize("kind", ["torch", "nnx by seed", "pytree"])
def test_enough_is_drawn_and_no_more(kind: str) -> None:
    wing, make, _ = KINDS[kind]
    found = wing.draws(make, range(12), target=64)
    sizes = {path: (len(array), array[0].size) for path, array in found.items()}
    for path, (count, size) in sizes.items():
        constant = (found[path] == found[path][0]).all()
        assert count == (2 if constant else max(2, -(-64 // size))), path


def test_no_more_models_are_made_than_that_takes() -> None:
    factory = Counted(torch_model)
    impl_torch.draws(factory, range(1000), target=32)
    assert factory.calls == 4  # the second bias has 8 entries


def test_pytorchs_generator_is_as_it_was() -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    impl_torch.draws(torch_model, range(3))
    assert torch.equal(torch.get_rng_state(), before)


def test_bfloat16_stays_as_it_is_and_a_large_seed_is_drawn_one_by_one() -> None:
    def half(seed: Any) -> Any:
        return {"w": jax.random.uniform(jax.random.key(seed), (3, 4), jnp.bfloat16)}

    assert pytrees.draws(half, range(5))["w"].dtype == ml_dtypes.bfloat16
    torch_half = impl_torch.draws(lambda seed: torch_model(seed).to(torch.bfloat16), [0, 1])
    assert torch_half["first.weight"].dtype == ml_dtypes.bfloat16
    factory = Counted(half)
    pytrees.draws(factory, [0, 1, 2**31, 3])
    assert factory.calls == 4


def test_a_factory_that_draws_otherwise_when_it_is_traced_is_drawn_one_by_one() -> None:
    state = Counted(lambda seed: None)

    def drifting(seed: Any) -> Any:
        state(seed)
        return {"w": np.random.default_rng(state.calls).normal(size=5).astype(np.float32)}

    found = pytrees.draws(drifting, range(6))["w"]
    assert len({array.tobytes() for array in found}) == 6


def test_draws_are_made_in_chunks_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pytrees.draws(tree, range(11))
    monkeypatch.setattr("paritree.impl_jax.draws._CHUNK_BYTES", 400)
    parts = pytrees.draws(tree, range(11))
    for path, array in whole.items():
        np.testing.assert_array_equal(array, parts[path])


def constants(seed: int) -> torch.nn.Module:
    model = torch.nn.Linear(3, 3)
    torch.nn.init.eye_(model.weight)
    torch.nn.init.ones_(model.bias)
    return model


def test_a_model_of_constants_ignores_no_seed() -> None:
    assert impl_torch.draws(constants, [0, 1])["weight"].shape == (2, 3, 3)
    # One seed, or one seed twice, tells nothing.
    assert len(impl_torch.draws(lambda seed: torch_model(0), [4])["first.bias"]) == 1
    assert len(impl_torch.draws(lambda seed: torch_model(0), [4, 4])["first.bias"]) == 2


def raising(seed: int) -> torch.nn.Module:
    raise RuntimeError("no such file\nand more")


def growing(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Linear(2, 3 + seed)


def changing(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Linear(2, 3, bias=seed < 1)


def late(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Linear(2, 3, dtype=torch.float64 if seed == 3 else torch.float32)


STRUCTURE = "expected a factory whose models have one structure, found "
REMEDY = " A seed may change values, and nothing else."
WRONG: list[tuple[Callable[[int], Any], str]] = [
    (
        raising,
        "expected a factory that makes a model, found RuntimeError: no such file. A factory is a function of a seed.",
    ),
    (
        growing,
        f"{STRUCTURE}weight as float32 of shape (3, 2) for seed 0 and float32 of shape (4, 2) for 1.{REMEDY}",
    ),
    (changing, f"{STRUCTURE}bias for seed 0 and none for seed 1.{REMEDY}"),
    (
        late,
        f"{STRUCTURE}weight as float32 of shape (3, 2) for seed 0 and float64 of shape (3, 2) for 3.{REMEDY}",
    ),
    (
        lambda seed: torch_model(0),
        "expected a factory that draws other values for another seed, found the same values in all 9 tensors for the "
        "seeds 0 and 1. Seed the framework's generator in it, by torch.manual_seed(seed) or jax.random.key(seed).",
    ),
    (lambda seed: torch.nn.ReLU(), "expected a factory of models with tensors, found a model without one for seed 0."),
]


@pytest.mark.parametrize("place", range(len(WRONG)))
def test_a_factory_that_is_none_is_refused(place: int) -> None:
    factory, text = WRONG[place]
    with pytest.raises(PairError, match=f"^{re.escape(text)}$"):
        impl_torch.draws(factory, range(4))
    with pytest.raises(PairError, match=f"^{re.escape('reference: ' + text)}$"), reported("reference"):
        impl_torch.draws(factory, range(4))


@pytest.mark.parametrize("wing", [linen, nnx_wing, pytrees])
def test_a_factory_of_jaxs_that_is_none_is_refused_likewise(wing: Any) -> None:
    make = {linen: linen_model, nnx_wing: KINDS["nnx by seed"][1], pytrees: tree}[wing]
    with pytest.raises(PairError, match=r"^expected a factory that draws other values for another seed, found"):
        wing.draws(lambda seed: make(0), range(4))
    with pytest.raises(PairError, match=r"^expected a factory that makes a model, found KeyError: 'gone'"):
        wing.draws(lambda seed: {}["gone"], range(4))


def test_without_seeds_there_is_nothing_to_draw() -> None:
    text = "expected at least one seed, found none. Two or more tell a random tensor from a constant."
    for wing in (impl_torch, linen, nnx_wing, pytrees):
        with pytest.raises(PairError, match=f"^{re.escape(text)}$"):
            wing.draws(torch_model, [])
