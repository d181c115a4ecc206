"""The contract of the values that live models hold: the port's are what the map makes of the reference's."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...common.errors import ParitreeError
from ...pairs.closeness import relative_error
from ...pairs.comparison import Bound
from ..explain import Told, tell
from ..results import Finding

# As equal as a carried value is: one rounding, where a sum or a transform makes it.
_LIMIT = 4 * float(np.finfo(np.float32).eps)


def values(bound: Bound) -> Iterator[Finding]:
    """Both sides hold one set of weights, if they hold one at all: a port that was given the reference's.

    Two models that were each initialized by itself are no such pair, and neither are two factories. They are told from
    a faulty conversion by the share of random tensors that agree: more than half of them.
    """
    if bound.reference.factory or bound.port.factory:
        yield Finding("", None, None, None, "a side is a factory, which draws values of its own")
        return
    try:
        expected = bound.carried({path: native.array for path, native in bound.reference.tensors.items()})
    except ParitreeError as error_:
        yield Finding("", None, None, None, f"the weights cannot be carried: {error_}")
        return
    found = {path: bound.port.natives[path].array for path in expected}
    apart = {
        path: relative_error(found[path].astype(np.float64), expected[path].astype(np.float64)) for path in expected
    }
    telling = [path for path in expected if np.ptp(expected[path]) > 0 or np.ptp(found[path]) > 0]
    equal = sum(apart[path] <= _LIMIT for path in telling)
    if telling and 2 * equal <= len(telling):
        words = f"the sides hold values of their own: {equal} of {len(telling)} tensors that are no constants agree"
        yield Finding("", None, None, None, words)
        return
    for path, size in apart.items():
        row = bound.map.by_port[path][0]
        ok = bool(size <= _LIMIT)
        told = None if ok else _told(found[path], expected[path], _others(expected, path))
        words = f"{path}: what the port holds {told.words}" if told else ""
        module = bound.modules(row) if told else ""
        cause = told.cause if told else ""
        yield Finding(row.reference, ok, size, _LIMIT, words, path, "one rounding", cause, module)


# So many standard deviations of a correlation of what has nothing to do with each other.
_UNRELATED = 5.0
_LEAST_VALUES = 16


def _told(found: np.ndarray, expected: np.ndarray, others: dict[str, np.ndarray]) -> Told:
    """What the array is; of one that is nothing known, whether it has anything of what it should be."""
    told = tell(found, expected, _LIMIT, others)
    if told.cause not in ("", "zero", "shift") or found.shape != expected.shape or found.size < 2:
        return told
    value = float(found.flat[0])
    if (found == found.flat[0]).all():
        return Told("not carried", f"is {value:g} everywhere, as it was initialized")
    if told.cause or found.size < _LEAST_VALUES or np.ptp(expected) == 0:
        return told
    one, other = (array.astype(np.float64).ravel() - array.astype(np.float64).mean() for array in (found, expected))
    correlation = float(np.vdot(one, other)) / float(np.linalg.norm(one) * np.linalg.norm(other))
    if abs(correlation) * found.size**0.5 > _UNRELATED:
        return told
    words = f"has nothing of what it should be (their correlation is {correlation:.2g}), as what was initialized"
    return Told("not carried", words)


def _others(arrays: dict[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    return {other: array for other, array in arrays.items() if other != path}
