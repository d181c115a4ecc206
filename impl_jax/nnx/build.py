"""From a spec to a live `nnx.Module`.

NNX has nothing lazy: a module has its parameters from the start, so the spec must know the widths, or an input.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from ...common import paths, spec
from ...common.draws import Stream
from ...common.errors import NotExpressibleError, SpecError
from ...common.spec import table_of
from ..devices import check_dtype, device_of, setting
from ..draws import drawn_row, layout_of
from ..parts import split_native
from .layers import At, Block, maker_of, reserved
from .naming import leaves


def build(
    model: spec.Layer,
    *,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
    stream: Stream = "portable",
) -> nnx.Module:
    """A live model of the spec `model`, its parameters drawn by path from `seed`, in inference mode.

    stream: `portable` for the same numbers in every wing, `native` for JAX's own.

    Raises:
        SpecError, PathError: the spec does not hold together.
        NotExpressibleError: a Linear whose width the spec does not know (NNX is not lazy), a child's name that an
            nnx.Module keeps for itself, or a setting that Flax does not have.
        DtypeError: float64 without `running(dtype="float64")`.
        DeviceError: JAX does not see the device. UsageError: no name of one device.
    """
    check_dtype(dtype)
    table = table_of(model, dtype)
    resolved, _ = spec.flow(model)
    for row in table:
        if None in row.shape:
            raise NotExpressibleError(
                row.path,
                "a width that the spec knows, since an nnx.Module has its parameters from the start",
                "None",
                "Give in_features, or use materialize(None, spec, inputs).",
            )
    with jax.default_device(device_of(device)):
        module = _Construction(resolved, dtype, seed).module("", resolved)
        if not isinstance(module, nnx.Module):
            module = nnx.Sequential(module)
        for leaf in leaves(module):
            row = table[leaf.path]
            if row.tie is None:
                held = leaf.variables[0].dtype
                drawn = drawn_row(stream, seed, row.path, row.drawn_from, row.sizes, layout_of(row), held)
                for variable, value in zip(leaf.variables, split_native(drawn, len(leaf.variables)), strict=True):
                    variable[...] = value
    module.eval()
    return module


def is_lazy(model: nnx.Module | None) -> bool:
    """Whether there is no model yet: a live nnx.Module is never lazy."""
    return model is None


def materialize(
    model: nnx.Module | None,
    layer: spec.Layer,
    inputs: Sequence[np.ndarray],
    *,
    seed: int = 0,
    stream: Stream = "portable",
) -> nnx.Module:
    """The model of `layer` with the widths that the inputs give. `build` cannot make a lazy one, so `model` is None;
    a live model is returned as it is.

    A lazy model of another wing was built in a dtype. Here there is none to ask: it is float64 where JAX has that
    enabled, as inside `running(dtype="float64")`, and float32 elsewhere.

    inputs: neutral arrays with a batch axis in front.

    Raises:
        SpecError: the input's width does not chain.
    """
    if not inputs:
        raise SpecError("", "an input to learn the widths from", "none", "Give the arrays of one forward pass.")
    resolved, _ = spec.flow(layer, *(tuple(array.shape[1:]) for array in inputs))
    dtype = "float64" if setting("jax_enable_x64") else "float32"
    return build(resolved, seed=seed, dtype=dtype, stream=stream) if model is None else model


class _Construction:
    """Builds each node once; a Shared is the object that is already there."""

    def __init__(self, root: spec.Layer, dtype: str, seed: int) -> None:
        self.references = spec.References(root)
        self.dtype = jnp.dtype(dtype)
        self.seed = seed
        self.made: dict[str, Any] = {}

    def module(self, path: str, layer: spec.Layer) -> Any:
        if isinstance(layer, spec.Shared):
            return self._owner(path, layer.of)
        if layer.container:
            made = self._container(path, layer)
        else:
            made = maker_of(layer, path)(layer, At(path, self.dtype, partial(self._owner, path), self.seed))
        self.made[path] = made
        return made

    def _owner(self, path: str, of: str) -> Any:
        return self.made[self.references.resolve(path, of)]

    def _container(self, path: str, layer: spec.Layer) -> nnx.Module:
        children = {name: self.module(paths.join(path, name), child) for name, child in layer.children()}
        if isinstance(layer, spec.Sequential):
            return nnx.Sequential(*children.values())
        if isinstance(layer, spec.List):
            return nnx.List(list(children.values()))
        assert isinstance(layer, spec.Block)
        for name in children:
            if name in reserved():
                raise NotExpressibleError(
                    paths.join(path, name),
                    "a child name that is free in nnx.Module",
                    f"{name!r}, which nnx.Module uses itself",
                    "Rename the child to build it in the nnx wing.",
                )
        return Block(children, layer.program)
