"""A side of a pair, made ready: its tensors that a map is about, and a way to run it for any values of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, cast

import numpy as np

from ...common.errors import DtypeError
from ...common.pairs import Call, Inputs, Probe, Prober
from ...common.seeding import generator
from ...common.tables import Row, Table
from ...common.wing import HOMES, Wing, name_of
from .contents import ShapeClass, shape_class
from .errors import AlignmentError


@dataclass(frozen=True)
class Side:
    """One side of a pair.

    role: `reference` or `port`, for messages.
    tensors: by path, what a map is about: parameters and saved buffers of floating-point numbers, each tie once.
    values: what the tensors hold in the model, which is not changed.
    made, run: the model ready to be probed, in a dtype to be named and in that of the alignment.
    """

    role: str
    wing: Wing
    table: Table
    tensors: Mapping[str, Row]
    values: Mapping[str, np.ndarray]
    made: Callable[[str], Prober]
    run: Prober

    def probe(self, weights: Mapping[str, np.ndarray]) -> Probe:
        return self.run(weights, cotangents)

    def probe_exactly(self, weights: Mapping[str, np.ndarray]) -> Probe:
        """In float64, made ready for this once: what the rounding of `probe` is seen against."""
        with self.wing.running("cpu", "float64"):
            return self.made("float64")(weights, cotangents)

    def classes(self, paths: Iterable[str] | None = None) -> dict[ShapeClass, list[str]]:
        """The paths (all, unless given) by shape class."""
        found: dict[ShapeClass, list[str]] = {}
        for path in self.tensors if paths is None else paths:
            found.setdefault(shape_class(self.tensors[path].sizes), []).append(path)
        return found

    @property
    def aside(self) -> tuple[str, ...]:
        """The owners that a map is not about."""
        return tuple(row.path for row in self.table.owners if row.path not in self.tensors)

    def aliases(self, path: str) -> tuple[str, ...]:
        return tuple(tie.alias for tie in self.table.ties if tie.owner == path)


def side_of(role: str, model: Any, inputs: Inputs, call: Call | None, dtype: str) -> Side:
    """Raises UsageError for what is no model, AlignmentError for one without a parameter."""
    wing = wing_of(model)
    table = wing.table(model)
    tensors = {row.path: row for row in table.owners if row.persistent and _is_floating(row.dtype)}
    if not any(row.kind == "parameter" for row in tensors.values()):
        raise AlignmentError(role, "a model with parameters", "none of floating-point numbers")
    values = {path: array for path, array in wing.weights(model).items() if path in tensors}

    def made(dtype: str) -> Prober:
        return wing.prober(model, inputs, call, dtype=dtype)

    return Side(role, wing, table, tensors, values, made, made(dtype))


def wing_of(model: Any) -> Wing:
    """Raises UsageError for what is no model of any wing."""
    return cast(Wing, import_module(f"...{HOMES[name_of(model)]}", __package__))


def cotangents(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Fixed normal weights for the outputs, the same on both sides."""
    return [generator(0, f"cotangent {number}").normal(size=shape) for number, shape in enumerate(shapes)]


def check_dtype(dtype: str) -> None:
    """Raises DtypeError for what no comparison is made in."""
    if dtype not in ("float32", "float64"):
        raise DtypeError("", "'float32' or 'float64'", repr(dtype))


def _is_floating(dtype: str) -> bool:
    # NumPy has bfloat16 and its like from another package, and takes no such name.
    return "float" in dtype
