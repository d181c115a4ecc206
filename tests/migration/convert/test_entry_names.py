"""Names of the destination that its kind cannot hold, or would take for something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paritree import CheckpointError, Map, convert
from paritree.pairs.maps import nested

from .checkpoints import row, saved

W = np.arange(6, dtype=np.float32).reshape(2, 3)


def converted(folder: Path, destination: str, *names: str) -> list[Path]:
    """What is in the folder after a conversion of one tensor to several of other names."""
    source = saved(folder / "source.safetensors", {f"w{number}": W for number in range(len(names))})
    rows = tuple(row(f"w{number}", name, W.shape, "a b -> a b") for number, name in enumerate(names))
    try:
        convert(source, folder / destination, Map(rows, ("torch", "nnx")))
    finally:
        left = sorted(path.name for path in folder.iterdir())
    return [folder / name for name in left]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("__metadata__", "'__metadata__', which the format has for itself"),
        ("format", "'format', which the format has for itself"),
        ("a.\ud800", "half of a surrogate pair, which is no Unicode"),
    ],
)
def test_a_file_of_safetensors_refuses_it_by_name(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(CheckpointError) as refusal:
        converted(tmp_path, "port.safetensors", name)
    expected = f"expected a name that a .safetensors file can hold, found {reason}. Rename it in the model."
    assert str(refusal.value) == f"{name!r}: {expected}"
    assert [path.name for path in tmp_path.iterdir()] == ["source.safetensors"]


@pytest.mark.parametrize(("name", "part"), [("a...b", "''"), ("..", "''"), ("a/b.c", "'a/b'"), ("a.b\0", r"'b\x00'")])
def test_a_folder_of_orbax_refuses_it_by_name(tmp_path: Path, name: str, part: str) -> None:
    with pytest.raises(CheckpointError) as refusal:
        converted(tmp_path, "port", name)
    expected = f"expected a name that an Orbax folder can hold, found the part {part}. Rename it in the model."
    assert str(refusal.value) == f"{name!r}: {expected}"
    assert [path.name for path in tmp_path.iterdir()] == ["source.safetensors"]


def test_a_whole_number_has_one_spelling() -> None:
    names = ["1", "01", "\u0663", 5000 * "7", "10"]
    tree = nested({f"layers.{name}.w": W for name in names}, with_numbers=True)
    assert list(tree["layers"]) == [1, "01", "\u0663", 5000 * "7", 10]
