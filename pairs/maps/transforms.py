"""Transforms: how a port's value follows from the reference's, as `x + 1` or `x / 8.0`.

A transform is a chain of steps, each an operation with a number, so its inverse is the chain of opposite steps from
the last to the first. Numbers keep the text they were written with: the inverse of the inverse is the same text.
"""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np

from ...common.errors import MapError

_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_OPPOSITE = {"+": "-", "-": "+", "*": "/", "/": "*"}
_TOKEN = re.compile(r"\s*([-+*/]\s*-?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?|[x()])")
_STEP = re.compile(r"([-+*/])\s*(.+)")


@dataclass(frozen=True)
class Transform:
    """steps: each an operation and its number's text, in the order in which they are taken."""

    steps: tuple[tuple[str, str], ...] = ()

    @property
    def slope(self) -> float:
        """How much the port's value changes with the reference's; the reference's gradient is this times the port's."""
        found = 1.0
        for sign, number in self.steps:
            if sign in "*/":
                found = _OPERATIONS[sign](found, float(number))
        return found

    @property
    def shifts(self) -> bool:
        """Whether zero becomes something else."""
        return any(sign in "+-" for sign, _ in self.steps)

    @property
    def inverse(self) -> Transform:
        return Transform(tuple((_OPPOSITE[sign], number) for sign, number in reversed(self.steps)))

    def then(self, other: Transform) -> Transform:
        """Both in turn; a step that undoes the one before it goes with it."""
        steps = list(self.steps)
        for sign, number in other.steps:
            if steps and steps[-1] == (_OPPOSITE[sign], number):
                steps.pop()
            else:
                steps.append((sign, number))
        return Transform(tuple(steps))

    def of(self, array: Any) -> Any:
        """The port's value, in the array's dtype: a new array unless there is no step."""
        found = array
        for sign, number in self.steps:
            found = _OPERATIONS[sign](found, float(number))
        # NumPy makes a number of an array without axes, and float32 of some of the smaller types.
        return np.asarray(found, array.dtype) if isinstance(array, np.ndarray) else found

    def __str__(self) -> str:
        text, added = "x", False
        for sign, number in self.steps:
            if added and sign in "*/":
                text, added = f"({text})", False
            text, added = f"{text} {sign} {number}", added or sign in "+-"
        return text if self.steps else ""


@lru_cache(maxsize=4096)
def transform_of(text: str) -> Transform:
    """The transform of a text: `x`, a sum, difference, product or quotient of it and a number, or a chain of these.

    Products come before sums, as always; parentheses say otherwise. The empty text changes nothing.

    Raises:
        MapError: any other text, a number that is not finite, a product with 0 or a quotient by it.
    """
    tokens = _tokens(text)
    steps: list[tuple[str, str]] = []
    if tokens is None or (tokens and (not _read_sum(tokens, steps) or tokens)):
        raise _unreadable(text)
    if any(not isfinite(float(number)) or (sign in "*/" and float(number) == 0.0) for sign, number in steps):
        raise _unreadable(text)
    return Transform(tuple(steps))


def _unreadable(text: str) -> MapError:
    return MapError("", "a transform such as 'x + 1', 'x / 8.0' or 'x * 2 - 1', which has an inverse", repr(text))


def _tokens(text: str) -> list[str] | None:
    """From last to first, so that `pop` takes the next; None where something is none."""
    found, place = [], 0
    while text[place:].strip():
        token = _TOKEN.match(text, place)
        if token is None:
            return None
        found.append(token[1])
        place = token.end()
    return found[::-1]


def _read_sum(tokens: list[str], steps: list[tuple[str, str]]) -> bool:
    return _read_product(tokens, steps) and _read_steps(tokens, steps, "+-")


def _read_product(tokens: list[str], steps: list[tuple[str, str]]) -> bool:
    token = tokens.pop() if tokens else ""
    if token == "(":
        if not _read_sum(tokens, steps) or not tokens or tokens.pop() != ")":
            return False
    elif token != "x":
        return False
    return _read_steps(tokens, steps, "*/")


def _read_steps(tokens: list[str], steps: list[tuple[str, str]], signs: str) -> bool:
    while tokens and tokens[-1][0] in signs and (step := _STEP.fullmatch(tokens[-1])):
        steps.append((step[1], step[2]))
        tokens.pop()
    return True
