"""What one of two processes does that load onto one mesh of JAX's, four devices each: `FOLDER PORT NUMBER`."""

from __future__ import annotations

import os
import shutil
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from flax.core import meta

import paritree
from paritree.migration import meeting
from paritree.migration.convert.readers import open_source
from paritree.migration.load import filling

from ..meshes import mesh, share, state_of, tree_of
from ..processes import DEAD, by_system, connect, note, pauses
from .models import (
    SMALL,
    WIDE,
    StackedGpt2,
    arrays,
    gpt2,
    gpt2_map,
    llama,
    llama_map,
    llama_port,
    saved,
)

WINDOW = 1 << 16


def main(folder: Path, port: str, number: int) -> None:
    connect(port, number)
    filling.WINDOW = WINDOW
    with jax.set_mesh(mesh()):
        # What is imported at the first call would count as read, and as memory.
        index = saved(gpt2(SMALL), folder / str(number))
        paritree.load(index, gpt2_map(SMALL), nnx.eval_shape(lambda: StackedGpt2(SMALL)))
        paritree.wing("linen")
        open_source(folder / "gpt2.dcp").place("transformer.wpe.weight").read(((0, 1), (0, 1)))
        like = nnx.eval_shape(lambda: StackedGpt2(WIDE))
        reference = gpt2(WIDE)
        held = state_of(reading(folder / "gpt2", gpt2_map(WIDE), like, state_of))
        assert like.head.kernel is like.words
        again = state_of(reading(folder / "gpt2.dcp", gpt2_map(WIDE), like, state_of))
        check(again, gpt2_map(WIDE).arrays(arrays(reference)))
        check(held, gpt2_map(WIDE).arrays(arrays(reference)))
        reference = llama(WIDE)
        variables = reading(folder / "llama", llama_map(WIDE), llama_port(WIDE), lambda made: tree_of(made[1]))[1]
        check(tree_of(meta.unbox(variables)), llama_map(WIDE).arrays(arrays(reference)))
        note(folder, number, "GPT-2 and Llama")
        for wrong in (other_maps, other_sources, a_source_that_changes):
            wrong(folder, number)
            note(folder, number, wrong.__name__.replace("_", " "))
        meeting.PATIENCE = 4.0
        dead(folder, number)
        note(folder, number, "dead")
    # The service of `jax.distributed` would wait for the other one.
    os._exit(0)


def refused(kind: type[Exception], said: str, source: Path, made: paritree.Map, **others: Any) -> None:
    like = nnx.eval_shape(lambda: StackedGpt2(WIDE))
    with pytest.raises(kind) as caught:
        paritree.load(source, made, like, **others)
    assert str(caught.value) == said, str(caught.value)
    assert isinstance(like.words.get_raw_value(), jax.ShapeDtypeStruct)


def other_maps(folder: Path, number: int) -> None:
    made = gpt2_map(WIDE)
    made = paritree.Map(made.rows[::-1], made.direction) if number else made
    said = (
        f"map: expected the map of process {number} in every process, found another one in process {1 - number}. "
        "Give all processes the same. Nothing was read or written."
    )
    refused(paritree.MapError, said, folder / "gpt2", made)


def other_sources(folder: Path, number: int) -> None:
    said = (
        f"source: expected the source of process {number} in every process, found another one in process {1 - number}. "
        "Give all processes the same. Nothing was read or written."
    )
    refused(paritree.UsageError, said, folder / ("llama" if number else "gpt2"), gpt2_map(WIDE))


def a_source_that_changes(folder: Path, number: int) -> None:
    """Under the first process; the second has a copy of its own."""
    own = folder / f"own{number}"
    shutil.copytree(folder / "gpt2", own)
    shard = next(own.glob("model-00001-*"))
    said = (
        f"{shard}: expected a file that stays as it is while it is read, found one that was written to in the "
        "meantime. Begin again when nothing writes to it."
    )
    if number:
        told = said.replace("own1", "own0")
        said = (
            f"process 0: expected its part of what all do together, found CheckpointError: {told} This process has "
            "stopped, too. Mend that, and start again in all of them."
        )

    def progress(done: int, needed: int) -> None:
        if not number and done == needed:
            os.utime(shard)

    kind = paritree.ProcessError if number else paritree.CheckpointError
    refused(kind, said, own, gpt2_map(WIDE), on_progress=progress)


def dead(folder: Path, number: int) -> None:
    def progress(done: int, needed: int) -> None:
        if number and done > needed / 2:
            os._exit(3)

    with pauses() as waited:
        refused(paritree.ProcessError, DEAD, folder / "gpt2", gpt2_map(WIDE), on_progress=progress)
    assert sum(waited) < 60


def reading(source: Path, made: Any, like: Any, held: Any) -> Any:
    """Load by the map, and hold what was read and held in memory against what the process has."""
    seen: list[tuple[int, int]] = []
    tracemalloc.start()
    before = by_system("rchar")
    model = paritree.load(source, made, like, on_progress=lambda *each: seen.append(each))
    asked, (_, peak) = by_system("rchar") - before, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    read, needed = seen[-1]
    own = share(held(model))
    whole = sum(array.nbytes for array in held(model).values())
    assert read == needed == own, (read, needed, own)
    # Of DCP the archive about each tensor is looked at.
    assert own <= asked <= 1.1 * own + (1 << (19 if source.suffix == ".dcp" else 16)), (own, asked)
    assert own < 0.6 * whole
    # On the CPU what was read is what JAX has; the rest is windows, the map and the files' headers.
    assert peak < own + (1 << 20) < whole, (own, peak)
    return model


def check(held: dict[str, Any], expected: dict[str, np.ndarray]) -> None:
    """Every shard of this process, bit for bit, and a sum over all processes."""
    assert held.keys() == expected.keys()
    for path, array in held.items():
        for shard in array.addressable_shards:
            np.testing.assert_array_equal(
                np.asarray(shard.data), expected[path][shard.index], err_msg=path, strict=True
            )
    sums = jax.jit(lambda tree: {path: abs(array).sum() for path, array in tree.items()})(held)
    for path, found in sums.items():
        np.testing.assert_allclose(np.asarray(found), abs(expected[path]).sum(), rtol=1e-4, err_msg=path)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
