"""The core of the wing: a Linen model as a function of its arrays, run in a mode.

A module has its modes from the arguments of a call, so here a mode only tells what becomes of dropout, and whether a
call may give collections of variables that it has updated.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
from flax import linen
from flax.core.scope import LazyRng, Scope
from flax.linen import attention

from ...common.wing import Call
from .. import core
from ..core import Arrays, Functional, Mode, traced_anew, whole_attention
from ..trees import filled
from .naming import Model, like
from .sharding import places, sharded
from .stored import owned


def functional(model: Model, call: Call | None = None) -> Functional:
    """The model as a function of its arrays; `call(model, inputs)`, or without one `module.apply(variables, *inputs)`.

    In training mode the call may give `(outputs, updated)`, as `module.apply(..., mutable=[...])` does.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    model = sharded(model)
    module, variables = model
    stored = owned(model)

    def made(arrays: Arrays) -> Model:
        return like(model, module, filled(variables, {stored[path].keys: array for path, array in arrays.items()}))

    def run(arrays: Arrays, inputs: Any, mode: Mode) -> tuple[Any, Model]:
        own = made(arrays)
        if not mode.training:
            return called(own, inputs, call), own
        with _dropping(mode.seed) if mode.dropout else without_dropout():
            output, updated = _parted(called(own, inputs, call), own[1])
        return output, like(model, module, {**own[1], **updated})

    return Functional(stored, owned, made, run, lambda: places(model))


def called(model: Model, arguments: Any, call: Call | None = None) -> Any:
    """The output of `call(model, arguments)`, or without one of the module applied to its variables."""
    module, variables = model
    return core.called(model, arguments, call, lambda *a, **k: module.apply(variables, *a, **k))


def _parted(result: Any, variables: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The outputs, and the collections that were updated, if `apply` was told that any may be."""
    if (
        type(result) is tuple
        and len(result) == 2
        and isinstance(result[1], Mapping)
        and set(result[1]) <= set(variables)
    ):
        return result
    return result, {}


@contextmanager
def without_dropout(runs: object = None) -> Iterator[None]:
    """No dropout: its layers pass on what they get, and Flax's attention keeps all its weights.

    runs: see `traced_anew`.
    """

    def passing(run: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, linen.Dropout) and context.method_name == "__call__":
            return args[0] if args else kwargs["inputs"]
        return run(*args, **kwargs)

    with traced_anew(runs), linen.intercept_methods(passing), whole_attention(attention):
        yield


@contextmanager
def _dropping(seed: Any) -> Iterator[None]:
    """Every random stream of a call with the seed in it.

    A module has its streams from the one around it when it is bound, before any of its methods is run, so each module
    is met in time. That a stream has the seed in it several times does no harm.
    """
    met: dict[int, Scope] = {}

    def seeded(run: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        scope = context.module.scope
        if scope is not None and id(scope) not in met:
            # Kept, so that no other scope gets its id.
            met[id(scope)] = scope
            own = {"dropout": LazyRng.create(jax.random.key(0), *map(str, scope.path)), **scope.rngs}
            scope.rngs = {name: LazyRng.create(jax.random.fold_in(rng.as_jax_rng(), seed)) for name, rng in own.items()}
            for name in own:
                scope.rng_counters.setdefault(name, 0)
        return run(*args, **kwargs)

    with traced_anew(), linen.intercept_methods(seeded):
        yield
