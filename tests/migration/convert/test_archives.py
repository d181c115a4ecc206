"""Checkpoints of torch.save as archives: packed anew, damaged, and at odds with themselves."""

from __future__ import annotations

import json
import struct
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from paritree import CheckpointError, Map, convert

from .checkpoints import assert_equal, example, loaded, row, weights

ANEW = "It is cut short or damaged: copy it again."
SAVE = "It is cut short or no checkpoint: copy or save it again."


def tensors() -> dict[str, torch.Tensor]:
    return {path: torch.from_numpy(array.copy()) for path, array in weights().items()}


def members(file: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def packed(file: Path, contents: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)
    return file


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    torch.save(tensors(), tmp_path / "whole.pt")
    return tmp_path / "whole.pt"


def check_right(source: Path) -> None:
    convert(source, source.with_name("port.safetensors"), example(), overwrite=True)
    assert_equal(loaded(source.with_name("port.safetensors")), example().arrays(weights()))


def refused(source: Path, made: Map | None = None) -> str:
    with pytest.raises(CheckpointError) as refusal:
        convert(source, source.with_name("port.safetensors"), made or example())
    assert not source.with_name("port.safetensors").exists()
    return str(refusal.value).replace(f"{source.parent}/", "")


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("order", [list, lambda names: sorted(names, reverse=True)])
def test_a_checkpoint_that_was_packed_anew(method: int, order: Callable, whole: Path) -> None:
    contents = members(whole)
    others = {"__MACOSX/._data.pkl": b"", "whole/": b""}
    check_right(packed(whole, {name: contents[name] for name in order(contents)} | others, method))


def test_some_members_are_compressed_and_others_are_not(whole: Path) -> None:
    with zipfile.ZipFile(whole) as archive:
        contents = [(each, archive.read(each)) for each in archive.infolist()]
    with zipfile.ZipFile(whole, "w") as archive:
        for number, (each, content) in enumerate(contents):
            archive.writestr(each.filename, content, zipfile.ZIP_DEFLATED if number % 2 else zipfile.ZIP_STORED)
    check_right(whole)


def test_shards_that_were_packed_anew(tmp_path: Path) -> None:
    homes = {}
    names = list(weights())
    for number, part in enumerate((names[:3], names[3:])):
        shard = tmp_path / f"model-{number}.bin"
        torch.save({path: tensors()[path] for path in part}, shard)
        packed(shard, members(shard))
        homes |= dict.fromkeys(part, shard.name)
    (tmp_path / "model.index.json").write_text(json.dumps({"weight_map": homes}))
    check_right(tmp_path / "model.index.json")


def test_tensors_that_share_a_member_in_every_way(whole: Path) -> None:
    """Views at offsets and turned round, of a member that is unpacked once and released piece by piece."""
    held = weights()
    rows = np.concatenate([held["cell.bias_ih"], held["cell.bias_hh"], held["norm.weight"]])
    flat, turned = torch.from_numpy(rows), torch.from_numpy(held["in_proj.weight"].T.copy())
    views = {
        "cell.bias_ih": flat[:8],
        "cell.bias_hh": flat[8:16],
        "norm.weight": flat[16:],
        "in_proj.weight": turned.t(),
    }
    torch.save({**tensors(), **views, "head.weight": tensors()["embed.weight"]}, whole)
    check_right(whole)
    check_right(packed(whole, members(whole)))


def test_a_checkpoint_of_a_machine_that_turns_its_bytes_round(whole: Path) -> None:
    contents = members(whole)
    sizes = {"steps": 8}
    order = {f"whole/data/{number}": sizes.get(path, 4) for number, path in enumerate(weights())}
    turned = {
        name: np.frombuffer(content, f"u{order[name]}").byteswap().tobytes() if name in order else content
        for name, content in contents.items()
    }
    check_right(packed(whole, {**turned, "whole/byteorder": b"big"}))


def test_a_checkpoint_without_checksums(tmp_path: Path) -> None:
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(tensors(), tmp_path / "a.pt")
    finally:
        torch.serialization.set_crc32_options(before)
    check_right(tmp_path / "a.pt")


def test_a_bit_that_fell_over(whole: Path) -> None:
    content = bytearray(whole.read_bytes())
    begin = content.index(weights()["conv.weight"].tobytes())
    content[begin + 100] ^= 1
    whole.write_bytes(content)
    message = refused(whole)
    assert message.startswith("whole.pt: whole/data/2: expected the checksum ")
    assert message.endswith(ANEW)


def with_storage(file: Path, member: bytes, numel: int = 4) -> Path:
    """A checkpoint of one tensor of 4 numbers, whose storage says that it has `numel` and whose member has others."""
    torch.save({"w": torch.ones(4)}, file)
    contents = members(file)
    root = file.stem
    pickled = contents[f"{root}/data.pkl"]
    # The storage's length is the last number before the tuple of its persistent id.
    at = pickled.index(b"K\x04tq", pickled.index(b"cpu"))
    pickled = pickled[: at + 1] + bytes([numel]) + pickled[at + 2 :]
    return packed(file, {**contents, f"{root}/data.pkl": pickled, f"{root}/data/0": member}, zipfile.ZIP_STORED)


@pytest.mark.parametrize("size", [0, 12, 20])
def test_a_storage_that_is_not_as_long_as_it_says(size: int, tmp_path: Path) -> None:
    made = Map((row("w", "v", (4,), "a -> a"),), ("torch", "linen"))
    message = refused(with_storage(tmp_path / "a.pt", bytes(size)), made)
    assert message == f"a.pt: w: expected the 16 bytes of its storage, found {size} in a/data/0. {SAVE}"


def test_a_tensor_that_is_longer_than_its_storage(tmp_path: Path) -> None:
    made = Map((row("w", "v", (4,), "a -> a"),), ("torch", "linen"))
    message = refused(with_storage(tmp_path / "a.pt", bytes(8), numel=2), made)
    assert message == f"a.pt: w: expected the 16 bytes of its storage, found 8 in a/data/0. {SAVE}"


def test_a_tensor_of_an_old_file_that_is_longer_than_its_storage(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(4)}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
    content = (tmp_path / "a.pt").read_bytes()
    at = content.index(b"K\x04", content.index(b"cpu"))
    values = struct.pack("<q2f", 2, 1, 1)
    (tmp_path / "a.pt").write_bytes(content[: at + 1] + b"\x02" + content[at + 2 : -8 - 16] + values)
    message = refused(tmp_path / "a.pt")
    assert message.startswith("a.pt: expected a checkpoint of torch.save, found what it cannot read (RuntimeError: ")


def directory(content: bytes, name: bytes) -> int:
    """Where a member's entry in an archive's directory begins."""
    return content.rindex(name) - 46


def changed(file: Path, name: bytes, at: int, form: str, value: int) -> str:
    content = bytearray(file.read_bytes())
    struct.pack_into(form, content, directory(bytes(content), name) + at, value)
    file.write_bytes(content)
    return refused(file)


def test_members_that_lie_in_one_another(whole: Path) -> None:
    content = bytearray(whole.read_bytes())
    struct.pack_into("<II", content, directory(bytes(content), b"whole/data/1") + 20, 1000, 1000)
    whole.write_bytes(content)
    message = refused(whole)
    assert message.startswith("whole.pt: whole/data/1: expected bytes that end before the next member, at ")
    assert message.endswith(ANEW)


@pytest.mark.parametrize(
    ("at", "form", "value", "message"),
    [
        (8, "<H", 1, "expected a member that is stored or deflated, found an encrypted one. Save it anew"),
        (10, "<H", 12, "expected a member that is stored or deflated, found method 12 of zip. Save it anew"),
        (24, "<I", 7, "expected all bytes of a member that is not compressed, found 192 of 7. It is"),
        (42, "<I", 11, "expected a member's header at byte 11, found none. It is"),
    ],
)
def test_a_member_that_the_directory_tells_wrongly(at: int, form: str, value: int, message: str, whole: Path) -> None:
    assert changed(whole, b"whole/data/1", at, form, value).startswith(f"whole.pt: whole/data/1: {message}")


@pytest.mark.parametrize("size", [100, 300])
def test_a_compressed_member_of_another_length(size: int, whole: Path) -> None:
    packed(whole, members(whole))
    message = changed(whole, b"whole/data/1", 24, "<I", size)
    # The storage's own length tells first.
    assert message.startswith(
        f"whole.pt: in_proj.weight: expected the 192 bytes of its storage, found {size} in whole/data/1."
    )


@pytest.mark.parametrize(("size", "found"), [(100, "more"), (1 << 30, "554")])
def test_a_compressed_pickle_of_another_length(size: int, found: str, whole: Path) -> None:
    packed(whole, members(whole))
    message = changed(whole, b"whole/data.pkl", 24, "<I", size)
    assert message.startswith(f"whole.pt: whole/data.pkl: expected {size:,} bytes in it, as the archive says, found ")


def test_a_compressed_member_that_is_damaged(whole: Path) -> None:
    packed(whole, members(whole))
    content = bytearray(whole.read_bytes())
    begin = content.index(b"whole/data/2") + len(b"whole/data/2")
    content[begin : begin + 20] = b"\xff" * 20
    whole.write_bytes(content)
    assert refused(whole).startswith("whole.pt: whole/data/2: expected a member that can be unpacked, found Error -3")


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_two_members_of_one_name(whole: Path) -> None:
    with zipfile.ZipFile(whole, "a") as archive:
        archive.writestr("whole/data/0", bytes(112))
    assert refused(whole) == f"whole.pt: whole/data/0: expected one member of each name, found two. {ANEW}"


def test_an_archive_that_is_no_checkpoint(tmp_path: Path) -> None:
    expected = "expected a checkpoint of torch.save, with one NAME/data.pkl in it, found"
    assert refused(packed(tmp_path / "a.pt", {"a": b"", "b": b""})) == f"a.pt: {expected} 'a', 'b'. {SAVE}"


def test_containers_without_end(tmp_path: Path) -> None:
    turning: dict[str, object] = {"w": torch.ones(2)}
    turning["self"] = turning
    doubling: list[object] = [1]
    for _ in range(60):
        doubling = [doubling, doubling]
    deep: list[object] = []
    for _ in range(200):
        deep = [deep]
    found = "some more than 100 deep, or that hold one another without end"
    contents = {"self.self.self": turning, "x.0.0": {"w": torch.ones(2), "x": doubling}, "0.0.0": deep}
    for (where, content), zipped in product(contents.items(), (True, False)):
        torch.save(content, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
        assert refused(tmp_path / "a.pt").startswith(
            f"a.pt: {where}: expected containers as a model has them, found {found}. "
        )


def test_a_tensor_on_the_meta_device(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2, device="meta")}, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt") == (
        "a.pt: w: expected a tensor with values, found one on the meta device. Save it with its values."
    )


def test_two_entries_of_one_path(tmp_path: Path) -> None:
    torch.save({"a": {"b": torch.ones(2)}, "a.b": torch.zeros(2)}, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt") == "a.pt: a.b: expected one entry of each path, found two. Rename one of them."


def test_a_sparse_tensor(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2).to_sparse()}, tmp_path / "a.pt")
    # Which one it is, PyTorch has not said since 2.14.
    assert "expected dense tensors of a type that NumPy has" in refused(tmp_path / "a.pt")


@pytest.mark.parametrize("old", [True, False])
def test_tuples_without_end_are_not_hashed(old: bool, tmp_path: Path) -> None:
    """Python's own stack has no room for the hash of such a key."""
    pickled = b"\x80\x02}" + b")" + b"\x85" * 1_000_000 + b"K\x01s."
    if old:
        torch.save({}, tmp_path / "a.pt", _use_new_zipfile_serialization=False)
        content = (tmp_path / "a.pt").read_bytes()
        (tmp_path / "a.pt").write_bytes(content.replace(b"\x80\x02}q\x00.", pickled))
    else:
        packed(tmp_path / "a.pt", {"a/data.pkl": pickled, "a/version": b"3\n"})
    assert refused(tmp_path / "a.pt") == (
        f"a.pt: expected containers as a model has them, found tuples more than 100 deep. {SAVE}"
    )
