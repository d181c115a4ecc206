"""Where a source lies: pipes, devices, links, the cache of a hub, and folders that lead elsewhere."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from paritree import CheckpointError, Conversion, Map, MapError, Record, UsageError, WeightsError, convert
from paritree.conformance.known import load as load_known
from paritree.pairs.records import RecordError

from .checkpoints import assert_equal, example, loaded, saved, weights


def refused(source: Path) -> str:
    with pytest.raises(CheckpointError) as refusal:
        convert(source, source.parent / "port.safetensors", example())
    return str(refusal.value).replace(f"{source.parent}/", "")


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.index.json"])
def test_a_source_that_is_a_pipe(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    found = "expected what can be read, found a named pipe, which is no regular file. Give another, or copy it again."
    assert refused(tmp_path / name) == f"{name}: {found}"


@pytest.mark.parametrize("name", ["a.safetensors", "a.bin", "a.index.json"])
def test_a_source_that_is_a_device(name: str, tmp_path: Path) -> None:
    (tmp_path / name).symlink_to("/dev/zero")
    found = "expected what can be read, found a device, which is no regular file. Give another, or copy it again."
    assert refused(tmp_path / name) == f"{name}: {found}"


@pytest.mark.parametrize("make", [os.mkfifo, lambda file: Path(file).symlink_to("/dev/zero")])
@pytest.mark.parametrize(
    ("read", "kind", "expected"),
    [
        (Map.load, MapError, "a file with a map"),
        (Record.load, RecordError, "a file with a record"),
        (load_known, UsageError, "a readable TOML file"),
    ],
)
def test_a_file_that_is_none(make, read, kind, expected: str, tmp_path: Path) -> None:
    make(tmp_path / "a")
    with pytest.raises(kind, match=f"a: expected {expected}, found .*, which is no regular file"):
        read(tmp_path / "a")


def shards(index: Path, folder: Path, link: Path | None = None) -> None:
    """Two shards in a folder and an index of them; links to all of it beside one another in `link`."""
    names = list(weights())
    parts = {"1.safetensors": names[:3], "2.safetensors": names[3:]}
    for name, part in parts.items():
        saved(folder / name, {path: weights()[path] for path in part})
    homes = {path: name for name, part in parts.items() for path in part}
    index.write_text(json.dumps({"weight_map": homes}))
    for name in parts if link else ():
        (link / name).symlink_to(folder / name)  # type: ignore[operator]


def test_a_shard_that_is_a_link_elsewhere(tmp_path: Path) -> None:
    for name in ("here", "elsewhere"):
        (tmp_path / name).mkdir()
    shards(tmp_path / "here" / "a.index.json", tmp_path / "elsewhere", tmp_path / "here")
    expected = "a.index.json: expected the shard '1.safetensors' beside it, found a link to "
    assert refused(tmp_path / "here" / "a.index.json") == (
        f"{expected}'{tmp_path / 'elsewhere' / '1.safetensors'}'. Put all shards beside the index."
    )


def test_the_cache_of_a_hub_has_links_to_one_folder(tmp_path: Path) -> None:
    for name in ("snapshot", "blobs"):
        (tmp_path / name).mkdir()
    shards(tmp_path / "blobs" / "f00", tmp_path / "blobs", tmp_path / "snapshot")
    (tmp_path / "snapshot" / "a.index.json").symlink_to(tmp_path / "blobs" / "f00")
    convert(tmp_path / "snapshot" / "a.index.json", tmp_path / "port.safetensors", example())
    assert_equal(loaded(tmp_path / "port.safetensors"), example().arrays(weights()))


@pytest.mark.parametrize("name", ["..", ".", ""])
def test_a_shard_that_is_no_file(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    assert refused(tmp_path / "a.index.json") == (
        f"a.index.json: expected the names of files beside it, found {name!r}. Copy the index again."
    )


def test_an_orbax_folder_that_leads_elsewhere(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", weights())
    convert(source, tmp_path / "a", example())
    (tmp_path / "a" / "more").symlink_to(source)
    found = "expected what can be read, found 'more', a link that leads out of it. Give another, or copy it again."
    assert refused(tmp_path / "a") == f"a: {found}"


def test_a_million_names_are_no_message(tmp_path: Path) -> None:
    arrays = {**weights(), **{f"extra.{number}": np.zeros(0, np.float32) for number in range(20_000)}}
    source = saved(tmp_path / "source.safetensors", arrays)
    with pytest.raises(WeightsError) as refusal:
        convert(source, tmp_path / "port.safetensors", example())
    assert "found 20,000 that do not fit: extra.0 is not in the map; " in str(refusal.value)
    assert "; and 19,980 more. Leave out" in str(refusal.value)
    done = convert(source, tmp_path / "port.safetensors", example(), skip=["extra.*"])
    assert len(done.left_out) == 20_001
    assert len(str(done).splitlines()) == 53
    assert "\nleft out: and 19,951 more\n" in str(done)
    assert str(Conversion(tmp_path, ("torch", "nnx"), 1, 4)) == "torch -> nnx: 1 tensor, 4 bytes"


@pytest.mark.parametrize("gone", [False, True])
def test_a_source_that_changes_while_it_is_read(gone: bool, tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", weights())

    def change(done: int, total: int) -> None:
        if gone:
            source.unlink(missing_ok=True)
        else:
            os.utime(source, (1, 1))

    with pytest.raises(CheckpointError) as caught:
        convert(source, tmp_path / "port.safetensors", example(), on_progress=change)
    found = "No such file or directory" if gone else "one that was written to in the meantime"
    assert str(caught.value) == (
        f"{source}: expected a file that stays as it is while it is read, found {found}. Begin again when nothing "
        "writes to it."
    )
    assert [each.name for each in tmp_path.iterdir()] == ([] if gone else ["source.safetensors"])
