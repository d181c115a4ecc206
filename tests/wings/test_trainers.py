"""Trained and run in either mode: one model in every kind of side, with BatchNorm, dropout and a tied embedding."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional

from paritree import impl_torch
from paritree.common.errors import NotExpressibleError, WeightsError
from paritree.common.wing.training import Optimizer, Pass, Training
from paritree.impl_jax import linen as impl_linen
from paritree.impl_jax import nnx as impl_nnx
from paritree.impl_jax import pytrees
from paritree.impl_jax.linen import training as linen_training
from paritree.impl_jax.nnx import training as nnx_training
from paritree.impl_torch import training as torch_training

from .conftest import assert_close, assert_same, exactly, normal

WORDS, WIDTH, RATE = 11, 8, 0.4
TOKENS = np.random.default_rng(0).integers(0, WORDS, (4, 6)).astype(np.int32)
ENTRIES = TOKENS.size
SGD = Optimizer("sgd", 0.1, momentum=0.9)
ADAMW = Optimizer("adamw", 0.01, weight_decay=0.1, betas=(0.8, 0.95), eps=1e-6)
HOMES = {"torch": torch_training, "linen": linen_training, "nnx": nnx_training}
WINGS = {"torch": impl_torch, "linen": impl_linen, "nnx": impl_nnx}


class Torch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.drop = nn.Dropout(RATE)
        self.hidden = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        x = self.embed(tokens)
        x = self.drop(self.norm(x.flatten(0, 1)).view_as(x))
        return self.head(torch.tanh(self.hidden(x)))


class Linen(linen.Module):
    @linen.compact
    def __call__(self, tokens: jax.Array, train: bool = False) -> jax.Array:
        embed = linen.Embed(WORDS, WIDTH, name="embed")
        x = embed(tokens)
        x = linen.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        x = linen.Dropout(RATE)(x, deterministic=not train)
        return embed.attend(jnp.tanh(linen.Dense(WIDTH, name="hidden")(x)))


class Head(nnx.Module):
    def __init__(self, embed: nnx.Embed) -> None:
        self.weight = embed.embedding

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.weight.T


class Nnx(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.embed = nnx.Embed(WORDS, WIDTH, rngs=rngs)
        self.norm = nnx.BatchNorm(WIDTH, momentum=0.9, rngs=rngs)
        self.drop = nnx.Dropout(RATE, rngs=rngs)
        self.hidden = nnx.Linear(WIDTH, WIDTH, rngs=rngs)
        self.head = Head(self.embed)

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return self.head(jnp.tanh(self.hidden(self.drop(self.norm(self.embed(tokens))))))


def linen_train_call(model: Any, inputs: Any) -> Any:
    module, variables = model
    return module.apply(variables, *inputs, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(7)})


TRAIN_CALLS = {"torch": None, "linen": linen_train_call, "nnx": None}
# Where each wing has what torch has under the first name.
PATHS = {
    "embed.weight": {"linen": "params.embed.embedding", "nnx": "embed.embedding"},
    "norm.weight": {"linen": "params.norm.scale", "nnx": "norm.scale"},
    "norm.bias": {"linen": "params.norm.bias", "nnx": "norm.bias"},
    "norm.running_mean": {"linen": "batch_stats.norm.mean", "nnx": "norm.mean"},
    "norm.running_var": {"linen": "batch_stats.norm.var", "nnx": "norm.var"},
    "hidden.weight": {"linen": "params.hidden.kernel", "nnx": "hidden.kernel"},
    "hidden.bias": {"linen": "params.hidden.bias", "nnx": "hidden.bias"},
}
SHAPES = {"embed.weight": (WORDS, WIDTH), "hidden.weight": (WIDTH, WIDTH)}
# Distinct in every entry; the running variance is to be positive.
START = {name: 0.5 * normal(*SHAPES.get(name, (WIDTH,)), seed=seed, dtype="float64") for seed, name in enumerate(PATHS)}
START["norm.running_var"] = START["norm.running_var"] ** 2 + 0.5


def built(wing: str) -> Any:
    if wing == "torch":
        torch.manual_seed(0)
        return Torch()
    if wing == "nnx":
        return Nnx(nnx.Rngs(0))
    return Linen(), Linen().init(jax.random.key(0), TOKENS)


def native(wing: str) -> dict[str, np.ndarray]:
    """The weights that all start from, as the wing has them."""
    if wing == "torch":
        return START
    return {paths[wing]: array.T if name == "hidden.weight" else array for (name, array), paths in _paired()}


def canonical(wing: str, arrays: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a wing by torch's names and in its layouts, what no other wing has aside."""
    if wing == "torch":
        return {name: array for name, array in arrays.items() if name in PATHS}
    listed = {name: arrays[paths[wing]] for name, paths in PATHS.items() if paths[wing] in arrays}
    return {name: array.T if name == "hidden.weight" else array for name, array in listed.items()}


def _paired() -> Any:
    return zip(START.items(), PATHS.values(), strict=True)


def targets(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    return [normal(*shape, seed=9, dtype="float64") for shape in shapes]


@functools.cache
def trained(wing: str, optimizer: Optimizer, dtype: str = "float64") -> Training:
    """Three steps from START."""
    with WINGS[wing].running(dtype=dtype):
        trainer = HOMES[wing].trainer(built(wing), (TOKENS,), dtype=dtype, train_call=TRAIN_CALLS[wing])
        return trainer(native(wing), targets, optimizer, 3)


def arrays_of(training: Training) -> dict[str, np.ndarray]:
    return {path: each.array for path, each in training.stored_tensors.items()}


def unbiased(stats: Mapping[str, np.ndarray], steps: int) -> dict[str, np.ndarray]:
    """What torch has after these steps in the place of a running variance that is updated with biased ones.

    Both are 0.9^t v_0 and a sum over the steps; torch's terms are n / (n - 1) times as large.
    """
    kept = 0.9**steps * START["norm.running_var"]
    summed = (stats["norm.running_var"] - kept) * ENTRIES / (ENTRIES - 1)
    return {**stats, "norm.running_var": kept + summed}


@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_all_wings_are_the_same_after_some_steps(optimizer: Optimizer) -> None:
    expected = trained("torch", optimizer)
    assert expected.losses[0] > expected.losses[-1] > 0
    for wing in ("linen", "nnx"):
        found = trained(wing, optimizer)
        np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-12)
        arrays = unbiased(canonical(wing, arrays_of(found)), steps=3)
        assert_close(arrays, canonical("torch", arrays_of(expected)), allowed=1e-10)
    assert all(np.abs(array - START[name]).max() > 1e-3 for name, array in arrays.items())


def test_ties_are_told_as_they_are_after_training() -> None:
    assert {path: each.aliases for path, each in trained("torch", SGD).stored_tensors.items() if each.aliases} == {
        "embed.weight": ("head.weight",)
    }
    assert {path: each.aliases for path, each in trained("nnx", SGD).stored_tensors.items() if each.aliases} == {
        "embed.embedding": ("head.weight",)
    }


def test_a_tie_that_a_call_breaks_is_told() -> None:
    def call(model: Any, inputs: Any) -> Any:
        model.head.weight = nn.Parameter(model.head.weight.detach().clone())
        return model(*inputs)

    told = torch_training.trainer(built("torch"), (TOKENS,), train_call=call)({}, targets, SGD, 1).stored_tensors
    assert not any(each.aliases for each in told.values())


@pytest.mark.parametrize("wing", WINGS)
def test_the_model_given_stays_as_it_is_and_a_run_can_be_repeated(wing: str) -> None:
    model = built(wing)
    before = {path: each.array for path, each in WINGS[wing].stored_tensors(model).items()}
    mode = [module.training for module in model.modules()] if wing == "torch" else []
    trainer = HOMES[wing].trainer(model, (TOKENS,), train_call=TRAIN_CALLS[wing])
    passer = HOMES[wing].passer(model, (TOKENS,), train_call=TRAIN_CALLS[wing])
    first, _ = trainer({}, targets, SGD, 2), trainer(native(wing), targets, SGD, 1)
    passed = passer({}, training=True, dropout=True, seed=3)
    again = trainer({}, targets, SGD, 2)
    assert again.losses == first.losses
    assert_same(arrays_of(again), arrays_of(first))
    assert_same(passer({}, training=True, dropout=True, seed=3).outputs, passed.outputs)
    assert_same({path: each.array for path, each in WINGS[wing].stored_tensors(model).items()}, before)
    assert ([module.training for module in model.modules()] if wing == "torch" else []) == mode


def test_what_is_frozen_or_unused_is_trained_as_torch_and_optax_would_together() -> None:
    class Partly(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.frozen, self.unused = (nn.Parameter(torch.ones(3)) for _ in range(3))
            self.frozen.requires_grad_(False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * self.used + self.frozen

    told = torch_training.trainer(Partly(), (normal(2, 3),))({}, targets, ADAMW, 2).stored_tensors
    assert (told["used"].array != 1).all()
    assert (told["frozen"].array == 1).all()
    assert told["frozen"].frozen
    # Weight decay alone: 1 - learning rate * decay, twice.
    np.testing.assert_allclose(told["unused"].array, np.full(3, (1 - 0.01 * 0.1) ** 2), rtol=1e-6)


def passed(wing: str, *, dtype: str = "float64", **mode: Any) -> Pass:
    with WINGS[wing].running(dtype=dtype):
        passer = HOMES[wing].passer(built(wing), (TOKENS,), dtype=dtype, train_call=TRAIN_CALLS[wing])
        return passer(native(wing), **mode)


@pytest.mark.parametrize("training", [False, True])
def test_a_pass_without_dropout_is_the_same_in_all_wings(training: bool) -> None:
    expected = passed("torch", training=training)
    assert set(expected.buffers) == {"norm.running_mean", "norm.running_var", "norm.num_batches_tracked"}
    for wing in ("linen", "nnx"):
        found = passed(wing, training=training)
        assert_close(found.outputs, expected.outputs)
        buffers = canonical(wing, found.buffers)
        assert_close(unbiased(buffers, 1) if training else buffers, canonical("torch", expected.buffers))
        assert (np.abs(buffers["norm.running_mean"] - START["norm.running_mean"]).max() > 1e-3) == training


@pytest.mark.parametrize("wing", WINGS)
def test_dropout_draws_from_the_seed(wing: str) -> None:
    passer = HOMES[wing].passer(built(wing), (TOKENS,), train_call=TRAIN_CALLS[wing])

    def output(**mode: Any) -> np.ndarray:
        (found,) = passer(native(wing), **mode).outputs.values()
        return found

    drawn = [output(training=True, dropout=True, seed=seed) for seed in (0, 1, 0)]
    np.testing.assert_array_equal(drawn[0], drawn[2])
    assert np.abs(drawn[0] - drawn[1]).max() > 0.01
    np.testing.assert_array_equal(output(training=True, seed=0), output(training=True, seed=1))
    np.testing.assert_array_equal(output(training=False, dropout=True, seed=0), output(training=False))


@pytest.mark.parametrize("wing", WINGS)
def test_bfloat16_is_trained_in_bfloat16(wing: str) -> None:
    told = trained(wing, SGD, dtype="bfloat16")
    assert {each.array.dtype.name for each in told.stored_tensors.values() if each.trainable} == {"bfloat16"}
    exact = canonical(wing, arrays_of(trained(wing, SGD)))
    found = {name: array.astype(np.float64) for name, array in canonical(wing, arrays_of(told)).items()}
    assert_close(found, exact, allowed=0.03)


class Functional(nn.Module):
    """Dropout as functions, given by position and by name."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rate = 0.5 if self.training else 0.0
        x = functional.scaled_dot_product_attention(x, x, x, None, rate)
        x = functional.scaled_dot_product_attention(x, x, x, dropout_p=rate)
        x = functional.dropout(functional.alpha_dropout(x, 0.5, self.training), training=self.training)
        return torch.dropout(functional.dropout1d(input=x, training=self.training), 0.5, self.training)


class Attending(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, dropout=0.5, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.5, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.attention(x, x, x)[0])


class LinenAttending(linen.Module):
    """Attention as a layer, and as a function, with dropout of the weights; mode and key are arguments."""

    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = linen.MultiHeadDotProductAttention(2, dropout_rate=0.5)(x, deterministic=not train)
        key, heads = self.make_rng("dropout") if train else None, x[..., None, :]
        return linen.dot_product_attention(
            heads, heads, heads, dropout_rng=key, dropout_rate=0.5, deterministic=not train
        )[..., 0, :]


class NnxAttending(nnx.Module):
    """The layers are told to drop by arguments, whatever mode they are in."""

    def __init__(self) -> None:
        self.attention = nnx.MultiHeadAttention(2, 4, dropout_rate=0.5, decode=False, rngs=nnx.Rngs(0))
        self.drop = nnx.Dropout(0.5, rngs=nnx.Rngs(1))

    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return self.drop(self.attention(x, deterministic=not train), deterministic=not train)


X = (normal(2, 3, 4, seed=5),)
# Compiled before any trainer sees it, and for both modes.
APPLY = jax.jit(LinenAttending().apply, static_argnames="train")


def linen_attending() -> Any:
    return LinenAttending(), LinenAttending().init(jax.random.key(0), *X)


def keyed(model: Any, inputs: Any) -> Any:
    return model[0].apply(model[1], *inputs, train=True, rngs={"dropout": jax.random.key(0)})


def jitted(model: Any, inputs: Any) -> Any:
    return APPLY(model[1], *inputs, train=True, rngs={"dropout": jax.random.key(0)})


DROPPING: dict[str, tuple[Any, Any, Any]] = {
    "torch, functions": (torch_training, Functional, None),
    "torch, attention": (torch_training, Attending, None),
    "torch, lstm": (torch_training, lambda: nn.LSTM(4, 4, 2, dropout=0.5), None),
    "linen, attention": (linen_training, linen_attending, keyed),
    "linen, compiled": (linen_training, linen_attending, jitted),
    "nnx, attention": (nnx_training, NnxAttending, lambda model, inputs: model(*inputs, train=True)),
}


@pytest.mark.parametrize("case", DROPPING)
def test_dropout_is_off_and_on_wherever_it_is(case: str) -> None:
    home, make, train_call = DROPPING[case]
    if case.endswith("compiled"):
        APPLY(linen_attending()[1], *X, train=True, rngs={"dropout": jax.random.key(0)})
    passer = home.passer(make(), X, train_call=train_call)
    off = passer({}, training=True).outputs
    assert_close(off, passer({}, training=False).outputs, allowed=1e-6)
    on = [passer({}, training=True, dropout=True, seed=seed).outputs for seed in (0, 1, 0)]
    assert_same(on[0], on[2])
    for name, other in ((name, other) for name in off for other in (on[1], off)):
        assert np.abs(on[0][name] - other[name]).max() > 1e-3, name


class Dropping(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.Dropout(0.5, deterministic=True)(linen.Dense(3)(x))


def test_a_train_call_is_asked_for_where_the_modes_are_arguments() -> None:
    text = (
        "expected a call in training mode, since a Linen module has arguments for it, found none, and a model with {}. "
    )
    remedy = "Give the pair a reference_train_call or a port_train_call, a call(model, inputs)."
    dropping = Dropping(), Dropping().init(jax.random.key(0), *X)
    for model, inputs, found in ((built("linen"), (TOKENS,), "batch_stats"), (dropping, X, "dropout")):
        with pytest.raises(NotExpressibleError, match=exactly(text.format(found) + remedy)):
            linen_training.trainer(model, inputs)
        passer = linen_training.passer(model, inputs)
        passer({}, training=False)
        with pytest.raises(NotExpressibleError, match=exactly(text.format(found) + remedy)):
            passer({}, training=True)
    tree, call = {"w": np.ones(4, np.float32)}, lambda tree, inputs: inputs[0] * tree["w"]
    text = "expected a call in training mode, since nothing else tells a pytree's modes, found none. "
    remedy += " One that knows no modes is given again."
    with pytest.raises(NotExpressibleError, match=exactly(text + remedy)):
        pytrees.trainer(tree, X, call)
    with pytest.raises(NotExpressibleError, match=exactly(text + remedy)):
        pytrees.passer(tree, X, call)({}, training=True)


def test_what_has_no_modes_is_trained_by_its_call() -> None:
    dense = linen.Dense(3)
    model = dense, dense.init(jax.random.key(0), *X)
    by_module = linen_training.trainer(model, X)({}, targets, ADAMW, 2)
    call = lambda tree, inputs: inputs[0] @ tree["params"]["kernel"] + tree["params"]["bias"]  # noqa: E731
    passer = pytrees.passer(model[1], X, call, train_call=call)
    assert_same(passer({}, training=True).outputs, passer({}, training=False).outputs)
    by_tree = pytrees.trainer(model[1], X, call, train_call=call)({}, targets, ADAMW, 2)
    np.testing.assert_allclose(by_tree.losses, by_module.losses, rtol=1e-6)
    assert_close(arrays_of(by_tree), arrays_of(by_module), allowed=1e-5)


@pytest.mark.parametrize("wing", WINGS)
def test_weights_that_do_not_fit_are_refused(wing: str) -> None:
    wrong = {"nowhere": np.zeros(1)}
    text = (
        "expected arrays for owners of the model, in their native shapes, "
        "found 1 that does not fit: nowhere is no owner's path. Nothing was changed."
    )
    with pytest.raises(WeightsError, match=exactly(text)):
        HOMES[wing].trainer(built(wing), (TOKENS,), train_call=TRAIN_CALLS[wing])(wrong, targets, SGD, 1)
    with pytest.raises(WeightsError, match=exactly(text)):
        HOMES[wing].passer(built(wing), (TOKENS,), train_call=TRAIN_CALLS[wing])(wrong, training=True)
