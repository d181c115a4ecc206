"""Which wing a live model is of, told by the names of its classes: no framework is imported."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import UsageError
from ..trees import entries, is_array, walk
from .protocols import SelfAnswering
from .runs import PairError, reported

WINGS = ("torch", "linen", "nnx")

# The class that a framework's models derive from, as module and name.
_BASES = {("torch.nn.modules.module", "Module"): "torch", ("flax.nnx.module", "Module"): "nnx"}
_LINEN = ("flax.linen.module", "Module")


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
    """The kind of side that a live model is: a wing, `pytree`, or `recorded` with one of these.

    Raises:
        UsageError: an object that is no model of any wing and no pytree of arrays.
    """
    if isinstance(model, SelfAnswering):
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
    if role == "port" and isinstance(side, SelfAnswering):
        remedy = "A record answers at its own values alone: swap the sides, and give the inverse of the map."
        raise PairError(role, "a live model", "a record", remedy)
    if not is_factory(side):
        _check_side(side, role)
        return side
    with reported(role, "a factory that makes a model", "A factory is a function of a seed."):
        made = side(seed)
    _check_side(made, f"what the {role}'s factory makes" if role else "")
    return made


def _check_side(model: Any, path: str) -> None:
    try:
        side_name(model)
    except UsageError as error:
        raise UsageError(path, error.expected, error.found, error.remedy) from None


def is_factory(side: Any) -> bool:
    """Whether a side is a function that makes models: what can be called and is no model, no class and no wrapper."""
    if isinstance(side, SelfAnswering):
        return side.is_factory
    if isinstance(side, type) or not callable(side) or _hint(side):
        return False
    return all(base not in _BASES for base in _ancestry(side)) and not is_tree(side)


def is_nnx_state(model: Any) -> bool:
    """Whether it is the state of an NNX module."""
    return ("flax.nnx.statelib", "State") in _ancestry(model)


def is_tree(model: Any) -> bool:
    """Whether it is a pytree with an array of JAX's or NumPy's in it: containers, or nodes that JAX knows."""
    return not _is_array(model) and any(_is_array(leaf) for leaf in _leaves(model))


def _leaves(tree: Any) -> Iterator[Any]:
    # Only where somebody has imported JAX can a node be one of its own.
    jax = sys.modules.get("jax")
    for _, leaf in walk(tree, lambda node: entries(node) if type(node) in (dict, list, tuple) else None):
        yield from jax.tree_util.tree_leaves(leaf) if jax is not None else (leaf,)


def _is_array(leaf: Any) -> bool:
    if not is_array(leaf):
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
