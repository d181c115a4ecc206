"""What differs between the releases of JAX and Flax that are supported: the one place for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def scan_counts(params: Mapping[str, Any]) -> tuple[int, int]:
    """How many constants and how many carried values stand before the rest of what a `scan` equation takes.

    Since JAX 0.12 the equation has a tree of three in the place of two numbers.
    """
    if "num_carry" in params:
        return params["num_consts"], params["num_carry"]
    constants, carried, _ = params["ft_in"].unpack()
    return len([*constants]), len([*carried])
