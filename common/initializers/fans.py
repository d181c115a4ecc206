"""Fans and gains: how a shape and a nonlinearity set the scale of an initializer.

Shapes are in the canonical layout, PyTorch's: Linear `(out, in)`, Conv `(out, in, *kernel)`, Embedding
`(vocab, features)`. The receptive field, the product of the kernel's sizes, multiplies both fans
(Glorot & Bengio 2010; He et al. 2015, section 2.2, where it is k squared).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from ..errors import InitializerError

FanMode = Literal["fan_in", "fan_out", "fan_avg", "fan_geo_avg"]
FAN_MODES: tuple[FanMode, ...] = get_args(FanMode)

# Nonlinearities that keep the variance as it is: the layers themselves are linear maps.
_UNIT_GAIN = (
    "linear",
    "identity",
    "sigmoid",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
)
NONLINEARITIES = (*_UNIT_GAIN, "tanh", "relu", "leaky_relu", "selu")
DEFAULT_SLOPE = 0.01


@dataclass(frozen=True)
class Fans:
    """How many inputs feed one output (`fan_in`), and how many outputs one input feeds (`fan_out`)."""

    fan_in: int
    fan_out: int

    def mode(self, name: str) -> float:
        """The fan that a mode names: one of the two, their arithmetic or their geometric mean.

        Raises:
            InitializerError: no such mode; the message lists them.
        """
        match name:
            case "fan_in":
                return float(self.fan_in)
            case "fan_out":
                return float(self.fan_out)
            case "fan_avg":
                return (self.fan_in + self.fan_out) / 2
            case "fan_geo_avg":
                return math.sqrt(self.fan_in * self.fan_out)
        raise InitializerError("", f"a fan mode among {', '.join(FAN_MODES)}", repr(name))


def fans(shape: Sequence[int], path: str = "") -> Fans:
    """The fans of a parameter of `shape`, `(out, in, *kernel)`.

    A grouped convolution's `in` is already the inputs per group. A transposed convolution stores
    `(in, out, *kernel)` in PyTorch and the rule is by position, so its fans come out swapped: PyTorch's own
    initializers do the same, and a port that wants the same distribution must too.

    Raises:
        InitializerError: fewer than two axes; its path is `path`.
    """
    if len(shape) < 2:
        raise InitializerError(
            path,
            "a shape of at least 2 dimensions, to have fans",
            f"shape {tuple(shape)}",
            "Give a vector or scalar an initializer with its own scale, such as Uniform, Normal or Zeros.",
        )
    receptive_field = math.prod(shape[2:])
    return Fans(fan_in=shape[1] * receptive_field, fan_out=shape[0] * receptive_field)


def gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor on the std that keeps the variance through a nonlinearity.

    PyTorch's table (`torch.nn.init.calculate_gain`): 1 for linear maps and sigmoid, 5/3 for tanh, sqrt(2) for
    relu (half of the second moment is cut away, He et al. 2015), sqrt(2 / (1 + slope^2)) for leaky_relu with
    `param` the negative slope (0.01 if None), 3/4 for selu. The other nonlinearities ignore `param`.

    Raises:
        InitializerError: no such nonlinearity; the message lists them.
    """
    if nonlinearity in _UNIT_GAIN:
        return 1.0
    match nonlinearity:
        case "tanh":
            return 5 / 3
        case "relu":
            return math.sqrt(2)
        case "leaky_relu":
            slope = DEFAULT_SLOPE if param is None else param
            return math.sqrt(2 / (1 + slope**2))
        case "selu":
            return 3 / 4
    raise InitializerError("", f"a nonlinearity among {', '.join(NONLINEARITIES)}", repr(nonlinearity))
