"""What the rooms above the wings know of a wing: where it lives, which models are its own, what it offers.

A wing is a package that satisfies `Wing`: functions that take any live model of its framework. Nothing here imports
one; `name_of` tells by the names of a model's classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from .errors import UsageError
from .pairs import Call, Inputs, Prober
from .sites import Site
from .spec import Layer
from .tables import Row, Table

# Where each wing lives, below the package.
HOMES: dict[str, str] = {"torch": "impl_torch", "linen": "impl_jax.linen", "nnx": "impl_jax.nnx"}
WINGS = tuple(HOMES)

# The class that a framework's models derive from, as module and name.
_BASES = {("torch.nn.modules.module", "Module"): "torch", ("flax.nnx.module", "Module"): "nnx"}
_LINEN = ("flax.linen.module", "Module")


class Wing(Protocol):
    """A wing's functions, as the rooms above use them. A model is whatever `build` returns.

    What changes a model returns the model to go on with: the same object in torch and NNX, a new one in Linen.
    """

    NAME: str

    def build(self, model: Layer, *, seed: int = 0, dtype: str = "float32", device: str = "cpu") -> Any: ...
    def table(self, model: Any, inputs: Sequence[np.ndarray] | None = None) -> Table: ...
    def weights(self, model: Any) -> dict[str, np.ndarray]: ...
    def load(self, model: Any, weights: Mapping[str, np.ndarray]) -> Any: ...
    def call(self, model: Any, inputs: Sequence[np.ndarray]) -> np.ndarray: ...
    def value_and_gradients(
        self, model: Any, inputs: Sequence[np.ndarray], cotangent: np.ndarray
    ) -> tuple[float, dict[str, np.ndarray]]: ...
    def site_gradients(
        self, model: Any, inputs: Sequence[np.ndarray], cotangent: np.ndarray
    ) -> dict[str, tuple[Site, ...]]: ...
    def prober(self, model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober: ...
    def step(
        self,
        model: Any,
        inputs: Sequence[np.ndarray],
        targets: np.ndarray,
        *,
        learning_rate: float = 0.1,
        seed: int = 0,
    ) -> tuple[Any, float]: ...
    def identical(self, model: Any, one: str, other: str) -> bool: ...
    def sample(self, row: Row, *, seeds: Sequence[int], device: str = "cpu") -> np.ndarray: ...
    def devices(self) -> tuple[str, ...]: ...
    def running(self, device: str = "cpu", dtype: str = "float32") -> AbstractContextManager[None]: ...
    def settings(self) -> dict[str, str]: ...


def name_of(model: Any) -> str:
    """The wing whose framework a live model belongs to.

    Raises:
        UsageError: an object that is no model of any wing.
    """
    if isinstance(model, tuple) and len(model) == 2 and _LINEN in _ancestry(model[0]):
        return "linen"
    for base in _ancestry(model):
        if base in _BASES:
            return _BASES[base]
    hint = ""
    if _LINEN in _ancestry(model):
        hint = "A Linen module needs its variables: give the tuple (module, variables)."
    elif hasattr(model, "module") and hasattr(model, "params"):
        hint = 'Of a wrapper around a Linen module give the inside: (model.module, {"params": model.params}).'
    raise UsageError("", "a spec, an nn.Module, an nnx.Module or (linen module, variables)", type(model).__name__, hint)


def _ancestry(model: Any) -> list[tuple[str, str]]:
    return [(base.__module__, base.__qualname__) for base in type(model).__mro__]
