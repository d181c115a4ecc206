"""The migration table: every layer's names, layouts, settings and default initializers in both frameworks.

It is made from `common`'s entries alone, so that no framework is imported: docs/layers.md is `page()`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.console import RenderableType
from rich.rule import Rule
from rich.text import Text

from ..common.initializers import Initializer
from ..common.layers import CELLS
from ..common.spec import Native, ParameterSpec
from ..common.tables import shape_text
from .entries import ENTRIES, Entry, named
from .listing import Listing, Rows, grid
from .markdown import code, escaped, paragraph, table
from .traps import TRAPS

# How the modules are imported in most code.
_HOMES = {"torch.nn.": "nn.", "flax.linen.": "nn.", "flax.nnx.": "nnx."}
# The name of an array that is a layer of its own: none, since the layer's path is its path.
_BARE = "(its path)"
HELD = ("name", "shape", "Flax", "Flax's shape", "layout", "PyTorch's default", "Flax's default")
SETTINGS = ("PyTorch", "Flax", "conversion")
_CELLS = ("cell", "array", "holds", "gates", "Flax's default")
_RANKED = re.compile(r"(.+)([123]d)")


def page() -> str:
    """The whole table as one Markdown page."""
    parts = [
        "# Layers: PyTorch beside Flax",
        paragraph(
            "This page is written by `paritree layers --markdown docs/layers.md`. Names, shapes and layouts are those "
            "of the example at the head of each section. A layout is an einops pattern from PyTorch's axes to Flax's. "
            "Linen keeps parameters in the collection `params`, the buffers of a BatchNorm in `batch_stats`, and other "
            "buffers in `buffers`. A setting that the spec does not have is listed with what to do instead. In the "
            "first table `nn` is `torch.nn` in PyTorch's column and `flax.linen` in Linen's, and `nnx` is `flax.nnx`."
        ),
        _overview_table(),
        *(part for family in families() for part in _section(family)),
    ]
    return "\n\n".join(parts) + "\n"


def families() -> list[list[Entry]]:
    """The entries, those together that differ in the number of spatial axes alone: Conv1d, Conv2d and Conv3d."""
    return [list(members) for _, members in groupby(ENTRIES.values(), lambda each: _stem(each.name))]


def _stem(name: str) -> str:
    ranked = _RANKED.fullmatch(name)
    return ranked[1] if ranked else name


def _heading(family: Sequence[Entry]) -> str:
    return ", ".join(each.name for each in family)


def _overview_table() -> str:
    rows = []
    for family in families():
        anchor = _heading(family).lower().replace(", ", "-")
        rows += [(f"[{each.name}](#{anchor})", *map(_written, _classes(each))) for each in family]
    return table(("layer", "PyTorch", "Linen", "NNX"), rows)


def _classes(each: Entry) -> tuple[str, str, str]:
    return each.torch, each.linen, each.nnx


def _written(name: str) -> str:
    """As it is written in code: `nn.Conv2d`, and `nnx.Conv`."""
    for home, word in _HOMES.items():
        name = name.replace(home, word)
    return _class(name)


def _class(name: str) -> str:
    return code(name) if name else "a module of ours"


def _section(family: Sequence[Entry]) -> Iterator[str]:
    """One section for entries that differ in the number of spatial axes alone."""
    first = family[0]
    yield f"## {_heading(family)}"
    yield paragraph(f"{_listed(repr(each.example) for each in family)}: {_made(family)}.")
    if first.note:
        yield paragraph(escaped(first.note))
    if held(first):
        yield _held_table(family)
    if cells(first):
        convert = "`to_cell` and `from_cell` of `paritree.common.layers.cells` convert"
        yield paragraph(f"A cell of Flax's holds one layer and one direction as follows; {convert}:")
        yield table(_CELLS, [tuple(map(code, row)) for row in cells(first)])
    if first.settings:
        yield table(SETTINGS, [(_coded(t), _coded(f), escaped(how)) for t, f, how in _settings_of(family)])
    if first.traps:
        yield "\n".join(paragraph(f"Trap {number}: {escaped(TRAPS[number])}", "- ") for number in first.traps)


def _listed(names: Iterable[str]) -> str:
    """Each name once, as code."""
    return ", ".join(map(code, dict.fromkeys(names)))


def _made(family: Sequence[Entry]) -> str:
    """What the layers are in each framework; those that agree are named together."""
    named: dict[str, list[str]] = {}
    for side, names in zip(_SIDES, zip(*map(_classes, family), strict=True), strict=True):
        named.setdefault(_listed(names) if all(names) else _class(""), []).append(side)
    return ", ".join(f"{made} in {_and(sides)}" for made, sides in named.items())


def _and(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _held_table(family: Sequence[Entry]) -> str:
    """What the layers hold, name by name; a family's rows say first whose they are, and agree in one where they do."""
    whose: dict[tuple[str, ...], list[str]] = {}
    for rows in zip(*map(held, family), strict=True):
        for each, row in zip(family, rows, strict=True):
            whose.setdefault(row, []).append(each.name.removeprefix(_stem(each.name)))
    if len(family) == 1:
        return table(HELD, [_row_as_code(row) for row in whose])
    return table(("axes", *HELD), [(", ".join(ranks), *_row_as_code(row)) for row, ranks in whose.items()])


def _row_as_code(row: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(code(cell) if cell and cell != "none" else cell for cell in row)


def _settings_of(family: Sequence[Entry]) -> Rows:
    """The settings of all; of one that is not in every class, in which it is."""
    whose: dict[tuple[str, ...], list[str]] = {}
    for each in family:
        for row in settings(each):
            whose.setdefault(row, []).append(each.name)
    return [
        (t, f, how if len(names) == len(family) else f"{how} ({_and(names)} only)")
        for (t, f, how), names in whose.items()
    ]


def _coded(names: str) -> str:
    return ", ".join(code(name) if name != "none" else name for name in names.split(", ")) if names else ""


def held(each: Entry) -> Rows:
    """What the layer holds: name, shape, Flax's name and shape, layout, and both default initializers."""
    return [_held(each, parameter) for parameter in each.parameters()]


def _held(each: Entry, parameter: ParameterSpec) -> tuple[str, ...]:
    native = each.example.native_of(parameter.name)
    shape = tuple(axis or 0 for axis in parameter.shape)
    own = parameter.name or _BARE
    name = own if parameter.kind == "parameter" else f"{own} (buffer)"
    drawn = _initializer(parameter.initializer)
    if native is None:
        return (name, shape_text(shape), "none", "", "", drawn, "")
    layout = native.layout.with_sizes(parameter.axes)
    stored = layout.native_shape(shape)
    if len(native.parts) > 1:
        stored = stored[1:]
    return (
        name,
        shape_text(shape),
        _native(native),
        shape_text(stored),
        str(layout),
        drawn,
        _initializer(native.default(each.example)),
    )


def _native(native: Native) -> str:
    return ", ".join(native.parts)


def _initializer(initializer: Initializer | None) -> str:
    """An initializer with its numbers to four digits."""
    text = "none" if initializer is None else repr(initializer)
    return re.sub(r"\d+\.\d+(e-?\d+)?", lambda number: f"{float(number[0]):.4g}", text)


def cells(each: Entry) -> Rows:
    """How Flax's own cells hold a recurrent layer's weights."""
    return [
        (name, array.name, _role(array.of), " ".join(array.gates), _initializer(array.native.default(each.example)))
        for name, cell in CELLS.items()
        if cell.layer is type(each.example)
        for array in cell.arrays
    ]


def _role(of: str) -> str:
    return "bias_ih + bias_hh" if of == "bias" else of


def settings(each: Entry) -> Rows:
    """PyTorch's setting, Flax's, and what becomes of the value."""
    return [(setting.torch, setting.flax or "none", setting.how) for setting in each.settings]


def overview() -> RenderableType:
    """Every layer with its classes, for a terminal; a class that bears the layer's name is told by its module."""
    rows = []
    for each in ENTRIES.values():
        torch = "same name" if each.torch == f"torch.nn.{each.name}" else _short(each.torch)
        rows.append((each.name, torch, _short(each.linen), _short(each.nnx)))
    return Listing(("layer", "PyTorch", "Linen", "NNX"), rows)


def _short(name: str) -> str:
    """A class without its modules, and a function of JAX with the last one: `nn.relu`."""
    *modules, last = name.split(".")
    return (f"{modules[-1]}.{last}" if modules[0] == "jax" else last) if modules else "(ours)"


def shown(name: str) -> list[RenderableType]:
    """What a name means, for a terminal: one layer, or all that have that class in one of the frameworks.

    Raises:
        UsageError: a name that is none.
    """
    found = named(name)
    parts: list[RenderableType] = []
    if found[1:]:
        parts += [Text(f"{name} is the class of {_and([each.name for each in found])}."), Text()]
    for each in found:
        parts += _shown(each)
    return parts


def _shown(each: Entry) -> list[RenderableType]:
    parts: list[RenderableType] = [Rule(Text(each.name, style="bold"), characters="─"), Text(repr(each.example))]
    made = zip(_SIDES, _classes(each), strict=True)
    parts += [grid([(side, name or "a module of ours") for side, name in made]), Text()]
    if each.note:
        parts += [Text(each.note), Text()]
    for row in held(each):
        parts += [Text(f"{row[0]} {row[1]}", style="bold"), grid(list(zip(HELD[2:], row[2:], strict=True))), Text()]
    for header, rows in ((_CELLS, cells(each)), (SETTINGS, settings(each))):
        if rows:
            parts += [Listing(header, rows), Text()]
    parts += [Text(f"Trap {number}: {TRAPS[number]}") for number in each.traps]
    return parts


_SIDES = ("PyTorch", "Linen", "NNX")


def as_json() -> list[dict[str, object]]:
    """Every entry as plain data."""
    return [
        {
            "layer": each.name,
            "example": repr(each.example),
            **dict(zip(("torch", "linen", "nnx"), _classes(each), strict=True)),
            "holds": [dict(zip(HELD, row, strict=True)) for row in held(each)],
            "cells": [dict(zip(_CELLS, row, strict=True)) for row in cells(each)],
            "settings": [dict(zip(SETTINGS, row, strict=True)) for row in settings(each)],
            "traps": list(each.traps),
        }
        for each in ENTRIES.values()
    ]
