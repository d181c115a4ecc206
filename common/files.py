"""Files that are the old ones or the new ones, never half of one."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

from .errors import UsageError

# Linux's ways to rename: not over anything, and two that change places. Where there are none, several steps do it.
_NOREPLACE, _EXCHANGE = 1, 2
_HERE = -100
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


@contextmanager
def written_whole(file: Path) -> Iterator[IO[bytes]]:
    """A stream to a draft beside the file, which takes its place at the end, and is not left behind by a failure.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with draft.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(file)
    finally:
        draft.unlink(missing_ok=True)


def write_whole(path: str | Path, text: str) -> None:
    """Write a file, whole or not at all.

    Raises:
        OSError: it cannot be written; what was there is there still.
    """
    with written_whole(Path(path)) as stream:
        stream.write(text.encode())


def check_writable(path: str | Path, what: str) -> None:
    """Before long work, whose result is to be written there.

    what: the option that names the file.

    Raises:
        UsageError: it is a folder, or is to be in one that is not there or may not be written.
    """
    file = Path(path)
    if file.is_dir():
        raise UsageError(what, "a file to write", f"{str(path)!r}, which is a folder")
    if not file.parent.is_dir():
        raise UsageError(what, f"a folder {str(file.parent)!r} to write {file.name!r} in", "none", "Make it first.")
    if not os.access(file.parent, os.W_OK):
        raise UsageError(what, f"a folder to write {file.name!r} in", f"{str(file.parent)!r}, which is read-only")


def kind_of(path: Path) -> str:
    """What is there, in words, links not followed; "" for nothing.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    names = {stat.S_IFLNK: "a symbolic link", stat.S_IFDIR: "a folder", stat.S_IFREG: "a file"}
    return names.get(stat.S_IFMT(mode), "a device, pipe or socket")


def move_new(made: Path, destination: Path) -> None:
    """Move a file or folder to where nothing is, on the same disk, in one step.

    Raises:
        FileExistsError: something is there; it stays as it is.
        OSError: it cannot be moved.
    """
    if _renamed(made, destination, _NOREPLACE):
        return
    if kind_of(made) == "a file":
        # A second name is not given over another file.
        os.link(made, destination)
        made.unlink()
        return
    if kind_of(destination):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(destination))
    made.rename(destination)


def exchange(made: Path, destination: Path, aside: Path) -> None:
    """Move a folder to where another is, which is then at `made` or, where two steps are needed, at `aside`.

    Raises:
        OSError: it cannot be moved; what was there is there still.
    """
    if _renamed(made, destination, _EXCHANGE):
        return
    destination.rename(aside)
    try:
        made.rename(destination)
    except OSError:
        aside.rename(destination)
        raise


def _renamed(source: Path, target: Path, how: int) -> bool:
    """Whether the system could do it; False if it does not know how."""
    call = _renameat2()
    if call is None:
        return False
    if call(_HERE, os.fsencode(source), _HERE, os.fsencode(target), how) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


@cache
def _renameat2() -> Any:
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
