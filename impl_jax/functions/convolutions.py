"""What Flax's convolutions need around them: the channel axis moved, borders filled, and groups of transposed ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange

from ...common.layers import Convolution, TransposedConvolution


def entering(x: jax.Array, layer: Convolution | TransposedConvolution) -> jax.Array:
    """(batch, channels, *spatial) as Flax's class takes it, (batch, *spatial, channels), with its border filled.

    Raises:
        SpecError: PyTorch would refuse it, where JAX would make an empty output or fill a border by going round again.
    """
    layer.out(x.shape[1:], "")
    moved = jnp.moveaxis(x, 1, -1)
    border = layer.border() if isinstance(layer, Convolution) else None
    if border is None:
        return moved
    mode, pads = border
    return jnp.pad(moved, ((0, 0), *pads, (0, 0)), mode)


def leaving(y: jax.Array) -> jax.Array:
    """(batch, *spatial, channels) as PyTorch has it, (batch, channels, *spatial)."""
    return jnp.moveaxis(y, -1, 1)


def grouped_transpose(
    x: jax.Array, kernel: jax.Array, bias: jax.Array | None, layer: TransposedConvolution
) -> jax.Array:
    """A transposed convolution of (batch, channels, *spatial) in groups of channels, which Flax's own does not have.

    kernel: as Flax's ConvTranspose has it with `transpose_kernel`, (*kernel, out / groups, in).
    As there, it is a plain convolution over the stretched input, with the kernel flipped and its channel axes
    exchanged; in groups, the inputs of a group meet the outputs of that group only.

    Raises:
        SpecError: as `entering` does.
    """
    layer.out(x.shape[1:], "")
    dtype = jnp.result_type(x, kernel)
    flipped = jnp.flip(kernel, range(layer.rank))
    exchanged = rearrange(jnp.moveaxis(flipped, (-2, -1), (0, 1)), "o (g i) ... -> (g o) i ...", g=layer.groups)
    y = jax.lax.conv_general_dilated(
        x.astype(dtype),
        exchanged.astype(dtype),
        window_strides=(1,) * layer.rank,
        padding=layer.pads(),
        lhs_dilation=layer.each(layer.stride),
        rhs_dilation=layer.each(layer.dilation),
        feature_group_count=layer.groups,
    )
    return y if bias is None else y + bias.reshape(-1, *(1,) * layer.rank)


def word(module: Any) -> str:
    """The spec's word for a convolution of Flax, by the number of axes of its kernel."""
    return f"Conv{_rank(module)}d"


def transposed_word(module: Any) -> str:
    """The spec's word for a transposed convolution of Flax.

    Without `transpose_kernel` the kernel is PyTorch's with its spatial axes reversed: no layout leads from one to the
    other, and the class keeps its own name.
    """
    return f"ConvTranspose{_rank(module)}d" if module.transpose_kernel else "ConvTranspose"


def _rank(module: Any) -> int:
    return 1 if isinstance(module.kernel_size, int) else len(module.kernel_size)
