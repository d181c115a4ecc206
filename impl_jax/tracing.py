"""What tracing has in common in both Flax wings: arrays with values, and a second pass if one saw none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from ..common.wing import Recorder, Trace
from .trees import is_array


def recorded(run: Callable[[Recorder], Any]) -> tuple[Trace, ...]:
    """The traces that a pass `run(recorder)` leaves, run op by op.

    Inside of `jax.jit`, `scan` and the like arrays have no values. If any call was in one of these, the pass is run
    again without compilation, where scans are loops; what has no values then either (inside of `jax.checkpoint`,
    `vmap`) is not seen.
    """
    recorder = Recorder(neutral)
    run(recorder)
    if recorder.missed:
        recorder = Recorder(neutral)
        with jax.disable_jit():
            run(recorder)
    return recorder.traces()


def neutral(array: Any) -> np.ndarray | None:
    """A NumPy copy of an array; None of one without values. A random key is an array of no numbers."""
    if isinstance(array, Tracer):
        return None
    held = array.get_raw_value() if hasattr(array, "get_raw_value") else array
    return np.array(held) if is_array(held) else np.zeros(0, bool)


def cast(tree: Any, dtype: str) -> Any:
    """A tree with its floating-point arrays in `dtype`."""

    def chosen(leaf: Any) -> Any:
        return leaf.astype(dtype) if is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(chosen, tree)
