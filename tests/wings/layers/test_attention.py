"""What is special to attention: masks, dropout, Flax's own classes under PyTorch's names, and what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen, nnx

from paritree.common.errors import SpecError
from paritree.common.layers.attention import MultiheadAttention
from paritree.common.spec import Block, Sequential, flow
from paritree.common.spec.expansion import table_of
from paritree.common.spec.layer import UNKNOWN
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.conformance.statistics import examine, judge, replicates
from paritree.pairs.closeness import relative_error

from .cases_attention import CASES, CROSS, LENGTH, TIME, WIDTH, mask, sequence

EPS = float(np.finfo(np.float32).eps)
FLAX = ("linen", "nnx")


def exactly(text: str) -> str:
    return f"^{re.escape(text)}$"


def loaded(name: str, layer: MultiheadAttention, seed: int = 0) -> Any:
    """A wing's model with weights that are the same in every wing, none of them zero."""
    rng, wing = np.random.default_rng(seed), load_wing(name)
    weights = {row.path: rng.normal(size=row.sizes).astype(np.float32) / 2 for row in table_of(layer)}
    return wing.load(wing.build(layer), weights)


def test_the_names_are_those_of_torch_in_their_order() -> None:
    packed = table_of(MultiheadAttention(8, 2))
    assert [(row.path, row.shape) for row in packed] == [
        ("in_proj_weight", (24, 8)),
        ("in_proj_bias", (24,)),
        ("out_proj.weight", (8, 8)),
        ("out_proj.bias", (8,)),
    ]
    separate = table_of(MultiheadAttention(8, 2, vdim=6))
    assert [(row.path, row.shape) for row in separate] == [
        ("q_proj_weight", (8, 8)),
        ("k_proj_weight", (8, 8)),
        ("v_proj_weight", (8, 6)),
        ("in_proj_bias", (24,)),
        ("out_proj.weight", (8, 8)),
        ("out_proj.bias", (8,)),
    ]
    assert table_of(MultiheadAttention(8, 2, kdim=8, vdim=8)) == packed


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_repr_is_the_code(case: Any) -> None:
    assert eval(repr(case.spec), {"MultiheadAttention": MultiheadAttention, "Block": Block}) == case.spec


def test_numbers_of_numpy_do_not_show() -> None:
    layer = MultiheadAttention(np.int64(8), np.int64(2), dropout=np.float32(0.5), kdim=np.int64(4))  # type: ignore[arg-type]
    assert repr(layer) == "MultiheadAttention(8, 2, dropout=0.5, kdim=4)"


# Masks


@pytest.mark.parametrize("name", WINGS)
def test_every_form_of_a_mask_says_the_same(name: str) -> None:
    """(T, S), (1, S) and (batch, 1, S) are stretched, and numbers are as good as truth values."""
    wing, model = load_wing(name), loaded(name, MultiheadAttention(WIDTH, 2))
    keys = mask(1, LENGTH)[:1]
    whole = np.broadcast_to(keys, (2, TIME, LENGTH))
    expected = wing.call(model, (*CROSS, whole))
    for form in (keys, keys[0], whole[0], whole[:, :1], whole.astype(np.int32)):
        np.testing.assert_array_equal(wing.call(model, (*CROSS, form)), expected)
    open_to_all = wing.call(model, (*CROSS, np.ones((TIME, LENGTH), bool)))
    assert relative_error(open_to_all, wing.call(model, CROSS)) <= 4 * EPS


@pytest.mark.parametrize("name", WINGS)
def test_a_masked_key_does_not_matter(name: str) -> None:
    """Whatever the last key and value are: if nobody may attend to them, the output is as it was."""
    wing, model = load_wing(name), loaded(name, MultiheadAttention(WIDTH, 2))
    query, key, value = (each.copy() for each in CROSS)
    allowed = np.ones((TIME, LENGTH), bool)
    allowed[:, -1] = False
    expected = wing.call(model, (query, key, value, allowed))
    key[:, -1], value[:, -1] = 100, -100
    assert relative_error(wing.call(model, (query, key, value, allowed)), expected) <= 4 * EPS


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize("name", WINGS)
def test_a_query_that_may_attend_to_nothing_gives_the_bias(name: str, heads: int) -> None:
    """With and without a gradient, for one array in three places or three; PyTorch's fast path would give NaN."""
    wing, model = load_wing(name), loaded(name, MultiheadAttention(WIDTH, heads))
    bias = wing.weights(model)["out_proj.bias"]
    x = sequence(TIME)
    allowed = mask(TIME, TIME, blocked=True)
    for inputs in ((x, x, x, allowed), (x, x.copy(), x + 1, allowed)):
        np.testing.assert_allclose(wing.call(model, inputs)[0, 1], bias, rtol=4 * EPS)
        cotangent = np.zeros_like(x)
        cotangent[0, 1] = 1
        _, gradients = wing.value_and_gradients(model, inputs, cotangent)
        np.testing.assert_array_equal(gradients["out_proj.bias"], np.ones(WIDTH))
        assert not any(gradients[path].any() for path in ("in_proj_weight", "in_proj_bias", "out_proj.weight"))


# Dropout


@pytest.mark.parametrize("name", WINGS)
def test_weights_are_dropped_in_training_alone(name: str) -> None:
    wing = load_wing(name)
    plain, dropping = (loaded(name, MultiheadAttention(WIDTH, 2, dropout=rate)) for rate in (0.0, 0.5))
    np.testing.assert_array_equal(wing.call(dropping, CROSS), wing.call(plain, CROSS))

    targets = np.zeros_like(CROSS[0])
    (_, without), *steps = (
        wing.step(loaded(name, MultiheadAttention(WIDTH, 2, dropout=rate)), CROSS, targets, seed=seed)
        for rate, seed in ((0.0, 0), (0.5, 0), (0.5, 0), (0.5, 1))
    )
    first, again, other = (loss for _, loss in steps)
    assert first == again
    assert len({without, first, other}) == 3


# Flax's own classes


def in_linen(module: linen.Module, *inputs: np.ndarray) -> Any:
    return module, module.init(jax.random.key(0), *inputs)


OWN: dict[str, tuple[str, Callable[[], Any], dict[str, tuple[int, ...]]]] = {
    "linen": (
        "linen",
        lambda: in_linen(linen.MultiHeadDotProductAttention(2), CROSS[0]),
        {"in_proj_weight": (24, 8), "in_proj_bias": (24,), "out_proj.weight": (8, 8), "out_proj.bias": (8,)},
    ),
    "linen, other widths": (
        "linen",
        lambda: in_linen(linen.MultiHeadAttention(2, qkv_features=8), CROSS[0], sequence(3, 4), sequence(3, 6)),
        {
            "q_proj_weight": (8, 8),
            "k_proj_weight": (8, 4),
            "v_proj_weight": (8, 6),
            "in_proj_bias": (24,),
            "out_proj.weight": (8, 8),
            "out_proj.bias": (8,),
        },
    ),
    "nnx": (
        "nnx",
        lambda: nnx.MultiHeadAttention(4, 8, use_bias=False, rngs=nnx.Rngs(0)),
        {"in_proj_weight": (24, 8), "out_proj.weight": (8, 8)},
    ),
    "nnx, another width": (
        "nnx",
        lambda: nnx.MultiHeadAttention(4, 8, in_kv_features=5, use_bias=False, rngs=nnx.Rngs(0)),
        {"q_proj_weight": (8, 8), "k_proj_weight": (8, 5), "v_proj_weight": (8, 5), "out_proj.weight": (8, 8)},
    ),
    "nnx, fewer keys than queries": (
        "nnx",
        lambda: nnx.MultiHeadAttention(4, 8, num_kv_heads=2, rngs=nnx.Rngs(0)),
        {
            "q_proj_weight": (8, 8),
            "k_proj_weight": (4, 8),
            "v_proj_weight": (4, 8),
            "out_proj.weight": (8, 8),
            "out_proj.bias": (8,),
            # Of unlike shapes, which PyTorch has no packed array for: as they are stored.
            "query.bias": (4, 2),
            "key.bias": (2, 2),
            "value.bias": (2, 2),
        },
    ),
}


@pytest.mark.parametrize("name", OWN)
def test_the_classes_of_flax_have_the_names_of_torch(name: str) -> None:
    wing, make, expected = OWN[name]
    assert {row.path: row.shape for row in load_wing(wing).table(make())} == expected


@pytest.mark.parametrize("name", FLAX)
def test_flax_keeps_three_kernels_by_head(name: str) -> None:
    """The native paths and layouts of one packed array; its parts lie in PyTorch's order, head by head."""
    wing, layer = load_wing(name), MultiheadAttention(6, 2)
    model = loaded(name, layer)
    rows = {row.path: (row.native_path, row.layout.pattern) for row in wing.table(model)}
    assert rows == {
        "in_proj_weight": (("query|key|value", "kernel"), "(p h d) e -> p e h d"),
        "in_proj_bias": (("query|key|value", "bias"), "(p h d) -> p h d"),
        "out_proj.weight": (("out", "kernel"), "e (h d) -> h d e"),
        "out_proj.bias": (("out", "bias"), "... -> ..."),
    }
    held = model[1]["params"] if name == "linen" else nnx.to_pure_dict(nnx.state(model, nnx.Param))
    weights = wing.weights(model)
    key, second = held["key"], 1
    for width in range(3):
        packed = 6 + second * 3 + width
        np.testing.assert_array_equal(key["kernel"][:, second, width], weights["in_proj_weight"][packed])
        assert key["bias"][second, width] == weights["in_proj_bias"][packed]
        np.testing.assert_array_equal(held["out"]["kernel"][second, width], weights["out_proj.weight"][:, 3 + width])


def test_what_linen_draws_itself_has_the_law_of_the_packed_matrix() -> None:
    """`module.init` asks for query, key and value one by one; each has the std of a matrix of three times the rows."""
    layer = MultiheadAttention(32, 2)
    wing, rows = load_wing("linen"), table_of(layer)
    module, _ = wing.build(layer)
    init = jax.jit(lambda key: module.init(key, jnp.ones((1, 3, 32))))
    drawn = [wing.weights((module, init(jax.random.key(seed)))) for seed in range(8)]
    for path in ("in_proj_weight", "out_proj.weight"):
        row = rows[path]
        assert len(drawn) >= replicates(row.sizes, initializer=row.drawn_from)
        verdicts = judge(examine(np.stack([each[path] for each in drawn]), row.drawn_from, row.sizes))
        assert all(verdict.passed for verdict in verdicts), path
    assert not any(each[path].any() for each in drawn for path in ("in_proj_bias", "out_proj.bias"))


def test_linen_takes_a_square_value_for_what_it_is() -> None:
    """Flax warns of a value whose length is its width, which older versions took for a mask; it is none."""
    module = linen.MultiHeadDotProductAttention(2)
    square = np.ones((2, WIDTH, WIDTH), np.float32)
    variables = module.init(jax.random.key(0), square)
    with pytest.warns(DeprecationWarning, match="you may have intended to pass it to the `mask` arg"):
        module.apply(variables, square, square, square)
    wing = load_wing("linen")
    wing.call(wing.build(MultiheadAttention(WIDTH, 2)), (square, square, square))


# Refusals

BAD_SETTINGS: dict[str, tuple[Callable[[], Any], str]] = {
    "heads": (
        lambda: MultiheadAttention(8, 3),
        "expected MultiheadAttention.features as a multiple of its 3 heads, found 8.",
    ),
    "no heads": (
        lambda: MultiheadAttention(8, 0),
        "expected MultiheadAttention.heads as a positive whole number, found 0.",
    ),
    "kdim": (
        lambda: MultiheadAttention(8, 2, kdim=0),
        "expected MultiheadAttention.kdim as a positive whole number, found 0.",
    ),
    "bias": (
        lambda: MultiheadAttention(8, 2, bias=None),  # type: ignore[arg-type]
        "expected MultiheadAttention.bias as True or False, found None. Initializers have names of their own.",
    ),
    "dropout": (
        lambda: MultiheadAttention(8, 2, dropout=1),
        "expected MultiheadAttention.dropout in [0, 1), found 1.",
    ),
}


@pytest.mark.parametrize("name", BAD_SETTINGS)
def test_a_setting_that_makes_no_layer_is_refused(name: str) -> None:
    make, message = BAD_SETTINGS[name]
    with pytest.raises(SpecError, match=exactly(message)):
        make()


BAD_INPUTS: dict[str, tuple[dict[str, int], tuple[Any, ...], str]] = {
    "query": (
        {},
        ((5, 7),),
        "expected a query of width 8 (features), found width 7. Set features to 7, or change the layer before.",
    ),
    "key": (
        {"kdim": 4},
        ((5, 8),),
        "expected a key of width 4 (kdim), found width 8. Set kdim to 8, or change the layer before.",
    ),
    "value": (
        {"vdim": 4},
        ((5, 8), (6, 8)),
        "expected a value of width 4 (vdim), found width 8. Set vdim to 8, or change the layer before.",
    ),
    "lengths": ({}, ((5, 8), (6, 8), (7, 8)), "expected a key and a value of one length, found 6 and 7."),
    "axes": (
        {},
        ((8,),),
        "expected an input (batch, time, width) of MultiheadAttention, found (batch, 8).",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_inputs_that_cannot_fit_are_refused(name: str) -> None:
    settings, inputs, message = BAD_INPUTS[name]
    names = ", ".join("qkv"[: len(inputs)])
    text = f"def forward({names}): return attention({names})"
    with pytest.raises(SpecError, match=exactly(f"attention: {message}")):
        flow(Block({"attention": MultiheadAttention(8, 2, **settings)}, forward=text), *inputs)


def test_the_output_has_the_length_of_the_query() -> None:
    layer = MultiheadAttention(8, 2, kdim=4, vdim=6)
    assert flow(layer, (5, 8), (7, 4), (7, 6), (5, 7))[1] == (5, 8)
    assert flow(layer, (..., 8), (None, 4), UNKNOWN)[1] == (None, 8)
    assert flow(Sequential(MultiheadAttention(8, 2)), UNKNOWN)[1] == (None, 8)
    masked = Block(
        {"attention": MultiheadAttention(8, 2)},
        forward="def forward(x, mask=None): return attention(x, None, None, mask)",
    )
    assert flow(masked, (5, 8))[1] == flow(masked, (5, 8), (5, 5))[1] == (5, 8)
