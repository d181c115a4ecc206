"""What one of two processes does that load onto one mesh of JAX's, four devices each: `FOLDER PORT NUMBER`."""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx
from flax.core import meta

import paritree
from paritree.migration.load import filling

from ..meshes import mesh, share, state_of, tree_of
from ..processes import by_system, connect, note
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
        like = nnx.eval_shape(lambda: StackedGpt2(WIDE))
        reference = gpt2(WIDE)
        held = state_of(reading(folder / "gpt2", gpt2_map(WIDE), like, state_of))
        assert like.head.kernel is like.words
        check(held, gpt2_map(WIDE).arrays(arrays(reference)))
        reference = llama(WIDE)
        variables = reading(folder / "llama", llama_map(WIDE), llama_port(WIDE), lambda made: tree_of(made[1]))[1]
        check(tree_of(meta.unbox(variables)), llama_map(WIDE).arrays(arrays(reference)))
    jax.distributed.shutdown()
    note(folder, number, "GPT-2 and Llama")


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
    assert own <= asked <= 1.1 * own + (1 << 16), (own, asked)
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
