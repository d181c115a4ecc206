"""Tapes: every intermediate value of one forward pass, with the line of the model's code that makes it.

Made by the wings' `taper`; all arrays are neutral. Modules are too coarse where a difference arises in plain code.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np

from ..errors import NotExpressibleError
from .traces import CallRecorder, WatchedCall

Kind = Literal["input", "parameter", "constant", "made"]
# Of all values together that one pass makes: 800 MB in float64.
MOST_NUMBERS = 100_000_000
# What runs a model and is none of its code. `transformers` and the like are: their models are what is compared.
_ENGINES = ("torch", "jax", "jaxlib", "flax", "numpy", "functorch", "optax", "chex", "einops")


class Line(NamedTuple):
    """A line of the model's code: the file's whole name, and the number from 1."""

    file: str
    number: int

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.number}"


@dataclass(frozen=True, eq=False)
class Value:
    """One value of a pass.

    operation: that makes it, in the framework's word: `gelu`, `dot_general`; of a parameter its path, of an input its
        name.
    line: of the model's own code, the innermost one; None where there is none.
    module: path of the module whose call makes it.
    inside: lines of an operation that is not opened, as of a function with a rule of its own for its derivatives.
    made_of: the values that the operation takes, by their places on the tape. step: the operation's number; all that
        one operation gives has the same.
    """

    array: np.ndarray
    operation: str
    kind: Kind = "made"
    line: Line | None = None
    module: str = ""
    made_of: tuple[int, ...] = ()
    step: int = -1
    inside: tuple[Line, ...] = ()


# By the place of a value on its tape.
TapeArrays = Mapping[int, np.ndarray]
# By the place of a value and the step of the operation that takes it.
TapeUses = Mapping[tuple[int, int], np.ndarray]


class Tape(NamedTuple):
    """The values in the order in which they were made, what they were made of before them.

    outputs: the places of the floating-point outputs, by their names.
    replay: runs the pass again with other arrays `instead` of some values, and with other ones in some `uses` of a
        value alone; gives what is not as before, by place. It ends after so many operations whose outcome may be
        another.
    settle: the tape of the pass with such other arrays.
    cotangents: the gradient of <outputs, cotangents>, given by the outputs' names, by each floating-point value that
        has one. Of JAX from a tape `with_rules` alone.

    All are to be called as the tape was made, inside `running`.
    """

    values: tuple[Value, ...]
    outputs: Mapping[str, int]
    replay: Callable[[TapeArrays, TapeUses, float], dict[int, np.ndarray]]
    settle: Callable[[TapeArrays, TapeUses], Tape]
    cotangents: Callable[[Mapping[str, np.ndarray]], dict[int, np.ndarray]]


class Taper(Protocol):
    """A model made ready to be taped, with these native weights.

    with_rules: what has a rule of its own for its derivatives is one operation, so that the rule is obeyed.
    """

    def __call__(self, weights: Mapping[str, np.ndarray], *, with_rules: bool = False) -> Tape: ...


class ModuleStack(CallRecorder):
    """Knows in which module a pass is. open: the paths of the modules that are being called, the outermost first."""

    def __init__(self) -> None:
        super().__init__(lambda array: None, lambda array, like: array)
        self.open: list[str] = []

    @property
    def module(self) -> str:
        return self.open[-1] if self.open else ""

    def around(self, call: WatchedCall) -> Any:
        self.open.append(call.module.path)
        try:
            return call.run()
        finally:
            self.open.pop()


def check_size(numbers: int) -> None:
    """Raises NotExpressibleError for more numbers than a tape may hold of what is made."""
    if numbers > MOST_NUMBERS:
        expected = f"a pass that makes {MOST_NUMBERS:,} numbers at most, which are all held"
        raise NotExpressibleError("", expected, "more", "Give smaller inputs, or a shorter model.")


def innermost(frames: Iterable[tuple[str, str, int]], begin: tuple[str, str]) -> Line | None:
    """The first of the frames that is the model's own code.

    frames: from the innermost out, each by its file, its function and its line. begin: the file and the function in
        which the model is called: what is around it is none of its code.
    """
    for file, function, number in frames:
        if (file, function) == begin:
            return None
        if is_own(file):
            return Line(file, number)
    return None


def frames_here() -> Iterator[tuple[str, str, int]]:
    """What is being run, from the innermost function out."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame.f_code.co_filename, frame.f_code.co_name, frame.f_lineno
        frame = frame.f_back


@lru_cache(maxsize=4096)
def is_own(file: str) -> bool:
    """Whether a file is the model's own code, and not a framework's, Python's or this package's."""
    if file.startswith("<frozen"):
        return False
    if any(file.startswith(folder) for folder in _engines()):
        return False
    return not any(file.startswith(folder) and "site-packages" not in file for folder in _python())


@lru_cache(maxsize=1)
def _engines() -> tuple[str, ...]:
    found = []
    for name in (*_ENGINES, __name__.partition(".")[0]):
        spec = find_spec(name)
        found += list(spec.submodule_search_locations or ()) if spec else []
    rooms = Path(__file__).resolve().parents[2]
    found += [str(rooms / room) for room in ("common", "impl_torch", "impl_jax", "pairs", "conformance", "migration")]
    return tuple(folder.rstrip(os.sep) + os.sep for folder in found)


@lru_cache(maxsize=1)
def _python() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    return tuple({paths["stdlib"] + os.sep, paths["platstdlib"] + os.sep})
