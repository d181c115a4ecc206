"""The layers a spec is made of: each entry holds its names, shapes, layouts and default initializers.

Names and shapes are PyTorch's, and so are the default initializers; `natives` gives each
parameter's name and layout in Flax, which Linen and NNX share.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, ClassVar, Literal

from .errors import InitializerError, SpecError
from .initializers import Initializer, Normal, Uniform, VarianceScaling
from .layouts import TRANSPOSED
from .spec import Features, Layer, Native, ParameterSpec, Tied, flat, positive, width, with_width


@dataclass(frozen=True, repr=False)
class Linear(Layer):
    """y = x W^T + b, with W of shape (out, in).

    in_features: None for a lazy layer, whose width is that of its first input.
    weight_init, bias_init: default to those of `torch.nn.Linear`, U(-1/sqrt(in), 1/sqrt(in)) for
        both. For the weight that is a variance of 1/(3 in); a bias has no fan of its own.
    """

    natives: ClassVar[Mapping[str, Native]] = {"weight": Native("kernel", TRANSPOSED), "bias": Native("bias")}

    in_features: int | None
    out_features: int
    bias: bool = True
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        positive(self, out_features=self.out_features)
        if self.in_features is not None:
            positive(self, in_features=self.in_features)
        _check_bias(self, self.bias, self.bias_init)
        _check_initializer(self.weight_init, (self.out_features, self.in_features), "weight")
        _check_initializer(self.bias_init, (self.out_features,), "bias")

    def parameters(self) -> tuple[ParameterSpec, ...]:
        weight = self.weight_init or VarianceScaling(1 / 3, "fan_in", "uniform")
        found = [ParameterSpec("weight", (self.out_features, self.in_features), weight)]
        if self.bias:
            found.append(ParameterSpec("bias", (self.out_features,), self.bias_init or self._default_bias()))
        return tuple(found)

    def _default_bias(self) -> Initializer | None:
        if self.in_features is None:
            return None
        bound = 1 / math.sqrt(self.in_features)
        return Uniform(-bound, bound)

    def out(self, features: Features, path: str) -> Features:
        return _product(self, features, path)

    def given(self, features: Features) -> Layer:
        if self.in_features is not None or not features or features[-1] is Ellipsis:
            return self
        return replace(self, in_features=features[-1])


@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """A row of W, of shape (vocabulary, features), for each token; default N(0, 1) as in PyTorch."""

    natives: ClassVar[Mapping[str, Native]] = {"weight": Native("embedding")}

    vocabulary: int
    features: int
    weight_init: Initializer | None = None

    def __post_init__(self) -> None:
        positive(self, vocabulary=self.vocabulary, features=self.features)
        _check_initializer(self.weight_init, (self.vocabulary, self.features), "weight")

    def parameters(self) -> tuple[ParameterSpec, ...]:
        return (ParameterSpec("weight", (self.vocabulary, self.features), self.weight_init or Normal()),)

    def out(self, features: Features, path: str) -> Features:
        return (*features, self.features)


@dataclass(frozen=True, repr=False)
class Decoder(Tied):
    """Logits x E^T + b, where E is the weight of the Embedding at path `of`: an alias of it.

    In PyTorch the two weights have one shape, (vocabulary, features), and the tie is the identity.
    A Flax Dense would hold the transpose; the wings use `attend`, which reads E as it lies.
    `of` is looked up as in `Shared`.
    """

    natives: ClassVar[Mapping[str, Native]] = {"weight": Native("embedding"), "bias": Native("bias")}

    bias: bool = False
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_bias(self, self.bias, self.bias_init)

    def tied_to(self, target: Layer, path: str) -> Linear:
        """The Linear that this is, given the layer it is tied to.

        Raises:
            SpecError: `of` is not the path of an Embedding.
        """
        if not isinstance(target, Embedding):
            raise SpecError(path, f"{self.of!r} to be an Embedding", target.kind, "A Decoder ties to an Embedding.")
        return Linear(target.features, target.vocabulary, self.bias, bias_init=self.bias_init)


@dataclass(frozen=True, repr=False)
class FixedLinear(Layer):
    """y = x W^T + shift, with a W that is not trained: a buffer of shape (out, in); default U(0, 1)."""

    natives: ClassVar[Mapping[str, Native]] = {"weight": Native("kernel", TRANSPOSED)}

    in_features: int
    out_features: int
    shift: float = 0.0
    weight_init: Initializer | None = None

    def __post_init__(self) -> None:
        positive(self, in_features=self.in_features, out_features=self.out_features)
        _check_number(self, "shift", math.isfinite, "as a finite number")
        _check_initializer(self.weight_init, (self.out_features, self.in_features), "weight")

    def parameters(self) -> tuple[ParameterSpec, ...]:
        init = self.weight_init or Uniform(0.0, 1.0)
        return (ParameterSpec("weight", (self.out_features, self.in_features), init, "buffer"),)

    def out(self, features: Features, path: str) -> Features:
        return _product(self, features, path)


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """Zeroes an entry with probability `rate` and scales the others by 1/(1 - rate), in training only."""

    rate: float = 0.5

    def __post_init__(self) -> None:
        _check_number(self, "rate", lambda rate: 0 <= rate < 1, "in [0, 1)")


@dataclass(frozen=True, repr=False)
class Flatten(Layer):
    """All axes but the batch merged into one, the last axis running fastest."""

    def out(self, features: Features, path: str) -> Features:
        return flat(features)


@dataclass(frozen=True, repr=False)
class ReLU(Layer):
    """max(x, 0); its derivative at 0 is 0 in both frameworks."""


@dataclass(frozen=True, repr=False)
class Tanh(Layer):
    """tanh(x)."""


@dataclass(frozen=True, repr=False)
class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""


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
class LeakyReLU(Layer):
    """x for x > 0, else slope * x."""

    slope: float = 0.01

    def __post_init__(self) -> None:
        _check_number(self, "slope", math.isfinite, "as a finite number")


@dataclass(frozen=True, repr=False)
class Softplus(Layer):
    """log(1 + exp(x))."""


@dataclass(frozen=True, repr=False)
class Halve(Layer):
    """Halves its whole input until the sum of magnitudes is at most `limit`: a loop on values.

    The number of halvings is a constant for the gradient, as in a `while` run eagerly.
    """

    limit: float = 1.0

    def __post_init__(self) -> None:
        _check_number(self, "limit", lambda limit: 0 < limit < math.inf, "as a positive number")


@dataclass(frozen=True, repr=False)
class Sum(Layer):
    """The sum of everything, the batch included: a scalar."""

    def out(self, features: Any, path: str) -> Features:
        return ()


def _product(layer: Linear | FixedLinear, features: Features, path: str) -> Features:
    """What a multiplication by W of shape (out, in) makes of `features`; raises SpecError if their width is another."""
    found = width(features, layer, path)
    if None not in (found, layer.in_features) and found != layer.in_features:
        raise SpecError(
            path,
            f"an input of width {layer.in_features} (in_features)",
            f"width {found}",
            f"Set in_features to {found}, or change the layer before.",
        )
    return with_width(features, layer.out_features)


def _check_bias(layer: Linear | Decoder, bias: Any, bias_init: Any) -> None:
    if not isinstance(bias, bool):
        raise SpecError("", f"{layer.kind}.bias as True or False", repr(bias), "Initializers have names of their own.")
    if bias_init is not None and not bias:
        raise SpecError("", f"no bias_init in a {layer.kind} without a bias", repr(bias_init), "Drop one of the two.")


def _check_initializer(initializer: Any, shape: tuple[int | None, ...], name: str) -> None:
    """Refuse what is no initializer or does not fit the shape, once that is known; None is the default."""
    if initializer is None:
        return
    if not isinstance(initializer, Initializer):
        raise InitializerError(name, "an initializer such as Normal(0.0, 0.01)", repr(initializer))
    if None not in shape:
        initializer.validate(shape, name)  # type: ignore[arg-type]


def _check_number(layer: Layer, name: str, fits: Callable[[Any], bool], expected: str) -> None:
    value = getattr(layer, name)
    if isinstance(value, bool) or not isinstance(value, Real) or not fits(value):
        raise SpecError("", f"{layer.kind}.{name} {expected}", repr(value))
    # A NumPy number would show in the repr, which is to be the code that builds the layer.
    object.__setattr__(layer, name, float(value))


def kind_of(layer: type, words: Mapping[type, str]) -> str:
    """The spec's word for a framework's class: that of its nearest ancestor in `words`, else its own name.

    A class that only bears the name of one of ours goes by its module's too: nothing is known of its layout.
    """
    own = layer.__name__
    known = next((words[base] for base in layer.__mro__ if base in words), None)
    return known or (f"{layer.__module__}.{own}" if own in _KINDS else own)


def native(kind: str, name: str) -> Native | None:
    """How Flax spells and stores the parameter `name` of a layer of that kind; None for a kind not in the spec."""
    layer = _KINDS.get(kind)
    return layer.natives.get(name) if layer else None


def native_name(kind: str, name: str) -> str:
    """Flax's name of a parameter: the spec's for a layer that it knows, else the name as it is."""
    known = native(kind, name)
    return known.name if known else name


def canonical_name(kind: str, native_name: str) -> str | None:
    """PyTorch's name for what Flax calls `native_name` in a layer of that kind; None if there is none."""
    layer = _KINDS.get(kind)
    return next((name for name, own in layer.natives.items() if own.name == native_name), None) if layer else None


def native_order(kind: str) -> tuple[str, ...]:
    """Flax's names of the parameters of a layer of that kind, in PyTorch's order; none for a kind not in the spec."""
    layer = _KINDS.get(kind)
    return tuple(own.name for own in layer.natives.values()) if layer else ()


_KINDS: dict[str, type[Layer]] = {layer.__name__: layer for layer in (Linear, Embedding, Decoder, FixedLinear)}
