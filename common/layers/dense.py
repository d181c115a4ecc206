"""Layers that multiply by a matrix or look up its rows, and bare arrays."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, ClassVar

from ..errors import InitializerError, SpecError
from ..initializers import (
    FLAX_EMBEDDING,
    FLAX_KERNEL,
    TORCH_EMBEDDING,
    TORCH_WEIGHT,
    Initializer,
    Normal,
    Uniform,
    ZeroRow,
    Zeros,
)
from ..layouts import TRANSPOSED
from ..spec import Features, Layer, Native, ParameterSpec, Tied, positive, width, with_width
from .checks import check_bias, check_finite, check_initializer


@dataclass(frozen=True, repr=False)
class Linear(Layer):
    """y = x W^T + b, with W of shape (out, in).

    in_features: None for a lazy layer, whose width is that of its first input.
    weight_init, bias_init: default to those of `torch.nn.Linear`, U(-1/sqrt(in), 1/sqrt(in)) for
        both. For the weight that is a variance of 1/(3 in); a bias has no fan of its own.
    """

    natives: ClassVar[Mapping[str, Native]] = {
        "weight": Native("kernel", TRANSPOSED, FLAX_KERNEL),
        "bias": Native("bias", initializer=Zeros()),
    }

    in_features: int | None
    out_features: int
    bias: bool = True
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        positive(self, out_features=self.out_features)
        if self.in_features is not None:
            positive(self, in_features=self.in_features)
        check_bias(self, self.bias, self.bias_init)
        check_initializer(self.weight_init, (self.out_features, self.in_features), "weight")
        check_initializer(self.bias_init, (self.out_features,), "bias")

    def parameters(self) -> tuple[ParameterSpec, ...]:
        weight = self.weight_init or TORCH_WEIGHT
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
class TransposedLinear(Layer):
    """y = x W + b, with W of shape (in, out): a Linear that stores its weight as Flax does.

    transformers has it as `Conv1D`, in GPT-2. The bias starts at zero.
    """

    natives: ClassVar[Mapping[str, Native]] = {"weight": Native("kernel"), "bias": Native("bias")}

    in_features: int
    out_features: int
    bias: bool = True
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        positive(self, in_features=self.in_features, out_features=self.out_features)
        check_bias(self, self.bias, self.bias_init)
        check_initializer(self.weight_init, (self.in_features, self.out_features), "weight")
        check_initializer(self.bias_init, (self.out_features,), "bias")

    def parameters(self) -> tuple[ParameterSpec, ...]:
        weight = ParameterSpec("weight", (self.in_features, self.out_features), self.weight_init or Normal(0.0, 0.02))
        bias = ParameterSpec("bias", (self.out_features,), self.bias_init or Zeros())
        return (weight, bias) if self.bias else (weight,)

    def out(self, features: Features, path: str) -> Features:
        return _product(self, features, path)


@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """A row of W, of shape (vocabulary, features), for each token; default N(0, 1) as in PyTorch.

    padding_idx: the token whose row begins as zeros and gets no gradient from the lookup, as in PyTorch; below 0 it
        counts from the end. Flax's own class has none. A Decoder that reads the row does give it a gradient.
    """

    natives: ClassVar[Mapping[str, Native]] = {"weight": Native("embedding", initializer=FLAX_EMBEDDING)}

    vocabulary: int
    features: int
    weight_init: Initializer | None = None
    padding_idx: int | None = None

    def __post_init__(self) -> None:
        positive(self, vocabulary=self.vocabulary, features=self.features)
        if self.padding_idx is not None:
            object.__setattr__(self, "padding_idx", self._padding_row(self.padding_idx))
        check_initializer(self.weight_init, (self.vocabulary, self.features), "weight")
        self._drawn_from()

    def _padding_row(self, token: Any) -> int:
        """The row that `padding_idx` means, counted from the start; raises SpecError if there is none."""
        last = self.vocabulary - 1
        whole = isinstance(token, Integral) and not isinstance(token, bool)
        if not whole or not -self.vocabulary <= int(token) <= last:
            expected = f"Embedding.padding_idx as a whole number from {-self.vocabulary} to {last}"
            raise SpecError("", expected, repr(token))
        return int(token) % self.vocabulary

    def _drawn_from(self) -> Initializer:
        initializer = self.weight_init or TORCH_EMBEDDING
        return initializer if self.padding_idx is None else ZeroRow(initializer, self.padding_idx)

    def parameters(self) -> tuple[ParameterSpec, ...]:
        return (ParameterSpec("weight", (self.vocabulary, self.features), self._drawn_from()),)

    def out(self, features: Features, path: str) -> Features:
        return (*features, self.features)


@dataclass(frozen=True, repr=False)
class Decoder(Tied):
    """Logits x E^T + b, where E is the weight of the Embedding at path `of`: an alias of it.

    In PyTorch the two weights have one shape, (vocabulary, features), and the tie is the identity.
    A Flax Dense would hold the transpose; the wings use `attend`, which reads E as it lies.
    `of` is looked up as in `Shared`.

    bias: its own if True; the path of a Parameter, of which it is then an alias.
    scale: of the input, before the product.
    """

    natives: ClassVar[Mapping[str, Native]] = {"weight": Native("embedding"), "bias": Native("bias")}

    bias: bool | str = False
    bias_init: Initializer | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_finite(self, "scale")
        check_bias(self, self.bias is True if isinstance(self.bias, str) else self.bias, self.bias_init)

    @property
    def aliases(self) -> Mapping[str, str]:
        """The weight, and the bias where it is another's."""
        return {"weight": self.of, "bias": self.bias} if isinstance(self.bias, str) else {"weight": self.of}

    def check_owners(self, owners: Mapping[str, Layer], path: str) -> None:
        """The bias of another must be a Parameter with an entry for every token.

        Raises:
            SpecError: its path is `path`.
        """
        embedding, bias = owners["weight"], owners.get("bias")
        if bias is None or not isinstance(embedding, Embedding):
            return
        if not isinstance(bias, Parameter) or bias.shape != (embedding.vocabulary,):
            expected = f"{self.bias!r} to be a Parameter of shape ({embedding.vocabulary},)"
            raise SpecError(path, expected, repr(bias), "A Decoder adds it to its logits.")

    def tied_to(self, target: Layer, path: str) -> Linear:
        """The Linear that this is, given the layer it is tied to.

        Raises:
            SpecError: `of` is not the path of an Embedding.
        """
        if not isinstance(target, Embedding):
            raise SpecError(path, f"{self.of!r} to be an Embedding", target.kind, "A Decoder ties to an Embedding.")
        return Linear(target.features, target.vocabulary, bool(self.bias), bias_init=self.bias_init)


@dataclass(frozen=True, repr=False)
class Transposed(Tied):
    """y = x W + b, where W, of shape (out, in), is the weight of the Linear at path `of`: the way back from its output.

    A transposed tie, as in an autoencoder. The weight has one path in every framework, its owner's: PyTorch has no
    parameter that is another one's transpose. `of` is looked up as in `Shared`.
    """

    natives: ClassVar[Mapping[str, Native]] = {"bias": Native("bias")}
    lists_weight: ClassVar[bool] = False

    bias: bool = True
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bias(self, self.bias, self.bias_init)

    def tied_to(self, target: Layer, path: str) -> Linear:
        """The Linear that this is, given the layer it is tied to.

        Raises:
            SpecError: `of` is not the path of a Linear whose width is known.
        """
        if not isinstance(target, Linear):
            raise SpecError(path, f"{self.of!r} to be a Linear", target.kind, "A Transposed ties to a Linear.")
        if target.in_features is None:
            raise SpecError(path, f"{self.of!r} to be a Linear of known width", repr(target), "Give its in_features.")
        return Linear(target.out_features, target.in_features, self.bias, bias_init=self.bias_init)


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
        check_finite(self, "shift")
        check_initializer(self.weight_init, (self.out_features, self.in_features), "weight")

    def parameters(self) -> tuple[ParameterSpec, ...]:
        init = self.weight_init or Uniform(0.0, 1.0)
        return (ParameterSpec("weight", (self.out_features, self.in_features), init, "buffer"),)

    def out(self, features: Features, path: str) -> Features:
        return _product(self, features, path)


@dataclass(frozen=True, repr=False)
class Parameter(Layer):
    """A bare trained array as a child of a Block, in whose forward its name stands for it.

    shape: with a leading axis of length 1 where it is to be stretched over the batch.
    """

    natives: ClassVar[Mapping[str, Native]] = {"": Native("value")}
    inputs: ClassVar[tuple[int, int]] = (0, 0)

    shape: tuple[int, ...]
    initializer: Initializer

    def __post_init__(self) -> None:
        _settle_array(self)

    def parameters(self) -> tuple[ParameterSpec, ...]:
        return (ParameterSpec("", self.shape, self.initializer),)

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features:
        return self.shape[1:] if len(self.shape) > 1 else self.shape


@dataclass(frozen=True, repr=False)
class Buffer(Layer):
    """A bare array that is not trained, as a child of a Block; see Parameter.

    dtype: its own, where it does not follow the model's: "int64" for indices.
    persistent: whether PyTorch's `state_dict` lists it.
    """

    natives: ClassVar[Mapping[str, Native]] = {"": Native("value")}
    inputs: ClassVar[tuple[int, int]] = (0, 0)

    shape: tuple[int, ...]
    initializer: Initializer
    dtype: str | None = None
    persistent: bool = True

    def __post_init__(self) -> None:
        _settle_array(self)
        if self.dtype not in (None, "float32", "float64", "int32", "int64", "bool"):
            raise SpecError(
                "", "Buffer.dtype as None, 'float32', 'float64', 'int32', 'int64' or 'bool'", repr(self.dtype)
            )
        if not isinstance(self.persistent, bool):
            raise SpecError("", "Buffer.persistent as True or False", repr(self.persistent))

    def parameters(self) -> tuple[ParameterSpec, ...]:
        return (ParameterSpec("", self.shape, self.initializer, "buffer", self.dtype, self.persistent),)

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features:
        return self.shape[1:] if len(self.shape) > 1 else self.shape


def _settle_array(layer: Parameter | Buffer) -> None:
    """Check the shape and the initializer of a bare array, and store the shape as a tuple of ints."""
    shape = layer.shape
    whole = isinstance(shape, tuple | list) and all(isinstance(size, Integral) and size > 0 for size in shape)  # type: ignore[operator]
    if not whole or any(isinstance(size, bool) for size in shape):
        raise SpecError("", f"{layer.kind}.shape as a tuple of positive whole numbers", repr(shape))
    object.__setattr__(layer, "shape", tuple(int(size) for size in shape))
    if not isinstance(layer.initializer, Initializer):
        raise InitializerError(
            "", f"an initializer for the {layer.kind}", repr(layer.initializer), "Zeros(), Normal(), ..."
        )
    layer.initializer.validate(layer.shape)


def _product(layer: Linear | TransposedLinear | FixedLinear, features: Features, path: str) -> Features:
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
