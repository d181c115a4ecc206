"""What layers ask of their settings when they are built, and of the shapes of their inputs as far as they are known."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

from ..errors import InitializerError, SpecError
from ..initializers import Initializer
from ..spec import Features, Layer


def check_bias(layer: Layer, bias: Any, bias_init: Any) -> None:
    """Refuse a `bias` that is no switch, and an initializer for a bias that is not there.

    Raises:
        SpecError: its path is empty: a layer does not know where it will be.
    """
    if not isinstance(bias, bool):
        raise SpecError("", f"{layer.kind}.bias as True or False", repr(bias), "Initializers have names of their own.")
    if bias_init is not None and not bias:
        raise SpecError("", f"no bias_init in a {layer.kind} without a bias", repr(bias_init), "Drop one of the two.")


def check_initializer(initializer: Any, shape: tuple[int | None, ...], name: str) -> None:
    """Refuse what is no initializer or does not fit the canonical shape, once that is known; None is the default.

    Raises:
        InitializerError: its path is `name`.
    """
    if initializer is None:
        return
    if not isinstance(initializer, Initializer):
        raise InitializerError(name, "an initializer such as Normal(0.0, 0.01)", repr(initializer))
    if None not in shape:
        initializer.validate(shape, name)  # type: ignore[arg-type]


def check_number(layer: Layer, name: str, fits: Callable[[Any], bool], expected: str) -> None:
    """Refuse a setting that is no number or does not fit, and store it as a float.

    fits: whether a number will do. expected: what will, as it stands in the message: `as a finite number`.

    Raises:
        SpecError: its path is empty.
    """
    value = getattr(layer, name)
    if isinstance(value, bool) or not isinstance(value, Real) or not fits(value):
        raise SpecError("", f"{layer.kind}.{name} {expected}", repr(value))
    # A NumPy number would show in the repr, which is to be the code that builds the layer.
    object.__setattr__(layer, name, float(value))


def check_finite(layer: Layer, *names: str) -> None:
    """Refuse settings that are no finite numbers, and store them as floats.

    Raises:
        SpecError: its path is empty.
    """
    for name in names:
        check_number(layer, name, math.isfinite, "as a finite number")


def axes(features: Features, layer: Layer, path: str, *names: str) -> tuple[int | None, ...]:
    """The lengths of the axes behind the batch, None where they are not known.

    Raises:
        SpecError: there are not as many as `names`.
    """
    known = features[1:] if features[:1] == (Ellipsis,) else features
    if len(known) > len(names) or (known is features and len(known) < len(names)):
        raise SpecError(path, f"an input ({', '.join(('batch', *names))}) of {layer.kind}", shown(features))
    return (None,) * (len(names) - len(known)) + tuple(known)


def length(features: Features, layer: Layer, path: str) -> int | None:
    """The length of axis 1, None if it is not known.

    Raises:
        SpecError: there is no such axis.
    """
    if not features:
        raise SpecError(path, f"an input with an axis 1 for {layer.kind}", "none")
    return None if features[0] is Ellipsis else features[0]


def fits(given: Features, expected: Features) -> bool:
    """Whether two shapes can be the same: None fits any length, and an Ellipsis in `given` any axes."""
    if Ellipsis in given:
        return True
    return len(given) == len(expected) and all(a == b or None in (a, b) for a, b in zip(given, expected, strict=True))


def shown(features: Features) -> str:
    """A shape in words, for a message: `(batch, ?, 8)`."""
    lengths = ("..." if axis is Ellipsis else "?" if axis is None else str(axis) for axis in features)
    return f"({', '.join(('batch', *lengths))})"
