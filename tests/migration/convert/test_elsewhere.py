"""Sources and destinations with a scheme: fetched by fsspec, or refused by name; no folder is made of a scheme."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from paritree import CheckpointError, convert

from .checkpoints import assert_equal, example, loaded, saved, weights
from .test_convert import sources

COPY = "Copy it to a disk of this machine, and give its path."


@pytest.fixture
def store() -> Iterator[fsspec.AbstractFileSystem]:
    """A storage elsewhere, in this process's memory."""
    found = fsspec.filesystem("memory")
    yield found
    found.store.clear()
    found.pseudo_dirs[:] = [""]


def put(store: fsspec.AbstractFileSystem, folder: Path, place: str) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            store.pipe_file(f"{place}/{file.relative_to(folder).as_posix()}", file.read_bytes())


def here(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


@pytest.mark.parametrize("name", ["tie.safetensors", "flat.pt", "safetensors.index.json", "bin.index.json"])
def test_a_source_elsewhere_is_fetched(name: str, tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    (tmp_path / "made").mkdir()
    sources(tmp_path / "made")
    put(store, tmp_path / "made", "bucket/run")
    (tmp_path / "work").mkdir()
    convert(f"memory://bucket/run/{name}", tmp_path / "work" / "port.safetensors", example())
    assert_equal(loaded(tmp_path / "work" / "port.safetensors"), example().arrays(weights()))
    assert here(tmp_path / "work") == ["port.safetensors"]


@pytest.mark.parametrize("size", [None, 300])
def test_a_folder_elsewhere_is_fetched(size: int | None, tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    source = saved(tmp_path / "source.safetensors", weights())
    convert(source, tmp_path / "port", example(), max_shard_size=size)
    put(store, tmp_path / "port", "bucket/port")
    store.pipe_file("bucket/port/notes/large.bin", b"not to be fetched") if size else None
    convert("memory://bucket/port/", tmp_path / "back.safetensors", example())
    assert_equal(loaded(tmp_path / "back.safetensors"), example().inverse().arrays(example().arrays(weights())))


def test_what_is_not_there_elsewhere(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    with pytest.raises(CheckpointError) as refusal:
        convert("memory://bucket/none.safetensors", tmp_path / "port.safetensors", example())
    assert str(refusal.value) == (
        "memory://bucket/none.safetensors: expected what can be read, found FileNotFoundError: "
        f"/bucket/none.safetensors. Look at its name and at your rights to it. {COPY}"
    )
    assert here(tmp_path) == []


def test_names_elsewhere_lead_nowhere_else(tmp_path: Path, store: fsspec.AbstractFileSystem) -> None:
    store.pipe_file("other/file", b"1")
    store.store["/bucket/model/../../../escaped"] = store.store["/other/file"]
    with pytest.raises(CheckpointError, match=r"expected a name within its folder, found '\.\./\.\./\.\./escaped'"):
        convert("memory://bucket/model", tmp_path / "port.safetensors", example())
    assert here(tmp_path) == []


@pytest.mark.parametrize("source", ["nonsense://a/b.safetensors", "Nonsense:/a/b.safetensors"])
def test_a_scheme_that_nothing_knows(source: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as refusal:
        convert(source, tmp_path / "port.safetensors", example())
    assert str(refusal.value) == (
        "nonsense://a/b.safetensors: expected a library that reads nonsense://, found none (Protocol not known: "
        f"nonsense). Install what fsspec needs for it. Or else: {COPY}"
    )


def test_a_scheme_whose_library_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(CheckpointError) as refusal:
        convert("s3://bucket/a.safetensors", tmp_path / "port.safetensors", example())
    assert str(refusal.value) == (
        "s3://bucket/a.safetensors: expected a library that reads s3://, found none (Install s3fs to access S3). "
        f"Install what fsspec needs for it. Or else: {COPY}"
    )


@pytest.mark.parametrize("scheme", ["s3", "gs", "hf", "https"])
@pytest.mark.parametrize("as_path", [str, Path])
def test_no_destination_is_made_of_a_scheme(
    scheme: str, as_path: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved(tmp_path / "source.safetensors", weights())
    monkeypatch.chdir(tmp_path)
    for name in ("bucket/port", "port.safetensors"):
        place = as_path(f"{scheme}://{name}")
        with pytest.raises(CheckpointError) as refusal:
            convert("source.safetensors", place, example(), overwrite=True)
        assert str(refusal.value) == (
            f"{place}: expected a destination on this machine, found one at {scheme}://, where others could see it "
            "half-written. Write it to a disk here, and copy it there with that storage's own tool."
        )
    assert here(tmp_path) == ["source.safetensors"]


def test_file_is_a_scheme_of_this_machine(tmp_path: Path) -> None:
    source = saved(tmp_path / "a source.safetensors", weights())
    convert(source.as_uri(), (tmp_path / "port.safetensors").as_uri(), example())
    assert_equal(loaded(tmp_path / "port.safetensors"), example().arrays(weights()))
