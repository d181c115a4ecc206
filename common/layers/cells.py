"""How Flax's own cells hold the weights of one layer and direction of a recurrent layer, and the way there and back.

PyTorch has two biases for each gate, b_ih and b_hh; a cell has one, their sum, unless something stands between them.
With the sum it computes the same and has the same gradients, each of the two biases having the sum's. A training step
is another: it moves the sum once, and two biases twice as far.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from einops import rearrange

from ..errors import NotExpressibleError, UsageError, WeightsError, nearest
from ..initializers import FLAX_KERNEL, Orthogonal, Zeros
from ..layouts import SAME, TRANSPOSED
from ..spec import Native
from .recurrent import GRU, LSTM, RNN, Recurrent


@dataclass(frozen=True)
class Held:
    """One array of a Flax cell: some gates' rows of a parameter of one layer and direction.

    native: its name, its layout and Flax's own default initializer, as of a parameter of these rows alone.
    of: the role of that parameter, or `bias`: bias_ih + bias_hh, but bias_ih alone in the gates `apart`.
    gates: whose rows these are, in their order.
    """

    native: Native
    of: str
    gates: tuple[str, ...]

    @property
    def name(self) -> str:
        """Flax's name of the array within the cell, dotted."""
        (name,) = self.native.parts
        return name


@dataclass(frozen=True)
class Cell:
    """How one class of Flax's holds the weights of one layer and direction of `layer`."""

    layer: type[Recurrent]
    arrays: tuple[Held, ...]


def _kernel(name: str, of: str, *gates: str) -> Held:
    initializer = FLAX_KERNEL if of == "weight_ih" else Orthogonal()
    return Held(Native(f"{name}.kernel", TRANSPOSED, initializer), of, gates)


def _bias(name: str, of: str, *gates: str) -> Held:
    return Held(Native(f"{name}.bias", SAME, Zeros()), of, gates)


def _apart(input_names: tuple[str, ...], gates: tuple[str, ...]) -> tuple[Held, ...]:
    """The kernels of a cell that holds every gate by itself: `ii`, `if`, ... for the input, `hi`, ... for the state."""
    of_input = (_kernel(name, "weight_ih", gate) for name, gate in zip(input_names, gates, strict=True))
    return (*of_input, *(_kernel(f"h{gate}", "weight_hh", gate) for gate in gates))


def _whole(gates: tuple[str, ...]) -> tuple[Held, ...]:
    """The kernels of an NNX cell that holds all gates side by side."""
    return _kernel("dense_i", "weight_ih", *gates), _kernel("dense_h", "weight_hh", *gates)


_LSTM_BIASES = tuple(_bias(f"h{gate}", "bias", gate) for gate in LSTM.gates)
_GRU_BIASES = (*(_bias(f"i{gate}", "bias", gate) for gate in GRU.gates), _bias("hn", "bias_hh", "n"))
_LINEN_LSTM = Cell(LSTM, (*_apart(("ii", "if", "ig", "io"), LSTM.gates), *_LSTM_BIASES))

CELLS: dict[str, Cell] = {
    "linen.SimpleCell": Cell(
        RNN, (_kernel("i", "weight_ih", "h"), _kernel("h", "weight_hh", "h"), _bias("i", "bias", "h"))
    ),
    "linen.LSTMCell": _LINEN_LSTM,
    "linen.OptimizedLSTMCell": _LINEN_LSTM,
    "linen.GRUCell": Cell(GRU, (*_apart(("ir", "iz", "in"), GRU.gates), *_GRU_BIASES)),
    "nnx.SimpleCell": Cell(RNN, (*_whole(RNN.gates), _bias("dense_i", "bias", "h"))),
    "nnx.LSTMCell": Cell(LSTM, (*_apart(("ii", "if_", "ig", "io"), LSTM.gates), *_LSTM_BIASES)),
    "nnx.OptimizedLSTMCell": Cell(LSTM, (*_whole(LSTM.gates), _bias("dense_h", "bias", *LSTM.gates))),
    "nnx.GRUCell": Cell(GRU, (*_whole(GRU.gates), _bias("dense_i", "bias", *GRU.gates))),
}
"""Flax's cells by wing and class. A SimpleCell needs the RNN's nonlinearity as `activation_fn`, and no `residual`."""


Blocks = dict[str, np.ndarray]
"""A parameter's rows by gate."""


def to_cell(cell: str, weights: Mapping[str, np.ndarray], suffix: str = "l0") -> dict[str, np.ndarray]:
    """The arrays of a Flax cell with the weights of one layer and direction, by the cell's own dotted names.

    cell: a name in CELLS.
    weights: of a recurrent layer, canonical, by PyTorch's names; those with another suffix are not looked at.
    suffix: which layer and direction: `l0`, `l1_reverse`.

    The two biases become their sum; without any the cell's is 0.

    Raises:
        UsageError: no cell of that name.
        WeightsError: weights that are missing or do not belong together; the message lists them all.
        NotExpressibleError: a projection, or a b_hn that is not 0 where the cell has no place for one.
    """
    known = _cell(cell)
    gates = known.layer.gates
    blocks = {role: _split(array, gates) for role, array in _one_direction(cell, known, weights, suffix).items()}
    _check_apart(cell, known, blocks["bias_hh"], suffix)
    alone, added = blocks["bias_ih"], blocks["bias_hh"]
    blocks["bias"] = {gate: alone[gate] if gate in known.layer.apart else alone[gate] + added[gate] for gate in gates}
    return {held.name: held.native.layout.to_native(_joined(blocks[held.of], held.gates)) for held in known.arrays}


def from_cell(cell: str, arrays: Mapping[str, np.ndarray], suffix: str = "l0") -> dict[str, np.ndarray]:
    """The weights of one layer and direction, canonical and by PyTorch's names, from the arrays of a Flax cell.

    The way back from a sum is not known: all of it is in bias_ih, and bias_hh is 0, but where the cell holds it apart.

    Raises:
        UsageError: no cell of that name.
        WeightsError: arrays that are missing, too many or misshapen; the message lists them all.
    """
    known = _cell(cell)
    _check_arrays(cell, known, arrays)
    blocks: dict[str, Blocks] = {"weight_ih": {}, "weight_hh": {}, "bias_ih": {}, "bias_hh": {}}
    for held in known.arrays:
        role = "bias_ih" if held.of == "bias" else held.of
        blocks[role].update(_split(held.native.layout.to_canonical(arrays[held.name]), held.gates))
    zero = np.zeros_like(blocks["bias_ih"][known.layer.gates[0]])
    blocks["bias_hh"] = {gate: blocks["bias_hh"].get(gate, zero) for gate in known.layer.gates}
    return {f"{role}_{suffix}": _joined(rows, known.layer.gates) for role, rows in blocks.items()}


def _cell(name: str) -> Cell:
    if name not in CELLS:
        raise UsageError("", "the name of a cell of Flax's", repr(name), nearest(name, CELLS))
    return CELLS[name]


def _split(array: np.ndarray, gates: tuple[str, ...]) -> Blocks:
    return dict(zip(gates, rearrange(array, "(g h) ... -> g h ...", g=len(gates)), strict=True))


def _joined(blocks: Blocks, gates: tuple[str, ...]) -> np.ndarray:
    """The rows of these gates in one array that shares no memory with them."""
    return np.concatenate([blocks[gate] for gate in gates])


def _one_direction(cell: str, known: Cell, weights: Mapping[str, np.ndarray], suffix: str) -> dict[str, np.ndarray]:
    """The weights of one layer and direction by role, with biases of 0 where it has none."""
    own = {role: weights[f"{role}_{suffix}"] for role in known.layer.roles if f"{role}_{suffix}" in weights}
    if "weight_hr" in own:
        raise NotExpressibleError(
            f"weight_hr_{suffix}",
            f"no projection in {cell}, whose output is its hidden state",
            f"one to {len(own['weight_hr'])}",
            "Use the LSTM of paritree, which has one.",
        )
    kernels, biases = Recurrent.roles[:2], Recurrent.roles[2:]
    needed = (*kernels, *biases) if own.keys() & set(biases) else kernels
    faults = [f"{role}_{suffix} is missing" for role in needed if role not in own]
    faults += [
        f"{role}_{suffix} has shape {own[role].shape} and needs two axes"
        for role in kernels
        if role in own and own[role].ndim != 2
    ]
    if not faults:
        rows = len(known.layer.gates) * own["weight_hh"].shape[-1]
        shapes = {"weight_ih": (rows, own["weight_ih"].shape[-1]), "weight_hh": (rows, own["weight_hh"].shape[-1])}
        faults = [
            f"{role}_{suffix} has shape {own[role].shape} and needs {shapes.get(role, (rows,))}"
            for role in needed
            if own[role].shape != shapes.get(role, (rows,))
        ]
    _refuse(faults, f"the weights of one direction of {known.layer.__name__}, for {cell}")
    zero = np.zeros_like(own["weight_hh"], shape=own["weight_hh"].shape[:1])
    return {**dict.fromkeys(biases, zero), **own}


def _check_apart(cell: str, known: Cell, biases: Blocks, suffix: str) -> None:
    """Refuse a bias that the cell would have to add where the layer does not."""
    held_apart = {gate for held in known.arrays if held.of == "bias_hh" for gate in held.gates}
    for gate in known.layer.apart:
        if gate not in held_apart and biases[gate].any():
            raise NotExpressibleError(
                f"bias_hh_{suffix}",
                f"a b_h{gate} of 0, for which {cell} has no place: it is inside the product with the reset gate, "
                "where no sum with another bias is",
                f"one of norm {np.linalg.norm(biases[gate]):.2g}",
                "Use linen.GRUCell, or the GRU of paritree: both have it.",
            )


def _check_arrays(cell: str, known: Cell, arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse arrays that are not those of the cell."""
    names = [held.name for held in known.arrays]
    faults = [f"{name} is missing" for name in names if name not in arrays]
    faults += [f"{name} is not the cell's" for name in arrays if name not in names]
    if not faults:
        state = next(arrays[held.name].shape[0] for held in known.arrays if held.of == "weight_hh")
        width = next(arrays[held.name].shape[0] for held in known.arrays if held.of == "weight_ih")
        leading = {"weight_ih": (width,), "weight_hh": (state,)}
        needed = {held.name: (*leading.get(held.of, ()), len(held.gates) * state) for held in known.arrays}
        faults = [
            f"{name} has shape {arrays[name].shape} and needs {needed[name]}"
            for name in names
            if arrays[name].shape != needed[name]
        ]
    _refuse(faults, f"the arrays of {cell}")


def _refuse(faults: list[str], expected: str) -> None:
    if faults:
        verb = "does" if len(faults) == 1 else "do"
        raise WeightsError("", expected, f"{len(faults)} that {verb} not fit: {'; '.join(faults)}")
