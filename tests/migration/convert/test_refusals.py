"""What conversion refuses: damaged, missing and wrong files, and sources that do not fit the map."""

from __future__ import annotations

import json
import os
import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from paritree import CheckpointError, ParitreeError, WeightsError, convert

from .checkpoints import example, saved, weights

ANEW = "It is cut short or damaged: copy it again."
SKIP = "Leave out what the map does not know with --skip PATH (in Python skip=[...])."
KINDS = (
    "a .safetensors file, a torch checkpoint (.pt, .pth, .bin, .ckpt), a .index.json of shards, a .npz or .msgpack "
    "file, a folder with one of these as transformers names it, or a folder of Orbax or of torch.distributed.checkpoint"
)


def refused(source: Path, error: type[ParitreeError] = CheckpointError) -> str:
    """The message of a conversion that is refused, without the source's folder. Nothing is left of it."""
    with pytest.raises(error) as refusal:
        convert(source, source.parent / "port.safetensors", example())
    assert not [file for file in source.parent.iterdir() if "port" in file.name]
    return str(refusal.value).replace(f"{source.parent}{os.sep}", "")


def header(content: object) -> bytes:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text


TENSOR = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"a.safetensors: expected a safetensors file, found 0 bytes that begin with no header. {ANEW}"),
        (b"1234", f"a.safetensors: expected a safetensors file, found 4 bytes that begin with no header. {ANEW}"),
        (
            header({"a": TENSOR})[:40],
            f"a.safetensors: expected a safetensors file, found 40 bytes that begin with no header. {ANEW}",
        ),
        (
            header(b"{broken"),
            "a.safetensors: expected a safetensors file, found a header that is no JSON (Expecting property name "
            f"enclosed in double quotes: line 1 column 2 (char 1)). {ANEW}",
        ),
        (header([1]), f"a.safetensors: expected a safetensors file, found a header that is list. {ANEW}"),
        (
            header({"__metadata__": {"a": 1}}),
            f"a.safetensors: expected a safetensors file, found metadata that is no mapping of texts. {ANEW}",
        ),
        (
            header({"a": TENSOR}) + b"1234",
            f"a.safetensors: expected a file of 77 bytes, as its header says, found 73. {ANEW}",
        ),
        (
            header({"a": {**TENSOR, "data_offsets": [4, 12]}}) + bytes(12),
            "a.safetensors: a: expected its bytes where the others end, found bytes 4 to 12, where it needs 8 from 0 "
            f"on. {ANEW}",
        ),
        (
            header({"a": {**TENSOR, "shape": [3]}}) + bytes(8),
            "a.safetensors: a: expected its bytes where the others end, found bytes 0 to 8, where it needs 12 from 0 "
            f"on. {ANEW}",
        ),
        (
            header({"a": {**TENSOR, "shape": [-2]}}) + bytes(8),
            f"a.safetensors: a: expected lengths and offsets, found [-2] and [0, 8]. {ANEW}",
        ),
        (
            header({"a": {"dtype": "F32"}}),
            f"a.safetensors: a: expected a dtype, a shape and two offsets, found {{'dtype': 'F32'}}. {ANEW}",
        ),
    ],
)
def test_a_damaged_safetensors_file(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    assert refused(tmp_path / "a.safetensors") == message


def test_a_dtype_that_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(header({"a": {**TENSOR, "dtype": "F4"}}) + bytes(8))
    message = refused(tmp_path / "a.safetensors")
    assert message.startswith("a.safetensors: a: expected one of BOOL, U8, ")
    assert message.endswith(", found the dtype 'F4'. Cast the tensor where the file is made.")


def test_a_safetensors_file_that_is_cut_short_anywhere(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.safetensors", weights()).read_bytes()
    for length in range(0, len(whole), 37):
        (tmp_path / "cut.safetensors").write_bytes(whole[:length])
        assert refused(tmp_path / "cut.safetensors").startswith("cut.safetensors: expected a ")


class Planted:
    """Would make a file if it were unpickled."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, ("unpickled",)


def test_a_checkpoint_that_needs_unpickling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    remedy = "Where you trust the file, load it with the code that wrote it and save `model.state_dict()` alone."
    expected = "expected tensors and plain containers, which can be read without running code, found"
    torch.save({"state_dict": {}, "planted": Planted()}, "planted.pt")
    assert refused(tmp_path / "planted.pt") == (
        f"planted.pt: {expected} {os.mkdir.__module__}.mkdir, which would have to be unpickled. {remedy}"
    )
    torch.save(torch.nn.Linear(2, 2), "module.bin")
    assert refused(tmp_path / "module.bin") == (
        f"module.bin: {expected} torch.nn.modules.linear.Linear, which would have to be unpickled. {remedy}"
    )
    Path("plain.ckpt").write_bytes(pickle.dumps({"planted": Planted()}))
    assert refused(tmp_path / "plain.ckpt").startswith("plain.ckpt: expected ")
    assert not Path("unpickled").exists()


def test_a_torch_checkpoint_that_is_cut_short_or_none(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(100)}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    for name, content in {"empty": b"", "cut": whole[: len(whole) // 2], "text": b"hello", "json": b"{}"}.items():
        (tmp_path / f"{name}.pt").write_bytes(content)
        message = refused(tmp_path / f"{name}.pt")
        assert message.startswith(f"{name}.pt: expected a checkpoint of torch.save, found ")
        assert re.search(r"\. It is cut short or (no checkpoint: copy or save|damaged: copy) it again\.$", message)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (torch.ones(2), "one tensor"),
        ([1, 2], "list"),
        ({}, "one without tensors: it is empty"),
        ({"epoch": 3, "state_dict": {}}, "one without tensors: it is empty"),
        ({"epoch": 3}, "one without tensors: 'epoch'"),
    ],
)
def test_a_torch_checkpoint_without_weights(content: object, found: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "a.pt")
    assert refused(tmp_path / "a.pt") == (
        f"a.pt: expected a mapping from paths to tensors, found {found}. Save `model.state_dict()`, alone or under the "
        "key 'state_dict'."
    )


def test_a_torch_tensor_that_numpy_does_not_have(tmp_path: Path) -> None:
    torch.save({"w": torch.ones(2, 2).to_sparse()}, tmp_path / "a.pt")
    # Since 2.14 PyTorch does not say any more which one it is.
    message = refused(tmp_path / "a.pt").replace("w: ", "")
    assert message.startswith("a.pt: expected dense tensors of a type that NumPy has, found ")
    assert "sparse" in message


def test_an_index_that_does_not_hold(tmp_path: Path) -> None:
    index = tmp_path / "a.index.json"
    saved(tmp_path / "1.safetensors", {"a": np.ones(1), "b": np.ones(1)})
    saved(tmp_path / "2.safetensors", {"b": np.ones(1)})
    cases: dict[str, tuple[object, str]] = {
        "missing shard": (
            {"weight_map": {"a": "3.safetensors"}},
            "expected the shard '3.safetensors' beside it, found no such file. Put all shards beside the index.",
        ),
        "missing tensor": (
            {"weight_map": {"c": "2.safetensors", "d": "2.safetensors"}},
            "expected shards that hold what it says, found 2 differences: c is not in 2.safetensors; d is not in "
            "2.safetensors. Copy index and shards again.",
        ),
        "twice": (
            {"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}},
            "expected shards that hold what it says, found 1 difference: b is in 1.safetensors and in 2.safetensors. "
            "Copy index and shards again.",
        ),
        "elsewhere": (
            {"weight_map": {"a": "../1.safetensors"}},
            "expected the names of files beside it, found '../1.safetensors'. Copy the index again.",
        ),
        "no map": (
            {"metadata": {}},
            "expected JSON with a 'weight_map' from paths to files, found another content. Copy the index again.",
        ),
    }
    for content, message in cases.values():
        index.write_text(json.dumps(content))
        assert refused(index) == f"a.index.json: {message}"
    index.write_text("{")
    assert refused(index).startswith(
        "a.index.json: expected JSON with a 'weight_map' from paths to files, found no JSON"
    )


def test_a_shard_that_is_cut_short(tmp_path: Path) -> None:
    shard = saved(tmp_path / "1.safetensors", {"a": np.ones(8)})
    shard.write_bytes(shard.read_bytes()[:-1])
    (tmp_path / "a.index.json").write_text(json.dumps({"weight_map": {"a": shard.name}}))
    assert refused(tmp_path / "a.index.json") == (
        f"1.safetensors: expected a file of 128 bytes, as its header says, found 127. {ANEW}"
    )


def test_a_source_that_is_none(tmp_path: Path) -> None:
    gone = f"gone.pt: expected {KINDS}, found nothing there. Give its path from here."
    assert refused(tmp_path / "gone.pt") == gone
    (tmp_path / "a.h5").write_bytes(b"")
    (tmp_path / "model").write_bytes(b"")
    remedy = "A file's name says what it is: rename it if it is one of these."
    assert refused(tmp_path / "a.h5") == (f"a.h5: expected {KINDS}, found a file that ends in '.h5'. {remedy}")
    assert refused(tmp_path / "model") == f"model: expected {KINDS}, found a file without an ending. {remedy}"


def test_a_folder_that_is_no_orbax_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    expected = (
        "a: expected an Orbax checkpoint, which has a file _METADATA, or model.safetensors, "
        "model.safetensors.index.json, pytorch_model.bin, pytorch_model.bin.index.json, flax_model.msgpack, found"
    )
    remedy = "Give the step's own folder, or the file itself if there is one in it."
    assert refused(tmp_path / "a") == f"{expected} an empty folder. {remedy}"
    (tmp_path / "a" / "100").mkdir()
    assert refused(tmp_path / "a") == f"{expected} a folder with '100'. {remedy}"


@pytest.mark.parametrize("part", ["manifest.ocdbt", "_METADATA", "d"])
def test_an_orbax_checkpoint_that_is_damaged(part: str, tmp_path: Path) -> None:
    """In a process of its own: after an error Orbax leaves unfinished reads behind, of which Python complains."""
    convert(saved(tmp_path / "source.safetensors", weights()), tmp_path / "a", example())
    example().save(tmp_path / "map.json")
    damaged = tmp_path / "a" / part
    files = [file for file in (tmp_path / "a").rglob("d/*") if file.is_file()] if damaged.is_dir() else [damaged]
    for file in files:
        file.write_bytes(file.read_bytes()[:10])
    command = [sys.executable, "-m", "paritree", "convert", "--map", "map.json", "a", "b.safetensors"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    message = next(line for line in done.stderr.splitlines() if line.startswith("paritree: "))
    assert done.returncode == 2
    assert message.startswith("paritree: a: expected an Orbax checkpoint, found what Orbax cannot read (")
    assert message.endswith("). Copy it again.")
    assert not (tmp_path / "b.safetensors").exists()


def test_every_entry_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    arrays = {**weights(), "norm.weight": np.zeros((3, 3)), "extra": np.zeros(2), "ids": np.arange(3)}
    del arrays["conv.weight"]
    assert refused(saved(tmp_path / "a.safetensors", arrays), WeightsError) == (
        "expected one tensor for each of 7 tensors of the map's torch side, found 3 that do not fit: conv.weight is "
        "missing; norm.weight has shape (3, 3) and needs (4,); extra is not in the map. "
        f"{SKIP} Nothing was written."
    )


def test_a_source_of_neither_side(tmp_path: Path) -> None:
    message = refused(saved(tmp_path / "a.safetensors", {"w": np.zeros(2, np.float32)}), WeightsError)
    assert "found 8 that do not fit: embed.weight is missing; " in message
    assert message.endswith(f"; w is not in the map. {SKIP} Nothing was written.")


def test_a_destination_that_is_none(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", weights())
    cases = {
        "port.msgpack": "expected a destination that ends in .safetensors, or for Orbax a folder's name, found one "
        "that ends in '.msgpack'. Choose one of the two.",
        "port.SAFETENSORS": "expected a destination that ends in .safetensors, or for Orbax a folder's name, found one "
        "that ends in '.SAFETENSORS'. Choose one of the two.",
        "port\0.safetensors": "expected to write there, found a name that no file can have. Make room or give another "
        "place. Nothing is left of it.",
        "no/port.safetensors": f"expected a folder '{tmp_path / 'no'}', found none. Make it first.",
        "source.safetensors": "expected a destination that is not there yet, found a file. Remove it, or ask to "
        "overwrite it.",
        "": "expected a destination that is not there yet, found a folder. Remove it, or ask to overwrite it.",
    }
    for name, message in cases.items():
        with pytest.raises(CheckpointError) as refusal:
            convert(source, tmp_path / name, example())
        shown = str(tmp_path / name).replace("\0", "\\x00")
        assert str(refusal.value) == f"{shown}: {message}"
    assert [file.name for file in tmp_path.iterdir()] == ["source.safetensors"]
