"""Tapes: every value that an operation of PyTorch makes in one forward pass. The model is never written to.

To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from ..common.wing import (
    Call,
    Inputs,
    Kind,
    Line,
    ModuleStack,
    Tape,
    TapeArrays,
    Taper,
    TapeUses,
    Value,
    check_size,
    frames_here,
    innermost,
)
from .access import neutral, tensor
from .core import called, cast_copy, derivatives, floating, given, inference, weighted
from .devices import dtype_of
from .stored import owned, with_stored_tensors
from .tracing import traced_modules, watch


def taper(model: nn.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Taper:
    """The model made ready to be taped: `run(weights)` gives all values of a pass.

    Each run works on a copy of the model. What an `autograd.Function` or a compiled extension does inside is seen as
    far as it calls PyTorch. A rule of one's own for derivatives is always obeyed, since autograd is asked for them.

    Arguments and errors: see `SideWing`.
    """
    of_type = dtype_of(dtype)

    def run(weights: Mapping[str, np.ndarray], *, with_rules: bool = False) -> Tape:
        own = with_stored_tensors(cast_copy(model, of_type), weights)
        # With gradients to be taken, as when it is probed: without, some layers go another way.
        for parameter in own.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        stack = ModuleStack()
        for module, known in traced_modules(own).items():
            watch(module, known, stack)
        return _Program(own, inputs, call, of_type, stack).tape({}, {})

    return run


@dataclass(frozen=True)
class _Program:
    """A model of its own to be run any number of times. stack: knows in which of its modules a pass is."""

    model: nn.Module
    inputs: Inputs
    call: Call | None
    dtype: torch.dtype
    stack: ModuleStack

    def tape(self, instead: TapeArrays, uses: TapeUses) -> Tape:
        whole = self.passed(instead, uses, _Watched())

        def replay(other: TapeArrays, in_uses: TapeUses, most: float) -> dict[int, np.ndarray]:
            watched = _Watched(frozenset({*other, *in_uses}), most)
            again = self.passed({**instead, **other}, {**uses, **in_uses}, watched)
            # It may have ended before.
            pairs = enumerate(zip(whole.values, again.values, strict=False))
            return {
                place: new.array
                for place, (old, new) in pairs
                if not np.array_equal(new.array, old.array, equal_nan=True)
            }

        def settle(other: TapeArrays, in_uses: TapeUses) -> Tape:
            return self.tape({**instead, **other}, {**uses, **in_uses})

        return Tape(tuple(whole.values), whole.outputs, replay, settle, whole.cotangents)

    def passed(self, instead: TapeArrays, uses: TapeUses, watched: _Watched) -> _Recorded:
        made = _Recorded(self.stack, instead, uses, watched)
        with inference(self.model), torch.enable_grad():
            arguments = given(self.model, self.inputs, self.dtype)
            made.hold(self.model, arguments)
            # The kernels for speed are one operation, whose inside nobody sees.
            with sdpa_kernel(SDPBackend.MATH), made, suppress(_Enough):
                output = floating(called(self.model, arguments, self.call))
                made.outputs.update({name: made.place(array) for name, array in output.items()})
        return made


class _Watched(NamedTuple):
    """Values, and uses of values, after which so many operations are run."""

    places: frozenset[int | tuple[int, int]] = frozenset()
    most: float = math.inf


class _Enough(Exception):
    """Ends a pass of which the rest is not looked at."""


class _Recorded(TorchDispatchMode):
    """Takes down what each operation gives, below autograd.

    What writes to a tensor makes a new value of it; and of what shares its memory, when that is next read.
    """

    def __init__(self, stack: ModuleStack, instead: TapeArrays, uses: TapeUses, watched: _Watched) -> None:
        super().__init__()
        self._stack, self._instead, self._uses, self._watched = stack, instead, uses, watched
        self._left, self._is_begun = watched.most, False
        self.values: list[Value] = []
        self.outputs: dict[str, int] = {}
        # Kept, so that no other tensor gets the `id` of one.
        self._tensors: list[torch.Tensor] = []
        self._places: dict[int, int] = {}
        self._written: dict[int, list[int]] = {}
        self._step = self._numbers = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Otherwise the first operation imports the compiler, which takes longer than most passes.
        return False

    def hold(self, model: nn.Module, arguments: Any) -> None:
        """The tensors that the pass begins with."""
        for path, each in owned(model).items():
            self._add(each.array, path, "parameter")
        for number, array in enumerate(_tensors(arguments)):
            self._add(array, f"input {number}", "input")

    def place(self, array: torch.Tensor) -> int:
        """The place of a tensor's value as it is now."""
        found = self._places.get(id(array))
        if found is None:
            found = self._add(array, "constant", "constant")
        later = [place for place in self._written.get(_memory(array), ()) if place > found]
        if later:
            return self._add(array, "read", made_of=(found, *later))
        return found

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        taken = {id(array): self.place(array) for array in _tensors((args, named))}
        self._step += 1
        put = {key: new for key, place in taken.items() if (new := self._put(place)) is not None}

        def exchanged(value: Any) -> Any:
            array = put.get(id(value)) if isinstance(value, torch.Tensor) else None
            return value if array is None else tensor(array).to(value.device, value.dtype).reshape(value.shape)

        if put:
            args, named = tree_map(exchanged, args), tree_map(exchanged, named)
        made = func(*args, **named)
        operation = func._schema.name.partition("::")[2]
        made_of = tuple(dict.fromkeys(taken.values()))
        line = innermost(frames_here(), (__file__, "passed"))
        made = tree_map(lambda array: self._instead_of(array, operation, line, made_of), made)
        if func._schema.is_mutable:
            for array in _mutated(func, args, named):
                place = self._places[id(array)] if id(array) in self._places else self.place(array)
                self._written.setdefault(_memory(array), []).append(place)
        self._count()
        return made

    def cotangents(self, given: Mapping[str, np.ndarray]) -> dict[int, np.ndarray]:
        """By the values that autograd has made or was given."""
        outputs = [self._tensors[self.outputs[name]] for name in given]
        value = weighted(
            outputs, [tensor(each).to(output) for each, output in zip(given.values(), outputs, strict=True)]
        )
        places = [place for place, array in enumerate(self._tensors) if array.requires_grad]
        found = zip(places, derivatives(value, [self._tensors[place] for place in places]), strict=True)
        return {place: np.array(neutral(each)) for place, each in found if each is not None}

    def _instead_of(self, array: Any, operation: str, line: Line | None, made_of: tuple[int, ...]) -> Any:
        """What an operation made, taken down, or what is given in its place."""
        if not isinstance(array, torch.Tensor):
            return array
        place = len(self.values)
        if place in self._instead:
            new = tensor(self._instead[place]).to(array.device, array.dtype).reshape(array.shape)
            # One that repeats numbers cannot be written to.
            is_repeated = any(not step for step, size in zip(array.stride(), array.shape, strict=True) if size > 1)
            if is_repeated:
                array = new
            else:
                array.detach().copy_(new)
            self._is_begun |= place in self._watched.places
        self._add(array, operation, "made", line, made_of)
        return array

    def _count(self) -> None:
        self._left -= self._is_begun
        if self._left < 0:
            raise _Enough

    def _put(self, place: int) -> np.ndarray | None:
        """What an operation takes in the place of a value."""
        is_given = self.values[place].kind != "made" and place in self._instead
        found = self._instead[place] if is_given else self._uses.get((place, self._step))
        if found is not None:
            self._is_begun |= (place if is_given else (place, self._step)) in self._watched.places
        return found

    def _add(
        self,
        array: torch.Tensor,
        operation: str,
        kind: Kind = "made",
        line: Line | None = None,
        made_of: tuple[int, ...] = (),
    ) -> int:
        place = len(self.values)
        if kind == "made":
            self._numbers += array.numel()
            check_size(self._numbers)
        held = np.array(neutral(array))
        step = self._step if kind == "made" else -1
        self.values.append(Value(held, operation, kind, line, self._stack.module, made_of, step))
        self._tensors.append(array)
        self._places[id(array)] = place
        return place


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    return (each for each in tree_leaves(tree) if isinstance(each, torch.Tensor))


def _memory(array: torch.Tensor) -> int:
    return array.untyped_storage().data_ptr()


def _mutated(func: Callable[..., Any], args: tuple[Any, ...], named: Mapping[str, Any]) -> Iterator[torch.Tensor]:
    """The arguments that an operation writes to."""
    schema = func._schema  # type: ignore[attr-defined]
    for number, argument in enumerate(schema.arguments):
        value = args[number] if number < len(args) else named.get(argument.name)
        if argument.alias_info is not None and argument.alias_info.is_write:
            yield from _tensors(value)
