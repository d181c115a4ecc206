"""Sources that lie elsewhere, `gs://`, `s3://`, `hf://` and others: fetched by fsspec, and read as those that lie here.

A destination is on a disk of this machine alone: elsewhere nothing appears whole that is more than one file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ...common.drafts import drafted
from ...common.errors import CheckpointError
from .publish import unwritable
from .readers import INDEX, WITHIN, weight_map

# A Path has lost one of the slashes. A drive of Windows has one letter.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)
_COPY = "Copy it to a disk of this machine, and give its path."


def scheme_of(place: str | os.PathLike[str]) -> str:
    """`s3` for `s3://bucket/model`; "" for a path and for `file://`, which is one."""
    matched = _URL.fullmatch(os.fspath(place))
    return matched[1].lower() if matched and matched[1].lower() != "file" else ""


def local_path(place: str | os.PathLike[str]) -> Path:
    """A path of this machine; `file:///a/b` is `/a/b`."""
    matched = _URL.fullmatch(os.fspath(place))
    return Path("/" + unquote(matched[2])) if matched and matched[1].lower() == "file" else Path(place)


def check_here(destination: str | os.PathLike[str]) -> None:
    """Refuse a destination elsewhere, before a folder is made of its scheme's name.

    Raises:
        CheckpointError: it is one.
    """
    scheme = scheme_of(destination)
    if scheme:
        found = f"one at {scheme}://, where others could see it half-written"
        remedy = "Write it to a disk here, and copy it there with that storage's own tool."
        raise CheckpointError(os.fspath(destination), "a destination on this machine", found, remedy)


@contextmanager
def here(source: str | os.PathLike[str], destination: Path) -> Iterator[Path]:
    """The source's path on this machine; what is elsewhere is fetched beside the destination until the block ends.

    Raises:
        CheckpointError: nothing that is installed knows its scheme, it is not there, or it cannot be had or kept.
    """
    if not scheme_of(source):
        yield local_path(source)
        return
    matched = _URL.fullmatch(os.fspath(source))
    assert matched is not None
    url = f"{matched[1].lower()}://{matched[2]}"
    files, place = _file_system(url)
    try:
        with drafted(destination.with_name(f"{destination.name}.source")) as folder:
            folder.mkdir()
            yield _fetched(files, place, url, folder)
    except OSError as error:
        raise unwritable(destination, error) from None


def _file_system(url: str) -> tuple[Any, str]:
    scheme = url.partition(":")[0]
    try:
        files, place = import_module("fsspec.core").url_to_fs(url)
    except (ImportError, ValueError) as error:
        # What is missing, or that it knows no such scheme.
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        remedy = f"Install what fsspec needs for it. Or else: {_COPY}"
        raise CheckpointError(url, f"a library that reads {scheme}://", f"none ({reason})", remedy) from None
    except Exception as error:
        raise _unreachable(url, error) from None
    return files, place.rstrip("/")


def _fetched(files: Any, place: str, url: str, folder: Path) -> Path:
    """The file or folder, with all that belongs to it."""
    try:
        if not files.isdir(place):
            return _with_shards(files, place, folder)
        inside = {each.removeprefix(place).lstrip("/"): each for each in files.find(place)}
        name = next((each for each in WITHIN if each in inside), None)
        if name is not None:
            _with_shards(files, inside[name], folder)
            return folder
        for name, each in inside.items():
            _fetch(files, each, folder, name)
        return folder
    except (CheckpointError, KeyboardInterrupt):
        raise
    except Exception as error:
        # Each storage has errors of its own.
        raise _unreachable(url, error) from None


def _with_shards(files: Any, place: str, folder: Path) -> Path:
    beside, _, name = place.rpartition("/")
    found = _fetch(files, place, folder, name)
    if name.endswith(INDEX):
        for shard in dict.fromkeys(weight_map(found).values()):
            _fetch(files, f"{beside}/{shard}", folder, shard)
    return found


def _fetch(files: Any, place: str, folder: Path, name: str) -> Path:
    target = folder / name
    # A storage may have any text for a name.
    if ".." in target.parts or not target.is_relative_to(folder) or target == folder:
        raise CheckpointError(place, "a name within its folder", repr(name), _COPY)
    target.parent.mkdir(parents=True, exist_ok=True)
    files.get_file(place, str(target))
    return target


def _unreachable(url: str, error: Exception) -> CheckpointError:
    reason = f"{type(error).__name__}: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
    return CheckpointError(url, "what can be read", reason, f"Look at its name and at your rights to it. {_COPY}")
