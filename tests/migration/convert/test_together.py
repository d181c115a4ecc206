"""Models that are saved by their shards: of one process with many devices, and of several processes together."""

from __future__ import annotations

from pathlib import Path

from ..load.models import WIDE, gpt2, llama
from ..load.models import saved as saved_as_shards
from ..processes import run_alone, run_together
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
