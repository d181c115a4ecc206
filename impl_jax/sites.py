"""The sites of a parameter in a JAX program, and each one's share of the gradient; both Flax wings use it.

A program is traced to a jaxpr, in which every use of a parameter is an argument of an equation. The jaxpr is then
evaluated with an array of its own for each such argument, so that one backward pass yields one share a site. What
nothing comes of is no site: an equation whose result is never used, one that stops the gradient, one that makes whole
numbers. A loop (`scan`, `while`) is one equation, and so one site, however often it goes round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal, Var
from jax.interpreters.partial_eval import dce_jaxpr

from .equations import INLINED, applied, opened

# The array for a use of a part, by the part's number and the operation.
Use = Callable[[int, str], Any]


class SplitUses:
    """A function `objective(parts, rest)`, traced for arrays like those given, with each use of a part told apart.

    uses: the number of the part and the operation, in program order.
    """

    def __init__(
        self, objective: Callable[[Sequence[Any], Any], jax.Array], parts: Sequence[jax.Array], rest: Any
    ) -> None:
        closed = jax.make_jaxpr(objective)(parts, rest)
        self._jaxpr, _ = dce_jaxpr(closed.jaxpr, [True], instantiate=True)
        self._consts = closed.consts
        self.uses: list[tuple[int, str]] = []

        def noted(parts: Sequence[Any], rest: Any) -> Any:
            def note(part: int, operation: str) -> Any:
                self.uses.append((part, operation))
                return parts[part]

            return self._run(parts, rest, note)

        jax.eval_shape(noted, parts, rest)

    def shares(self, parts: Sequence[jax.Array], rest: Any) -> list[jax.Array]:
        """Each use's share of the gradient by its part; may be compiled."""

        def value(copies: list[jax.Array]) -> jax.Array:
            remaining = iter(copies)
            return self._run(parts, rest, lambda part, operation: next(remaining))

        return jax.grad(value)([parts[part] for part, _ in self.uses])

    def _run(self, parts: Sequence[Any], rest: Any, use: Use) -> Any:
        owned, others = self._jaxpr.invars[: len(parts)], self._jaxpr.invars[len(parts) :]
        known = dict(zip(others, jax.tree.leaves(rest), strict=True))
        scope = _Scope(known, {var: part for part, var in enumerate(owned)}, parts, use)
        scope.evaluate(self._jaxpr, self._consts)
        (output,) = self._jaxpr.outvars
        return scope.read(output, "output")


@dataclass
class _Scope:
    """What the variables of one jaxpr stand for: a value, or a part by its number.

    parts: their values. use: gives the array for each use of one.
    """

    environment: dict[Var, Any]
    owners: dict[Var, int]
    parts: Sequence[Any]
    use: Use

    def read(self, atom: Any, operation: str | None) -> Any:
        """What an atom stands for; for a part, the array for its use by the operation, and its own for no use."""
        if isinstance(atom, Literal):
            return atom.val
        if atom not in self.owners:
            return self.environment[atom]
        part = self.owners[atom]
        return self.parts[part] if operation is None else self.use(part, operation)

    def evaluate(self, jaxpr: Jaxpr, consts: Any) -> None:
        self.environment.update(zip(jaxpr.constvars, consts, strict=True))
        for equation in jaxpr.eqns:
            inner = opened(equation) if equation.primitive.name in INLINED else None
            if inner is None:
                self._apply(equation)
            else:
                self._inline(equation, *inner)

    def _apply(self, equation: Any) -> None:
        operation = equation.primitive.name if _is_differentiable(equation) else None
        arguments = [self.read(atom, operation) for atom in equation.invars]
        self.environment.update(zip(equation.outvars, applied(equation, arguments), strict=True))

    def _inline(self, equation: Any, jaxpr: Jaxpr, consts: Sequence[Any]) -> None:
        scope = _Scope({}, {}, self.parts, self.use)
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


def _is_differentiable(equation: Any) -> bool:
    if equation.primitive.name == "stop_gradient":
        return False
    return any(jnp.issubdtype(var.aval.dtype, jnp.inexact) for var in equation.outvars if hasattr(var.aval, "dtype"))
