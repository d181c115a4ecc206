"""The reference's tensors as a tree, with a cross and a word where a failure has its cause; all else is folded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ...common import paths
from ...common.drawing import Svg, tree
from ...common.reading import are_lengths
from ...common.tables import Row, Table
from ...common.ties import Tie
from ..consequences import faults
from ..results import TENSORS, Result, Results

# Tensors with a word; with more the drawing says less than the list.
_MOST_WORDS = 60
_QUOTED = re.compile(r"'([^']*)'")
Words = dict[str, list[str]]


def model_tree(report: Results) -> Svg | None:
    """The drawing. None where nothing fails, or the report does not know the tensors."""
    table = _table(report.facts.get(TENSORS))
    found = faults(report.results)
    if not found or not table.rows:
        return None
    wrong: Words = {}
    for fault in found:
        for path in _places(fault.result, table):
            wrong.setdefault(path, []).append(fault.result.cause or fault.result.contract)
    if not wrong:
        return None
    first = dict(list(wrong.items())[:_MOST_WORDS])
    return tree(table, "What differs, in the reference", marked=_joined(first), folded=True)


def _joined(words: Words) -> dict[str, str]:
    """A short text for each path, which a phone has room for."""
    found = {}
    for path, each in words.items():
        first, *others = dict.fromkeys(each)
        found[path] = f"{first} and {len(others)} more" if others else first
    return found


def _places(result: Result, table: Table) -> Iterable[str]:
    """The tensor that a failure is about, or the first one of the module that it names."""
    if result.path in table:
        return (result.path,)
    module = next(iter(_QUOTED.findall(result.module)), "")
    held = (path for path in table.paths if module and _is_in(path, module))
    return [path for path in (next(held, None),) if path is not None]


def _is_in(path: str, module: str) -> bool:
    """Whether a tensor lies in a module, whose path has no collection before it."""
    return any(paths.is_under(each, module) for each in (path, path.partition(".")[2]))


def _table(told: Any) -> Table:
    """What a report keeps as a table; what is none is left out, since a report may have been read from a file."""
    rows: dict[str, Row] = {}
    for row in _rows(told if isinstance(told, Sequence) and not isinstance(told, str) else ()):
        rows.setdefault(row.path, row)
    known = [row for row in rows.values() if row.tie is None or row.tie.owner in rows]
    return Table(tuple(known))


def _rows(told: Sequence[Any]) -> Iterator[Row]:
    for each in told:
        if not isinstance(each, Mapping):
            continue
        path, shape, owner = each.get("path"), each.get("shape"), each.get("alias_of")
        if not isinstance(path, str) or not isinstance(shape, Sequence) or isinstance(shape, str):
            continue
        if are_lengths(shape):
            kind = "buffer" if each.get("kind") == "buffer" else "parameter"
            tie = Tie(owner, path) if isinstance(owner, str) and owner != path else None
            yield Row(path, tuple(shape), str(each.get("dtype", "")), kind, tie=tie, native_path=paths.split(path))
