"""What a framework itself says of a model: names, shapes and dtypes, without any of paritree's own access."""

from __future__ import annotations

from typing import Any, NamedTuple

from flax import nnx, traverse_util


class Array(NamedTuple):
    shape: tuple[int, ...]
    dtype: str


def trained(wing: str, model: Any) -> dict[tuple[Any, ...], Array]:
    """The trained arrays by native path, each once."""
    if wing == "torch":
        return {tuple(name.split(".")): _torch(array) for name, array in model.named_parameters()}
    if wing == "linen":
        return {path: _jax(array) for path, array in traverse_util.flatten_dict(model[1]["params"]).items()}
    flat = nnx.to_flat_state(nnx.state(model, nnx.Param))
    return {path: _jax(variable[...]) for path, variable in flat}


def untrained(wing: str, model: Any) -> dict[tuple[Any, ...], Array]:
    """The buffers by native path."""
    if wing == "torch":
        return {tuple(name.split(".")): _torch(array) for name, array in model.named_buffers()}
    if wing == "linen":
        rest = {name: tree for name, tree in model[1].items() if name != "params"}
        return {path[1:]: _jax(array) for path, array in traverse_util.flatten_dict(rest).items()}
    flat = nnx.to_flat_state(nnx.state(model, nnx.Not(nnx.Any(nnx.Param, nnx.RngState))))
    return {path: _jax(variable[...]) for path, variable in flat}


def _torch(array: Any) -> Array:
    return Array(tuple(array.shape), str(array.dtype).removeprefix("torch."))


def _jax(array: Any) -> Array:
    return Array(tuple(array.shape), str(array.dtype))
