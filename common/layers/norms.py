"""Layers that normalize: by the statistics of a sample, of a group of its channels, or of a whole batch.

Flax has each of them with other defaults. `flax_settings` is where the conversion of the settings lives: both Flax
wings hand its result to Flax's own classes.

- `eps` is Flax's `epsilon`, whose default is 1e-6 where PyTorch's is 1e-5 (BatchNorm aside, with 1e-5 in both).
- `momentum` m, the share of the new batch, is Flax's 1 - m, the share of what is kept: 0.1 is 0.9, and Flax's default
  is 0.99.
- `use_fast_variance=False`: Flax's default, E[x^2] - E[x]^2, loses what is small beside the mean. PyTorch subtracts it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..errors import SpecError
from ..initializers import Constant, Initializer, Ones, Zeros
from ..spec import Features, Layer, Native, ParameterSpec, positive
from .checks import check_initializer, check_number, shown

_WEIGHT = Native("scale", initializer=Ones())
_BIAS = Native("bias", initializer=Zeros())


@dataclass(frozen=True, repr=False)
class LayerNorm(Layer):
    """(x - mean) / sqrt(variance + eps) * weight + bias over the last axes, those of `shape`; the variance is biased.

    shape: of the normalized axes, which are also those of weight and bias; a number for one axis.
    affine: whether there are weight and bias (`elementwise_affine` in PyTorch). bias: whether the latter comes along.
    """

    natives: ClassVar[Mapping[str, Native]] = {"weight": _WEIGHT, "bias": _BIAS}

    shape: int | tuple[int, ...]
    eps: float = 1e-5
    affine: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        _assign_shape(self)
        check_number(self, "eps", _not_negative, "as a finite number of at least 0")
        _switches(self, "affine", "bias")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape as a tuple, also of one axis."""
        return (self.shape,) if isinstance(self.shape, int) else self.shape

    def parameters(self) -> tuple[ParameterSpec, ...]:
        return _scale_and_shift(self.sizes, self.affine, self.bias)

    def out(self, features: Features, path: str) -> Features:
        _check_last_axes(self, self.sizes, features, path)
        return features

    def flax_settings(self, dtype: str) -> dict[str, Any]:
        """What Flax's LayerNorm is given to be this layer."""
        last = tuple(range(-len(self.sizes), 0))
        switches = {"use_scale": self.affine, "use_bias": self.affine and self.bias, "use_fast_variance": False}
        return {"epsilon": self.eps, "reduction_axes": last, "feature_axes": last, **switches}


@dataclass(frozen=True, repr=False)
class RMSNorm(Layer):
    """x / sqrt(mean of x^2 + eps) * (offset + weight) over the last axes, those of `shape`.

    eps: None for the machine epsilon of the type the mean is computed in: float64's in a float64 model, float32's in
        any other, half precision included. Flax's default is 1e-6.
    affine: whether there is a weight.
    offset: what is added to the weight: 1 in Gemma, whose weight is drawn as 0. The layer begins as the identity
        scale with any offset, so the weight's default is 1 - offset.
    weight_init: in the place of that.
    """

    natives: ClassVar[Mapping[str, Native]] = {"weight": Native("scale", initializer=lambda layer: layer.default)}

    shape: int | tuple[int, ...]
    eps: float | None = None
    affine: bool = True
    offset: float = 0.0
    weight_init: Initializer | None = None

    def __post_init__(self) -> None:
        _assign_shape(self)
        check_initializer(self.weight_init, self.sizes, "weight")
        if self.eps is not None:
            check_number(self, "eps", _not_negative, "as a finite number of at least 0, or None")
        _switches(self, "affine")
        check_number(self, "offset", math.isfinite, "as a finite number")
        if self.offset and not self.affine:
            remedy = "Drop one of the two settings."
            raise SpecError("", "RMSNorm.offset as 0 without a weight (affine=False)", repr(self.offset), remedy)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape as a tuple, also of one axis."""
        return (self.shape,) if isinstance(self.shape, int) else self.shape

    @property
    def default(self) -> Initializer:
        """What the weight is drawn from: 1 - offset. Flax's own RMSNorm has no offset, and draws 1."""
        return Constant(1 - self.offset) if self.offset else Ones()

    def parameters(self) -> tuple[ParameterSpec, ...]:
        return (ParameterSpec("weight", self.sizes, self.weight_init or self.default),) if self.affine else ()

    def out(self, features: Features, path: str) -> Features:
        _check_last_axes(self, self.sizes, features, path)
        return features

    def epsilon(self, dtype: str) -> float:
        """The eps of a model of type `dtype`."""
        if self.eps is not None:
            return self.eps
        return float(np.finfo(np.float64 if dtype == "float64" else np.float32).eps)

    def flax_settings(self, dtype: str) -> dict[str, Any]:
        """What Flax's RMSNorm is given to be this layer, its offset aside, which Flax does not have."""
        last = tuple(range(-len(self.sizes), 0))
        switches = {"use_scale": self.affine, "use_fast_variance": False}
        return {"epsilon": self.epsilon(dtype), "reduction_axes": last, "feature_axes": last, **switches}


@dataclass(frozen=True, repr=False)
class GroupNorm(Layer):
    """Each sample's channels in `groups` groups, each normalized by its own mean and biased variance.

    Inputs are (batch, channels, *any). weight and bias are per channel; `affine`: whether there are any, `bias`:
    whether the latter comes along.
    """

    natives: ClassVar[Mapping[str, Native]] = {"weight": _WEIGHT, "bias": _BIAS}

    groups: int
    channels: int
    eps: float = 1e-5
    affine: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        positive(self, groups=self.groups, channels=self.channels)
        if self.channels % self.groups:
            found = f"{self.channels} channels in {self.groups} groups"
            raise SpecError("", "GroupNorm.channels as a multiple of groups", found)
        check_number(self, "eps", _not_negative, "as a finite number of at least 0")
        _switches(self, "affine", "bias")

    def parameters(self) -> tuple[ParameterSpec, ...]:
        return _scale_and_shift((self.channels,), self.affine, self.bias)

    def out(self, features: Features, path: str) -> Features:
        _check_channels(self, self.channels, features, path)
        return features

    def flax_settings(self, dtype: str) -> dict[str, Any]:
        """What Flax's GroupNorm is given to be this layer, on inputs whose channels are the last axis."""
        switches = {"use_scale": self.affine, "use_bias": self.affine and self.bias, "use_fast_variance": False}
        return {"num_groups": self.groups, "epsilon": self.eps, **switches}


@dataclass(frozen=True, repr=False)
class _ChannelNorm(Layer):
    """What batch and instance normalization have in common: settings, parameters and buffers per channel."""

    # How many axes an input may have besides the batch: those of a class with a number in its name.
    ranks: ClassVar[tuple[int, ...]] = ()

    channels: int
    eps: float = 1e-5
    momentum: float | None = 0.1
    affine: bool = True
    track_running_stats: bool = True
    bias: bool = True

    def __post_init__(self) -> None:
        if not self.ranks:
            raise SpecError("", f"{self.kind}1d, {self.kind}2d or {self.kind}3d", self.kind, "Write the one you mean.")
        positive(self, channels=self.channels)
        check_number(self, "eps", lambda eps: 0 < eps < math.inf, "as a positive number")
        if self.momentum is not None:
            check_number(self, "momentum", lambda momentum: 0 <= momentum <= 1, "in [0, 1], or None")
        _switches(self, "affine", "track_running_stats", "bias")

    def parameters(self) -> tuple[ParameterSpec, ...]:
        found = _scale_and_shift((self.channels,), self.affine, self.bias)
        if not self.track_running_stats:
            return found
        return (
            *found,
            ParameterSpec("running_mean", (self.channels,), Zeros(), "buffer"),
            ParameterSpec("running_var", (self.channels,), Ones(), "buffer"),
            ParameterSpec("num_batches_tracked", (), Zeros(), "buffer", dtype="int64"),
        )

    def out(self, features: Features, path: str) -> Features:
        _check_rank(self, self.ranks, features, path)
        _check_channels(self, self.channels, features, path)
        return features


@dataclass(frozen=True, repr=False)
class BatchNorm(_ChannelNorm):
    """What BatchNorm1d, 2d and 3d are, which say how many axes there are besides the channels.

    Training normalizes each channel by the batch's mean and biased variance; inference by running statistics, if they
    are tracked. A training step moves these by `momentum` towards the batch's mean and its *unbiased* variance.
    Flax moves to the biased one, so the Flax wings correct that step by n / (n - 1).

    momentum: the share of the new batch; None for the average over all batches so far, which Flax cannot express.
    affine: whether there are weight and bias. bias: whether the latter comes along.
    track_running_stats: False for a layer that has no buffers, and normalizes by the batch in inference, too.
    """

    natives: ClassVar[Mapping[str, Native]] = {
        "weight": _WEIGHT,
        "bias": _BIAS,
        "running_mean": Native("mean", initializer=Zeros(), collection="batch_stats"),
        "running_var": Native("var", initializer=Ones(), collection="batch_stats"),
        # Flax counts no batches; the Flax wings do, so that nothing of PyTorch's state is lost.
        "num_batches_tracked": Native("num_batches_tracked", collection="batch_stats"),
    }

    def flax_settings(self, dtype: str) -> dict[str, Any]:
        """What Flax's BatchNorm is given to be this layer; one that tracks nothing is Flax's LayerNorm.

        The latter is over inputs (batch, channels, rest), of which it reduces the first and the last axis.
        """
        switches = {"use_scale": self.affine, "use_bias": self.affine and self.bias, "use_fast_variance": False}
        if not self.track_running_stats:
            return {"epsilon": self.eps, "reduction_axes": (0, 2), "feature_axes": 1, **switches}
        kept = {} if self.momentum is None else {"momentum": 1 - self.momentum}
        return {"axis": 1, "epsilon": self.eps, **kept, **switches}


@dataclass(frozen=True, repr=False)
class BatchNorm1d(BatchNorm):
    """Batch normalization of inputs (batch, channels) or (batch, channels, length); see BatchNorm."""

    ranks: ClassVar[tuple[int, ...]] = (1, 2)


@dataclass(frozen=True, repr=False)
class BatchNorm2d(BatchNorm):
    """Batch normalization of inputs (batch, channels, height, width); see BatchNorm."""

    ranks: ClassVar[tuple[int, ...]] = (3,)


@dataclass(frozen=True, repr=False)
class BatchNorm3d(BatchNorm):
    """Batch normalization of inputs (batch, channels, depth, height, width); see BatchNorm."""

    ranks: ClassVar[tuple[int, ...]] = (4,)


@dataclass(frozen=True, repr=False)
class InstanceNorm(_ChannelNorm):
    """What InstanceNorm1d, 2d and 3d are: each channel of each sample normalized by its own mean and biased variance.

    The settings are BatchNorm's, with PyTorch's other defaults: neither weight nor bias, and no statistics. With
    `track_running_stats`, inference normalizes by the running averages of the samples' statistics; Flax's class has
    none, so the Flax wings refuse that. PyTorch then has a `num_batches_tracked`, too, which stays 0.
    """

    natives: ClassVar[Mapping[str, Native]] = {"weight": _WEIGHT, "bias": _BIAS}

    affine: bool = False
    track_running_stats: bool = False

    def out(self, features: Features, path: str) -> Features:
        features = super().out(features, path)
        if Ellipsis not in features and None not in features[1:] and math.prod(features[1:]) == 1:
            remedy = "The one value would be its own mean, and the output 0."
            raise SpecError(path, f"more than one value per channel for {self.kind}", shown(features), remedy)
        return features

    def flax_settings(self, dtype: str) -> dict[str, Any]:
        """What Flax's InstanceNorm is given to be this layer."""
        switches = {"use_scale": self.affine, "use_bias": self.affine and self.bias, "use_fast_variance": False}
        return {"epsilon": self.eps, "feature_axes": 1, **switches}


@dataclass(frozen=True, repr=False)
class InstanceNorm1d(InstanceNorm):
    """Instance normalization of inputs (batch, channels, length); see InstanceNorm."""

    ranks: ClassVar[tuple[int, ...]] = (2,)


@dataclass(frozen=True, repr=False)
class InstanceNorm2d(InstanceNorm):
    """Instance normalization of inputs (batch, channels, height, width); see InstanceNorm."""

    ranks: ClassVar[tuple[int, ...]] = (3,)


@dataclass(frozen=True, repr=False)
class InstanceNorm3d(InstanceNorm):
    """Instance normalization of inputs (batch, channels, depth, height, width); see InstanceNorm."""

    ranks: ClassVar[tuple[int, ...]] = (4,)


def _scale_and_shift(shape: tuple[int, ...], affine: bool, bias: bool) -> tuple[ParameterSpec, ...]:
    if not affine:
        return ()
    weight = ParameterSpec("weight", shape, Ones())
    return (weight, ParameterSpec("bias", shape, Zeros())) if bias else (weight,)


def _not_negative(value: float) -> bool:
    return 0 <= value < math.inf


def _switches(layer: Layer, *names: str) -> None:
    for name in names:
        if not isinstance(getattr(layer, name), bool):
            raise SpecError("", f"{layer.kind}.{name} as True or False", repr(getattr(layer, name)))


def _assign_shape(layer: LayerNorm | RMSNorm) -> None:
    """Check a shape and store it in its one form: a number for one axis, a tuple for several."""
    shape: Any = layer.shape
    axes: tuple[Any, ...] = tuple(shape) if isinstance(shape, Iterable) else (shape,)
    if not axes:
        raise SpecError("", f"{layer.kind}.shape with at least one axis", repr(shape))
    for axis in axes:
        positive(layer, shape=axis)
    first, *others = map(int, axes)
    object.__setattr__(layer, "shape", (first, *others) if others else first)


def _check_last_axes(layer: Layer, sizes: tuple[int, ...], features: Features, path: str) -> None:
    """Refuse an input whose last axes are not those of the layer, as far as they are known."""
    known = tuple(axis for axis in features if axis is not Ellipsis)
    short = len(known) < len(sizes) and Ellipsis not in features
    differs = any(axis not in (None, size) for axis, size in zip(reversed(known), reversed(sizes), strict=False))
    if short or differs:
        ending = f"an input whose last axes are {sizes}" if sizes[1:] else f"an input of width {sizes[0]}"
        raise SpecError(path, f"{ending} (shape of {layer.kind})", shown(features))


def _check_channels(layer: Layer, channels: int, features: Features, path: str) -> None:
    """Refuse an input of another number of channels, which are the first axis after the batch."""
    if not features or features[0] not in (None, Ellipsis, channels):
        expected = f"an input of {channels} channels for {layer.kind}"
        raise SpecError(path, expected, shown(features), "The channels are the first axis after the batch.")


def _check_rank(layer: Layer, ranks: tuple[int, ...], features: Features, path: str) -> None:
    least = len(features) - (Ellipsis in features)
    if least > max(ranks) or (Ellipsis not in features and least not in ranks):
        expected = f"an input of {' or '.join(map(str, ranks))} axes besides the batch for {layer.kind}"
        raise SpecError(path, expected, shown(features))
