"""A dry run says what a conversion would do, refuses what it would refuse, and writes nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paritree import CheckpointError, Map, WeightsError, convert

from .checkpoints import example, loaded, row, saved, weights


def files(folder: Path) -> list[str]:
    return sorted(each.relative_to(folder).as_posix() for each in folder.rglob("*"))


@pytest.mark.parametrize(("name", "size"), [("port", 300), ("port", None), ("port.safetensors", None)])
def test_it_says_what_the_conversion_does(name: str, size: int | None, tmp_path: Path) -> None:
    source, target = saved(tmp_path / "source.safetensors", weights()), tmp_path / name
    told = convert(source, target, example(), max_shard_size=size, dry_run=True)
    assert files(tmp_path) == ["source.safetensors"]
    done = convert(source, target, example(), max_shard_size=size)
    assert (told.tensors, told.nbytes, told.left_out, told.absent) == (
        done.tensors,
        done.nbytes,
        done.left_out,
        done.absent,
    )
    needed = [array.nbytes for path, array in weights().items() if path != "steps"]
    first, *others = told.planned
    assert first == (f"read {source}", len(needed), sum(needed))
    if size is None:
        assert others == [(f"write {target}", done.tensors, done.nbytes)]
        return
    made = [file for file in sorted(target.iterdir()) if file.suffix == ".safetensors"]
    assert others == [
        (f"write {file}", len(loaded(file)), sum(array.nbytes for array in loaded(file).values())) for file in made
    ]


def test_as_text(tmp_path: Path) -> None:
    made = Map((row("w", "v", (300,), "a -> a"),), ("torch", "nnx"))
    source = saved(tmp_path / "a.safetensors", {"w": np.zeros(300, np.float32)})
    told = convert(source, tmp_path / "b.safetensors", made, dtype="bfloat16", dry_run=True)
    assert str(told).replace(f"{tmp_path}/", "").splitlines() == [
        "torch -> nnx: 1 tensor, 600 bytes",
        "would read a.safetensors: 1 tensor, 1,200 bytes",
        "would write b.safetensors: 1 tensor, 600 bytes",
    ]


def test_it_refuses_what_the_conversion_refuses(tmp_path: Path) -> None:
    source = saved(tmp_path / "a.safetensors", {"w": np.zeros(3, np.float32)})
    with pytest.raises(WeightsError, match=r"embed\.weight is missing"):
        convert(source, tmp_path / "b.safetensors", example(), dry_run=True)
    made = Map((row("w", "__metadata__", (3,), "a -> a"),), ("torch", "pytree"))
    with pytest.raises(CheckpointError, match=r"a name that a \.safetensors file can hold"):
        convert(source, tmp_path / "b.safetensors", made, dry_run=True)
    made = Map((row("w", "v", (3,), "a -> a"),), ("torch", "nnx"))
    with pytest.raises(CheckpointError, match="a destination apart from what it is made from"):
        convert(source, source, made, overwrite=True, dry_run=True)
    with pytest.raises(CheckpointError, match="a destination that is not there yet"):
        convert(source, source, made, dry_run=True)
    assert files(tmp_path) == ["a.safetensors"]
