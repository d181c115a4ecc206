"""A destination appears whole or not at all: when the process is killed, interrupted, or out of room."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paritree import CheckpointError, convert
from paritree.common import drafts
from paritree.migration.convert import publish, writers

from .checkpoints import assert_equal, example, loaded, saved, weights

# Converts through the command line, and stops at the second run of a tensor, which it says.
CHILD = """
import time
from paritree import cli
from paritree.migration.convert import execute
make, seen = execute._Making.__call__, []
def slow(self, run):
    seen.append(run)
    if len(seen) == 2:
        print("working", flush=True)
        time.sleep(3)
    return make(self, run)
execute._Making.__call__ = slow
cli.main()
"""


def stopped(folder: Path, destination: str, number: int) -> tuple[int, str]:
    """The exit code and the errors of a conversion that gets a signal in its middle."""
    from paritree import Map

    source = saved(folder / "source.safetensors", weights())
    made: Map = example()
    made.save(folder / "map.json")
    arguments = ["convert", "--map", str(folder / "map.json"), str(source), str(folder / destination)]
    command = [sys.executable, "-c", CHILD, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "working\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=100)
    return process.returncode, errors


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


@pytest.mark.parametrize("destination", ["port.safetensors", "port"])
def test_a_killed_conversion_leaves_a_draft_that_the_next_one_removes(destination: str, tmp_path: Path) -> None:
    assert stopped(tmp_path, destination, signal.SIGKILL)[0] == -signal.SIGKILL
    draft, *others = names(tmp_path)
    assert draft.startswith(f".{destination}.")
    assert draft.endswith(drafts.PART)
    assert others == ["map.json", "source.safetensors"]
    convert(tmp_path / "source.safetensors", tmp_path / destination, example())
    assert names(tmp_path) == ["map.json", destination, "source.safetensors"]


def test_a_draft_in_use_is_left_alone(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", weights())
    with publish.draft(tmp_path / "port.safetensors", True) as place:
        done = convert(source, tmp_path / "port.safetensors", example())
        assert str(done).endswith(f"\nleft alone, another's draft, at work or killed: {place.parent}")
        assert place.parent.is_dir()
        assert not place.exists()
        place.write_bytes(b"later")
    assert (tmp_path / "port.safetensors").read_bytes() == b"later"


def test_an_overwritten_destination_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", weights())
    other = saved(tmp_path / "other.safetensors", weights(1))
    for name in ("port.safetensors", "port"):
        convert(source, tmp_path / name, example())
        with pytest.raises(CheckpointError, match="expected a destination that is not there yet"):
            convert(other, tmp_path / name, example())
        convert(other, tmp_path / name, example(), overwrite=True)
    assert names(tmp_path) == ["other.safetensors", "port", "port.safetensors", "source.safetensors"]
    assert_equal(loaded(tmp_path / "port.safetensors"), example().arrays(weights(1)))
    convert(tmp_path / "port", tmp_path / "back.safetensors", example())
    assert np.array_equal(loaded(tmp_path / "back.safetensors")["embed.weight"], weights(1)["embed.weight"])


def test_an_overwritten_file_keeps_its_permissions(tmp_path: Path) -> None:
    source, target = saved(tmp_path / "source.safetensors", weights()), tmp_path / "port.safetensors"
    convert(source, target, example())
    for mode in (0o640, 0o444):
        target.chmod(mode)
        convert(source, target, example(), overwrite=True)
        assert target.stat().st_mode & 0o777 == mode


def no_room(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("function", ["posix_fallocate", "pwrite", "fsync"])
def test_a_full_disk(function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path / "source.safetensors", weights())
    monkeypatch.setattr(writers.os, function, no_room)
    with pytest.raises(CheckpointError) as refusal:
        convert(source, tmp_path / "port.safetensors", example())
    assert str(refusal.value) == (
        f"{tmp_path / 'port.safetensors'}: expected to write there, found No space left on device. Make room or give "
        "another place. Nothing is left of it."
    )
    assert names(tmp_path) == ["source.safetensors"]


def test_room_is_asked_for_before_the_work_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr(writers.os, "posix_fallocate", lambda file, start, size: asked.append(size) or no_room())
    with pytest.raises(CheckpointError):
        convert(
            saved(tmp_path / "source.safetensors", weights()),
            tmp_path / "port.safetensors",
            example(),
            on_progress=lambda done, total: pytest.fail("it works without room"),
        )
    monkeypatch.undo()
    convert(tmp_path / "source.safetensors", tmp_path / "port.safetensors", example())
    assert asked == [(tmp_path / "port.safetensors").stat().st_size]


def test_a_full_disk_under_orbax(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from types import SimpleNamespace

    source = saved(tmp_path / "source.safetensors", weights())
    monkeypatch.setattr(writers.shutil, "disk_usage", lambda place: SimpleNamespace(free=100))
    with pytest.raises(CheckpointError, match=r"port: expected to write there, found No space left on device\. Make"):
        convert(source, tmp_path / "port", example())
    assert names(tmp_path) == ["source.safetensors"]


@pytest.mark.parametrize("name", ["port.safetensors", "port"])
def test_a_limit_of_the_system_on_a_files_size(name: str, tmp_path: Path) -> None:
    saved(tmp_path / "source.safetensors", weights())
    example().save(tmp_path / "map.json")
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500)); "
        "from paritree import cli; cli.main()"
    )
    arguments = ("--map", "map.json", "source.safetensors", name)
    done = subprocess.run(
        [sys.executable, "-c", program, "convert", *arguments], capture_output=True, text=True, cwd=tmp_path
    )
    assert (done.returncode, done.stderr) == (
        2,
        f"paritree: {name}: expected to write there, found File too large. Make room or give another place. "
        "Nothing is left of it.\n",
    )
    assert names(tmp_path) == ["map.json", "source.safetensors"]


def test_a_folder_that_cannot_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(tmp_path / "source.safetensors", weights())

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(CheckpointError, match=r"port\.safetensors: expected to write there, found Permission denied"):
        convert(source, tmp_path / "port.safetensors", example())


def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path) -> None:
    code, errors = stopped(tmp_path, "port.safetensors", signal.SIGINT)
    assert (code, errors) == (130, "\ninterrupted\n")
    assert names(tmp_path) == ["map.json", "source.safetensors"]


@pytest.mark.parametrize("destination", ["port.safetensors", "port"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_conversion_leaves_nothing_and_is_seen(
    number: int, destination: str, tmp_path: Path
) -> None:
    assert stopped(tmp_path, destination, number) == (-number, "")
    assert names(tmp_path) == ["map.json", "source.safetensors"]


def test_a_signal_that_is_ignored_stays_ignored(tmp_path: Path) -> None:
    """As `nohup` has it, and a shell for what it runs in the background."""
    for number in (signal.SIGHUP, signal.SIGINT):
        before = signal.signal(number, signal.SIG_IGN)
        try:
            assert stopped(tmp_path, "port.safetensors", number)[0] == 0
        finally:
            signal.signal(number, before)
        (tmp_path / "port.safetensors").unlink()


def test_an_error_of_the_callers_own_ends_the_work_first(tmp_path: Path) -> None:
    """No thread writes any more when the destination is closed, whose number another file may then have."""
    import threading

    def on_progress(done: int, total: int) -> None:
        raise RuntimeError("enough")

    source = saved(tmp_path / "source.safetensors", weights())
    with pytest.raises(RuntimeError, match="enough") as kept:
        convert(source, tmp_path / "port.safetensors", example(), on_progress=on_progress)
    assert kept.tb is not None
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("paritree-")]
    assert names(tmp_path) == ["source.safetensors"]
