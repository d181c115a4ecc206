"""A table as plain text: its rows in columns, or layer by layer where these are too wide; its modules as a tree."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby

from . import paths
from .columns import Cells, columns, fit, in_lines
from .rows import ModuleRow, Row, native_text, shape_text

HEADER = ("path", "shape", "dtype", "kind", "layer", "initializer", "tie", "native path", "layout")
TREE = ("module or parameter", "type", "output or shape", "scalars", "")
# Columns that are there even if a table has no row.
_ALWAYS = 4


def listed(rows: Sequence[Row], width: int | None) -> list[str]:
    """The rows, one a line; if that is wider than `width`, layer by layer, and if need be in several lines each."""
    found = cells(rows)
    lines = columns(found)
    return lines if fit(lines, width) or width is None else _by_layer(rows, found, width)


def cells(rows: Sequence[Row]) -> list[tuple[str, ...]]:
    """Header and cells; a column that says nothing in any row is left out."""
    # Where one array has a name of its own in the framework, every row says what its name is.
    is_native = any(row.native_path and row.native_path != paths.split(row.path) for row in rows)
    table = [HEADER, *(_cells(row, is_native) for row in rows)]
    kept = [i for i in range(len(HEADER)) if i < _ALWAYS or any(line[i] for line in table[1:])]
    return [tuple(line[i] for i in kept) for line in table]


def _cells(row: Row, is_native: bool) -> tuple[str, ...]:
    return (
        row.path,
        shape_text(row.shape),
        row.dtype,
        row.kind,
        row.layer,
        "" if row.initializer is None or row.tie else _short(repr(row.initializer)),
        f"= {row.tie}" if row.tie else "",
        native_text(row.native_path) if is_native else "",
        "" if row.layout.is_identity else str(row.layout),
    )


def _short(text: str) -> str:
    """Numbers to four significant digits; `to_json` has them in full."""
    return re.sub(r"\d+\.\d+(e-?\d+)?", lambda number: f"{float(number[0]):.4g}", text)


def _by_layer(rows: Sequence[Row], found: Cells, width: int) -> list[str]:
    """A heading for each layer, and below it what it holds by the layer's own names."""
    header, *lines = found
    kept = [i for i, name in enumerate(header) if name not in ("path", "layer")]
    inner = [("name", *(header[i] for i in kept))]
    inner += [(row.in_layer, *(line[i] for i in kept)) for row, line in zip(rows, lines, strict=True)]
    made = [f"  {line}" for line in columns(inner)]
    is_wide = not fit(made, width)
    texts = [in_lines(line, width, 2) for line in inner] if is_wide else [[line] for line in made]
    shown = [] if is_wide else ["layer", made[0]]
    numbered = enumerate(rows, start=1)
    for (path, layer), members in groupby(numbered, lambda each: (each[1].of_layer, each[1].layer)):
        shown += in_lines((path or "(the model itself)", layer), width)
        shown += [line for number, _ in members for line in texts[number]]
    return shown


def as_tree(rows: Sequence[Row], modules: Sequence[ModuleRow], width: int | None, depth: int | None) -> list[str]:
    """Modules with what they give and hold, parameters below them; see `tree`."""
    header, *found = tree(rows, modules, depth)
    size = max(len(line[3]) for line in (header, *found))
    table = [header, *((*line[:3], line[3].rjust(size), line[4]) for line in found)]
    lines = columns(table)
    if fit(lines, width) or width is None:
        return lines
    return [
        text for name, *rest in found for text in in_lines((name.strip(), *rest), width, len(name) - len(name.lstrip()))
    ]


def tree(rows: Sequence[Row], modules: Sequence[ModuleRow], depth: int | None = None) -> list[tuple[str, ...]]:
    """Header and cells of a tree: each module that was called, and below it the parameters and buffers that it holds.

    depth: of the deepest modules that are shown, 0 for the model itself; their counts include what lies below them.
    """
    held: dict[str, list[Row]] = {module.path: [] for module in modules}
    found: list[tuple[str, ...]] = [TREE]
    for row in rows:
        holder = _holder(row, held)
        if holder is None:
            found.append(_row_cells(row, None))
        else:
            held[holder].append(row)
    for module in modules:
        if depth is None or module.depth <= depth:
            found.append(_module_cells(module, held))
            found += [_row_cells(row, module) for row in held[module.path]]
    return found


def _place(row: Row) -> str:
    return ".".join(map(str, row.native_path)) or row.path


def _holder(row: Row, modules: Collection[str]) -> str | None:
    """The innermost of the modules that a row's native path leads through; None if none of them was called."""
    return next((each for each in paths.scopes(_place(row)) if each in modules), None)


def _module_cells(module: ModuleRow, known: Collection[str]) -> tuple[str, ...]:
    outer = next((each for each in paths.scopes(module.path) if each in known), "")
    name = module.path[len(outer) :].removeprefix(".") or "(the model itself)"
    outputs = ", ".join(map(shape_text, module.outputs))
    calls = f"called {module.calls} times" if module.calls > 1 else ""
    return "  " * module.depth + name, module.name, outputs, f"{module.scalars:,}", calls


def _row_cells(row: Row, module: ModuleRow | None) -> tuple[str, ...]:
    is_own = module is not None and module.path in (paths.parent(_place(row)), row.of_layer)
    name = row.in_layer if is_own else row.path
    depth = 0 if module is None else module.depth + 1
    words = " ".join(filter(None, (f"= {row.tie}" if row.tie else "", "buffer" if row.kind == "buffer" else "")))
    return "  " * depth + name, row.dtype, shape_text(row.shape), f"{row.size:,}", words


def modules_in_order(modules: Sequence[ModuleRow]) -> Iterator[ModuleRow]:
    """Each module behind the one that it lies in, those that lie in one in the order of their first calls."""
    known = [module.path for module in modules]
    inner: dict[str, list[ModuleRow]] = {path: [] for path in ("", *known)}
    top = []
    for module in modules:
        outer = next((each for each in paths.scopes(module.path) if each in known), None)
        (top if outer is None else inner[outer]).append(module)
    pending = [(module, 0) for module in reversed(top)]
    while pending:
        module, depth = pending.pop()
        yield ModuleRow(module.path, module.name, depth, module.outputs, module.calls, module.scalars)
        pending += [(each, depth + 1) for each in reversed(inner[module.path])]
