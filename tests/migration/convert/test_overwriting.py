"""What a conversion replaces: only what it could have written itself, and nothing that it is made from."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paritree import CheckpointError, convert
from paritree.migration.convert import publish

from .checkpoints import example, saved, weights

KEPT = "It was not touched."
NAMES = ("port.safetensors", "port")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return saved(tmp_path / "source.safetensors", weights())


def contents(folder: Path) -> dict[str, object]:
    """Everything below a folder: links by what they say, files by their bytes, others by their kind."""
    found: dict[str, object] = {}
    for each in sorted(folder.rglob("*")):
        mode = each.lstat().st_mode
        name = each.relative_to(folder).as_posix()
        if stat.S_ISLNK(mode):
            found[name] = os.readlink(each)
        else:
            found[name] = each.read_bytes() if stat.S_ISREG(mode) else stat.S_IFMT(mode)
    return found


def refused(source: Path, destination: Path, map: object = None) -> str:
    """The message, without the folder of the source; nothing is another than before."""
    before = contents(source.parent)
    with pytest.raises(CheckpointError) as refusal:
        convert(source, destination, map or example(), overwrite=True)  # type: ignore[arg-type]
    assert contents(source.parent) == before
    return str(refusal.value).replace(f"{source.parent}{os.sep}", "")


def folder_of_work(place: Path) -> None:
    place.mkdir()
    (place / "thesis.tex").write_text("years of work")


def checkpoint_with(name: str) -> Callable[[Path], None]:
    """A checkpoint of ours that something was put into."""

    def make(place: Path) -> None:
        convert(place.parent / "source.safetensors", place, example())
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("notes")

    return make


def checkpoint_without_metadata(place: Path) -> None:
    convert(place.parent / "source.safetensors", place, example())
    (place / "_METADATA").unlink()


def checkpoint_with_a_link(place: Path) -> None:
    convert(place.parent / "source.safetensors", place, example())
    (place / "commit_success.txt").unlink(missing_ok=True)
    (place / "commit_success.txt").symlink_to("../source.safetensors")


NOTHING_ELSE = (
    "port: expected a folder with a checkpoint of Orbax, DCP or in shards and nothing else to overwrite, found"
)


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (folder_of_work, "'thesis.tex' in it"),
        (Path.mkdir, "a folder without _METADATA or model.safetensors.index.json"),
        (checkpoint_without_metadata, "a folder without _METADATA or model.safetensors.index.json"),
        (checkpoint_with("notes.txt"), "'notes.txt' in it"),
        (checkpoint_with("d/notes.txt"), "'d/notes.txt' in it"),
        (checkpoint_with("work/notes.txt"), "'work' in it"),
        (checkpoint_with("array_metadatas/notes.txt"), "'array_metadatas/notes.txt' in it"),
        (checkpoint_with("ocdbt.process_0/_METADATA"), "'ocdbt.process_0/_METADATA' in it"),
        (checkpoint_with_a_link, "'commit_success.txt' in it"),
    ],
)
def test_a_folder_is_replaced_only_if_it_is_a_checkpoint_and_nothing_else(
    make: Callable[[Path], None], found: str, source: Path
) -> None:
    make(source.with_name("port"))
    assert refused(source, source.with_name("port")) == f"{NOTHING_ELSE} {found}. Remove it first. {KEPT}"


@pytest.mark.parametrize("name", ["", ".", "work", "work/..", "work/."])
def test_a_folder_that_holds_the_source_is_not_replaced(
    name: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of_work(source.with_name("work"))
    shutil.move(source, source.with_name("work") / "source.safetensors")
    monkeypatch.chdir(source.parent)
    place = Path("work/source.safetensors")
    before = contents(source.parent)
    with pytest.raises(CheckpointError, match=rf"to overwrite|apart from what it is made from.*{KEPT}"):
        convert(place, name, example(), overwrite=True)
    assert contents(source.parent) == before


@pytest.mark.parametrize("name", NAMES)
def test_neither_kind_is_replaced_by_the_other(name: str, source: Path) -> None:
    place = source.with_name(name)
    wanted, found = ("a file", "a folder") if place.suffix else ("a folder", "a file")
    place.mkdir() if place.suffix else place.write_text("a text without an ending")
    assert refused(source, place) == f"{name}: expected {wanted} to overwrite, found {found}. Remove it first. {KEPT}"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("target", ["elsewhere", "source.safetensors", "nowhere"])
def test_nothing_is_replaced_through_a_symbolic_link(name: str, target: str, source: Path) -> None:
    place = source.with_name(name)
    convert(source, source.with_name("elsewhere"), example())
    place.symlink_to(target)
    wanted = "a file" if place.suffix else "a folder"
    assert refused(source, place) == (
        f"{name}: expected {wanted} to overwrite, found a symbolic link to {target!r}. Give the place itself, or "
        f"remove the link. {KEPT}"
    )
    with pytest.raises(CheckpointError, match=r"a destination that is not there yet, found a symbolic link\. Remove"):
        convert(source, place, example())
    assert os.readlink(place) == target


@pytest.mark.parametrize("name", NAMES)
def test_a_pipe_is_not_replaced(name: str, source: Path) -> None:
    os.mkfifo(source.with_name(name))
    assert "to overwrite, found a device, pipe or socket. Remove it first." in refused(source, source.with_name(name))


def apart(name: str, of: str) -> str:
    return (
        f"{name}: expected a destination apart from what it is made from, found {of}. Give another destination. {KEPT}"
    )


def test_a_source_is_not_its_own_destination(source: Path) -> None:
    assert refused(source, source) == apart("source.safetensors", "source.safetensors")
    source.with_name("link.safetensors").symlink_to("source.safetensors")
    assert refused(source.with_name("link.safetensors"), source) == apart("source.safetensors", "link.safetensors")
    os.link(source, source.with_name("hard.safetensors"))
    assert refused(source, source.with_name("hard.safetensors")) == apart("hard.safetensors", "source.safetensors")


def test_a_checkpoint_is_not_its_own_destination(source: Path) -> None:
    folder = source.with_name("port")
    convert(source, folder, example())
    assert refused(folder, folder) == apart("port", "port")
    # A step of a CheckpointManager, whose only item is the checkpoint.
    step = source.with_name("1")
    step.mkdir()
    folder.rename(step / "default")
    assert refused(step, step / "default") == apart("1/default", "1")


def test_a_map_is_not_replaced(source: Path) -> None:
    made = source.with_name("map.safetensors")
    example().save(made)
    assert refused(source, made, made) == apart("map.safetensors", "map.safetensors")


def test_a_shard_is_not_replaced_by_what_is_made_from_it(source: Path) -> None:
    index = source.with_name("model.safetensors.index.json")
    index.write_text(json.dumps({"weight_map": dict.fromkeys(weights(), source.name)}))
    assert refused(index, source) == apart("source.safetensors", "source.safetensors")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("has_renames", [True, False])
def test_what_appears_in_the_meantime_is_not_replaced(
    name: str, has_renames: bool, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not has_renames:
        monkeypatch.setattr("paritree.common.drafts._renamed", lambda *_: False)
    place = source.with_name(name)

    def on_progress(done: int, total: int) -> None:
        if done == total:
            place.mkdir() if name == "port" else place.write_text("another's")

    with pytest.raises(CheckpointError, match=r"a destination that is not there yet, found a f\w+\. Remove it, or ask"):
        convert(source, place, example(), on_progress=on_progress)
    assert list(place.iterdir()) == [] if name == "port" else place.read_text() == "another's"
    assert sorted(os.listdir(source.parent)) == sorted((name, source.name))


@pytest.mark.parametrize("name", NAMES)
def test_what_appears_after_the_last_look_is_not_replaced(
    name: str, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, check, looks = source.with_name(name), publish.check_free, []

    def checked(*arguments: Any) -> None:
        check(*arguments)
        looks.append(place)
        if len(looks) == 2:
            place.mkdir() if name == "port" else place.write_text("another's")

    monkeypatch.setattr(publish, "check_free", checked)
    with pytest.raises(CheckpointError, match=r"a destination that is not there yet, found a f\w+\. Remove it, or ask"):
        convert(source, place, example())
    assert list(place.iterdir()) == [] if name == "port" else place.read_text() == "another's"
    assert sorted(os.listdir(source.parent)) == sorted((name, source.name))


@pytest.mark.parametrize("has_renames", [True, False])
def test_a_checkpoint_is_replaced(has_renames: bool, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_renames:
        monkeypatch.setattr("paritree.common.drafts._renamed", lambda *_: False)
    other = saved(source.with_name("other.safetensors"), weights(1))
    for name in NAMES:
        convert(source, source.with_name(name), example())
        first = contents(source.parent)
        convert(other, source.with_name(name), example(), overwrite=True)
        assert contents(source.parent) != first
    assert sorted(os.listdir(source.parent)) == sorted((*NAMES, source.name, other.name))


def test_a_folder_that_cannot_be_published_is_left_as_it_was(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("paritree.common.drafts._renamed", lambda *_: False)
    folder = source.with_name("port")
    convert(source, folder, example())
    before, rename = contents(folder), Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.parent.name.endswith(".paritree-part") and target == folder and self.name == "port":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(CheckpointError, match=r"expected to write there, found Input/output error\."):
        convert(source, folder, example(), overwrite=True)
    assert contents(folder) == before
    assert sorted(os.listdir(source.parent)) == sorted(("port", source.name))


def test_a_checkpoint_that_is_replaced_while_it_is_looked_at_is_one(
    source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = source.with_name("port"), source.with_name("other")
    for place in (folder, other):
        convert(source, place, example())
    look, seen = publish.kind_of, []

    def changing(path: Path) -> str:
        if path.parent == folder and not seen:
            seen.append(path)
            folder.rename(source.with_name("before"))
            other.rename(folder)
            # The names of what is in it are others, and that of what is looked at just now is.
            path = folder / "gone"
        return look(path)

    monkeypatch.setattr(publish, "kind_of", changing)
    convert(source, folder, example(), overwrite=True)
    assert seen
