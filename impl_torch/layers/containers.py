"""Modules that hold modules."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from ...common.spec import Program, run


class Block(nn.Module):
    """Named children that a program calls. A bare array is a Parameter or a buffer of the Block itself."""

    def __init__(self, children: Mapping[str, Any], program: Program | None) -> None:
        super().__init__()
        for name, child in children.items():
            if isinstance(child, Array):
                child.register(self, name)
            else:
                self.add_module(name, child)
        self.program = program

    def forward(self, *inputs: torch.Tensor) -> Any:
        assert self.program is not None
        return run(self.program, self._member, inputs)

    def _member(self, path: tuple[str, ...]) -> Any:
        member: Any = self
        for name in path:
            member = getattr(member, name)
        return member


class List(Block, nn.ModuleList):
    """A Block without a program, whose children are numbered: an nn.ModuleList that may hold bare arrays, too.

    PyTorch keeps arrays and modules apart, and in a list a number can be either.
    """

    def __init__(self, children: Iterable[Any]) -> None:
        super().__init__({str(number): child for number, child in enumerate(children)}, None)

    def __len__(self) -> int:
        return len(self._modules) + len(self._parameters) + len(self._buffers)

    def __iter__(self) -> Iterator[Any]:
        return (getattr(self, str(number)) for number in range(len(self)))

    def __getitem__(self, idx: int | slice) -> Any:  # type: ignore[override]
        """A child by its number, counted from either end, or several as a plain list.

        Raises IndexError.
        """
        return list(self)[idx]


class Array(nn.Module):
    """A bare array until its Block or List takes it: PyTorch has it as an attribute and not as a module."""

    def __init__(self, array: torch.Tensor, trained: bool, persistent: bool = True) -> None:
        super().__init__()
        self.array: torch.Tensor = nn.Parameter(array) if trained else array
        self.persistent = persistent

    def register(self, block: nn.Module, name: str) -> None:
        """Make the array an attribute of `block`."""
        if isinstance(self.array, nn.Parameter):
            block.register_parameter(name, self.array)
        else:
            block.register_buffer(name, self.array, self.persistent)


@lru_cache(maxsize=1)
def reserved() -> frozenset[str]:
    """The names that a child cannot have, since `nn.Module` uses them itself."""
    return frozenset(dir(nn.Sequential())) | frozenset(dir(Block({}, Program((), 0, (), None))))
