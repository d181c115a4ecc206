"""Coarseness: whether a module computes in a coarser type than it is run in, as a softmax in float32 in a float64 run.

It is seen in what a module makes of inputs that are moved by very little. What is smooth answers in proportion. What
rounds on the way answers with its rounding, which does not become smaller as fast as what moves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...common.seeding import generator
from ...common.trees import exchanged
from ...common.wing import CallRecorder, Traced, arrays_in, is_floating, named_arguments
from .comparing import apart, unit

Arrays = Mapping[str, np.ndarray]
SINGLE = 2.0**-23
# What the inputs are moved by, in parts of themselves: the second is so small that float32 hardly sees it.
_NUDGES = (2.0**-26, 2.0**-34)
# An answer below this is the rounding of float64.
_LEAST = 1e-12


def is_single(arrays: Arrays) -> bool:
    """Whether all numbers of a finer type are such as float32 has: what made them was a float32."""
    return bool(arrays) and all(
        unit(array) < SINGLE and np.array_equal(array, array.astype(np.float32), equal_nan=True)
        for array in arrays.values()
    )


def is_coarse(outputs: Arrays, at: Callable[[float], Arrays]) -> bool:
    """Whether what makes these outputs rounds to a coarser type.

    at: the outputs with all inputs moved by a share of themselves.
    """
    first, second = (_moved(outputs, at(size)) for size in _NUDGES)
    share = _NUDGES[1] / _NUDGES[0]
    return first > _LEAST and not share / 2 <= second / first <= share * 2


def _moved(outputs: Arrays, after: Arrays) -> float:
    if set(outputs) != set(after) or any(array.shape != after[name].shape for name, array in outputs.items()):
        return 0.0
    sizes = [apart(after[name].astype(np.float64), array.astype(np.float64)) for name, array in outputs.items()]
    return max((size for size in sizes if np.isfinite(size)), default=0.0)


def nudged(
    inputs: Mapping[str, Any],
    size: float,
    convert: Callable[[Any], np.ndarray | None],
    restored: Callable[[np.ndarray, Any], Any],
) -> dict[int, Any]:
    """The floating-point arrays of a call, moved by a share of themselves, by the `id` of what they replace.

    inputs: its arguments by name.
    """
    new = {}
    for name, array in arrays_in(inputs):
        neutral = convert(array)
        if neutral is not None and is_floating(neutral) and np.isfinite(neutral).all():
            signs = generator(0, f"nudge {name}").choice((-1.0, 1.0), neutral.shape)
            new[id(array)] = restored(neutral * (1 + size * signs), array)
    return new


class CoarseCalls(CallRecorder):
    """Finds out of some calls of a pass whether they are coarse.

    wanted: their modules' paths and numbers. found: which of them are.
    """

    def __init__(
        self,
        convert: Callable[[Any], np.ndarray | None],
        restored: Callable[[np.ndarray, Any], Any],
        wanted: frozenset[tuple[str, int]],
    ) -> None:
        super().__init__(convert, restored)
        self._wanted = wanted
        self._busy = False
        self.found: set[tuple[str, int]] = set()

    def around(
        self,
        module: Traced,
        function: Callable[..., Any],
        run: Callable[..., Any],
        arguments: Sequence[Any],
        named: Mapping[str, Any],
    ) -> Any:
        if self._busy:
            return run(*arguments, **named)
        output = super().around(module, function, run, arguments, named)
        place = (module.path, self._counts.get(module.path, 0) - 1)
        if place not in self._wanted or self.missed:
            return output
        inputs = named_arguments(function, arguments, named)

        def at(size: float) -> Arrays:
            new = nudged(inputs, size, self._convert, self._restored)
            try:
                return self._arrays(run(*exchanged(tuple(arguments), new), **exchanged(dict(named), new)))
            # One that does not take what is moved a little tells nothing of its rounding.
            except Exception:
                return {}

        self._busy = True
        try:
            if is_coarse(self._arrays(output), at):
                self.found.add(place)
        finally:
            self._busy = False
        return output
