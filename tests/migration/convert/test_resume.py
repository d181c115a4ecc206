"""A conversion into shards that was stopped goes on where it was, and only if everything is as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from paritree import CheckpointError, Conversion, Map, UsageError, convert
from paritree.migration.convert import shards

from .checkpoints import assert_equal, loaded, row, saved

ARRAYS = {f"w{number}": np.full((8, 8), number, np.float32) for number in range(12)}
MADE = Map(tuple(row(path, f"p.{path}", (8, 8), "a b -> b a") for path in ARRAYS), ("torch", "linen"))
# Of two tensors each.
SIZE = 512


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return saved(tmp_path / "source.safetensors", ARRAYS)


@pytest.fixture(autouse=True)
def in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """The disk has a shard before the next one is begun, so that it is known how many are finished."""
    monkeypatch.setattr(shards, "MOST_WAITING", 0)


def stop_at(share: float, error: type[BaseException] = KeyboardInterrupt) -> Callable[[int, int], None]:
    def on_progress(done: int, total: int) -> None:
        if done >= share * total:
            raise error

    return on_progress


def stopped(source: Path, **options: object) -> list[Path]:
    """Conversions that are interrupted in the middle: the drafts that they leave."""
    with pytest.raises(KeyboardInterrupt):
        convert(source, source.with_name("port"), MADE, max_shard_size=SIZE, on_progress=stop_at(0.5), **options)  # type: ignore[arg-type]
    return drafts(source.parent)


def drafts(folder: Path) -> list[Path]:
    return [each for each in folder.iterdir() if each.name.startswith(".port.")]


def resumed(source: Path, map: Map = MADE, **options: object) -> Conversion:
    done = convert(source, source.with_name("port"), map, max_shard_size=SIZE, resume=True, **options)  # type: ignore[arg-type]
    assert drafts(source.parent) == []
    return done


def assert_whole(folder: Path, arrays: dict[str, np.ndarray] = ARRAYS) -> None:
    found = {path: array for file in folder.glob("*.safetensors") for path, array in loaded(file).items()}
    assert_equal(found, MADE.arrays(arrays))
    assert len([*folder.glob("*.safetensors")]) == 6
    assert (folder / "model.safetensors.index.json").is_file()
    assert len([*folder.iterdir()]) == 7


def test_it_goes_on_with_what_is_finished(source: Path) -> None:
    (left,) = stopped(source, resume=True)
    finished = (left / "port.finished").read_text().splitlines()[1:]
    assert 2 <= len(finished) <= 6
    times = {name: (left / "port" / name).stat().st_mtime_ns for name in finished}
    told: list[int] = []
    done = resumed(source, on_progress=lambda _, total: told.append(total))
    nbytes = 512 * len(finished)
    assert done.changed == (f"there already: {2 * len(finished)} tensors, {nbytes:,} bytes",)
    assert {*told} <= {12 * 256 - nbytes}
    assert_whole(source.with_name("port"))
    assert {name: (source.with_name("port") / name).stat().st_mtime_ns for name in finished} == times


def test_without_it_nothing_stays_and_nothing_is_gone_on_with(source: Path) -> None:
    assert stopped(source) == []
    assert len(stopped(source, resume=True)) == 1
    done = convert(source, source.with_name("port"), MADE, max_shard_size=SIZE)
    assert (done.changed, drafts(source.parent)) == ((), [])
    assert_whole(source.with_name("port"))


KILLED = """
import os, signal, sys
from paritree.migration.convert import shards
from paritree.migration import convert
shards.MOST_WAITING = 0
def stop(done, total):
    if done >= total / 2: os.kill(os.getpid(), getattr(signal, sys.argv[1]))
convert("source.safetensors", "port", "map.json", max_shard_size=512, resume=len(sys.argv) > 2, on_progress=stop)
"""


@pytest.mark.parametrize("arguments", [("SIGKILL",), ("SIGKILL", "resume"), ("SIGTERM", "resume")])
def test_after_a_process_was_killed(arguments: tuple[str, ...], source: Path) -> None:
    MADE.save(source.with_name("map.json"))
    done = subprocess.run([sys.executable, "-c", KILLED, *arguments], cwd=source.parent, capture_output=True, text=True)
    assert done.returncode == -getattr(signal, arguments[0]), done.stderr
    assert len(drafts(source.parent)) == 1
    assert resumed(source.absolute()).changed != ()
    assert_whole(source.with_name("port"))


def test_another_source_map_or_size_begins_anew(source: Path) -> None:
    stopped(source, resume=True)
    other = {path: array + 1 for path, array in ARRAYS.items()}
    saved(source, other)
    os.utime(source, ns=(1, 1))
    assert resumed(source).changed == ()
    assert_whole(source.with_name("port"), other)


def test_another_map_begins_anew(source: Path) -> None:
    stopped(source, resume=True)
    rows = tuple(row(path, f"p.{path}", (8, 8), "a b -> a b") for path in ARRAYS)
    assert resumed(source, Map(rows, ("torch", "linen"))).changed == ()


@pytest.mark.parametrize("damage", ["cut", "gone", "another", "unlisted"])
def test_a_shard_that_is_not_whole_is_made_anew(damage: str, source: Path) -> None:
    (left,) = stopped(source, resume=True)
    first, *_ = (left / "port.finished").read_text().splitlines()[1:]
    file = left / "port" / first
    if damage == "cut":
        os.truncate(file, 100)
    elif damage == "gone":
        file.unlink()
    elif damage == "another":
        file.write_bytes(b"\0" * file.stat().st_size)
    else:
        lines = (left / "port.finished").read_text().replace(f"{first}\n", "")
        (left / "port.finished").write_text(lines + first[:-4])
        file.write_bytes(b"half of it")
    resumed(source)
    assert_whole(source.with_name("port"))


def test_an_error_leaves_what_is_finished_and_says_so(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(done: int, total: int) -> None:
        if done >= total / 2:
            raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError) as refusal:
        convert(source, source.with_name("port"), MADE, max_shard_size=SIZE, resume=True, on_progress=full)
    assert str(refusal.value).endswith(
        "expected to write there, found No space left on device. Make room or give another place. What is finished "
        "stays for --resume."
    )
    assert resumed(source).changed != ()
    assert_whole(source.with_name("port"))


def test_before_the_first_shard_is_finished_nothing_stays(source: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        convert(source, source.with_name("port"), MADE, max_shard_size="1MB", resume=True, on_progress=stop_at(0.1))
    assert drafts(source.parent) == []


def test_it_is_for_shards(source: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        convert(source, source.with_name("port"), MADE, resume=True)
    assert str(refusal.value) == (
        "resume: expected a destination in shards, found none. Give max_shard_size (--max-shard-size), too."
    )
