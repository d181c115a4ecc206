"""Reasons: what the values of a stretch tell of why they differ, before the patterns of `causes` are tried."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from ....common.wing import Value, is_floating
from ..causes import cause_of
from ..comparing import ClosestView, apart, axis_text, closest_view, unit, wide
from ..gap import Cause, Gap, Known
from .equal import Marked
from .tables import table_cause

_MOST_KNOWN = 6
_ROUNDINGS = 32
# Of more operations no one kind is what the difference is about.
_MOST_STEPS = 16
_SUMS = ("add", "add_", "sub")
SWAPPED = "swapped"
# What only moves, repeats or types numbers is no step of a computation.
MOVES = frozenset(
    (
        *("t", "view", "_unsafe_view", "reshape", "transpose", "permute", "expand", "clone", "detach", "unsqueeze"),
        *("squeeze", "lift_fresh", "_to_copy", "alias", "select", "slice", "split", "unbind", "contiguous", "copy"),
        *("copy_", "broadcast_in_dim", "convert_element_type", "stop_gradient", "expand_dims", "read", "constant"),
    )
)


PartingKind = Literal["made", "lacking", "extra", "operand"]


class Parting(NamedTuple):
    """One difference.

    reference, port: the values that should be equal. mine, yours: what they are made of that only one side has.
    before: the reference's values that both have, the latest first.
    kind: `made` where each side makes its value otherwise; `lacking` where the port goes on with one that both have,
        `extra` where the reference does; `operand` where both do, with two that are not the same.
    """

    ours: Marked
    theirs: Marked
    reference: int
    port: int
    mine: frozenset[int]
    yours: frozenset[int]
    before: Sequence[int]
    kind: PartingKind

    @property
    def limit(self) -> float:
        """How large an error rounding makes of the two values."""
        return max(self.ours.limit(self.reference), self.theirs.limit(self.port))

    @property
    def sides(self) -> tuple[tuple[Marked, frozenset[int]], tuple[Marked, frozenset[int]]]:
        """Each side's tape, with what its value is made of."""
        return (self.ours, self.mine), (self.theirs, self.yours)


def line_cause(parting: Parting, seen: ClosestView | None) -> Cause | None:
    """seen: the port's value in the reference's axes; None where it cannot be seen so."""
    # A masked score is infinite, and so is what it is apart from a number.
    with np.errstate(invalid="ignore", over="ignore"):
        return _cause(parting, seen)


def _cause(parting: Parting, seen: ClosestView | None) -> Cause | None:
    if parting.kind == "operand":
        return _operand(parting)
    is_alike = seen is not None and parting.kind != "lacking" and seen.aligned.shape == seen.exact.shape
    found = (_reordered(parting, seen) if is_alike and seen else None) or _lacking(parting) or _extra(parting)
    if found:
        return found
    if seen is None or not is_alike:
        return _of_a_kind(parting)
    if parting.reference in parting.ours.constants and parting.port in parting.theirs.constants:
        return table_cause(seen)
    measured = _coarser(parting, seen) or _axis(parting, seen) or cause_of(_gap(parting, seen))
    return measured or _of_a_kind(parting)


_ACTIVATIONS = frozenset(
    (
        *("gelu", "silu", "relu", "tanh", "erf", "erfc", "sigmoid", "logistic", "softplus", "log1p", "elu"),
        *("leaky_relu", "hardtanh", "hardswish", "hardsigmoid", "_prelu_kernel"),
    )
)
_RESIZES = frozenset(
    f"{before}upsample_{how}{after}"
    for before, after in (("", ""), ("_", "_aa"))
    for how in ("nearest1d", "nearest2d", "linear1d", "bilinear2d", "bicubic2d", "trilinear3d")
)
_POOLINGS = frozenset(
    ("avg_pool2d", "max_pool2d_with_indices", "reduce_window", "reduce_window_sum", "reduce_window_max")
)
_NORMS = frozenset(("native_layer_norm", "native_group_norm", "rsqrt", "sqrt", "var_mean", "var", "linalg_vector_norm"))
# Kinds of operations that tell what a piece of plain code is for, by the words of both frameworks; the first that both
# sides have in a stretch is it.
_KINDS: tuple[tuple[str, frozenset[str]], ...] = (
    ("rotation", frozenset({"cos", "sin"})),
    ("resize", _RESIZES),
    ("convolution", frozenset({"convolution", "conv_general_dilated"})),
    ("pooling", _POOLINGS),
    ("router", frozenset({"topk", "top_k", "sort", "argmax"})),
    ("softmax", frozenset({"_softmax", "_log_softmax", "exp", "logsumexp"})),
    ("mask", frozenset({"where", "select_n", "masked_fill", "masked_fill_", "tril", "triu", "index_put_"})),
    ("norm", _NORMS),
    ("gates", frozenset(("gates", "mkldnn_rnn_layer", "lstm", "gru"))),
    ("activation", _ACTIVATIONS),
    ("bound", frozenset({"clamp", "clamp_min", "clamp_max", "clip", "min", "minimum", "max", "maximum"})),
    ("mean", frozenset({"mean"})),
)
# One operation in PyTorch and many in JAX: seen on one side they tell as much.
_FUSED = _RESIZES | {"mkldnn_rnn_layer", "lstm", "gru", "_prelu_kernel"}
_OF_KIND = {
    "rotation": "a rotation by sines and cosines: its base, positions, order of pairs or sign",
    "resize": "a resize: its method, its corners, or antialiasing",
    "convolution": "a convolution: its padding, strides or groups",
    "pooling": "a pooling: its window, its padding, or what it divides by",
    "router": "a choice of the largest (a router): what is chosen from, and what is done with the chosen ones",
    "softmax": "a softmax: its axis, its scale or its mask",
    "mask": "a mask: what it hides, and by which number",
    "norm": "a norm: its eps, its axes, or what it is taken of",
    "activation": "an activation: its form",
    "bound": "a bound: the least and the largest that are let through",
    "gates": "gates: what they are made of, what they multiply, and what is carried on",
    "mean": "a mean: what it is taken over, or what it is divided by",
}


def _of_a_kind(parting: Parting) -> Cause | None:
    """What the operations of both sides in a stretch are for, where nothing measured tells more."""
    both = [_operations(side, inside) for side, inside in parting.sides]
    is_long = any(len(_steps(side, inside)) > _MOST_STEPS for side, inside in parting.sides)
    for name, words in _KINDS:
        is_fused = any(words & _FUSED & each for each in both)
        if is_fused or (all(words & each for each in both) and not is_long):
            told = " and ".join(", ".join(repr(word) for word in sorted(words & each)) for each in both)
            return Cause(name, f"between these lines is {_OF_KIND[name]} ({told})", is_measured=False)
    return None


def _operations(side: Marked, inside: frozenset[int]) -> set[str]:
    """The operations of a stretch, with those that its constants are made by."""
    left, seen = list(inside), set(inside)
    while left:
        for place in side.values[left.pop()].made_of:
            if place not in seen and place in side.constants:
                seen.add(place)
                left.append(place)
    found = {side.values[place].operation for place in seen}
    # JAX has no mean of its own, and neither framework gates.
    found |= {"mean"} if {"reduce_sum", "div"} <= found else set()
    is_gated = "mul" in found and "tanh" in found and not found.isdisjoint(("sigmoid", "logistic"))
    return found | {"gates"} if is_gated else found


def _axis(parting: Parting, seen: ClosestView) -> Cause | None:
    """Both are shares that add up to one, along other axes."""
    ours, theirs = (_summing(array) for array in (seen.exact, seen.aligned))
    if not ours or not theirs or ours & theirs:
        return None
    shapes = seen.exact.shape, parting.theirs.values[parting.port].array.shape
    one = ", ".join(f"axis {axis}" for axis in sorted(ours))
    other = ", ".join(axis_text(seen.axes, axis) for axis in sorted(theirs))
    text = f"the softmax goes along {one} of {shapes[0]} in the reference and along {other} of {shapes[1]} in the port"
    return Cause("axis", text)


def _reordered(parting: Parting, seen: ClosestView) -> Cause | None:
    """The port has the reference's numbers in another order along one axis."""
    ours, theirs = seen.exact, seen.aligned
    one, other = np.sort(ours, axis=None), np.sort(theirs, axis=None)
    if not np.isfinite(one).all() or not apart(other, one) <= parting.limit:
        return None
    for axis, length in enumerate(ours.shape):
        for words, order in _orders(length):
            if apart(theirs, ours.take(order, axis)) <= parting.limit:
                text = f"the port has the reference's values {words} along axis {axis} of {ours.shape}"
                return Cause("reversed" if words == "backwards" else "order", text)
    text = "the port has the reference's values in another order, along one axis or several made one"
    return Cause("order", text, is_measured=False)


def _orders(length: int) -> Iterator[tuple[str, np.ndarray]]:
    places = np.arange(length)
    yield "backwards", places[::-1]
    for step in (1, -1):
        yield f"moved by {step:+d}", np.roll(places, step)
    for parts in range(2, length // 2 + 1):
        if not length % parts:
            yield f"in {parts} parts that are interleaved", places.reshape(parts, -1).T.ravel()


def _summing(array: np.ndarray) -> set[int]:
    """The axes along which non-negative numbers add up to one."""
    if array.ndim < 2 or not np.isfinite(array).all() or (array < 0).any():
        return set()
    lengths = enumerate(array.shape)
    return {axis for axis, length in lengths if length > 1 and np.allclose(array.sum(axis), 1, rtol=1e-5)}


def _operand(parting: Parting) -> Cause:
    both = [source(side, place) for side, place in ((parting.ours, parting.reference), (parting.theirs, parting.port))]
    text = f"takes {_value_text(both[1])} where the reference takes {_value_text(both[0])}"
    if all(value.kind == "parameter" for value in both):
        return Cause(SWAPPED, f"the port {text}")
    added = [_steps(side, inside)[-1:] for side, inside in parting.sides]
    is_sum = all(made and made[0].operation in _SUMS for made in added)
    name, whose = ("skip", "the port's skip connection") if is_sum else ("wiring", "the port")
    return Cause(name, f"{whose} {text}", is_measured=False)


def source(side: Marked, place: int) -> Value:
    """What a value is, before its numbers were moved."""
    value = side.values[place]
    while value.kind == "made" and value.operation in MOVES and len(value.made_of) == 1:
        value = side.values[value.made_of[0]]
    return value


def _value_text(value: Value) -> str:
    return f"{value.operation!r}" + (f" of {value.line}" if value.line else "")


def _steps(side: Marked, inside: frozenset[int]) -> list[Value]:
    made = (side.values[place] for place in sorted(inside))
    return [value for value in made if value.kind == "made" and value.operation not in MOVES]


def _lacking(parting: Parting) -> Cause | None:
    """The reference does something to a value that the port goes on with as it is."""
    if parting.kind != "lacking":
        return None
    made = _steps(parting.ours, parting.mine)
    if not made:
        return None
    kind = _kind_of(parting.ours, parting.mine)
    text = f"the port leaves out {_article(kind)}{_named(made)} of the reference"
    return Cause(kind or "lacking", text, is_measured=False)


def _extra(parting: Parting) -> Cause | None:
    """The port does something to a value that the reference goes on with as it is."""
    made = _steps(parting.theirs, parting.yours)
    if parting.kind != "extra" or not made:
        return None
    kind = _kind_of(parting.theirs, parting.yours)
    text = f"the port has {_article(kind)}{_named(made)}, which the reference has not"
    return Cause(kind or "extra", text, is_measured=False)


def _kind_of(side: Marked, inside: frozenset[int]) -> str:
    made, steps = _operations(side, inside), _steps(side, inside)
    found = next((name for name, words in _KINDS if words & made), "")
    if found or len(steps) != 1:
        return found
    if steps[0].operation in ("mul", "div"):
        return "scale"
    if steps[0].operation not in _SUMS:
        return ""
    # What is added is a parameter or a number, or else another value of the program.
    others = [place for place in steps[0].made_of if place not in inside]
    is_bias = len(steps[0].made_of) < 2 or any(source(side, place).kind == "parameter" for place in others)
    return "bias" if is_bias else "skip connection"


def _article(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}, " if kind else ""


def _named(made: Sequence[Value]) -> str:
    told = dict.fromkeys(f"{value.operation!r}" + (f" at {value.line}" if value.line else "") for value in made)
    words = list(told)
    return ", ".join(words[:3]) + (f" and {len(words) - 3} more" if len(words) > 3 else "")


def _coarser(parting: Parting, seen: ClosestView) -> Cause | None:
    """Inside of the stretch one side computes in a coarser type than the other does."""
    found = []
    for side, inside in parting.sides:
        made = [side.values[place] for place in sorted(inside) if is_floating(side.values[place].array)]
        found.append(max(made, key=lambda value: unit(value.array), default=None))
    mine, yours = found
    if yours is None or unit(yours.array) <= (unit(mine.array) if mine is not None else 0.0):
        return None
    # More than its rounding makes has another cause.
    if seen.error > _ROUNDINGS * unit(yours.array) or (mine is None and unit(yours.array) <= 2.0**-52):
        return None
    where = f" at {yours.line}" if yours.line else ""
    return Cause("dropped dtype", f"the port computes in {yours.array.dtype.name}{where}, the reference does not")


def _axes(parting: Parting, place: int) -> tuple[int, ...]:
    """For each axis of a value of the reference's that of the port's value; nothing where it is not found."""
    array, values = parting.ours.values[place].array, parting.theirs.values
    taken = dict.fromkeys(each for inside in sorted(parting.yours) for each in values[inside].made_of)
    sized = (values[each].array for each in taken if each not in parting.yours)
    seen = (closest_view(array, each, parting.limit) for each in sized if each.size == array.size)
    return next((each.axes for each in seen if each is not None and each.error <= parting.limit), ())


def _gap(parting: Parting, seen: ClosestView) -> Gap:
    values = parting.ours.values
    known = [
        Known(
            f"{values[place].operation!r} at {values[place].line}",
            wide(values[place].array),
            partial(_axes, parting, place),
        )
        for place in parting.before
        if is_floating(values[place].array) and parting.ours.marks[place] is not None
    ]
    weights: Mapping[str, np.ndarray] = {value.operation: value.array for value in values if value.kind == "parameter"}
    around = (*parting.mine, *parting.before)
    masks = [values[place].array for place in around if set(np.unique(values[place].array)[:3].tolist()) == {0, 1}]
    known = known[:_MOST_KNOWN]
    return Gap(tuple(known), seen.exact, seen.aligned, parting.limit, None, weights, tuple(masks), axes=seen.axes)
