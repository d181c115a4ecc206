"""What one of two processes of a process group does that save a sharded torch module: `FOLDER PORT NUMBER`."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import Shard, distribute_tensor

import paritree
from paritree.migration import meeting

from ..load.models import WIDE, gpt2, gpt2_map
from ..processes import note, pauses
from .checkpoints import example, weights

NAMES: dict[str, dict[str, Any]] = {
    "made": {},
    "made.safetensors": {},
    "made.dcp": {},
    "shards": {"max_shard_size": 1 << 20},
}


def main(folder: Path, port: str, number: int) -> None:
    dist.init_process_group("gloo", f"tcp://127.0.0.1:{port}", timedelta(seconds=60), 2, number)
    mesh = init_device_mesh("cpu", (2,))
    model: Any = gpt2(WIDE)
    for each in (*model.transformer.h, model):
        fully_shard(each, mesh=mesh)
    # After a call the root's parameters are gathered, and no shards any more.
    model(torch.arange(6)[None])
    for name, others in NAMES.items():
        done = paritree.save(model, gpt2_map(WIDE), folder / name, **others)
        assert 0.45 * done.nbytes < done.written < 0.55 * done.nbytes, done
    note(folder, number, "fully_shard")
    module = distributed(of_arrays(weights()), mesh, 0)
    for name, others in NAMES.items():
        paritree.save(module, example(), folder / f"rows-{name}", **others)
    back = distributed(of_arrays(example().arrays(weights())), mesh, -1)
    for name, others in NAMES.items():
        paritree.save(back, example().inverse(), folder / f"back-{name}", **others)
    note(folder, number, "every kind of row")
    read_by_engine(folder, mesh)
    note(folder, number, "DCP by PyTorch")
    unlike(folder, number, mesh)
    note(folder, number, "unlike models")
    weight_norm(folder, mesh)
    note(folder, number, "a weight norm")
    meeting.PATIENCE = 4.0
    first_is_dead(folder, number, model)
    note(folder, number, "the first is dead")


def of_arrays(arrays: dict[str, np.ndarray]) -> nn.Module:
    """A module with these parameters; what is floating is trained."""
    root = nn.Module()
    for path, array in arrays.items():
        *above, last = path.split(".")
        module = root
        for name in above:
            if name not in module._modules:
                module.add_module(name, nn.Module())
            module = module.get_submodule(name)
        tensor = torch.from_numpy(np.array(array))
        if tensor.is_floating_point():
            module.register_parameter(last, nn.Parameter(tensor))
        else:
            module.register_buffer(last, tensor)
    return root


def distributed(module: nn.Module, mesh: Any, axis: int) -> nn.Module:
    """Every parameter along its first axis or its last one, whether it divides or not."""
    for each in module.modules():
        for name, parameter in each._parameters.items():
            assert parameter is not None
            placement = [Shard(axis % parameter.ndim)] if parameter.ndim else None
            each._parameters[name] = nn.Parameter(distribute_tensor(parameter.detach(), mesh, placement))
    return module


def read_by_engine(folder: Path, mesh: Any) -> None:
    """PyTorch loads what was written into other shards."""
    expected = example().inverse().arrays(example().arrays(weights()))
    path = "embed.weight"
    state = {path: distribute_tensor(torch.zeros(expected[path].shape), mesh, [Shard(1)])}
    checkpoint.load(state, checkpoint_id=folder / "back-made.dcp")
    assert torch.equal(state[path].full_tensor(), torch.from_numpy(expected[path]))


def unlike(folder: Path, number: int, mesh: Any) -> None:
    module = distributed(of_arrays({"a": np.ones((4, 6), np.float32)}), mesh, 0)
    if number:
        module.register_parameter("b", nn.Parameter(torch.zeros(2)))
    made = paritree.Map((paritree.MapRow("a", "a", (4, 6), (6, 4), "o i -> i o", "rule"),), ("torch", "pytree"))
    with pytest.raises(paritree.ParitreeError) as caught:
        paritree.save(module, made, folder / "unlike.safetensors")
    own = (
        "expected one tensor for each of 1 tensor of the map's torch side, found 1 that does not fit: b is not in the "
        "map. Leave out what the map does not know with --skip PATH (in Python skip=[...]). Nothing was written."
    )
    other = (
        f"process 1: expected its part of what all do together, found WeightsError: {own} This process has stopped, "
        "too. Mend that, and start again in all of them."
    )
    assert str(caught.value) == (own if number else other), str(caught.value)
    assert not (folder / "unlike.safetensors").exists()


def weight_norm(folder: Path, mesh: Any) -> None:
    random = np.random.default_rng(0)
    arrays = {
        f"a.weight_{which}": random.normal(size=(5, size)).astype(np.float32) for which, size in (("g", 1), ("v", 6))
    }
    made = paritree.Map((paritree.MapRow("a.weight", "a", (5, 6), (6, 5), "o i -> i o", "rule"),), ("torch", "pytree"))
    for name, others in NAMES.items():
        done = paritree.save(distributed(of_arrays(arrays), mesh, 0), made, folder / f"norm-{name}", **others)
        assert done.changed == ("merged: 1 weight norm: a.weight_g and a.weight_v as a.weight",)
    mixed = of_arrays(arrays)
    mixed.a.weight_v = distributed(of_arrays(arrays), mesh, 0).a.weight_v
    paritree.save(mixed, made, folder / "norm-mixed.safetensors")
    with pytest.raises(paritree.NotExpressibleError) as caught:
        paritree.save(distributed(of_arrays(arrays), mesh, -1), made, folder / "norm.safetensors")
    assert str(caught.value) == (
        "a.weight: expected a magnitude and a direction of which each process has the same slices, as a whole, found "
        "other parts of a.weight_g and a.weight_v. Shard both along the axes of the magnitude, or merge weight norms "
        "before the model is sharded."
    )


def first_is_dead(folder: Path, number: int, model: Any) -> None:
    """It keeps the store by which the processes meet, and makes what all write to."""
    place = folder / "dead"

    def progress(done: int, total: int) -> None:
        if not number and done > total / 2:
            os._exit(3)

    gone = r"expected (an answer of the store|a word of it within)"
    with pauses() as waited, pytest.raises(paritree.ProcessError, match=gone):
        paritree.save(model, gpt2_map(WIDE), place, max_shard_size="1MB", on_progress=progress)
    assert sum(waited) < 60
    assert not place.exists()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
