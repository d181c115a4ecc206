"""Pooling, which is functions."""

from __future__ import annotations

from ....common.layers.kinds import Word
from ...functions import pooling
from .at import Makers, functions

MAKERS: Makers = functions(pooling.FUNCTIONS)
KINDS: dict[type, Word] = {}
