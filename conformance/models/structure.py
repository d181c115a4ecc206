"""The contracts of structure: names, shapes, ties, and weights that come back as they were given."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...common.errors import ParitreeError
from ...common.tables import Row, alike, shape_text
from ..diagnosis import explain
from ..results import Finding
from .subject import Oracle, Subject


def names(subject: Subject, oracle: Oracle) -> Iterator[Finding]:
    """Every path of the spec is a path of the model, in the same order, and no other."""
    expected, found = oracle.table.paths, subject.wing.table(subject.model).paths
    faults = [(path, "is missing from the model") for path in expected if path not in found]
    faults += [(path, "is not in the spec") for path in found if path not in expected]
    if not faults and found != expected:
        place = next(i for i, pair in enumerate(zip(expected, found, strict=True)) if pair[0] != pair[1])
        faults = [(found[place], f"stands where {expected[place]} belongs, at place {place}")]
    yield from _counted(faults)


def shapes(subject: Subject, oracle: Oracle) -> Iterator[Finding]:
    """Every path has the spec's shape (in the canonical layout), dtype and kind."""
    found = subject.wing.table(subject.model)
    yield from _counted(
        [(row.path, fault) for row in oracle.table if row.path in found for fault in _differences(row, found[row.path])]
    )


def _differences(expected: Row, found: Row) -> Iterator[str]:
    if found.shape != expected.shape:
        yield f"has shape {shape_text(found.shape)}, expected {shape_text(expected.shape)}"
    if not alike(found.dtype, expected.dtype):
        yield f"is {found.dtype}, expected {expected.dtype}"
    if found.kind != expected.kind:
        yield f"is a {found.kind}, expected a {expected.kind}"


def ties(subject: Subject, oracle: Oracle) -> Iterator[Finding]:
    """Every alias of the spec is the model's owner itself, and nothing else is tied."""
    found = {row.path: row.tie.owner if row.tie else None for row in subject.wing.table(subject.model)}
    faults = []
    for row in oracle.table:
        expected = row.tie.owner if row.tie else None
        if row.path not in found or found[row.path] == expected:
            continue
        if expected is None:
            faults.append((row.path, f"is tied to {found[row.path]}, expected a parameter of its own"))
        elif found[row.path] is None:
            faults.append((row.path, f"is a parameter of its own, expected an alias of {expected}: the tie is lost"))
        else:
            faults.append((row.path, f"is tied to {found[row.path]}, expected {expected}"))
    for tie in oracle.table.ties:
        if found.get(tie.alias) == tie.owner and not subject.wing.identical(subject.model, tie.owner, tie.alias):
            faults.append((tie.alias, f"is listed as tied to {tie.owner} but is another object"))
    yield from _counted(faults)


def weights(subject: Subject, oracle: Oracle) -> Iterator[Finding]:
    """Neutral weights that are loaded come back bit for bit, each under its own path."""
    try:
        model = subject.wing.load(subject.model, oracle.weights)
    except ParitreeError as error:
        yield Finding(error.path, False, None, 0.0, f"the weights cannot be loaded: {error}")
        return
    found = subject.wing.weights(model)
    yield from _counted(
        [
            (path, f"the array that comes back {explain(path, found[path], oracle.weights, 0.0)}")
            for path, array in oracle.weights.items()
            if path in found and not np.array_equal(found[path], array)
        ]
    )


def _counted(faults: list[tuple[str, str]]) -> Iterator[Finding]:
    """One finding a fault; none is a pass with zero faults measured."""
    if not faults:
        yield Finding("", True, 0, 0)
    for path, fault in faults:
        yield Finding(path, False, len(faults), 0, f"{path}: {fault}")
