"""Attention and PReLU: what a plain conversion between the frameworks' own classes gives, and what the reference does.

The stock classes are called as their documentation says; weights are carried by reshaping alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F

from paritree.common.initializers import LeCun, Xavier, Zeros
from paritree.common.layers.activations import PReLU
from paritree.common.layers.attention import MultiheadAttention
from paritree.common.layers.kinds import native
from paritree.common.spec import Layer
from paritree.common.spec.expansion import table_of
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.conformance.statistics import examine, judge, replicates

BATCH, TIME, WIDTH, HEADS = 2, 4, 12, 3
DEPTH = WIDTH // HEADS
# Of a float32 result that few roundings lead to.
EXACT = 32 * float(np.finfo(np.float32).eps)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


X = normal(BATCH, TIME, WIDTH)
WEIGHTS = {
    "in_proj_weight": normal(3 * WIDTH, WIDTH, seed=1),
    "in_proj_bias": normal(3 * WIDTH, seed=2),
    "out_proj.weight": normal(WIDTH, WIDTH, seed=3),
    "out_proj.bias": normal(WIDTH, seed=4),
}


def error(found: Any, expected: Any) -> float:
    """The norm of the difference beside that of what is expected."""
    wanted = np.asarray(expected, np.float64)
    return float(np.linalg.norm(np.asarray(found, np.float64) - wanted) / np.linalg.norm(wanted))


def in_torch(heads: int = HEADS, **settings: Any) -> nn.MultiheadAttention:
    """PyTorch's own module with the weights."""
    module = nn.MultiheadAttention(WIDTH, heads, batch_first=True, **settings).eval()
    module.load_state_dict({path: torch.tensor(array) for path, array in WEIGHTS.items()})
    return module


def stock(x: np.ndarray, blocked: np.ndarray | None = None, heads: int = HEADS) -> np.ndarray:
    """PyTorch's own output, for its own mask, in float64; the copies keep it off the fast path."""
    query = torch.tensor(x).double()
    mask = None if blocked is None else torch.tensor(blocked)
    attended, _ = in_torch(heads).double()(query, query.clone(), query.clone(), attn_mask=mask, need_weights=False)
    return attended.detach().numpy()


def by_heads(whole: bool) -> dict[str, Any]:
    """The weights as Flax's classes hold them: with each matrix transposed first, or only given Flax's shape."""
    parts = np.split(WEIGHTS["in_proj_weight"], 3)
    biases = np.split(WEIGHTS["in_proj_bias"], 3)
    out = WEIGHTS["out_proj.weight"]
    return {
        **{
            name: {
                "kernel": (matrix.T if whole else matrix).reshape(WIDTH, HEADS, DEPTH),
                "bias": bias.reshape(HEADS, DEPTH),
            }
            for name, matrix, bias in zip(("query", "key", "value"), parts, biases, strict=True)
        },
        "out": {"kernel": (out.T if whole else out).reshape(HEADS, DEPTH, WIDTH), "bias": WEIGHTS["out_proj.bias"]},
    }


def in_linen(params: Mapping[str, Any], x: np.ndarray, mask: np.ndarray | None = None) -> np.ndarray:
    """The output of Linen's own class, at full precision."""
    with jax.default_matmul_precision("highest"):
        return np.asarray(linen.MultiHeadDotProductAttention(HEADS).apply({"params": params}, x, mask=mask))


def wings(layer: Layer, weights: Mapping[str, np.ndarray], *inputs: np.ndarray) -> dict[str, np.ndarray]:
    """Each wing's output in inference mode."""
    found = {}
    for name in WINGS:
        wing = load_wing(name)
        with wing.running("cpu"):
            found[name] = wing.call(wing.load(wing.build(layer), weights), inputs)
    return found


def test_trap_06_one_packed_matrix_is_three_kernels_by_head() -> None:
    """(3E, E) is three (E, heads, width), and (E, E) is (heads, width, E): every matrix is transposed and then split.

    Reshaping alone gives arrays of the right shapes and another model, in the square matrices of this layer.
    """
    expected = stock(X)
    plain, right = by_heads(whole=False), by_heads(whole=True)
    assert jax.tree.map(np.shape, plain) == jax.tree.map(np.shape, right)
    assert error(in_linen(plain, X), expected) > 0.5
    assert error(in_linen(right, X), expected) < EXACT

    layer = MultiheadAttention(WIDTH, HEADS)
    for name, found in wings(layer, WEIGHTS, X).items():
        assert error(found, expected) < EXACT, name
    for name in ("linen", "nnx"):
        wing = load_wing(name)
        shapes = {row.path: row.shape for row in wing.table(wing.build(layer))}
        assert shapes == {path: array.shape for path, array in WEIGHTS.items()}


def test_trap_07_true_blocks_in_torch_and_allows_in_flax() -> None:
    """PyTorch's class blocks where its mask is True; its function and Flax attend there, as the reference does."""
    allowed = np.tril(np.ones((TIME, TIME), bool))
    expected = stock(X, ~allowed)
    right = by_heads(whole=True)
    assert error(in_linen(right, X, ~allowed), expected) > 0.2
    assert error(in_linen(right, X, allowed), expected) < EXACT

    query = torch.tensor(normal(1, TIME, WIDTH))
    seen = F.scaled_dot_product_attention(query, query, query, attn_mask=torch.tensor(allowed))
    np.testing.assert_allclose(seen[0, 0], query[0, 0], rtol=1e-6)

    masked = MultiheadAttention(WIDTH, HEADS)
    for name, found in wings(masked, WEIGHTS, X, X, X, allowed).items():
        assert error(found, expected) < EXACT, name


def test_trap_07_a_query_that_may_attend_to_nothing() -> None:
    """Zeros from every head in PyTorch, so that the output is the bias; the mean of all values in Flax.

    PyTorch gives NaN if the weights are asked for, and, for one tensor in all three places, in its fast path without a
    gradient. The reference gives zeros in every wing and in every mode.
    """
    allowed = np.ones((TIME, TIME), bool)
    allowed[1] = False
    expected = stock(X, ~allowed)
    bias = WEIGHTS["out_proj.bias"]
    np.testing.assert_allclose(expected[:, 1], np.broadcast_to(bias, (BATCH, WIDTH)), rtol=1e-6)
    found = in_linen(by_heads(whole=True), X, allowed)
    assert error(found[:, 1], expected[:, 1]) > 0.2
    assert error(np.delete(found, 1, 1), np.delete(expected, 1, 1)) < EXACT

    x, blocked = torch.tensor(X), torch.tensor(~allowed)
    assert torch.isnan(in_torch()(x, x, x, attn_mask=blocked, need_weights=True)[0][:, 1]).all()
    with torch.no_grad():
        # The fast path is for an even number of heads.
        assert torch.isnan(in_torch(2)(x, x, x, attn_mask=blocked, need_weights=False)[0][:, 1]).all()

    for heads in (2, HEADS):
        expected = stock(X, ~allowed, heads)
        for name, found in wings(MultiheadAttention(WIDTH, heads), WEIGHTS, X, X, X, allowed).items():
            assert error(found, expected) < EXACT, name


def test_trap_08_flax_drops_one_place_in_all_heads_and_samples() -> None:
    """With equal inputs everywhere, what is left of the weights is alike in all samples and heads of Flax's classes.

    In PyTorch, and in the reference, each weight is dropped by itself.
    """
    heads = WIDTH
    ones = np.ones((BATCH, TIME, WIDTH), np.float32)
    # Every head gives the share of its weights that is left, and the output is the heads.
    identity = {"kernel": np.eye(WIDTH, dtype=np.float32).reshape(WIDTH, heads, 1), "bias": np.zeros((heads, 1))}
    params = {
        **dict.fromkeys(("query", "key", "value"), identity),
        "out": {"kernel": np.eye(WIDTH, dtype=np.float32).reshape(heads, 1, WIDTH), "bias": np.zeros(WIDTH)},
    }
    plain = linen.MultiHeadDotProductAttention(heads, dropout_rate=0.5, deterministic=False)
    left = np.asarray(plain.apply({"params": params}, ones, rngs={"dropout": jax.random.key(0)}))
    assert (left == left[:1, :, :1]).all()
    assert len(np.unique(left)) > 1

    layer = MultiheadAttention(WIDTH, heads, dropout=0.5)
    eye, none = np.eye(WIDTH, dtype=np.float32), np.zeros(WIDTH, np.float32)
    weights = {
        "in_proj_weight": np.concatenate([eye] * 3),
        "in_proj_bias": np.concatenate([none] * 3),
        "out_proj.weight": eye,
        "out_proj.bias": none,
    }
    for name, left in trained_outputs(layer, weights, ones).items():
        assert left.shape == (BATCH, TIME, WIDTH)
        assert not (left == left[:1]).all(), name
        assert not (left == left[:, :, :1]).all(), name
        # A mean of four weights of 1/4, each doubled or dropped, is one of five values around 1.
        np.testing.assert_allclose(left * 2, np.round(left * 2), atol=1e-5, err_msg=name)
        assert abs(left.mean() - 1) < 6 / math.sqrt(left.size * TIME), name


def trained_outputs(layer: Layer, weights: Mapping[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """Each wing's output with dropout."""
    found = {}
    for name in WINGS:
        wing = load_wing(name)
        model: Any = wing.load(wing.build(layer), weights)
        if name == "torch":
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                found[name] = model.train()(torch.tensor(x)).detach().numpy()
        elif name == "linen":
            module, variables = model
            found[name] = np.asarray(module.apply(variables, x, rngs={"dropout": jax.random.key(0)}))
        else:
            model.train()
            found[name] = np.asarray(model(jnp.asarray(x)))
    return found


def test_trap_18_the_slope_begins_at_another_value() -> None:
    """0.25 in PyTorch and in the reference, 0.01 in Flax; for one value below zero, 25 times the output."""
    x = np.array([[-1.0, 2.0]], np.float32)
    with torch.no_grad():
        expected = nn.PReLU()(torch.tensor(x)).numpy()
    module = linen.PReLU()
    np.testing.assert_allclose(expected, [[-0.25, 2]])
    np.testing.assert_allclose(module.apply(module.init(jax.random.key(0), x), x), [[-0.01, 2]])
    np.testing.assert_allclose(nnx.PReLU()(jnp.asarray(x)), [[-0.01, 2]])

    for name in WINGS:
        wing = load_wing(name)
        np.testing.assert_array_equal(wing.call(wing.build(PReLU()), (x,)), expected)


@pytest.mark.parametrize("path", ["in_proj_weight", "in_proj_bias"])
def test_trap_26_the_packed_matrix_has_another_law(path: str) -> None:
    """Xavier on (3E, E) against LeCun on each (E, E): at E = 64 a std of 0.089 against 0.126; biases are 0 in both.

    Each framework's own draws have its law and not the other's; the reference draws PyTorch's in every wing.
    """
    layer = MultiheadAttention(64, 4)
    row = table_of(layer)[path]
    known = native(row.layer, path)
    assert known is not None
    of_flax = known.default(layer)
    if path == "in_proj_bias":
        assert row.drawn_from == of_flax == Zeros()
    else:
        assert (row.drawn_from, of_flax) == (Xavier("uniform"), LeCun("truncated_normal"))
        assert row.drawn_from.law(row.sizes).std == pytest.approx(math.sqrt(2 / (4 * 64)))
        assert of_flax.law(row.sizes).std == pytest.approx(1 / 8)

    torchs, flaxs = drawn_by_torch(path), drawn_by_nnx(path)
    assert fits(torchs, row.drawn_from)
    assert fits(flaxs, of_flax)
    if path == "in_proj_weight":
        assert not fits(torchs, of_flax)
        assert not fits(flaxs, row.drawn_from)
        assert (torchs.std(), flaxs.std()) == (pytest.approx(0.0884, rel=0.02), pytest.approx(0.125, rel=0.02))
    for name in WINGS:
        samples = load_wing(name).sample(
            row, seeds=range(replicates(row.sizes, initializer=row.drawn_from)), stream="native"
        )
        assert fits(samples, row.drawn_from), name


def drawn_by_torch(path: str) -> np.ndarray:
    """Three draws of PyTorch's own class."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return np.stack([getattr(nn.MultiheadAttention(64, 4), path).detach().numpy() for _ in range(3)])


def drawn_by_nnx(path: str) -> np.ndarray:
    """Three draws of NNX's own class, read under PyTorch's name."""
    wing = load_wing("nnx")
    modules = (nnx.MultiHeadAttention(4, 64, rngs=nnx.Rngs(seed)) for seed in range(3))
    return np.stack([wing.weights(module)[path] for module in modules])


def fits(samples: np.ndarray, law: Any) -> bool:
    """Whether draws stacked along the first axis pass for draws of that law."""
    return all(verdict.passed for verdict in judge(examine(samples, law, samples.shape[1:])))
