"""What every pair of this folder is made of: two models, their truth, and values that no two tensors share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx, traverse_util
from torch import nn

from paritree import Pair
from paritree.common.wing.runs import Call

# By native path, dotted.
Weights = Mapping[str, np.ndarray]


class Packed(NamedTuple):
    """A torch model, its port, and by hand how the weights of the one are those of the other.

    carried: the weights of the reference, as its state dict names them, as the port's, by native paths.
    calls: of the reference and of the port, None for the plain one.
    rounded: the port's values are the reference's times an irrational number, so equal up to rounding only.
    coarse: the port takes a softmax in float32 whatever it is given, as `jax.nn.dot_product_attention` does.
    """

    reference: nn.Module
    port: Any
    inputs: tuple[np.ndarray, ...]
    carried: Callable[[Weights], Weights]
    calls: tuple[Call | None, Call | None] = (None, None)
    rounded: bool = False
    coarse: bool = False

    @property
    def pair(self) -> Pair:
        return Pair(self.reference, self.port, self.inputs, *self.calls)


class Sizes(NamedTuple):
    """A transformer's. APART: all axes have lengths of their own; ALIKE: unlike axes have equal ones."""

    width: int
    heads: int
    inner: int
    layers: int

    @property
    def head_width(self) -> int:
        return self.width // self.heads


APART, ALIKE = Sizes(12, 3, 10, 2), Sizes(4, 2, 12, 2)


def sequences(width: int, length: int = 5) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, length, width)).astype(np.float32)


def tokens(words: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, words, (2, 7)).astype(np.int32)


def values(random: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Normal values, positive for a variance. Multiples of 1/1024, so that a sum with 1 or with another is exact."""
    drawn = np.round(random.normal(scale=0.5, size=shape) * 1024) / 1024
    return np.asarray(abs(drawn) + 0.5 if "var" in name else drawn, np.float32)


def filled(model: nn.Module, seed: int = 0) -> Any:
    """A torch model in inference mode with values of our own in all its parameters and buffers."""
    random = np.random.default_rng(seed)
    for name, array in model.state_dict().items():
        if array.is_floating_point():
            array.copy_(torch.from_numpy(values(random, name, tuple(array.shape))))
    return model.eval()


def linen_port(module: Any, *inputs: Any, seed: int = 1) -> Any:
    """A Linen module with values of our own, drawn without running it. The inputs are arrays or shapes."""
    given = [jnp.zeros(each) if isinstance(each, tuple) else each for each in inputs]
    return module, _drawn(jax.eval_shape(module.init, jax.random.key(0), *given), seed)


def nnx_port(build: Callable[[nnx.Rngs], Any], seed: int = 1) -> Any:
    """What `build(rngs)` makes, with values of our own and without drawing others."""
    graph, state = nnx.split(nnx.eval_shape(lambda: build(nnx.Rngs(0))))
    return nnx.merge(graph, _drawn(state, seed))


def tree_port(shapes: Any, seed: int = 1) -> Any:
    """A tree of arrays of these shapes: nested dicts and lists with tuples of lengths as leaves."""
    leaves = jax.tree.map(lambda shape: jnp.zeros(shape), shapes, is_leaf=lambda each: isinstance(each, tuple))
    return _drawn(leaves, seed)


def _drawn(tree: Any, seed: int) -> Any:
    random = np.random.default_rng(seed)
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: jnp.asarray(values(random, jax.tree_util.keystr(path), leaf.shape)), tree
    )


def kind(port: Any) -> str:
    """`linen`, `nnx` or `pytree`."""
    if isinstance(port, nnx.Module):
        return "nnx"
    return "linen" if isinstance(port, tuple) else "pytree"


def native(port: Any) -> dict[str, np.ndarray]:
    """The arrays of a port by native path, aliases of a tree's included."""
    if kind(port) == "nnx":
        flat = dict(nnx.to_flat_state(nnx.state(port, nnx.Any(nnx.Param, nnx.BatchStat))))
        return {_dotted(path): np.asarray(variable.get_value()) for path, variable in flat.items()}
    tree = port[1] if kind(port) == "linen" else port
    return {_dotted(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def flat(tree: Any) -> dict[str, np.ndarray]:
    """A tree of nested mappings, or one that is flat already, by dotted paths."""
    return {_dotted(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _dotted(path: Any) -> str:
    """A key path of JAX, or the components of one."""
    return ".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)


def output(case: Packed, weights: Weights) -> np.ndarray:
    """The port's output with these weights, in their dtype, floating inputs too."""
    dtype = next(iter(weights.values())).dtype
    inputs = tuple(jnp.asarray(each, dtype if each.dtype == np.float32 else each.dtype) for each in case.inputs)
    run = _runner(case.port, case.calls[1] or _plain_call)
    # Compiling takes longer than running, so the code may be slow.
    quickly = {"xla_backend_optimization_level": 0}
    arrays = {path: jnp.asarray(array) for path, array in weights.items()}
    return np.asarray(jax.jit(run, compiler_options=quickly)(arrays, inputs))


def _plain_call(model: Any, inputs: Any) -> Any:
    return model[0].apply(model[1], *inputs) if kind(model) == "linen" else model(*inputs)


def _runner(port: Any, call: Call) -> Callable[[Any, Any], Any]:
    """`run(arrays, inputs)`: the output of the port with other arrays, by native paths."""
    if kind(port) == "linen":
        return lambda arrays, inputs: call((port[0], traverse_util.unflatten_dict(arrays, sep=".")), inputs)
    if kind(port) == "pytree":
        paths, tree = jax.tree_util.tree_flatten_with_path(port)
        names = [_dotted(path) for path, _ in paths]
        return lambda arrays, inputs: call(jax.tree.unflatten(tree, [arrays[name] for name in names]), inputs)
    graph, state = nnx.split(port)
    entries = nnx.to_flat_state(state)

    def run(arrays: Any, inputs: Any) -> Any:
        replaced = [(path, variable.replace(arrays[_dotted(path)])) for path, variable in entries]
        return call(nnx.merge(graph, nnx.from_flat_state(replaced)), inputs)

    return run


def dense(weights: Weights, layer: str, name: str, part: Any = ...) -> dict[str, np.ndarray]:
    """A torch Linear, or a part of its outputs, as a Dense of that name."""
    found = {f"{name}.kernel": weights[f"{layer}.weight"][part].T}
    if f"{layer}.bias" in weights:
        found[f"{name}.bias"] = weights[f"{layer}.bias"][part]
    return found


def norm(weights: Weights, layer: str, name: str) -> dict[str, np.ndarray]:
    """A torch LayerNorm or BatchNorm's parameters as Flax's."""
    return {f"{name}.scale": weights[f"{layer}.weight"], f"{name}.bias": weights[f"{layer}.bias"]}


def under(name: str, arrays: Weights) -> dict[str, np.ndarray]:
    return {f"{name}.{path}": array for path, array in arrays.items()}


def stacked(layers: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Layers of the same arrays as one, with a leading axis."""
    return {path: np.stack([layer[path] for layer in layers]) for path in layers[0]}
