"""Sums: tensors of one side that its program only ever adds to one another, as PyTorch's LSTM does with two biases.

Where the other side has their sum alone, one of them stands for it at the symmetric point and the others are zero.
They are found by measuring: at values of their own, the gradients of both are the same numbers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from ...pairs.closeness import is_zero_gradient, largest_gradient
from ...pairs.side import Side
from ...pairs.values import distinct


class Addend(NamedTuple):
    """A tensor that is added to a `partner` of its shape, in the entries of the `mask`."""

    partner: str
    mask: np.ndarray


AdditiveParameters = Mapping[str, Addend]
# A gate of four is the least that two tensors share.
LEAST_SHARE = 0.25


def additive_parameters(side: Side, limit: float) -> AdditiveParameters:
    """The tensors of a module that have a sibling of their shape with the same gradient, in all or most entries."""
    values = {path: distinct(path, side.tensors[path].array, False) for path in side.tensors if side.is_free(path)}
    gradients = side.probe(values).gradients
    largest = largest_gradient(gradients)
    found: dict[str, Addend] = {}
    modules: dict[tuple[str, tuple[int, ...]], list[str]] = {}
    for path in values:
        if path in gradients and not is_zero_gradient(gradients[path], largest, limit):
            modules.setdefault((side.module(path), side.shape(path)), []).append(path)
    for members in modules.values():
        if len(members) <= 16:
            for place, path in enumerate(members):
                for other in members[:place]:
                    if path not in found and other not in found:
                        mask, share = _shared(gradients[path], gradients[other], limit)
                        if share >= LEAST_SHARE:
                            found[path] = Addend(other, mask)
    return found


def _shared(one: np.ndarray, other: np.ndarray, limit: float) -> tuple[np.ndarray, float]:
    """The entries in which two gradients are equal but for rounding, and the share of those that are not zero too."""
    size = np.abs(one).max()
    equal = np.abs(one - other) <= limit * size
    return equal, float((equal & (np.abs(one) > limit * size)).mean())
