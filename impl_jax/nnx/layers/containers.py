"""Modules that hold modules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import jax
from flax import nnx

from ....common.spec import Program, run


class Block(nnx.Module):
    """Named children that a program calls.

    registered: the children's names in order. A module's own attributes do not keep theirs: NNX sorts them whenever a
    graph is put together again.
    """

    def __init__(self, children: Mapping[str, Any], program: Program) -> None:
        for name, child in children.items():
            setattr(self, name, child)
        self.registered = tuple(children)
        self.program = program

    def __call__(self, *inputs: jax.Array) -> Any:
        return run(self.program, self._member, inputs)

    def _member(self, path: tuple[str, ...]) -> Any:
        member: Any = self
        for name in path:
            if isinstance(member, nnx.Sequential):
                member = member.layers
            member = member[int(name)] if isinstance(member, (nnx.List, tuple)) else getattr(member, name)
        # A bare array is not called: it is there.
        return member() if isinstance(member, Array) else member


class Array(nnx.Module):
    """A bare array, in a module so that it has a place to be shared from."""

    def __init__(self, value: nnx.Variable[Any]) -> None:
        self.value = value

    def __call__(self) -> jax.Array:
        return self.value[...]


@lru_cache(maxsize=1)
def reserved() -> frozenset[str]:
    """The names that a child cannot have, since `nnx.Module` uses them itself."""
    return frozenset(dir(Block({}, Program((), 0, (), None))))
