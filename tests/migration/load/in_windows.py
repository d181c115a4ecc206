"""What a process holds besides its own shards while it loads, by the system's count: no more than a read window.

`python -m tests.migration.load.in_windows FOLDER` prints a line for each kind of row. The system's count has what is
mapped of files, too.
"""

from __future__ import annotations

import copy
import gc
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_dtypes
import numpy as np
import torch
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from safetensors.numpy import save_file

import paritree
from paritree.migration.load import filling
from paritree.pairs.maps import Map, MapRow, Piece

from ..meshes import mesh
from ..processes import by_system

WINDOW, SLACK = 4 << 20, 1 << 20
# Of tensors of so many rows and columns no shard fits in a window.
SIDE = 4096


class Kind(NamedTuple):
    """Rows of a map with what the source has, and the model's tensor with its sharding and dtype."""

    name: str
    rows: tuple[MapRow, ...]
    shape: tuple[int, ...]
    spec: P
    dtype: Any = np.float32


def kinds() -> Iterator[Kind]:
    square = (SIDE, SIDE)

    def turned(name: str, path: str = "w", **others: Any) -> MapRow:
        return MapRow(path, name, square, square, "o i -> i o", "rule", **others)

    spec = P("data", "model")
    yield Kind("same", (MapRow("w", "same", square, square, "a b -> a b", "rule"),), square, spec)
    yield Kind("turned", (turned("turned"),), square, spec)
    yield Kind("cast", (turned("cast"),), square, spec, ml_dtypes.bfloat16)
    yield Kind("changed", (turned("changed", transform="x * 2"),), square, spec)
    yield Kind("summed", (turned("summed", summed=True), turned("summed", "v", summed=True)), square, spec)
    yield Kind("copied", (turned("copied", copied=True), turned("copied", "v", copied=True)), square, spec)
    yield Kind("tied", (turned("tied", reference_aliases=("v",)),), square, spec)
    stack = (2, *square)
    layers = [
        MapRow(path, "stacked", square, stack, "o i -> i o", "rule", port_piece=Piece(index=(number,)))
        for number, path in enumerate("vw")
    ]
    yield Kind("stacked", tuple(layers), stack, P(None, "data", "model"))
    heads = (SIDE, 16, SIDE // 16)
    split = MapRow("w", "split", square, heads, "(h d) i -> i h d", "rule", (("d", SIDE // 16), ("h", 16)))
    yield Kind("split", (split,), heads, spec)


def main(folder: Path) -> None:
    filling.WINDOW = WINDOW
    values = np.random.default_rng(0).random((SIDE, SIDE), dtype=np.float32)
    save_file({"w": values, "v": values}, folder / "m.safetensors")
    del values
    module = torch.nn.Linear(SIDE, SIDE, bias=False, device="meta")
    row = MapRow("w", "weight", (SIDE, SIDE), (SIDE, SIDE), "i o -> o i", "rule")
    # What is imported at the first call would count.
    paritree.load(folder / "m.safetensors", _map(row), copy.deepcopy(module), skip=["v"])
    over = mesh()
    for kind in kinds():
        like = {kind.name: jax.ShapeDtypeStruct(kind.shape, kind.dtype, sharding=NamedSharding(over, kind.spec))}
        measure(folder / "m.safetensors", kind, like)
    measure(folder / "m.safetensors", Kind("module", (row,), (SIDE, SIDE), P()), module)


def _map(*rows: MapRow) -> Map:
    return Map(rows, ("pytree", "pytree"))


def measure(source: Path, kind: Kind, like: Any) -> None:
    paths = {path for row in kind.rows for path in (row.reference, *row.reference_aliases)}
    skip, told = [each for each in "vw" if each not in paths], []
    gc.collect()
    plan = paritree.plan(source, _map(*kind.rows), like, skip=skip)
    # The greatest resident memory is counted from here on.
    Path("/proc/self/clear_refs").write_text("5")
    before, read = resident("VmRSS"), by_system("rchar")
    made = paritree.load(source, _map(*kind.rows), like, skip=skip, on_progress=lambda *each: told.append(each))
    read, peak = by_system("rchar") - read, resident("VmHWM") - before
    own = sum(each.nbytes for each in (made.parameters() if kind.name == "module" else made.values()))
    assert (told[-1][1],) == plan.reads
    assert told[-1][0] <= read <= 1.1 * told[-1][1], (kind.name, told[-1], read)
    assert peak - own <= WINDOW + SLACK, (kind.name, peak, own)
    print(kind.name, flush=True)


def resident(field: str) -> int:
    """Bytes of this process, what is mapped of files among them."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


if __name__ == "__main__":
    main(Path(sys.argv[1]))
