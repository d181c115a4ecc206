"""Initialization rules: which initializer goes to which parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from .. import paths
from ..errors import InitializerError, PathError, UsageError, nearest
from ..initializers import Initializer
from ..tables import Row, Table, shape_text

Echo = Callable[[str], None]


@dataclass(frozen=True)
class Rule:
    """An initializer for every parameter that meets all conditions given.

    under: the path of a block, a layer or one parameter; empty for the whole model.
    layer: the kind of layer that owns it (`Linear`); empty for any.
    name: the last component of its path (`weight`); empty for any.

    Raises:
        UsageError: no initializer.
    """

    initializer: Initializer
    under: str = ""
    layer: str = ""
    name: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.initializer, Initializer):
            raise UsageError("", "an initializer in Rule", repr(self.initializer), "Say, Rule(Normal(0.0, 0.02)).")

    def matches(self, row: Row) -> bool:
        """Whether the row is a parameter's that meets all conditions."""
        return (
            row.kind == "parameter"
            and paths.is_under(row.path, self.under)
            and self.layer in ("", row.layer)
            and self.name in ("", paths.leaf(row.path))
        )


def _listed(rules: Rule | Iterable[Rule]) -> tuple[Rule, ...]:
    listed: tuple[Any, ...] = tuple(rules) if isinstance(rules, Iterable) else (rules,)
    for rule in listed:
        if not isinstance(rule, Rule):
            raise UsageError("", "a Rule, or several", repr(rule), "Write Rule(initializer, under=..., layer=...).")
    return listed


def plan(table: Table, rules: Rule | Iterable[Rule]) -> tuple[tuple[Row, Initializer], ...]:
    """What each owner is to be drawn from, in the table's order; a later rule overrides an earlier one.

    A rule that names an alias speaks of its owner.

    Raises:
        UsageError: what is no rule.
        PathError: a rule that matches nothing; the message names what exists.
        InitializerError: an initializer that does not fit a shape it would go to, or a shape that is not known yet, or
            one whose axes are not.
    """
    chosen: dict[str, Initializer] = {}
    for rule in _listed(rules):
        matched = [row for row in table if rule.matches(row)]
        if not matched:
            raise _unmatched(table, rule)
        for row in matched:
            shape = tuple(axis for axis in row.shape if axis is not None)
            if shape != row.shape:
                raise InitializerError(
                    row.path, "a shape that is known", shape_text(row.shape), "Send an input through the model first."
                )
            _check_axes(row, rule.initializer)
            rule.initializer.validate(shape, row.path)
            chosen[table.owner(row.path)] = rule.initializer
    return tuple((row, chosen[row.path]) for row in table if row.path in chosen)


def _check_axes(row: Row, initializer: Initializer) -> None:
    """Refuse an initializer that asks which axis is which where nobody knows."""
    if initializer.reads_axes and not row.layout.is_known and len(row.shape) > 1:
        raise InitializerError(
            row.path,
            f"a layer whose layout is known, for {initializer!r}",
            f"an array {shape_text(row.shape)} of {row.layer or 'a layer that is not known'}, kept as it is stored",
            "Give the std itself (Normal, Uniform, TruncatedNormal), or for a Linen module `shown(model, inputs)`.",
        )


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
