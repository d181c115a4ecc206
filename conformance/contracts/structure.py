"""The contracts of structure: names through the map, shapes, dtypes and kinds, and ties."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from ...common.errors import nearest
from ...common.tables import shape_text
from ...common.wing import StoredTensor
from ...pairs.comparison import Bound
from ...pairs.maps import MapRow
from ...pairs.side import Side
from ..results import Finding


def names(bound: Bound) -> Iterator[Finding]:
    """Every parameter has a partner, and every path of the map is one of the models'.

    A buffer or a frozen parameter may be without one: a constant that one framework stores and the other makes. What
    depends on it shows in the outputs.
    """
    if bound.unproved and not bound.map.rows:
        yield Finding("", False, None, None, bound.unproved, cause="no map")
        return
    alone = list(_unpaired(bound))
    faults = sum(finding.ok is False for finding in alone)
    for finding in alone:
        yield replace(finding, measured=faults, allowed=0) if finding.ok is False else finding
    at_fault = {finding.path for finding in alone}
    for row in bound.map.rows:
        if row.reference not in at_fault:
            yield Finding(row.reference, True, 0, 0, port_path=row.port)


def _unpaired(bound: Bound) -> Iterator[Finding]:
    """A failure for each path that only the map has, and each parameter that only one side has; buffers are skipped."""
    for side, by_path in ((bound.reference, bound.map.by_reference), (bound.port, bound.map.by_port)):
        present = all_paths(side)
        for path, rows in by_path.items():
            if path not in present:
                words = f"{path}: the map has it and the {side.role} does not. {nearest(path, present)}"
                yield Finding(rows[0].reference, False, None, 0, words, rows[0].port, cause="missing parameter")
        known = {*by_path, *(alias for rows in by_path.values() for alias in _aliases(rows[0], side.role))}
        for path, native in side.tensors.items():
            if known.intersection((path, *native.aliases)):
                continue
            own, other = side.paths_for(path)
            words = f"{path}: the {side.role} has it and nothing in the other side is its partner"
            if native.trainable and not native.frozen:
                yield Finding(own, False, None, 0, words, other, cause="unmatched parameter")
            else:
                kind = "frozen" if native.trainable else "a buffer"
                yield Finding(own, None, None, None, f"{words}; it is {kind}", other)


def all_paths(side: Side) -> dict[str, str]:
    """Every path of a side, aliases too, with its owner."""
    return {path: native.path for native in side.stored_tensors.values() for path in (native.path, *native.aliases)}


def _aliases(row: MapRow, role: str) -> tuple[str, ...]:
    return row.reference_aliases if role == "reference" else row.port_aliases


def shapes(bound: Bound) -> Iterator[Finding]:
    """Partners agree in shape (through the layout), dtype and kind."""
    for row in bound.map.rows:
        ours, theirs = bound.reference.stored_tensors.get(row.reference), bound.port.stored_tensors.get(row.port)
        if ours is None or theirs is None:
            continue
        faults = list(_differences(row, ours, theirs))
        for cause, words in faults:
            yield Finding(row.reference, False, len(faults), 0, f"{row.reference}: {words}", row.port, cause=cause)
        if not faults:
            yield Finding(row.reference, True, 0, 0, port_path=row.port)


def _differences(row: MapRow, ours: StoredTensor, theirs: StoredTensor) -> Iterator[tuple[str, str]]:
    for native, shape, whose in ((ours, row.shape, "the reference's"), (theirs, row.port_shape, "the port's")):
        if native.array.shape != tuple(shape):
            found = shape_text(native.array.shape)
            yield "shape", f"{whose} {native.path} has shape {found}, expected {shape_text(shape)} as the map has it"
    one, other = ours.array.dtype.name, theirs.array.dtype.name
    if one != other:
        yield "dtype", f"is {one} in the reference and {other} in the port ({theirs.path})"
    moved = [native.trainable and not native.frozen for native in (ours, theirs)]
    if moved[0] == moved[1]:
        # A frozen parameter and a buffer are one thing in two words.
        return
    if ours.trainable != theirs.trainable:
        kinds = ["a parameter" if native.trainable else "a buffer" for native in (ours, theirs)]
        yield "kind", f"is {kinds[0]} in the reference and {kinds[1]} in the port ({theirs.path})"
    else:
        states = ["frozen" if native.frozen else "trained" for native in (ours, theirs)]
        yield "frozen", f"is {states[0]} in the reference and {states[1]} in the port ({theirs.path})"


def ties(bound: Bound) -> Iterator[Finding]:
    """What is one tensor under several paths is so still, on either side, and nothing else is.

    The map knows the classes that each side had. A side whose program uses one parameter twice, as Linen's `attend`,
    has one path for it; that its uses are summed is the contract of the tied gradient.
    """
    sides = ((bound.reference, bound.map.by_reference), (bound.port, bound.map.by_port))
    faults = [*_copied(bound), *(fault for side, rows in sides for fault in _retied(side, rows))]
    for path, port_path, cause, words in faults:
        yield Finding(path, False, len(faults), 0, words, port_path, cause=cause)
    at_fault = {path for path, *_ in faults}
    for path, rows in bound.map.by_reference.items():
        row = rows[0]
        if path not in at_fault and not row.copied and (row.reference_aliases or row.port_aliases):
            yield Finding(path, True, 0, 0, _class(row), row.port)
    if not faults and not any(row.reference_aliases or row.port_aliases for row in bound.map.rows):
        yield Finding("", True, 0, 0, "neither side has a parameter under several paths")


def _copied(bound: Bound) -> Iterator[tuple[str, str, str, str]]:
    """What one side has once and the other side keeps copies of."""
    for role, other, by_path in (
        ("reference", "port", bound.map.by_reference),
        ("port", "reference", bound.map.by_port),
    ):
        for path, rows in by_path.items():
            copies = list(dict.fromkeys(getattr(row, other) for row in rows if row.copied))
            if len(copies) > 1:
                own = " = ".join((path, *_aliases(rows[0], role)))
                words = (
                    f"{own} is one parameter in the {role}, and the {other} keeps {len(copies)} copies: "
                    f"{', '.join(copies)}. Trained, they go different ways: tie them in the {other}"
                )
                cause = "lost tie" if role == "reference" else "new tie"
                yield rows[0].reference, rows[0].port, cause, words


def _class(row: MapRow) -> str:
    classes = [" = ".join((path, *aliases)) for path, aliases in _owned(row)]
    return f"one parameter: {classes[0]} in the reference, {classes[1]} in the port"


def _owned(row: MapRow) -> Iterable[tuple[str, tuple[str, ...]]]:
    return (row.reference, row.reference_aliases), (row.port, row.port_aliases)


def _retied(side: Side, by_path: Mapping[str, tuple[MapRow, ...]]) -> Iterator[tuple[str, str, str, str]]:
    owners = all_paths(side)
    for path, rows in by_path.items():
        row = rows[0]
        for alias in _aliases(row, side.role):
            if alias in owners and owners[alias] != owners.get(path):
                words = (
                    f"{alias}: is a parameter of its own in the {side.role}, expected {path} itself: the tie is lost"
                )
                yield row.reference, row.port, "lost tie", words
        expected = {path, *_aliases(row, side.role)}
        others = [other for other, owner in owners.items() if owner == owners.get(path) and other not in expected]
        for other in others:
            if other in by_path:
                words = f"is {path} itself in the {side.role}, expected a parameter of its own: a tie too many"
                yield row.reference, row.port, "new tie", f"{other}: {words}"
