"""The plan of a load over many processes: what each would read, by shapes and a mesh alone."""

from __future__ import annotations

import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from jax.sharding import AbstractMesh, NamedSharding
from jax.sharding import PartitionSpec as P

import paritree
from benchmarks.plan import HOSTS, TINY, Size, map_of, port, source
from paritree import DeviceError, ShapeError, UsageError, WeightsError
from paritree.pairs.maps import Map

from ..convert.checkpoints import example, row, saved, weights
from .models import LLAMA, SMALL, WIDE, Sizes, StackedGpt2, gpt2, gpt2_map, llama, llama_map, llama_port, llama_shapes

MESH = AbstractMesh((4, 2), ("data", "model"))


def on_meta(make: Any, sizes: Sizes) -> torch.nn.Module:
    with torch.device("meta"):
        return make(sizes)


def expected(processes: int) -> int:
    """What each reads of a Llama, whose axes lie in the mesh as they are listed: eight devices in equal runs."""
    count = 0
    for path, shape in llama_shapes(WIDE).items():
        cut = prod(
            4 if name == "data" else 2
            for each in LLAMA[path][1]
            if each
            for name in ((each,) if isinstance(each, str) else each)
        )
        # Of a process with several devices those along 'model' come first, then those along 'data'.
        count += prod(shape) * (8 // processes) // cut if cut == 8 else prod(shape)
    return count * 4


@pytest.mark.parametrize("processes", [8, 4, 2, 1])
def test_a_llama_by_a_map_of_another_size_from_models_without_values(processes: int) -> None:
    plan = paritree.plan(
        on_meta(llama, WIDE), llama_map(SMALL), llama_port(WIDE), mesh={"data": 4, "model": 2}, processes=processes
    )
    assert plan.direction == ("torch", "linen")
    assert plan.nbytes == sum(prod(shape) for shape in llama_shapes(WIDE).values()) * 4
    assert plan.reads == (expected(processes),) * processes
    assert plan.unevenness == 1


def test_annotations_over_a_mesh_that_is_set_and_ties_read_once() -> None:
    with jax.sharding.use_abstract_mesh(MESH):
        like = nnx.eval_shape(lambda: StackedGpt2(WIDE))
        plan = paritree.plan(on_meta(gpt2, WIDE), gpt2_map(WIDE), like, processes=8)
    assert plan == paritree.plan(on_meta(gpt2, WIDE), gpt2_map(WIDE), like, mesh=MESH, processes=8)
    whole = sum(each.numel() for each in on_meta(gpt2, WIDE).parameters()) * 4
    assert plan.nbytes == whole
    assert whole / 8 < plan.reads[0] < 1.3 * whole / 8


def abstract(shape: tuple[int, ...], spec: P) -> Any:
    return jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(MESH, spec))


def of_one(shape: tuple[int, ...] = (8, 6)) -> Map:
    return Map((row("w", "w", shape, "a b -> a b"),), ("pytree", "pytree"))


def test_as_text() -> None:
    source, like = {"w": abstract((8, 6), P())}, {"w": abstract((8, 6), P("data", "model"))}
    assert str(paritree.plan(source, of_one(), like, processes=2)) == (
        "pytree -> pytree: 1 tensor, 192 bytes, by 2 processes\n"
        "would read: each of the processes 0 to 1: 96 bytes\n"
        "all together: 192 bytes; the most over the mean: 1.000"
    )
    like = {"w": abstract((8, 6), P("model"))}
    assert paritree.plan(source, of_one(), like, processes=8).reads == (96,) * 8
    assert paritree.plan(source, of_one(), like, processes=2).reads == (192,) * 2
    assert paritree.plan(source, of_one(), like).reads == (192,)


def test_a_process_that_reads_more_than_others() -> None:
    plan = paritree.LoadPlan(("torch", "nnx"), 2, 10, (4, 4, 8))
    assert plan.unevenness == 1.5
    assert str(plan).splitlines()[1:] == [
        "would read: each of the processes 0 to 1: 4 bytes",
        "would read: process 2: 8 bytes",
        "all together: 16 bytes; the most over the mean: 1.500",
    ]


@pytest.mark.parametrize("kind", ["safetensors", "npz", "orbax"])
def test_a_checkpoint_of_any_kind_reads_what_loading_reads(kind: str, tmp_path: Path) -> None:
    shapes = {path: rows[0].port_shape for path, rows in example().by_port.items()}
    like = {path: jax.ShapeDtypeStruct(shape, np.float32) for path, shape in shapes.items()}
    source = saved(tmp_path / "m.safetensors", weights())
    if kind == "npz":
        source = tmp_path / "m.npz"
        np.savez(source, **weights())
    elif kind == "orbax":
        paritree.convert(source, tmp_path / "port", example())
        source = tmp_path / "port"
        like = {path: jax.ShapeDtypeStruct(each.shape, np.float32) for path, each in weights().items()}
        del like["steps"]
    told: list[tuple[int, int]] = []
    paritree.load(source, example(), like, on_progress=lambda *each: told.append(each))
    assert paritree.plan(source, example(), like).reads == (told[-1][0],)


def test_weight_norms_are_told_and_read_whole(tmp_path: Path) -> None:
    source = saved(
        tmp_path / "m.safetensors",
        {
            "module.w_g": np.ones((8, 1), np.float32),
            "module.w_v": np.ones((8, 6), np.float32),
            "module.b": np.ones(2, np.float32),
        },
    )
    made = Map((*of_one().rows, row("b", "b", (2,), "a -> a")), ("torch", "pytree"))
    plan = paritree.plan(source, made, {"w": abstract((8, 6), P("data")), "b": abstract((2,), P())}, processes=8)
    assert plan.reads == (200,) * 8
    assert plan.told == ("taken off: module.", "merged: 1 weight norm: w_g and w_v as w")


def test_a_module_over_ranks_that_are_not_there() -> None:
    from torch.distributed.fsdp import fully_shard
    from torch.testing._internal.distributed.fake_pg import FakeStore

    torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=4)
    try:
        mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (4,))
        with torch.device("meta"):
            like = torch.nn.Sequential(torch.nn.Linear(6, 10), torch.nn.Linear(10, 3))
        fully_shard(like[0], mesh=mesh)
        rows = [
            row(f"p.{number}.{name}", f"{number}.{name}", shape, "a b -> a b" if len(shape) == 2 else "a -> a")
            for number, name, shape in (
                (0, "weight", (10, 6)),
                (0, "bias", (10,)),
                (1, "weight", (3, 10)),
                (1, "bias", (3,)),
            )
        ]
        source = {each.reference: jax.ShapeDtypeStruct(each.shape, np.float32) for each in rows}
        made, whole = Map(tuple(rows), ("pytree", "torch")), (3 * 10 + 3) * 4
        # As torch.chunk parts ten rows: three, three, three and one.
        assert paritree.plan(source, made, like).reads == tuple(whole + rows * 7 * 4 for rows in (3, 3, 3, 1))
        assert paritree.plan(source, made, like, processes=2).reads == (whole + 6 * 28, whole + 4 * 28)
        with pytest.raises(UsageError, match="none for a PyTorch module"):
            paritree.plan(source, made, like, mesh=MESH)
    finally:
        torch.distributed.destroy_process_group()


def refused(kind: type[Exception], like: Any, **others: Any) -> str:
    with pytest.raises(kind) as caught:
        paritree.plan({"w": abstract((8, 6), P())}, of_one(), {"w": like}, **others)
    return str(caught.value)


def test_what_is_refused() -> None:
    assert refused(ShapeError, abstract((8, 6), P(None, "data")), processes=2) == (
        "w: expected a shape that none and data of {'data': 4, 'model': 2} divides, found (8, 6). Shard it along "
        "another axis, or over fewer devices. Nothing was loaded."
    )
    assert refused(ShapeError, abstract((8, 6), P("data")), processes=3) == (
        "expected a number of processes that divides 8 devices, found 3."
    )
    assert refused(DeviceError, abstract((8, 6), P("data")), processes=2, mesh={"model": 8}) == (
        "w: expected a mesh with the axes data, found one with the axes model. Load within `with jax.set_mesh(mesh):`, "
        "or give shardings=... Nothing was loaded."
    )
    told = refused(WeightsError, abstract((8,), P()), processes=2)
    assert "the port's w has shape (8,) and needs 2 axes" in told


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text(
        "import jax, torch\n"
        "from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec as P\n"
        "reference = torch.nn.Linear(6, 8, bias=False, device='meta')\n"
        "def port():\n"
        "    mesh = AbstractMesh((4,), ('data',))\n"
        "    sharding = NamedSharding(mesh, P(None, 'data'))\n"
        "    return {'kernel': jax.ShapeDtypeStruct((6, 8), 'float32', sharding=sharding)}\n"
    )
    made = Map((row("weight", "kernel", (8, 6), "o i -> i o", port_shape=(6, 8)),), ("torch", "pytree"))
    made.save(tmp_path / "map.json")

    def run(*options: str) -> tuple[int, str, str]:
        command = [
            sys.executable,
            "-m",
            "paritree",
            "plan",
            "models.py:reference",
            "models.py:port",
            "--map",
            "map.json",
        ]
        done = subprocess.run([*command, *options], cwd=tmp_path, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    assert run("--processes", "2") == (
        0,
        "torch -> pytree: 1 tensor, 192 bytes, by 2 processes\n"
        "would read: each of the processes 0 to 1: 96 bytes\n"
        "all together: 192 bytes; the most over the mean: 1.000\n",
        "",
    )
    assert run("--mesh", "data=2,model=x")[2] == (
        "paritree: --mesh: expected the axes of a mesh, such as data=64,model=8, found 'data=2,model=x'.\n"
    )


@pytest.mark.parametrize("size", [Size(5, 3, 64), pytest.param(Size(), marks=pytest.mark.thorough)])
def test_layers_of_two_kinds_and_many_experts_by_a_tiny_map(size: Size) -> None:
    plan = paritree.plan(source(size), map_of(TINY), port(size), processes=HOSTS)
    assert len(plan.reads) == HOSTS
    assert plan.unevenness <= 1.05
    assert plan.nbytes <= sum(plan.reads) <= 1.01 * plan.nbytes
