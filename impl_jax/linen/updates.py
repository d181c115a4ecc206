"""Updates: what a caller's own optimizer makes of given gradients, on a copy of the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from ...common.wing import Updater
from ..devices import check_dtype
from ..updates import Home, updater_of
from .core import functional, without_dropout
from .naming import Model, like


def _as_model(model: Model, given: Any) -> Model | None:
    """The model after a step, which gives it or its variables."""
    variables = given[1] if type(given) is tuple and len(given) == 2 and given[0] is model[0] else given
    if not isinstance(variables, Mapping) or set(variables) != set(model[1]):
        return None
    return like(model, model[0], cast("dict[str, Any]", variables))


HOME = Home(lambda model, wrt: model[1]["params"], as_model=_as_model, whole=lambda model, runs: without_dropout(runs))


def updater(model: Model, optimizer: Any, *, dtype: str = "float64") -> Updater:
    """The model's optimizer made ready to be fed with gradients: `run(weights)` gives a function that makes a step.

    optimizer: an Optax transformation over `variables["params"]`, what has one as its `tx`, or a function that gives
        either for these parameters, or for the model, if its argument is called `model`. A tuple has an average of the
        parameters as its second: a transformation, or a function `average(old, new)`.

    Raises:
        DtypeError, WeightsError: as `SideWing`.
        PairError: what is no such thing, or whatever the optimizer itself raises.
    """
    check_dtype(dtype)
    return updater_of(functional(model), HOME, optimizer, dtype)
