"""Convolutions and transposed convolutions over one, two and three spatial axes.

PyTorch has the channels in axis 1 and Flax at the end; inputs and outputs are PyTorch's in every wing. What Flax's own
classes take for the same settings is `flax_settings`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from ..errors import SpecError
from ..initializers import FLAX_KERNEL, TORCH_WEIGHT, Initializer, Uniform, Zeros
from ..layouts import Layout
from ..spec import Features, Native, ParameterSpec, positive
from .checks import check_bias, check_initializer, shown
from .windows import Numbers, Windowed

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]
Pads = tuple[tuple[int, int], ...]

# NumPy's words for the ways to fill a border with what is inside, which JAX took over.
BORDERS: dict[str, str] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _natives(canonical: str, spatial: str, native: str) -> Mapping[str, Native]:
    """A kernel, whose channel axes are `canonical` in PyTorch and `native` in Flax, and a bias.

    Flax's fan_in is by position, from the last axis but one. With `transpose_kernel` that is the outputs', hence
    canonical axis 1 for convolutions of both kinds. Without, it would be axis 0 of a transposed one.
    """
    layout = Layout(f"{canonical} {spatial} -> {spatial} {native}")
    return {
        "weight": Native("kernel", layout, FLAX_KERNEL),
        "bias": Native("bias", initializer=Zeros()),
    }


class Filter(Windowed):
    """What both kinds of convolution of (batch, channels, *spatial) hold: a weight, and a bias (out_channels,)."""

    # No dataclass of its own, so that these are no fields yet: the two kinds have them in different orders, PyTorch's.
    in_channels: int
    out_channels: int
    kernel_size: Numbers
    stride: Numbers
    dilation: Numbers
    groups: int
    bias: bool
    weight_init: Initializer | None
    bias_init: Initializer | None

    def parameters(self) -> tuple[ParameterSpec, ...]:
        shape = self.weight_shape
        found = [ParameterSpec("weight", shape, self.weight_init or TORCH_WEIGHT)]
        if self.bias:
            # As PyTorch takes it from the weight's shape, by position.
            bound = 1 / math.sqrt(math.prod(shape[1:]))
            found.append(ParameterSpec("bias", (self.out_channels,), self.bias_init or Uniform(-bound, bound)))
        return tuple(found)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """The weight's canonical shape, which a subclass gives."""
        raise NotImplementedError

    def _check(self) -> None:
        positive(self, in_channels=self.in_channels, out_channels=self.out_channels, groups=self.groups)
        self.assign(1, kernel_size=self.kernel_size, stride=self.stride, dilation=self.dilation)
        for name in ("in_channels", "out_channels"):
            if getattr(self, name) % self.groups:
                expected = f"{self.kind}.{name} that {self.groups} groups divide"
                raise SpecError("", expected, repr(getattr(self, name)))
        check_bias(self, self.bias, self.bias_init)
        check_initializer(self.weight_init, self.weight_shape, "weight")
        check_initializer(self.bias_init, (self.out_channels,), "bias")

    def _entering(self, features: Features, path: str) -> tuple[Any, ...]:
        """The input's spatial sizes; raises SpecError for another number of axes or channels."""
        channels, *sizes = self.image(features, path)
        if channels not in (None, self.in_channels):
            raise SpecError(
                path,
                f"an input of {self.in_channels} channels (in_channels)",
                f"{channels} in {shown(features)}",
                f"Set in_channels to {channels}, or change the layer before.",
            )
        return tuple(sizes)

    def _reaches(self) -> tuple[int, ...]:
        """How far the kernel reaches on each axis, its gaps included."""
        axes = zip(self.each(self.kernel_size), self.each(self.dilation), strict=True)
        return tuple(dilation * (kernel - 1) + 1 for kernel, dilation in axes)


@dataclass(frozen=True, repr=False)
class Convolution(Filter):
    """Cross-correlation with a weight (out, in / groups, *kernel), the zero borders included.

    kernel_size, stride, dilation: one number, or one for each spatial axis.
    padding: numbers likewise, for both ends of an axis; "valid" for 0, which is PyTorch's default; or "same", which
        keeps the size at stride 1 and puts an odd one at the end. Flax's default is "SAME", at stride 2 another amount
        than a padding of 1: `flax_settings` always names the numbers.
    padding_mode: what a border is filled with. Flax has "CIRCULAR" and "REFLECT", at the amount of "same" only, and no
        "replicate"; the Flax wings fill the border themselves.
    weight_init, bias_init: default to those of `torch.nn.Conv2d`, U(-1/sqrt(fan), 1/sqrt(fan)) for both, where
        fan = in_channels / groups * kernel.
    """

    in_channels: int
    out_channels: int
    kernel_size: Numbers
    stride: Numbers = 1
    padding: Numbers | Literal["same", "valid"] = 0
    dilation: Numbers = 1
    groups: int = 1
    bias: bool = True
    padding_mode: PaddingMode = "zeros"
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        self._check()
        if self.padding_mode not in get_args(PaddingMode):
            expected = f"{self.kind}.padding_mode among {', '.join(get_args(PaddingMode))}"
            raise SpecError("", expected, repr(self.padding_mode))
        if self.padding == "valid":
            object.__setattr__(self, "padding", 0)
        if isinstance(self.padding, str):
            self._check_same()
        else:
            self.assign(0, padding=self.padding)

    def _check_same(self) -> None:
        if self.padding != "same":
            raise SpecError("", f"{self.kind}.padding as numbers, 'same' or 'valid'", repr(self.padding))
        if self.stride != 1:
            remedy = "Give the numbers: what Flax's 'SAME' adds depends on the input's size."
            raise SpecError("", f"a stride of 1 with padding='same' in {self.kind}", repr(self.stride), remedy)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(out, in / groups, *kernel)."""
        return (self.out_channels, self.in_channels // self.groups, *self.each(self.kernel_size))

    def pads(self) -> Pads:
        """What is added before and after each spatial axis."""
        if not isinstance(self.padding, str):
            return tuple((number, number) for number in self.each(self.padding))
        totals = [reach - 1 for reach in self._reaches()]
        return tuple((total // 2, total - total // 2) for total in totals)

    def border(self) -> tuple[str, Pads] | None:
        """NumPy's word for what fills the border, and its widths; None for zeros, which the convolution adds itself."""
        return None if self.padding_mode == "zeros" else (BORDERS[self.padding_mode], self.pads())

    def flax_settings(self) -> dict[str, Any]:
        """What `flax.linen.Conv` and `flax.nnx.Conv` take for these settings, on an input with its `border()`."""
        return {
            "kernel_size": self.each(self.kernel_size),
            "strides": self.each(self.stride),
            "padding": self.pads() if self.border() is None else "VALID",
            "kernel_dilation": self.each(self.dilation),
            "feature_group_count": self.groups,
            "use_bias": self.bias,
        }

    def out(self, features: Features, path: str) -> Features:
        sizes = self._entering(features, path)
        for size, pads in zip(sizes, self.pads(), strict=True):
            self._check_border(size, max(pads), features, path)
        axes = zip(sizes, self.pads(), self._reaches(), self.each(self.stride), strict=True)
        out = tuple(None if size is None else (size + sum(pads) - k) // s + 1 for size, pads, k, s in axes)
        return self.left(path, features, (self.out_channels, *out))

    def _check_border(self, size: int | None, pad: int, features: Features, path: str) -> None:
        """Refuse a border that takes more than the input has, as PyTorch does; NumPy would go round again."""
        most = {"reflect": "less than the input's size", "circular": "at most the input's size"}
        if size is None or self.padding_mode not in most or pad < size + (self.padding_mode == "circular"):
            return
        expected = f"a border of {most[self.padding_mode]} for {self.kind}(padding_mode={self.padding_mode!r})"
        raise SpecError(path, expected, f"{pad} for an axis of size {size} in {shown(features)}", "Pad less.")


class Conv1d(Convolution):
    """A convolution over (batch, channels, width); its settings are those of `Convolution`."""

    rank: ClassVar[int] = 1
    natives: ClassVar[Mapping[str, Native]] = _natives("o i", "w", "i o")


class Conv2d(Convolution):
    """A convolution over (batch, channels, height, width); its settings are those of `Convolution`."""

    rank: ClassVar[int] = 2
    natives: ClassVar[Mapping[str, Native]] = _natives("o i", "h w", "i o")


class Conv3d(Convolution):
    """A convolution over (batch, channels, depth, height, width); its settings are those of `Convolution`."""

    rank: ClassVar[int] = 3
    natives: ClassVar[Mapping[str, Native]] = _natives("o i", "d h w", "i o")


@dataclass(frozen=True, repr=False)
class TransposedConvolution(Filter):
    """The transpose of a convolution with a weight (in, out / groups, *kernel): what its gradient does to an output.

    Sizes are those of that convolution, so that the two undo each other's change of shape: an axis of n becomes
    (n - 1) stride - 2 padding + dilation (kernel - 1) + output_padding + 1.

    output_padding: what is added at the end of an axis only, below the stride or the dilation.
    weight_init, bias_init: default to those of `torch.nn.ConvTranspose2d`, U(-1/sqrt(fan), 1/sqrt(fan)) for both, where
        fan = out_channels / groups * kernel: PyTorch takes the weight's axes by position.
    """

    in_channels: int
    out_channels: int
    kernel_size: Numbers
    stride: Numbers = 1
    padding: Numbers = 0
    output_padding: Numbers = 0
    groups: int = 1
    bias: bool = True
    dilation: Numbers = 1
    weight_init: Initializer | None = None
    bias_init: Initializer | None = None

    def __post_init__(self) -> None:
        self._check()
        self.assign(0, padding=self.padding, output_padding=self.output_padding)
        each = (self.each(setting) for setting in (self.output_padding, self.stride, self.dilation))
        if any(extra >= max(stride, dilation) for extra, stride, dilation in zip(*each, strict=True)):
            expected = f"{self.kind}.output_padding below the stride or the dilation"
            raise SpecError("", expected, f"{self.output_padding} for {self.stride} and {self.dilation}")

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """(in, out / groups, *kernel)."""
        return (self.in_channels, self.out_channels // self.groups, *self.each(self.kernel_size))

    def pads(self) -> Pads:
        """What is added around the stretched input, that a plain convolution with the flipped kernel then runs over."""
        axes = zip(self._reaches(), self.each(self.padding), self.each(self.output_padding), strict=True)
        return tuple((reach - 1 - padding, reach - 1 - padding + extra) for reach, padding, extra in axes)

    def flax_settings(self) -> dict[str, Any]:
        """What `flax.linen.ConvTranspose` and `flax.nnx.ConvTranspose` take for these settings; they have no groups.

        Flax's padding is the one of `pads`; `kernel - 1 - padding` is right without dilation, `1 - padding` for k = 2.
        """
        return {
            "kernel_size": self.each(self.kernel_size),
            "strides": self.each(self.stride),
            "padding": self.pads(),
            "kernel_dilation": self.each(self.dilation),
            "transpose_kernel": True,
            "use_bias": self.bias,
        }

    def out(self, features: Features, path: str) -> Features:
        sizes = self._entering(features, path)
        axes = zip(sizes, self.pads(), self._reaches(), self.each(self.stride), strict=True)
        out = tuple(None if size is None else (size - 1) * s + 2 - k + sum(pads) for size, pads, k, s in axes)
        return self.left(path, features, (self.out_channels, *out))


class ConvTranspose1d(TransposedConvolution):
    """A transposed convolution over (batch, channels, width); its settings are those of `TransposedConvolution`."""

    rank: ClassVar[int] = 1
    natives: ClassVar[Mapping[str, Native]] = _natives("i o", "w", "o i")


class ConvTranspose2d(TransposedConvolution):
    """A transposed convolution over (batch, channels, height, width); settings as in `TransposedConvolution`."""

    rank: ClassVar[int] = 2
    natives: ClassVar[Mapping[str, Native]] = _natives("i o", "h w", "o i")


class ConvTranspose3d(TransposedConvolution):
    """A transposed convolution over (batch, channels, depth, height, width); settings as in `TransposedConvolution`."""

    rank: ClassVar[int] = 3
    natives: ClassVar[Mapping[str, Native]] = _natives("i o", "d h w", "o i")
