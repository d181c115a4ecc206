"""The masks of dropout of a sharded port: no device draws that of another one, and what all hold is dropped alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np

from ...common.errors import NotExpressibleError
from ...pairs.closeness import relative_error
from ...pairs.side import Side
from ..results import Finding
from .spread import Both, named, over_all

Arrays = Mapping[str, np.ndarray]

# Masks that are looked at, of which two that are one in all are one by no chance.
_MASKS = 8


def masks(both: Both) -> Iterator[Finding]:
    """Where dropout draws masks, no device draws that of another one.

    All rows of the batch are given the same, so that only masks can tell them apart.
    """
    if not _drops(both):
        return
    inputs = both.alone.inputs
    same = {name: _repeated(array) for name, array in named(inputs).items()}
    other = same if isinstance(inputs, Mapping) else tuple(same.values())
    alone, spread = both.alone.given_others(other), both.spread.given_others(other)
    plain = alone.passed(both.weights, both.setting, training=True).outputs
    with over_all():
        masked = [_masked(side, both) for side in (alone, spread)]
    for name, array in plain.items():
        yield from _of_masks(both, name, array, *([each[name] for each in of] for of in masked))


def _masked(side: Side, both: Both) -> list[Arrays]:
    """The outputs with several masks."""
    seeds = range(_MASKS)
    passes = (side.passed(both.weights, both.setting, training=True, dropout=True, seed=seed) for seed in seeds)
    return [each.outputs for each in passes]


def _drops(both: Both) -> bool:
    """Whether either draws masks in training mode."""
    try:
        for side in (both.alone, both.spread):
            plain, masked = (
                side.passed(both.weights, both.setting, training=True, dropout=each).outputs for each in (False, True)
            )
            if any(relative_error(masked[name], array) > both.limit for name, array in plain.items()):
                return True
    except NotExpressibleError:
        # Said of the pass in training mode.
        pass
    return False


def _of_masks(
    both: Both, name: str, plain: np.ndarray, alone: list[np.ndarray], spread: list[np.ndarray]
) -> Iterator[Finding]:
    limit, label = both.limit, f"the output{f' {name!r}' if name else ''}"
    is_random = [any(relative_error(each, plain) > limit for each in found) for found in (alone, spread)]
    if is_random[0] != is_random[1]:
        where = "on one device, and not sharded" if is_random[0] else "sharded, and not on one device"
        words = f"in training mode dropout changes {label} {where}"
        yield Finding("", False, 1, 0, words, cause="dropout")
        return
    if not is_random[0]:
        return
    apart = max(both.plan.difference(each) for each in spread)
    if apart > limit:
        words = (
            f"with dropout {label} is not one: devices that are to hold the same differ by {apart:.2g} of its norm, so "
            "that they drew other masks. What all of them hold is to be dropped by one key"
        )
        yield Finding("", False, apart, limit, words, cause="dropout key")
        return
    if all(relative_error(one, two) <= limit for one, two in zip(spread, alone, strict=True)):
        yield Finding("", True, 0, limit, f"the masks of {label} are those of one device")
        return
    twins = [pair for pair in _twins(spread, limit) if pair not in _twins(alone, limit)]
    if twins:
        first, second = twins[0]
        words = (
            f"with dropout, rows {first} and {second} of {label}, which are given the same, come out the same with "
            f"every mask, and not on one device. {len(twins)} pairs of rows have one mask, since the key is the same "
            "on all shards. Fold the shard's number into the key (jax.lax.axis_index of the mesh's axis); in PyTorch "
            "seed each process by its rank in port_sharding, as its training does"
        )
        yield Finding("", False, len(twins), 0, words, cause="dropout key")
        return
    yield Finding("", True, 0, 0, f"the masks of {label} are other ones than on one device, and no two rows have one")


def _twins(found: list[np.ndarray], limit: float) -> list[tuple[int, int]]:
    """The pairs of rows that are alike in every one of some arrays."""
    rows = len(found[0]) if found[0].ndim else 0
    return [
        (one, two)
        for one, two in combinations(range(min(rows, 64)), 2)
        if all(relative_error(each[one], each[two]) <= limit for each in found)
    ]


def _repeated(array: np.ndarray) -> np.ndarray:
    return np.repeat(array[:1], len(array), axis=0) if array.ndim else array
