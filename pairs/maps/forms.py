"""A map for people: its rows as cells, and in words how far it goes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ...common.columns import columns, fit, in_lines
from ...common.text import counted, one_line
from .correspondence import Correspondence, SideName
from .rows import MapRow

# Paths without a row that are named in a line; more are counted.
_NAMED = 8


def to_text(found: Correspondence, width: int | None) -> str:
    """The rows, one a line or, where that is too wide, in several; then what there is besides."""
    header, *rows = cells(found)
    lines = columns([header, *rows])
    if width is not None and not fit(lines, width):
        lines = [line for row in rows for line in in_lines(row, width)]
    return "\n".join((*lines, "", *(one_line(line) for line in (summary(found), *besides(found)))))


def cells(found: Correspondence) -> list[tuple[str, ...]]:
    """Header and cells: both tensors with their pieces and ties, the layout, and what settled the row."""
    one, other = found.direction
    header = (one, other if other != one else f"{other} (port)", "layout", "evidence")
    return [
        header,
        *((_named(row, "reference"), _named(row, "port"), _layout(row), row.evidence) for row in found.rows),
    ]


def _named(row: MapRow, side: SideName) -> str:
    path, aliases = getattr(row, side), getattr(row, f"{side}_aliases")
    factors = getattr(row, f"{side}_factors")
    norm = f" = weight norm of {' and '.join(factors)}" if factors else ""
    return f"{path}{getattr(row, f'{side}_piece')}" + "".join(f" = {alias}" for alias in aliases) + norm


def _layout(row: MapRow) -> str:
    left, _, right = row.layout.partition(" -> ")
    sums = "summed" if row.summed else ""
    ways = "same" if left == right else row.layout, row.transform, sums, "copied" if row.copied else ""
    return ", ".join(part for part in ways if part)


def summary(found: Correspondence) -> str:
    """`torch -> nnx: 12 rows, proved; every tensor has a row (fingerprint 10, sibling 2)`."""
    evidence = ", ".join(
        f"{name} {count:,}" for name, count in Counter(row.evidence for row in found.rows).most_common()
    )
    proved = "proved by runs of both sides" if found.verified else "not proved"
    left = len(found.unmatched_reference) + len(found.unmatched_port)
    reach = f"{counted(left, 'tensor')} without a partner" if left else "every tensor has a partner"
    by = f" ({evidence})" if evidence else ""
    return f"{' -> '.join(found.direction)}: {counted(len(found.rows), 'row')}{by}, {proved}; {reach}"


def besides(found: Correspondence) -> Iterator[str]:
    """The paths without a row, and what is to be known of the runs, each in a line."""
    for side, framework in zip(("reference", "port"), found.direction, strict=True):
        for what, paths in (
            ("no partner", f"unmatched_{side}"),
            ("not mapped, since each side has its own", f"aside_{side}"),
        ):
            listed = getattr(found, paths)
            if listed:
                more = f" and {len(listed) - _NAMED:,} more" if len(listed) > _NAMED else ""
                yield f"{what}, in the {side} ({framework}): {', '.join(listed[:_NAMED])}{more}"
    for note in found.notes:
        yield f"note: {note}"
