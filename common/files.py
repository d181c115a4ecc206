"""Files that are the old ones or the new ones, never half of one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import UsageError


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
