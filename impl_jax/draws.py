"""Draws of JAX's: of an initializer, and of the models that a factory makes for many seeds by one compilation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.errors import FlaxError
from jax.nn import initializers as native
from jax.typing import DTypeLike

from ..common import initializers as init
from ..common.draws import Box, Stream, check_size, check_stream, key_of, recipe_of
from ..common.draws import drawn as portable
from ..common.errors import InitializerError
from ..common.initializers import Initializer
from ..common.layers import native as native_parameter
from ..common.layouts import SAME, Layout
from ..common.seeding import path_words
from ..common.tables import Row
from ..common.wing import StoredTensor, drawn, model_of, steady
from .devices import running
from .integers import entries
from .trees import Owned, as_stored_tensors


@dataclass(frozen=True)
class NativeInit:
    """A spec's initializer as Flax calls one: `(key, native shape, dtype) -> array` in the native layout.

    initializer: None while it depends on a width that a lazy layer does not know yet.

    Raises:
        InitializerError: called while it is None.
    """

    initializer: Initializer | None
    layout: Layout = SAME

    def __call__(self, key: jax.Array, shape: Sequence[int], dtype: DTypeLike = jnp.float32, **_: Any) -> jax.Array:
        if self.initializer is None:
            remedy = "Call `materialize` with an input, and use the model that it returns."
            raise InitializerError("", "an initializer that knows the width of its layer", "one that does not", remedy)
        return draw_native(key, self.initializer, self.layout.canonical_shape(tuple(shape)), self.layout, dtype)


def path_key(seed: int, path: str) -> jax.Array:
    """The key of one parameter: the seed's key with the path folded in."""
    return _fold(_words(seed), _path_words(path))


def _words(seed: int) -> np.ndarray:
    """The lower 64 bits of a seed as two words of 32, which is what JAX takes; any integer is a seed."""
    return np.array((seed >> 32 & 0xFFFFFFFF, seed & 0xFFFFFFFF), np.uint32)


def _path_words(path: str) -> np.ndarray:
    return np.array(path_words(path), np.uint32)


@jax.jit
def _fold(seed: Any, path: Any) -> jax.Array:
    key = jax.random.key(seed[1])
    for word in (seed[0], path[0], path[1]):
        key = jax.random.fold_in(key, word)
    return key


def draw(
    initializer: Initializer,
    shape: tuple[int, ...],
    *,
    seed: int = 0,
    path: str = "",
    dtype: str = "float32",
    device: str = "cpu",
    stream: Stream = "portable",
    box: Box | None = None,
) -> jax.Array:
    """An array of canonical `shape` drawn from `initializer`, the same for one seed and path wherever it is asked.

    In the native stream `build` draws a kernel as it will lie, so that it holds other numbers of the same law; `sample`
    gives those.

    box: a slice for each axis, to have that part of the array alone, with the values that it has in the whole.

    Raises:
        UsageError: what is no seed, or no stream.
        InitializerError: the initializer does not fit the shape, or its bits cannot be portable.
        DtypeError: float64 without `running(dtype="float64")`.
        DeviceError: JAX does not see the device. UsageError: no name of one device.
    """
    from .devices import check_dtype, device_of

    initializer.validate(shape, path)
    check_dtype(dtype)
    with jax.default_device(device_of(device)):
        if box is not None and check_stream(stream) == "portable":
            return jnp.asarray(
                portable(initializer, shape, seed=seed, path=path, box=box, wide=dtype == "float64"), dtype
            )
        whole = drawn_row(stream, seed, path, initializer, shape, SAME, dtype)
        return whole if box is None else whole[box]


def sample(row: Row, *, seeds: Sequence[int], device: str = "cpu", stream: Stream = "portable") -> np.ndarray:
    """What `build` draws for one row of a spec's table under many seeds: neutral, of shape (seeds, *row.shape)."""
    from .devices import device_of, native_dtype

    layout = layout_of(row)
    path, dtype = _path_words(row.path), native_dtype(row.dtype)

    def one(seed: Any) -> jax.Array:
        return draw_native(_fold(seed, path), row.drawn_from, row.sizes, layout, dtype)

    with jax.default_device(device_of(device)):
        if check_stream(stream) == "portable":
            drawn = (drawn_row(stream, seed, row.path, row.drawn_from, row.sizes, SAME, dtype) for seed in seeds)
            return np.stack([np.asarray(each) for each in drawn])
        stack = np.asarray(jax.vmap(one)(np.stack([_words(seed) for seed in seeds])))
    # One rearrangement of the stack, its leading axis untouched, and not one a draw.
    return stack if layout.is_identity else np.stack([layout.to_canonical(array) for array in stack])


def layout_of(row: Row) -> Layout:
    """The layout in which Flax stores the parameter of a spec's row."""
    known = native_parameter(row.layer, row.in_layer)
    return known.layout.with_sizes(row.axes) if known else SAME


# An array of fewer values is made by NumPy, which takes no time to be compiled.
_ON_DEVICE = 2**20


def drawn_row(
    stream: Stream,
    seed: int,
    path: str,
    initializer: Initializer,
    shape: tuple[int, ...],
    layout: Layout,
    dtype: DTypeLike,
) -> jax.Array:
    """A parameter of canonical `shape` in the layout `layout`, as a stream draws it.

    Raises:
        UsageError: what is no seed, or no stream; InitializerError: one whose bits cannot be portable.
    """
    # Where there is one draw only, no words are asked.
    if check_stream(stream) == "native" or initializer.deterministic:
        return draw_native(path_key(seed, path), initializer, shape, layout, dtype)
    check_size(shape, path)
    recipe = recipe_of(initializer, shape, path) if math.prod(shape) >= _ON_DEVICE else None
    if recipe is not None:
        return entries(recipe, key_of(seed, path), shape, layout, dtype)
    wide = jnp.dtype(dtype) == jnp.float64
    return jnp.asarray(layout.to_native(portable(initializer, shape, seed=seed, path=path, wide=wide)), dtype)


def draw_native(
    key: jax.Array, initializer: Initializer, shape: tuple[int, ...], layout: Layout, dtype: DTypeLike
) -> jax.Array:
    """An array of canonical `shape`, in the layout `layout`, drawn from `initializer` with `key`.

    Entries that are independent are drawn as they will lie; a structured draw is made and then rearranged, and so is
    one for a layout that splits axes, which have the fans.
    """
    if not layout.permutes:
        return layout.to_native(draw_native(key, initializer, shape, SAME, dtype))
    if initializer.independent and not isinstance(initializer, init.Masked):
        known = _independent(initializer, layout.native_shape(shape), _axes(layout, len(shape)))
        if known is not None:
            return known(key, layout.native_shape(shape), dtype)
    return layout.to_native(_structured(key, initializer, shape, dtype))


def _axes(layout: Layout, rank: int) -> dict[str, int]:
    """Where the input and output axes (1 and 0 in the canonical layout) lie in the native one."""
    if rank < 2:
        return {}
    # A shape whose sizes are the axes' own numbers tells where each axis goes.
    order = layout.native_shape(tuple(range(rank)))
    return {"in_axis": order.index(1), "out_axis": order.index(0)}


def _independent(initializer: Initializer, native_shape: tuple[int, ...], axes: dict[str, int]) -> Any:
    match initializer:
        case init.Uniform(low, high):
            return partial(_uniform, low=low, high=high)
        case init.Normal(mean, std):
            return partial(_shifted, native.normal(std), mean)
        case init.TruncatedNormal(mean, std, low, high, cut):
            if cut == "absolute":
                low, high = (low - mean) / std, (high - mean) / std
            return partial(_shifted, native.truncated_normal(std, lower=low, upper=high), mean)
        case init.VarianceScaling(scale, mode, distribution):
            return native.variance_scaling(scale, mode, distribution, **axes)
        case init.Xavier() | init.Kaiming() | init.LeCun():
            return _independent(initializer.scaling(), native_shape, axes)
    return None


def _uniform(key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike, low: float, high: float) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, low, high)


def _shifted(draw: Any, mean: float, key: jax.Array, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    array = draw(key, shape, dtype)
    return array + jnp.asarray(mean, dtype) if mean else array


def _structured(key: jax.Array, initializer: Initializer, shape: tuple[int, ...], dtype: DTypeLike) -> jax.Array:
    """A canonical draw of a family whose entries depend on each other or on their place."""
    # The factorization behind an orthogonal draw has no half precision.
    wide = jnp.promote_types(dtype, jnp.float32)
    match initializer:
        case init.Orthogonal(gain):
            return native.orthogonal(gain, column_axis=0)(key, shape, wide).astype(dtype)
        case init.DeltaOrthogonal(gain):
            # Flax's convolution layout has (..., in, out) where the canonical one has (out, in, ...).
            array = native.delta_orthogonal(gain)(key, (*shape[2:], shape[1], shape[0]), wide)
            return jnp.moveaxis(array, (-1, -2), (0, 1)).astype(dtype)
        case init.Sparse(_, std):
            values, places = jax.random.split(key)
            # Its own dtype, since the default one is another under x64, and the zeros would lie elsewhere.
            ranks = jnp.argsort(jnp.argsort(jax.random.uniform(places, shape, jnp.float32), axis=0), axis=0)
            array = native.normal(std)(values, shape, dtype)
            return jnp.where(ranks < initializer.zeros(shape), jnp.zeros((), dtype), array)
        case init.Masked(of, below):
            array = draw_native(key, of, shape, SAME, dtype)
            return jnp.where(jnp.abs(array) < below, jnp.zeros((), dtype), array)
        case init.ZeroRow(of, row):
            return draw_native(key, of, shape, SAME, dtype).at[row].set(0.0)
    if isinstance(initializer, init.Deterministic):
        return jnp.asarray(initializer.draw(shape), dtype)
    # Any other initializer, through the quantile function of its law, which runs in NumPy.
    law = initializer.law(shape)
    result = jax.ShapeDtypeStruct(shape, dtype)
    grid = jnp.float64 if jnp.dtype(dtype) == jnp.float64 else jnp.float32
    # JAX draws from the multiples of eps in [0, 1). Half a step on, none is 0, whose quantile may be infinite.
    uniform = jax.random.uniform(key, shape, grid) + jnp.finfo(grid).eps / 2
    return jax.pure_callback(lambda u: law.ppf(u).astype(result.dtype), result, uniform, vmap_method="expand_dims")


# The live arrays of a model by path; those of one that is made while JAX traces are tracers.
Look = Callable[[Any], dict[str, Owned]]
# How much of the draws is made at once.
_CHUNK_BYTES = 2**28
# What a factory raises that makes a number, a string or an array of NumPy's of its seed: JAX's own errors, which are
# TypeErrors all but for one, and those of code that takes a traced seed for the wrong kind of thing.
_NOT_TRACEABLE = (jax.errors.JAXTypeError, jax.errors.JAXIndexError, FlaxError, TypeError, ValueError, AttributeError)


def draws_of(factory: Any, seeds: Sequence[int], look: Look, device: str, target: int | None) -> dict[str, np.ndarray]:
    """What a wing's `draws` gives, for a kind of model whose arrays `look` tells."""

    def made(seed: int) -> dict[str, StoredTensor]:
        return as_stored_tensors(look(model_of(factory, seed)))

    def together(all_seeds: Sequence[int], tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray] | None:
        # JAX reads other numbers as other keys once they are traced.
        if not all(0 <= seed < 2**31 for seed in all_seeds):
            return None
        try:
            return steady(lambda: _mapped(factory, look, np.asarray(all_seeds, np.int32), tensors))
        except _NOT_TRACEABLE:
            # No seed of its own is at fault: the first ones were drawn from before, and the others will be one by one.
            return None

    with running(device, None):
        return drawn(made, seeds, target, together)


def _mapped(factory: Any, look: Look, seeds: np.ndarray, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors for all seeds, made by chunks of equal length, so that all have one compilation."""
    size = sum(array.nbytes for array in tensors.values())
    length = min(len(seeds), max(1, _CHUNK_BYTES // max(1, size)))

    def one(seed: Any) -> dict[str, jax.Array]:
        owned = look(factory(seed))
        return {path: jnp.asarray(owned[path].array) for path in tensors}

    run = jax.jit(jax.vmap(one))
    padded = np.resize(seeds, -(-len(seeds) // length) * length)
    found = {path: np.empty((len(padded), *array.shape), array.dtype) for path, array in tensors.items()}
    for start in range(0, len(padded), length):
        for path, array in run(padded[start : start + length]).items():
            found[path][start : start + length] = np.asarray(array)
    return {path: array[: len(seeds)] for path, array in found.items()}
