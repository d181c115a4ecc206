"""The contract of saving: what comes back when a side is saved and loaded."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...common.errors import ParitreeError
from ...common.wing import StoredTensor, reported
from ...pairs.comparison import Bound
from ...pairs.side import Side
from ...pairs.weight_norms import stored_as_it_is
from ..explain import Diagnosis, diagnosis_of
from ..results import Finding

_NATURE = "nothing lost, bit for bit, every tie kept"


def round_trips(bound: Bound) -> Iterator[Finding]:
    """Nothing is lost, values come back bit for bit in their dtypes, and ties are kept.

    What the reference saves the port saves too. The other way something may be missing: a constant that the reference
    makes where the port stores it.
    """
    yield from _unsaved(bound)
    for side in map(stored_as_it_is, (bound.reference, bound.port)):
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
