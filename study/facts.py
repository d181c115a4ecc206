"""What a row's functions return: plain values, and the words for what is no value; how they are shown, and compared.

No framework is imported.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

WINGS = ("torch", "linen", "nnx")
NAMES = {"torch": "PyTorch", "linen": "Flax Linen", "nnx": "Flax NNX"}


class Verdict(IntEnum):
    """How far apart the wings are; the order is the scale."""

    SAME = 0
    RELABELLED = 1
    MUST_DIFFER = 2
    ABSENT = 3

    @property
    def words(self) -> str:
        return {
            Verdict.SAME: "same",
            Verdict.RELABELLED: "same after renaming and relayout",
            Verdict.MUST_DIFFER: "must differ",
            Verdict.ABSENT: "absent",
        }[self]


@dataclass(frozen=True)
class Absent:
    """A wing has no such thing; `reason` says why, in a clause."""

    reason: str

    def __str__(self) -> str:
        return f"absent: {self.reason}"


@dataclass(frozen=True)
class Raised:
    """An exception that a behaviour raises: its type's name and the first line of its text."""

    type: str
    text: str

    def __str__(self) -> str:
        return f"{self.type}: {self.text}" if self.text else self.type


@dataclass(frozen=True)
class Missing:
    """A fact that a wing's function did not give. It is a fault of the record, never a result."""

    def __str__(self) -> str:
        return "no value"


def raised(action: Callable[[], object]) -> Raised:
    """Run `action` and return the exception it raises; it is an error if it raises none.

    Memory addresses are replaced, so that a page made from the text is the same in every run.
    """
    try:
        value = action()
    except Exception as error:
        return described(error)
    raise AssertionError(f"expected an exception, found the value {value!r}")


def described(error: Exception) -> Raised:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = re.sub(r"0x[0-9a-f]{4,}", "0x...", lines[0] if lines else "")
    return Raised(type(error).__name__, text if len(text) <= 300 else text[:297] + "...")


def as_text(value: Any) -> str:
    """A fact as a page shows it; never empty."""
    if isinstance(value, Raised):
        return f"raises {value}"
    return show(value) or '""'


def show(value: Any) -> str:
    """A value as the pages print it: short, and the same on every machine.

    Floats are rounded to four significant digits and sequences and arrays shown as lists, which
    is also the precision at which facts are compared.
    """
    if isinstance(value, (Absent, Missing, Raised, str)):
        return str(value)
    if isinstance(value, (bool, np.bool_)) or value is None:
        return str(value)
    if isinstance(value, (float, np.floating)):
        return f"{float(value):.4g}"
    if isinstance(value, (int, np.integer)):
        return str(int(value))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {show(item)}" for key, item in value.items()) + "}"
    if isinstance(value, np.ndarray):
        return show(value.tolist())
    if isinstance(value, tuple):
        return "(" + ", ".join(show(item) for item in value) + ("," if len(value) == 1 else "") + ")"
    if isinstance(value, (list, frozenset, set)):
        items = sorted(value, key=str) if isinstance(value, (set, frozenset)) else value
        return "[" + ", ".join(show(item) for item in items) + "]"
    raise TypeError(f"a fact must be plain data, found {type(value).__name__}: {value!r}")
