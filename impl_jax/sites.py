"""The sites of a parameter in a JAX program, and each one's share of the gradient; both Flax wings use it.

A program is traced to a jaxpr, in which every use of a parameter is an argument of an equation. The jaxpr is then
evaluated with an array of its own for each such argument, so that one backward pass yields one share a site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.extend.core import Jaxpr, Literal, Var

from ..common.layouts import Layout
from ..common.sites import Site

# Calls that only wrap other equations: what they do with a parameter is looked at inside.
INLINED = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "checkpoint"})

Use = Callable[[str, str], Any]


def shares(
    objective: Callable[[dict[str, jax.Array]], jax.Array], parameters: Mapping[str, jax.Array]
) -> dict[str, list[tuple[str, jax.Array]]]:
    """For each parameter its sites, in program order: the operation and the site's share of the gradient.

    objective: a scalar function of the parameters by name.
    """
    names = list(parameters)
    closed = jax.make_jaxpr(lambda *arrays: objective(dict(zip(names, arrays, strict=True))))(*parameters.values())
    owners = dict(zip(closed.jaxpr.invars, names, strict=True))
    program = _Program(closed.jaxpr, closed.consts, owners, dict(parameters))

    found: list[tuple[str, str]] = []

    def note(name: str, operation: str) -> jax.Array:
        found.append((name, operation))
        return parameters[name]

    jax.eval_shape(lambda: program.run(note))

    def value(copies: list[jax.Array]) -> jax.Array:
        remaining = iter(copies)
        return program.run(lambda name, operation: next(remaining))

    gradients = jax.grad(value)([parameters[name] for name, _ in found])
    result: dict[str, list[tuple[str, jax.Array]]] = {name: [] for name in names}
    for (name, operation), gradient in zip(found, gradients, strict=True):
        result[name].append((operation, gradient))
    return result


def neutral_sites(found: Mapping[str, list[tuple[str, jax.Array]]], layouts: Mapping[str, Layout]) -> dict[str, Any]:
    """Shares as `Site`s with neutral arrays in the canonical layout."""
    return {
        path: tuple(
            Site(operation, np.array(layouts[path].to_canonical(np.asarray(gradient)))) for operation, gradient in uses
        )
        for path, uses in found.items()
    }


class _Program:
    """A jaxpr with some of its variables known as parameters."""

    def __init__(self, jaxpr: Jaxpr, consts: Any, owners: Mapping[Var, str], values: Mapping[str, Any]) -> None:
        self.jaxpr, self.consts, self.owners, self.values = jaxpr, consts, owners, values

    def run(self, use: Use) -> Any:
        environment = {var: self.values[name] for var, name in self.owners.items()}
        (value,) = _evaluate(self.jaxpr, self.consts, environment, dict(self.owners), use)
        return value


def _evaluate(jaxpr: Jaxpr, consts: Any, environment: dict[Var, Any], owners: dict[Var, str], use: Use) -> list[Any]:
    """The outputs of `jaxpr`; `use(name, operation)` gives the array for each use of a parameter."""
    environment.update(zip(jaxpr.constvars, consts, strict=True))

    def read(atom: Any, operation: str) -> Any:
        if isinstance(atom, Literal):
            return atom.val
        return use(owners[atom], operation) if atom in owners else environment[atom]

    for equation in jaxpr.eqns:
        name = equation.primitive.name
        if name in INLINED:
            outputs = _inline(equation, environment, owners, use)
        else:
            bound = equation.primitive.get_bind_params(equation.params)
            # A pair until jax 0.9, the parameters alone since.
            subfunctions, parameters = bound if isinstance(bound, tuple) else ((), bound)
            arguments = [read(atom, name) for atom in equation.invars]
            outputs = equation.primitive.bind(*subfunctions, *arguments, **parameters)
            outputs = outputs if equation.primitive.multiple_results else [outputs]
        environment.update(zip(equation.outvars, outputs, strict=True))
    return [read(atom, "output") for atom in jaxpr.outvars]


def _inline(equation: Any, environment: dict[Var, Any], owners: dict[Var, str], use: Use) -> list[Any]:
    inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
    inner_environment: dict[Var, Any] = {}
    inner_owners: dict[Var, str] = {}
    for atom, var in zip(equation.invars, jaxpr.invars, strict=True):
        if isinstance(atom, Literal):
            inner_environment[var] = atom.val
        elif atom in owners:
            inner_owners[var] = owners[atom]
        else:
            inner_environment[var] = environment[atom]
    return _evaluate(jaxpr, consts, inner_environment, inner_owners, use)
