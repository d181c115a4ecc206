"""Layers that act on every entry alone or normalize along one axis, and Dropout.

Derivatives at a kink are PyTorch's in every wing: a zero that a ReLU has made is the rule, not the exception.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, ClassVar, Literal

from ..errors import SpecError
from ..initializers import Constant, Initializer
from ..layouts import SAME, Layout
from ..spec import UNKNOWN, Features, Layer, Native, ParameterSpec, positive
from .checks import check_finite, check_initializer, check_number, shown


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """Zeroes an entry with probability `rate` and scales the others by 1/(1 - rate), in training only."""

    rate: float = 0.5

    def __post_init__(self) -> None:
        check_number(self, "rate", lambda rate: 0 <= rate < 1, "in [0, 1)")


@dataclass(frozen=True, repr=False)
class Identity(Layer):
    """x."""


@dataclass(frozen=True, repr=False)
class ReLU(Layer):
    """max(x, 0); its derivative at 0 is 0 in both frameworks."""


@dataclass(frozen=True, repr=False)
class ReLU6(Layer):
    """min(max(x, 0), 6); its derivative at 0 and at 6 is 0."""


@dataclass(frozen=True, repr=False)
class LeakyReLU(Layer):
    """x for x > 0, else slope * x. The derivative at 0 is `slope`, as in PyTorch; in JAX it is 1."""

    slope: float = 0.01

    def __post_init__(self) -> None:
        check_finite(self, "slope")


@dataclass(frozen=True)
class _Slopes(Layout):
    """Flax's PReLU has one slope, an array without axes; several are an array as PyTorch's."""

    def to_canonical(self, array: Any) -> Any:
        """The one slope as an array with an axis; a number of NumPy's, which a stack of such arrays holds, too."""
        return array.reshape(1)

    def with_sizes(self, sizes: Sequence[tuple[str, int]]) -> Layout:
        """The layout of several slopes, where their number is given."""
        return SAME if sizes else self

    def sized(self, native_shape: Sequence[int]) -> Layout | None:
        """The layout of a native array of that shape; None if it has more than one axis."""
        return {0: self, 1: SAME}.get(len(native_shape))


def _one_of_flax(layer: Any) -> Initializer | None:
    """What Flax's class draws its slope from; None for several, which it has not."""
    return Constant(0.01) if layer.slopes == 1 else None


@dataclass(frozen=True, repr=False)
class PReLU(Layer):
    """x for x > 0, else slope * x, with a slope that is trained: one, or one for each channel (He et al. 2015).

    The derivative at 0 is the slope, as in PyTorch; in Flax it is 1.

    slopes: 1, or the number of channels, which are axis 1: `num_parameters` in PyTorch. Flax's own class has one slope
        only; those of the wings, which derive from it, have several.
    weight_init: defaults to 0.25 as in PyTorch; Flax's is 0.01.
    """

    natives: ClassVar[Mapping[str, Native]] = {"weight": Native("negative_slope", _Slopes("1 -> "), _one_of_flax)}

    slopes: int = 1
    weight_init: Initializer | None = None

    def __post_init__(self) -> None:
        positive(self, slopes=self.slopes)
        check_initializer(self.weight_init, (self.slopes,), "weight")

    def parameters(self) -> tuple[ParameterSpec, ...]:
        axes = () if self.slopes == 1 else (("c", self.slopes),)
        return (ParameterSpec("weight", (self.slopes,), self.weight_init or Constant(0.25), axes=axes),)

    def out(self, features: Features, path: str) -> Features:
        if self.slopes == 1 or features[:1] == (Ellipsis,):
            return features
        if not features or features[0] not in (None, self.slopes):
            found = shown(features)
            remedy = "Set slopes to the length of axis 1, or to 1."
            raise SpecError(path, f"an input with an axis 1 of length {self.slopes} (slopes)", found, remedy)
        return features


@dataclass(frozen=True, repr=False)
class ELU(Layer):
    """x for x > 0, else alpha (exp(x) - 1) (Clevert et al. 2016)."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_finite(self, "alpha")


@dataclass(frozen=True, repr=False)
class SELU(Layer):
    """1.0507 times the ELU of alpha 1.6733, which keep mean 0 and variance 1 (Klambauer et al. 2017)."""


@dataclass(frozen=True, repr=False)
class CELU(Layer):
    """x for x > 0, else alpha (exp(x / alpha) - 1) (Barron 2017)."""

    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_number(self, "alpha", lambda alpha: 0 < alpha < math.inf, "as a positive number")


@dataclass(frozen=True, repr=False)
class SiLU(Layer):
    """x sigmoid(x)."""


@dataclass(frozen=True, repr=False)
class GELU(Layer):
    """x Phi(x) exactly, or by the tanh formula: PyTorch's default is "none", Flax's is "tanh"."""

    approximate: Literal["none", "tanh"] = "none"

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise SpecError("", "GELU.approximate as 'none' or 'tanh'", repr(self.approximate))


@dataclass(frozen=True, repr=False)
class Mish(Layer):
    """x tanh(log(1 + exp(x))) (Misra 2020)."""


@dataclass(frozen=True, repr=False)
class Hardswish(Layer):
    """x min(max(x + 3, 0), 6) / 6 (Howard et al. 2019)."""


@dataclass(frozen=True, repr=False)
class Hardsigmoid(Layer):
    """min(max(x + 3, 0), 6) / 6."""


@dataclass(frozen=True, repr=False)
class Hardtanh(Layer):
    """x between `low` and `high`, and the nearer of them outside. The derivative at both is 0, as in PyTorch; in JAX
    it is 1.
    """

    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_finite(self, "low", "high")
        if self.low >= self.high:
            raise SpecError("", "Hardtanh.low below its high", f"{self.low!r} and {self.high!r}")


@dataclass(frozen=True, repr=False)
class Tanh(Layer):
    """tanh(x)."""


@dataclass(frozen=True, repr=False)
class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""


@dataclass(frozen=True, repr=False)
class LogSigmoid(Layer):
    """-log(1 + exp(-x))."""


@dataclass(frozen=True, repr=False)
class Softsign(Layer):
    """x / (1 + |x|)."""


@dataclass(frozen=True, repr=False)
class Softplus(Layer):
    """log(1 + exp(beta x)) / beta, and x where beta x is above `threshold`, as in PyTorch; JAX has neither setting."""

    beta: float = 1.0
    threshold: float = 20.0

    def __post_init__(self) -> None:
        check_number(self, "beta", lambda beta: 0 < beta < math.inf, "as a positive number")
        check_finite(self, "threshold")


@dataclass(frozen=True, repr=False)
class _AlongAxis(Layer):
    """What acts along `axis`, which counts the batch as axis 0, and keeps the shape."""

    axis: int = -1

    def __post_init__(self) -> None:
        _check_axis(self)

    def out(self, features: Features, path: str) -> Features:
        _axis_in(self, features, path)
        return features


@dataclass(frozen=True, repr=False)
class Softmax(_AlongAxis):
    """exp(x) over its sum along `axis`, which counts the batch as axis 0."""


@dataclass(frozen=True, repr=False)
class LogSoftmax(_AlongAxis):
    """x less the log of the sum of exp(x) along `axis`, which counts the batch as axis 0."""


@dataclass(frozen=True, repr=False)
class GLU(_AlongAxis):
    """a sigmoid(b), the halves a and b of x along `axis`, which counts the batch as axis 0 (Dauphin et al. 2017)."""

    def out(self, features: Features, path: str) -> Features:
        axis = _axis_in(self, features, path)
        if axis is None:
            return UNKNOWN
        if axis == 0:
            raise SpecError(path, "an axis of GLU besides the batch", f"axis {self.axis}", "The batch has no halves.")
        length = features[axis - 1]
        if length is not None and length % 2:
            raise SpecError(path, f"an even length along axis {self.axis} of GLU", str(length))
        return (*features[: axis - 1], None if length is None else length // 2, *features[axis:])


def _check_axis(layer: _AlongAxis) -> None:
    """Refuse an axis that is no whole number; store it as an int, since NumPy's would show in the repr."""
    if not isinstance(layer.axis, Integral) or isinstance(layer.axis, bool):
        raise SpecError("", f"{layer.kind}.axis as a whole number", repr(layer.axis))
    object.__setattr__(layer, "axis", int(layer.axis))


def _axis_in(layer: _AlongAxis, features: Features, path: str) -> int | None:
    """The layer's axis counted from the batch on; None where the number of axes is not known.

    Raises:
        SpecError: there is no such axis.
    """
    if Ellipsis in features:
        return None
    rank = len(features) + 1
    if not -rank <= layer.axis < rank:
        raise SpecError(path, f"an input with the axis {layer.axis} of {layer.kind}", shown(features))
    return layer.axis % rank
