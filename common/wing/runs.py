"""Runs: what a model is given to run, what one run of it tells, and what is asked of an output."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from .. import paths
from ..errors import NotExpressibleError, ParitreeError, PathError, ShapeError, nearest
from ..trees import is_array, members, walk

Made = TypeVar("Made")
# Neutral arrays: by position, or by the name of the argument.
Inputs = tuple[np.ndarray, ...] | Mapping[str, np.ndarray]
# call(model, inputs): the output, an array or a tree of arrays. The inputs reach it as that side's own arrays.
Call = Callable[[Any, Any], Any]
# The weight of each entry of the outputs in the one number that is differentiated, by the outputs' shapes.
Cotangents = Callable[[Sequence[tuple[int, ...]]], Sequence[np.ndarray]]


_notes: ContextVar[dict[str, None] | None] = ContextVar("notes", default=None)


def note(text: str) -> None:
    """Say something of how a side is run, to whom `noting` collects it for; to nobody otherwise."""
    notes = _notes.get()
    if notes is not None:
        notes[text] = None


@contextmanager
def noting(notes: dict[str, None]) -> Iterator[None]:
    """Collect what is noted meanwhile, each text once."""
    token = _notes.set(notes)
    try:
        yield
    finally:
        _notes.reset(token)


class PairError(ParitreeError, ValueError):
    """Two sides that cannot be held against each other: inputs that are none, outputs of unequal structure."""


# JAX's and PyTorch's words for an operation on arrays of two devices.
_DEVICES_MIXED = ("incompatible devices", "to be on the same device")
_MIXED = (
    "The model and its inputs are copied to the device that is checked: make there what the call brings along, or hold "
    "it in the model."
)
_NO_EXIT = "Leave the exit to who runs it as a program."


class Accident(ParitreeError):
    """What a side's own code has raised and no other way to run it is to hide: an exit, or what it raised once.

    Many a caller does without a run that a program has not, as one in float64. At the interface it is a PairError.
    """


@contextmanager
def reported(
    role: str,
    expected: str = "inputs that the model takes",
    remedy: str = "Check the inputs, and the call if the pair has one: names, shapes and dtypes.",
) -> Iterator[None]:
    """Whatever a side's own code raises, as a PairError that names the side. Errors of this package pass through.

    role: `reference` or `port`, also for a PairError that names none.
    """
    try:
        yield
    except (PairError, Accident) as error:
        if error.path:
            raise
        raise type(error)(role, error.expected, error.found, error.remedy) from error.__cause__
    except ParitreeError:
        raise
    # A model may raise anything; nothing is swallowed, since each error goes on with the side's name and its own. An
    # exit of its own would be ours, and one with 0 a success.
    except (Exception, SystemExit) as error:
        said = _said(error)
        is_mixed = any(words in said for words in _DEVICES_MIXED)
        raise PairError(role, expected, said, _MIXED if is_mixed else remedy) from error


@contextmanager
def exits_reported(role: str) -> Iterator[None]:
    """The same of an exit alone, where all else that the code raises is its caller's."""
    try:
        yield
    except SystemExit as error:
        raise PairError(
            role, "code that returns", _said(error), "Leave the exit to who runs it as a program."
        ) from error


def steady(run: Callable[[], Made]) -> Made:
    """What a side's own code gives when it is run, and what it raises, if it raises that again.

    Raises:
        Accident: it exits, or did not raise again.
    """
    try:
        return run()
    except ParitreeError:
        raise
    except SystemExit as error:
        raise Accident("", "code that returns", _said(error), _NO_EXIT) from error
    except Exception as error:
        try:
            run()
        except type(error):
            raise error from None
        except Exception:
            pass
        raise raised_once("", _said(error)) from error


def raised_once(role: str, said: str) -> Accident:
    """Of what a side raised, and not when the same was run again."""
    found, remedy = f"{said}; the same run did not raise it again", "Look for what it depends on besides its arguments."
    return Accident(role, "code that runs alike each time", found, remedy)


def _said(error: BaseException) -> str:
    """An exception's type and the first line of its message; of an exit the code."""
    if isinstance(error, SystemExit):
        is_code = error.code is None or isinstance(error.code, int)
        words = f" ({str(error.code).strip().partition(chr(10))[0]})" * (not is_code)
        return f"SystemExit: it exits with code {int(error.code or 0) if is_code else 1}{words}"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, *lines[:1]]).rstrip(".")


class Probe(NamedTuple):
    """What one run of a side told.

    outputs: the floating-point arrays among the outputs, by their place in the output's structure.
    gradients: of <outputs, cotangents>, by the native path of every parameter of floating-point numbers, each once,
        those included that training leaves alone. Zero where the outputs do not depend on it.
    """

    outputs: dict[str, np.ndarray]
    gradients: dict[str, np.ndarray]


class Prober(Protocol):
    """A side made ready to run: compiled once, where that is sensible, and called for any weights.

    weights: native arrays by the paths of `stored_tensors`; what is not given keeps the value that it has in the model.
    gradients: without them only the outputs are made, which takes less time, and the cotangents are not asked for.
    rounded: another number than 0 makes the outputs alone, op by op, of operations that each round otherwise: their
        results are moved by one rounding, other ways for each number. See `rerounded` of `common/arrays.py`.

    Raises:
        NotExpressibleError: `rounded` of a program that cannot be taken apart, or of a record.
    """

    def __call__(
        self, weights: Mapping[str, Any], cotangents: Cotangents, *, gradients: bool = True, rounded: int = 0
    ) -> Probe: ...


@dataclass(frozen=True)
class Site:
    """One operation that consumes a parameter.

    operation: what the framework calls it (`linear`, `dot_general`).
    gradient: its share of the parameter's gradient, a neutral array; the shares add up to the whole.
    """

    operation: str
    gradient: np.ndarray


class SiteProber(Protocol):
    """A side made ready to be asked for the sites of some of its parameters, for any weights.

    weights: native arrays by the paths of `stored_tensors`; what is not given keeps the value that it has in the model.
    paths: of the parameters asked for, as `stored_tensors` lists them: a tied one under the first of its paths. The
        others are constants, so that few cost little in a big model.

    Gives for each of the paths its sites in the order of the program, with native arrays, whose sum is the gradient of
    <outputs, cotangents> that the side's `prober` gives. A parameter that the outputs do not depend on has none.
    """

    def __call__(
        self, weights: Mapping[str, Any], cotangents: Cotangents, paths: Iterable[str]
    ) -> dict[str, tuple[Site, ...]]: ...


def asked(paths: Iterable[str], parameters: Iterable[str]) -> tuple[str, ...]:
    """The paths asked for, each once.

    parameters: the paths there are.

    Raises:
        PathError: a path that is none of them, and the nearest one.
    """
    known = tuple(parameters)
    wanted = tuple(dict.fromkeys(paths))
    for path in wanted:
        if path not in known:
            expected = "the path of a parameter of floating-point numbers, the first one of a tied parameter"
            raise PathError(path, expected, "none of that name", nearest(path, known))
    return wanted


def named_arrays(output: Any) -> dict[str, Any]:
    """The arrays of an output by their place: `''` for one array, `logits`, `hidden.0` for those of a structure.

    Mappings, sequences and dataclasses are entered; None is left out.

    Raises:
        NotExpressibleError: something else, which no number of ours can be made of.
    """
    found = {}
    for keys, leaf in walk(output, members):
        place = paths.join(*map(str, keys))
        if is_array(leaf):
            found[place] = leaf
        elif leaf is not None:
            expected = "arrays, or mappings, sequences and dataclasses of arrays"
            raise NotExpressibleError(place, expected, type(leaf).__name__, "Give the pair a call.")
    return found


def one_array(output: Any) -> Any:
    """A model's output, if it is one array: what has no shape has no norm and no cotangent.

    Raises:
        NotExpressibleError: it is a tuple, or an object of the model's own.
    """
    if not is_array(output):
        raise NotExpressibleError(
            "",
            "a model whose output is one array",
            type(output).__name__,
            "Wrap the model in one that returns it.",
        )
    return output


def check_targets(targets: np.ndarray, output: Any) -> None:
    """Refuse targets of another shape than the output's, which would be broadcast without a word.

    Raises:
        NotExpressibleError: the output is not one array; ShapeError: another shape.
    """
    if np.shape(targets) != tuple(one_array(output).shape):
        raise ShapeError("", f"targets of the output's shape {tuple(output.shape)}", f"shape {np.shape(targets)}")


def check_cotangent(cotangent: np.ndarray, output: Any) -> None:
    """Refuse a cotangent of another shape than the output's, which would be broadcast without a word.

    Raises:
        NotExpressibleError: the output is not one array; ShapeError: another shape.
    """
    if np.shape(cotangent) != tuple(one_array(output).shape):
        expected = f"a cotangent of the output's shape {tuple(output.shape)}"
        raise ShapeError("", expected, f"shape {np.shape(cotangent)}")
