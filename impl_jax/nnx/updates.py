"""Updates: what a caller's own optimizer makes of given gradients, on a copy of the model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flax import nnx

from ...common.wing import Updater
from ..devices import check_dtype
from ..updates import Home, updater_of
from .core import functional, without_dropout


# As an nnx.Optimizer has it: made over Variables, and called with the arrays in them.
@contextmanager
def _whole(model: nnx.Module, runs: object) -> Iterator[None]:
    model.train()
    with without_dropout(model, runs):
        yield


HOME = Home(
    lambda model, wrt: nnx.state(model, nnx.Param if wrt is None else wrt),
    nnx.as_pure,
    lambda model, given: given if isinstance(given, nnx.Module) else None,
    is_changed=True,
    whole=_whole,
)


def updater(model: nnx.Module, optimizer: Any, *, dtype: str = "float64") -> Updater:
    """The model's optimizer made ready to be fed with gradients: `run(weights)` gives a function that makes a step.

    optimizer: an Optax transformation over `nnx.state(model, nnx.Param)`, an `nnx.Optimizer`, or a function that gives
        either for these parameters, or for the model, if its argument is called `model`. A tuple has an average of the
        parameters as its second: a transformation, or a function `average(old, new)`.

    Raises:
        DtypeError, WeightsError: as `SideWing`.
        PairError: what is no such thing, or whatever the optimizer itself raises.
    """
    check_dtype(dtype)
    return updater_of(functional(model), HOME, optimizer, dtype)
