"""Initialization: every initializer drawn with `jax.nn.initializers`, addressed by path."""

from __future__ import annotations

from collections.abc import Iterable

from flax import nnx

from ...common.rules import Echo, Rule, line, plan
from ..draws import draw as draw
from ..draws import draw_native, path_key
from ..draws import sample as sample
from ..parts import split_native
from .access import table
from .naming import leaves


def initialize(
    model: nnx.Module, rules: Rule | Iterable[Rule], *, seed: int = 0, echo: Echo | None = None
) -> nnx.Module:
    """Draw the parameters that the rules name, in place; the others keep their values. Returns `model`.

    echo: called with one line for each parameter, as it is drawn (`print` shows them).

    Raises:
        PathError: a rule that matches nothing; InitializerError: one that does not fit. Nothing was drawn.
    """
    found = {leaf.path: leaf for leaf in leaves(model)}
    for row, initializer in plan(table(model), rules):
        key = path_key(seed, row.path)
        variables = found[row.path].variables
        drawn = draw_native(key, initializer, row.sizes, row.layout, row.dtype)
        for variable, value in zip(variables, split_native(drawn, len(variables)), strict=True):
            variable[...] = value
        if echo:
            echo(line(row, initializer))
    return model
