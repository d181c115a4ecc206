"""Weights that were converted by hand, and models that are loaded and saved: what gets lost on the way.

The pairs are live. A mutant converts one tensor in another way, or loads or saves its port so that something goes
missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import torch
from flax import nnx
from torch import nn
from torch.nn.utils import parametrizations

import paritree

from . import modes
from .frame import Clean, Mutant
from .modes import INPUTS, WIDTH, Network, seeded

OUT, BLOCKS, EPS = 5, 2, 1e-5
Arrays = dict[str, np.ndarray]


class Cell(nn.Module):
    """A gated cell with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.scale, self.mix, self.gates = nn.RMSNorm(WIDTH, EPS), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4 * WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        write, forget, made, read = self.gates(self.scale(x)).chunk(4, -1)
        cell = torch.sigmoid(forget) * x + torch.sigmoid(write) * torch.tanh(made)
        return x + torch.sin(self.mix(torch.sigmoid(read) * torch.tanh(cell)))


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.cells = nn.BatchNorm1d(WIDTH, EPS), nn.ModuleList([Cell() for _ in range(BLOCKS)])
        self.last = nn.Linear(WIDTH, OUT)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm(x)
        for cell in self.cells:
            x = cell(x)
        return self.last(x)


class NnxCell(nnx.Module):
    """Its scale is held as what is added to 1."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.weight = nnx.Param(jnp.zeros(WIDTH))
        self.lin, self.gate = nnx.Linear(WIDTH, WIDTH, rngs=rngs), nnx.Linear(WIDTH, 4 * WIDTH, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        normed = x * jax.lax.rsqrt(jnp.mean(x**2, -1, keepdims=True) + EPS) * (1 + self.weight[...])
        write, forget, made, read = jnp.split(self.gate(normed), 4, -1)
        cell = jax.nn.sigmoid(forget) * x + jax.nn.sigmoid(write) * jnp.tanh(made)
        return x + jnp.sin(self.lin(jax.nn.sigmoid(read) * jnp.tanh(cell)))


class NnxCells(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.bn = modes.NnxNorm(modes.USUAL)
        self.blocks = nnx.List([NnxCell(rngs) for _ in range(BLOCKS)])
        self.z = nnx.Linear(WIDTH, OUT, rngs=rngs)
        self.deterministic = True

    def __call__(self, x: Any) -> Any:
        training = not self.deterministic
        x = self.bn(x, training, training)
        for block in self.blocks:
            x = block(x)
        return self.z(x)


reference = seeded(Cells)


def drawn(seed: int) -> NnxCells:
    """A port whose draws are of the same laws as the reference's."""
    return filled(NnxCells(nnx.Rngs(0)), converted(reference(seed)))


def of_factories() -> paritree.Pair:
    return paritree.Pair(reference, drawn, INPUTS)


def converted(model: nn.Module) -> Arrays:
    """The reference's values by the port's paths, by hand."""
    state = {path: array.detach().numpy() for path, array in model.state_dict().items()}
    arrays = {
        "bn.gain": state["norm.weight"],
        "bn.offset": state["norm.bias"],
        "bn.mean": state["norm.running_mean"],
        "bn.var": state["norm.running_var"],
        "z.kernel": state["last.weight"].T,
        "z.bias": state["last.bias"],
    }
    for number in range(BLOCKS):
        ours, theirs = f"cells.{number}", f"blocks.{number}"
        arrays[f"{theirs}.weight"] = state[f"{ours}.scale.weight"] - 1
        for layer, name in (("mix", "lin"), ("gates", "gate")):
            arrays[f"{theirs}.{name}.kernel"] = state[f"{ours}.{layer}.weight"].T
            arrays[f"{theirs}.{name}.bias"] = state[f"{ours}.{layer}.bias"]
    return arrays


def filled(port: NnxCells, arrays: Arrays) -> NnxCells:
    for path, array in arrays.items():
        place: Any = port
        for key in path.split("."):
            place = place[int(key)] if key.isdigit() else getattr(place, key)
        place[...] = jnp.asarray(array)
    return port


def by_hand(change: Callable[[Arrays], Arrays] = dict) -> paritree.Pair:
    """The live pair, with what a mistake makes of the converted values."""
    model = reference(0)
    return paritree.Pair(model, filled(NnxCells(nnx.Rngs(1)), change(converted(model))), INPUTS)


CELLS = "cells in NNX"
CLEAN = [Clean(CELLS, of_factories)]


def planted(name: str, change: Callable[[Arrays], Arrays], module: str, *causes: str) -> Mutant:
    return Mutant(name, CELLS, lambda: by_hand(change), ("values",), module, causes, "values")


def swapped(one: str, other: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, one: arrays[other], other: arrays[one]}


def changed(path: str, how: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {**arrays, path: how(arrays[path])}


def left_out(*paths: str) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {path: array for path, array in arrays.items() if path not in paths}


def gates_as_cudnn(array: np.ndarray) -> np.ndarray:
    """Input, forget, output, cell."""
    write, forget, made, read = np.split(array, 4, -1)
    return np.concatenate([write, forget, read, made], -1)


def first_layer_again(arrays: Arrays) -> Arrays:
    first = {path: array for path, array in arrays.items() if path.startswith("blocks.0.")}
    return {**arrays, **{path.replace("blocks.0.", "blocks.1."): array for path, array in first.items()}}


def unturned(arrays: Arrays) -> Arrays:
    """Each kernel with its numbers as the reference has them, in the shape that the port wants."""
    return {path: array.T.reshape(array.shape) if "kernel" in path else array for path, array in arrays.items()}


def everything(how: Callable[[np.ndarray], np.ndarray]) -> Callable[[Arrays], Arrays]:
    return lambda arrays: {path: how(array) for path, array in arrays.items()}


def rounded(array: np.ndarray) -> np.ndarray:
    return array.astype(ml_dtypes.bfloat16).astype(np.float32)


VALUES = [
    planted("two biases swapped", swapped("blocks.0.lin.bias", "blocks.1.lin.bias"), "mix", "swapped"),
    planted("gain and offset swapped", swapped("bn.gain", "bn.offset"), "norm", "swapped"),
    planted("mean and variance swapped", swapped("bn.mean", "bn.var"), "norm", "swapped"),
    planted("a square kernel as it is", changed("blocks.1.lin.kernel", np.transpose), "mix", "transposed"),
    planted("running statistics not carried", left_out("bn.mean", "bn.var"), "norm", "not carried"),
    planted("a kernel not carried", left_out("blocks.1.gate.kernel"), "gates", "not carried"),
    planted("a kernel of zeros", changed("z.kernel", np.zeros_like), "last", "not carried", "zero"),
    planted("a kernel rounded to bfloat16", changed("z.kernel", rounded), "last", "dropped dtype"),
    planted("1 not taken away", changed("blocks.0.weight", lambda array: array + 1), "scale", "shift"),
    planted("gates in another order", changed("blocks.1.gate.kernel", gates_as_cudnn), "gates", "block order"),
    planted("the first layer twice", first_layer_again, "cells.1", "swapped"),
    planted("every kernel as it is", unturned, "gates", "transposed"),
    planted("everything rounded to bfloat16", everything(rounded), "last", "dropped dtype"),
    planted("everything twice as large", everything(lambda array: 2 * array), "gates", "scale"),
    planted("a scale by the root of the width", changed("z.kernel", lambda array: array * WIDTH**0.5), "last", "scale"),
]


def in_storage(name: str, change: Callable[[Network], Any], contract: str, module: str, *causes: str) -> Mutant:
    def pair() -> paritree.Pair:
        return paritree.Pair(modes.reference(0), change(modes.reference(0)), INPUTS)

    return Mutant(name, modes.TORCH, pair, (contract,), module, causes, "storing")


def assigned(model: Network) -> Network:
    model.load_state_dict({path: array.clone() for path, array in model.state_dict().items()}, assign=True)
    return model


def emptied(model: Network) -> Network:
    """As what was made on the meta device is."""
    state = {path: array.clone() for path, array in model.state_dict().items()}
    model.to("meta").to_empty(device="cpu").load_state_dict(state)
    return model


def untied_when_loaded(model: Network) -> Network:
    def hook(module: nn.Module, keys: Any) -> None:
        module.second.weight = nn.Parameter(module.second.weight.detach().clone())  # type: ignore[union-attr]

    model.register_load_state_dict_post_hook(hook)
    return model


def saving(change: Callable[[dict[str, Any]], Any]) -> Callable[[Network], Network]:
    """A model that changes its state dict when it is saved."""

    def with_hook(model: Network) -> Network:
        model.register_state_dict_post_hook(lambda module, state, prefix, metadata: change(state) and None)
        return model

    return with_hook


def in_half(state: dict[str, Any]) -> None:
    state["last.weight"] = state["last.weight"].bfloat16()


def without_alias(state: dict[str, Any]) -> None:
    del state["second.weight"]


def without_variance(state: dict[str, Any]) -> None:
    state["norm.running_var"] = torch.ones(WIDTH)


def not_persistent(model: Network) -> Network:
    model.norm.register_buffer("running_mean", model.norm.running_mean, persistent=False)
    return model


def weight_normed(model: Network) -> Network:
    parametrizations.weight_norm(model.second)
    return model


def tree_mapped() -> paritree.Pair:
    """NNX's tie is in the graph, and no map over the tree's leaves sees it."""

    def port(seed: int) -> nnx.Module:
        made = modes.nnx_network(seed=seed)
        made.b.kernel = jax.tree.map(jnp.array, made.b.kernel)
        return made

    return paritree.Pair(modes.reference, port, INPUTS)


STORED = [
    in_storage("loaded by assignment", assigned, "ties", "second", "lost tie"),
    in_storage("loaded into what was empty", emptied, "ties", "second", "lost tie"),
    in_storage("untied when it is loaded", untied_when_loaded, "round trip", "second", "lost tie"),
    in_storage("saved in bfloat16", saving(in_half), "round trip", "last", "dropped dtype"),
    in_storage("saved without the alias", saving(without_alias), "round trip", "second", "cannot be saved"),
    in_storage("saved without the variance", saving(without_variance), "round trip", "norm", "values lost"),
    in_storage("a buffer that is not saved", not_persistent, "round trip", "norm", "not saved"),
    in_storage("weight norm on a tied layer", weight_normed, "names", "second", "unmatched parameter", "lost tie"),
    Mutant("copied by jax.tree.map", modes.NNX, tree_mapped, ("ties",), "b.kernel", ("lost tie",), "ties"),
]
MUTANTS = [*VALUES, *STORED]
