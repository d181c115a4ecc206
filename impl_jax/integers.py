"""JAX's arrays as the integers of portable draws. They are of 32 bits, whether 64-bit types are enabled or not."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import DTypeLike

from ..common.draws import Form, Key, Numbers, Recipe, quantiles, values, words
from ..common.layouts import Layout

_LOWER, _HALF = np.uint32(0xFFFF), np.uint32(16)


class _Jax:
    """Arrays of int32, whose sums wrap around and whose shifts keep the sign."""

    def rotate(self, x: jax.Array, places: int) -> jax.Array:
        below = lax.shift_right_logical(x, jnp.full_like(x, 32 - places))
        return lax.shift_left(x, jnp.full_like(x, places)) | below

    def portion(self, x: jax.Array, count: jax.Array) -> jax.Array:
        # By halves of words, as there may be no 64 bits.
        word, most = _unsigned(x), jnp.asarray(count, jnp.uint32)
        lower, upper, low, high = word & _LOWER, word >> _HALF, most & _LOWER, most >> _HALF
        middle = upper * low + (lower * low >> _HALF)
        other = lower * high + (middle & _LOWER)
        return lax.bitcast_convert_type(upper * high + (middle >> _HALF) + (other >> _HALF), jnp.int32)

    def as_float(self, x: jax.Array) -> jax.Array:
        return x.astype(jnp.float32)

    def as_int(self, x: jax.Array) -> jax.Array:
        return x.astype(jnp.int32)

    def bits(self, x: jax.Array) -> jax.Array:
        return lax.bitcast_convert_type(x, jnp.int32)

    def with_bits(self, x: jax.Array) -> jax.Array:
        return lax.bitcast_convert_type(x, jnp.float32)

    def lines(self, segment: jax.Array) -> tuple[jax.Array, jax.Array]:
        middle, slope = (jnp.asarray(each).at[segment].get(mode="promise_in_bounds") for each in quantiles())
        return middle, slope

    def clipped(self, x: jax.Array, low: jax.Array, high: jax.Array) -> jax.Array:
        return jnp.clip(x, low, high)

    def masked(self, x: jax.Array, below: jax.Array) -> jax.Array:
        return jnp.where(jnp.abs(x) < below, jnp.zeros_like(x), x)


JAX = _Jax()


def entries(recipe: Recipe, key: Key, shape: tuple[int, ...], layout: Layout, dtype: DTypeLike) -> jax.Array:
    """The values of a canonical parameter of `shape`, in the native layout, by one compiled program.

    Inside of `jax.jit` it is a part of that program, and each device computes the values that it holds.
    """
    numbers = recipe.numbers
    placed: Any = [
        np.float32(each) if isinstance(each, float) else np.int32(each) for each in numbers._replace(count=0)
    ]
    given = Numbers(*placed)._replace(count=np.uint32(numbers.count))
    return _entries(np.array(key, np.uint32).view(np.int32), given, recipe.form, recipe.row, shape, layout, dtype)


@partial(jax.jit, static_argnames=("form", "row", "shape", "layout", "dtype"))
def _entries(
    key: Any, numbers: Any, form: Form, row: int | None, shape: tuple[int, ...], layout: Layout, dtype: DTypeLike
) -> jax.Array:
    # Within a larger program all of this is constant, and the compiler would compute it, slowly, while it compiles.
    key, numbers = lax.optimization_barrier((key, numbers))
    index = jnp.zeros(shape, jnp.int32)
    for axis in range(len(shape)):
        stride = np.array(math.prod(shape[axis + 1 :]), np.uint32).view(np.int32)[()]
        index += lax.broadcasted_iota(jnp.int32, shape, axis) * stride
    counters = lax.shift_right_logical(index, jnp.ones_like(index))
    # Each value by a counter of its own, though two have one: so an array can be parted among devices anywhere.
    even, odd = words((key[0], key[1]), counters, jnp.zeros_like(index), JAX.rotate)
    found = values(JAX, form, numbers, jnp.where((index & 1) == 1, odd, even))
    if row is not None:
        found = jnp.where(lax.broadcasted_iota(jnp.int32, shape, 0) == row, jnp.zeros_like(found), found)
    return layout.to_native(found).astype(dtype)


def _unsigned(x: jax.Array) -> jax.Array:
    return lax.bitcast_convert_type(x, jnp.uint32)
