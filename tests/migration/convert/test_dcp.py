"""Folders of torch.distributed.checkpoint as sources and destinations; nothing in them is run."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed import checkpoint

from paritree import CheckpointError, Map, convert
from paritree.common import reading
from paritree.migration.convert.readers import open_source

from .checkpoints import BFLOAT16, assert_equal, example, loaded, row, saved, weights
from .test_convert import as_torch

RIGHT = example().arrays(weights())


def save(state: dict[str, Any], folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.save(state, storage_writer=checkpoint.FileSystemWriter(folder), no_dist=True)
    return folder


@pytest.mark.parametrize("way", ["flat", "model", "app"])
def test_a_folder_is_a_source(way: str, tmp_path: Path) -> None:
    model = as_torch(weights())
    optimizer = {"state": {"embed.weight": {"exp_avg": torch.ones(7, 4)}}, "lr": 0.1}
    state = {
        "flat": model,
        "model": {"model": model, "optim": optimizer},
        "app": {"app": {"model": model, "optim": optimizer}},
    }
    done = convert(save(state[way], tmp_path / "source"), tmp_path / "port.safetensors", example())
    assert_equal(loaded(tmp_path / "port.safetensors"), RIGHT)
    assert done.left_out == (("steps",) if way == "flat" else ("steps", "optim"))


def test_there_and_back_through_a_folder(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "source.safetensors", {"w": np.asarray([[1, 2, 3]], BFLOAT16), "s": np.asarray(2.5, np.float32)}
    )
    made = Map((row("w", "v", (1, 3), "a b -> b a", port_shape=(3, 1)), row("s", "t", (), "->")), ("torch", "nnx"))
    convert(source, tmp_path / "port.dcp", made)
    done = convert(tmp_path / "port.dcp", tmp_path / "back.safetensors", made)
    assert done.direction == ("nnx", "torch")
    assert_equal(loaded(tmp_path / "back.safetensors"), loaded(source))


def test_torch_loads_what_was_converted_with_its_ties(tmp_path: Path) -> None:
    port = saved(tmp_path / "port.safetensors", RIGHT)
    done = convert(port, tmp_path / "back.dcp", example())
    assert done.aliases == ("head.weight",)
    found = {path: torch.zeros(array.shape) for path, array in weights().items() if path != "steps"}
    found["head.weight"] = torch.zeros(7, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint.load(found, checkpoint_id=tmp_path / "back.dcp", no_dist=True)
    expected = example().inverse().arrays(RIGHT)
    assert all(np.array_equal(found[path], array) for path, array in expected.items())
    assert np.array_equal(found["head.weight"], expected["embed.weight"])


SHARDED = """
import os, sys, torch, torch.distributed as dist
from torch.distributed import checkpoint
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
dist.init_process_group("gloo", init_method=f"file://{sys.argv[1]}/meet", rank=int(sys.argv[2]), world_size=2)
mesh = init_device_mesh("cpu", (2,))
whole = {"a": torch.arange(15.0).reshape(5, 3), "b": torch.arange(8.0).reshape(2, 4).bfloat16(), "c": torch.ones(3)}
ways = {"a": Shard(0), "b": Shard(1), "c": Replicate()}
state = {name: distribute_tensor(tensor, mesh, [ways[name]]) for name, tensor in whole.items()}
checkpoint.save(state, checkpoint_id=f"{sys.argv[1]}/source")
dist.destroy_process_group()
"""


def test_what_two_processes_have_saved_in_shards(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SHARDED, str(tmp_path)]
    running = [subprocess.Popen([*command, str(rank)], stderr=subprocess.PIPE, text=True) for rank in range(2)]
    try:
        for process in running:
            _, errors = process.communicate(timeout=120)
            assert process.returncode == 0, errors
    finally:
        for process in running:
            process.kill()
    assert len([*(tmp_path / "source").glob("*.distcp")]) == 2
    made = Map(tuple(row(name, f"p.{name}", shape, layout) for name, shape, layout in PARTS), ("torch", "linen"))
    convert(tmp_path / "source", tmp_path / "port.safetensors", made)
    found = loaded(tmp_path / "port.safetensors")
    assert np.array_equal(found["p.a"], np.arange(15, dtype=np.float32).reshape(5, 3))
    assert np.array_equal(found["p.b"], np.arange(8).reshape(2, 4).astype(BFLOAT16))
    assert np.array_equal(found["p.c"], np.ones(3))


PARTS = (("a", (5, 3), "a b -> a b"), ("b", (2, 4), "a b -> a b"), ("c", (3,), "a -> a"))


@pytest.mark.parametrize("name", ["port.dcp", "port"])
def test_a_folder_replaces_checkpoints_alone(name: str, tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", weights())
    convert(source, tmp_path / "port.dcp", example())
    (tmp_path / "port.dcp").rename(tmp_path / name) if name != "port.dcp" else None
    convert(source, tmp_path / name, example(), overwrite=True)
    (tmp_path / name / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match=r"nothing else to overwrite, found 'notes\.txt' in it"):
        convert(source, tmp_path / name, example(), overwrite=True)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("evil",)


def changed(folder: Path, change: Callable[[Any], object]) -> None:
    file = folder / ".metadata"
    content = pickle.loads(file.read_bytes())
    content = change(content) or content
    file.write_bytes(pickle.dumps(content))


def info(content: Any, name: str = "norm.weight") -> Any:
    return next(value for key, value in content.storage_data.items() if key.fqn == name)


def entry(content: Any) -> Any:
    return content.state_dict_metadata["norm.weight"]


def test_parts_are_read_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"a": torch.arange(105.0).reshape(7, 5, 3), "b": torch.arange(12).bfloat16(), "c": torch.tensor(2.5)}
    source = open_source(save(given, tmp_path / "source"))
    read: list[int] = []
    whole = reading.read_into
    monkeypatch.setattr(reading, "read_into", lambda *each: (read.append(len(each[1])), whole(*each)))
    for box in (((0, 7), (0, 5), (0, 3)), ((2, 4), (1, 5), (0, 3)), ((6, 7), (0, 5), (1, 2)), ((0, 7), (2, 3), (2, 3))):
        found = source.place("a").read(box)
        assert np.array_equal(found, given["a"].numpy()[tuple(slice(*each) for each in box)])
        assert sum(read) == found.nbytes
        read.clear()
    assert np.array_equal(source.place("b").read(((3, 9),)), np.arange(3, 9).astype(BFLOAT16))
    assert source.place("c").read(()) == 2.5


def test_parts_of_what_is_damaged(tmp_path: Path) -> None:
    folder = save({"a": torch.arange(64.0)}, tmp_path / "source")
    before = (folder / ".metadata").read_bytes()
    for which, name, value, said in (
        (info, "length", 1 << 10, r"found what it cannot read \("),
        (lambda content, _: content.state_dict_metadata["a"].properties, "dtype", torch.int32, "that lies otherwise"),
    ):
        changed(folder, lambda content, at=(which, name, value): setattr(at[0](content, "a"), *at[1:]))
        with pytest.raises(CheckpointError, match=said):
            open_source(folder).place("a").read(((0, 4),))
        (folder / ".metadata").write_bytes(before)


DAMAGED = {
    "code": (lambda content: Evil(), r"found (posix|nt)\.mkdir, which would have to be unpickled\. Where you trust it"),
    "code within": (
        lambda content: setattr(content, "planner_data", Evil()),
        r"mkdir, which would have to be unpickled",
    ),
    "no metadata": (lambda content: torch.Size([1]), r"found what it cannot read \(TypeError: Size in it\)"),
    "a file elsewhere": (
        lambda content: setattr(info(content), "relative_path", "../outside"),
        r"norm\.weight: expected a part of a file in the folder, found bytes \d+ to \d+ \+ \d+ of '\.\./outside'",
    ),
    "past its end": (
        lambda content: setattr(info(content), "length", 1 << 40),
        "expected a part of a file in the folder",
    ),
    "too few bytes": (lambda content: setattr(info(content), "length", 8), "at least the 16 bytes of a chunk, found 8"),
    "a chunk is missing": (
        lambda content: entry(content).chunks.clear(),
        "norm.weight: expected chunks that are all of it, each entry once, found 0 that are not",
    ),
    "a chunk too often": (
        lambda content: entry(content).chunks.append(entry(content).chunks[0]),
        "each entry once, found 2 that are not",
    ),
    "a chunk outside": (
        lambda content: setattr(entry(content).chunks[0], "offsets", torch.Size([2])),
        "each entry once, found 1 that are not",
    ),
    "another dtype": (
        lambda content: setattr(entry(content).properties, "dtype", "float32"),
        "a dtype of 'norm.weight'",
    ),
    "another offset": (
        lambda content: setattr(info(content), "offset", info(content).offset + 3),
        r"norm\.weight: expected a tensor, found what it cannot read|expected a part of a file",
    ),
    "transformed": (
        lambda content: setattr(info(content), "transform_descriptors", ["zstd"]),
        r"expected a tensor as it is, found one by \['zstd'\]",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_damaged_is_refused_and_nothing_in_it_is_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = save(as_torch(weights()), tmp_path / "source")
    change, said = DAMAGED[name]
    changed(source, change)
    with pytest.raises(CheckpointError, match=said):
        convert(source, tmp_path / "port.safetensors", example())
    assert sorted(each.name for each in tmp_path.iterdir()) == ["source"]


def test_bytes_that_are_no_metadata(tmp_path: Path) -> None:
    source = save(as_torch(weights()), tmp_path / "source")
    whole = (source / ".metadata").read_bytes()
    for content in (b"", whole[:-40], b"nothing of the kind", whole.replace(b"norm.weight", b"norm.w\xffight")):
        (source / ".metadata").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"expected metadata of torch\.distributed\.checkpoint"):
            convert(source, tmp_path / "port.safetensors", example())


def test_a_dtype_that_torch_does_not_have(tmp_path: Path) -> None:
    import ml_dtypes

    source = saved(tmp_path / "source.safetensors", {"w": np.zeros(2, np.float32)})
    made = Map((row("w", "v", (2,), "a -> a"),), ("torch", "nnx"))
    from paritree.impl_torch import dcp

    with pytest.raises(CheckpointError, match="w: expected a dtype that PyTorch has, found float8_e3m4"):
        dcp.write(tmp_path / "made", {"w": np.zeros(2, ml_dtypes.float8_e3m4)})
    with pytest.raises(CheckpointError, match=r"one that ends in '\.DCP'"):
        convert(source, tmp_path / "made.DCP", made)
