"""Recurrent layers: one bias against two, the order of the carry, the GRU that NNX has not, what is drawn at first."""

from __future__ import annotations

import math
import re
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

from paritree.common.errors import NotExpressibleError
from paritree.common.initializers import Uniform
from paritree.common.layers.cells import CELLS, to_cell
from paritree.common.layers.recurrent import GRU, LSTM, RNN, Recurrent
from paritree.common.spec import expansion
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.conformance.statistics import examine, judge, replicates
from paritree.pairs.closeness import allowed, relative_error

from ..wings.layers.flax_cells import draws, output

FEATURES, HIDDEN = 5, 7
X = np.random.default_rng(0).normal(size=(4, 10, FEATURES)).astype(np.float32)


def stock(module: type[nn.RNNBase]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """PyTorch's own module: its first weights, and its output for X in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made: Any = module(FEATURES, HIDDEN, batch_first=True)  # type: ignore[call-overload]
    weights = {name: array.detach().numpy().copy() for name, array in made.named_parameters()}
    sequence, _ = made.double()(torch.from_numpy(X).double())
    return weights, sequence.detach().numpy()


def called(name: str, spec: Recurrent, weights: dict[str, np.ndarray]) -> np.ndarray:
    wing = load_wing(name)
    with wing.running():
        return wing.call(wing.load(wing.build(spec), weights), (X,))


# 9: two biases against one, and the carry


@pytest.mark.parametrize("cell", [name for name in CELLS if "LSTM" in name])
def test_trap_09_flax_has_one_bias_where_torch_has_two(cell: str) -> None:
    """392 parameters against 364: with one of the two biases the output is another, with their sum it is torch's."""
    weights, exact = stock(nn.LSTM)
    held = to_cell(cell, weights)
    assert sum(array.size for array in weights.values()) == 392
    assert sum(array.size for array in held.values()) == 364
    assert relative_error(np.asarray(output(cell, held, X, HIDDEN)), exact) <= allowed(1)
    for lost in ("bias_ih_l0", "bias_hh_l0"):
        plain = to_cell(cell, {**weights, lost: np.zeros_like(weights[lost])})
        assert relative_error(np.asarray(output(cell, plain, X, HIDDEN)), exact) > 0.1


def linen_step(held: dict[str, np.ndarray], carry: Any, x: np.ndarray) -> Any:
    flat = {tuple(name.split(".")): array for name, array in held.items()}
    params = {layer: {leaf: flat[layer, leaf] for above, leaf in flat if above == layer} for layer, _ in flat}
    return linen.LSTMCell(HIDDEN).apply({"params": params}, carry, x)[1]


def nnx_step(held: dict[str, np.ndarray], carry: Any, x: np.ndarray) -> Any:
    cell = nnx.LSTMCell(FEATURES, HIDDEN, rngs=nnx.Rngs(0))
    for name, array in held.items():
        layer, leaf = name.split(".")
        setattr(getattr(cell, layer), leaf, nnx.Param(jnp.asarray(array)))
    return cell(carry, x)[1]


@pytest.mark.parametrize(("cell", "step"), [("linen.LSTMCell", linen_step), ("nnx.LSTMCell", nnx_step)])
def test_trap_09_the_carry_is_c_and_h(cell: str, step: Any) -> None:
    """PyTorch's state is (h, c). Both have one shape, so nothing but the numbers tells that they are exchanged."""
    weights, _ = stock(nn.LSTM)
    module = nn.LSTM(FEATURES, HIDDEN, batch_first=True)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in weights.items()})
    h, c = np.random.default_rng(1).normal(size=(2, 4, HIDDEN)).astype(np.float32)
    state = tuple(torch.from_numpy(array[None]).double() for array in (h, c))
    sequence, _ = module.double()(torch.from_numpy(X[:, :1]).double(), state)
    exact = sequence[:, 0].detach().numpy()
    held = to_cell(cell, weights)
    carry = tuple(jnp.asarray(array) for array in (c, h))
    assert relative_error(np.asarray(step(held, carry, jnp.asarray(X[:, 0]))), exact) <= allowed(1)
    assert relative_error(np.asarray(step(held, carry[::-1], jnp.asarray(X[:, 0]))), exact) > 0.3


@pytest.mark.parametrize("name", WINGS)
def test_trap_09_the_reference_has_both_biases(name: str) -> None:
    """A module of ours in Flax: with the sum, a step of training would move half as far as torch's two together."""
    weights, exact = stock(nn.LSTM)
    assert expansion.table_of(LSTM(FEATURES, HIDDEN)).scalars == 392
    assert relative_error(called(name, LSTM(FEATURES, HIDDEN), weights), exact) <= allowed(1)


# 10: the GRU whose hidden bias stands behind the reset gate


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_trap_10_nnx_has_no_place_for_the_hidden_bias(share: float) -> None:
    """b_hn left out, or added to b_in: an error of 0.04 at best, where half of it is, the mean of the reset gate."""
    weights, exact = stock(nn.GRU)
    new = slice(2 * HIDDEN, None)
    weights["bias_ih_l0"][new] += np.float32(share) * weights["bias_hh_l0"][new]
    weights["bias_hh_l0"][new] = 0
    found = np.asarray(output("nnx.GRUCell", to_cell("nnx.GRUCell", weights), X, HIDDEN))
    assert relative_error(found, exact) > 0.03


def first_new_state(step: Any, weights: dict[str, np.ndarray]) -> np.ndarray:
    """The first n = h' / (1 - z) of a GRU, whose z is 1/2 here, for inputs that reach the reset gate alone."""
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
        weights[name][HIDDEN : 2 * HIDDEN] = 0
    weights["weight_ih_l0"][2 * HIDDEN :] = 0
    return 2 * np.asarray(step(weights))[:, 0]


def test_trap_10_no_bias_at_all_makes_nnx_the_same() -> None:
    """At a zero state NNX's n is tanh(W_in x + b). Where W_in is 0 the input cannot change it; torch's it does."""

    def of_nnx(weights: dict[str, np.ndarray]) -> Any:
        weights["bias_hh_l0"][2 * HIDDEN :] = 0
        return output("nnx.GRUCell", to_cell("nnx.GRUCell", weights), X, HIDDEN)

    def of_linen(weights: dict[str, np.ndarray]) -> Any:
        return output("linen.GRUCell", to_cell("linen.GRUCell", weights), X, HIDDEN)

    assert np.ptp(first_new_state(of_nnx, stock(nn.GRU)[0]), axis=0).max() < 1e-6
    assert np.ptp(first_new_state(of_linen, stock(nn.GRU)[0]), axis=0).max() > 0.02


def test_trap_10_the_conversion_to_nnx_is_refused() -> None:
    weights, _ = stock(nn.GRU)
    norm = f"{np.linalg.norm(weights['bias_hh_l0'][2 * HIDDEN :]):.2g}"
    text = (
        "bias_hh_l0: expected a b_hn of 0, for which nnx.GRUCell has no place: it is inside the product with the "
        f"reset gate, where no sum with another bias is, found one of norm {norm}. "
        "Use linen.GRUCell, or the GRU of paritree: both have it."
    )
    with pytest.raises(NotExpressibleError, match=f"^{re.escape(text)}$"):
        to_cell("nnx.GRUCell", weights)


def test_trap_10_linen_has_it() -> None:
    weights, exact = stock(nn.GRU)
    found = np.asarray(output("linen.GRUCell", to_cell("linen.GRUCell", weights), X, HIDDEN))
    assert relative_error(found, exact) <= allowed(1)


@pytest.mark.parametrize("name", WINGS)
def test_trap_10_the_reference_has_it_in_every_wing(name: str) -> None:
    weights, exact = stock(nn.GRU)
    assert relative_error(called(name, GRU(FEATURES, HIDDEN), weights), exact) <= allowed(1)


# 27: what a new layer holds


SPECS: dict[type[Recurrent], type[nn.RNNBase]] = {RNN: nn.RNN, LSTM: nn.LSTM, GRU: nn.GRU}


def fails(samples: np.ndarray, initializer: Any) -> list[str]:
    found = judge(examine(samples, initializer, samples.shape[1:], path="w"))
    return [verdict.message for verdict in found if not verdict.passed]


@pytest.mark.parametrize("cell", ["linen.SimpleCell", "nnx.GRUCell"])
def test_trap_27_a_cell_of_flax_is_not_drawn_as_torch_draws(cell: str) -> None:
    """LeCun's normal for the input, orthogonal for the state, 0 for the bias: none of them is U(+-1/sqrt(H))."""
    bound = 1 / math.sqrt(HIDDEN)
    drawn = draws(cell, FEATURES, HIDDEN, 60)
    for held in CELLS[cell].arrays:
        stack = np.stack([held.native.layout.to_canonical(array) for array in drawn[held.name]])
        assert fails(stack, Uniform(-bound, bound)) != [], held.name


def test_trap_27_the_two_lstm_cells_of_nnx_are_not_drawn_alike() -> None:
    """One orthogonal matrix for four gates has half the size of four of them, though the cells compute the same."""
    apart, whole = (draws(name, FEATURES, HIDDEN, 1) for name in ("nnx.LSTMCell", "nnx.OptimizedLSTMCell"))
    (gate,), (gates,) = apart["hi.kernel"], whole["dense_h.kernel"]
    assert gates.shape == (HIDDEN, 4 * HIDDEN)
    assert np.square(gate).mean() == pytest.approx(1 / HIDDEN, rel=1e-5)
    assert np.square(gates).mean() == pytest.approx(1 / (4 * HIDDEN), rel=1e-5)


@pytest.mark.parametrize("name", WINGS)
def test_trap_27_the_reference_draws_as_torch_does(name: str) -> None:
    """Every weight and bias in every wing has the law that torch's own module draws from: U(+-1/sqrt(H))."""
    wing, evidence = load_wing(name), []
    table = expansion.table_of(LSTM(FEATURES, HIDDEN, 2, bidirectional=True))
    for row in table:
        assert row.initializer == Uniform(-1 / math.sqrt(HIDDEN), 1 / math.sqrt(HIDDEN))
    # One matrix and one bias: the others have the same law.
    for row in table.rows[1:3]:
        count = replicates(row.sizes, initializer=row.initializer)
        evidence += examine(
            wing.sample(row, seeds=range(count), stream="native"), row.drawn_from, row.sizes, path=row.path
        )
    assert [verdict.message for verdict in judge(evidence) if not verdict.passed] == []


@pytest.mark.parametrize("layer", SPECS, ids=lambda layer: layer.__name__)
def test_trap_27_torchs_own_draws_have_that_law(layer: type[Recurrent]) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = [SPECS[layer](FEATURES, HIDDEN) for _ in range(100)]  # type: ignore[call-overload]
    bound = 1 / math.sqrt(HIDDEN)
    for path, _ in made[0].named_parameters():
        draws = np.stack([module.get_parameter(path).detach().numpy() for module in made])
        assert fails(draws, Uniform(-bound, bound)) == []
