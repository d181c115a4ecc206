"""Files as they are read: every reader opens them here, so that none waits for a pipe or reads a device without end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import IO

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


def _check_regular(file: Path, mode: int) -> None:
    if not stat.S_ISREG(mode):
        kind = _KINDS.get(stat.S_IFMT(mode), "something else")
        raise OSError(errno.EINVAL, f"{kind}, which is no regular file", str(file))
