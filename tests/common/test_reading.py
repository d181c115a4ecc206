"""What is read: regular files of bounded size, and texts that a parser takes as a whole."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from paritree.common import reading
from paritree.common.reading import are_lengths, check_folder, is_shape, opened, parsed_json, read_json, read_text


def pipe(file: Path) -> Path:
    os.mkfifo(file)
    return file


def bound(file: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(file))
    return file


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (pipe, "a named pipe, which is no regular file"),
        (lambda file: Path("/dev/zero"), "a device, which is no regular file"),
        (lambda file: file.parent, "a folder, which is no regular file"),
        (bound, "a socket, which is no regular file"),
        (lambda file: file, "No such file or directory"),
        (lambda file: Path(f"{file}\0"), "a name that no file can have"),
        (lambda file: Path(f"{file}\ud800"), "a name that no file can have"),
    ],
)
def test_what_is_no_regular_file_is_not_opened(make, found, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(OSError, match=found):
        opened(make(Path("a")))


def test_a_link_to_a_pipe_is_one(tmp_path):
    (tmp_path / "a").symlink_to(pipe(tmp_path / "b"))
    with pytest.raises(OSError, match="a named pipe"):
        opened(tmp_path / "a")


def test_a_text_is_of_bounded_size(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("é" * 4)
    assert read_text(tmp_path / "a") == "éééé"
    monkeypatch.setattr(reading, "MOST_BYTES", 7)
    with pytest.raises(OSError, match="one of more than 7 bytes"):
        read_text(tmp_path / "a")


def test_a_text_that_is_none(tmp_path):
    (tmp_path / "a").write_bytes(b'"\xff"')
    with pytest.raises(UnicodeDecodeError):
        read_json(tmp_path / "a")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "it is nested too deeply"),
        ('{"a":' * 100_000, "it is nested too deeply"),
        ("1" * 5000, "Exceeds the limit"),
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "it has the key 'c' twice"),
        ("{", "Expecting property name"),
    ],
)
def test_json_that_is_none(text, message):
    with pytest.raises(ValueError, match=message):
        parsed_json(text)


def test_json_with_a_whole_character_in_two_halves():
    assert parsed_json('{"a": ["\\ud83d\\ude00", 1, null]}') == {"a": ["\U0001f600", 1, None]}


@pytest.mark.parametrize(
    ("values", "are"),
    [
        *(((), True), ((0, 2**63 - 1), True), ((2**63,), False)),
        *(((-1,), False), ((True,), False), ((1.0,), False), (("1",), False)),
    ],
)
def test_what_are_lengths(values, are):
    assert are_lengths(values) is are


@pytest.mark.parametrize(("values", "is_one"), [((), True), ([1] * 64, True), ([1] * 65, False), ((2**62,), False)])
def test_what_is_a_shape(values, is_one):
    assert is_shape(values) is is_one


def test_a_folder_holds_regular_files_and_no_way_out(tmp_path):
    folder = tmp_path / "a"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "c").write_text("")
    (folder / "d").symlink_to("b/c")
    check_folder(folder)
    (folder / "b" / "out").symlink_to(tmp_path)
    with pytest.raises(OSError, match="'out', a link that leads out of it"):
        check_folder(folder)
    (folder / "b" / "out").unlink()
    pipe(folder / "b" / "e")
    with pytest.raises(OSError, match="a named pipe, which is no regular file"):
        check_folder(folder)
