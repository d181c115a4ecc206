"""The codec of safetensors files: a header, which is its length in 8 bytes and then JSON, and the tensors' bytes.

The header has a dtype, a shape and two offsets for each tensor, and a mapping of texts as metadata. A file is mapped
into memory, so that a tensor is read when it is looked at.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from .errors import CheckpointError, shown
from .reading import MOST_BYTES, are_lengths, is_shape, opened, parsed_json

# In the order of safetensors' own list: a file holds the tensors of the last type first.
DTYPES: dict[str, np.dtype] = {
    name: np.dtype(of)
    for name, of in {
        "BOOL": np.bool_,
        "U8": np.uint8,
        "I8": np.int8,
        "F8_E5M2": ml_dtypes.float8_e5m2,
        "F8_E4M3": ml_dtypes.float8_e4m3fn,
        "F8_E8M0": ml_dtypes.float8_e8m0fnu,
        "I16": np.int16,
        "U16": np.uint16,
        "F16": np.float16,
        "BF16": ml_dtypes.bfloat16,
        "I32": np.int32,
        "U32": np.uint32,
        "F32": np.float32,
        "C64": np.complex64,
        "F64": np.float64,
        "I64": np.int64,
        "U64": np.uint64,
    }.items()
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
_RANKS = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}
_METADATA = "__metadata__"
_ANEW = "It is cut short or damaged: copy it again."


class TensorEntry(NamedTuple):
    """One tensor of a checkpoint: the lengths of its axes, as they lie in the file, and its dtype."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """How many bytes its values take in the file."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Header:
    """What a file holds and where.

    entries: by path, in the order of the header.
    offsets: of each tensor's first byte in the file.
    size: the length in bytes of a file with this header.
    """

    entries: Mapping[str, TensorEntry]
    offsets: Mapping[str, int]
    metadata: Mapping[str, str]
    size: int


def ordered(entries: Mapping[str, TensorEntry]) -> dict[str, TensorEntry]:
    """The entries as safetensors lays them out: wider dtypes first, then by name."""
    return dict(sorted(entries.items(), key=lambda item: (-_RANKS.get(item[1].dtype, 0), item[0])))


def described(entries: Mapping[str, TensorEntry]) -> dict[str, dict[str, Any]]:
    """What a header says of tensors that lie in the order of `entries`; offsets count from the end of the header.

    Raises:
        CheckpointError: a dtype that the format does not have.
    """
    found: dict[str, dict[str, Any]] = {}
    end = 0
    for path, entry in entries.items():
        if entry.dtype not in NAMES:
            raise CheckpointError(path, "a dtype that safetensors has", entry.dtype.name, "Cast it with dtype.")
        start, end = end, end + entry.nbytes
        found[path] = {"dtype": NAMES[entry.dtype], "shape": list(entry.shape), "data_offsets": [start, end]}
    return found


def encoded(entries: Mapping[str, TensorEntry], metadata: Mapping[str, str]) -> tuple[bytes, Header]:
    """The header of a new file, whose tensors lie in the order of `entries`, as bytes and as it will be read.

    Raises:
        CheckpointError: a dtype that the format does not have, or more than a header may hold.
    """
    tensors = described(entries)
    content = {_METADATA: dict(metadata), **tensors} if metadata else tensors
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > MOST_BYTES:
        found = f"one of {len(text):,}"
        raise CheckpointError("", f"a header of at most {MOST_BYTES:,} bytes", found, "Write fewer tensors.")
    start = 8 + len(text)
    offsets = {path: start + tensor["data_offsets"][0] for path, tensor in tensors.items()}
    size = start + sum(entry.nbytes for entry in entries.values())
    return struct.pack("<Q", len(text)) + text, Header(dict(entries), offsets, dict(metadata), size)


def read_header(file: Path) -> Header:
    """The header of a file, whose tensors lie side by side; the file's own length is not looked at.

    Raises:
        CheckpointError: it is cut short within the header, damaged or no such file.
        OSError: it cannot be read.
    """
    with opened(file) as stream:
        size = os.fstat(stream.fileno()).st_size
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        if length < 2 or length > size - 8:
            raise _no_file(file, f"{size:,} bytes that begin with no header")
        if length > MOST_BYTES:
            raise _no_file(file, f"a header of {length:,} bytes, more than {MOST_BYTES:,}")
        text = stream.read(length)
    try:
        content = parsed_json(text.decode("utf-8"))
        if b"\\u" in text:
            # Half of a surrogate pair is no Unicode, and JSON has it as an escape alone.
            json.dumps(content, ensure_ascii=False).encode()
    except ValueError as error:
        raise _no_file(file, f"a header that is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise _no_file(file, f"a header that is {type(content).__name__}")
    metadata = content.pop(_METADATA, None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _no_file(file, "metadata that is no mapping of texts")
    return _header(content, metadata, 8 + length, file)


def check_size(file: Path, header: Header) -> None:
    """Hold a file's length against its header.

    Raises:
        CheckpointError: it has another one.
        OSError: it cannot be looked at.
    """
    with opened(file) as stream:
        size = os.fstat(stream.fileno()).st_size
    if size != header.size:
        raise CheckpointError(str(file), f"a file of {header.size:,} bytes, as its header says", f"{size:,}", _ANEW)


class MappedTensors:
    """A file's tensors, in memory as far as they are looked at."""

    def __init__(self, file: Path, header: Header) -> None:
        """Raises OSError if it cannot be mapped. `header` must be the file's, whose length `check_size` looks at."""
        self._header = header
        with opened(file) as stream:
            self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)

    def array(self, path: str) -> np.ndarray:
        """A tensor, which is not to be written to."""
        shape, dtype = self._header.entries[path]
        return np.frombuffer(self._map, dtype, prod(shape), self._header.offsets[path]).reshape(shape)

    def release(self, path: str) -> None:
        """The pages of a mapped file count as ours as long as they are mapped; they stay in the system's cache."""
        start = self._header.offsets[path] // mmap.PAGESIZE * mmap.PAGESIZE
        length = self._header.offsets[path] + self._header.entries[path].nbytes - start
        if length and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, start, length)


def _header(content: dict[str, Any], metadata: Mapping[str, str], start: int, file: Path) -> Header:
    spans = {path: _span(value, f"{file}: {path}") for path, value in content.items()}
    end = start
    for path, (entry, begin, stop) in sorted(spans.items(), key=lambda item: item[1][1:]):
        if stop - begin != entry.nbytes or begin != end - start:
            found = f"bytes {begin:,} to {stop:,}, where it needs {entry.nbytes:,} from {end - start:,} on"
            raise CheckpointError(f"{file}: {path}", "its bytes where the others end", found, _ANEW)
        end += entry.nbytes
    entries = {path: entry for path, (entry, *_) in spans.items()}
    return Header(entries, {path: start + begin for path, (_, begin, _) in spans.items()}, metadata, end)


def _span(value: Any, where: str) -> tuple[TensorEntry, int, int]:
    try:
        name, shape, (begin, stop) = value["dtype"], value["shape"], value["data_offsets"]
        shape = [*shape]
    except (TypeError, KeyError, ValueError):
        raise CheckpointError(where, "a dtype, a shape and two offsets", shown(value), _ANEW) from None
    if not is_shape(shape) or not are_lengths((begin, stop)):
        raise CheckpointError(where, "lengths and offsets", f"{shown(shape)} and {shown([begin, stop])}", _ANEW)
    if not isinstance(name, str) or name not in DTYPES:
        known = "one of " + ", ".join(DTYPES)
        raise CheckpointError(where, known, f"the dtype {shown(name)}", "Cast the tensor where the file is made.")
    return TensorEntry(tuple(shape), DTYPES[name]), begin, stop


def _no_file(file: Path, found: str) -> CheckpointError:
    return CheckpointError(str(file), "a safetensors file", found, _ANEW)
