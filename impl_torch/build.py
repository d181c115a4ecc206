"""From a spec to a live `nn.Module`: at once, or when an input has told PyTorch's LazyLinear its width."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ..common import paths, spec
from ..common.draws import Stream
from ..common.errors import NotExpressibleError, SpecError
from ..common.spec import table_of
from .core import generators_kept, given, inference
from .devices import device_of, dtype_of
from .initialization import fill
from .layers import Array, At, Block, List, maker_of, reserved
from .naming import leaves


def build(
    model: spec.Layer,
    *,
    seed: int = 0,
    dtype: str = "float32",
    device: str = "cpu",
    stream: Stream = "portable",
) -> nn.Module:
    """A live model of the spec `model`, its parameters drawn by path from `seed`, in inference mode.

    A Linear whose width the spec does not know becomes a LazyLinear: `materialize` it with an input.

    stream: `portable` for the same numbers in every wing, `native` for PyTorch's own.

    Raises:
        SpecError, PathError: the spec does not hold together.
        NotExpressibleError: a child's name that `nn.Module` keeps for itself, or a bare array as the whole model.
        DtypeError, DeviceError: PyTorch has no such type, or does not see the device.
        UsageError: no name of one device.
    """
    table = table_of(model, dtype)
    resolved, _ = spec.flow(model)
    module = _Construction(resolved, device_of(device), dtype_of(dtype)).module("", resolved)
    if isinstance(module, Array):
        raise NotExpressibleError(
            "",
            "a module around a bare array, since PyTorch has it as an attribute and not as a model",
            resolved.kind,
            "Make it the child of a Block.",
        )
    for leaf in leaves(module):
        row = table[leaf.path]
        if row.tie is None and not isinstance(leaf.array, (UninitializedParameter, UninitializedBuffer)):
            fill(leaf.array, row.drawn_from, seed, row.path, stream)
    return module.eval()


def is_lazy(model: nn.Module) -> bool:
    """Whether a parameter still waits for its shape."""
    return any(isinstance(leaf.array, (UninitializedParameter, UninitializedBuffer)) for leaf in leaves(model))


def materialize(
    model: nn.Module, layer: spec.Layer, inputs: Sequence[np.ndarray], *, seed: int = 0, stream: Stream = "portable"
) -> nn.Module:
    """Give every lazy parameter of the model built from `layer` its shape, and draw it by path. Returns `model`.

    inputs: neutral arrays with a batch axis in front. A parameter that was already there keeps its values.

    Raises:
        SpecError: the input's width does not chain; the model is as it was.
    """
    if not inputs:
        raise SpecError("", "an input to learn the widths from", "none", "Give the arrays of one forward pass.")
    resolved, _ = spec.flow(layer, *(tuple(array.shape[1:]) for array in inputs))
    rows = table_of(resolved)
    waiting = {
        leaf.path for leaf in leaves(model) if isinstance(leaf.array, (UninitializedParameter, UninitializedBuffer))
    }
    # A lazy layer draws its parameters on its own first: from the global generator, which is put back.
    with inference(model), torch.no_grad(), generators_kept(model):
        model(*given(model, inputs))
    for leaf in leaves(model):
        row = rows[leaf.path]
        if leaf.path in waiting and row.tie is None:
            fill(leaf.array, row.drawn_from, seed, row.path, stream)
    return model


class _Construction:
    """Builds each node once; a Shared is the object that is already there."""

    def __init__(self, root: spec.Layer, device: torch.device, dtype: torch.dtype) -> None:
        self.references = spec.References(root)
        self.device = device
        self.dtype = dtype
        self.made: dict[str, nn.Module] = {}

    def module(self, path: str, layer: spec.Layer) -> nn.Module:
        if isinstance(layer, spec.Shared):
            return self._owner(path, layer.of)
        if layer.container:
            made = self._container(path, layer)
        else:
            made = maker_of(layer, path)(layer, At(path, self.device, self.dtype, partial(self._owner, path)))
        self.made[path] = made
        return made

    def _owner(self, path: str, of: str) -> Any:
        return self.made[self.references.resolve(path, of)]

    def _container(self, path: str, layer: spec.Layer) -> nn.Module:
        children = {name: self.module(paths.join(path, name), child) for name, child in layer.children()}
        if isinstance(layer, spec.Sequential):
            return nn.Sequential(*children.values())
        if isinstance(layer, spec.List):
            held = children.values()
            return List(held) if any(isinstance(child, Array) for child in held) else nn.ModuleList(held)
        assert isinstance(layer, spec.Block)
        for name in children:
            if name in reserved():
                raise NotExpressibleError(
                    paths.join(path, name),
                    "a child name that is free in nn.Module",
                    f"{name!r}, which nn.Module uses itself",
                    "Rename the child to build it in the torch wing.",
                )
        return Block(children, layer.program)
