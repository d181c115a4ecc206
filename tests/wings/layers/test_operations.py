"""Layers that hold nothing: each in the three wings against plain NumPy, with the gradients of its inputs, its shapes
and its refusals.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from paritree.common.errors import ShapeError, SpecError
from paritree.common.initializers import Normal
from paritree.common.layers import (
    Attention,
    AttentionWeights,
    Concatenate,
    Parameter,
    Positions,
    Prefix,
    Rearrange,
    RelativeBuckets,
    Rotary,
    RotaryAngles,
    Split,
    Take,
    WeightedValues,
)
from paritree.common.spec import UNKNOWN, Block, Layer, flow
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.pairs.closeness import allowed, relative_error


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).normal(size=shape)


def heads_of(x: np.ndarray, heads: int) -> np.ndarray:
    """(batch, heads, time, depth)."""
    return np.stack(np.split(x, heads, axis=-1), axis=1)


def attention_weights(
    layer: Any, q: np.ndarray, k: np.ndarray, mask: np.ndarray | None = None, bias: np.ndarray | None = None
) -> np.ndarray:
    """A softmax over the places that count, one query at a time; over all of them if none does."""
    queries, keys = heads_of(q, layer.heads), heads_of(k, layer.kv_heads or layer.heads)
    (batch, heads, time, depth), places = queries.shape, k.shape[1]
    weights = np.zeros((batch, heads, time, places))
    scale = 1 / np.sqrt(depth) if layer.scale is None else layer.scale
    for b, h, t in np.ndindex(batch, heads, time):
        key = keys[b, h * keys.shape[1] // heads]
        scores = scale * key @ queries[b, h, t]
        if bias is not None:
            scores = scores + bias[b % len(bias), h, t]
        counts = np.ones(places, bool)
        if mask is not None:
            counts &= (mask[b] if mask.ndim == 2 else mask[b, t]) != 0
        if layer.causal:
            counts &= np.arange(places) <= t + places - time
        if not counts.any():
            weights[b, h, t] = 1 / places
            continue
        risen = np.exp(scores[counts] - scores[counts].max())
        weights[b, h, t, counts] = risen / risen.sum()
    return weights


def weighted_values(layer: Any, weights: np.ndarray, v: np.ndarray) -> np.ndarray:
    values = heads_of(v, layer.kv_heads or layer.heads)
    share = layer.heads // values.shape[1]
    return np.concatenate([weights[:, h] @ values[:, h // share] for h in range(layer.heads)], axis=-1)


def rotated(x: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Each pair as a complex number, times e^(i angle)."""
    half = angles.shape[-1]
    pieces = []
    for head in np.split(x, x.shape[-1] // (2 * half), axis=-1):
        turned = (head[..., :half] + 1j * head[..., half:]) * np.exp(1j * angles)
        pieces += [turned.real, turned.imag]
    return np.concatenate(pieces, axis=-1)


def buckets(layer: RelativeBuckets, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As transformers computes them."""
    import torch
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = torch.arange(y.shape[1])[None] - torch.arange(x.shape[1])[:, None]
    settings = (layer.bidirectional, layer.buckets, layer.max_distance)
    return T5Attention._relative_position_bucket(distances, *settings).numpy()[None]


@dataclass(frozen=True)
class Case:
    """A layer, its inputs, and what it is to give for them. The floating ones have gradients."""

    layer: Layer
    inputs: tuple[np.ndarray | None, ...]
    expected: Callable[..., Any]
    smooth: bool = True
    outputs: int = 1
    optional: tuple[str, ...] = field(default=("a", "b", "c", "d", "e"), repr=False)

    @property
    def spec(self) -> Block:
        """A Block with the layer, the floating inputs as Parameters; several outputs are summed, the n-th n times."""
        names = self.optional[: len(self.inputs)]
        children: dict[str, Layer] = {}
        for name, array in zip(names, self.inputs, strict=True):
            if array is not None and array.dtype == float:
                children[name] = Parameter(array.shape, Normal())
        given = [
            name for name, array in zip(names, self.inputs, strict=True) if name not in children and array is not None
        ]
        arguments = ", ".join("None" if array is None else name for name, array in zip(names, self.inputs, strict=True))
        outputs = [f"y{number}" for number in range(self.outputs)]
        total = " + ".join(f"{number + 1} * {name}" for number, name in enumerate(outputs))
        text = f"def forward({', '.join(['unused', *given])}):\n    {', '.join(outputs)} = layer({arguments})\n"
        return Block({**children, "layer": self.layer}, forward=f"{text}    return {total}\n")

    @property
    def weights(self) -> dict[str, np.ndarray]:
        pairs = zip(self.optional, self.inputs, strict=False)
        return {name: array for name, array in pairs if array is not None and array.dtype == float}

    @property
    def given(self) -> tuple[np.ndarray, ...]:
        others = [array for array in self.inputs if array is not None and array.dtype != float]
        return (np.zeros((2, 1), np.int64), *others)

    def reference(self, *inputs: np.ndarray | None) -> np.ndarray:
        found = self.expected(*inputs)
        return sum((n + 1) * each for n, each in enumerate(found)) if self.outputs > 1 else found

    def differences(self, cotangent: np.ndarray, step: float = 1e-6) -> dict[str, np.ndarray]:
        """The gradient of <output, cotangent> by each floating input, by central differences."""
        result = {}
        for place, name in enumerate(self.optional[: len(self.inputs)]):
            array = self.inputs[place]
            if array is None or array.dtype != float:
                continue
            gradient = np.zeros_like(array)
            for index in np.ndindex(array.shape):
                ends = []
                for sign in (1, -1):
                    moved = array.copy()
                    moved[index] += sign * step
                    inputs = (*self.inputs[:place], moved, *self.inputs[place + 1 :])
                    ends.append((self.reference(*inputs) * cotangent).sum())
                gradient[index] = (ends[0] - ends[1]) / (2 * step)
            result[name] = gradient
        return result


def attention(
    name: str, *, smooth: bool = True, mask: Any = None, bias: Any = None, **settings: Any
) -> tuple[str, Case]:
    layer = AttentionWeights(**settings)
    kv_heads = layer.kv_heads or layer.heads
    inputs = (normal(2, 3, layer.heads * 2), normal(2, 5, kv_heads * 2), mask, bias)
    last = 4 if bias is not None else 3 if mask is not None else 2
    return name, Case(layer, inputs[:last], lambda *given: attention_weights(layer, *given), smooth)


PADDING = np.array([[1, 1, 1, 0, 0], [0, 1, 1, 1, 1]])
EACH_QUERY = np.random.default_rng(3).integers(0, 2, (2, 3, 5)) | (np.arange(5) == 1)
NOTHING = np.array([[1, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
ANGLES = np.arange(3)[None, :, None] * np.array([1.0, 0.3])
GROUPED, WHOLE = WeightedValues(4, 2), Attention(4, 2, causal=True)
TWO_BUCKETS, LAST_BUCKETS = RelativeBuckets(True, 8, 20), RelativeBuckets(False, 8, 16)
DECODING = np.zeros((2, 1, 3), np.int64), np.zeros((2, 40, 3), np.int64)

CASES: dict[str, Case] = {
    "Split": Case(Split(3), (normal(2, 4, 6),), lambda x: np.split(x, 3, axis=-1), outputs=3),
    "Concatenate": Case(
        Concatenate(2), (normal(2, 4, 1), normal(2, 4, 3)), lambda *arrays: np.concatenate(arrays, axis=2)
    ),
    "Concatenate, stretched": Case(
        Concatenate(1),
        (normal(1, 2, 3), normal(4, 5, 3), normal(1, 1, 3)),
        lambda a, b, c: np.concatenate((a.repeat(4, 0), b, c.repeat(4, 0)), axis=1),
    ),
    "Take": Case(Take(1), (normal(2, 3, 4),), lambda x: x[:, 1]),
    "Take, the last": Case(Take(-1, axis=2), (normal(2, 3, 4),), lambda x: x[:, :, -1]),
    "Rearrange": Case(
        Rearrange("b c h w -> b (h w) c"), (normal(2, 3, 4, 5),), lambda x: np.moveaxis(x, 1, -1).reshape(2, 20, 3)
    ),
    "Rearrange, split": Case(
        Rearrange("b t (h d) -> b h d t", {"h": 2}),
        (normal(2, 3, 8),),
        lambda x: x.reshape(2, 3, 2, 4).transpose(0, 2, 3, 1),
    ),
    "Positions": Case(Positions(), (np.ones((2, 5), np.int64),), lambda x: np.arange(5)[None]),
    "Prefix": Case(Prefix(), (normal(1, 9, 2), np.ones((2, 5), np.int64)), lambda table, x: table[:, :5]),
    **dict(
        (
            attention("AttentionWeights", heads=4),
            attention("AttentionWeights, scaled", heads=2, scale=0.3),
            attention("AttentionWeights, grouped", heads=4, kv_heads=2),
            attention("AttentionWeights, causal", heads=2, causal=True),
            attention("AttentionWeights, padding", heads=2, mask=PADDING),
            attention("AttentionWeights, padding and causal", heads=2, causal=True, mask=PADDING != 0),
            attention("AttentionWeights, a mask for each query", heads=2, mask=EACH_QUERY),
            attention("AttentionWeights, bias", heads=4, kv_heads=2, causal=True, bias=normal(1, 4, 3, 5)),
            attention("AttentionWeights, bias and mask", heads=2, mask=PADDING, bias=normal(2, 2, 3, 5)),
            # The lowest number swallows the score that it is added to, which a derivative does not see.
            attention("AttentionWeights, nothing", smooth=False, heads=2, mask=NOTHING, bias=normal(1, 2, 3, 5)),
        )
    ),
    "WeightedValues": Case(
        GROUPED, (normal(2, 4, 3, 5), normal(2, 5, 6)), lambda *inputs: weighted_values(GROUPED, *inputs)
    ),
    "Attention": Case(
        WHOLE,
        (normal(2, 3, 8), normal(2, 5, 4), normal(2, 5, 6), PADDING, normal(1, 4, 3, 5)),
        lambda q, k, v, *optional: weighted_values(WHOLE, attention_weights(WHOLE, q, k, *optional), v),
    ),
    "RotaryAngles": Case(RotaryAngles(), (normal(2, 3, 4), normal(2)), lambda x, f: np.arange(3)[None, :, None] * f),
    "Rotary": Case(Rotary(), (normal(2, 3, 8), ANGLES), rotated),
    "RelativeBuckets": Case(TWO_BUCKETS, DECODING[::-1], lambda *inputs: buckets(TWO_BUCKETS, *inputs)),
    "RelativeBuckets, backwards": Case(LAST_BUCKETS, DECODING[::-1], lambda *inputs: buckets(LAST_BUCKETS, *inputs)),
}


@pytest.fixture(params=WINGS)
def wing(request: pytest.FixtureRequest) -> Any:
    return load_wing(request.param)


# In float64 for what a rounding would hide; in Flax in float32, whose compiled operations its two wings share.
DTYPES = {"torch": "float64", "linen": "float32", "nnx": "float32"}


@pytest.mark.parametrize("name", CASES)
def test_output_and_gradients_are_those_of_numpy(name: str, wing: Any, device: str) -> None:
    case, dtype = CASES[name], DTYPES[wing.NAME]
    expected = case.reference(*case.inputs)
    cotangent = normal(*expected.shape, seed=9)
    with wing.running(device, dtype):
        weights = {path: array.astype(dtype) for path, array in case.weights.items()}
        model = wing.load(wing.build(case.spec, dtype=dtype, device=device), weights)
        found = wing.call(model, case.given)
        assert np.issubdtype(found.dtype, np.integer) or found.dtype == dtype
        assert relative_error(found, expected) <= allowed(2, dtype)
        if not case.smooth or not weights:
            return
        _, gradients = wing.value_and_gradients(model, case.given, cotangent.astype(dtype))
    # Central differences in float64 with a step of 1e-6 are good for about nine digits.
    limit = max(1e-8, allowed(2, dtype))
    for path, gradient in case.differences(cotangent).items():
        assert np.linalg.norm(gradients[path] - gradient) <= limit * max(1.0, float(np.linalg.norm(gradient))), path


@pytest.mark.parametrize("name", CASES)
def test_the_shape_is_foreseen(name: str) -> None:
    case = CASES[name]
    expected = case.reference(*case.inputs).shape[1:]
    given = [UNKNOWN if array is None else array.shape[1:] or array.shape for array in case.inputs]
    found = case.layer.outs(tuple(given), "")
    assert (found if case.outputs == 1 else found[0]) == expected
    assert flow(case.spec)[1] in (expected, UNKNOWN) or None in flow(case.spec)[1]
    nothing_known = case.layer.outs((UNKNOWN,) * len(given), "")
    for shape in [nothing_known] if case.outputs == 1 else nothing_known:
        known = shape[1:] if shape[:1] == UNKNOWN else shape
        assert all(one in (None, other) for one, other in zip(known[::-1], expected[::-1], strict=False))
        assert shape[:1] == UNKNOWN or len(shape) == len(expected)


@pytest.mark.parametrize("name", CASES)
def test_the_repr_is_the_code_that_builds_it(name: str) -> None:
    layer = CASES[name].layer
    assert eval(repr(layer), {type(layer).__name__: type(layer)}) == layer


def test_masks_may_be_boolean_or_numbers(wing: Any) -> None:
    layer = AttentionWeights(2)
    outputs = []
    for mask in (PADDING, PADDING != 0, PADDING.astype(np.int32)):
        case = Case(layer, (normal(2, 3, 4), normal(2, 5, 4), mask), lambda *inputs: None)
        weights = {path: array.astype(np.float32) for path, array in case.weights.items()}
        outputs.append(wing.call(wing.load(wing.build(case.spec), weights), case.given))
    np.testing.assert_array_equal(outputs[0], outputs[1])
    np.testing.assert_array_equal(outputs[0], outputs[2])
    assert not outputs[0][np.broadcast_to(PADDING[:, None, None] == 0, outputs[0].shape)].any()


def test_a_fully_masked_query_attends_to_all_alike(wing: Any) -> None:
    case = CASES["AttentionWeights, nothing"]
    weights = {path: array.astype(np.float32) for path, array in case.weights.items()}
    found = wing.call(wing.load(wing.build(case.spec), weights), case.given)
    np.testing.assert_array_equal(found[1], np.full_like(found[1], 0.2))


@pytest.mark.parametrize(
    ("bidirectional", "count", "farthest"),
    [(True, 32, 128), (False, 32, 128), (True, 64, 256), (True, 12, 50), (False, 6, 4), (True, 4, 2)],
)
def test_buckets_are_those_of_transformers_at_every_distance(bidirectional: bool, count: int, farthest: int) -> None:
    layer = RelativeBuckets(bidirectional, count, farthest)
    there, back = np.zeros((1, 600, 1)), np.zeros((1, 1, 1))
    for x, y in ((there, back), (back, there)):
        np.testing.assert_array_equal(layer.table(x.shape[1], y.shape[1]), buckets(layer, x, y))


def test_what_only_a_call_can_tell_is_refused_in_the_call(wing: Any) -> None:
    def call(layer: Layer, *inputs: np.ndarray) -> np.ndarray:
        names = ["x", "y"][: len(inputs)]
        text = f"def forward({', '.join(names)}):\n    return layer({', '.join(names)})\n"
        return wing.call(wing.build(Block({"layer": layer}, forward=text)), inputs)

    x = normal(2, 5, 3).astype(np.float32)
    with pytest.raises(ShapeError) as caught:
        call(Prefix(), x[:, :4], x)
    assert str(caught.value) == "expected a sequence of at most 4 positions, found 5 of them."
    with pytest.raises(IndexError):
        call(Take(5), x)
    with pytest.raises((RuntimeError, ValueError)):
        call(Split(2), x)
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        call(Concatenate(1), x, x[:1, :, :2])
    with pytest.raises(ShapeError) as caught:
        call(Rearrange("b t w -> b w t"), x[:, 0])
    assert str(caught.value) == (
        "expected the axes of 'b t w -> b w t', found an array of shape (2, 3). Check the layer's kind."
    )


REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "Split.parts": (lambda: Split(0), "expected Split.parts as a positive whole number, found 0."),
    "Concatenate.axis": (
        lambda: Concatenate(0),
        "expected Concatenate.axis as a positive whole number, found 0.",
    ),
    "Take.axis": (lambda: Take(0, 0), "expected Take.axis as a positive whole number, found 0."),
    "Take.index": (lambda: Take(0.5), "expected Take.index as a whole number, found 0.5."),  # type: ignore[arg-type]
    "Rearrange, no arrow": (
        lambda: Rearrange("b c h"),
        "expected Rearrange.pattern in einops' notation, found 'b c h'. Write names, and names in parentheses: "
        "'b c h w -> b (h w) c'.",
    ),
    "Rearrange, nested": (
        lambda: Rearrange("b (c (h)) -> b c h"),
        "expected Rearrange.pattern in einops' notation, found 'b (c (h)) -> b c h'. Write names, and names in "
        "parentheses: 'b c h w -> b (h w) c'.",
    ),
    "Rearrange, lost": (
        lambda: Rearrange("b c h -> b c"),
        "expected each name once on both sides of Rearrange.pattern, found 'b c h -> b c'.",
    ),
    "Rearrange, batch": (
        lambda: Rearrange("b c h -> (b c) h"),
        "expected one batch axis in front on both sides of Rearrange.pattern, found 'b c h -> (b c) h'.",
    ),
    "Rearrange, two unknown": (
        lambda: Rearrange("b (c h) -> b c h"),
        "expected one unknown length in (c h), found c, h. Name the others in Rearrange.sizes.",
    ),
    "Rearrange, no such size": (
        lambda: Rearrange("b c h -> b h c", {"d": 2}),
        "expected axes of 'b c h -> b h c' in Rearrange.sizes, found 'd'.",
    ),
    "Rearrange, no size": (
        lambda: Rearrange("b (c h) -> b h c", {"c": 0}),
        "expected Rearrange.sizes as positive whole numbers, found {'c': 0}.",
    ),
    "heads": (lambda: Attention(0), "expected Attention.heads as a positive whole number, found 0."),
    "kv_heads": (
        lambda: AttentionWeights(4, 3),
        "expected AttentionWeights.heads as a multiple of kv_heads, 3, found 4.",
    ),
    "scale": (
        lambda: AttentionWeights(4, scale=float("inf")),
        "expected AttentionWeights.scale as a finite number, found inf.",
    ),
    "causal": (
        lambda: Attention(4, causal=1),  # type: ignore[arg-type]
        "expected Attention.causal as True or False, found 1.",
    ),
    "values": (lambda: WeightedValues(4, 8), "expected WeightedValues.heads as a multiple of kv_heads, 8, found 4."),
    "bidirectional": (
        lambda: RelativeBuckets(1),  # type: ignore[arg-type]
        "expected RelativeBuckets.bidirectional as True or False, found 1.",
    ),
    "buckets": (lambda: RelativeBuckets(True, 6), "expected RelativeBuckets.buckets as a multiple of 4, found 6."),
    "max_distance": (
        lambda: RelativeBuckets(False, 32, 16),
        "expected RelativeBuckets.max_distance above 16, found 16.",
    ),
}

UNFIT: dict[str, tuple[Layer, tuple[Any, ...], str]] = {
    "Split": (Split(3), ((4, 8),), "expected an input of a width that 3 parts divide, found width 8."),
    "Concatenate, axes": (
        Concatenate(2),
        ((4, 8), (8,)),
        "expected inputs of one number of axes, more than 2, found (batch, 4, 8) and (batch, 8).",
    ),
    "Concatenate, too few axes": (
        Concatenate(2),
        ((8,), (8,)),
        "expected inputs of one number of axes, more than 2, found (batch, 8) and (batch, 8).",
    ),
    "Concatenate, lengths": (
        Concatenate(1),
        ((4, 8), (None, 7)),
        "expected inputs alike but for the axis along which they are put together, found (batch, 4, 8) and "
        "(batch, ?, 7).",
    ),
    "Take, axis": (Take(0, 3), ((4, 8),), "expected an input with an axis 3, found (batch, 4, 8)."),
    "Take, index": (Take(-5), ((4, 8),), "expected axis 1 to have an index -5, found length 4."),
    "Rearrange, axes": (
        Rearrange("b c h -> b h c"),
        ((4,),),
        "expected the axes of 'b c h -> b h c', found (batch, 4).",
    ),
    "Rearrange, split": (
        Rearrange("b (c d) -> b c d", {"c": 3}),
        ((8,),),
        "expected (c d) of 'b (c d) -> b c d' of length a multiple of 3, found 8.",
    ),
    "Rearrange, known": (
        Rearrange("b (c d) -> b c d", {"c": 3, "d": 2}),
        ((8,),),
        "expected (c d) of 'b (c d) -> b c d' of length 6, found 8.",
    ),
    "Positions": (Positions(), ((),), "expected an input with an axis 1 for Positions, found none."),
    "Prefix": (Prefix(), ((4, 8), (5,)), "expected a sequence of at most 4 positions, found 5 of them."),
    "queries": (
        AttentionWeights(4),
        ((3, 6), (5, 8)),
        "expected queries of a width that 4 heads divide, found width 6.",
    ),
    "keys": (AttentionWeights(4, 2), ((3, 8), (5, 3)), "expected keys of a width that 2 heads divide, found width 3."),
    "queries and keys": (
        AttentionWeights(4, 2),
        ((3, 8), (5, 8)),
        "expected heads of one width in queries and keys, found queries of width 8 and keys of width 8.",
    ),
    "no sequence": (
        AttentionWeights(4),
        ((8,), (5, 8)),
        "expected an input (batch, time, width) of AttentionWeights, found (batch, 8).",
    ),
    "mask": (
        AttentionWeights(4),
        ((3, 8), (5, 8), (3,)),
        "expected a mask that fits scores (batch, 4, 3, 5), found (batch, 3).",
    ),
    "mask for each query": (
        AttentionWeights(4),
        ((3, 8), (5, 8), (5, 3)),
        "expected a mask that fits scores (batch, 4, 3, 5), found (batch, 5, 3).",
    ),
    "bias": (
        Attention(4),
        ((3, 8), (5, 8), (5, 8), UNKNOWN, (1, 3, 5)),
        "expected a bias that fits scores (batch, 4, 3, 5), found (batch, 1, 3, 5).",
    ),
    "values": (
        Attention(4),
        ((3, 8), (5, 8), (5, 6)),
        "expected values of a width that 4 heads divide, found width 6.",
    ),
    "values' positions": (
        Attention(4),
        ((3, 8), (5, 8), (6, 8)),
        "expected weights of 4 heads, one for each position, found (batch, 4, 3, 5) for values (batch, 6, 8).",
    ),
    "frequencies": (
        RotaryAngles(),
        ((3, 8), (2, 4)),
        "expected an input (batch, frequencies) of RotaryAngles, found (batch, 2, 4).",
    ),
    "angles": (Rotary(), ((3, 8), (4, 2)), "expected angles for 3 positions, found for 4."),
    "turned width": (Rotary(), ((3, 8), (3, 3)), "expected an input of a width that heads of 6 divide, found width 8."),
    "RelativeBuckets": (
        RelativeBuckets(),
        ((3,), ()),
        "expected an input with an axis 1 for RelativeBuckets, found none.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_settings_that_cannot_be_are_refused(name: str) -> None:
    build, text = REFUSED[name]
    with pytest.raises(SpecError) as caught:
        build()
    assert str(caught.value) == text


@pytest.mark.parametrize("name", UNFIT)
def test_inputs_that_cannot_fit_are_refused(name: str) -> None:
    layer, inputs, text = UNFIT[name]
    with pytest.raises(SpecError) as caught:
        layer.outs(inputs, "here")
    assert str(caught.value) == f"here: {text}"
