"""Modules that hold modules."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import nn

from ...common.program import Program, run


class Block(nn.Module):
    """Named children that a program calls. A bare array is a Parameter or a buffer of the Block itself."""

    def __init__(self, children: Mapping[str, Any], program: Program) -> None:
        super().__init__()
        for name, child in children.items():
            if isinstance(child, Array):
                child.register(self, name)
            else:
                self.add_module(name, child)
        self.program = program

    def forward(self, *inputs: torch.Tensor) -> Any:
        return run(self.program, self._member, inputs)

    def _member(self, path: tuple[str, ...]) -> Any:
        member: Any = self
        for name in path:
            member = getattr(member, name)
        return member


class Array(nn.Module):
    """A bare array until its Block takes it: PyTorch has it as an attribute and not as a module."""

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
