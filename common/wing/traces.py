"""Traces: what each call of each module of a live model took and gave, in one forward pass.

Made by the wings' `tracer`; all arrays are neutral. They tell where two programs that should be one part ways.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from .. import paths
from ..trees import exchanged, is_array, members, walk

Setting = bool | int | float | str | tuple[int | float | str, ...]


@dataclass(frozen=True)
class Trace:
    """One call of one module.

    path: the module's native path without the collection, dotted; empty for the model itself.
    call: how often it was called before.
    name: its class.
    depth: how many traced calls it was made in.
    inputs: its arrays by the name of the argument: `hidden_states`, `states.0`. Whole numbers and truth values too.
    outputs: its floating-point arrays by their place in the output, `''` where it is one array.
    settings: the module's plain members: numbers, truth values, strings, short tuples of them, functions by name.
    holds: native paths of the tensors that it holds itself; of a tie the owner's.
    subtree: those that it and all modules below hold.
    """

    path: str
    call: int
    name: str
    depth: int
    inputs: Mapping[str, np.ndarray]
    outputs: Mapping[str, np.ndarray]
    settings: Mapping[str, Setting]
    holds: tuple[str, ...]
    subtree: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.path!r} ({self.name})" if self.path else f"the model itself ({self.name})"


@dataclass(frozen=True)
class Traced:
    """What a wing knows of a module before it is called; see Trace."""

    path: str
    name: str
    settings: Mapping[str, Setting]
    holds: tuple[str, ...]
    subtree: tuple[str, ...]


@dataclass(frozen=True)
class WatchedCall:
    """A call of a module that a recorder is told of, to be run any number of times.

    function: the unbound method, for the names of its arguments. method: the method itself.
    """

    module: Traced
    function: Callable[..., Any]
    method: Callable[..., Any]
    arguments: Sequence[Any]
    named: Mapping[str, Any]

    @property
    def inputs(self) -> dict[str, Any]:
        """The arguments by name."""
        return named_arguments(self.function, self.arguments, self.named)

    def run(self) -> Any:
        return self.method(*self.arguments, **self.named)

    def on(self, new: Mapping[int, Any]) -> WatchedCall:
        """The same with other arrays, by the `id` of what they replace."""
        return replace(self, arguments=exchanged(tuple(self.arguments), new), named=exchanged(dict(self.named), new))


class CallRecorder:
    """Takes down calls as they begin and end. One recorder is for one pass, in one thread.

    convert: a framework's array as a neutral one, or None where it has no values: JAX's tracers, random keys.
    restored: the other way, for a kind of recorder that gives modules arrays of its own: a neutral array in the type of
        one of the framework's, or in its own where there is none.
    find: a module of the model that is run, by its path, to be called by itself; None where it cannot be.
    """

    def __init__(self, convert: Callable[[Any], np.ndarray | None], restored: Callable[[np.ndarray, Any], Any]) -> None:
        self._convert = convert
        self._restored = restored
        self.find: Callable[[str], Callable[..., Any] | None] = lambda path: None
        self._open: list[int] = []
        self._made: list[Trace | None] = []
        self._counts: dict[str, int] = {}
        self.missed = False

    def passing(self) -> AbstractContextManager[None]:
        """What surrounds the pass."""
        return nullcontext()

    def around(self, call: WatchedCall) -> Any:
        """The output of a call, which is run here."""
        self.begin(call.module, call.inputs)
        try:
            output = call.run()
        except BaseException:
            self.abandon()
            raise
        self.end(output)
        return output

    def begin(self, module: Traced, inputs: Mapping[str, Any]) -> None:
        """A call begins; its inputs are copied now, since the module may write to them."""
        made = Trace(
            module.path,
            self._counts.get(module.path, 0),
            module.name,
            len(self._open),
            self._arrays(inputs),
            {},
            module.settings,
            module.holds,
            module.subtree,
        )
        self._open.append(len(self._made))
        self._made.append(made)

    def end(self, output: Any) -> None:
        """The last call that began ends. One that gives no floating-point numbers is forgotten."""
        place = self._open.pop()
        made = self._made[place]
        assert made is not None
        outputs = {name: array for name, array in self._arrays(output).items() if is_floating(array)}
        if not outputs:
            self._made[place] = None
            return
        self._counts[made.path] = made.call + 1
        self._made[place] = replace(made, outputs=outputs)

    def abandon(self) -> None:
        """The last call that began has raised."""
        self._made[self._open.pop()] = None

    def traces(self) -> tuple[Trace, ...]:
        return tuple(made for made in self._made if made is not None)

    def _arrays(self, value: Any) -> dict[str, np.ndarray]:
        found = {}
        for name, array in arrays_in(value):
            neutral = self._convert(array)
            if neutral is None:
                self.missed = True
            else:
                found[name] = neutral
        return found


class Tracer(Protocol):
    """A model made ready to be traced: the calls of one forward pass with these native weights, in order of start.

    recorder: makes what takes them down, of the two functions of a CallRecorder.
    """

    def __call__(
        self, weights: Mapping[str, np.ndarray], recorder: Callable[..., CallRecorder] = CallRecorder
    ) -> tuple[Trace, ...]: ...


def is_floating(array: np.ndarray) -> bool:
    """Whether it holds floating-point numbers, bfloat16 and its like included."""
    return "float" in array.dtype.name


def arrays_in(value: Any) -> Iterator[tuple[str, Any]]:
    """The arrays of a structure by their place. What is neither an array nor a structure is passed over."""
    for keys, leaf in walk(value, members):
        if is_array(leaf):
            yield paths.join(*map(str, keys)), leaf


def named_arguments(function: Callable[..., Any], arguments: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call of an unbound method, without `self`, by name; by number where the signature tells none.

    The first of `arguments` is the one after `self`.
    """
    try:
        bound = inspect.signature(function).bind(None, *arguments, **named)
    except (TypeError, ValueError):
        return {**{str(number): each for number, each in enumerate(arguments)}, **named}
    found: dict[str, Any] = {}
    for number, (name, value) in enumerate(bound.arguments.items()):
        kind = bound.signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            found.update(value)
        elif kind is inspect.Parameter.VAR_POSITIONAL:
            # `*args` alone takes `self` too.
            found[name] = value if number else value[1:]
        elif number:
            found[name] = value
    return found


def plain(members: Mapping[str, Any]) -> dict[str, Setting]:
    """Those members of a module that are settings, private ones aside."""
    found = {}
    for name, value in members.items():
        setting = None if name.startswith("_") else _setting(value)
        if setting is not None:
            found[name] = setting
    return found


def _setting(value: Any) -> Setting | None:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list) and len(value) <= 8:
        return tuple(value) if all(isinstance(each, int | float | str) for each in value) else None
    if isinstance(value, functools.partial):
        given = "".join(f", {name}={each!r}" for name, each in value.keywords.items())
        return f"{getattr(value.func, '__name__', 'function')}{given}"
    if inspect.isroutine(value):
        return value.__name__
    return None


def order_of_ends(traces: Sequence[Trace]) -> list[int]:
    """The traces' places in the order in which the calls ended: a call before the one it was made in."""
    found: list[int] = []
    open_calls: list[int] = []
    for place, trace in enumerate(traces):
        while open_calls and traces[open_calls[-1]].depth >= trace.depth:
            found.append(open_calls.pop())
        open_calls.append(place)
    return found + open_calls[::-1]


def first_nonfinite(traces: Sequence[Trace]) -> tuple[str, str] | None:
    """Path and class of the first module that made numbers that are not finite, of finite ones if there is such one.

    A mask that holds -inf is an input that is not finite; whoever takes it is blamed only if nobody else can be.
    """
    ended = [traces[place] for place in order_of_ends(traces)]
    wrong = [trace for trace in ended if not _finite(trace.outputs)]
    guilty = [trace for trace in wrong if _finite(trace.inputs)] or wrong
    return (guilty[0].path, guilty[0].name) if guilty else None


def _finite(arrays: Mapping[str, np.ndarray]) -> bool:
    return all(np.isfinite(array).all() for array in arrays.values() if is_floating(array))
