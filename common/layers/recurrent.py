"""Recurrent layers over sequences: all layers and directions in one, with two biases each, as PyTorch has them.

Flax has cells, one for each layer and direction; cells.py leads to them and back.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from numbers import Integral
from typing import ClassVar, Literal

from ..errors import ShapeError, SpecError
from ..initializers import Uniform
from ..layouts import SAME, TRANSPOSED
from ..spec import Features, Layer, Native, ParameterSpec, positive, width
from .checks import check_number

_NAME = re.compile(r"(?P<role>\w+)_l(?P<layer>0|[1-9][0-9]*)(?P<reverse>_reverse)?")


@dataclass(frozen=True, repr=False)
class Recurrent(Layer):
    """What RNN, LSTM and GRU have in common: the output sequence (batch, time, width) for a zero initial state.

    The width is that of the hidden state, twice it for two directions: the second one reads the sequence from its
    end, and stands behind the first. Layer n reads what layer n - 1 gives.

    gates: the blocks of rows of every weight and bias, in PyTorch's order.
    apart: the gates in which the hidden side's bias is not just added to the input's, so that they have no sum.
    roles: the parameters of one layer and direction; PyTorch's names are these with a suffix (`weight_ih_l0_reverse`).
    dropout: the probability of a zero between two layers, in training.
    """

    gates: ClassVar[tuple[str, ...]] = ()
    apart: ClassVar[tuple[str, ...]] = ()
    roles: ClassVar[tuple[str, ...]] = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")

    input: int
    hidden: int
    layers: int = 1
    _: KW_ONLY
    bias: bool = True
    bidirectional: bool = False
    dropout: float = 0.0

    def __post_init__(self) -> None:
        positive(self, input=self.input, hidden=self.hidden, layers=self.layers)
        for name in ("bias", "bidirectional"):
            if not isinstance(getattr(self, name), bool):
                raise SpecError("", f"{self.kind}.{name} as True or False", repr(getattr(self, name)))
        check_number(self, "dropout", lambda rate: 0 <= rate < 1, "in [0, 1)")
        if self.dropout and self.layers == 1:
            raise SpecError(
                "",
                f"{self.kind}.dropout of 0 in a single layer, since it acts between layers",
                repr(self.dropout),
                "Put a Dropout after the layer.",
            )

    @property
    def state(self) -> int:
        """The width of the hidden state, which is one direction's output."""
        return self.hidden

    @property
    def out_features(self) -> int:
        """The width of the output, and of what every layer but the first reads."""
        return self.state * (2 if self.bidirectional else 1)

    def suffixes(self, layer: int) -> tuple[str, ...]:
        """What PyTorch's names of one layer's parameters end with, direction by direction."""
        return (f"l{layer}", f"l{layer}_reverse") if self.bidirectional else (f"l{layer}",)

    def parameters(self) -> tuple[ParameterSpec, ...]:
        """Two weights and two biases for each layer and direction, all from U(-1/sqrt(hidden), 1/sqrt(hidden))."""
        bound = 1 / math.sqrt(self.hidden)
        return tuple(
            ParameterSpec(f"{role}_{suffix}", shape, Uniform(-bound, bound))
            for layer in range(self.layers)
            for suffix in self.suffixes(layer)
            for role, shape in self._shapes(layer).items()
        )

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        rows = len(self.gates) * self.hidden
        weights = {"weight_ih": (rows, self.out_features if layer else self.input), "weight_hh": (rows, self.state)}
        return {**weights, "bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else weights

    def out(self, features: Features, path: str) -> Features:
        found = width(features, self, path)
        if features[0] is not Ellipsis and len(features) != 2:
            shown = ", ".join("?" if size is None else str(size) for size in features)
            raise SpecError(path, f"an input (batch, time, {self.input})", f"(batch, {shown})")
        if found not in (None, self.input):
            raise SpecError(
                path,
                f"an input of width {self.input} (input)",
                f"width {found}",
                f"Set input to {found}, or change the layer before.",
            )
        return (None if features[0] is Ellipsis else features[0], self.out_features)

    @classmethod
    def native_of(cls, name: str) -> Native | None:
        """Under PyTorch's name, weights transposed: the Flax wings have a module of ours, since Flax has cells only."""
        if _registered(cls, name) is None:
            return None
        return Native(name, TRANSPOSED if name.startswith("weight") else SAME)

    @classmethod
    def names_in(cls, present: Mapping[str, tuple[int, ...]]) -> list[str]:
        """Those of `present` that are parameters of such a layer: by layer, direction and role."""
        order = {name: found for name in present if (found := _registered(cls, name)) is not None}
        return sorted(order, key=lambda name: order[name])


def _registered(layer: type[Recurrent], name: str) -> tuple[int, bool, int] | None:
    """What orders PyTorch's parameters, by their names: layer, direction and role; None for what has no such name."""
    found = _NAME.fullmatch(name)
    if not found or found["role"] not in layer.roles:
        return None
    return int(found["layer"]), bool(found["reverse"]), layer.roles.index(found["role"])


def check_recurrent_input(shape: tuple[int, ...], features: int) -> None:
    """Refuse an array that is not (batch, time, features): of two axes PyTorch would take the first one for the time.

    Raises:
        ShapeError
    """
    if len(shape) != 3 or shape[-1] != features:
        remedy = "An axis of length 1 is one, too."
        raise ShapeError("", f"an input (batch, time, {features})", f"shape {shape}", remedy)


@dataclass(frozen=True, repr=False)
class RNN(Recurrent):
    """h' = f(W_ih x + b_ih + W_hh h + b_hh), with f = tanh or relu (Elman 1990; `torch.nn.RNN`)."""

    gates: ClassVar[tuple[str, ...]] = ("h",)

    nonlinearity: Literal["tanh", "relu"] = "tanh"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nonlinearity not in ("tanh", "relu"):
            raise SpecError("", "RNN.nonlinearity as 'tanh' or 'relu'", repr(self.nonlinearity))


@dataclass(frozen=True, repr=False)
class LSTM(Recurrent):
    """c' = f c + i g and h' = o tanh(c') (Hochreiter & Schmidhuber 1997; `torch.nn.LSTM`).

    i, f, o are sigmoid, and g is tanh, of a gate's W_ih x + b_ih + W_hh h + b_hh.

    proj_size: the width to which h' is multiplied by one more weight, W_hr (Sak et al. 2014); 0 for none.
    """

    gates: ClassVar[tuple[str, ...]] = ("i", "f", "g", "o")
    roles: ClassVar[tuple[str, ...]] = (*Recurrent.roles, "weight_hr")

    proj_size: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        size = self.proj_size
        if not isinstance(size, Integral) or isinstance(size, bool) or not 0 <= size < self.hidden:
            raise SpecError("", f"LSTM.proj_size as a whole number in [0, {self.hidden}), below hidden", repr(size))
        object.__setattr__(self, "proj_size", int(size))

    @property
    def state(self) -> int:
        """The width of the hidden state, which is one direction's output: that of the projection, if there is one."""
        return self.proj_size or self.hidden

    def _shapes(self, layer: int) -> dict[str, tuple[int, ...]]:
        shapes = super()._shapes(layer)
        return {**shapes, "weight_hr": (self.proj_size, self.hidden)} if self.proj_size else shapes


@dataclass(frozen=True, repr=False)
class GRU(Recurrent):
    """h' = (1 - z) n + z h, with n = tanh(W_in x + b_in + r (W_hn h + b_hn)) (Cho et al. 2014; `torch.nn.GRU`).

    r and z are sigmoid of a gate's W_ih x + b_ih + W_hh h + b_hh. In n the reset gate stands between the two biases.
    """

    gates: ClassVar[tuple[str, ...]] = ("r", "z", "n")
    apart: ClassVar[tuple[str, ...]] = ("n",)
