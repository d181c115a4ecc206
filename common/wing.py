"""What the rooms above the wings know of a wing: where it lives, which models are its own, what it offers.

A wing is a package that satisfies `Wing`: functions that take any live model of its framework. Nothing here imports
one; `name_of` tells by the names of a model's classes. A side of a pair needs less of it, a `SideWing`, and may be
something that no wing knows, a bare pytree.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from .errors import UsageError
from .natives import Native
from .pairs import Call, Inputs, PairError, Prober, reported
from .recorded import Answering
from .saving import RoundTrip
from .sites import Site, SiteProber
from .spec import Layer
from .tables import Row, Table
from .traces import Tracer
from .training import Passer, Trainer

# Where each wing lives, below the package.
HOMES: dict[str, str] = {"torch": "impl_torch", "linen": "impl_jax.linen", "nnx": "impl_jax.nnx"}
WINGS = tuple(HOMES)
# Where each kind of side of a pair lives.
SIDES: dict[str, str] = {
    **HOMES,
    "pytree": "impl_jax.pytrees",
    # A record of each of them.
    **{f"recorded {name}": f"common.recorded_{name}" for name in (*HOMES, "pytree")},
}

# The class that a framework's models derive from, as module and name.
_BASES = {("torch.nn.modules.module", "Module"): "torch", ("flax.nnx.module", "Module"): "nnx"}
_LINEN = ("flax.linen.module", "Module")


class SideWing(Protocol):
    """What a pair asks of each of its sides, as functions of a live model: its tensors, and runs of it."""

    NAME: str

    def natives(self, model: Any) -> dict[str, Native]: ...
    def with_natives(self, model: Any, arrays: Mapping[str, Any]) -> Any: ...
    def prober(self, model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober: ...
    def tracer(self, model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Tracer: ...
    def trainer(
        self,
        model: Any,
        inputs: Inputs,
        call: Call | None = None,
        *,
        dtype: str = "float32",
        train_call: Call | None = None,
    ) -> Trainer: ...
    def passer(
        self,
        model: Any,
        inputs: Inputs,
        call: Call | None = None,
        *,
        dtype: str = "float32",
        train_call: Call | None = None,
    ) -> Passer: ...
    def round_trips(self, model: Any) -> Iterator[RoundTrip]: ...
    def site_prober(
        self, model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32"
    ) -> SiteProber: ...
    def draws(
        self, factory: Any, seeds: Sequence[int], *, device: str = "cpu", target: int | None = None
    ) -> dict[str, np.ndarray]: ...
    def devices(self) -> tuple[str, ...]: ...
    def running(
        self, device: str = "cpu", dtype: str = "float32", tf32: bool = False
    ) -> AbstractContextManager[None]: ...


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
    def natives(self, model: Any) -> dict[str, Native]: ...
    def with_natives(self, model: Any, arrays: Mapping[str, Any]) -> Any: ...
    def prober(self, model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober: ...
    def tracer(self, model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Tracer: ...
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
    def running(
        self, device: str = "cpu", dtype: str = "float32", tf32: bool = False
    ) -> AbstractContextManager[None]: ...
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
    expected = "a spec, an nn.Module, an nnx.Module or (linen module, variables)"
    raise UsageError("", expected, type(model).__name__, _hint(model))


def side_name(model: Any) -> str:
    """The kind of side that a live model is: one of SIDES.

    Raises:
        UsageError: an object that is no model of any wing and no pytree of arrays.
    """
    if isinstance(model, Answering):
        return f"recorded {model.wing}"
    try:
        return name_of(model)
    except UsageError as error:
        if not isinstance(model, type) and not error.remedy and is_tree(model):
            return "pytree"
        raise


def model_of(side: Any, seed: int = 0, role: str = "") -> Any:
    """The live model of a side, which a factory makes for a seed.

    role: `reference` or `port`, for messages.

    Raises:
        PairError: the factory raised something, where an error of this package passes; or a record as the port.
        UsageError: neither a model nor a factory, or a factory that gives no model.
    """
    if role == "port" and isinstance(side, Answering):
        remedy = "A record answers at its own values alone: swap the sides, and give the inverse of the map."
        raise PairError(role, "a live model", "a record", remedy)
    if not is_factory(side):
        _check_side(side, role)
        return side
    with reported(role, "a factory that makes a model", "A factory is a function of a seed."):
        made = side(seed)
    _check_side(made, f"what the {role}'s factory makes" if role else "")
    return made


def _check_side(model: Any, place: str) -> None:
    try:
        side_name(model)
    except UsageError as error:
        raise UsageError(place, error.expected, error.found, error.remedy) from None


def is_factory(side: Any) -> bool:
    """Whether a side is a function that makes models: what can be called and is no model, no class and no wrapper."""
    if isinstance(side, Answering):
        return side.is_factory
    if isinstance(side, type) or not callable(side) or _hint(side):
        return False
    return all(base not in _BASES for base in _ancestry(side)) and not is_tree(side)


def is_tree(model: Any) -> bool:
    """Whether it is a pytree with an array of JAX's or NumPy's in it: containers, or nodes that JAX knows."""
    return not _is_array(model) and any(_is_array(leaf) for leaf in _leaves(model))


def _leaves(tree: Any) -> Iterator[Any]:
    if type(tree) in (dict, list, tuple):
        for each in tree.values() if isinstance(tree, dict) else tree:
            yield from _leaves(each)
        return
    # Only where somebody has imported JAX can a node be one of its own.
    jax = sys.modules.get("jax")
    yield from jax.tree_util.tree_leaves(tree) if jax is not None else (tree,)


def _is_array(leaf: Any) -> bool:
    if not hasattr(leaf, "shape") or not hasattr(leaf, "dtype"):
        return False
    return isinstance(leaf, np.ndarray) or type(leaf).__module__.partition(".")[0] in ("jax", "jaxlib")


def _hint(model: Any) -> str:
    """What to do about a model that is not given as a side is to be given; empty for anything else."""
    if _LINEN in _ancestry(model):
        return "A Linen module needs its variables: give the tuple (module, variables)."
    if hasattr(model, "module") and hasattr(model, "params"):
        return 'Of a wrapper around a Linen module give the inside: (model.module, {"params": model.params}).'
    return ""


def _ancestry(model: Any) -> list[tuple[str, str]]:
    return [(base.__module__, base.__qualname__) for base in type(model).__mro__]
