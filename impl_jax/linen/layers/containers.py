"""Modules that hold modules."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jax
from flax import linen

from ....common.spec import Program, run


@dataclass(frozen=True)
class Members:
    """Modules that a field carries unseen.

    Linen adopts a module that it finds in a field at once, under a name of its own making. Kept in here, each is
    adopted in `setup`, under the name that is set there; and one that stands in two places is adopted once, which is
    what a tie is in Linen.
    """

    pairs: tuple[tuple[str, Any], ...]


class Block(linen.Module):
    """Named children that a program calls."""

    members: Members
    program: Program | None

    def setup(self) -> None:
        for name, child in self.members.pairs:
            setattr(self, name, child)

    def __call__(self, *inputs: jax.Array) -> Any:
        assert self.program is not None
        return run(self.program, self._member, inputs)

    def _member(self, path: tuple[str, ...]) -> Any:
        member: Any = self
        for name in path:
            member = getattr(member, native_name(member, name))
        # A bare array is not called: it is there.
        return member() if isinstance(member, Array) else member


class Sequence(Block):
    """A Block whose children have linen.Sequential's names, `layers_0`, `layers_1`, ...

    linen.Sequential itself holds its children in a field, where one that also stands in another container would be
    adopted twice. Without a program it is a list, whose children a Block around it calls.
    """


class Array(linen.Module):
    """A bare array, in a module so that it has a place to be shared from.

    collection: `params`, or `buffers` for one that is not trained.
    """

    shape: tuple[int, ...]
    value_init: Any
    param_dtype: Any
    collection: str = "params"

    @linen.compact
    def __call__(self) -> jax.Array:
        if self.collection == "params":
            return self.param("value", self.value_init, self.shape, self.param_dtype)
        make = lambda: self.value_init(self.make_rng("params"), self.shape, self.param_dtype)  # noqa: E731
        return self.variable(self.collection, "value", make).value


def native_name(container: Any, name: str) -> str:
    """The attribute that holds a container's child of that name."""
    return f"layers_{name}" if isinstance(container, Sequence) else name


@lru_cache(maxsize=1)
def reserved() -> frozenset[str]:
    """The names that a child cannot have, since a Linen module uses them itself.

    `scope` comes with a call, and `params` twice in a row is what Flax takes for a mistake.
    """
    return frozenset(dir(Block(Members(()), None))) | {"scope", "params", "_compact_name_scope_methods"}
