"""Which stream of random numbers a model is drawn from, and which seeds there are."""

from __future__ import annotations

from operator import index
from typing import Any, Literal, get_args

from ..errors import UsageError, nearest

# `portable`: the same bits in every wing. `native`: the framework's own generator and its own initializers.
Stream = Literal["portable", "native"]
STREAMS: tuple[Stream, ...] = get_args(Stream)

_LEAST, _MOST = -(2**63), 2**64 - 1


def check_stream(stream: Any) -> Stream:
    """The stream.

    Raises:
        UsageError: there is none of that name.
    """
    if stream not in STREAMS:
        remedy = nearest(stream, STREAMS) if isinstance(stream, str) else ""
        raise UsageError("stream", f"one of {', '.join(STREAMS)}", repr(stream), remedy)
    return stream


def check_seed(seed: Any) -> int:
    """The seed as an integer of Python's.

    Raises:
        UsageError: no integer, or one of more than 64 bits.
    """
    expected, remedy = "an integer from -2^63 to 2^64 - 1", "Any integer of 64 bits, with a sign or without, is a seed."
    try:
        number = None if isinstance(seed, bool) else index(seed)
    except TypeError:
        number = None
    if number is None:
        raise UsageError("seed", expected, f"{seed!r}, a {type(seed).__name__}", remedy)
    if not _LEAST <= number <= _MOST:
        raise UsageError("seed", expected, f"one of {number.bit_length()} bits", remedy)
    return number
