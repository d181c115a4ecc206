"""A side of a pair, made ready: its tensors that a map is about, and a way to run it for any values of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ...common import paths
from ...common.errors import DtypeError
from ...common.wing import Call, Inputs, Native, Probe, Prober, SideWing, Trace, Tracer, reported
from ...pairs.values import cotangents
from ...pairs.wings import side_wing
from .axis_groupings import Group, Shape, kind
from .errors import AlignmentError


@dataclass(frozen=True)
class Side:
    """One side of a pair.

    role, number: `reference` and 0, or `port` and 1.
    model: which is not changed.
    tensors: by path, what a map is about: the saved ones of floating-point numbers, each tie once.
    aside: the paths of the others.
    made, run: the model ready to be probed, in a dtype to be named and in that of the alignment.
    made_to_trace: makes it ready to be traced, in a dtype.
    """

    role: str
    number: int
    wing: SideWing
    model: Any
    tensors: Mapping[str, Native]
    aside: tuple[str, ...]
    made: Callable[[str], Prober]
    run: Prober
    made_to_trace: Callable[[str], Tracer]

    def traced(self, weights: Mapping[str, np.ndarray], dtype: str = "float64") -> tuple[Trace, ...]:
        """What the calls of its modules took and gave; nothing for a bare pytree, which has none."""
        with self.wing.running("cpu", dtype):
            run = self.made_to_trace(dtype)
            with reported(self.role):
                return run(weights)

    def probe(self, weights: Mapping[str, np.ndarray]) -> Probe:
        with reported(self.role):
            return self.run(weights, cotangents)

    def probe_exactly(self, weights: Mapping[str, np.ndarray]) -> Probe:
        """In float64: what the rounding of `probe` is seen against."""
        with self.wing.running("cpu", "float64"), reported(self.role):
            return self.made("float64")(weights, cotangents)

    def outputs(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Of a run; a compiled program tells the gradients with them, since to compile another one takes longer."""
        with reported(self.role):
            return self.run(weights, cotangents, gradients=self.wing.NAME != "torch").outputs

    def outputs_exactly(self, weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """In float64, as `probe_exactly`."""
        with self.wing.running("cpu", "float64"), reported(self.role):
            return self.made("float64")(weights, cotangents, gradients=False).outputs

    def is_frozen(self, path: str) -> bool:
        """Whether training leaves the parameter alone; the other side's program may stop its gradient instead."""
        return self.tensors[path].frozen

    def is_free(self, path: str) -> bool:
        """Whether it is a parameter that training moves; what is frozen is most often a constant of the program."""
        return self.tensors[path].trainable and not self.tensors[path].frozen

    def module(self, path: str) -> str:
        """The path of the module that a tensor stands in; Linen has the collection in front of it."""
        return paths.parent(path.partition(".")[2] if self.wing.NAME == "linen" else path)

    def shape(self, path: str) -> Shape:
        return self.tensors[path].array.shape

    def groups(self, named: bool) -> list[Group]:
        """Of all parameters, in order, by shape and, if `named`, kind of name."""
        trainable = (path for path in self.tensors if self.tensors[path].trainable)
        return [(self.shape(path), kind(path) if named else "") for path in trainable]

    @property
    def shapes(self) -> list[Shape]:
        """Of all parameters, in order."""
        return [shape for shape, _ in self.groups(False)]


@contextmanager
def side_of(role: str, model: Any, inputs: Inputs, call: Call | None, dtype: str) -> Iterator[Side]:
    """The side, as long as the context lasts.

    Raises:
        UsageError: what is no model.
        AlignmentError: a model without a parameter.
    """
    wing = side_wing(model)
    with wing.running("cpu", dtype):
        natives = wing.natives(model)
        tensors = {path: native for path, native in natives.items() if native.saved and native.is_floating}
        if not any(native.trainable for native in tensors.values()):
            raise AlignmentError(role, "a model with trainable tensors", "none of floating-point numbers")
        aside = tuple(path for path in natives if path not in tensors)

        # The float64 one serves all that rounding is seen against.
        @lru_cache(maxsize=2)
        def made(dtype: str) -> Prober:
            return wing.prober(model, inputs, call, dtype=dtype)

        def made_to_trace(dtype: str) -> Tracer:
            return wing.tracer(model, inputs, call, dtype=dtype)

        with reported(role):
            run = made(dtype)
        yield Side(role, ("reference", "port").index(role), wing, model, tensors, aside, made, run, made_to_trace)


def check_dtype(dtype: str) -> None:
    """Raises DtypeError for what no comparison is made in."""
    if dtype not in ("float32", "float64"):
        raise DtypeError("", "'float32' or 'float64'", repr(dtype))
