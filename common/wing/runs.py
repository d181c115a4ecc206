"""Runs: what a side of a pair is given, and what one run of it tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from .. import paths
from ..errors import NotExpressibleError, ParitreeError

# Neutral arrays: by position, or by the name of the argument.
Inputs = tuple[np.ndarray, ...] | Mapping[str, np.ndarray]
# call(model, inputs): the output, an array or a tree of arrays. The inputs reach it as that side's own arrays.
Call = Callable[[Any, Any], Any]
# The weight of each entry of the outputs in the one number that is differentiated, by the outputs' shapes.
Cotangents = Callable[[Sequence[tuple[int, ...]]], Sequence[np.ndarray]]


class PairError(ParitreeError, ValueError):
    """Two sides that cannot be held against each other: inputs that are none, outputs of unequal structure."""


@contextmanager
def reported(
    role: str,
    expected: str = "inputs that the model takes",
    remedy: str = "Check the inputs, and the call if the pair has one: names, shapes and dtypes.",
) -> Iterator[None]:
    """Whatever a side's own code raises, as a PairError that names the side. Errors of this package pass through.

    role: `reference` or `port`, also for a PairError that names none.
    """
    try:
        yield
    except PairError as error:
        if error.path:
            raise
        raise PairError(role, error.expected, error.found, error.remedy) from error.__cause__
    except ParitreeError:
        raise
    # A model may raise anything; nothing is swallowed, since each error goes on with the side's name and its own.
    except Exception as error:
        raise PairError(role, expected, _said(error), remedy) from error


def _said(error: BaseException) -> str:
    """An exception's type and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[:1]]).rstrip(".")


class Probe(NamedTuple):
    """What one run of a side told.

    outputs: the floating-point arrays among the outputs, by their place in the output's structure.
    gradients: of <outputs, cotangents>, by the native path of every parameter of floating-point numbers, each once,
        those included that training leaves alone. Zero where the outputs do not depend on it.
    """

    outputs: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]


class Prober(Protocol):
    """A side made ready to run: compiled once, where that is sensible, and called for any weights.

    weights: native arrays by the paths of `natives`; what is not given keeps the value that it has in the model.
    gradients: without them only the outputs are made, which takes less time, and the cotangents are not asked for.
    """

    def __call__(self, weights: Mapping[str, Any], cotangents: Cotangents, *, gradients: bool = True) -> Probe: ...


def named_arrays(output: Any) -> dict[str, Any]:
    """The arrays of an output by their place: `''` for one array, `logits`, `hidden.0` for those of a structure.

    Mappings, sequences and dataclasses are entered; None is left out.

    Raises:
        NotExpressibleError: something else, which no number of ours can be made of.
    """
    return dict(_arrays(output, ""))


def _arrays(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if value is None:
        return
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        yield place, value
        return
    for name, inner in _members(value, place):
        yield from _arrays(inner, paths.join(place, str(name)))


def _members(value: Any, place: str) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return list(zip(value._fields, value, strict=True))  # type: ignore[attr-defined]
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in fields(value)]
    raise NotExpressibleError(
        place, "arrays, or mappings, sequences and dataclasses of arrays", type(value).__name__, "Give the pair a call."
    )
