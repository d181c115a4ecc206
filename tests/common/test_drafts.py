"""Drafts: locked while they are in use, removed when nobody has them, matched by exactly their place's name."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from paritree.common import drafts
from paritree.common.drafts import drafted, drafts_of


def left(place: Path, name: str = "abcdefgh") -> Path:
    """A draft of a process that was killed, with something in it."""
    folder = place.with_name(f".{place.name}.{name}{drafts.PART}")
    folder.mkdir()
    (folder / "half").write_text("half of it")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_draft_is_a_folder_of_its_own_that_ends_with_the_block(tmp_path: Path) -> None:
    with drafted(tmp_path / "it") as made:
        assert made.name == "it"
        assert drafts_of(tmp_path / "it") == [made.parent]
        assert made.parent.stat().st_mode & 0o777 == 0o700
        made.mkdir()
        (made / "half").write_text("half")
    assert names(tmp_path) == []
    with pytest.raises(KeyError), drafted(tmp_path / "it"):
        raise KeyError
    assert names(tmp_path) == []


def test_drafts_are_matched_by_exactly_their_places_name(tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("m", "m.safetensors", "m.safetensors.v2.safetensors", "m.abcdefgh", "[m]*")]
    there = {place: left(place) for place in places}
    others = [left(tmp_path / "m", name) for name in ("abcdefghi", "abc", "", "ABCDEFGH", "abcd.efg")]
    for place, folder in there.items():
        assert drafts_of(place) == [folder]
    with drafted(tmp_path / "m.safetensors"):
        assert not there.pop(tmp_path / "m.safetensors").exists()
    assert names(tmp_path) == sorted(each.name for each in (*there.values(), *others))


def test_what_only_looks_like_a_draft_is_left_alone(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "thesis.tex").write_text("years of work")
    link = tmp_path / f".it.aaaaaaaa{drafts.PART}"
    link.symlink_to(work)
    file = tmp_path / f".it.bbbbbbbb{drafts.PART}"
    file.write_text("a file")
    with drafted(tmp_path / "it"):
        pass
    assert (work / "thesis.tex").read_text() == "years of work"
    assert link.is_symlink()
    assert file.read_text() == "a file"


def test_a_draft_in_use_is_left_alone(tmp_path: Path) -> None:
    with drafted(tmp_path / "it") as one, drafted(tmp_path / "it") as other:
        assert drafts_of(tmp_path / "it") == sorted([one.parent, other.parent])


def taken(folder: Path) -> None:
    """As another process does that takes it for one that was left."""
    opened = os.open(folder, os.O_RDONLY)
    fcntl.flock(opened, fcntl.LOCK_EX)


@pytest.mark.parametrize("loses", [taken, Path.rmdir])
def test_a_draft_that_is_lost_before_it_is_locked_is_made_again(
    loses: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir, lost = Path.mkdir, []

    def losing(self: Path, mode: int) -> None:
        mkdir(self, mode)
        if len(lost) < 3:
            lost.append(self)
            loses(self)

    monkeypatch.setattr(Path, "mkdir", losing)
    with drafted(tmp_path / "it") as made:
        assert len(lost) == 3
        assert made.parent not in lost
        assert made.parent.is_dir()


def test_a_draft_that_is_removed_between_its_opening_and_its_lock_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, lost = fcntl.flock, []

    def losing(opened: int, how: int) -> None:
        if not lost:
            lost.extend(drafts_of(tmp_path / "it"))
            lost[0].rmdir()
        flock(opened, how)

    monkeypatch.setattr(fcntl, "flock", losing)
    with drafted(tmp_path / "it") as made:
        assert made.parent not in lost


def test_a_disk_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows whether a draft is in use there, and it is left alone."""

    def none(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", none)
    there = left(tmp_path / "it")
    with drafted(tmp_path / "it") as made:
        made.write_text("made")
    assert names(tmp_path) == [there.name]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be another user")
def test_another_users_draft_is_left_alone() -> None:
    # Other users do not come into the folders of pytest.
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        there = left(folder / "it")
        there.chmod(0o700)
        os.seteuid(65534)
        try:
            with drafted(folder / "it") as made:
                made.write_text("made")
                assert drafts_of(folder / "it") == sorted([there, made.parent])
        finally:
            os.seteuid(0)
        assert names(folder) == [there.name]


def test_a_folder_that_was_moved_aside_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two folders cannot change places in one step, and the process is killed between two."""
    folder = left(tmp_path / "it")
    (folder / "it.before").mkdir()
    (folder / "it.before" / "old").write_text("old")
    with drafted(tmp_path / "it"):
        assert (tmp_path / "it" / "old").read_text() == "old"
    assert names(tmp_path) == ["it"]
    # It is the old one where the new one has come.
    folder = left(tmp_path / "it")
    (folder / "it.before").mkdir()
    with drafted(tmp_path / "it"):
        assert (tmp_path / "it" / "old").read_text() == "old"
    assert names(tmp_path) == ["it"]


def test_an_interrupt_between_two_steps_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rename = Path.rename

    def interrupted(self: Path, target: Path) -> Path:
        done = rename(self, target)
        if target.name.endswith(drafts.BEFORE):
            raise KeyboardInterrupt
        return done

    monkeypatch.setattr(drafts, "_renamed", lambda *_: False)
    monkeypatch.setattr(Path, "rename", interrupted)
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "old").write_text("old")

    def replaced() -> None:
        with drafted(tmp_path / "it") as made:
            made.mkdir()
            drafts.exchange(made, tmp_path / "it")

    with pytest.raises(KeyboardInterrupt):
        replaced()
    assert (tmp_path / "it" / "old").read_text() == "old"
    assert names(tmp_path) == ["it"]


def test_a_child_process_does_not_remove_its_parents_drafts(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from paritree.common import drafts\n"
        "with drafts.drafted(Path(sys.argv[1])) as made:\n"
        "    child = os.fork()\n"
        "    if not child:\n"
        "        drafts.remove_drafts(); os._exit(0)\n"
        "    os.waitpid(child, 0)\n"
        "    assert made.parent.is_dir()\n"
        "    drafts.remove_drafts()\n"
        "    assert not made.parent.exists()\n"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "it")], check=True)


@pytest.mark.parametrize("has_renames", [True, False])
def test_nothing_is_moved_over_anything(has_renames: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_renames:
        monkeypatch.setattr(drafts, "_renamed", lambda *_: False)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("file")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("folder", "file", "dangling"):
        (tmp_path / "empty").mkdir()
        (tmp_path / "new").write_text("new")
        for made in ("empty", "new"):
            with pytest.raises(FileExistsError):
                drafts.move_new(tmp_path / made, tmp_path / name)
            drafts.move_new(tmp_path / made, tmp_path / f"{name}-{made}")
    assert (tmp_path / "file").read_text() == "file"
    assert os.readlink(tmp_path / "dangling") == "nowhere"
    assert list((tmp_path / "folder").iterdir()) == []
