"""Layers that hold nothing and rearrange or combine arrays."""

from __future__ import annotations

from ....common.layers.kinds import Word
from ...functions import operations
from .at import Makers, functions

MAKERS: Makers = functions(operations.FUNCTIONS)
KINDS: dict[type, Word] = {}
