"""The sites of a parameter in a JAX program, and each one's share of the gradient; both Flax wings use it.

A program is traced to a jaxpr, in which every use of a parameter is an argument of an equation. The jaxpr is then
evaluated with an array of its own for each such argument, so that one backward pass yields one share a site. What
nothing comes of is no site: an equation whose result is never used, or one that stops the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal, Var
from jax.interpreters.partial_eval import dce_jaxpr

from ..common.layouts import Layout
from ..common.sites import Site
from .parts import joined

# Calls that only wrap other equations: what they do with a parameter is looked at inside.
INLINED = frozenset({"jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"})

Use = Callable[[Any, str], Any]
Parameters = Mapping[str, Sequence[jax.Array]]
# An array by its parameter's name and its number among those that hold the parameter.
Part = tuple[str, int]


def shares(
    objective: Callable[[Parameters], jax.Array], parameters: Parameters
) -> dict[str, list[tuple[str, tuple[jax.Array, ...]]]]:
    """For each parameter its sites, in program order: the operation and the site's share of the gradient.

    objective: a scalar function of the parameters by name, each as the arrays that hold it. A share has as many; a site
    uses one of them, and its share by the others is zero.
    """
    values: dict[Part, jax.Array] = {
        (name, number): array for name, arrays in parameters.items() for number, array in enumerate(arrays)
    }

    def of_parts(*arrays: jax.Array) -> jax.Array:
        given = iter(arrays)
        return objective({name: [next(given) for _ in held] for name, held in parameters.items()})

    closed = jax.make_jaxpr(of_parts)(*values.values())
    jaxpr, _ = dce_jaxpr(closed.jaxpr, [True], instantiate=True)
    owners = dict(zip(jaxpr.invars, values, strict=True))
    program = _Program(jaxpr, closed.consts, owners, values)

    found: list[tuple[Part, str]] = []

    def note(part: Part, operation: str) -> jax.Array:
        found.append((part, operation))
        return values[part]

    jax.eval_shape(lambda: program.run(note))

    def value(copies: list[jax.Array]) -> jax.Array:
        remaining = iter(copies)
        return program.run(lambda part, operation: next(remaining))

    gradients = jax.grad(value)([values[part] for part, _ in found])
    result: dict[str, list[tuple[str, tuple[jax.Array, ...]]]] = {name: [] for name in parameters}
    for ((name, number), operation), gradient in zip(found, gradients, strict=True):
        share = [jnp.zeros_like(array) for array in parameters[name]]
        share[number] = gradient
        result[name].append((operation, tuple(share)))
    return result


def neutral_sites(
    found: Mapping[str, list[tuple[str, tuple[jax.Array, ...]]]], layouts: Mapping[str, Layout]
) -> dict[str, Any]:
    """Shares as `Site`s with neutral arrays in the canonical layout."""
    return {
        path: tuple(Site(operation, joined(layouts[path], share)) for operation, share in uses)
        for path, uses in found.items()
    }


class _Program:
    """A jaxpr with some of its variables known as parameters."""

    def __init__(self, jaxpr: Jaxpr, consts: Any, owners: Mapping[Var, Part], values: Mapping[Part, Any]) -> None:
        self.jaxpr, self.consts, self.owners, self.values = jaxpr, consts, owners, values

    def run(self, use: Use) -> Any:
        scope = _Scope({}, dict(self.owners), self.values, use)
        scope.evaluate(self.jaxpr, self.consts)
        (output,) = self.jaxpr.outvars
        return scope.read(output, "output")


@dataclass
class _Scope:
    """What the variables of one jaxpr stand for: a value, or a parameter by name.

    use: gives the array for each use of a parameter, by its name and the operation's.
    """

    environment: dict[Var, Any]
    owners: dict[Var, Part]
    values: Mapping[Part, Any]
    use: Use

    def read(self, atom: Any, operation: str) -> Any:
        if isinstance(atom, Literal):
            return atom.val
        if atom not in self.owners:
            return self.environment[atom]
        name = self.owners[atom]
        return self.values[name] if operation == "stop_gradient" else self.use(name, operation)

    def evaluate(self, jaxpr: Jaxpr, consts: Any) -> None:
        self.environment.update(zip(jaxpr.constvars, consts, strict=True))
        for equation in jaxpr.eqns:
            if equation.primitive.name in INLINED:
                self._inline(equation)
            else:
                self._apply(equation)

    def _apply(self, equation: Any) -> None:
        bound = equation.primitive.get_bind_params(equation.params)
        # A pair until jax 0.9, the parameters alone since.
        subfunctions, parameters = bound if isinstance(bound, tuple) else ((), bound)
        arguments = [self.read(atom, equation.primitive.name) for atom in equation.invars]
        outputs = equation.primitive.bind(*subfunctions, *arguments, **parameters)
        outputs = outputs if equation.primitive.multiple_results else [outputs]
        self.environment.update(zip(equation.outvars, outputs, strict=True))

    def _inline(self, equation: Any) -> None:
        inner = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
        jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, ())
        scope = _Scope({}, {}, self.values, self.use)
        for atom, var in zip(equation.invars, jaxpr.invars, strict=True):
            self._hand_over(atom, scope, var)
        scope.evaluate(jaxpr, consts)
        for atom, var in zip(jaxpr.outvars, equation.outvars, strict=True):
            scope._hand_over(atom, self, var)

    def _hand_over(self, atom: Any, other: _Scope, var: Var) -> None:
        """Let `var` of another scope stand for what `atom` does here: a parameter that is passed on is not used yet."""
        if isinstance(atom, Literal):
            other.environment[var] = atom.val
        elif atom in self.owners:
            other.owners[var] = self.owners[atom]
        else:
            other.environment[var] = self.environment[atom]
