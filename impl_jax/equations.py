"""Equations of a traced program: applied to arguments, and opened where they are calls of other ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.extend.core import Jaxpr

# Calls that only wrap other equations: what they do with an argument is looked at inside.
INLINED = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"})
# Where a call has its equations.
_INSIDE = ("jaxpr", "call_jaxpr", "fun_jaxpr")


def applied(equation: Any, arguments: Sequence[Any]) -> Sequence[Any]:
    """What an equation gives for its arguments."""
    bound = equation.primitive.get_bind_params(equation.params)
    # A pair until jax 0.9, the parameters alone since.
    subfunctions, parameters = bound if isinstance(bound, tuple) else ((), bound)
    outputs = equation.primitive.bind(*subfunctions, *arguments, **parameters)
    return outputs if equation.primitive.multiple_results else [outputs]


def opened(equation: Any) -> tuple[Jaxpr, Sequence[Any]] | None:
    """The equations of a call and their constants; None of what is no call, or shows none."""
    inner: Any = next((equation.params[name] for name in _INSIDE if name in equation.params), None)
    jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
    return (jaxpr, consts) if hasattr(jaxpr, "eqns") else None
