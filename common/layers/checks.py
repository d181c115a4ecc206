"""Checks that layers make of their settings when they are built."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from ..errors import InitializerError, SpecError
from ..initializers import Initializer
from ..spec import Layer


def check_bias(layer: Layer, bias: Any, bias_init: Any) -> None:
    """Refuse a `bias` that is no switch, and an initializer for a bias that is not there."""
    if not isinstance(bias, bool):
        raise SpecError("", f"{layer.kind}.bias as True or False", repr(bias), "Initializers have names of their own.")
    if bias_init is not None and not bias:
        raise SpecError("", f"no bias_init in a {layer.kind} without a bias", repr(bias_init), "Drop one of the two.")


def check_initializer(initializer: Any, shape: tuple[int | None, ...], name: str) -> None:
    """Refuse what is no initializer or does not fit the shape, once that is known; None is the default."""
    if initializer is None:
        return
    if not isinstance(initializer, Initializer):
        raise InitializerError(name, "an initializer such as Normal(0.0, 0.01)", repr(initializer))
    if None not in shape:
        initializer.validate(shape, name)  # type: ignore[arg-type]


def check_number(layer: Layer, name: str, fits: Callable[[Any], bool], expected: str) -> None:
    """Refuse a setting that is no number or does not fit, and store it as a float."""
    value = getattr(layer, name)
    if isinstance(value, bool) or not isinstance(value, Real) or not fits(value):
        raise SpecError("", f"{layer.kind}.{name} {expected}", repr(value))
    # A NumPy number would show in the repr, which is to be the code that builds the layer.
    object.__setattr__(layer, name, float(value))


def finite(layer: Layer, *names: str) -> None:
    """Refuse a setting that is no finite number, and store it as a float."""
    for name in names:
        check_number(layer, name, math.isfinite, "as a finite number")
