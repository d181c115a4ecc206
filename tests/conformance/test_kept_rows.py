"""Padding rows: what `padding_idx` keeps from training, and a port trains or keeps; the outputs are the same."""

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
from paritree import Block, Decoder, Embedding, Linear
from paritree.conformance.report import Report
from paritree.pairs.comparison import Bound
from paritree.pairs.kept import kept_rows
from paritree.pairs.precision import STRICT
from paritree.pairs.side import sides_of

TOKENS = np.array([[2, 3, 1, 4, 7], [5, 0, 2, 1, 1]], np.int32)
CONTRACTS = ("names", "shapes", "forward", "gradients", "tied gradients", "training")


def checked(pair: paritree.Pair) -> Report:
    """By the map that an alignment proves, whatever the rows' gradients are."""
    made = paritree.align(pair)
    assert made.verified
    return paritree.check(pair, made, contracts=CONTRACTS, devices=("cpu",))


def kept(rows: Any, tokens: Any, row: int | None) -> Any:
    return rows if row is None else jnp.where((tokens == row)[..., None], jax.lax.stop_gradient(rows), rows)


class Reference(torch.nn.Module):
    """A table beside another of its shape, tied to the head or not.

    by_function: whether `functional.embedding` is given the row, and no module.
    """

    def __init__(
        self, row: int | None = 1, tied: bool = False, sparse: bool = False, by_function: bool = False
    ) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.word = torch.nn.Embedding(8, 6, None if by_function else row, sparse=sparse)
        self.position, self.fc = torch.nn.Embedding(8, 6), torch.nn.Linear(6, 6)
        self.row, self.tied = row if by_function else None, tied

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        rows = self.word(tokens)
        if self.row is not None:
            rows = torch.nn.functional.embedding(tokens, self.word.weight, self.row)
        hidden = self.fc(torch.tanh(rows + self.position(torch.arange(tokens.shape[1]))))
        return hidden @ self.word.weight.T if self.tied else hidden


class Port(nnx.Module):
    def __init__(self, row: int | None = 1, tied: bool = False) -> None:
        rngs = nnx.Rngs(0)
        self.word, self.position = nnx.Embed(8, 6, rngs=rngs), nnx.Embed(8, 6, rngs=rngs)
        self.fc, self.row, self.tied = nnx.Linear(6, 6, rngs=rngs), row, tied

    def __call__(self, tokens: jax.Array) -> jax.Array:
        rows = kept(self.word(tokens), tokens, self.row) + self.position(jnp.arange(tokens.shape[1]))
        hidden = self.fc(jnp.tanh(rows))
        return self.word.attend(hidden) if self.tied else hidden


class LinenPort(linen.Module):
    row: int | None = 1
    tied: bool = False

    @linen.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        word, position = linen.Embed(8, 6, name="word"), linen.Embed(8, 6, name="position")
        rows = kept(word(tokens), tokens, self.row) + position(jnp.arange(tokens.shape[1]))
        hidden = linen.Dense(6, name="fc")(jnp.tanh(rows))
        return word.attend(hidden) if self.tied else hidden


def in_linen(*settings: Any) -> Any:
    module = LinenPort(*settings)
    return module, module.init(jax.random.key(0), TOKENS)


def in_columns(row: int | None) -> paritree.Pair:
    """A port that is a bare pytree, with a table on its side that a product with one-hot vectors reads."""
    draws = np.random.default_rng(0)
    shapes = {"table": (6, 8), "position": (8, 6), "w": (6, 6), "b": (6,)}
    port = {name: jnp.asarray(draws.normal(size=shape), jnp.float32) for name, shape in shapes.items()}

    def call(held: Any, given: Any) -> Any:
        (tokens,) = given
        rows = kept(jax.nn.one_hot(tokens, 8) @ held["table"].T, tokens, row)
        return jnp.tanh(rows + held["position"][: tokens.shape[1]]) @ held["w"] + held["b"]

    return paritree.Pair(Reference(), port, (TOKENS,), port_call=call, port_train_call=call)


def pair(reference: Any, port: Any) -> paritree.Pair:
    return paritree.Pair(reference, port, (TOKENS,))


RIGHT: dict[str, Callable[[], paritree.Pair]] = {
    "NNX": lambda: pair(Reference(), Port()),
    "Linen": lambda: pair(Reference(), in_linen()),
    "a pytree": lambda: in_columns(1),
    "the first row": lambda: pair(Reference(0), Port(0)),
    "the last row": lambda: pair(Reference(7), Port(7)),
    "tied": lambda: pair(Reference(1, True), Port(1, True)),
    "tied, exchanged": lambda: pair(Port(1, True), Reference(1, True)),
    "sparse": lambda: pair(Reference(sparse=True), Port()),
    "by a function": lambda: pair(Reference(by_function=True), Port()),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_port_that_keeps_the_row_is_right(name: str) -> None:
    assert [each.message for each in checked(RIGHT[name]()).failures] == []


PORT, REFERENCE = "the port trains and the reference keeps", "the reference trains and the port keeps"
WRONG: dict[str, tuple[Callable[[], paritree.Pair], str]] = {
    "NNX": (lambda: pair(Reference(), Port(None)), f"row 1, which {PORT}"),
    "Linen": (lambda: pair(Reference(), in_linen(None)), f"row 1, which {PORT}"),
    "a pytree": (lambda: in_columns(None), f"column 1, which {PORT}"),
    "the first row": (lambda: pair(Reference(0), Port(None)), f"row 0, which {PORT}"),
    "the last row": (lambda: pair(Reference(7), Port(None)), f"row 7, which {PORT}"),
    "kept by the port alone": (lambda: pair(Reference(None), Port(1)), f"row 1, which {REFERENCE}"),
    "exchanged": (lambda: pair(Port(None), Reference()), f"row 1, which {REFERENCE}"),
    "kept by the reference alone, exchanged": (lambda: pair(Port(), Reference(None)), f"row 1, which {PORT}"),
    "another row": (lambda: pair(Reference(), Port(2)), f"row 1, which {PORT} and row 2, which {REFERENCE}"),
    "tied": (
        lambda: pair(Reference(1, True), Port(None, True)),
        "row 1, which the port trains by its gather and the reference keeps",
    ),
    "tied, kept by the port alone": (
        lambda: pair(Reference(None, True), Port(1, True)),
        "row 1, which the reference trains by its embedding and the port keeps",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_row_that_one_side_trains_fails_alone(name: str) -> None:
    made, rows = WRONG[name]
    report = checked(made())
    assert {each.contract for each in report.failures} - {"tied gradients"} == {"gradients", "training"}
    assert {each.path for each in report.failures} <= {"word.weight", "word.embedding"}
    assert {each.cause for each in report.failures} == {"padding row"}
    gradient = next(each.message for each in report.failures if each.contract == "gradients")
    assert gradient.endswith(f": the gradient differs in {rows}, as padding_idx does, and nowhere else")
    for steps, each in zip(
        ("sgd", "adamw"), (each for each in report.failures if each.contract == "training"), strict=True
    ):
        assert f"after 3 steps of {steps} its first step differs in {rows}, as padding_idx does" in each.message


def test_a_wrong_gradient_of_a_row_that_is_trained_on_both_sides_is_no_kept_row() -> None:
    class Doubled(nnx.Module):
        def __init__(self) -> None:
            self.held = Port(None)

        def __call__(self, tokens: jax.Array) -> jax.Array:
            held = self.held
            rows = held.word(tokens)
            twice = jnp.where((tokens == 1)[..., None], 2 * rows - jax.lax.stop_gradient(rows), rows)
            return held.fc(jnp.tanh(twice + held.position(jnp.arange(tokens.shape[1]))))

    failures = paritree.check(pair(Reference(None), Doubled()), contracts=("gradients",), devices=("cpu",)).failures
    assert [(each.path, each.cause) for each in failures] == [("word.weight", "")]


@pytest.mark.parametrize(("more", "is_kept"), [(0.0, True), (8e-4, True), (2e-3, False)])
def test_a_row_is_kept_by_one_use_if_its_share_is_all_that_is_missing(more: float, is_kept: bool) -> None:
    """But for rounding: a small difference of large numbers has few digits."""
    tied = pair(Reference(1, True), Port(None, True))
    comparison = Bound(*sides_of(tied), paritree.align(tied)).comparison(STRICT)
    (row,) = (row for row in comparison.bound.rows if row.reference == "word.weight")
    both = comparison.bound.gradients(row, *(probe.gradients for probe in comparison.probes))
    assert both is not None
    ours, theirs = (array.astype(np.float64) for array in both)
    aside = np.roll(theirs[1] - ours[1], 1)
    theirs[1] += more * np.linalg.norm(theirs[1] - ours[1]) / np.linalg.norm(aside) * aside
    found = kept_rows(comparison, row, comparison.bound.ordinary, ours, theirs, comparison.limit)
    said = ["row 1, which the port trains by its gather and the reference keeps"] if is_kept else []
    assert list(map(str, found)) == said


@pytest.mark.parametrize("is_tied", [False, True])
@pytest.mark.parametrize("wing", ["linen", "nnx"])
def test_a_spec_with_a_padding_row_is_one_model_in_all_wings(wing: str, is_tied: bool) -> None:
    layers = {"embed": Embedding(8, 6, padding_idx=1), "last": Decoder("embed") if is_tied else Linear(6, 3)}
    sides = [paritree.build(Block(layers), name, seed=seed) for seed, name in enumerate(("torch", wing))]
    for reference, port in (sides, sides[::-1]):
        assert [each.message for each in checked(pair(reference, port)).failures] == []
