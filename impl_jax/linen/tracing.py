"""Tracing: what each call of each module took and gave, in one forward pass. The model is never written to.

To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from flax import linen

from ...common.trees import entries, walk
from ...common.wing import Call, CallRecorder, Inputs, Trace, Traced, Tracer, WatchedCall, plain
from ..core import INFERENCE, given, recorded
from ..devices import check_dtype
from ..trees import Keys, dotted
from .core import functional
from .naming import Model


def tracer(model: Model, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Tracer:
    """The model made ready to be traced: `run(weights)` gives the calls of its modules in the order of their start.

    call: `call(model, inputs)`; without it `module.apply(variables, *inputs)`, with no dropout key.

    Every method counts that is called from outside of its module, and gives floating-point numbers.

    Arguments and errors: see `SideWing`.
    """
    check_dtype(dtype)
    side = functional(model, call)
    own, keys = side.typed(dtype), [each.keys for each in side.owned.values()]

    def run(
        weights: Mapping[str, np.ndarray], recorder: Callable[..., CallRecorder] = CallRecorder
    ) -> tuple[Trace, ...]:
        values, arguments = side.filled(own, weights), given(inputs, dtype)

        def once(made: CallRecorder) -> Any:
            with linen.intercept_methods(Interceptor(made, keys)):
                return side.run(values, arguments, INFERENCE)[0]

        return recorded(once, recorder)

    return run


class Interceptor:
    """Takes down the calls that modules get from outside, while Linen passes all of them by."""

    def __init__(self, recorder: CallRecorder, keys: list[Keys]) -> None:
        self._recorder = recorder
        self._keys = keys
        self._within: list[Keys] = []
        self._passed = 0

    def __call__(self, method: Any, arguments: Any, named: Any, context: Any) -> Any:
        module = context.module
        place = None if module.scope is None else tuple(module.path)
        # A lifted module (`nn.remat`, `nn.scan`) calls one of the same path, and a method another one of its own.
        is_same = bool(self._within) and self._within[-1] == place
        # A function that is lifted over another module, as in Flax's own WeightNorm, is none of that one's methods.
        is_method = hasattr(type(module), context.method_name)
        if place is None or context.method_name == "setup" or is_same or not is_method or self._passed:
            return method(*arguments, **named)
        if self._within and not place:
            # Inside of an `apply` in the model paths are those of other variables.
            self._passed += 1
            try:
                return method(*arguments, **named)
            finally:
                self._passed -= 1
        if not place:
            self._recorder.find = lambda path: _below(module, path)

        unbound, times = getattr(type(module), context.method_name), 0

        def run(*arguments: Any, **named: Any) -> Any:
            nonlocal times
            if times and hasattr(unbound, "compact"):
                _rewind(module)
            times += 1
            self._within.append(place)
            try:
                return method(*arguments, **named)
            finally:
                self._within.pop()

        return self._recorder.around(WatchedCall(self._traced(module, place), unbound, run, arguments, named))

    def _traced(self, module: Any, place: Keys) -> Traced:
        members = {each.name: getattr(module, each.name, None) for each in fields(module)}
        below = [keys for keys in self._keys if keys[1 : 1 + len(place)] == place]
        return Traced(
            dotted(place),
            type(module).__name__,
            plain({name: value for name, value in members.items() if name not in ("name", "parent")}),
            tuple(dotted(keys) for keys in below if len(keys) == len(place) + 2),
            tuple(dotted(keys) for keys in below),
        )


def _rewind(module: Any) -> None:
    """Let a compact method that is run again, in one call of it, make its parts under the names that they had."""
    object.__setattr__(module, "scope", module.scope.rewound())
    module._state.autoname_cursor = {}


def _below(module: Any, path: str) -> Any:
    """A module of a bound one, by its path; None for one that only a call of a compact method makes."""
    place = tuple(path.split(".")) if path else ()
    while module is not None and tuple(module.path) != place:
        # Whatever is asked of a bound module, it is set up first.
        dir(module)
        held = [leaf for _, leaf in walk(vars(module), entries) if isinstance(leaf, linen.Module) and leaf.scope]
        inner = [each for each in held if len(each.path) > len(module.path) and place[: len(each.path)] == each.path]
        module = inner[0] if inner else None
    return module
