"""LSTM and GRU: torch packs the gates and has two biases; Flax has a layer for each gate, or packs them, and one bias.

torch's gates come in the order i, f, g, o (LSTM) and r, z, n (GRU). Of the GRU's two biases for n one is inside the
reset gate's product, so that both are tensors of the port; `nnx.GRUCell` has no place for it.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn

from .case import Packed, Weights, filled, linen_port, nnx_port, sequences, tree_port

GATES = {"lstm": "ifgo", "gru": "rzn"}
FIRST = (lambda model, given: model(*given)[0], None)


class LinenRecurrent(linen.Module):
    """Layers of a cell, each in one or both directions; batch first. The carry starts as zeros."""

    cell: Any
    features: int
    layers: int = 1
    both: bool = False

    @linen.compact
    def __call__(self, x: Any) -> Any:
        for layer in range(self.layers):
            ways = [self._run(x, f"forward_{layer}")]
            if self.both:
                ways.append(self._run(x[:, ::-1], f"backward_{layer}")[:, ::-1])
            x = jnp.concatenate(ways, -1)
        return x

    def _run(self, x: Any, name: str) -> Any:
        once = {"variable_broadcast": "params", "split_rngs": {"params": False}}
        zeros = jnp.zeros((x.shape[0], self.features), x.dtype)
        carry = zeros if self.cell is linen.GRUCell else (zeros, zeros)
        return linen.scan(self.cell, **once, in_axes=1, out_axes=1)(self.features, name=name)(carry, x)[1]


class NnxRecurrent(nnx.Module):
    def __init__(self, cell: Any, inputs: int, features: int, rngs: nnx.Rngs) -> None:
        self.cell = cell(inputs, features, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        zeros = jnp.zeros((x.shape[0], self.cell.hidden_features), x.dtype)
        carry = zeros if isinstance(self.cell, nnx.GRUCell) else (zeros, zeros)
        return jax.lax.scan(self.cell, carry, x.swapaxes(0, 1))[1].swapaxes(0, 1)


def linen_recurrent(cell: Any, features: int = 4, layers: int = 1, both: bool = False, width: int = 3) -> Packed:
    name = "gru" if cell is linen.GRUCell else "lstm"
    make = nn.GRU if name == "gru" else nn.LSTM
    reference = filled(make(width, features, layers, batch_first=True, bidirectional=both))
    inputs = (sequences(width),)

    def carried(weights: Weights) -> Weights:
        found: dict[str, np.ndarray] = {}
        for layer in range(layers):
            for way, suffix in (("forward", ""), ("backward", "_reverse"))[: 1 + both]:
                arrays = _gate_arrays(weights, f"l{layer}{suffix}", GATES[name])
                found |= {f"params.{way}_{layer}.{path}": array for path, array in arrays.items()}
        return found

    port = linen_port(LinenRecurrent(cell, features, layers, both), *inputs)
    return Packed(reference, port, inputs, carried, FIRST)


def _gate_arrays(weights: Weights, layer: str, gates: str) -> dict[str, np.ndarray]:
    """The gates of one torch layer as those of a Linen cell."""
    parts = [np.split(weights[f"{name}_{layer}"], len(gates)) for name in ("weight_ih", "weight_hh")]
    biases = [np.split(weights[f"{name}_{layer}"], len(gates)) for name in ("bias_ih", "bias_hh")]
    found: dict[str, np.ndarray] = {}
    for gate, ours, recurrent, bias1, bias2 in zip(gates, *parts, *biases, strict=True):
        found |= {f"i{gate}.kernel": ours.T, f"h{gate}.kernel": recurrent.T}
        if gate == "n":
            found |= {"in.bias": bias1, "hn.bias": bias2}
        else:
            # Linen's LSTM has its biases in the layers of the state, its GRU in those of the input.
            found[f"{'h' if gates == GATES['lstm'] else 'i'}{gate}.bias"] = bias1 + bias2
    return found


def nnx_lstm(optimized: bool, features: int = 4, width: int = 3) -> Packed:
    cell = nnx.OptimizedLSTMCell if optimized else nnx.LSTMCell
    reference = filled(nn.LSTM(width, features, batch_first=True))
    port = nnx_port(lambda rngs: NnxRecurrent(cell, width, features, rngs))

    def carried(weights: Weights) -> Weights:
        if optimized:
            return {
                "cell.dense_i.kernel": weights["weight_ih_l0"].T,
                "cell.dense_h.kernel": weights["weight_hh_l0"].T,
                "cell.dense_h.bias": weights["bias_ih_l0"] + weights["bias_hh_l0"],
            }
        # `if` is a word of Python's.
        arrays = _gate_arrays(weights, "l0", GATES["lstm"])
        return {f"cell.{path.replace('if.', 'if_.')}": array for path, array in arrays.items()}

    return Packed(reference, port, (sequences(width),), carried, FIRST)


class GatesApart(nn.Module):
    """A GRU without a bias in the reset gate's product, a layer for each gate."""

    def __init__(self, width: int, features: int) -> None:
        super().__init__()
        self.features = features
        self.inputs = nn.ModuleDict({gate: nn.Linear(width, features) for gate in "zrn"})
        self.hidden = nn.ModuleDict({gate: nn.Linear(features, features, bias=False) for gate in "zrn"})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, outputs = x.new_zeros(x.shape[0], self.features), []
        for step in x.unbind(1):
            ours, recurrent = (
                {gate: f(y) for gate, f in of.items()} for of, y in ((self.inputs, step), (self.hidden, h))
            )
            r, z = (torch.sigmoid(ours[gate] + recurrent[gate]) for gate in "rz")
            h = (1 - z) * torch.tanh(ours["n"] + r * recurrent["n"]) + z * h
            outputs.append(h)
        return torch.stack(outputs, 1)


def nnx_gru(features: int = 4, width: int = 3) -> Packed:
    """Here the port packs what the reference has apart."""

    def carried(weights: Weights) -> Weights:
        def packed(name: str) -> np.ndarray:
            return np.concatenate([weights[name.format(gate)] for gate in GATES["gru"]])

        return {
            "cell.dense_i.kernel": packed("inputs.{}.weight").T,
            "cell.dense_i.bias": packed("inputs.{}.bias"),
            "cell.dense_h.kernel": packed("hidden.{}.weight").T,
        }

    port = nnx_port(lambda rngs: NnxRecurrent(nnx.GRUCell, width, features, rngs))
    return Packed(filled(GatesApart(width, features)), port, (sequences(width),), carried)


def concatenated_lstm(features: int = 4, width: int = 3) -> Packed:
    """One kernel for input and state together, gates in the order i, g, f, o, as other libraries have it."""
    shapes = {"kernel": (width + features, 4 * features), "bias": (4 * features,)}

    def call(tree: Any, given: Any) -> Any:
        def step(carry: Any, x: Any) -> Any:
            c, h = carry
            y = jnp.concatenate([x, h], -1) @ tree["kernel"] + tree["bias"]
            i, g, f, o = jnp.split(y, 4, -1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (c, h), h

        zeros = jnp.zeros((given[0].shape[0], features), given[0].dtype)
        return jax.lax.scan(step, (zeros, zeros), given[0].swapaxes(0, 1))[1].swapaxes(0, 1)

    def carried(weights: Weights) -> Weights:
        kernel = np.concatenate([weights["weight_ih_l0"], weights["weight_hh_l0"]], 1)
        found = {"kernel": kernel, "bias": weights["bias_ih_l0"] + weights["bias_hh_l0"]}
        for name, array in found.items():
            i, f, g, o = np.split(array, 4)
            found[name] = np.concatenate([i, g, f, o]).T
        return found

    reference = filled(nn.LSTM(width, features, batch_first=True))
    return Packed(reference, tree_port(shapes), (sequences(width),), carried, (FIRST[0], call))
