"""Initialization rules: which initializer goes to which parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from . import paths
from .errors import InitializerError, PathError, nearest
from .initializers import Initializer
from .tables import Row, Table, shape_text

Echo = Callable[[str], None]


@dataclass(frozen=True)
class Rule:
    """An initializer for every parameter that meets all conditions given.

    under: the path of a block, a layer or one parameter; empty for the whole model.
    layer: the kind of layer that owns it (`Linear`); empty for any.
    name: the last component of its path (`weight`); empty for any.
    """

    initializer: Initializer
    under: str = ""
    layer: str = ""
    name: str = ""

    def matches(self, row: Row) -> bool:
        return (
            row.kind == "parameter"
            and paths.is_under(row.path, self.under)
            and self.layer in ("", row.layer)
            and self.name in ("", paths.leaf(row.path))
        )


def plan(table: Table, rules: Rule | Iterable[Rule]) -> tuple[tuple[Row, Initializer], ...]:
    """What each owner is to be drawn from, in the table's order; a later rule overrides an earlier one.

    A rule that names an alias speaks of its owner.

    Raises:
        PathError: a rule that matches nothing; the message names what exists.
        InitializerError: an initializer that does not fit a shape it would go to.
    """
    chosen: dict[str, Initializer] = {}
    for rule in (rules,) if isinstance(rules, Rule) else tuple(rules):
        matched = [row for row in table if rule.matches(row)]
        if not matched:
            raise _unmatched(table, rule)
        for row in matched:
            shape = tuple(axis for axis in row.shape if axis is not None)
            if shape != row.shape:
                raise InitializerError(
                    row.path, "a shape that is known", shape_text(row.shape), "Send an input through the model first."
                )
            rule.initializer.validate(shape, row.path)
            chosen[table.owner(row.path)] = rule.initializer
    return tuple((row, chosen[row.path]) for row in table if row.path in chosen)


def _unmatched(table: Table, rule: Rule) -> PathError:
    containers = dict.fromkeys(scope for path in table.paths for scope in (path, *paths.scopes(path)) if scope)
    if rule.under and rule.under not in containers:
        remedy = nearest(rule.under, containers)
        return PathError(rule.under, "a path of the model for the rule", "none of that name", remedy)
    below = [row for row in table if paths.is_under(row.path, rule.under)]
    kinds = dict.fromkeys(row.layer for row in below)
    if rule.layer and rule.layer not in kinds:
        return PathError(rule.under, f"a layer of kind {rule.layer!r} for the rule", "none", nearest(rule.layer, kinds))
    names = dict.fromkeys(paths.leaf(row.path) for row in below if rule.layer in ("", row.layer))
    expected = f"a parameter that the rule matches: {rule!r}"
    if names and rule.name in ("", *names):
        return PathError(rule.under, expected, "buffers only", "Rules are for parameters, not for buffers.")
    return PathError(rule.under, expected, "none", nearest(rule.name, names))


def line(row: Row, initializer: Initializer) -> str:
    """What initialization prints as it goes: `0.weight (8, 4) <- Normal(mean=0.0, std=0.01)`."""
    return f"{row.path} {row.shape} <- {initializer!r}"
