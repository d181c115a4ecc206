"""What one of two processes does that save from one mesh of JAX's, four devices each: `FOLDER PORT NUMBER`.

What is wrong with one of them, both end with an error of, and nothing stands at the destination.
"""

from __future__ import annotations

import os
import resource
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
import pytest
from flax import nnx

import paritree
from paritree.migration import meeting
from paritree.migration.convert import together

from ..load.models import WIDE, StackedGpt2, gpt2_map, llama_map, llama_port
from ..meshes import mesh, share, state_of
from ..processes import DEAD, by_system, connect, note, pauses

WINDOW = 1 << 16
NAMES: dict[str, dict[str, Any]] = {"shards": {"max_shard_size": "1MB"}, "made.safetensors": {}, "made.dcp": {}}


def main(folder: Path, port: str, number: int) -> None:
    connect(port, number)
    together.WINDOW = WINDOW
    with jax.set_mesh(mesh()):
        model = paritree.load(folder / "gpt2", gpt2_map(WIDE), nnx.eval_shape(lambda: StackedGpt2(WIDE)))
        variables = paritree.load(folder / "llama", llama_map(WIDE), llama_port(WIDE))
    for name, others in NAMES.items():
        # What is imported at the first call would count as memory.
        paritree.save(model, gpt2_map(WIDE), folder / f"first-{name}", **others)
        saving(model, gpt2_map(WIDE), folder / name, state_of(model), others)
    note(folder, number, "GPT-2")
    paritree.save(variables, llama_map(WIDE), folder / "llama shards", max_shard_size="1MB")
    paritree.save(variables, llama_map(WIDE), folder / "orbax")
    if number == 0:
        with ocp.StandardCheckpointer() as checkpointer:
            assert checkpointer.metadata(folder / "orbax") is not None
    note(folder, number, "Llama")
    for wrong in (other_maps, other_destinations, full_disk, no_common_disk, wrong_count):
        wrong(folder, number, model)
        note(folder, number, wrong.__name__.replace("_", " "))
    meeting.PATIENCE = 4.0
    dead(folder, number, model)
    note(folder, number, "dead")
    # The service of `jax.distributed` would wait for the other one.
    os._exit(0)


def saving(model: Any, made: Any, place: Path, held: dict[str, Any], others: dict[str, Any]) -> None:
    """Save by the map, and hold what was written and held in memory against what the process has."""
    seen: list[tuple[int, int]] = []
    tracemalloc.start()
    before = by_system("wchar")
    done = paritree.save(model, made, place, on_progress=lambda *each: seen.append(each), **others)
    asked, (_, peak) = by_system("wchar") - before, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert seen[-1] == (done.written, done.written), seen[-1]
    assert 0.4 * done.nbytes < done.written < 0.6 * done.nbytes, done
    # DCP has an archive about each box.
    assert done.written <= asked <= 1.05 * done.written + (1 << (20 if place.suffix == ".dcp" else 16)), asked
    assert done.written <= share(held)
    # PyTorch's own writer of DCP makes a file of each box in memory, about a megabyte of two.
    assert peak < (0.6 * done.written if place.suffix == ".dcp" else 0.2 * done.written), (place, peak)


def refused(place: Path, kind: type[Exception], said: str, call: Any) -> None:
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == said, str(caught.value)
    assert not place.exists()
    assert not [*place.parent.glob(f".{place.name}.*")]


def other_maps(folder: Path, number: int, model: Any) -> None:
    made = gpt2_map(WIDE)
    made = paritree.Map(made.rows[::-1], made.direction) if number else made
    said = (
        f"map: expected the map of process {number} in every process, found another one in process {1 - number}. "
        "Give all processes the same. Nothing was read or written."
    )
    refused(folder / "maps", paritree.MapError, said, lambda: paritree.save(model, made, folder / "maps"))


def other_destinations(folder: Path, number: int, model: Any) -> None:
    place = folder / f"there{number}"
    said = (
        f"destination: expected the destination of process {number} in every process, found another one in process "
        f"{1 - number}. Give all processes the same. Nothing was read or written."
    )
    refused(place, paritree.UsageError, said, lambda: paritree.save(model, gpt2_map(WIDE), place))


def full_disk(folder: Path, number: int, model: Any) -> None:
    """The second process may write no file beyond its first bytes."""
    for name, others in {**NAMES, "made": {}}.items():
        place = folder / f"full-{name}"
        own = (
            f"{place}: expected to write there, found File too large. Make room or give another place. Nothing is left "
            "of it."
        )
        said = (
            "process 1: expected its part of what all do together, found CheckpointError: "
            f"{own[:-1]}. This process has stopped, too. Mend that, and start again in all of them."
        )
        if number:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource.RLIM_INFINITY))
        kind, text = (paritree.CheckpointError, own) if number else (paritree.ProcessError, said)
        try:
            refused_by_one(
                place, number, kind, text, lambda at=place, by=others: paritree.save(model, gpt2_map(WIDE), at, **by)
            )
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def refused_by_one(place: Path, number: int, kind: type[Exception], said: str, call: Any) -> None:
    """As `refused`, where only the first process knows when nothing is left."""
    with pytest.raises(kind) as caught:
        call()
    assert str(caught.value) == said, str(caught.value)
    assert not place.exists()
    assert number or not [*place.parent.glob(f".{place.name}.*")]


def no_common_disk(folder: Path, number: int, model: Any) -> None:
    own = folder / f"disk{number}"
    own.mkdir()
    place = own / "made.safetensors"
    said = (
        f"{place}: expected a destination in a folder that all processes see, found none of what process 0 made there. "
        "Give a place on a disk that they share."
    )
    kind: type[Exception] = paritree.CheckpointError
    if not number:
        there = said.replace("disk0", "disk1")
        said = (
            f"process 1: expected its part of what all do together, found CheckpointError: {there} This process has "
            "stopped, too. Mend that, and start again in all of them."
        )
        kind = paritree.ProcessError
    refused_by_one(place, number, kind, said, lambda: paritree.save(model, gpt2_map(WIDE), place))


def wrong_count(folder: Path, number: int, model: Any) -> None:
    """What would be a file with holes is seen to be none."""
    found = together._writers

    def without_one(*given: Any) -> Any:
        made = found(*given)
        made["norm"] = {}
        return made

    together._writers = without_one
    try:
        place = folder / "holes.safetensors"
        with pytest.raises(paritree.ParitreeError, match="bytes of all processes together, found"):
            paritree.save(model, gpt2_map(WIDE), place)
        assert not place.exists()
    finally:
        together._writers = found


def dead(folder: Path, number: int, model: Any) -> None:
    """The second process ends itself in the middle of its work."""
    place = folder / "dead"

    def progress(done: int, total: int) -> None:
        if number and done > total / 2:
            os._exit(3)

    with pauses() as waited:
        refused_by_one(
            place,
            number,
            paritree.ProcessError,
            DEAD,
            lambda: paritree.save(model, gpt2_map(WIDE), place, max_shard_size="1MB", on_progress=progress),
        )
    assert sum(waited) < 60


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
