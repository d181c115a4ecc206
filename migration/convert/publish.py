"""Where a conversion may write, and how what it made comes there from its draft."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...common.drafts import TRIES, drafted, drafts_of, exchange, kind_of, move_new, replace, resumable, sync
from ...common.errors import CheckpointError
from .destinations import FILE
from .readers import DCP_FILE, FLAX, INDEXED, ORBAX_FILE, TORCH, WHOLE

# What Orbax writes into a checkpoint's folder. Nothing else of a folder is ours to remove.
FILES = re.compile(
    r"_METADATA|_CHECKPOINT_METADATA|_sharding|commit_success\.txt|array_metadatas/process_\d+"
    r"|(ocdbt\.process_\d+/)?(manifest\.ocdbt|d/[0-9a-f]{32})"
)
FOLDERS = re.compile(r"array_metadatas|(ocdbt\.process_\d+/)?d|ocdbt\.process_\d+")
# And what a conversion writes into a folder of shards.
SHARDS = re.compile(rf"model-\d{{5,}}-of-\d{{5,}}\.safetensors|{re.escape(INDEXED)}")
ALONE = re.compile(re.escape(WHOLE))
DCP_FILES = re.compile(rf"{re.escape(DCP_FILE)}|__\d+_\d+\.distcp")
NOTHING = re.compile(r"(?!)")
KEPT = "It was not touched."


@contextmanager
def draft(destination: Path, overwrite: bool, inputs: Collection[Path] = (), resume: bool = False) -> Iterator[Path]:
    """Where to make the destination. At the end of the block it is published; after an error nothing is left.

    inputs: what it is made from, which it must not replace.
    resume: go on with what was left of it, and leave after an error what is finished.

    Raises:
        CheckpointError: as `check_free`, before the block and again after it, or a folder or file cannot be made.
    """
    check_free(destination, overwrite, inputs)
    try:
        with (resumable if resume else drafted)(destination) as made:
            yield made
            _publish(made, destination, overwrite, inputs)
    except OSError as error:
        raise unwritable(destination, error, resume) from None


def other_drafts(destination: Path) -> tuple[str, ...]:
    """Drafts for the same place that could not be removed: another process is at work, or they are another user's."""
    try:
        return tuple(str(each) for each in drafts_of(destination))
    except OSError:
        # A folder that may be written and not read.
        return ()


def check_free(destination: Path, overwrite: bool, inputs: Collection[Path] = ()) -> None:
    """Refuse a destination whose folder is not there, or that is there itself and not to be overwritten.

    Overwritten is only what a conversion to that name could have written: a file by a file, and by a folder one that is
    a checkpoint of Orbax or DCP, or shards with their index, and holds nothing else.

    inputs: what the destination is made from.

    Raises:
        CheckpointError: see `draft`.
    """
    folder = destination.parent
    if not folder.is_dir():
        raise CheckpointError(str(destination), f"a folder {str(folder)!r}", "none", "Make it first.")
    try:
        found = kind_of(destination)
        if found and not overwrite:
            remedy = "Remove it, or ask to overwrite it."
            raise CheckpointError(str(destination), "a destination that is not there yet", found, remedy)
        if found:
            _check_replaceable(destination, found, inputs)
    except OSError as error:
        raise unwritable(destination, error) from None


def _check_replaceable(destination: Path, found: str, inputs: Collection[Path]) -> None:
    wanted = "a file" if destination.suffix in (FILE, FLAX, *TORCH) else "a folder"
    if found == "a symbolic link":
        remedy = f"Give the place itself, or remove the link. {KEPT}"
        raise CheckpointError(
            str(destination), f"{wanted} to overwrite", f"{found} to {os.readlink(destination)!r}", remedy
        )
    if found != wanted:
        raise CheckpointError(str(destination), f"{wanted} to overwrite", found, f"Remove it first. {KEPT}")
    for path in inputs:
        if _is_lost(Path(os.path.realpath(path)), Path(os.path.realpath(destination))):
            remedy = f"Give another destination. {KEPT}"
            raise CheckpointError(str(destination), "a destination apart from what it is made from", str(path), remedy)
    stranger = _stranger(destination) if found == "a folder" else ""
    if stranger:
        expected = "a folder with a checkpoint of Orbax, DCP or in shards and nothing else to overwrite"
        raise CheckpointError(str(destination), expected, stranger, f"Remove it first. {KEPT}")


def _is_lost(path: Path, destination: Path) -> bool:
    """Whether a file or folder that is read would be replaced: it is the destination, or one lies in the other."""
    if any(each.exists() and each.samefile(destination) for each in (path, *path.parents)):
        return True
    return destination.is_dir() and any(each.samefile(path) for each in destination.parents if path.exists())


def _stranger(folder: Path) -> str:
    """What a folder has that a checkpoint of ours has not, or lacks; "" if there is nothing."""
    kinds = {
        ORBAX_FILE: (FOLDERS, FILES),
        INDEXED: (NOTHING, SHARDS),
        WHOLE: (NOTHING, ALONE),
        DCP_FILE: (NOTHING, DCP_FILES),
    }
    kind = next((name for name in kinds if (folder / name).is_file()), "")
    folders_of, files_of = kinds[kind or ORBAX_FILE]
    for place, folders, files in os.walk(folder, onerror=_raised):
        for name in sorted([*folders, *files]):
            entry = Path(place, name)
            found = kind_of(entry)
            known = folders_of if found == "a folder" else files_of if found == "a file" else NOTHING
            # What has gone since it was listed went with a folder that another process has just replaced.
            if found and not known.fullmatch(entry.relative_to(folder).as_posix()):
                return f"{entry.relative_to(folder).as_posix()!r} in it"
    return "" if kind else f"a folder without {ORBAX_FILE} or {INDEXED}"


def _raised(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def unwritable(destination: Path, error: OSError, resume: bool = False) -> CheckpointError:
    """What the system said about a write. resume: whether what is finished stays."""
    left = "What is finished stays for --resume." if resume else "Nothing is left of it."
    return CheckpointError(
        str(destination),
        "to write there",
        error.strerror or str(error),
        f"Make room or give another place. {left}",
    )


def _publish(made: Path, destination: Path, overwrite: bool, inputs: Collection[Path]) -> None:
    """Another process may have made or removed the destination in the meantime, or may just now."""
    for left in reversed(range(TRIES)):
        check_free(destination, overwrite, inputs)
        try:
            _move(made, destination, overwrite)
            sync(destination.parent)
            return
        except (FileExistsError, FileNotFoundError):
            if not left:
                raise


def _move(made: Path, destination: Path, overwrite: bool) -> None:
    # What came there since it was looked at is replaced by nobody who was not asked to.
    found = kind_of(destination) if overwrite else ""
    if not found:
        move_new(made, destination)
    elif found == "a folder":
        exchange(made, destination)
    else:
        replace(made, destination)
