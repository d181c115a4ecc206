"""A checkpoint straight into a torch module: on the meta device, live, and in dtypes that NumPy has from elsewhere."""

from __future__ import annotations

import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.distributed.tensor.placement_types import _StridedShard
from torch.testing._internal.distributed.fake_pg import FakeStore

import paritree
from paritree import DtypeError, Map, MapRow, TieError, UsageError, WeightsError

from .models import LARGE, SMALL, WIDE, arrays, gpt2, gpt2_map, llama, llama_map, on_meta

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """Of both models the torch side and a checkpoint of the port's."""
    folder, found = tmp_path_factory.mktemp("ports"), {}
    for name, reference, made in (("gpt2", gpt2(LARGE), gpt2_map(LARGE)), ("llama", llama(LARGE), llama_map(LARGE))):
        held = {path: np.ascontiguousarray(array) for path, array in made.arrays(arrays(reference)).items()}
        save_file(held, folder / f"{name}.safetensors")
        found[name] = reference, folder / f"{name}.safetensors"
    return found


def check_equal(made: nn.Module, reference: nn.Module) -> None:
    expected, found = reference.state_dict(), made.state_dict()
    assert found.keys() == expected.keys()
    for path, tensor in expected.items():
        assert torch.equal(found[path], tensor), path


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_module_on_the_meta_device(size: Any, sources: dict[str, tuple[Any, Path]]) -> None:
    reference, source = sources["gpt2"]
    like = on_meta(reference)
    made = paritree.load(source, gpt2_map(size), like)
    assert made is like
    check_equal(made, reference)
    assert made.lm_head.weight is made.transformer.wte.weight
    assert isinstance(made.lm_head.weight, nn.Parameter)
    tokens = torch.arange(6)[None]
    assert torch.equal(made.eval()(tokens).logits, reference(tokens).logits)


def test_a_live_module_is_written_to(sources: dict[str, tuple[Any, Path]]) -> None:
    reference, source = sources["gpt2"]
    like = gpt2(LARGE, seed=1)
    before = like.transformer.wpe.weight
    made = paritree.load(source, gpt2_map(LARGE), like)
    assert made is like
    assert made.transformer.wpe.weight is before
    check_equal(made, reference)


def test_what_no_checkpoint_holds_must_have_values(sources: dict[str, tuple[Any, Path]]) -> None:
    reference, source = sources["llama"]
    like = on_meta(reference)
    like.model.rotary_emb.inv_freq = like.model.rotary_emb.inv_freq.to("meta")
    with pytest.raises(WeightsError) as caught:
        paritree.load(source, llama_map(LARGE), like)
    assert str(caught.value) == (
        "expected a model with the 39 tensors of the map's torch side, found 1 that does not fit: "
        "model.rotary_emb.inv_freq has no row in the map, and no values. What no checkpoint holds must have its "
        "values: make it on a device. Nothing was loaded."
    )
    like.model.rotary_emb = type(reference.model.rotary_emb)(reference.config)
    check_equal(paritree.load(source, llama_map(LARGE), like), reference)


def test_in_bfloat16_and_frozen(sources: dict[str, tuple[Any, Path]]) -> None:
    reference, source = sources["gpt2"]
    like = on_meta(reference).to(torch.bfloat16).requires_grad_(False)
    made = paritree.load(source, gpt2_map(LARGE), like)
    for path, tensor in reference.state_dict().items():
        found = made.state_dict()[path]
        assert torch.equal(found, tensor.to(torch.bfloat16)), path
    assert not any(parameter.requires_grad for parameter in made.parameters())


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(7, 5), nn.Linear(5, 7, bias=False)
        self.head.weight = self.words.weight


TIED = Map(
    (MapRow("w", "words.weight", (5, 7), (7, 5), "a b -> b a", "rule", port_aliases=("head.weight",)),),
    ("pytree", "torch"),
)


def test_a_lost_tie_is_seen_before_anything_is_read(tmp_path: Path) -> None:
    array = np.arange(35, dtype=np.float32).reshape(5, 7)
    save_file({"w": array}, tmp_path / "m.safetensors")
    like = Tied()
    assert paritree.load(tmp_path / "m.safetensors", TIED, like).head.weight is like.words.weight
    np.testing.assert_array_equal(like.head.weight.detach().numpy(), array.T)
    like.head.weight = nn.Parameter(torch.zeros(7, 5))
    with pytest.raises(TieError) as caught:
        paritree.load(tmp_path / "m.safetensors", TIED, like)
    assert str(caught.value) == (
        "head.weight: expected the same tensor as words.weight, to which the map ties it, found another one. Tie them "
        "in the model, before it is sharded; `fully_shard` keeps a tie if the first call that shards one of the two is "
        "for a module that holds both. Nothing was loaded."
    )


def test_tensors_of_any_strides_and_dtypes(tmp_path: Path) -> None:
    array = np.arange(35, dtype=np.float32).reshape(5, 7)
    save_file({"w": array}, tmp_path / "m.safetensors")
    made = Map((MapRow("w", "w", (5, 7), (7, 5), "a b -> b a", "rule"),), ("pytree", "torch"))
    like = nn.Module()
    like.register_buffer("w", torch.zeros(5, 7).T)
    assert torch.equal(paritree.load(tmp_path / "m.safetensors", made, like).w, torch.from_numpy(array.T.copy()))
    like.register_buffer("w", torch.zeros(7, 5, dtype=torch.float8_e4m3fn))
    found = paritree.load(tmp_path / "m.safetensors", made, like).w
    np.testing.assert_array_equal(
        found.view(torch.uint8).numpy(), array.T.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)
    )
    like.register_buffer("w", torch.zeros(7, 5, dtype=torch.uint8).view(torch.bits8))
    with pytest.raises(DtypeError) as caught:
        paritree.load(tmp_path / "m.safetensors", made, like)
    assert str(caught.value) == (
        "w: expected a dtype that NumPy has, found bits8. Load it in another, and quantize it then."
    )


def test_shardings_are_of_jax(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        paritree.load(tmp_path / "m.safetensors", TIED, Tied(), shardings={})
    assert str(caught.value) == (
        "shardings: expected none for a PyTorch module, whose tensors say how they lie, found some. Shard the module "
        "itself: `fully_shard`, or `distribute_tensor` for its parameters."
    )


def test_sharded_over_two_processes(tmp_path: Path) -> None:
    held = gpt2_map(WIDE).arrays(arrays(gpt2(WIDE)))
    save_file({path: np.ascontiguousarray(array) for path, array in held.items()}, tmp_path / "model.safetensors")
    launched = [
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "tests.migration.load.in_processes",
    ]
    command = [sys.executable, "-m", *launched, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines() == [
        "DTensor",
        "fully_shard on meta",
        "fully_shard live",
        "a tie that fully_shard lost",
    ]


@pytest.mark.parametrize(
    "placements",
    [
        (Shard(0), Shard(0)),
        (Shard(0), Shard(1)),
        (Replicate(), Shard(1)),
        # As `fully_shard` shards what is already sharded along that axis.
        (_StridedShard(0, split_factor=2), Shard(0)),
        (_StridedShard(1, split_factor=2), Replicate()),
    ],
)
def test_the_boxes_of_every_process_of_a_mesh(placements: Any) -> None:
    for shape, rank in product(((8, 6), (7, 5), (3, 2), (16, 4)), range(4)):
        dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=4)
        try:
            mesh = init_device_mesh("cpu", (2, 2))
            module, whole = nn.Module(), torch.arange(shape[0] * shape[1]).reshape(shape)
            module.register_buffer("w", distribute_tensor(whole, mesh, placements, src_data_rank=None))
            target = paritree.wing("torch").targets(module)["w"]
            held = paritree.wing("torch").holders(target)
            assert {box for box, ranks in held.items() if rank in ranks} == {*target.boxes}
            local = module.w.to_local()
            found = torch.full_like(local, -1)
            for box, part in zip(target.boxes, target.held.parts, strict=True):
                found[part] = whole[tuple(slice(*each) for each in box)]
        finally:
            dist.destroy_process_group()
        assert torch.equal(found, local)
