"""Files of `numpy.savez`, as scripts of JAX write them: an archive of arrays, each behind a header of its own."""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.lib import format as npy

from ...common.archives import Archive
from ...common.errors import CheckpointError
from ...common.reading import is_shape
from ...common.safetensors import TensorEntry

MADE_BY = "numpy.savez"
# NumPy's own limit for a header that it parses is below.
_HEAD = 1 << 14
_NUMBERS = "biufc"


class _Stored(NamedTuple):
    """An array in its member: where its values begin, and how they lie there."""

    member: str
    start: int
    shape: tuple[int, ...]
    dtype: np.dtype
    is_fortran: bool


class NpzFile:
    """See `Source`. A slash in a name parts a path as a dot does; texts and dates are among `others`."""

    aliases: Mapping[str, str] = {}

    def __init__(self, file: Path) -> None:
        """Raises CheckpointError: the file is cut short or damaged, or what is in it would have to be unpickled."""
        self.files: tuple[Path, ...] = (file,)
        self._file = file
        self._archive = Archive(file, MADE_BY)
        self._arrays: dict[str, _Stored] = {}
        others: list[str] = []
        for member in self._archive.members:
            path = member.removesuffix(".npy").replace("/", ".")
            stored = self._stored(member) if member.endswith(".npy") else None
            if stored is None:
                others.append(path)
            elif path in self._arrays:
                raise CheckpointError(f"{file}: {path}", "one entry of each path", "two", "Rename one of them.")
            else:
                self._arrays[path] = stored
        self.others: tuple[str, ...] = tuple(others)
        self.entries: Mapping[str, TensorEntry] = {
            path: TensorEntry(stored.shape, np.dtype(stored.dtype.type)) for path, stored in self._arrays.items()
        }

    def array(self, path: str) -> np.ndarray:
        member, start, shape, dtype, is_fortran = self._arrays[path]
        values = np.frombuffer(self._archive.read(member), dtype, prod(shape), start)
        return values.reshape(shape, order="F" if is_fortran else "C").astype(self.entries[path].dtype, copy=False)

    def release(self, path: str) -> None:
        self._archive.release(self._arrays[path].member)

    def place(self, path: str) -> None:
        return None

    def _stored(self, member: str) -> _Stored | None:
        """None for what is no number."""
        where = f"{self._file}: {member}"
        head = io.BytesIO(bytes(self._archive.read(member)[:_HEAD]))
        try:
            with warnings.catch_warnings():
                # Of headers that Python 2 wrote, and of escapes in them.
                warnings.simplefilter("ignore")
                version = npy.read_magic(head)
                read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
                if read is None:
                    raise ValueError(f"version {version[0]}.{version[1]}")
                shape, is_fortran, dtype = read(head)
        except Exception as error:
            # NumPy reads a header as a text of Python's, and lets through what its tokenizer and compiler raise.
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            remedy = "It is damaged: copy or save it again."
            raise CheckpointError(
                where, f"an array of {MADE_BY}", f"a header that is none ({reason})", remedy
            ) from None
        if dtype.kind not in _NUMBERS:
            self._check_left_out(dtype, where)
            return None
        size, needed = self._archive.members[member].size - head.tell(), prod(shape) * dtype.itemsize
        if not is_shape(shape) or size != needed:
            expected = f"the {needed:,} bytes of its shape" if is_shape(shape) else "the lengths of its axes"
            remedy = "It is cut short or damaged: copy it again."
            raise CheckpointError(where, expected, f"{size:,}" if is_shape(shape) else "others", remedy)
        return _Stored(member, head.tell(), shape, dtype, is_fortran)

    def _check_left_out(self, dtype: np.dtype, where: str) -> None:
        """Raises CheckpointError for what may be weights, but cannot be read as such."""
        if dtype.hasobject:
            remedy = "Save each array under its path: np.savez(file, **arrays)."
            found = "objects, which would have to be unpickled"
            raise CheckpointError(where, "numbers, which can be read without running code", found, remedy)
        if dtype.kind == "V":
            found = f"{dtype.str!r}, as NumPy writes bfloat16 and other types that it does not know"
            remedy = "Cast it to float32 where the file is made, or save it as safetensors."
            raise CheckpointError(where, "numbers of a type that the file names", found, remedy)
