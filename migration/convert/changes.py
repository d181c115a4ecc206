"""What is read must stay as it is: of its files the sizes and when they were last written to, before and after."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...common.errors import CheckpointError

States = dict[Path, tuple[int, int]]


def states(files: Iterable[Path]) -> States:
    """Of each file, and of all that a folder holds, its length in bytes and when it was last written to.

    Raises:
        OSError: one cannot be looked at.
    """
    found = {}
    for path in files:
        for each in sorted([path, *(path.rglob("*") if path.is_dir() else ())]):
            status = each.stat()
            found[each] = status.st_size, status.st_mtime_ns
    return found


def check_unchanged(before: States, files: Iterable[Path]) -> None:
    """Hold files against what they were.

    Raises:
        CheckpointError: one was written to, was added or is not there any more.
    """
    try:
        now = states(files)
    except OSError as error:
        raise written_to(Path(str(error.filename)), f"{error.strerror}") from None
    for path in {**before, **now}:
        if before.get(path) != now.get(path):
            raise written_to(path)


def written_to(path: Path, found: str = "one that was written to in the meantime") -> CheckpointError:
    """What is said of a file that is another one by now."""
    expected = "a file that stays as it is while it is read"
    return CheckpointError(str(path), expected, found, "Begin again when nothing writes to it.")
