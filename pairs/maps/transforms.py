"""Transforms: how a port's value follows from the reference's, as `x + 1` or `x / 8.0`.

A transform is a chain of steps, each an operation with a number, so its inverse is the chain of opposite steps from
the last to the first. Numbers keep the text they were written with: the inverse of the inverse is the same text.
"""

from __future__ import annotations

import ast
import operator
import re
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any

import ml_dtypes
import numpy as np

from ...common.errors import DtypeError, MapError, shown

_OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
_OPPOSITE = {"+": "-", "-": "+", "*": "/", "/": "*"}
_SIGNS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}
_NUMBER = re.compile(r"-?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?", re.ASCII | re.IGNORECASE)
# Python reads much else, comments and other alphabets among it.
_CHARACTERS = re.compile(r"[x()+*/\d.e\s-]*", re.ASCII | re.IGNORECASE)
# What is longer might be nested more deeply than Python's own parser goes.
_LONGEST = 1000
# What a transform must keep apart: the numbers that weights are, and those a million times smaller and larger.
_WEIGHTS = np.array([-2, -1, -0.5, 0.5, 1, 2], np.float32)
_SLOPES = (1e-30, 1e30)


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

    def of(self, array: Any) -> Any:
        """The port's value of any framework's array, in its shape and dtype: a new array unless there is no step.

        Raises:
            DtypeError: a dtype of NumPy in which the numbers of the steps leave nothing of ordinary weights.
        """
        is_floating = isinstance(array, np.ndarray) and "float" in array.dtype.name
        if self.steps and is_floating and not _is_kept(self, array.dtype):
            expected = f"a dtype in which {self} keeps the values of weights"
            raise DtypeError("", expected, array.dtype.name, "Cast the weights to float32 first.")
        return self.taken(array)

    def taken(self, array: Any) -> Any:
        """As `of`, whatever becomes of the values."""
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
    steps = _steps(" ".join(text.split()))
    if steps is None:
        expected = "a transform such as 'x + 1', 'x / 8.0' or 'x * 2 - 1', which has an inverse"
        raise MapError("", expected, shown(text))
    found = Transform(steps)
    if not _is_kept(found, np.dtype(np.float32)):
        expected = "a transform that keeps the values of ordinary weights in float32, there and back"
        raise MapError("", expected, shown(text), "Take numbers that are neither so large nor so small.")
    return found


@lru_cache(maxsize=4096)
def _is_kept(transform: Transform, dtype: np.dtype) -> bool:
    """Whether weights come back: not where all of them become zero, or infinite, or are lost beside what is added."""
    given = _WEIGHTS.astype(dtype)
    with np.errstate(all="ignore"):
        back = transform.inverse.taken(transform.taken(given)).astype(np.float64)
    near = np.allclose(back, _WEIGHTS, rtol=max(0.01, 8 * float(ml_dtypes.finfo(dtype).eps)), atol=0)
    return near and _SLOPES[0] <= abs(transform.slope) <= _SLOPES[1]


def _steps(text: str) -> tuple[tuple[str, str], ...] | None:
    """The steps from `x` to the whole, which is the outermost operation; None for another text."""
    if not text:
        return ()
    if len(text) > _LONGEST or not _CHARACTERS.fullmatch(text):
        return None
    try:
        node = ast.parse(text, mode="eval").body
    except (SyntaxError, RecursionError, MemoryError):
        return None
    steps = []
    while isinstance(node, ast.BinOp):
        sign, number = _SIGNS.get(type(node.op), ""), ast.get_source_segment(text, node.right) or ""
        # The tree does not tell of parentheses, which are only for what is on the left.
        is_bare = text[: node.right.col_offset].rstrip().endswith(sign)
        if not sign or not is_bare or not _NUMBER.fullmatch(number) or not isfinite(float(number)):
            return None
        if sign in "*/" and float(number) == 0.0:
            return None
        steps.append((sign, number))
        node = node.left
    return tuple(reversed(steps)) if isinstance(node, ast.Name) and node.id == "x" else None
