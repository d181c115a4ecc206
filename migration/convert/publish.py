"""A destination appears whole or not at all: it is made in a draft folder beside it, and then moved there.

A run that is killed leaves its draft, a folder `.NAME.*.paritree-part`; the next run to the same path removes it. A
draft in use is locked, and left alone.
"""

from __future__ import annotations

import fcntl
import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...common.errors import CheckpointError

PART = ".paritree-part"


@contextmanager
def draft(destination: Path, overwrite: bool) -> Iterator[Path]:
    """Where to make the destination. At the end of the block it is published; after an error nothing is left.

    Raises:
        CheckpointError: the destination is there and not to be overwritten, its folder is not there, or a folder or
            file cannot be made in it.
    """
    check_free(destination, overwrite)
    try:
        _remove_stale(destination)
        folder = Path(tempfile.mkdtemp(PART, f".{destination.name}.", destination.parent))
    except OSError as error:
        raise unwritable(destination, error) from None
    lock = _locked(folder)
    try:
        made = folder / destination.name
        yield made
        _publish(made, destination)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def check_free(destination: Path, overwrite: bool) -> None:
    """Refuse a destination whose folder is not there, or that is there itself and not to be overwritten.

    Raises:
        CheckpointError: see `draft`.
    """
    folder = destination.parent
    if not folder.is_dir():
        raise CheckpointError(str(destination), f"a folder {str(folder)!r}", "none", "Make it first.")
    if destination.exists() and not overwrite:
        found = "a folder" if destination.is_dir() else "a file"
        raise CheckpointError(
            str(destination), "a destination that is not there yet", found, "Remove it, or ask to overwrite it."
        )


def unwritable(destination: Path, error: OSError) -> CheckpointError:
    """What the system said about a write."""
    return CheckpointError(
        str(destination),
        "to write there",
        error.strerror or str(error),
        "Make room or give another place. Nothing is left of it.",
    )


def _publish(made: Path, destination: Path) -> None:
    try:
        if destination.is_dir():
            # Folders do not replace each other: the old one goes into the draft, which is removed.
            os.rename(destination, made.with_name(f"{made.name}.before"))
        os.replace(made, destination)
        _sync(destination.parent)
    except OSError as error:
        raise unwritable(destination, error) from None


def _sync(folder: Path) -> None:
    """Have the folder's entries survive a power cut."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _remove_stale(destination: Path) -> None:
    for folder in destination.parent.glob(f".{glob.escape(destination.name)}.*{PART}"):
        lock = _locked(folder)
        if lock is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def _locked(folder: Path) -> int | None:
    """A lock that ends with this process; None if another one has it."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(opened)
        return None
    return opened
