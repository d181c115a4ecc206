"""Files that are the old ones or the new ones, never half of one."""

from __future__ import annotations

import os
from pathlib import Path

from .common.errors import UsageError
from .common.files import written_whole


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
