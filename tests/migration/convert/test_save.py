"""A live model of one side, saved as a checkpoint of the other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import paritree
from paritree import CheckpointError, Map, NotExpressibleError, UsageError, WeightsError

from .checkpoints import assert_equal, loaded, row


class Tied(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(7, 4)
        self.head = torch.nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight
        self.out = torch.nn.Linear(4, 3)
        self.register_buffer("positions", torch.arange(5), persistent=False)


class Port(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.embed, self.out = nnx.Embed(7, 4, rngs=rngs), nnx.Linear(4, 3, rngs=rngs)
        self.dropout = nnx.Dropout(0.1, rngs=rngs)


MADE = Map(
    (
        row("embed.weight", "embed.embedding", (7, 4), "v d -> v d", reference_aliases=("head.weight",)),
        row("out.weight", "out.kernel", (3, 4), "o i -> i o", port_shape=(4, 3)),
        row("out.bias", "out.bias", (3,), "o -> o"),
    ),
    ("torch", "nnx"),
)


def arrays_of(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {path: tensor.detach().numpy() for path, tensor in model.named_parameters()}


@pytest.mark.parametrize("name", ["made.safetensors", "made", "made.dcp", "shards"])
def test_a_torch_model_becomes_the_ports_checkpoint(name: str, tmp_path: Path) -> None:
    model = Tied()
    size = 100 if name == "shards" else None
    done = paritree.save(model, MADE, tmp_path / name, max_shard_size=size)
    assert (done.direction, done.tensors, done.left_out) == (("torch", "nnx"), 3, ())
    paritree.convert(tmp_path / name, tmp_path / "back.safetensors", MADE)
    assert_equal(loaded(tmp_path / "back.safetensors"), arrays_of(model))


def test_a_flax_model_becomes_a_folder_in_shards(tmp_path: Path) -> None:
    port, model = Port(), Tied()
    MADE.save(tmp_path / "map.json")
    done = paritree.save(port, tmp_path / "map.json", tmp_path / "made", max_shard_size="1KB", dtype="bfloat16")
    assert (done.direction, done.aliases) == (("nnx", "torch"), ("head.weight",))
    found = loaded(tmp_path / "made" / "model.safetensors")
    assert {path: str(array.dtype) for path, array in found.items()} == dict.fromkeys(arrays_of(model), "bfloat16")
    assert np.array_equal(found["out.weight"], np.asarray(port.out.kernel[...].astype(jnp.bfloat16)).T)
    with pytest.raises(CheckpointError, match="a destination that is not there yet"):
        paritree.save(port, MADE, tmp_path / "made", max_shard_size="1KB")
    paritree.save(port, MADE, tmp_path / "made", max_shard_size="1KB", overwrite=True)


def test_arrays_over_several_devices_are_gathered(tmp_path: Path) -> None:
    code = (
        "import jax, numpy as np, paritree\n"
        "from paritree import Map, MapRow\n"
        "mesh = jax.make_mesh((4,), ('x',))\n"
        "way = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('x'))\n"
        "tree = {'w': jax.device_put(np.arange(32, dtype=np.float32).reshape(8, 4), way)}\n"
        "made = Map((MapRow('w', 'w', (4, 8), (8, 4), 'a b -> b a', 'rule'),), ('torch', 'pytree'))\n"
        "paritree.save(tree, made, 'made.safetensors')\n"
    )
    environment = {"XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={**os.environ, **environment})
    assert np.array_equal(loaded(tmp_path / "made.safetensors")["w"], np.arange(32).reshape(8, 4).T)


def test_what_cannot_be_saved(tmp_path: Path) -> None:
    place = tmp_path / "made.safetensors"
    wrong: list[tuple[Any, type[Exception], str]] = [
        (torch.nn.Linear(4, 3), WeightsError, r"embed\.weight is missing"),
        (nnx.eval_shape(Port), UsageError, "model: expected a model with tensors, found Port without"),
        (Tied().to("meta"), NotExpressibleError, "expected a tensor with values, found one on PyTorch's meta device"),
        ({"w": "text"}, UsageError, r"^expected a spec, an nn\.Module, an nnx\.Module or .*, found dict"),
        (torch.nn.ReLU(), UsageError, "model: expected a model with tensors, found ReLU without"),
    ]
    for model, error, said in wrong:
        with pytest.raises(error, match=said):
            paritree.save(model, MADE, place)
    assert [*tmp_path.iterdir()] == []


DISTRIBUTED = """
import sys, torch, torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
import paritree
from paritree import Map, MapRow
folder, rank, size = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
dist.init_process_group("gloo", init_method=f"file://{folder}/meet{size}", rank=rank, world_size=size)
model = torch.nn.Linear(4, 6, bias=False)
torch.nn.init.constant_(model.weight, 2.0)
fully_shard(model, mesh=init_device_mesh("cpu", (size,)))
made = Map((MapRow("weight", "kernel", (6, 4), (4, 6), "o i -> i o", "rule"),), ("torch", "nnx"))
done = paritree.save(model, made, f"{folder}/made.safetensors")
print(done.nbytes, done.written)
dist.destroy_process_group()
"""


@pytest.mark.parametrize(("size", "said"), [(1, "96 96"), (2, "96 48")])
def test_a_model_over_processes(size: int, said: str, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", DISTRIBUTED, str(tmp_path)]
    running = [
        subprocess.Popen([*command, str(rank), str(size)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(size)
    ]
    try:
        for process in running:
            output, errors = process.communicate(timeout=120)
            assert (process.returncode, output.strip()) == (0, said), errors
    finally:
        for process in running:
            process.kill()
    assert np.array_equal(loaded(tmp_path / "made.safetensors")["kernel"], np.full((4, 6), 2.0, np.float32))


def test_a_model_is_not_changed(tmp_path: Path) -> None:
    port = Port()
    before = jax.tree.map(np.array, nnx.to_pure_dict(nnx.state(port, nnx.Param)))
    paritree.save(port, MADE, tmp_path / "made.safetensors")
    jax.tree.map(np.testing.assert_array_equal, nnx.to_pure_dict(nnx.state(port, nnx.Param)), before)
