"""Bare pytrees: any tree of arrays that JAX knows, as a side of a pair. A function of it is given with it.

A path is made of JAX's keys, joined with dots: a dict's keys, a sequence's positions, the names of attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from ..common.errors import UsageError
from ..common.natives import Native, check_fit
from ..common.pairs import Call, Inputs, PairError, Prober
from ..common.traces import Tracer
from .devices import check_dtype
from .devices import running as running
from .probing import Arrays, compiled
from .trees import Keys, arrays_of, by_path, filled, placed

NAME = "pytree"


def natives(model: Any) -> dict[str, Native]:
    """Every array of the tree by its path. Those of floating-point numbers count as parameters.

    One array under two keys is two: a tree knows no ties.

    Raises:
        UsageError: no tree, or one without an array of JAX's or NumPy's.
        ChildNameError: two arrays whose keys lead to one path.
    """
    return {
        path: Native(path, np.asarray(array), trainable=jnp.issubdtype(array.dtype, jnp.floating), keys=keys)
        for path, (keys, array) in _stored(model).items()
    }


def with_natives(model: Any, arrays: Mapping[str, Any]) -> Any:
    """A new tree with some or all of its arrays replaced, in their own dtypes. `model` is as it was.

    arrays: of any framework, by path.

    Raises:
        WeightsError: one message for every path that is none of the tree's and every wrong shape.
    """
    stored = _stored(model)
    check_fit({path: tuple(array.shape) for path, (_, array) in stored.items()}, arrays)
    return filled(model, {stored[path][0]: placed(array, stored[path][1]) for path, array in arrays.items()})


def prober(model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober:
    """The tree made ready to be probed: `run(weights, cotangents)` gives a Probe.

    inputs: neutral arrays by position or by name; what is floating in them and in the tree becomes `dtype`.
    call: `call(tree, inputs)`, with jax arrays in both.
    weights: arrays for any of the tree's paths; the others keep the values they have.

    The run is compiled once, for all weights.

    Raises:
        PairError: no call.
        DtypeError: no floating-point type of that name, or float64 where it is not enabled.
        WeightsError: from the run, weights for no path of the tree or of another shape.
        NotExpressibleError: from the run, an output that is no structure of arrays.
    """
    if call is None:
        remedy = "Give the pair a reference_call or a port_call."
        raise PairError("", "a call(tree, inputs) for a pytree, which cannot be called itself", "none", remedy)
    check_dtype(dtype)
    stored = _stored(model)

    def output_of(arrays: Arrays, given: Any) -> Any:
        return call(filled(model, {stored[path][0]: array for path, array in arrays.items()}), given)

    trainable = [path for path, (_, array) in stored.items() if jnp.issubdtype(array.dtype, jnp.floating)]
    return compiled(output_of, {path: array for path, (_, array) in stored.items()}, trainable, inputs, dtype)


def _stored(model: Any) -> dict[str, tuple[Keys, Any]]:
    found = by_path(arrays_of(model))
    if not found:
        raise UsageError("", "a pytree with arrays of JAX's or NumPy's", type(model).__name__, "")
    return found


def tracer(model: Any, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Tracer:
    """What traces nothing: a function of a tree has no modules."""
    return lambda weights: ()
