"""A map for another size of its model: found on a tiny configuration, it serves the full-size one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

from ....common.errors import MapError
from ..correspondence import Correspondence
from ..rows import MapRow
from .drafts import Drafting
from .ends import Draft, Shape, piece_of
from .faults import Faults
from .sizes import Solver
from .templates import skeleton

Made = TypeVar("Made", bound=Correspondence)
Shapes = Mapping[str, Shape]


def fitted(made: Made, reference_shapes: Shapes, port_shapes: Shapes | None) -> Made:
    """See `Map.fit`."""
    found = fitting(made, reference_shapes, port_shapes)
    if isinstance(found, Faults):
        shapes = "Give the port's shapes too, or align" if found.is_open and port_shapes is None else "Align"
        raise found.error(f"{shapes} models of this size.")
    return found


def fitting(made: Made, reference_shapes: Shapes, port_shapes: Shapes | None) -> Made | Faults:
    """The map for other shapes, see `Map.fit`, or all that keeps it from that."""
    if port_shapes is None and _is_as_it_was(made, reference_shapes):
        return made
    drafting = Drafting(made, reference_shapes, port_shapes)
    drafts = drafting.drafts()
    solver = Solver(drafts, drafting.old_spans)
    solver.solve()
    _keep_old_sizes(drafts, solver)
    faults = Faults(drafting.faults)
    rows = _rows(drafts, solver, faults)
    sides = [_left_out(reference_shapes, drafting.seen["reference"], made.unmatched_reference, made.aside_reference)]
    if port_shapes is None:
        sides.append((made.unmatched_port, made.aside_port, []))
    else:
        sides.append(_left_out(port_shapes, drafting.seen["port"], made.unmatched_port, made.aside_port))
    faults.extra, faults.port_extra = sides[0][2], sides[1][2]
    return faults if len(faults) else _with_rows(made, rows, sides)


def _is_as_it_was(made: Correspondence, shapes: Shapes) -> bool:
    """Whether the reference's shapes are those that the map was made for."""
    matched = {path: rows[0].shape for path, rows in made.by_reference.items()}
    others = {*made.unmatched_reference, *made.aside_reference}
    others |= {path for rows in made.by_reference.values() for path in rows[0].reference_aliases}
    return {path: shape for path, shape in shapes.items() if path not in others} == matched


def _keep_old_sizes(drafts: Sequence[Draft], solver: Solver) -> None:
    """Where nothing tells the sizes of brackets, and both tensors are as they were, they are what they were."""
    for draft in drafts:
        shapes = tuple(draft.reference.shape), tuple(draft.port.shape)
        if shapes == (draft.model.shape, draft.model.port_shape) and draft.open_lengths:
            draft.lengths |= {name: size for name, size in draft.model.sizes if name not in draft.lengths}
    solver.solve()


def _rows(drafts: Iterable[Draft], solver: Solver, faults: Faults) -> list[MapRow]:
    """The rows of which everything is known; what of the others does not fit is noted."""
    for text, fault in solver.faults.items():
        faults.add_row(text, fault)
    rows = []
    for draft in drafts:
        if draft.text in solver.faults:
            continue
        if open_lengths := solver.open_lengths(draft):
            faults.add_open(draft.text, open_lengths)
            continue
        try:
            rows.append(_row(draft, solver))
        except MapError as error:
            faults.add_row(draft.text, f"expected {error.expected}, found {error.found}")
    return rows


def _row(draft: Draft, solver: Solver) -> MapRow:
    model = draft.model
    bracketed = [name for name, _ in model.sizes]
    return MapRow(
        draft.reference.path,
        draft.port.path,
        tuple(length or 0 for length in draft.reference.shape),
        tuple(length or 0 for length in draft.port.shape),
        model.layout,
        model.evidence,
        tuple((name, draft.lengths[name]) for name in bracketed),
        piece_of(draft.reference, solver.spans),
        piece_of(draft.port, solver.spans),
        model.transform,
        model.summed,
        *draft.aliases,
    )


def _left_out(
    shapes: Shapes, seen: set[str], unmatched: Sequence[str], aside: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...], list[str]]:
    """The paths without a row: those like one that was unmatched, those like one that was aside, and the others."""
    like_unmatched, like_aside = ({skeleton(path)[0] for path in paths} for paths in (unmatched, aside))
    found: tuple[list[str], list[str], list[str]] = [], [], []
    for path in shapes:
        if path in unmatched or path in aside:
            found[path in aside].append(path)
        elif path not in seen:
            text = skeleton(path)[0]
            found[0 if text in like_unmatched else 1 if text in like_aside else 2].append(path)
    return tuple(found[0]), tuple(found[1]), found[2]


def _with_rows(
    made: Made, rows: Sequence[MapRow], sides: Sequence[tuple[Sequence[str], Sequence[str], list[str]]]
) -> Made:
    found = replace(
        made,
        rows=tuple(rows),
        unmatched_reference=tuple(sides[0][0]),
        unmatched_port=tuple(sides[1][0]),
        aside_reference=tuple(sides[0][1]),
        aside_port=tuple(sides[1][1]),
        verified=False,
    )
    # What was proved was proved for these rows.
    return made if set(found.rows) == set(made.rows) else found
