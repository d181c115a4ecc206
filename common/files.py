"""Files that are the old ones or the new ones, never half of one, and never in the place of something else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .drafts import drafted, kind_of, replace, sync
from .errors import UsageError

# Of a file that is there so much is looked at, to see whether it is one that we have written.
_BEGINNING = 4096


@contextmanager
def written_whole(file: Path, ours: re.Pattern[bytes] | None) -> Iterator[IO[bytes]]:
    """A stream to a draft, which takes the file's place at the end, and is not left behind by a failure.

    ours: how a file of this kind begins; any other that is there is not replaced. None if what is there was read.

    Raises:
        UsageError: as `check_replaceable`.
        OSError: it cannot be written; what was there is there still.
    """
    check_replaceable(file, ours)
    try:
        with drafted(file) as made:
            with made.open("xb") as stream:
                yield stream
                stream.flush()
                os.fsync(stream.fileno())
            check_replaceable(file, ours)
            replace(made, file)
            sync(file.parent)
    except OSError as error:
        # The file that was meant, not its draft.
        raise OSError(error.errno, error.strerror or str(error), str(file)) from error


def write_whole(path: str | Path, text: str, ours: re.Pattern[bytes] | None) -> None:
    """Write a file, whole or not at all.

    Raises:
        UsageError, OSError: as `written_whole`.
    """
    with written_whole(Path(path), ours) as stream:
        stream.write(text.encode())


def check_replaceable(file: Path, ours: re.Pattern[bytes] | None, what: str = "") -> None:
    """Refuse to write over anything but a file of its kind, or an empty one.

    ours: how a file of its kind begins; None for any.
    what: the option that names the file, if one does.

    Raises:
        UsageError: a folder, a symbolic link, a device or a file of another kind is there.
        OSError: it cannot be looked at.
    """
    found = kind_of(file)
    if found == "a file":
        with file.open("rb") as stream:
            begin = stream.read(_BEGINNING)
        if not begin or ours is None or ours.match(begin):
            return
        found = "another file"
    if found:
        where = f"{str(file)!r}, which is {found}" if what else found
        remedy = "Remove it first, or give another place. It was not touched."
        raise UsageError(what or str(file), "a file to write, or to replace by one of its kind", where, remedy)


def check_writable(path: str | Path, what: str, ours: re.Pattern[bytes] | None = None) -> None:
    """Before long work, whose result is to be written there.

    what: the option that names the file. ours: as `check_replaceable`.

    Raises:
        UsageError: as `check_replaceable`, or it is to be in a folder that is not there or may not be written.
    """
    file = Path(path)
    if not file.parent.is_dir():
        raise UsageError(what, f"a folder {str(file.parent)!r} to write {file.name!r} in", "none", "Make it first.")
    if not os.access(file.parent, os.W_OK):
        raise UsageError(what, f"a folder to write {file.name!r} in", f"{str(file.parent)!r}, which is read-only")
    check_replaceable(file, ours, what)
