"""What is checked and what it is held against."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ...common.models import ReferenceModel, neutral_weights
from ...common.seeding import generator
from ...common.spec import Layer, uses
from ...common.tables import Table
from ...common.wing import Site, Wing

LEARNING_RATE = 0.1


@dataclass(frozen=True)
class Subject:
    """A live model of one wing on one device, and the spec it was built from."""

    reference: ReferenceModel
    wing: Wing
    device: str
    spec: Layer
    model: Any

    @staticmethod
    def build(reference: ReferenceModel, wing: Wing, device: str, spec: Layer | None = None) -> Subject:
        """The wing's model of the reference, or of another spec that claims to be it."""
        spec = reference.resolved if spec is None else spec
        with wing.running(device):
            return Subject(reference, wing, device, spec, wing.build(spec, device=device))


@dataclass(frozen=True)
class Oracle:
    """The reference in float64: its table, one set of neutral weights, and what a correct model does with them.

    The run is the torch wing's, on the CPU; tests hold the three wings' float64 runs against each other.
    """

    reference: ReferenceModel
    wing: Wing

    @cached_property
    def table(self) -> Table:
        return self.reference.table()

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        return neutral_weights(self.table)

    @cached_property
    def inputs(self) -> tuple[np.ndarray, ...]:
        return self.reference.inputs()

    @cached_property
    def depth(self) -> int:
        """How many layers an error can add up over."""
        return sum(1 for _ in uses(self.reference.resolved))

    @cached_property
    def output(self) -> np.ndarray:
        with self.wing.running(dtype="float64"):
            return self.wing.call(self._model(), self._inputs64)

    @cached_property
    def cotangent(self) -> np.ndarray:
        """Fixed, distinct weights for the output's entries, exact in float32."""
        return generator(0, f"cotangent of {self.reference.name}").normal(size=self.output.shape).astype(np.float32)

    @cached_property
    def gradients(self) -> dict[str, np.ndarray]:
        with self.wing.running(dtype="float64"):
            return self.wing.value_and_gradients(self._model(), self._inputs64, self._cotangent64)[1]

    @cached_property
    def sites(self) -> dict[str, tuple[Site, ...]]:
        with self.wing.running(dtype="float64"):
            return self.wing.site_gradients(self._model(), self._inputs64, self._cotangent64)

    @cached_property
    def targets(self) -> np.ndarray:
        return np.zeros(self.output.shape, np.float32)

    @cached_property
    def trained(self) -> dict[str, np.ndarray]:
        """The weights after one step."""
        with self.wing.running(dtype="float64"):
            model, _ = self.wing.step(
                self._model(), self._inputs64, self.targets.astype(np.float64), learning_rate=LEARNING_RATE
            )
            return self.wing.weights(model)

    @property
    def _inputs64(self) -> tuple[np.ndarray, ...]:
        return self.reference.inputs(dtype="float64")

    @property
    def _cotangent64(self) -> np.ndarray:
        return self.cotangent.astype(np.float64)

    def _model(self) -> Any:
        model = self.wing.build(self.reference.resolved, dtype="float64")
        return self.wing.load(model, {path: array.astype(np.float64) for path, array in self.weights.items()})
