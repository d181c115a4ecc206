"""PyTorch's tensors as the integers of portable draws, for devices that NumPy does not reach."""

from __future__ import annotations

import math
from functools import cache

import torch

from ..common.draws import Key, Quantiles, Recipe, quantiles, values, words

# So many values are made at a time, for the memory that their steps take.
_BLOCK = 2**24


class _Torch:
    """Tensors of int32, whose sums wrap around and whose shifts keep the sign."""

    def rotate(self, x: torch.Tensor, places: int) -> torch.Tensor:
        return (x << places) | ((x >> (32 - places)) & (2**places - 1))

    def portion(self, x: torch.Tensor, count: int) -> torch.Tensor:
        # The product wraps around, which leaves its upper half's bits right.
        return (((x.to(torch.int64) & 0xFFFFFFFF) * count) >> 32).to(torch.int32)

    def as_float(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(torch.float32)

    def as_int(self, x: torch.Tensor) -> torch.Tensor:
        return x.to(torch.int32)

    def bits(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(torch.int32)

    def with_bits(self, x: torch.Tensor) -> torch.Tensor:
        return x.view(torch.float32)

    def lines(self, segment: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        table = _quantiles(segment.device)
        return table.middle[segment], table.slope[segment]

    def clipped(self, x: torch.Tensor, low: float, high: float) -> torch.Tensor:
        return x.clamp(low, high)

    def masked(self, x: torch.Tensor, below: float) -> torch.Tensor:
        return x.masked_fill(x.abs() < below, 0.0)


TORCH = _Torch()


@cache
def _quantiles(device: torch.device) -> Quantiles:
    return Quantiles(*(torch.from_numpy(each).to(device) for each in quantiles()))


@torch.no_grad()
def entries(recipe: Recipe, key: Key, shape: tuple[int, ...], device: torch.device) -> torch.Tensor:
    """The values of a canonical parameter of `shape`, float32, made on the device block by block."""
    count = math.prod(shape)
    out = torch.empty(count, dtype=torch.float32, device=device)
    for start in range(0, count, _BLOCK):
        stop = min(start + _BLOCK, count)
        counters = torch.arange(start // 2, (stop + 1) // 2, device=device).to(torch.int32)
        pairs = torch.stack(words(key, counters, torch.zeros_like(counters), TORCH.rotate), dim=-1)
        out[start:stop] = values(TORCH, recipe.form, recipe.numbers, pairs.view(-1)[: stop - start])
    found = out.view(shape)
    if recipe.row is not None:
        found[recipe.row] = 0.0
    return found
