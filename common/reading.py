"""Files as they are read: every reader opens them here, so that none waits for a pipe or reads a device without end.

What is parsed as a whole is of bounded size, and what a parser raises of it is a ValueError, whatever it was.
"""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from collections.abc import Collection, Iterable, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np

# No text that is parsed as a whole is longer; safetensors' own library has this limit for headers.
MOST_BYTES = 100_000_000
# What is longer is not the length of an axis or an array, and Python writes no number of more than 4,300 digits.
LONGEST, MOST_AXES = 2**63 - 1, 64
_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def opened(file: Path) -> IO[bytes]:
    """A regular file, open for reading.

    Raises:
        OSError: it cannot be read, or is no regular file; its `strerror` says which.
    """
    try:
        _check_regular(file, os.stat(file).st_mode)
        # Without waiting: what lies there may be another file by now.
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except ValueError:
        raise OSError(errno.EINVAL, "a name that no file can have", str(file)) from None
    stream = os.fdopen(handle, "rb")
    try:
        _check_regular(file, os.fstat(stream.fileno()).st_mode)
    except OSError:
        stream.close()
        raise
    return stream


class Slice(io.RawIOBase):
    """A part of a file as a file of its own, read only."""

    def __init__(self, stream: IO[bytes], first: int, length: int) -> None:
        self._stream, self._first, self._length, self._at = stream, first, length, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        found = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length}[whence]
        if found < 0:
            raise ValueError(f"byte {found:,} of a file")
        self._at = found
        return found

    def readinto(self, buffer: Any) -> int:
        into = memoryview(buffer)[: max(self._length - self._at, 0)]
        count = os.preadv(self._stream.fileno(), [into], self._first + self._at)
        self._at += count
        return count


def read_box(
    stream: IO[bytes], first: int, shape: Sequence[int], box: Sequence[tuple[int, int]], dtype: np.dtype
) -> np.ndarray:
    """A box of an array that lies in a file in C order, and no other bytes.

    first: of its bytes in the file. box: for each axis where it begins and ends, not empty.

    Raises:
        OSError: the file ends before it, or cannot be read.
    """
    found = np.empty([stop - start for start, stop in box], dtype)
    content, outer = found.reshape(-1).view(np.uint8).data, len(shape)
    while outer and box[outer - 1] == (0, shape[outer - 1]):
        outer -= 1
    outer = max(outer - 1, 0)
    starts = np.zeros(1, np.int64)
    for axis, (start, stop) in enumerate(box):
        reach = np.arange(start, stop) if axis < outer else np.array([start])
        starts = np.add.outer(starts, reach * prod(shape[axis + 1 :])).ravel()
    length = found.nbytes // len(starts)
    for number, start in enumerate((first + starts * dtype.itemsize).tolist()):
        read_into(stream, content[number * length : (number + 1) * length], start)
    return found


def read_into(stream: IO[bytes], into: memoryview, offset: int) -> None:
    """Fill memory with a file's bytes from an offset on. The system may give less than it is asked for.

    Raises:
        OSError: the file ends before, or cannot be read.
    """
    done = 0
    while done < len(into):
        count = os.preadv(stream.fileno(), [into[done:]], offset + done)
        if not count:
            raise OSError(errno.EIO, f"an end at byte {offset + done:,}", stream.name)
        done += count


def check_folder(folder: Path) -> None:
    """Hold all that lies in a folder for regular files and folders, none of them elsewhere, before others read it.

    Raises:
        OSError: it is something else, or a link that leads out of the folder.
    """
    root = folder.resolve()
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            if path.is_symlink() and not path.resolve().is_relative_to(root):
                raise OSError(errno.EINVAL, f"{path.name!r}, a link that leads out of it", str(path))
            if not path.is_dir():
                _check_regular(path, path.stat().st_mode)


def _check_regular(file: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"{kind}, which is no regular file", str(file))


def read_text(file: Path) -> str:
    """A regular file's text in UTF-8.

    Raises:
        OSError: it cannot be read, is no regular file or is longer than `MOST_BYTES`; ValueError: it is no such text.
    """
    with opened(file) as stream:
        # Python makes room for all that it is asked to read.
        content = stream.read(min(os.fstat(stream.fileno()).st_size, MOST_BYTES) + 1)
    if len(content) > MOST_BYTES:
        raise OSError(errno.EFBIG, f"one of more than {MOST_BYTES:,} bytes", str(file))
    return content.decode("utf-8")


def read_json(file: Path) -> Any:
    """What a regular file's JSON says.

    Raises:
        OSError, ValueError: as `read_text` and `parsed_json`.
    """
    return parsed_json(read_text(file))


def parsed_json(text: str) -> Any:
    """What JSON says, in which every key stands once.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(text, object_pairs_hook=_once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"it has the key {twice[:100]!r} twice")
    return found


def are_lengths(values: Iterable[Any]) -> bool:
    """Whether they are whole numbers that a file or an axis may be long."""
    return all(type(each) is int and 0 <= each <= LONGEST for each in values)


def is_shape(values: Collection[Any]) -> bool:
    """Whether they are the lengths of an array's axes, of one that a system has room for, if it is not empty."""
    return len(values) <= MOST_AXES and are_lengths(values) and prod(max(each, 1) for each in values) <= LONGEST // 16
