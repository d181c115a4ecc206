"""What every reader is: one interface over every kind of checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from ..headers import Entry


class Source(Protocol):
    """A checkpoint that is open for reading. No tensor of a mapped file is in memory until it is looked at.

    entries: each tensor once, in the order in which it is best read.
    aliases: further paths of an entry, where the checkpoint itself says that the two are one tensor.
    others: what it holds besides tensors.
    """

    entries: Mapping[str, Entry]
    aliases: Mapping[str, str]
    others: tuple[str, ...]

    def array(self, path: str) -> np.ndarray:
        """An entry's values, not to be written to."""
        ...

    def release(self, path: str) -> None:
        """Give back an entry's memory as far as it is the source's to give. It may be asked for again."""
        ...
