"""Tapes: every value that an equation of JAX makes in one forward pass of a module. The model is never written to.

To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

from typing import Any

from flax import nnx

from ...common.wing import Call, Inputs, ModuleStack, Taper
from ..core import Arrays
from ..devices import check_dtype
from ..tapes import taper_of
from .core import functional
from .tracing import passed


def taper(model: nnx.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Taper:
    """The model made ready to be taped: `run(weights)` gives all values of a pass.

    Arguments and errors: see `SideWing`, and
        NotExpressibleError: from the run, code that `jax.jit` cannot trace.
    """
    check_dtype(dtype)
    side = functional(model, call)

    def passing(arrays: Arrays, arguments: Any, stack: ModuleStack) -> Any:
        return passed(side.made(arrays), arguments, call, stack)

    return taper_of(side, passing, inputs, dtype)
