"""What is special to the dense layers: an Embedding's padding token, its initializer, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from paritree.common.errors import InitializerError, SpecError
from paritree.common.initializers import Constant, Dirac, Normal, Orthogonal, Uniform, Xavier, ZeroRow, Zeros
from paritree.common.layers import Tanh
from paritree.common.layers import dense as spec
from paritree.common.models.reference import neutral_weights
from paritree.common.spec import Block, Sequential
from paritree.common.spec.expansion import table_of, untied
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.conformance.statistics import examine, judge, replicates

from .cases_dense import TOKENS

FLAX = ("linen", "nnx")


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def misfits(samples: np.ndarray, law: Any) -> list[str]:
    """What the calibrated test says against draws stacked along the first axis; nothing if they fit."""
    return [verdict.message for verdict in judge(examine(samples, law, samples.shape[1:])) if not verdict.passed]


# The padding token


@pytest.mark.parametrize("name", WINGS)
def test_the_row_of_the_padding_token_begins_as_zeros_and_stays(name: str) -> None:
    wing = load_wing(name)
    model = wing.build(spec.Embedding(10, 6, padding_idx=3))
    before = wing.weights(model)["weight"]
    assert not before[3].any()
    assert np.delete(before, 3, 0).all()

    output = wing.call(model, (TOKENS,))
    np.testing.assert_array_equal(output, before[TOKENS])
    _, gradients = wing.value_and_gradients(model, (TOKENS,), np.ones_like(output))
    times = np.bincount(TOKENS.ravel(), minlength=10)
    np.testing.assert_array_equal(gradients["weight"][:, 0], np.where(np.arange(10) == 3, 0, times))

    model, _ = wing.step(model, (TOKENS,), np.ones_like(output))
    after = wing.weights(model)["weight"]
    np.testing.assert_array_equal(after[3], np.zeros(6))
    assert (after[TOKENS[0, 1]] != before[TOKENS[0, 1]]).all()


@pytest.mark.parametrize("name", WINGS)
def test_a_row_that_is_loaded_is_used_as_it_is(name: str) -> None:
    """The padding token has no say in what its row is, as in PyTorch: only its beginning and its gradient differ."""
    wing, weight = load_wing(name), np.arange(30, dtype=np.float32).reshape(5, 6)
    model = wing.load(wing.build(spec.Embedding(5, 6, padding_idx=2)), {"weight": weight})
    np.testing.assert_array_equal(wing.call(model, (np.array([[2, 4]]),)), weight[[[2, 4]]])


@pytest.mark.parametrize("name", WINGS)
def test_a_decoder_gives_the_padding_row_a_gradient(name: str) -> None:
    """As in PyTorch: the lookup alone is cut off, and the tied product is not."""
    layer = Block({"embed": spec.Embedding(5, 4, padding_idx=0), "decoder": spec.Decoder("embed")})
    tokens = np.array([[0, 1, 2]])
    stock = nn.Embedding(5, 4, padding_idx=0)
    wing = load_wing(name)
    model = wing.load(wing.build(layer), {"embed.weight": stock.weight.detach().numpy()})
    _, gradients = wing.value_and_gradients(model, (tokens,), np.ones((1, 3, 5), np.float32))
    (stock(torch.tensor(tokens)) @ stock.weight.T).sum().backward()
    assert stock.weight.grad is not None
    assert stock.weight.grad[0].any()
    np.testing.assert_allclose(gradients["embed.weight"], stock.weight.grad, rtol=1e-5, atol=1e-6)


def test_a_place_below_zero_counts_from_the_end() -> None:
    assert spec.Embedding(10, 6, padding_idx=-1) == spec.Embedding(10, 6, padding_idx=9)
    assert repr(spec.Embedding(10, 6, padding_idx=np.int64(-10))) == "Embedding(10, 6, padding_idx=0)"  # type: ignore[arg-type]
    assert nn.Embedding(10, 6, padding_idx=-1).padding_idx == 9


# The initializer of a padded weight


@pytest.mark.parametrize("of", [Normal(), Uniform(-1, 1), Xavier("uniform"), Normal(0.5, 0.02)], ids=str)
@pytest.mark.parametrize("name", WINGS)
def test_the_other_rows_have_the_law_that_they_would_have(name: str, of: Any) -> None:
    """The scale is that of the whole shape; one other law, one zero more or one less is found."""
    (row,) = table_of(spec.Embedding(32, 64, of, padding_idx=5))
    assert row.drawn_from == ZeroRow(of, 5)
    samples = load_wing(name).sample(
        row, seeds=range(replicates(row.sizes, initializer=row.drawn_from)), stream="native"
    )
    assert misfits(samples, ZeroRow(of, 5)) == []
    assert misfits(samples * np.float32(1.1), ZeroRow(of, 5))
    assert misfits(samples, ZeroRow(of, 6))
    assert misfits(samples, of)
    whole = samples.copy()
    whole[1, 5, 3] = 0.25
    found = "replicate 1: row 5: entry (3,) is 0.25, expected exactly 0.0 (1 of 64 entries differ)"
    assert any(found in message for message in misfits(whole, ZeroRow(of, 5)))


def test_the_draws_of_torch_s_own_class_fit() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        samples = np.stack([nn.Embedding(32, 64, padding_idx=5).weight.detach().numpy() for _ in range(8)])
    assert misfits(samples, ZeroRow(Normal(), 5)) == []


def test_the_law_is_that_of_an_entry_at_a_random_place() -> None:
    law = ZeroRow(Normal(), 1).law((4, 3))
    assert law.point_masses == ((0.0, 0.25),)
    assert law.std == pytest.approx(np.sqrt(0.75))
    assert ZeroRow(Normal(), 0).law((1, 3)).point_masses == ((0.0, 1.0),)
    assert replicates((30522, 768), initializer=ZeroRow(Normal(), 0)) == 1


@pytest.mark.parametrize("name", WINGS)
def test_a_constant_has_a_zero_row_too(name: str) -> None:
    wing, layer = load_wing(name), spec.Embedding(3, 2, Constant(0.5), padding_idx=1)
    weight = wing.weights(wing.build(layer))["weight"]
    np.testing.assert_array_equal(weight, [[0.5, 0.5], [0, 0], [0.5, 0.5]])
    (row,) = table_of(layer)
    assert row.drawn_from.deterministic
    assert row.drawn_from.violation(weight) is None
    assert row.drawn_from.violation(weight + 1) == (
        "row 1: entry (0,) is 1.0, expected exactly 0.0 (2 of 2 entries differ)"
    )
    one = wing.weights(wing.build(spec.Embedding(1, 2, padding_idx=0)))["weight"]
    np.testing.assert_array_equal(one, np.zeros((1, 2)))


# Refusals

BAD_SETTINGS: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "beyond the last": (
        lambda: spec.Embedding(10, 6, padding_idx=10),
        SpecError,
        "expected Embedding.padding_idx as a whole number from -10 to 9, found 10.",
    ),
    "before the first": (
        lambda: spec.Embedding(10, 6, padding_idx=-11),
        SpecError,
        "expected Embedding.padding_idx as a whole number from -10 to 9, found -11.",
    ),
    "truth": (
        lambda: spec.Embedding(10, 6, padding_idx=True),
        SpecError,
        "expected Embedding.padding_idx as a whole number from -10 to 9, found True.",
    ),
    "no number": (
        lambda: spec.Embedding(10, 6, padding_idx=1.0),  # type: ignore[arg-type]
        SpecError,
        "expected Embedding.padding_idx as a whole number from -10 to 9, found 1.0.",
    ),
    "dependent entries": (
        lambda: spec.Embedding(10, 6, Orthogonal(), padding_idx=0),
        InitializerError,
        "expected an initializer of independent entries as of of ZeroRow, found Orthogonal(gain=1.0).",
    ),
    "an initializer of another shape": (
        lambda: spec.Embedding(10, 6, Dirac(), padding_idx=0),
        InitializerError,
        "weight: expected a shape of 3 or 4 or 5 dimensions for Dirac, found shape (10, 6).",
    ),
    "no row": (
        lambda: ZeroRow(Zeros(), -1),
        InitializerError,
        "expected a whole number of at least 0 as row of ZeroRow, found -1.",
    ),
    "a row that is not there": (
        lambda: ZeroRow(Normal(), 4).validate((4, 2), "0.weight"),
        InitializerError,
        "0.weight: expected a shape with a row 4 for ZeroRow, found shape (4, 2).",
    ),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_setting_that_makes_no_layer_is_refused(name: str) -> None:
    make, error, message = BAD_SETTINGS[name]
    with pytest.raises(error, match=exactly(message)):
        make()


@pytest.mark.parametrize("name", FLAX)
def test_without_a_padding_token_the_class_is_flax_s_own(name: str) -> None:
    model = load_wing(name).build(Sequential(spec.Embedding(5, 4)))
    layer = model[0].members.pairs[0][1] if name == "linen" else model.layers[0]
    assert type(layer).__module__.startswith("flax.")


AUTOENCODER = Block({"down": spec.Linear(4, 3), "tanh": Tanh(), "up": spec.Transposed("down")})


class Autoencoder(nn.Module):
    """The same by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Linear(4, 3)
        self.up = nn.ParameterDict({"bias": nn.Parameter(torch.zeros(4))})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.down(x))
        return nn.functional.linear(hidden, self.down.weight.t(), self.up["bias"])


@pytest.mark.parametrize("name", WINGS)
def test_a_transposed_tie_is_its_owner_s_weight_read_the_other_way(name: str) -> None:
    module, wing = Autoencoder().double(), load_wing(name)
    x = np.random.default_rng(0).normal(size=(5, 4))
    cotangent = np.random.default_rng(1).normal(size=(5, 4))
    rows = table_of(AUTOENCODER)
    assert list(rows.paths) == [path for path, _ in module.named_parameters()]
    weights = neutral_weights(rows, dtype="float64")
    module.load_state_dict({path: torch.from_numpy(array) for path, array in weights.items()})
    output = module(torch.from_numpy(x))
    (output * torch.from_numpy(cotangent)).sum().backward()
    with wing.running(dtype="float64"):
        model = wing.load(wing.build(AUTOENCODER, dtype="float64"), weights)
        assert wing.table(model).paths == rows.paths
        np.testing.assert_allclose(wing.call(model, (x,)), output.detach().numpy(), rtol=1e-12)
        _, gradients = wing.value_and_gradients(model, (x,), cotangent)
        shares = [site.gradient for site in wing.site_gradients(model, (x,), cotangent)["down.weight"]]
        model, _ = wing.step(model, (x,), x)
    for path, parameter in module.named_parameters():
        assert parameter.grad is not None
        np.testing.assert_allclose(gradients[path], parameter.grad.numpy(), rtol=1e-10)
    assert len(shares) == 2
    np.testing.assert_allclose(np.sum(shares, axis=0), gradients["down.weight"], rtol=1e-12)


def test_a_transposed_tie_needs_a_linear_layer_of_known_width() -> None:
    with pytest.raises(SpecError) as caught:
        table_of(Block({"e": spec.Embedding(5, 4), "up": spec.Transposed("e")}))
    assert str(caught.value) == "up: expected 'e' to be a Linear, found Embedding. A Transposed ties to a Linear."
    with pytest.raises(SpecError) as caught:
        table_of(Block({"down": spec.Linear(None, 4), "up": spec.Transposed("down")}))
    assert str(caught.value).startswith("up: expected 'down' to be a Linear of known width, found Linear(None, 4).")


def test_the_untied_twin_of_a_transposed_tie_is_a_linear_layer() -> None:
    assert untied(AUTOENCODER) == Block({"down": spec.Linear(4, 3), "tanh": Tanh(), "up": spec.Linear(3, 4)})
