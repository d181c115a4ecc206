"""Programs: functions of arrays that are compiled once, or run op by op where the model's code needs values.

In a trace of `jax.jit` an array has a shape and no values. Code that makes a Python number of one, or asks whether it
is true, runs as it is written and not under a trace; so it is run without one, which takes longer and is noted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, ParamSpec, TypeVar

import jax

from ..common.errors import NotExpressibleError
from ..common.wing import PairError, note

P = ParamSpec("P")
Made = TypeVar("Made")

_ERRORS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
# What JAX says of a shape or a slice that depends on values, and Python of a traced array as a key, in plain errors.
_WORDS = ("concrete values", "must have static", "Tracer")
_REMEDY = (
    "Under jax.jit an array has no values, and under jax.grad none for NumPy and float(): use jax.numpy in their "
    "place, or take jax.lax.stop_gradient of what they are given."
)


class TracingError(PairError):
    """A model's code asks for the values of arrays where JAX has none, even op by op."""


class Program(Generic[P, Made]):
    """`function`, compiled once for all arrays of one shape; op by op once a trace of it has lacked values.

    static: the names of arguments that are no arrays.

    Raises:
        TracingError: from a call, where the function lacks values op by op too, as under `jax.grad`.
    """

    def __init__(self, function: Callable[P, Made], static: tuple[str, ...] = ()) -> None:
        self._function, self._why = function, ""
        self._compiled = jax.jit(function, static_argnames=static)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Made:
        return self._run(self._compiled, *args, **kwargs)

    def shapes(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        """What a call gives, by shapes and dtypes; the arrays themselves where nothing can be traced."""
        return self._run(lambda *given, **named: jax.eval_shape(self._compiled, *given, **named), *args, **kwargs)

    def _run(self, compiled: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if not self._why:
            try:
                return compiled(*args, **kwargs)
            except (TypeError, IndexError, TracingError) as error:
                if not lacks_values(error):
                    raise
                self._why = said(error).partition(":")[0]
        note(f"it is run op by op, since jax.jit cannot trace it ({self._why})")
        try:
            return self._function(*args, **kwargs)
        except _ERRORS as error:
            found = "a call that JAX can trace, to compile and to differentiate it"
            raise TracingError("", found, said(error), _REMEDY) from error


@contextmanager
def traceable() -> Iterator[None]:
    """For what needs a trace.

    Raises:
        NotExpressibleError: the code in it lacks values.
    """
    try:
        yield
    except (TypeError, IndexError, TracingError) as error:
        if not lacks_values(error):
            raise
        raise NotExpressibleError("", "a program that jax.jit can trace", said(error), _REMEDY) from error


def lacks_values(error: Exception) -> bool:
    """Whether an error of a trace is of code that asks for the values of arrays."""
    return isinstance(error, (*_ERRORS, TracingError)) or any(word in str(error) for word in _WORDS)


def said(error: Exception) -> str:
    """What an error says, in its first line."""
    if isinstance(error, TracingError):
        return error.found
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0].strip()}".rstrip(".: ")
