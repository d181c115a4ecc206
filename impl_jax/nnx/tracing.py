"""Tracing: what each call of each module took and gave, in one forward pass. The model is never written to.

To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from flax import nnx

from ...common.wing import Call, CallRecorder, Inputs, Trace, Traced, Tracer, WatchedCall, plain
from ..core import given, recorded
from ..devices import check_dtype
from ..trees import Keys, arrays_of, dotted
from .core import called, functional
from .naming import members, nodes
from .stored import entries, value_of

# The attribute by which a module knows its place. Split and merged inside of the model, it is another object.
_PLACE = "traced_as"


def tracer(model: nnx.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Tracer:
    """The model made ready to be traced: `run(weights)` gives the calls of its modules in the order of their start.

    Every public method counts that is called from outside of its module, and gives floating-point numbers. NNX has
    nothing to intercept them: while a run lasts, the classes of the model's modules have other methods, which pass on
    modules that are not the run's. So other threads may use the classes, but not trace a model of the same ones.

    Arguments and errors: see `SideWing`.
    """
    check_dtype(dtype)
    side = functional(model, call)
    own = side.typed(dtype)

    def run(
        weights: Mapping[str, np.ndarray], recorder: Callable[..., CallRecorder] = CallRecorder
    ) -> tuple[Trace, ...]:
        values, arguments = side.filled(own, weights), given(inputs, dtype)

        return recorded(lambda watching: passed(side.made(values), arguments, call, watching), recorder)

    return run


def passed(made: Any, arguments: Any, call: Call | None, watching: CallRecorder) -> Any:
    """The output of a model, whose modules' calls a recorder is told of."""
    known = _traced(made)
    modules = [module for _, module in nnx.iter_modules(made)]
    watching.find = {vars(each).get(_PLACE): each for each in modules if callable(each)}.get
    with _watched({type(module) for module in modules}, known, watching):
        return called(made, arguments, call)


def _traced(model: Any) -> dict[str, Traced]:
    """What is known of each module, by the first of its places, which is left in the module."""
    owners = {
        id(each): [dotted(place) for place, _ in arrays_of(value_of(each), keys)] for keys, each in entries(model)
    }
    held: dict[Keys, list[str]] = {}
    modules: dict[int, tuple[Keys, Any]] = {}
    for _, place, node in nodes(model):
        held[place] = [path for _, value in members(node) for path in owners.get(id(value), ())]
        if isinstance(node, nnx.Module):
            modules.setdefault(id(node), (place, node))
    found = {}
    for place, node in modules.values():
        below = [path for other, listed in held.items() if other[: len(place)] == place for path in listed]
        settings = plain(vars(node))
        found[dotted(place)] = Traced(
            dotted(place), type(node).__name__, settings, tuple(held[place]), tuple(dict.fromkeys(below))
        )
        setattr(node, _PLACE, dotted(place))
    return found


@contextmanager
def _watched(classes: set[type], known: Mapping[str, Traced], recorder: CallRecorder) -> Iterator[None]:
    """The public methods of the classes watched by a recorder; they are put back afterwards, whatever happens."""
    within: list[str] = []
    # All found before any is replaced: a class has the methods of another one that it derives from.
    found = [(owner, name, method) for owner in classes for name, method in _methods(owner).items()]
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in found]
    try:
        for owner, name, method in found:
            setattr(owner, name, _watching(method, known, recorder, within))
        yield
    finally:
        for owner, name, method in before:
            if method is None:
                if name in vars(owner):
                    delattr(owner, name)
            else:
                setattr(owner, name, method)


def _methods(owner: type) -> dict[str, Callable[..., Any]]:
    """The class's public methods, those that every module has aside."""
    found = {}
    for name in dir(owner):
        method = inspect.getattr_static(owner, name)
        is_own = name == "__call__" or not (name.startswith("_") or hasattr(nnx.Module, name))
        is_method = callable(method) and hasattr(method, "__get__") and not isinstance(method, staticmethod | type)
        if is_own and is_method:
            found[name] = method
    return found


def _watching(
    method: Any, known: Mapping[str, Traced], recorder: CallRecorder, within: list[str]
) -> Callable[..., Any]:
    @functools.wraps(method)
    def watched(self: Any, *arguments: Any, **named: Any) -> Any:
        bound = method.__get__(self, type(self))
        place = vars(self).get(_PLACE)
        if place not in known or (within and within[-1] == place):
            return bound(*arguments, **named)

        def run(*arguments: Any, **named: Any) -> Any:
            within.append(place)
            try:
                return bound(*arguments, **named)
            finally:
                within.pop()

        return recorder.around(WatchedCall(known[place], method, run, arguments, named))

    return watched
