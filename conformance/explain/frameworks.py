"""What the frameworks themselves differ in, of layers that are their own: how they are drawn, and a variance's bias.

Such a difference is no fault of a port, and still one to be declared. It is recognized by what is measured alone: both
sides' draws are of the law that their own framework has for the layer by default, or a running variance is the other
one's times (n - 1) / n, n being how many values the layer is given of each channel.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from ...common import paths
from ...common.initializers import (
    FLAX_EMBEDDING,
    FLAX_KERNEL,
    TORCH_EMBEDDING,
    TORCH_WEIGHT,
    Initializer,
    Uniform,
    Zeros,
)
from ...common.wing import PairError
from ...pairs.closeness import relative_error
from ...pairs.comparison import Bound
from ...pairs.maps import MapRow
from ...pairs.precision import Setting
from ...pairs.side import Holder, Side, Weights
from ..statistics import examine, judge

# The key in a finding's details under which such a difference is told in words.
FRAMEWORK = "framework"
_DRAWN = ("Linear", "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d")
_DRAWN_BY_FLAX = ("Linear", "Dense", "Conv", "ConvTranspose")
_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "SyncBatchNorm")
_FLAX = ("linen", "nnx")
# How exactly the steps of a running statistic must be what is said of them.
_TOLD = 1e-3
_OFF, _LEFT = 0.02, 2.0**-20


class _Default(NamedTuple):
    """What a layer is drawn from if nothing else is asked for, of the shape (out, ...)."""

    initializer: Initializer
    words: str


def default_draws(bound: Bound, row: MapRow, ours: np.ndarray, theirs: np.ndarray, device: str) -> str:
    """In words, that each side draws a tensor as its framework does by default; empty if that is not so.

    ours, theirs: (draws, *native shape), of the two sides.
    """
    sides = {bound.reference.wing.NAME: (bound.reference, row.reference, ours)}
    sides[bound.port.wing.NAME] = (bound.port, row.port, theirs)
    flax = next((sides[name] for name in _FLAX if name in sides), None)
    if not row.is_whole or "torch" not in sides or flax is None:
        return ""
    told = []
    for name, (side, path, draws), is_flax in (("PyTorch", sides["torch"], False), ("Flax", flax, True)):
        holder = _holder(bound, side, path, device)
        leaf = paths.split(path)[-1]
        default = _default(side, path, holder.name, leaf, is_flax) if holder else None
        canonical = np.moveaxis(draws, -1, 1) if is_flax and leaf == "kernel" else draws
        if holder is None or default is None or not _is_drawn_from(canonical, default.initializer):
            return ""
        told.append(f"{name} draws the {leaf} of its {holder.name} {default.words}")
    return " and ".join(told)


def _default(side: Side, path: str, layer: str, leaf: str, is_flax: bool) -> _Default | None:
    if is_flax:
        found = {
            "kernel": _Default(FLAX_KERNEL, "truncated normal, std 1/sqrt(fan_in)"),
            "bias": _Default(Zeros(), "zero"),
        }
        if (layer, leaf) == ("Embed", "embedding"):
            return _Default(FLAX_EMBEDDING, "normal, std 1/sqrt(features)")
        return found.get(leaf) if layer in _DRAWN_BY_FLAX else None
    if (layer, leaf) == ("Embedding", "weight"):
        return _Default(TORCH_EMBEDDING, "normal, std 1")
    weight = paths.join(*paths.split(path)[:-1], "weight")
    if layer not in _DRAWN or leaf not in ("weight", "bias") or weight not in side.stored_tensors:
        return None
    bound = 1 / math.sqrt(math.prod(side.stored_tensors[weight].array.shape[1:]))
    return _Default(TORCH_WEIGHT if leaf == "weight" else Uniform(-bound, bound), "uniform +-1/sqrt(fan_in)")


def _is_drawn_from(draws: np.ndarray, initializer: Initializer) -> bool:
    verdicts = judge(examine(draws, initializer, draws.shape[1:]))
    return bool(verdicts) and all(verdict.passed for verdict in verdicts)


def _holder(bound: Bound, side: Side, path: str, device: str) -> Holder | None:
    """The module that holds a tensor; None where it is not seen."""
    weights: Weights = bound.ours if side.role == "reference" else bound.theirs
    try:
        return side.holders(weights, Setting(device)).get(path)
    except PairError:
        # What cannot be watched is no layer that is known.
        return None


def biased_variance(
    bound: Bound, row: MapRow, before: np.ndarray, ours: np.ndarray, theirs: np.ndarray, device: str
) -> str:
    """In words, that a running variance is biased on Flax's side and not on PyTorch's; empty if that is not so.

    before: the statistic. ours, theirs: how far each side has moved it, in the port's layout.
    """
    factor = statistic_factor(before, ours, theirs)
    wings = bound.reference.wing.NAME, bound.port.wing.NAME
    if factor is None or "torch" not in wings or not set(wings) & set(_FLAX):
        return ""
    # As much as the biased one is of the other.
    share = factor if wings[0] == "torch" else 1 / factor
    holders = [
        _holder(bound, side, path, device) for side, path in ((bound.reference, row.reference), (bound.port, row.port))
    ]
    if share >= 1 or any(holder is None for holder in holders):
        return ""
    named = {wing: holder for wing, holder in zip(wings, holders, strict=True) if holder is not None}
    torch, flax = named["torch"], next(named[name] for name in _FLAX if name in named)
    count = torch.given // before.size
    if torch.name not in _NORMS or flax.name != "BatchNorm" or count < 2:
        return ""
    # It is one part in n, and as much of it must be seen as what is left of rounding lets be seen.
    if abs(share * count / (count - 1) - 1) > _OFF / count + _LEFT:
        return ""
    return "Flax's running variance is the biased one, (n - 1) / n of PyTorch's"


def statistic_factor(before: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> float | None:
    """How many times the reference's statistic of the batch the port's is, at one momentum; None if that is not so.

    From b a statistic goes the way m (s - b). With k s in the place of s that is k times the reference's, and
    m (k - 1) b besides: two unknowns, and an equation for each channel. Several steps are as one of a larger m.
    """
    if before.size < 4:
        return None
    columns = np.stack([ours.ravel(), before.ravel()], 1)
    (factor, rest), *_ = np.linalg.lstsq(columns, theirs.ravel(), rcond=None)
    fits = relative_error(columns @ np.array([factor, rest]), theirs.ravel()) <= _TOLD
    return float(factor) if fits and factor > 0 and 0 < rest / (factor - 1) <= 1 else None
