"""What is written appears whole or not at all: it is made in a draft beside its place, and moved there in one step.

A draft is a folder `.NAME.XXXXXXXX.paritree-part` that the process which made it has locked. That of a process that was
killed is not locked any more, and the next draft for the same place removes it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any

PART = ".paritree-part"
# The folder that is replaced, where it cannot change places with its successor in one step.
BEFORE = ".before"
# How often others may be just as quick as we are.
TRIES = 100
# Linux's ways to rename: not over anything, and two that change places.
_NOREPLACE, _EXCHANGE = 1, 2
_HERE = -100
_UNSUPPORTED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)

# About every draft, for who has signals in hand: the command line. A library leaves them to its user.
while_drafting: Callable[[], AbstractContextManager[object]] = nullcontext
# This process's own, each with its destination.
_drafts: dict[Path, Path] = {}
# Those of them that stay if some of them is finished.
_resumable: set[Path] = set()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_drafts.clear)


@contextmanager
def drafted(destination: Path) -> Iterator[Path]:
    """A place of the destination's name in a draft, which is gone at the end of the block, moved from it or not.

    Raises:
        OSError: no folder can be made beside the destination.
    """
    place = destination.absolute()
    with while_drafting():
        _remove_stale(place)
        for _ in range(TRIES):
            folder = place.with_name(f".{place.name}.{secrets.token_hex(4)}{PART}")
            lock = None
            # Noted before it is there, so that it is never there without.
            _drafts[folder] = place
            try:
                folder.mkdir(0o700)
                lock = _locked(folder)
                if lock is None or _is_at(folder, lock):
                    yield folder / place.name
                    return
            except _Lost:
                # Another process took it for one that was left, before it was locked.
                continue
            finally:
                _remove(folder, place)
                del _drafts[folder]
                if lock is not None:
                    os.close(lock)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(destination))


@contextmanager
def resumable(destination: Path) -> Iterator[Path]:
    """As `drafted`, but goes on with a draft that was left and of which some is finished, and leaves such a one itself.

    What is finished is told by a file beside the place that is given, `finished_of` it. Whoever writes to the place
    without this removes what was left, as ever.

    Raises:
        OSError: no folder can be made beside the destination.
    """
    place = destination.absolute()
    with while_drafting():
        folder, lock = _left(place) or _made(place)
        _resumable.add(folder)
        _drafts[folder] = place
        try:
            yield folder / place.name
            _resumable.remove(folder)
        finally:
            _remove_unfinished(folder, place)
            _resumable.discard(folder)
            del _drafts[folder]
            if lock is not None:
                os.close(lock)


def finished_of(made: Path) -> Path:
    """The file in a draft that tells what is finished of it."""
    return made.with_name(f"{made.name}.finished")


def remove_drafts() -> None:
    """Remove all that this process has, before it ends without an exception."""
    for folder, place in list(_drafts.items()):
        _remove_unfinished(folder, place)


def drafts_of(destination: Path) -> list[Path]:
    """Drafts for exactly this place, whoever has them.

    Raises:
        OSError: its folder cannot be listed.
    """
    name = re.compile(rf"\.{re.escape(destination.name)}\.[0-9a-z_]{{8}}{re.escape(PART)}")
    return [destination.parent / each for each in sorted(os.listdir(destination.parent)) if name.fullmatch(each)]


def kind_of(path: Path) -> str:
    """What is there, in words, links not followed; "" for nothing.

    Raises:
        OSError: it cannot be looked at.
    """
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except ValueError:
        raise OSError(errno.EINVAL, "a name that no file can have", str(path)) from None
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


def exchange(made: Path, destination: Path) -> None:
    """Move a folder out of its draft to where another is, which is then in the draft.

    Raises:
        OSError: it cannot be moved. What was there is there still, or again when the draft ends.
    """
    if not _renamed(made, destination, _EXCHANGE):
        destination.rename(made.with_name(made.name + BEFORE))
        made.rename(destination)


def replace(made: Path, destination: Path) -> None:
    """Move a file to where another may be, which it takes the place and the permissions of.

    Raises:
        OSError: it cannot be moved; what was there is there still.
    """
    if kind_of(destination) == "a file":
        made.chmod(destination.stat().st_mode & 0o777)
    os.replace(made, destination)


def sync(folder: Path) -> None:
    """Have a folder's entries survive a power cut, where it may be read and its disk knows how.

    Raises:
        OSError: the disk fails.
    """
    try:
        opened = os.open(folder, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
    finally:
        os.close(opened)


class _Lost(Exception):
    """Another process has locked or removed a draft."""


def _remove_stale(place: Path) -> None:
    """The drafts that no process has."""
    for folder, lock in _stale(place):
        _remove(folder, place)
        os.close(lock)


def _stale(place: Path) -> Iterator[tuple[Path, int]]:
    """The drafts that no process has, each locked; of those that cannot be looked at, none is known to be."""
    try:
        found = drafts_of(place)
    except OSError:
        return
    for folder in found:
        try:
            lock = _locked(folder)
        except (_Lost, OSError):
            continue
        if lock is not None:
            yield folder, lock


def _left(place: Path) -> tuple[Path, int] | None:
    """A draft that was left and of which some is finished; the others are removed."""
    taken = None
    for folder, lock in _stale(place):
        is_moving = kind_of(folder / (place.name + BEFORE))
        if taken is None and not is_moving and kind_of(finished_of(folder / place.name)) == "a file":
            taken = folder, lock
            continue
        _remove(folder, place)
        os.close(lock)
    return taken


def _made(place: Path) -> tuple[Path, int | None]:
    """A new draft, locked, which is not noted as one to remove."""
    for _ in range(TRIES):
        folder = place.with_name(f".{place.name}.{secrets.token_hex(4)}{PART}")
        folder.mkdir(0o700)
        try:
            lock = _locked(folder)
        except _Lost:
            continue
        if lock is None or _is_at(folder, lock):
            return folder, lock
        os.close(lock)
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(place))


def _remove_unfinished(folder: Path, place: Path) -> None:
    if folder not in _resumable or not finished_of(folder / place.name).exists():
        _remove(folder, place)


def _remove(folder: Path, place: Path) -> None:
    """A draft and all that is in it. A folder that was moved aside for one that never came goes back to its place."""
    before = folder / (place.name + BEFORE)
    if kind_of(before) and not kind_of(place):
        before.rename(place)
    for _ in range(TRIES):
        # Threads may still be at work in it, until nothing is left to work on.
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.01)


def _locked(folder: Path) -> int | None:
    """A lock that ends with this process; None where there are no locks.

    Raises:
        _Lost: another process has it, or the folder is not there any more.
        OSError: the folder is another user's.
    """
    if os.name != "posix":
        return None
    import fcntl

    try:
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        raise _Lost from None
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(opened)
        if isinstance(error, BlockingIOError):
            raise _Lost from None
        return None
    return opened


def _is_at(folder: Path, opened: int) -> bool:
    """Whether what is open is still there: it may have been removed before it was locked."""
    try:
        return os.path.samestat(os.stat(folder, follow_symlinks=False), os.fstat(opened))
    except FileNotFoundError:
        return False


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
    return getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None) if sys.platform == "linux" else None
