"""Models that are saved by their shards: of one process with many devices, and of several processes together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp

import paritree
from paritree.common.trees import leaves
from paritree.migration.convert.readers import open_source

from ..load.models import WIDE, arrays, gpt2, gpt2_map, llama
from ..load.models import saved as saved_as_shards
from ..processes import run_alone, run_together
from .checkpoints import assert_equal, example, weights
from .on_mesh import as_itself, check_back


def test_from_a_mesh(tmp_path: Path) -> None:
    assert run_alone("tests.migration.convert.on_mesh", tmp_path) == [
        "GPT-2 from an NNX module",
        "Llama from Linen variables",
        "every kind of row",
        "what cannot be told is refused",
    ]


def test_from_one_mesh_of_two_processes(tmp_path: Path) -> None:
    saved_as_shards(gpt2(WIDE), tmp_path / "gpt2", "1MB")
    saved_as_shards(llama(WIDE), tmp_path / "llama", "1MB")
    held = ["GPT-2", "Llama", "other maps", "other destinations", "full disk", "no common disk", "wrong count"]
    assert run_together("tests.migration.convert.over_processes", tmp_path) == [[*held, "dead"], held]
    for name in ("shards", "made.safetensors", "made.dcp"):
        check_back(tmp_path / name, as_itself(gpt2(WIDE)), gpt2(WIDE))
    for name in ("llama shards", "orbax"):
        check_back(tmp_path / name, as_itself(llama(WIDE)), llama(WIDE))


def test_from_two_processes_of_a_group(tmp_path: Path) -> None:
    held = ["fully_shard", "every kind of row", "DCP by PyTorch", "unlike models", "a weight norm"]
    assert run_together("tests.migration.convert.in_processes", tmp_path) == [held, [*held, "the first is dead"]]
    for name in ("made", "made.safetensors", "made.dcp", "shards"):
        assert_equal(read(tmp_path / name), gpt2_map(WIDE).arrays(arrays(gpt2(WIDE))))
        assert_equal(read(tmp_path / f"rows-{name}"), example().arrays(weights()))
        expected = example().inverse().arrays(example().arrays(weights()))
        assert_equal(read(tmp_path / f"norm-{name}"), {"a": normed()})
        found = read(tmp_path / f"back-{name}")
        assert_equal({path: found[path] for path in expected}, expected)
    assert_equal(read(tmp_path / "norm-mixed.safetensors"), {"a": normed()})
    with ocp.StandardCheckpointer() as checkpointer:
        found = dict(leaves(checkpointer.restore(tmp_path / "made")))
    expected = gpt2_map(WIDE).arrays(arrays(gpt2(WIDE)))
    assert_equal({path: np.asarray(array) for path, array in found.items()}, expected)
    # What is left of the one that died is removed by the next.
    assert len([*tmp_path.glob(".dead.*.paritree-part")]) == 1
    paritree.save(gpt2(WIDE), gpt2_map(WIDE), tmp_path / "dead", max_shard_size="1MB")
    assert not [*tmp_path.glob(".dead.*.paritree-part")]


def normed() -> np.ndarray:
    """What a weight norm's factors are merged to in one process."""
    random = np.random.default_rng(0)
    g, v = (random.normal(size=(5, size)).astype(np.float32) for size in (1, 6))
    wide = v.astype(np.float64)
    return (wide * (g / np.sqrt((wide * wide).sum(1, keepdims=True)))).astype(np.float32).T


def read(checkpoint: Path) -> dict[str, np.ndarray]:
    source = open_source(checkpoint)
    return {path: source.array(path) for path in source.entries}
