"""Records as files: one safetensors file, the arrays under their digests and the rest as JSON in its metadata."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from ...common.errors import ParitreeError
from ...common.files import written_whole
from ...common.safetensors import DTYPES
from .forms import Form, digest

FORMAT = "paritree record"
SCHEMA = 1
METADATA = "__metadata__"
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_ANEW = "It is cut short or damaged: copy it again, or record again."


class RecordError(ParitreeError, ValueError):
    """A record that cannot be made, or a file that is none or cannot be read."""


def save(content: Form, arrays: Mapping[str, np.ndarray], file: Path) -> None:
    """Write the file, whole or not at all.

    Raises:
        RecordError: an array of a dtype that the format does not have.
        OSError: the file cannot be written.
    """
    # Wider numbers first, so that each array begins at a multiple of its dtype's size.
    keys = sorted(arrays, key=lambda key: (-arrays[key].dtype.itemsize, key))
    head = _head(content, {key: arrays[key] for key in keys})
    with written_whole(file) as stream:
        stream.write(head)
        for key in keys:
            stream.write(np.asarray(arrays[key], order="C").reshape(-1).view(np.uint8).data)


def _head(content: Form, arrays: Mapping[str, np.ndarray]) -> bytes:
    entries: dict[str, Any] = {}
    end = 0
    for key, array in arrays.items():
        if array.dtype not in _NAMES:
            raise RecordError("", "arrays of dtypes that safetensors has", array.dtype.name, "Give the model another.")
        start, end = end, end + array.nbytes
        entries[key] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(content, separators=(",", ":"))
    about = {"format": FORMAT, "schema": str(SCHEMA), "digest": _head_digest(text, entries), "content": text}
    head = json.dumps({METADATA: about, **entries}, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head


def load(file: Path) -> tuple[Form, dict[str, np.ndarray]]:
    """The content and the arrays of a record, mapped into memory, after each was held against its digest.

    Raises:
        RecordError: the file is not there, is no record, is one of another schema, or is damaged.
    """
    try:
        raw = np.memmap(file, np.uint8, "r") if file.stat().st_size else np.zeros(0, np.uint8)
    except OSError as error:
        raise RecordError(str(file), "a file with a record", error.strerror or str(error)) from None
    entries, start = _entries(raw, file)
    content = _content(entries.pop(METADATA, None), entries, file)
    size = start + max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    if size != raw.size:
        raise RecordError(str(file), f"{size:,} bytes", f"{raw.size:,}", _ANEW)
    arrays = {key: _array(raw[start:], entry) for key, entry in entries.items()}
    wrong = [key for key, array in arrays.items() if digest(array) != key]
    if wrong:
        raise RecordError(str(file), "arrays with the digests they are named by", f"{len(wrong)} others", _ANEW)
    return content, arrays


def _entries(raw: np.ndarray, file: Path) -> tuple[dict[str, Any], int]:
    """The header's entries and where the data begins."""
    length = struct.unpack("<Q", raw[:8].tobytes())[0] if raw.size >= 8 else 0
    try:
        if not 0 < length <= raw.size - 8:
            raise ValueError
        found = json.loads(raw[8 : 8 + length].tobytes())
    except ValueError:
        raise RecordError(str(file), "a safetensors file", "none that can be read", _ANEW) from None
    if not isinstance(found, dict):
        raise RecordError(str(file), "a safetensors file", "none that can be read", _ANEW)
    return found, 8 + length


def _content(metadata: Any, entries: Mapping[str, Any], file: Path) -> Form:
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise RecordError(str(file), "a record of paritree", "a safetensors file of another kind", "Give a record.")
    if metadata.get("schema") != str(SCHEMA):
        remedy = "Record again, or use the release that wrote it."
        raise RecordError(str(file), f"a record of schema {SCHEMA}", f"schema {metadata.get('schema')}", remedy)
    text = metadata.get("content", "")
    if _head_digest(text, entries) != metadata.get("digest"):
        raise RecordError(str(file), "a header with the digest it names", "another", _ANEW)
    return json.loads(text)


def _head_digest(text: str, entries: Mapping[str, Any]) -> str:
    return hashlib.blake2b(f"{text}{json.dumps(entries)}".encode(), digest_size=16).hexdigest()


def _array(data: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    dtype, shape = DTYPES[entry["dtype"]], tuple(entry["shape"])
    start = entry["data_offsets"][0]
    held = data[start : start + prod(shape) * dtype.itemsize]
    return np.asarray(held).view(dtype).reshape(shape)
