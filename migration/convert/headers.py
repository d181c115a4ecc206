"""The header of a safetensors file: its length in 8 bytes, then JSON with a dtype, a shape and two offsets a tensor."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...common.errors import CheckpointError
from ...common.safetensors import DTYPES

METADATA = "__metadata__"
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ORDER = {dtype: place for place, dtype in enumerate(DTYPES.values())}
_ANEW = "It is cut short or damaged: copy it again."


class Entry(NamedTuple):
    """One tensor of a checkpoint."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Header:
    """What a file holds and where.

    offsets: of each tensor's first byte in the file.
    """

    entries: Mapping[str, Entry]
    offsets: Mapping[str, int]
    metadata: Mapping[str, str]
    size: int


def written(entries: Mapping[str, Entry], metadata: Mapping[str, str]) -> tuple[bytes, Header]:
    """The header of a new file, laid out as safetensors lays it out: wider dtypes first, then by name.

    Raises:
        CheckpointError: a dtype that the format does not have.
    """
    for path, entry in entries.items():
        if entry.dtype not in _NAMES:
            raise CheckpointError(path, "a dtype that safetensors has", entry.dtype.name, "Cast it with dtype.")
    ordered = sorted(entries, key=lambda path: (-_ORDER[entries[path].dtype], path))
    content: dict[str, Any] = {METADATA: dict(metadata)} if metadata else {}
    offsets, end = {}, 0
    for path in ordered:
        entry = entries[path]
        offsets[path] = end
        end += entry.nbytes
        content[path] = {
            "dtype": _NAMES[entry.dtype],
            "shape": list(entry.shape),
            "data_offsets": [offsets[path], end],
        }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    start = 8 + len(text)
    header = Header(
        {path: entries[path] for path in ordered},
        {path: start + offset for path, offset in offsets.items()},
        dict(metadata),
        start + end,
    )
    return struct.pack("<Q", len(text)) + text, header


def read(file: Path) -> Header:
    """The header of a file, held against the file's length.

    Raises:
        CheckpointError: it is cut short, damaged or no such file.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if length < 2 or length > size - 8:
            raise _no_file(file, f"{size:,} bytes that begin with no header")
        text = stream.read(length)
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _no_file(file, f"a header that is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise _no_file(file, f"a header that is {type(content).__name__}")
    return _checked(content, 8 + length, size, file)


def _checked(content: dict[str, Any], start: int, size: int, file: Path) -> Header:
    metadata = content.pop(METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _no_file(file, "metadata that is no mapping of texts")
    spans = {path: _span(value, f"{file}: {path}") for path, value in content.items()}
    end = start
    for path, (entry, begin, stop) in sorted(spans.items(), key=lambda item: item[1][1:]):
        if stop - begin != entry.nbytes or begin != end - start:
            found = f"bytes {begin:,} to {stop:,}, where it needs {entry.nbytes:,} from {end - start:,} on"
            raise CheckpointError(f"{file}: {path}", "its bytes where the others end", found, _ANEW)
        end += entry.nbytes
    if end != size:
        raise CheckpointError(str(file), f"a file of {end:,} bytes, as its header says", f"{size:,}", _ANEW)
    return Header(
        {path: entry for path, (entry, *_) in spans.items()},
        {path: start + begin for path, (_, begin, _) in spans.items()},
        metadata,
        size,
    )


def _span(value: Any, place: str) -> tuple[Entry, int, int]:
    try:
        name, shape, (begin, stop) = value["dtype"], value["shape"], value["data_offsets"]
        numbers = (*shape, begin, stop)
    except (TypeError, KeyError, ValueError):
        raise CheckpointError(place, "a dtype, a shape and two offsets", repr(value), _ANEW) from None
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise CheckpointError(place, "lengths and offsets", f"{shape!r} and {[begin, stop]!r}", _ANEW)
    if name not in DTYPES:
        known = "one of " + ", ".join(DTYPES)
        raise CheckpointError(place, known, f"the dtype {name!r}", "Cast the tensor where the file is made.")
    return Entry(tuple(shape), DTYPES[name]), begin, stop


def _no_file(file: Path, found: str) -> CheckpointError:
    return CheckpointError(str(file), "a safetensors file", found, _ANEW)
