"""Records as files: one safetensors file, the arrays under their digests and the rest as JSON in its metadata."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ...common import safetensors
from ...common.errors import CheckpointError, ParitreeError
from ...common.files import written_whole
from ...common.reading import parsed_json
from ...common.safetensors import Header, TensorEntry
from .forms import Form, digest

FORMAT = "paritree record"
SCHEMA = 1
# How a file of a record begins, of any schema; no other file is replaced by one.
BEGINNING = re.compile(rb'.{8}\{"__metadata__":\{"format":"paritree record"', re.DOTALL)
_ANEW = "It is cut short or damaged: copy it again, or record again."


class RecordError(ParitreeError, ValueError):
    """A record that cannot be made, or a file that is none or cannot be read."""


def save(content: Form, arrays: Mapping[str, np.ndarray], file: Path) -> None:
    """Write the file, whole or not at all.

    arrays: of any shape, by their digests.

    Raises:
        RecordError: an array of a dtype that the format does not have.
        UsageError: something else than a record is there.
        CheckpointError: more than a file's header may hold.
        OSError: the file cannot be written.
    """
    for array in arrays.values():
        if array.dtype not in safetensors.NAMES:
            raise RecordError("", "arrays of dtypes that safetensors has", array.dtype.name, "Give the model another.")
    # Wider numbers first, so that each array begins at a multiple of its dtype's size.
    keys = sorted(arrays, key=lambda key: (-arrays[key].dtype.itemsize, key))
    entries = {key: TensorEntry(arrays[key].shape, arrays[key].dtype) for key in keys}
    text = json.dumps(content, separators=(",", ":"))
    about = {"format": FORMAT, "schema": str(SCHEMA), "digest": _digest(text, entries), "content": text}
    head, _ = safetensors.encoded(entries, about)
    with written_whole(file, BEGINNING) as stream:
        stream.write(head)
        for key in keys:
            stream.write(np.asarray(arrays[key], order="C").reshape(-1).view(np.uint8).data)


def load(file: Path) -> tuple[Form, dict[str, np.ndarray]]:
    """The content and the arrays of a record, mapped into memory, after each was held against its digest.

    Raises:
        RecordError: the file is not there, is no record, is one of another schema, or is damaged.
    """
    try:
        header = safetensors.read_header(file)
        content = _content(header, file)
        safetensors.check_size(file, header)
        mapped = safetensors.MappedTensors(file, header)
    except OSError as error:
        raise RecordError(str(file), "a file with a record", error.strerror or str(error)) from None
    except CheckpointError as error:
        raise RecordError(error.path, error.expected, error.found, _ANEW) from None
    arrays = {key: mapped.array(key) for key in header.entries}
    wrong = [key for key, array in arrays.items() if digest(array) != key]
    if wrong:
        raise RecordError(str(file), "arrays with the digests they are named by", f"{len(wrong)} others", _ANEW)
    return content, arrays


def _content(header: Header, file: Path) -> Form:
    about = header.metadata
    if about.get("format") != FORMAT:
        raise RecordError(str(file), "a record of paritree", "a safetensors file of another kind", "Give a record.")
    if about.get("schema") != str(SCHEMA):
        remedy = "Record again, or use the release that wrote it."
        raise RecordError(str(file), f"a record of schema {SCHEMA}", f"schema {about.get('schema')}", remedy)
    text = about.get("content", "")
    if _digest(text, header.entries) != about.get("digest"):
        raise RecordError(str(file), "a header with the digest it names", "another", _ANEW)
    try:
        return parsed_json(text)
    except ValueError as error:
        raise RecordError(str(file), "content in JSON", f"none ({error})", _ANEW) from None


def _digest(text: str, entries: Mapping[str, TensorEntry]) -> str:
    """A hash of all that the header says."""
    tensors = json.dumps(safetensors.described(entries))
    return hashlib.blake2b(f"{text}{tensors}".encode(), digest_size=16).hexdigest()
