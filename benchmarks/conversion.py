"""Converting a checkpoint: `paritree.convert` against the converter inside transformers, and against copying alone.

Each run is a process of its own, in turn with the others, and tells its seconds, those of the processors, and its
greatest resident memory over what it had when the work began; mapped files count. The source is in the system's cache.
Copying writes no file: what conversion waits for the disk is in its seconds alone. `--full` is a Llama-shaped model of
500 million parameters, and then such models of one to eight gigabytes: some 12 GB of memory, and 20 of the disk.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from math import prod
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

from paritree.common.safetensors import TensorEntry, encoded, ordered
from paritree.pairs.maps import Map, MapRow

from .measure import row

RUNS, GROWTH_RUNS = 5, 3


class Size(NamedTuple):
    """A Llama-shaped model's widths."""

    vocabulary: int
    hidden: int
    inner: int
    layers: int


QUICK, FULL = Size(32000, 768, 2048, 8), Size(32000, 1280, 3456, 21)
# As wide as the full one, and about one, two, four and eight gigabytes.
DEPTHS = 9, 21, 46, 97


class Run(NamedTuple):
    """What one run took: seconds, those of the processors, and bytes of memory."""

    seconds: float
    cpu: float
    memory: int


def shapes(size: Size) -> dict[str, tuple[int, ...]]:
    """The torch side's tensors, as LlamaForCausalLM names them."""
    square, up, down = (size.hidden, size.hidden), (size.inner, size.hidden), (size.hidden, size.inner)
    found: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (size.vocabulary, size.hidden)}
    for number in range(size.layers):
        place = f"model.layers.{number}"
        found |= {f"{place}.self_attn.{name}_proj.weight": square for name in "qkvo"}
        found |= {f"{place}.mlp.{name}_proj.weight": up for name in ("gate", "up")}
        found |= {f"{place}.mlp.down_proj.weight": down}
        found |= {f"{place}.{name}_layernorm.weight": (size.hidden,) for name in ("input", "post_attention")}
    return {**found, "model.norm.weight": (size.hidden,), "lm_head.weight": (size.vocabulary, size.hidden)}


def port_path(path: str, shape: tuple[int, ...]) -> str:
    """As FlaxLlamaForCausalLM names it."""
    leaf = "embedding" if "embed" in path else "kernel" if len(shape) == 2 else "weight"
    return path.removesuffix("weight") + leaf


def map_of(size: Size) -> Map:
    rows = []
    for path, shape in shapes(size).items():
        port = port_path(path, shape)
        is_kernel = port.endswith("kernel")
        letters = "o i" if len(shape) == 2 else "i"
        pattern = "o i -> i o" if is_kernel else f"{letters} -> {letters}"
        rows.append(MapRow(path, port, shape, shape[::-1] if is_kernel else shape, pattern, "rule"))
    return Map(tuple(rows), ("torch", "linen"))


def make_source(folder: Path, size: Size) -> None:
    """A file, and the same in four shards."""
    from safetensors.numpy import save_file

    generator = np.random.default_rng(0)
    arrays = {path: generator.random(shape, dtype=np.float32) for path, shape in shapes(size).items()}
    save_file(arrays, folder / "source.safetensors", {"format": "pt"})
    names, homes = list(arrays), {}
    for number in range(4):
        part = names[number * len(names) // 4 : (number + 1) * len(names) // 4]
        save_file({path: arrays[path] for path in part}, folder / f"shard-{number}.safetensors")
        homes |= dict.fromkeys(part, f"shard-{number}.safetensors")
    (folder / "shards.safetensors.index.json").write_text(json.dumps({"weight_map": homes}))
    map_of(size).save(folder / "map.json")


def ours(folder: Path, size: Size) -> Callable[[], object]:
    return _ours(folder, "source.safetensors", "ours.safetensors")


def ours_sharded(folder: Path, size: Size) -> Callable[[], object]:
    return _ours(folder, "shards.safetensors.index.json", "ours_sharded.safetensors")


def ours_orbax(folder: Path, size: Size) -> Callable[[], object]:
    import paritree.impl_jax.files  # noqa: F401  its frameworks are not the work

    return _ours(folder, "source.safetensors", "ours_orbax.folder")


def ours_in_shards(folder: Path, size: Size) -> Callable[[], object]:
    return _ours(folder, "source.safetensors", "ours_in_shards.folder", "100MB")


def _ours(folder: Path, source: str, destination: str, shard: str | None = None) -> Callable[[], object]:
    import paritree.migration.convert.execute  # noqa: F401
    from paritree.migration import convert

    return lambda: convert(folder / source, folder / destination, folder / "map.json", max_shard_size=shard)


def transformers_s(folder: Path, size: Size) -> Callable[[], object]:
    """Read, rename, transpose and write, each with the library's own function."""
    from flax.traverse_util import flatten_dict, unflatten_dict
    from safetensors.flax import save_file
    from transformers.modeling_flax_pytorch_utils import load_pytorch_checkpoint_in_flax_state_dict

    # All that it asks of a model is its names, its shapes and the prefix.
    params = unflatten_dict(
        {
            tuple(row.port.split(".")): SimpleNamespace(shape=row.port_shape)
            for row in Map.load(folder / "map.json").rows
        }
    )
    model = SimpleNamespace(base_model_prefix="model", params=params)

    def work() -> None:
        found = load_pytorch_checkpoint_in_flax_state_dict(model, str(folder / "source.safetensors"), False)
        save_file(flatten_dict(found, sep="."), folder / "transformers_s.safetensors", {"format": "flax"})

    return work


def copying(folder: Path, size: Size) -> Callable[[], object]:
    """The same tensors in memory, each copied and transposed by one call of PyTorch's, which has the fastest."""
    import torch

    generator = torch.Generator().manual_seed(0)
    held = [torch.rand(shape, generator=generator) for shape in shapes(size).values()]
    return lambda: [each.t().contiguous() if each.ndim == 2 else each.clone() for each in held]


ACTIONS = {each.__name__: each for each in (ours, transformers_s, copying, ours_sharded, ours_in_shards, ours_orbax)}


def child(name: str, folder: Path, size: Size) -> None:
    """One run in this process: prints what it took."""
    for earlier in folder.glob(f"{name}.*"):
        shutil.rmtree(earlier) if earlier.is_dir() else earlier.unlink()
    work = ACTIONS[name](folder, size)
    before = resident("VmRSS")
    # The greatest resident memory is counted from here on.
    Path("/proc/self/clear_refs").write_text("5")
    start, cpu = time.perf_counter(), time.process_time()
    held = work()
    elapsed, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps([elapsed, cpu, resident("VmHWM") - before]))
    del held


def resident(field: str) -> int:
    """Bytes of this process, mapped files included."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def run(name: str, folder: Path, size: Size) -> Run:
    command = [sys.executable, "-m", "benchmarks.conversion", name, str(folder), json.dumps(size)]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return Run(*json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    size = FULL if "--full" in sys.argv else QUICK
    numbers = sum(prod(shape) for shape in shapes(size).values())
    nbytes = numbers * 4
    print(f"Converting a Llama-shaped model of {numbers / 1e6:,.0f} million f32 parameters")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_source(folder, size)
        found: dict[str, list[Run]] = {action: [] for action in ACTIONS}
        for _ in range(RUNS):
            for action in ACTIONS:
                found[action].append(run(action, folder, size))
        report(found, nbytes, largest_shard(folder))
        same = (folder / "ours.safetensors").read_bytes() == (folder / "ours_sharded.safetensors").read_bytes()
        row("one file and its shards give the same", "yes" if same else "NO")
    if size == FULL:
        growth()


def growth() -> None:
    """The time for a byte, and the memory, as the model grows."""
    each: list[float] = []
    for depth in DEPTHS:
        size = FULL._replace(layers=depth)
        nbytes = 4 * sum(prod(shape) for shape in shapes(size).values())
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            make_file(folder, size)
            runs = [run("ours", folder, size) for _ in range(GROWTH_RUNS)]
        best = min(runs)
        each.append(best.seconds / nbytes)
        memory = max(each.memory for each in runs) / 1e6
        row(f"{nbytes / 1e9:.1f} GB", f"{best.seconds:.1f} s, {nbytes / best.seconds / 1e9:.2f} GB/s, {memory:.0f} MB")
    row("seconds a byte, the largest over the smallest", f"{each[-1] / each[0]:.2f}")


def make_file(folder: Path, size: Size) -> None:
    """The source as one file, of which no more than a tensor is in memory."""
    generator = np.random.default_rng(0)
    entries = {path: TensorEntry(shape, np.dtype(np.float32)) for path, shape in shapes(size).items()}
    start, header = encoded(ordered(entries), {"format": "pt"})
    with (folder / "source.safetensors").open("wb") as stream:
        stream.write(start)
        for path, (shape, _) in header.entries.items():
            stream.seek(header.offsets[path])
            stream.write(generator.random(shape, dtype=np.float32).data)
    map_of(size).save(folder / "map.json")


def largest_shard(folder: Path) -> int:
    return max(file.stat().st_size for file in folder.glob("shard-*"))


def report(found: dict[str, list[Run]], nbytes: int, shard: int) -> None:
    def over(one: str, other: str, field: str = "seconds") -> str:
        pairs = zip(found[one], found[other], strict=True)
        ratios = sorted(getattr(theirs, field) / getattr(ours, field) for ours, theirs in pairs)
        return f"{median(ratios):.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f} over {len(ratios)} pairs)"

    def memory(one: str, of: float) -> str:
        return f"{max(each.memory for each in found[one]) / of:.2f}"

    def above(one: str, buffers: int) -> str:
        return f"{(max(each.memory for each in found[one]) - buffers) / 1e6:.0f} MB"

    for name, runs in found.items():
        row(name, f"{nbytes / median(each.seconds for each in runs) / 1e9:.2f} GB/s")
    row("throughput over that of transformers (>= 2)", over("ours", "transformers_s"))
    row("throughput over that of copying (>= 0.8)", over("ours", "copying"))
    row("the same by seconds of the processors", over("ours", "copying", "cpu"))
    row("into shards: throughput over that of copying", over("ours_in_shards", "copying"))
    # A file needs no buffers of its own; for Orbax all tensors are held.
    row("peak memory (< 400 MB)", above("ours", 0))
    row("to Orbax: peak memory over destination (< 400 MB)", above("ours_orbax", nbytes))
    row("peak memory over source + destination (<= 1.1)", memory("ours", 2 * nbytes))
    row("sharded: peak memory over destination + shard", memory("ours_sharded", nbytes + shard))
    row("to Orbax: peak memory over source + dest.", memory("ours_orbax", 2 * nbytes))
    row("transformers: peak memory over source + dest.", memory("transformers_s", 2 * nbytes))


def _as_child() -> None:
    name, folder, size = sys.argv[1:]
    child(name, Path(folder), Size(*json.loads(size)))


if __name__ == "__main__":
    _as_child()
