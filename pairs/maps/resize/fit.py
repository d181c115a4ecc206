"""A map for another size of its model: found on a tiny configuration, it serves the full-size one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from ....common.errors import MapError, listed
from ..correspondence import Correspondence
from ..rows import MapRow
from .drafts import RowDraft, Shape, piece_of
from .instances import Instantiation
from .sizes import Solver
from .templates import skeleton

Made = TypeVar("Made", bound=Correspondence)
Shapes = Mapping[str, Shape]
# Of rows with one reason so many are named.
NAMED = 3


@dataclass
class Faults:
    """Everything that keeps a map from serving a model.

    entries: what is missing or misshapen, each in words.
    rows: by reason, the rows that have it.
    extra, port_extra: paths of the reference and of the port that no row is about.
    """

    entries: list[str] = field(default_factory=list)
    rows: dict[str, list[str]] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    port_extra: list[str] = field(default_factory=list)
    is_open: bool = False

    def add_row(self, row: str, reason: str) -> None:
        self.rows.setdefault(reason, []).append(row)

    def add_open(self, row: str, lengths: list[str]) -> None:
        """A row of which nothing tells these lengths."""
        self.is_open = True
        self.add_row(row, f"nothing tells {listed(lengths, separator=', ')}")

    def __len__(self) -> int:
        rows = {row for named in self.rows.values() for row in named}
        return len(set(self.entries)) + len(rows) + len(self.extra) + len(self.port_extra)

    def __str__(self) -> str:
        parts = [
            *dict.fromkeys(self.entries),
            *(f"{_listed(list(dict.fromkeys(rows)))}: {reason}" for reason, rows in self.rows.items()),
            *(f"{path} is not in the map" for path in self.extra),
            *(f"the port's {path} is not in the map" for path in self.port_extra),
        ]
        return f"{len(self)} that {'does' if len(self) == 1 else 'do'} not fit: {listed(parts, 20)}"

    def error(self, remedy: str) -> MapError:
        return MapError("", "the shapes of the same model in another size", str(self), remedy)


def fitted(made: Made, reference_shapes: Shapes, port_shapes: Shapes | None) -> Made:
    """The map for the shapes of the same model in another size, by owner or any of its paths; see `Map.fit`.

    Raises:
        MapError: all that keeps it from that, and what to do about it.
    """
    found = fitting(made, reference_shapes, port_shapes)
    if isinstance(found, Faults):
        shapes = "Give the port's shapes too, or align" if found.is_open and port_shapes is None else "Align"
        raise found.error(f"{shapes} models of this size.")
    return found


def fitting(made: Made, reference_shapes: Shapes, port_shapes: Shapes | None) -> Made | Faults:
    """As `fitted`, but what keeps the map from that is returned."""
    if port_shapes is None and _is_as_it_was(made, reference_shapes):
        return made
    instances = Instantiation(made, reference_shapes, port_shapes)
    drafts = instances.drafts()
    solver = Solver(drafts, instances.old_spans)
    solver.solve()
    _keep_old_sizes(drafts, solver)
    faults = Faults(instances.faults)
    rows = _rows(drafts, solver, faults)
    sides = [_left_out(reference_shapes, instances.seen["reference"], made.unmatched_reference, made.aside_reference)]
    if port_shapes is None:
        sides.append((made.unmatched_port, made.aside_port, []))
    else:
        sides.append(_left_out(port_shapes, instances.seen["port"], made.unmatched_port, made.aside_port))
    faults.extra, faults.port_extra = sides[0][2], sides[1][2]
    return faults if len(faults) else _with_rows(made, rows, sides)


def _is_as_it_was(made: Correspondence, shapes: Shapes) -> bool:
    """Whether the reference's shapes are those that the map was made for."""
    matched = {path: rows[0].shape for path, rows in made.by_reference.items()}
    others = {*made.unmatched_reference, *made.aside_reference}
    others |= {path for rows in made.by_reference.values() for path in rows[0].reference_aliases}
    return {path: shape for path, shape in shapes.items() if path not in others} == matched


def _keep_old_sizes(drafts: Sequence[RowDraft], solver: Solver) -> None:
    """Where nothing tells the sizes of brackets, and both tensors are as they were, they are what they were."""
    for draft in drafts:
        shapes = tuple(draft.reference.shape), tuple(draft.port.shape)
        if shapes == (draft.old.shape, draft.old.port_shape) and draft.open_lengths:
            draft.lengths |= {name: size for name, size in draft.old.sizes if name not in draft.lengths}
    solver.solve()


def _rows(drafts: Iterable[RowDraft], solver: Solver, faults: Faults) -> list[MapRow]:
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


def _row(draft: RowDraft, solver: Solver) -> MapRow:
    old = draft.old
    bracketed = [name for name, _ in old.sizes]
    return MapRow(
        draft.reference.path,
        draft.port.path,
        tuple(length or 0 for length in draft.reference.shape),
        tuple(length or 0 for length in draft.port.shape),
        old.layout,
        old.evidence,
        tuple((name, draft.lengths[name]) for name in bracketed),
        piece_of(draft.reference, solver.spans),
        piece_of(draft.port, solver.spans),
        old.transform,
        old.summed,
        old.copied,
        *draft.names,
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


def _listed(rows: list[str]) -> str:
    if len(rows) == 1:
        return rows[0]
    return f"{len(rows)} rows ({listed(rows, NAMED, ', ')})"
