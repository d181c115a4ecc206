"""The contracts of stored tensors: the values that a port was given, and what comes back when a side is saved."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...common.errors import ParitreeError
from ...common.wing import StoredTensor, reported
from ...pairs.closeness import relative_error
from ...pairs.comparison import Bound
from ...pairs.side import Side
from ..explain import Diagnosis, diagnosis_of
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
    absent = [path for path in expected if path not in bound.port.stored_tensors]
    if absent:
        words = f"{absent[0]}: the map has it and the port has no tensor of its own there, whose values could be told"
        yield Finding("", None, None, None, words)
        return
    found = {path: bound.port.stored_tensors[path].array for path in expected}
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
        diagnosis = None if ok else _told(found[path], expected[path], _others(expected, path))
        words = f"{path}: what the port holds {diagnosis.words}" if diagnosis else ""
        module = bound.modules(row) if diagnosis else ""
        cause = diagnosis.cause if diagnosis else ""
        yield Finding(row.reference, ok, size, _LIMIT, words, path, "one rounding", cause, module)


# So many standard deviations of a correlation of what has nothing to do with each other.
_UNRELATED = 5.0
_LEAST_VALUES = 16


def _told(found: np.ndarray, expected: np.ndarray, others: dict[str, np.ndarray]) -> Diagnosis:
    """What the array is; of one that is nothing known, whether it has anything of what it should be."""
    diagnosis = diagnosis_of(found, expected, _LIMIT, others)
    if diagnosis.cause not in ("", "zero", "shift") or found.shape != expected.shape or found.size < 2:
        return diagnosis
    value = float(found.flat[0])
    if (found == found.flat[0]).all():
        return Diagnosis("not carried", f"is {value:g} everywhere, as it was initialized")
    if diagnosis.cause or found.size < _LEAST_VALUES or np.ptp(expected) == 0:
        return diagnosis
    one, other = (array.astype(np.float64).ravel() - array.astype(np.float64).mean() for array in (found, expected))
    correlation = float(np.vdot(one, other)) / float(np.linalg.norm(one) * np.linalg.norm(other))
    if abs(correlation) * found.size**0.5 > _UNRELATED:
        return diagnosis
    words = f"has nothing of what it should be (their correlation is {correlation:.2g}), as what was initialized"
    return Diagnosis("not carried", words)


def _others(arrays: dict[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    return {other: array for other, array in arrays.items() if other != path}


_NATURE = "nothing lost, bit for bit, every tie kept"


def round_trips(bound: Bound) -> Iterator[Finding]:
    """Nothing is lost, values come back bit for bit in their dtypes, and ties are kept.

    What the reference saves the port saves too. The other way something may be missing: a constant that the reference
    makes where the port stores it.
    """
    yield from _unsaved(bound)
    for side in (bound.reference, bound.port):
        trips = side.wing.round_trips(side.model)
        while True:
            try:
                with reported(side.role, "a model that can be saved and loaded"):
                    trip = next(trips, None)
            except ParitreeError as error:
                yield Finding("", False, None, 0, f"{side.role}: {error}", policy=_NATURE, cause="cannot be saved")
                break
            if trip is None:
                break
            faults = list(_lost(side, trip.stored_tensors))
            for path, cause, words in faults:
                own, other = bound.partners(side, path)
                message = f"{path}: after {trip.way} of the {side.role} {words}"
                yield Finding(own, False, len(faults), 0, message, other, _NATURE, cause)
            if not faults:
                yield Finding("", True, 0, 0, f"{side.role}: {trip.way}", policy=_NATURE)


def _unsaved(bound: Bound) -> Iterator[Finding]:
    for row in bound.map.rows:
        ours, theirs = bound.reference.stored_tensors.get(row.reference), bound.port.stored_tensors.get(row.port)
        if ours is not None and theirs is not None and ours.saved and not theirs.saved:
            words = f"{row.port}: the port does not save it, and the reference saves its {row.reference}"
            yield Finding(row.reference, False, 1, 0, words, row.port, _NATURE, "not saved", bound.modules(row))


def _lost(side: Side, after: dict[str, StoredTensor]) -> Iterator[tuple[str, str, str]]:
    owners = {path: native for native in after.values() for path in (native.path, *native.aliases)}
    for path, before in side.stored_tensors.items():
        if path not in owners:
            yield path, "missing parameter", "it is missing"
            continue
        found = owners[path]
        if found.array.dtype != before.array.dtype:
            yield path, "dropped dtype", f"it is {found.array.dtype.name}, expected {before.array.dtype.name}"
        elif found.array.shape != before.array.shape:
            yield path, "shape", f"it has shape {found.array.shape}, expected {before.array.shape}"
        elif not np.array_equal(_bits(found.array), _bits(before.array)):
            diagnosis = diagnosis_of(found.array, before.array, 0.0) if before.is_floating else Diagnosis("", "")
            cause = diagnosis.cause if diagnosis.cause == "dropped dtype" else "values lost"
            yield path, cause, f"it {diagnosis.words}" if diagnosis.cause else "it holds other values"
        lost = [alias for alias in before.aliases if owners.get(alias) is not found]
        if lost:
            yield path, "lost tie", f"{', '.join(lost)} is not tied to it any more"


def _bits(array: np.ndarray) -> np.ndarray:
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
