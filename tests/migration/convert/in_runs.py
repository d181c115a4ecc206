"""What a process holds while it converts, by the system's count, mapped files among it: two tensors and a few runs.

`python -m tests.migration.convert.in_runs FOLDER` prints the kinds of destination that this was held for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np

from paritree import convert
from paritree.pairs.maps import Map

from .checkpoints import row, saved

TENSOR, TENSORS, RUNS = 16 << 20, 6, 20 << 20


def main(folder: Path) -> None:
    # Every thread has a run of its own.
    os.sched_setaffinity(0, [next(iter(os.sched_getaffinity(0)))])
    values = np.random.default_rng(0).random((1024, TENSOR // 4096), dtype=np.float32)
    source = saved(folder / "a.safetensors", {f"{number}.w": values for number in range(TENSORS)})
    small = saved(folder / "small.safetensors", {f"{number}.w": values[:8, :8] for number in range(TENSORS)})
    shapes = values.shape, values.shape[::-1]
    del values
    for name, size in (("file.safetensors", None), ("shards", "40MB")):
        # What is imported at the first conversion would count.
        convert(small, folder / f"small-{name}", made((8, 8), (8, 8)), max_shard_size=size)
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        convert(source, folder / name, made(*shapes), max_shard_size=size)
        peak = resident("VmHWM") - before
        # The next tensor is begun while the last runs of one are written.
        assert peak < 2 * TENSOR + RUNS, (name, peak)
        print(name, flush=True)


def made(shape: tuple[int, ...], port_shape: tuple[int, ...]) -> Map:
    rows = (row(f"{number}.w", f"k{number}", shape, "o i -> i o", port_shape=port_shape) for number in range(TENSORS))
    return Map(tuple(rows), ("torch", "pytree"))


def resident(field: str) -> int:
    """Bytes of this process, what is mapped of files among them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
