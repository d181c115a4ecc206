"""The table of optimizers and schedules: torch.optim beside optax, from `common`'s catalogue alone.

docs/optimizers.md is `page()`.
"""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import RenderableType
from rich.rule import Rule
from rich.text import Text

from ..common.optimizers import (
    CARRIED,
    OPTAX_ALONE,
    OPTAX_SCHEDULES_ALONE,
    OPTIMIZERS,
    SCHEDULES,
    Argument,
    Entry,
    Recipe,
    named,
)
from .listing import Listing, Rows, grid
from .markdown import code, escaped, paragraph, table

ARGUMENTS = ("PyTorch", "default", "optax", "its default", "conversion")
_STATE = ("PyTorch's state", "optax's state", "power of the gradient")
_OVERVIEW = ("name", "PyTorch", "optax", "the two")
_KEPT = ("name", "PyTorch", "optax", "the two", "its state")
_ALONE = ("optax", "what it is, or what is nearest")


def page() -> str:
    """The whole table as one Markdown page."""
    parts = [
        "# Optimizers and schedules: PyTorch beside optax",
        paragraph(
            "This page is written by `paritree optimizers --markdown docs/optimizers.md`. Each recipe is the code "
            "of both frameworks with what was measured between the two. Of optimizers that is the largest "
            "difference of the parameters, as a share of how far they moved, after twelve steps in float64 with "
            "the same gradients: large ones, tiny ones and zeros among them. Of schedules it is the largest "
            "difference of the rates. *Equal* is a difference of rounding. `g` is the gradient, `p` the "
            "parameter, `m` and `v` the averages of the gradient and of its square, `t` the step from 1 on. "
            "Where its state is"
            " carried, [Map.carry_optimizer](carry.md) makes it that of the other framework."
        ),
        table(_KEPT, [(*_in_overview(each), _carried(each)) for each in OPTIMIZERS.values()]),
        table(_OVERVIEW, [_in_overview(each) for each in SCHEDULES.values()]),
        *(part for each in (*OPTIMIZERS.values(), *SCHEDULES.values()) for part in _section(each)),
        "## What optax alone has",
        table(_ALONE, [(code(f"optax.{name}"), what) for name, what in (OPTAX_ALONE | OPTAX_SCHEDULES_ALONE).items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _in_overview(each: Entry) -> tuple[str, ...]:
    return (
        f"[{each.name}](#{each.name.lower()})",
        code(each.torch),
        code(each.optax) if each.optax else "",
        each.verdict,
    )


def _carried(each: Entry) -> str:
    return "carried" if each.name in CARRIED else ""


def _section(each: Entry) -> Iterator[str]:
    yield f"## {each.name}"
    yield paragraph(f"{code(each.torch)}{f' and {code(each.optax)}' if each.optax else ''}: {each.verdict}.")
    if each.update[0]:
        one, other = map(code, each.update)
        yield paragraph(
            f"A step adds {one}." if one == other else f"A step adds {one} in PyTorch and {other} in optax."
        )
    if each.note:
        yield paragraph(escaped(each.note))
    if each.arguments:
        yield table(ARGUMENTS, [(*map(_coded, row[:4]), escaped(row[4])) for row in each.arguments])
    if each.recipes:
        yield table(("PyTorch", "optax", "measured"), [_as_cells(each) for each in each.recipes])
    if each.state:
        yield table(_STATE, [(*map(_coded, row[:2]), row[2]) for row in state(each)])


def _as_cells(recipe: Recipe) -> tuple[str, ...]:
    return code(recipe.torch), code(recipe.optax), escaped(measured(recipe))


def _coded(cell: str) -> str:
    return code(cell) if cell and cell != "required" else cell


def measured(recipe: Recipe) -> str:
    """What was found between the two codes, in words."""
    return f"{recipe.gap:.2g}: {recipe.why}" if recipe.gap else "equal"


def state(each: Entry) -> Rows:
    """What the optimizer keeps for each parameter: PyTorch's key, optax's field, and what it is of."""
    return [(one, other, str(order) if order else "") for one, other, order in each.state]


def overview() -> RenderableType:
    """Every optimizer and schedule with its counterpart, for a terminal."""
    rows = [(each.name, each.optax or "none", each.verdict) for each in (*OPTIMIZERS.values(), *SCHEDULES.values())]
    return Listing(("PyTorch", "optax", "the two"), rows)


def shown(name: str) -> list[RenderableType]:
    """What a name means, for a terminal: every optimizer and schedule that has it in one of the frameworks.

    Raises:
        UsageError: a name that is none.
    """
    return [part for each in named(name) for part in _shown(each)]


def _shown(each: Entry) -> Iterator[RenderableType]:
    yield Rule(Text(each.name, style="bold"), characters="─")
    one, other = each.torch or "none of that name", each.optax or "nothing like it"
    rows = [("PyTorch", one), ("optax", other), ("the two", each.verdict)]
    if each.name in OPTIMIZERS:
        rows.append(("its state", "carried by Map.carry_optimizer" if each.name in CARRIED else "not carried"))
    yield grid(rows)
    yield Text()
    if each.update[0]:
        yield Text("A step adds", style="bold")
        yield grid(list(zip(("PyTorch", "optax"), each.update, strict=True)))
        yield Text()
    if each.note:
        yield Text(each.note)
        yield Text()
    for header, rows in ((ARGUMENTS, [tuple(row) for row in each.arguments]), (_STATE, state(each))):
        if rows:
            yield Listing(header, rows)
            yield Text()
    for recipe in each.recipes:
        yield Text(measured(recipe), style="bold")
        yield grid([("PyTorch", recipe.torch), ("optax", recipe.optax)])
        yield Text()


def as_json() -> list[dict[str, object]]:
    """Every entry as plain data."""
    return [
        {
            "name": each.name,
            "is": kind,
            "torch": each.torch,
            "optax": each.optax,
            "verdict": each.verdict,
            "update": dict(zip(("torch", "optax"), each.update, strict=True)),
            "note": each.note,
            "arguments": [dict(zip(Argument._fields, row, strict=True)) for row in each.arguments],
            "recipes": [recipe._asdict() for recipe in each.recipes],
            "state": [moment._asdict() for moment in each.state],
        }
        for kind, entries in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES))
        for each in entries.values()
    ]
