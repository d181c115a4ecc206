"""Layers that hold nothing and rearrange or combine arrays, or read sequences.

The layer of the same name in `common.layers` tells its inputs and its output with all axes, and where it is from.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

from ...common import layers as spec
from ...common.errors import ShapeError
from ...common.layers import Word
from .at import Makers


class Halve(nn.Module):
    """Halves its input while the sum of its magnitudes is above the limit."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        while x.abs().sum() > self.limit:
            x = x / 2
        return x


class Sum(nn.Module):
    """The sum of all entries, as a scalar."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.sum()


class Split(nn.Module):
    """Equal parts of the last axis."""

    def __init__(self, parts: int) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # `chunk` would give parts of unequal width where they do not divide it.
        return x.unflatten(-1, (self.parts, -1)).unbind(-2)


class Concatenate(nn.Module):
    """Arrays one behind the other along an axis, a batch of 1 stretched to the others'."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def forward(self, *arrays: torch.Tensor) -> torch.Tensor:
        batch = max(array.shape[0] for array in arrays)
        stretched = [array.expand(batch, *array.shape[1:]) for array in arrays]
        return torch.cat(stretched, self.axis)


class Take(nn.Module):
    """One place of an axis."""

    def __init__(self, index: int, axis: int) -> None:
        super().__init__()
        self.index = index
        self.axis = axis

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.select(self.axis, self.index)


class Rearrange(nn.Module):
    """Axes moved, merged and split."""

    def __init__(self, layer: spec.Rearrange) -> None:
        super().__init__()
        self.layout = layer.layout

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layout.to_native(x)


class Positions(nn.Module):
    """0, 1, ..., T-1, of shape (1, T), for x (batch, T, ...)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.arange(x.shape[1], device=x.device)[None]


class Prefix(nn.Module):
    """The first T places of a table (batch, P, ...), for x (batch, T, ...).

    Raises:
        ShapeError: T is above P.
    """

    def forward(self, table: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if x.shape[1] > table.shape[1]:
            raise ShapeError("", f"a sequence of at most {table.shape[1]} positions", f"{x.shape[1]} of them")
        return table[:, : x.shape[1]]


class AttentionWeights(nn.Module):
    """softmax(scale q k^T + bias), (batch, heads, T, S), with what is masked out lowered to the least number."""

    def __init__(self, layer: spec.AttentionWeights) -> None:
        super().__init__()
        self.layer = layer

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        mask: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        layer = self.layer
        queries, keys = _heads(query, layer.heads), _heads(key, layer.kv_heads or layer.heads)
        scale = queries.shape[-1] ** -0.5 if layer.scale is None else layer.scale
        scores = queries @ _repeated(keys, layer.heads).mT * scale
        if bias is not None:
            scores = scores + bias
        allowed = _allowed(scores, mask, layer.causal)
        if allowed is not None:
            lowest = torch.finfo(scores.dtype).min
            scores = scores + torch.zeros_like(scores).masked_fill(~allowed, lowest)
        return F.softmax(scores, -1)


class WeightedValues(nn.Module):
    """The sums of the values by the weights, (batch, T, heads * D), the heads one behind the other."""

    def __init__(self, layer: spec.WeightedValues) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, weights: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        values = _heads(value, self.layer.kv_heads or self.layer.heads)
        return (weights @ _repeated(values, self.layer.heads)).transpose(1, 2).flatten(2)


class Attention(nn.Module):
    """Both in one."""

    def __init__(self, layer: spec.Attention) -> None:
        super().__init__()
        self.weights = AttentionWeights(layer.weights)
        self.values = WeightedValues(layer.values)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        mask: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        return self.values(self.weights(query, key, mask, bias), value)


def _heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(batch, time, heads * depth) as (batch, heads, time, depth)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _repeated(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(batch, kv_heads, time, depth) with each head as often as there are queries' heads for it."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], 1)


def _allowed(scores: torch.Tensor, mask: torch.Tensor | None, causal: bool) -> torch.Tensor | None:
    """Which scores count, to be stretched to their shape; None if all do."""
    queries, keys = scores.shape[-2:]
    given = None if mask is None else (mask[:, None, None] if mask.ndim == 2 else mask[:, None]) != 0
    if not causal:
        return given
    past = torch.ones(queries, keys, dtype=torch.bool, device=scores.device).tril(keys - queries)
    return past if given is None else past & given


class RotaryAngles(nn.Module):
    """Each position times each of D/2 frequencies, (1, T, D/2), for x (batch, T, ...)."""

    def forward(self, x: torch.Tensor, frequencies: torch.Tensor) -> torch.Tensor:
        places = torch.arange(x.shape[1], device=frequencies.device, dtype=frequencies.dtype)
        return (places[:, None] * frequencies)[None]


class Rotary(nn.Module):
    """x (batch, T, heads * D) with the pairs (i, i + D/2) of each head turned by their angles (1, T, D/2)."""

    def forward(self, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        pairs = x.unflatten(-1, (-1, 2, angles.shape[-1]))
        cos, sin = angles.cos()[:, :, None], angles.sin()[:, :, None]
        first, second = pairs.unbind(-2)
        turned = torch.stack((first * cos - second * sin, second * cos + first * sin), -2)
        return turned.flatten(2)


class RelativeBuckets(nn.Module):
    """The buckets of the distances between the places of two sequences, (T, S), whole numbers."""

    def __init__(self, layer: spec.RelativeBuckets) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(self.layer.table(queries.shape[1], keys.shape[1])).to(queries.device)


MAKERS: Makers = {
    spec.Flatten: lambda layer, at: nn.Flatten(),
    spec.Halve: lambda layer, at: Halve(layer.limit),
    spec.Sum: lambda layer, at: Sum(),
    spec.Split: lambda layer, at: Split(layer.parts),
    spec.Concatenate: lambda layer, at: Concatenate(layer.axis),
    spec.Take: lambda layer, at: Take(layer.index, layer.axis),
    spec.Rearrange: lambda layer, at: Rearrange(layer),
    spec.Positions: lambda layer, at: Positions(),
    spec.Prefix: lambda layer, at: Prefix(),
    spec.AttentionWeights: lambda layer, at: AttentionWeights(layer),
    spec.WeightedValues: lambda layer, at: WeightedValues(layer),
    spec.Attention: lambda layer, at: Attention(layer),
    spec.RotaryAngles: lambda layer, at: RotaryAngles(),
    spec.Rotary: lambda layer, at: Rotary(),
    spec.RelativeBuckets: lambda layer, at: RelativeBuckets(layer),
}
KINDS: dict[type, Word] = {}
