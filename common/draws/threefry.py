"""Words of 32 random bits, each addressed by a seed, a path and an index: Threefry-2x32-20.

Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3". The generator adds, rotates and takes
exclusive ors, which every framework does alike, and keeps no state: the words 2 c and 2 c + 1 of a key are what it
makes of the counter c. Integers are of 32 bits with a sign throughout, since all of NumPy, PyTorch and JAX have these.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..seeding import path_seed
from .streams import check_seed

# A key is two words.
Key = tuple[int, int]
Rotate = Callable[[Any, int], Any]

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
# What makes the third word of the key of the first two, so that a key of zeros is not one of zeros.
_PARITY = 0x1BD11BDA
_GROUPS = 5


def key_of(seed: int, path: str) -> Key:
    """The key of one parameter: 63 bits of a hash of the model's seed and the path.

    Raises:
        UsageError: what is no seed.
    """
    number = path_seed(check_seed(seed), path)
    return number >> 32, number & 0xFFFFFFFF


def words(key: Any, first: Any, second: Any, rotate: Rotate) -> tuple[Any, Any]:
    """The two words of each counter, whose lower half is `first` and whose upper half is `second`.

    key: two integers, or what the framework adds to its arrays. The counters are arrays of int32 that wrap around, of
        one shape, and may be overwritten.
    rotate: `(array, places) -> array`, the bits moved up, those that fall out moved in below.
    """
    schedule = (key[0], key[1], key[0] ^ key[1] ^ _PARITY)
    schedule = tuple(signed(word) if isinstance(word, int) else word for word in schedule)
    first += schedule[0]
    second += schedule[1]
    for group in range(_GROUPS):
        for places in _ROTATIONS[group % 2]:
            first += second
            second = rotate(second, places)
            second ^= first
        first += schedule[(group + 1) % 3]
        second += schedule[(group + 2) % 3]
        second += group + 1
    return first, second


def signed(word: int) -> int:
    """A word of 32 bits as the integer with a sign that has the same bits."""
    return (word & 0xFFFFFFFF) - ((word & 0x80000000) << 1)
