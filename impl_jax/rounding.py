"""Rounding: a run in which every operation rounds otherwise, to see what rounding alone does to the outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Jaxpr, Literal

from ..common.arrays import rerounded as moved
from ..common.seeding import generator
from .equations import INLINED, applied, opened

# Functions with a derivative of their own are opened as well: only their values are asked for.
_OPENED = INLINED | {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"}


def rerounded(function: Callable[..., Any], arguments: Any, draw: int) -> list[jax.Array]:
    """The leaves of `function(*arguments)`, each operation's results moved by one rounding, other ways for each draw.

    A loop is one operation, whose results are moved.
    """
    closed = jax.make_jaxpr(function)(*arguments)
    return _evaluated(closed.jaxpr, closed.consts, jax.tree.leaves(arguments), generator(draw, "rerounded"))


def _evaluated(jaxpr: Jaxpr, consts: Sequence[Any], given: Sequence[Any], random: np.random.Generator) -> list[Any]:
    environment = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *given), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, Literal) else environment[atom]

    for equation in jaxpr.eqns:
        arguments = [read(atom) for atom in equation.invars]
        inner = opened(equation) if equation.primitive.name in _OPENED else None
        if inner is not None:
            outputs = _evaluated(*inner, arguments, random)
        else:
            operands = [np.asarray(each) for each in arguments if _is_floating(each)]
            outputs = [_moved(each, operands, random) for each in applied(equation, arguments)]
        environment.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _moved(output: Any, operands: Sequence[np.ndarray], random: np.random.Generator) -> Any:
    if not _is_floating(output):
        return output
    before = np.asarray(output)
    after = moved(before, operands, random)
    return output if after is before else jnp.asarray(after)


def _is_floating(value: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(value) if not hasattr(value, "dtype") else value.dtype, jnp.floating)
