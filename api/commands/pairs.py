"""The pair that a command's target names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..pairs.pair import Pair


def load_pair(target: str) -> Pair:
    """A Pair of a file, or what a function of it gives, called without an argument or with the seed 0.

    Raises:
        UsageError: no such file, no such name in it, it is no pair, or the file or the function raises.
    """
    from ..common.errors import UsageError
    from ..pairs.pair import Pair
    from ..targets import load_target

    found = load_target(target)
    if not isinstance(found, Pair):
        raise UsageError(target, "a paritree.Pair", type(found).__name__, "Make one: Pair(reference, port, inputs).")
    return found
