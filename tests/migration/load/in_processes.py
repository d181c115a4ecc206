"""What one of two processes does that fill a sharded torch module; torchrun starts them, and each prints what holds.

`python -m torch.distributed.run --standalone --nproc-per-node 2 -m tests.migration.load.in_processes FOLDER`
"""

from __future__ import annotations

import copy
import sys
import tracemalloc
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Replicate, Shard, distribute_tensor

import paritree
from paritree.migration.load import filling

from ..processes import by_system
from .models import WIDE, gpt2, gpt2_map, on_meta

WINDOW = 1 << 16


def reading(source: Path, like: nn.Module) -> int:
    """Load by the map, and hold what was read and held in memory against what the process has."""
    seen: list[tuple[int, int]] = []
    tracemalloc.start()
    before = by_system("rchar")
    assert paritree.load(source, gpt2_map(WIDE), like, on_progress=lambda *each: seen.append(each)) is like
    asked, (_, peak) = by_system("rchar") - before, tracemalloc.get_traced_memory()
    tracemalloc.stop()
    read, needed = seen[-1]
    own = sum(local(each).nbytes for each in like.parameters())
    assert read == needed == own, (read, needed, own)
    assert own <= asked <= 1.1 * own + (1 << 16), (own, asked)
    # Tensors of PyTorch's own are not among what is traced: what is are windows, the map and the file's header.
    assert peak < 1 << 20 < own, (peak, own)
    return own


def local(parameter: Any) -> torch.Tensor:
    return parameter.to_local() if isinstance(parameter, DTensor) else parameter


def check_equal(made: Any, reference: Any) -> None:
    """Bit for bit, and tied; every process takes part."""
    names = dict(made.named_parameters())
    assert names.keys() == dict(reference.named_parameters()).keys()
    for path, parameter in reference.named_parameters():
        found = names[path].detach()
        found = found.full_tensor() if isinstance(found, DTensor) else found
        assert torch.equal(found, parameter), path
    assert made.lm_head.weight is made.transformer.wte.weight


def distributed(model: nn.Module, mesh: Any) -> nn.Module:
    """Every parameter as a DTensor along whichever axis divides, one in three of them whole on each process."""
    made: dict[int, nn.Parameter] = {}
    for number, parameter in enumerate(model.parameters()):
        placement = Replicate() if number % 3 == 2 else Shard(number % 3 % parameter.ndim)
        made[id(parameter)] = nn.Parameter(distribute_tensor(parameter.detach(), mesh, [placement]))
    for module in model.modules():
        held = [(name, each) for name, each in module._parameters.items() if each is not None]
        module._parameters.update({name: made[id(each)] for name, each in held})
    return model


def sharded(model: Any, mesh: Any, *first: Any) -> Any:
    for each in (*first, *model.transformer.h, model):
        fully_shard(each, mesh=mesh)
    return model


def main(folder: Path) -> None:
    # What is imported late would count as memory.
    paritree.wing("torch")
    dist.init_process_group("gloo", timeout=timedelta(seconds=60))
    mesh = init_device_mesh("cpu", (2,))
    reference = gpt2(WIDE)
    whole = sum(each.nbytes for each in reference.parameters())
    source = folder / "model.safetensors"
    filling.WINDOW = WINDOW
    own = reading(source, like := distributed(on_meta(reference), mesh))
    check_equal(like, reference)
    assert own < 0.75 * whole
    say("DTensor")
    like = sharded(on_meta(reference), mesh)
    own = reading(source, like)
    check_equal(like, reference)
    assert own < 0.51 * whole
    tokens = torch.arange(6)[None]
    torch.testing.assert_close(like(tokens).logits, reference(tokens).logits)
    say("fully_shard on meta")
    # The root's parameters are gathered now, and what is written to those would be lost.
    with torch.no_grad():
        for parameter in like.parameters():
            local(parameter).zero_()
    paritree.load(source, gpt2_map(WIDE), like)
    check_equal(like, reference)
    torch.testing.assert_close(like(tokens).logits, reference(tokens).logits)
    say("fully_shard live")
    like = copy.deepcopy(on_meta(reference))
    like = sharded(like, mesh, like.transformer.wte)
    with pytest.raises(paritree.TieError) as caught:
        paritree.load(source, gpt2_map(WIDE), like)
    assert str(caught.value).startswith("lm_head.weight: expected the same tensor as transformer.wte.weight, to which")
    say("a tie that fully_shard lost")
    dist.destroy_process_group()


def say(what: str) -> None:
    dist.barrier()
    if dist.get_rank() == 0:
        print(what, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
