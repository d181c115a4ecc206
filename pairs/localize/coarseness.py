"""Coarseness: whether a module computes in a coarser type than it is run in, as a softmax in float32 in a float64 run.

It is seen in what a module makes of inputs that are moved by very little, one way and the other. Of what is smooth the
two answers cancel each other but for the square of that; of what rounds on the way its rounding is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from ...common.seeding import generator
from ...common.wing import CallRecorder, WatchedCall, arrays_in, is_floating
from ..precision import Setting
from ..side import Side
from .comparing import apart, unit

Arrays = Mapping[str, np.ndarray]
SINGLE = 2.0**-23
# What the inputs are moved by, in parts of themselves: its square is below float64, and float32 rounds it either way.
NUDGE = 2.0**-26
# Of few entries that matter not all are rounded another way each time.
_DRAWS = 4


def is_single(arrays: Arrays) -> bool:
    """Whether all numbers of a finer type are such as float32 has: what made them was a float32."""
    return bool(arrays) and all(
        unit(array) < SINGLE and np.array_equal(array, array.astype(np.float32), equal_nan=True)
        for array in arrays.values()
    )


def noise_of(outputs: Arrays, at: Callable[[float, int], Arrays]) -> float:
    """How large the rounding is that shows in these outputs, beside their norm.

    at: the outputs with all inputs moved by a share of themselves, the same way for the same number.
    """
    return max(_left(outputs, at(NUDGE, draw), at(-NUDGE, draw)) for draw in range(_DRAWS))


def _left(outputs: Arrays, above: Arrays, below: Arrays) -> float:
    found = [0.0]
    for name, array in outputs.items():
        one, other = above.get(name), below.get(name)
        if one is not None and other is not None and one.shape == other.shape == array.shape:
            found.append(rounding_left(array, one, other))
    return max(size for size in found if np.isfinite(size))


def rounding_left(array: np.ndarray, above: np.ndarray, below: np.ndarray) -> float:
    """How large the rounding is that the two answers leave, of inputs that were moved one way and the other."""
    middle = (above.astype(np.float64) + below.astype(np.float64)) / 2
    return apart(middle, array.astype(np.float64))


def moved(array: np.ndarray, size: float, draw: int, address: str) -> np.ndarray:
    """An array with each number moved by a share of itself, one way or the other, in float64."""
    signs = generator(draw, address).choice((-1.0, 1.0), array.shape)
    return array.astype(np.float64) * (1 + size * signs)


def nudged(
    inputs: Mapping[str, Any],
    size: float,
    draw: int,
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
            new[id(array)] = restored(moved(neutral, size, draw, f"nudge {name}"), array)
    return new


class CoarseCalls(CallRecorder):
    """Finds out of some calls of a pass how large their rounding is.

    wanted: their modules' paths and numbers. found: their noise, by these.
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
        self.found: dict[tuple[str, int], float] = {}

    def around(self, call: WatchedCall) -> Any:
        if self._busy:
            return call.run()
        output = super().around(call)
        place = (call.module.path, self._counts.get(call.module.path, 0) - 1)
        if place not in self._wanted or self.missed:
            return output
        inputs = call.inputs

        def at(size: float, draw: int) -> Arrays:
            new = nudged(inputs, size, draw, self._convert, self._restored)
            try:
                return self._arrays(call.on(new).run())
            # One that does not take what is moved a little tells nothing of its rounding.
            except Exception:
                return {}

        self._busy = True
        try:
            self.found[place] = noise_of(self._arrays(output), at)
        finally:
            self._busy = False
        return output


Calls = Mapping[tuple[str, int], float]


def noise_of_calls(side: Side, weights: Arrays, setting: Setting, wanted: Iterable[tuple[str, int]]) -> Calls | None:
    """By a module's path and the number of its call how large the rounding of that call is; None of a record."""
    made: list[CoarseCalls] = []

    def recorder(convert: Callable[..., Any], restored: Callable[..., Any]) -> CoarseCalls:
        made.append(CoarseCalls(convert, restored, frozenset(wanted)))
        return made[-1]

    side.traced(weights, setting, recorder)
    return made[-1].found if made else None
