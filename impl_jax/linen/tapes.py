"""Tapes: every value that an equation of JAX makes in one forward pass of a module. The model is never written to.

To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

from typing import Any

from flax import linen

from ...common.wing import Call, Inputs, ModuleStack, Taper
from ..core import INFERENCE, Arrays
from ..devices import check_dtype
from ..tapes import taper_of
from .core import functional
from .naming import Model
from .tracing import Interceptor


def taper(model: Model, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Taper:
    """The model made ready to be taped: `run(weights)` gives all values of a pass.

    Arguments and errors: see `SideWing`, and
        NotExpressibleError: from the run, code that `jax.jit` cannot trace.
    """
    check_dtype(dtype)
    side = functional(model, call)
    keys = [each.keys for each in side.owned.values()]

    def passing(arrays: Arrays, arguments: Any, stack: ModuleStack) -> Any:
        with linen.intercept_methods(Interceptor(stack, keys)):
            return side.run(arrays, arguments, INFERENCE)[0]

    return taper_of(side, passing, inputs, dtype)
