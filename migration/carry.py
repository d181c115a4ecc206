"""Carrying weights between two live models whose tables have the same paths."""

from __future__ import annotations

from importlib import import_module
from typing import Any, cast

from ..common.wing import HOMES, Wing, name_of


def carry(source: Any, target: Any) -> Any:
    """The target with the source's weights, whichever frameworks the two belong to; ties stay as the target has them.

    Returns the model to go on with: `target` itself, updated in place, or for Linen a new `(module, variables)`.

    Raises:
        WeightsError: the two tables do not have the same owners, shapes and dtypes; nothing was changed.
        UsageError: one of the two is no model of any wing.
    """
    return _wing_of(target).load(target, _wing_of(source).weights(source))


def _wing_of(model: Any) -> Wing:
    return cast(Wing, import_module(f"..{HOMES[name_of(model)]}", __package__))
