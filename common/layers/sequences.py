"""Layers that hold nothing and read sequences (batch, time, ...): attention, and what tells it of positions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import SpecError
from ..spec import UNKNOWN, Features, Layer, positive
from .checks import axes, check_number, fits, length, shown


@dataclass(frozen=True, repr=False)
class Positions(Layer):
    """0, 1, ..., T-1, of shape (1, T), for an input of shape (batch, T, ...)."""

    def out(self, features: Features, path: str) -> Features:
        return (length(features, self, path),)


@dataclass(frozen=True, repr=False)
class Prefix(Layer):
    """The first T positions of axis 1 of a first input (batch, P, ...), where T is the length of axis 1 of a second.

    A table with a row for every position, cut to the sequence; T must not exceed P.
    """

    inputs: ClassVar[tuple[int, int]] = (2, 2)

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features:
        most, found = (length(features, self, path) for features in inputs)
        if most is not None and found is not None and found > most:
            raise SpecError(path, f"a sequence of at most {most} positions", f"{found} of them")
        return UNKNOWN if inputs[0][0] is Ellipsis else (found, *inputs[0][1:])


@dataclass(frozen=True, repr=False)
class AttentionWeights(Layer):
    """Which position attends to which: softmax(scale q k^T + bias), of shape (batch, heads, T, S).

    Inputs: q (batch, T, heads * D), k (batch, S, kv_heads * D), and optionally mask and bias. The last axis of q and k
    holds the heads one behind the other. mask is boolean or 0/1: 1 or True = attend; (batch, S) for all queries alike,
    or (batch, T, S). bias (batch or 1, heads, T, S) is added to the scores.

    A score that is masked has the lowest finite number of its dtype added, as in transformers, which leaves that
    number: a query that may attend to nothing attends to all positions alike. (The GPT-2 of transformers lowers twice
    what is both masked and to come, so that there such a query attends to what is not to come.)

    kv_heads: grouped-query attention: each head of k serves heads / kv_heads successive heads of q; `heads` if None.
    scale: 1/sqrt(D) if None.
    causal: whether query t attends to no position behind t + S - T (the queries are the last of the S).
    """

    inputs: ClassVar[tuple[int, int]] = (2, 4)

    heads: int
    kv_heads: int | None = None
    scale: float | None = None
    causal: bool = False

    def __post_init__(self) -> None:
        _check_heads(self, self.heads, self.kv_heads)
        if self.scale is not None:
            check_number(self, "scale", math.isfinite, "as a finite number")
        if not isinstance(self.causal, bool):
            raise SpecError("", f"{self.kind}.causal as True or False", repr(self.causal))

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features:
        queries, query_width = axes(inputs[0], self, path, "time", "width")
        keys, key_width = axes(inputs[1], self, path, "time", "width")
        depths = {
            _depth(self, query_width, self.heads, "queries", path),
            _depth(self, key_width, self.kv_heads or self.heads, "keys", path),
        } - {None}
        if len(depths) > 1:
            found = f"queries of width {query_width} and keys of width {key_width}"
            raise SpecError(path, "heads of one width in queries and keys", found)
        shape = (self.heads, queries, keys)
        for name, given, expected in self._optional(inputs, shape):
            if not fits(given, expected):
                raise SpecError(path, f"a {name} that fits scores {shown(shape)}", shown(given))
        return shape

    def _optional(self, inputs: tuple[Features, ...], shape: Features) -> list[tuple[str, Features, Features]]:
        """The mask and the bias, as far as they are given, each with the shape that it should have."""
        names = ("mask", "bias")
        masks = shape[-1:] if len(inputs) > 2 and len(inputs[2]) == 1 else shape[-2:]
        return list(zip(names, inputs[2:4], (masks, shape), strict=False))


@dataclass(frozen=True, repr=False)
class WeightedValues(Layer):
    """What attention gives for its weights: for each position the sum of the values, by the weights of each head.

    Inputs: weights (batch, heads, T, S), v (batch, S, kv_heads * D). Output: (batch, T, heads * D).
    """

    inputs: ClassVar[tuple[int, int]] = (2, 2)

    heads: int
    kv_heads: int | None = None

    def __post_init__(self) -> None:
        _check_heads(self, self.heads, self.kv_heads)

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features:
        heads, queries, keys = axes(inputs[0], self, path, "heads", "time", "time")
        positions, value_width = axes(inputs[1], self, path, "time", "width")
        if not fits((heads, keys), (self.heads, positions)):
            shapes = f"{shown(inputs[0])} for values {shown(inputs[1])}"
            raise SpecError(path, f"weights of {self.heads} heads, one for each position", shapes)
        depth = _depth(self, value_width, self.kv_heads or self.heads, "values", path)
        return (queries, None if depth is None else depth * self.heads)


@dataclass(frozen=True, repr=False)
class Attention(Layer):
    """WeightedValues of AttentionWeights, in one: inputs q, k, v, and optionally mask and bias. See there."""

    inputs: ClassVar[tuple[int, int]] = (3, 5)

    heads: int
    kv_heads: int | None = None
    scale: float | None = None
    causal: bool = False

    def __post_init__(self) -> None:
        AttentionWeights.__post_init__(self)  # type: ignore[arg-type]

    @property
    def weights(self) -> AttentionWeights:
        """Its first half, which gives the weights."""
        return AttentionWeights(self.heads, self.kv_heads, self.scale, self.causal)

    @property
    def values(self) -> WeightedValues:
        """Its second half, which uses them."""
        return WeightedValues(self.heads, self.kv_heads)

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features:
        query, key, value, *optional = inputs
        weights = self.weights.outs((query, key, *optional), path)
        return self.values.outs((weights, value), path)


@dataclass(frozen=True, repr=False)
class RotaryAngles(Layer):
    """The angles t f_i of rotary position embeddings, (1, T, D/2), for an x (batch, T, ...) and D/2 frequencies f.

    Su et al. 2021, "RoFormer"; with f_i = theta^(-2i/D) as a buffer.
    """

    inputs: ClassVar[tuple[int, int]] = (2, 2)

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features:
        (count,) = axes(inputs[1], self, path, "frequencies")
        return (length(inputs[0], self, path), count)


@dataclass(frozen=True, repr=False)
class Rotary(Layer):
    """Each head of x (batch, T, heads * D) turned by angles (1, T, D/2), in the rotate-half form of Llama.

    The pair (u, v) = (x_i, x_{i + D/2}) of a head becomes (u cos a_i - v sin a_i, v cos a_i + u sin a_i).
    """

    inputs: ClassVar[tuple[int, int]] = (2, 2)

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features:
        time, found = axes(inputs[0], self, path, "time", "width")
        turned, half = axes(inputs[1], self, path, "time", "angles")
        if not fits((time,), (turned,)):
            raise SpecError(path, f"angles for {time} positions", f"for {turned}")
        if found is not None and half is not None and found % (2 * half):
            raise SpecError(path, f"an input of a width that heads of {2 * half} divide", f"width {found}")
        return inputs[0]


@dataclass(frozen=True, repr=False)
class RelativeBuckets(Layer):
    """T5's bucket of the distance from each query to each key: (1, T, S) for x (batch, T, ...) and y (batch, S, ...).

    Half of the buckets are for keys behind the query if `bidirectional`; else those are all in bucket 0. Of what is
    left, half are single distances from 0 on, and half are ranges that widen by a constant factor up to `max_distance`,
    the last without an end (Raffel et al. 2020; `_relative_position_bucket` in transformers).
    """

    inputs: ClassVar[tuple[int, int]] = (2, 2)

    bidirectional: bool = True
    buckets: int = 32
    max_distance: int = 128

    def __post_init__(self) -> None:
        positive(self, buckets=self.buckets, max_distance=self.max_distance)
        if not isinstance(self.bidirectional, bool):
            raise SpecError("", "RelativeBuckets.bidirectional as True or False", repr(self.bidirectional))
        least = 4 if self.bidirectional else 2
        if self.buckets < least or self.buckets % least:
            raise SpecError("", f"RelativeBuckets.buckets as a multiple of {least}", repr(self.buckets))
        if self.max_distance <= self._single:
            raise SpecError("", f"RelativeBuckets.max_distance above {self._single}", repr(self.max_distance))

    @property
    def _each_way(self) -> int:
        """How many buckets there are on one side of the query."""
        return self.buckets // 2 if self.bidirectional else self.buckets

    @property
    def _single(self) -> int:
        """How many distances have a bucket of their own."""
        return self._each_way // 2

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features:
        queries, keys = (length(features, self, path) for features in inputs)
        return (queries, keys)

    def table(self, queries: int, keys: int) -> np.ndarray[Any, Any]:
        """The buckets (1, queries, keys), int32. Only lengths enter, so that it is a constant of the program."""
        distances = np.arange(keys) - np.arange(queries)[:, None]
        of = np.array([self.bucket(distance) for distance in range(1 - queries, keys)], np.int32)
        return of[distances + queries - 1][None]

    def bucket(self, distance: int) -> int:
        """The bucket of a key that is `distance` positions behind its query, or before it if below 0."""
        first = self._each_way if self.bidirectional and distance > 0 else 0
        size = abs(distance) if self.bidirectional else max(-distance, 0)
        return first + (size if size < self._single else self._range(size))

    def _range(self, size: int) -> int:
        """single + floor(log(size / single) / log(max_distance / single) * ranges), at most the last bucket.

        In whole numbers, since a logarithm in float32 need not give the same at a border in two libraries.
        """
        single, ranges = self._single, self._each_way - self._single
        bucket = 0
        while bucket < ranges - 1:
            border = bucket + 1
            if size**ranges * single**border < self.max_distance**border * single**ranges:
                break
            bucket = border
        return single + bucket


def _check_heads(layer: Layer, heads: int, kv_heads: int | None) -> None:
    positive(layer, heads=heads)
    if kv_heads is None:
        return
    positive(layer, kv_heads=kv_heads)
    if heads % kv_heads:
        raise SpecError("", f"{layer.kind}.heads as a multiple of kv_heads, {kv_heads}", repr(heads))


def _depth(layer: Layer, found: int | None, heads: int, what: str, path: str) -> int | None:
    """The width of one head; raises SpecError if they do not divide the width."""
    if found is None:
        return None
    if found % heads:
        raise SpecError(path, f"{what} of a width that {heads} heads divide", f"width {found}")
    return found // heads
