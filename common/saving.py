"""Round trips: a model saved and loaded again, in one of the ways that its framework's users do it."""

from __future__ import annotations

from typing import NamedTuple

from .natives import Native


class RoundTrip(NamedTuple):
    """What came back.

    way: how it was saved and loaded: `state_dict`, `split and merge`, `safetensors`.
    natives: all tensors of the model that was loaded, as the wing's `natives` tells them, ties included.
    """

    way: str
    natives: dict[str, Native]
