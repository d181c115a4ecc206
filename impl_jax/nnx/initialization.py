"""Initialization addressed by path: by portable words, or every initializer with `jax.nn.initializers`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from flax import nnx

from ...common.draws import Stream, check_draws
from ...common.spec import Echo, Rule, line, plan
from ..draws import draw as draw
from ..draws import drawn_row, draws_of
from ..draws import sample as sample
from ..parts import split_native
from .access import table
from .naming import leaves
from .stored import owned


def initialize(
    model: nnx.Module,
    rules: Rule | Iterable[Rule],
    *,
    seed: int = 0,
    echo: Echo | None = None,
    stream: Stream = "portable",
) -> nnx.Module:
    """Draw the parameters that the rules name, in place; the others keep their values. Returns `model`.

    echo: called with one line for each parameter, as it is drawn (`print` shows them).
    stream: `portable` for the same numbers in every wing, `native` for JAX's own.

    Raises:
        PathError: a rule that matches nothing; InitializerError: one that does not fit, or whose bits cannot be
            portable; UsageError: what is no seed, or no stream. Nothing was drawn.
    """
    found = {leaf.path: leaf for leaf in leaves(model)}
    planned = plan(table(model), rules)
    check_draws(stream, seed, planned)
    for row, initializer in planned:
        variables = found[row.path].variables
        drawn = drawn_row(stream, seed, row.path, initializer, row.sizes, row.layout, row.dtype)
        for variable, value in zip(variables, split_native(drawn, len(variables)), strict=True):
            variable[...] = value
        if echo:
            echo(line(row, initializer))
    return model


def draws(
    factory: Any, seeds: Sequence[int], *, device: str = "cpu", target: int | None = None
) -> dict[str, np.ndarray]:
    """Every tensor of the models that a factory makes, `(draws, *native shape)` by native path, random state aside.

    Draw i is that of `seeds[i]`. All are made by one compilation if the factory takes a traced seed, as
    `nnx.Rngs(jax.random.key(seed))` does, and one by one if not, as with `nnx.Rngs(seed)`; the first two are made both
    ways and must agree.

    Raises:
        PairError: the factory raises, ignores its seed, or gives another structure for another seed.
        DeviceError: JAX does not see the device.
    """
    return draws_of(factory, seeds, owned, device, target)
