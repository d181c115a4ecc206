"""Tapes: every value that an equation of JAX makes in one forward pass.

A pass is traced to a jaxpr, which is evaluated equation by equation; calls are opened, and so are the branches that are
taken and loops that are short. All three kinds of sides that JAX runs use it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_jaxpr
from jax.extend.core import Jaxpr, Literal

from ..common.wing import (
    Inputs,
    Kind,
    Line,
    ModuleStack,
    Tape,
    TapeArrays,
    Taper,
    TapeUses,
    Value,
    WatchedCall,
    check_size,
    innermost,
    is_floating,
    is_own,
)
from .core import Arrays, Functional, floating, given, weighted
from .equations import applied, opened
from .programs import traceable
from .releases import scan_counts

# What has equations of its own and is no call of them.
_NO_CALLS = frozenset({"scan", "while", "cond", "pallas_call", "custom_root", "custom_linear_solve"})
# Longer loops are one operation.
_LONGEST = 64
# In the name stack of an equation, before the path of a module whose call it is made in.
_SCOPE = "module:"

Passing = Callable[[Arrays, Any, ModuleStack], Any]


class Scopes(ModuleStack):
    """Leaves the path of a module in the equations that its call makes."""

    def around(self, call: WatchedCall) -> Any:
        with jax.named_scope(f"{_SCOPE}{call.module.path}"):
            return super().around(call)


def taper_of(side: Functional, passing: Passing, inputs: Inputs, dtype: str) -> Taper:
    """`run(weights)` for a side.

    passing: the output for arrays and inputs, of a pass in which a stack is told of the modules' calls.
    """
    own = side.typed(dtype)

    def run(weights: Mapping[str, np.ndarray], *, with_rules: bool = False) -> Tape:
        values, arguments = side.filled(own, weights), given(inputs, dtype)
        names: list[str] = []

        def pure(values: Arrays, arguments: Any) -> tuple[Any, ...]:
            found = floating(passing(values, arguments, Scopes()))
            names[:] = found
            return tuple(found.values())

        with traceable():
            closed = jax.make_jaxpr(pure)(values, arguments)
        # In the order of JAX's leaves.
        leaves = [*((path, values[path], "parameter") for path in sorted(values)), *_numbered(arguments)]
        made = _Evaluation(with_rules=with_rules)
        places = [made.leaf(array, operation, kind) for operation, array, kind in leaves]  # type: ignore[arg-type]
        outputs = made.evaluated(closed.jaxpr, closed.consts, places, _Around())
        found = {name: made.placed(each) for name, each in zip(names, outputs, strict=True)}
        return made.tape(found)

    return run


def _numbered(arguments: Any) -> list[tuple[str, Any, str]]:
    return [(f"input {number}", array, "input") for number, array in enumerate(jax.tree.leaves(arguments))]


@dataclass(frozen=True)
class _Around:
    """What an equation is inside of. module: the innermost. line: of a call whose inside is no own code."""

    module: str = ""
    line: Line | None = None
    is_closed: bool = False


@dataclass(frozen=True, eq=False)
class _Literal:
    """A number that stands in an equation itself."""

    array: Any


class _Step(NamedTuple):
    run: Callable[[list[Any]], Sequence[Any]]
    inputs: tuple[int | _Literal, ...]
    outputs: tuple[int, ...]


Place = int | _Literal


@dataclass
class _Evaluation:
    """A jaxpr evaluated once, with all that is needed to do it again from any place on."""

    values: list[Value] = field(default_factory=list)
    arrays: list[Any] = field(default_factory=list)
    steps: list[_Step] = field(default_factory=list)
    settled: frozenset[int] = frozenset()
    with_rules: bool = False
    numbers: int = 0

    def tape(self, outputs: Mapping[str, int]) -> Tape:
        settle, cotangents = partial(self.settle, outputs), partial(self.cotangents, outputs)
        return Tape(tuple(self.values), outputs, self.replay, settle, cotangents)

    def leaf(self, array: Any, operation: str, kind: Kind, line: Line | None = None) -> int:
        return self._add(array, Value(_held(array), operation, kind, line))

    def placed(self, place: Place) -> int:
        return place if isinstance(place, int) else self.leaf(place.array, "constant", "constant")

    def _add(self, array: Any, value: Value) -> int:
        if value.kind == "made":
            self.numbers += value.array.size
            check_size(self.numbers)
        self.values.append(value)
        self.arrays.append(array)
        return len(self.values) - 1

    def evaluated(self, jaxpr: Jaxpr, consts: Any, inputs: Sequence[Place], around: _Around) -> list[Place]:
        """The places of what a jaxpr gives."""
        environment: dict[Any, Place] = dict(zip(jaxpr.invars, inputs, strict=True))
        held = dict(zip(jaxpr.constvars, consts, strict=True))

        def read(atom: Any, line: Line | None) -> Place:
            if isinstance(atom, Literal):
                return _Literal(atom.val)
            if atom not in environment:
                # A constant has the line of what first takes it.
                environment[atom] = self.leaf(held[atom], "constant", "constant", line)
            return environment[atom]

        for equation in jaxpr.eqns:
            inside = _entered(equation, around)
            taken = [read(atom, inside.line) for atom in equation.invars]
            made = self._opened(equation, taken, inside)
            if made is None:
                made = list(self._applied(equation, taken, inside))
            environment.update(zip(equation.outvars, made, strict=True))
        return [read(atom, around.line) for atom in jaxpr.outvars]

    def _opened(self, equation: Any, taken: list[Place], around: _Around) -> list[Place] | None:
        """What a call, a branch or a loop gives; None for what is not opened."""
        name, of = equation.primitive.name, equation.params
        if name == "cond":
            branches = of["branches"]
            chosen = int(np.clip(int(self._array(taken[0])), 0, len(branches) - 1))
            return self.evaluated(branches[chosen].jaxpr, branches[chosen].consts, taken[1:], around)
        if name == "scan" and of["length"] <= _LONGEST:
            return self._scanned(of, taken, around)
        if name == "while":
            return self._looped(of, taken, around)
        # A rule of somebody's own is for derivatives, of which most tapes have none.
        is_closed = name in _NO_CALLS or (self.with_rules and name.startswith("custom_"))
        inner = None if is_closed else opened(equation)
        return self.evaluated(*inner, taken, _closed(inner[0], around)) if inner is not None else None

    def _scanned(self, of: Mapping[str, Any], taken: list[Place], around: _Around) -> list[Place]:
        """A loop over the first axis, each time round by itself."""
        fixed, carried = scan_counts(of)
        consts, carry, whole = taken[:fixed], taken[fixed : fixed + carried], taken[fixed + carried :]
        body, length = of["jaxpr"], of["length"]
        order = range(length)[::-1] if of["reverse"] else range(length)
        given: list[list[Place]] = []
        for turn in order:
            pieces = [self._one(each, turn, around) for each in whole]
            made = self.evaluated(body.jaxpr, body.consts, [*consts, *carry, *pieces], around)
            carry = made[:carried]
            given.append(made[carried:])
        turns = given[::-1] if of["reverse"] else given
        stacked = [self._step("stack", _stack, list(column), around)[0] for column in zip(*turns, strict=True)]
        return [*carry, *stacked]

    def _one(self, place: Place, turn: int, around: _Around) -> Place:
        return self._step("slice", lambda arrays: [arrays[0][turn]], [place], around)[0]

    def _looped(self, of: Mapping[str, Any], taken: list[Place], around: _Around) -> list[Place] | None:
        """A loop for as long as its condition holds; None for one that goes round too often."""
        tests, bodies = of["cond_nconsts"], of["body_nconsts"]
        test, body = of["cond_jaxpr"], of["body_jaxpr"]
        state = [self._array(each) for each in taken[tests + bodies :]]
        of_test, of_body = taken[:tests], taken[tests : tests + bodies]
        fixed = [[self._array(each) for each in places] for places in (of_test, of_body)]
        turns = 0
        while bool(eval_jaxpr(test.jaxpr, test.consts, *fixed[0], *state)[0]):
            state = eval_jaxpr(body.jaxpr, body.consts, *fixed[1], *state)
            turns += 1
            if turns > _LONGEST:
                return None
        carry = taken[tests + bodies :]
        for _ in range(turns):
            carry = self.evaluated(body.jaxpr, body.consts, [*of_body, *carry], around)
        return carry

    def _applied(self, equation: Any, taken: list[Place], around: _Around) -> list[int]:
        return self._step(equation.primitive.name, partial(applied, equation), taken, around, _lines_inside(equation))

    def _step(
        self,
        operation: str,
        run: Callable[[list[Any]], Sequence[Any]],
        taken: list[Place],
        around: _Around,
        inside: tuple[Line, ...] = (),
    ) -> list[int]:
        made = run([self._array(each) for each in taken])
        made_of = tuple(dict.fromkeys(each for each in taken if isinstance(each, int)))
        number = len(self.steps)
        places = [
            self._add(
                array, Value(_held(array), operation, "made", around.line, around.module, made_of, number, inside)
            )
            for array in made
        ]
        self.steps.append(_Step(run, tuple(taken), tuple(places)))
        return places

    def _array(self, place: Place) -> Any:
        return place.array if isinstance(place, _Literal) else self.arrays[place]

    def replay(self, instead: TapeArrays, uses: TapeUses, most: float) -> dict[int, np.ndarray]:
        return {place: _held(array) for place, array in self._replayed(instead, uses, most).items()}

    def settle(self, outputs: Mapping[str, int], instead: TapeArrays, uses: TapeUses) -> Tape:
        new = self._replayed(instead, uses, math.inf)
        values = [
            replace(value, array=_held(new[place])) if place in new else value
            for place, value in enumerate(self.values)
        ]
        arrays = [new.get(place, array) for place, array in enumerate(self.arrays)]
        steps = [
            step._replace(inputs=tuple(self._used(place, number, uses) for place in step.inputs))
            for number, step in enumerate(self.steps)
        ]
        settled = self.settled | frozenset(instead)
        return _Evaluation(values, arrays, steps, settled, self.with_rules).tape(outputs)

    def cotangents(self, outputs: Mapping[str, int], given: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
        """By all floating-point values but constants: by a zero that is added to each of them."""
        places = [
            place
            for place, value in enumerate(self.values)
            if value.kind != "constant" and is_floating(value.array) and place not in self.settled
        ]

        def value(added: Mapping[int, jax.Array]) -> jax.Array:
            new: dict[int, Any] = {
                place: self.arrays[place] + array for place, array in added.items() if self.values[place].kind != "made"
            }
            for step in self.steps:
                for place, array in zip(step.outputs, step.run(self._taken(step.inputs, new)), strict=True):
                    new[place] = array + added[place] if place in added else array
            return weighted([new[outputs[name]] for name in given], [jnp.asarray(each) for each in given.values()])

        zeros = {place: jnp.zeros_like(self.arrays[place]) for place in places}
        return {place: _held(array) for place, array in jax.grad(value)(zeros).items()}

    def _used(self, place: Place, step: int, uses: TapeUses) -> Place:
        if isinstance(place, int) and (place, step) in uses:
            return _Literal(self._like(uses[place, step], place))
        return place

    def _replayed(self, instead: TapeArrays, uses: TapeUses, most: float) -> dict[int, Any]:
        new = {place: self._like(array, place) for place, array in instead.items()}
        used = {step for _, step in uses}
        done = 0
        for number, step in enumerate(self.steps):
            if number not in used and new.keys().isdisjoint(step.inputs):
                continue
            taken = [self._used(place, number, uses) for place in step.inputs]
            for place, array in zip(step.outputs, step.run(self._taken(taken, new)), strict=True):
                if place not in instead and place not in self.settled:
                    new[place] = array
            done += 1
            if done >= most:
                break
        return new

    def _taken(self, places: Iterable[Place], new: Mapping[int, Any]) -> list[Any]:
        """The arrays for an operation, new ones where there are."""
        return [new[each] if isinstance(each, int) and each in new else self._array(each) for each in places]

    def _like(self, array: np.ndarray, place: int) -> jax.Array:
        own = self.arrays[place]
        return jnp.asarray(array.reshape(own.shape), own.dtype)


def _stack(arrays: list[Any]) -> Sequence[Any]:
    return [jnp.stack(arrays)]


def _held(array: Any) -> np.ndarray:
    """A neutral array; a random key is an array of no numbers."""
    if hasattr(array, "dtype") and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return np.zeros(0, bool)
    return np.asarray(array)


def _entered(equation: Any, around: _Around) -> _Around:
    """Around what an equation does: the innermost module, and its line unless it stands in code of a framework."""
    names = str(equation.source_info.name_stack).split("/")
    scopes = [name.partition(_SCOPE)[2] for name in names if name.startswith(_SCOPE)]
    module = scopes[-1] if scopes else around.module
    line = around.line if around.is_closed else _line(equation) or around.line
    return _Around(module, line, around.is_closed)


def _closed(jaxpr: Jaxpr, around: _Around) -> _Around:
    """Around the inside of a call. Of a framework's function only the first call is traced, so that its lines are."""
    source = getattr(getattr(jaxpr, "debug_info", None), "func_src_info", None) or ""
    file = source.rpartition(" at ")[2].rpartition(":")[0]
    is_ours = bool(file) and is_own(file)
    return _Around(around.module, around.line, around.is_closed or not is_ours)


def _lines_inside(equation: Any) -> tuple[Line, ...]:
    """The lines of the model's own code in a call that is not opened."""
    found: dict[Line, None] = {}
    inner = opened(equation)
    for each in inner[0].eqns if inner is not None else ():
        line = _line(each)
        found.update(dict.fromkeys([line] if line else []))
        found.update(dict.fromkeys(_lines_inside(each)))
    return tuple(found)


def _line(equation: Any) -> Line | None:
    traceback = equation.source_info.traceback
    return innermost(_frames(traceback.frames), (__file__, "pure")) if traceback is not None else None


def _frames(frames: Iterable[Any]) -> Iterator[tuple[str, str, int]]:
    for frame in frames:
        yield frame.file_name, frame.function_name.rpartition(".")[2], frame.line_num
