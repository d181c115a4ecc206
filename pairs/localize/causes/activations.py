"""Activations: which function of what both sides have each of them applies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import numpy as np
from scipy.special import erf, expit, log_softmax, softmax

from ..comparing import apart, axis_text
from ..gap import Cause, Gap, Known

Function = Callable[[np.ndarray], np.ndarray]


def _elu(alpha: float) -> Function:
    return lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _leaky(slope: float) -> Function:
    return lambda x: np.where(x > 0, x, slope * x)


def _capped(cap: float) -> Function:
    return lambda x: cap * np.tanh(x / cap)


ACTIVATIONS: dict[str, Function] = {
    "the identity": lambda x: x,
    "the exact GELU": lambda x: x * 0.5 * (1 + erf(x / np.sqrt(2))),
    "GELU's tanh approximation": lambda x: x * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))),
    "GELU's sigmoid approximation (x sigmoid(1.702 x))": lambda x: x * expit(1.702 * x),
    "ReLU": lambda x: np.maximum(x, 0),
    "ReLU6": lambda x: np.clip(x, 0, 6),
    "squared ReLU": lambda x: np.maximum(x, 0) ** 2,
    "SiLU": lambda x: x * expit(x),
    "sigmoid": expit,
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(x, 0),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "Mish": lambda x: x * np.tanh(np.logaddexp(x, 0)),
    "ELU": _elu(1.0),
    "SELU": lambda x: 1.0507009873554805 * _elu(1.6732632423543772)(x),
    **{f"leaky ReLU with a slope of {slope:g}": _leaky(slope) for slope in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.3)},
    "hard swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hard sigmoid (x / 6 + 1 / 2)": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard sigmoid (x / 5 + 1 / 2)": lambda x: np.clip(x / 5 + 0.5, 0, 1),
    **{f"a soft cap at {cap:g}": _capped(cap) for cap in (5, 10, 15, 20, 30, 50)},
    "hard tanh": lambda x: np.clip(x, -1, 1),
    "softmax over the last axis": lambda x: softmax(x, -1),
    "log-softmax over the last axis": lambda x: log_softmax(x, -1),
    "sine": np.sin,
    "the exponential": lambda x: np.exp(np.minimum(x, 700)),
}
_OVER = re.compile(r"(.*softmax) over (?:the last axis|axis (\d+))")
# Of how many arrays that both have two are tried as a gate and what it lets through.
_GATES = 4


def activation(gap: Gap) -> Cause | None:
    """Both apply an elementwise function to something that both have, alone or as a gate: another one, or to others."""
    ours = theirs = None
    for label, arguments, through in _uses(gap):
        made = {name: function(arguments) * through for name, function in ACTIVATIONS.items()}
        for axis in range(1, arguments.ndim - 1):
            made[f"softmax over axis {axis}"] = softmax(arguments, axis) * through
        one, other = _closest(made, gap, gap.reference), _closest(made, gap, gap.port)
        ours = (label, one) if ours is None and one and gap.is_reference(made[one]) else ours
        theirs = (label, other) if theirs is None and other and gap.is_port(made[other]) else theirs
        if one and other and ours == (label, one) and theirs == (label, other):
            return Cause("activation", f"of {label} the reference takes {one} and the port {_in_port(gap, other)}")
    if ours is None or theirs is None or ours[1] == theirs[1] == "the identity":
        return None
    name = "activation" if ours[1] != theirs[1] else "wiring"
    return Cause(
        name, f"of {ours[0]} the reference takes {ours[1]}, of {theirs[0]} the port {_in_port(gap, theirs[1])}"
    )


def _in_port(gap: Gap, name: str) -> str:
    """A function's name with the port's own axis in it."""
    found = _OVER.fullmatch(name)
    last = gap.reference.ndim - 1
    if found is None or gap.axes == tuple(range(last + 1)):
        return name
    text = axis_text(gap.axes, int(found[2]) if found[2] else last)
    return f"{found[1]} over {'the last axis' if text == f'axis {last}' else text}"


def _closest(made: dict[str, np.ndarray], gap: Gap, of: np.ndarray) -> str:
    errors = {name: apart(array, of) for name, array in made.items()}
    name = min(errors, key=lambda each: errors[each])
    return name if errors[name] <= 4 * gap.limit else ""


def _uses(gap: Gap) -> Iterator[tuple[str, np.ndarray, np.ndarray | float]]:
    shape = gap.reference.shape
    sized = [Known(known.label, array) for known in gap.known if (array := _flat(known.array, shape)).shape == shape]
    for known in sized:
        yield known.label, known.array, 1.0
    for gate in sized[:_GATES]:
        for other in sized[:_GATES]:
            if other is not gate:
                yield _gate(gate, other), gate.array, other.array
    for known in gap.known[:_GATES]:
        if known.array.shape[:-1] == gap.reference.shape[:-1] and known.array.shape[-1] == 2 * gap.reference.shape[-1]:
            halves = np.split(known.array, 2, axis=-1)
            yield f"the first half of {known.label}, a gate,", halves[0], halves[1]
            yield f"the second half of {known.label}, a gate,", halves[1], halves[0]


def _flat(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An image with channels first as positions of features, where that has the shape."""
    is_flat = array.ndim > len(shape) == 3 and array.shape[:2] == (shape[0], shape[2]) and array.size == np.prod(shape)
    return np.moveaxis(array, 1, -1).reshape(shape) if is_flat else array


def _gate(gate: Known, other: Known) -> str:
    return f"{gate.label}, a gate of {other.label},"
