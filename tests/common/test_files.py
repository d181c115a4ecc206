"""Files that are written whole or not at all, and only over files of their own kind."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from paritree import UsageError
from paritree.common import files

OURS = re.compile(rb"ours")
WANTED = "expected a file to write, or to replace by one of its kind, found"
KEPT = "Remove it first, or give another place. It was not touched."


def test_a_file_is_replaced_by_one_of_its_kind(tmp_path: Path) -> None:
    place = tmp_path / "it"
    for text in ("ours: 1", "ours: 2", ""):
        files.write_whole(place, text, OURS)
        assert place.read_text() == text
    files.write_whole(place, "anything", None)
    files.write_whole(place, "ours", None)
    assert os.listdir(tmp_path) == ["it"]


def test_anything_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "work").write_text("theirs, years of it")
    (tmp_path / "whole").write_text("ours")
    (tmp_path / "link").symlink_to("whole")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    found = {
        "folder": "a folder",
        "work": "another file",
        "link": "a symbolic link",
        "dangling": "a symbolic link",
        "pipe": "a device, pipe or socket",
    }
    before = sorted(os.listdir(tmp_path))
    for name, kind in found.items():
        with pytest.raises(UsageError) as refusal:
            files.write_whole(tmp_path / name, "ours", OURS)
        assert str(refusal.value) == f"{tmp_path / name}: {WANTED} {kind}. {KEPT}"
        with pytest.raises(UsageError) as refusal:
            files.check_writable(tmp_path / name, "--html", OURS)
        assert str(refusal.value) == f"--html: {WANTED} {str(tmp_path / name)!r}, which is {kind}. {KEPT}"
    assert sorted(os.listdir(tmp_path)) == before
    assert (tmp_path / "work").read_text() == "theirs, years of it"


def test_the_null_device_is_not_replaced() -> None:
    """As root it would be, for everybody on the machine."""
    with pytest.raises(UsageError, match="found a device, pipe or socket"):
        files.check_replaceable(Path(os.devnull), OURS)


def test_what_appears_in_the_meantime_is_not_replaced(tmp_path: Path) -> None:
    place = tmp_path / "it"

    def written() -> None:
        with files.written_whole(place, OURS) as stream:
            stream.write(b"ours")
            place.write_text("theirs")

    with pytest.raises(UsageError, match="found another file"):
        written()
    assert place.read_text() == "theirs"
    assert os.listdir(tmp_path) == ["it"]


def test_a_failure_names_the_file_and_not_its_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "no" / "it"
    with pytest.raises(FileNotFoundError) as refusal:
        files.write_whole(place, "ours", OURS)
    assert str(refusal.value) == f"[Errno 2] No such file or directory: {str(place)!r}"

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    files.write_whole(tmp_path / "it", "ours", OURS)
    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match=rf"^\[Errno 28\] No space left on device: {str(tmp_path / 'it')!r}$"):
        files.write_whole(tmp_path / "it", "ours too", OURS)
    assert (tmp_path / "it").read_text() == "ours"
    assert os.listdir(tmp_path) == ["it"]
