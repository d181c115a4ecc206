"""Saving from a mesh of eight host devices, looked at from within: `run_alone` of `..processes` starts it.

Prints a line for each thing that holds; what does not hold ends the program with an error.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import nnx
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

import paritree
from paritree.migration.convert import together

from ..load.models import (
    LARGE,
    StackedGpt2,
    gpt2,
    gpt2_map,
    llama,
    llama_map,
    llama_port,
    on_meta,
    row,
    saved,
    transformers,
)
from ..meshes import mesh

NAMES = {"shards": {"max_shard_size": "20KB"}, "made.safetensors": {}, "made.dcp": {}, "made": {}}


def loaded_gpt2(folder: Path) -> Any:
    with jax.set_mesh(mesh()):
        like = nnx.eval_shape(lambda: StackedGpt2(LARGE))
        return paritree.load(saved(gpt2(LARGE), folder / "gpt2"), gpt2_map(LARGE), like)


def loaded_llama(folder: Path) -> Any:
    with jax.set_mesh(mesh()):
        return paritree.load(saved(llama(LARGE), folder / "llama"), llama_map(LARGE), llama_port(LARGE))


def check_back(source: Path, made: paritree.Map, reference: Any) -> None:
    like = on_meta(reference)
    paritree.load(source, made, like)
    found = like.state_dict()
    for path, tensor in reference.state_dict().items():
        assert torch.equal(found[path], tensor), path


def save_gpt2(folder: Path) -> None:
    model, reference = loaded_gpt2(folder), gpt2(LARGE)
    same = as_itself(reference)
    for name, others in NAMES.items():
        done = paritree.save(model, gpt2_map(LARGE), folder / name, **others)
        assert done.written == done.nbytes == sum(each.nbytes for each in reference.parameters())
        paritree.save(model, gpt2_map(LARGE), folder / name, overwrite=True, **others)
        assert done.aliases == ("lm_head.weight",)
        check_back(folder / name, same, reference)
    reference.config.save_pretrained(folder / "shards")
    assert len([*(folder / "shards").glob("model-*.safetensors")]) > 5
    tokens = torch.arange(6)[None]
    again = transformers.AutoModelForCausalLM.from_pretrained(folder / "shards").eval()
    assert torch.equal(again(tokens).logits, reference(tokens).logits)
    print("GPT-2 from an NNX module")


def as_itself(reference: Any) -> paritree.Map:
    """From a torch model's own names to the same."""
    head, words = ("lm_head.weight",), "transformer.wte.weight"
    rows = [
        row(
            path,
            path,
            each.shape,
            each.shape,
            "... -> ...",
            reference_aliases=head if path == words else (),
            port_aliases=head if path == words else (),
        )
        for path, each in reference.named_parameters()
    ]
    return paritree.Map(tuple(rows), ("pytree", "torch"))


def save_llama(folder: Path) -> None:
    model, reference = loaded_llama(folder), llama(LARGE)
    for name, others in NAMES.items():
        paritree.save(model, llama_map(LARGE), folder / f"llama-{name}", **others)
        check_back(folder / f"llama-{name}", as_itself(reference), reference)
    half = paritree.save(model, llama_map(LARGE), folder / "half.safetensors", dtype="bfloat16")
    assert half.nbytes == sum(each.nbytes for each in reference.parameters()) // 2
    check_back(folder / "half.safetensors", as_itself(reference), reference.to(torch.bfloat16).float())
    print("Llama from Linen variables")


def save_both_ways(folder: Path) -> None:
    """Every kind of row, of arrays that are sharded in every way that divides, in windows of a few entries."""
    from .checkpoints import example, weights

    together.WINDOW = 16
    for made, given in ((example(), weights()), (example().inverse(), example().arrays(weights()))):
        for number in range(3):
            tree = {path: sharded(array, number) for path, array in given.items() if path != "steps"}
            source = folder / f"{made.direction[0]}{number}"
            done = paritree.save(tree, made, f"{source}.safetensors")
            assert done.direction == made.direction
            whole = {path: np.asarray(array) for path, array in tree.items()}
            paritree.save(whole, made, f"{source}-whole.safetensors")
            assert Path(f"{source}.safetensors").read_bytes() == Path(f"{source}-whole.safetensors").read_bytes()
    together.WINDOW = 16 << 20
    print("every kind of row")


def sharded(array: np.ndarray, number: int) -> jax.Array:
    """Along one of its axes, over two or four devices, or replicated."""
    spec: list[Any] = [None] * array.ndim
    for axis in range(array.ndim):
        at = (axis + number) % array.ndim
        names = [name for name, size in (("data", 4), ("model", 2)) if array.shape[at] % size == 0]
        if names:
            spec[at] = names[number % len(names)]
            break
    return jax.device_put(array, NamedSharding(mesh(), P(*spec)))


def refuse(folder: Path) -> None:
    """What one process alone cannot know."""
    row = paritree.MapRow("a", "c", (8,), (8,), "a -> a", "rule", summed=True)
    other = paritree.MapRow("b", "c", (8,), (8,), "a -> a", "rule", summed=True)
    made = paritree.Map((row, other), ("pytree", "torch"))
    tree = {"a": sharded(np.arange(8.0, dtype=np.float32), 0), "b": np.arange(8.0, dtype=np.float32)}
    with pytest.raises(paritree.NotExpressibleError) as caught:
        paritree.save(tree, made, folder / "sum.safetensors")
    assert str(caught.value) == (
        "c: expected a and b sharded alike, whose sum it is, found other shards of the one than of the other. "
        "Shard them alike."
    )
    tied = paritree.MapRow("a", "c", (8,), (8,), "a -> a", "rule", reference_aliases=("b",))
    made = paritree.Map((tied,), ("pytree", "torch"))
    with pytest.raises(paritree.WeightsError) as caught:
        paritree.save(tree, made, folder / "tie.safetensors")
    assert str(caught.value) == (
        "expected a and b, which are one tensor of the model, sharded alike, so that they can be compared, found other "
        "shards of the one than of the other. Choose one: keep=['a'] or keep=['b'], or tie them. Nothing was written."
    )
    paritree.save(tree, made, folder / "tie.safetensors", keep=["b"])
    tree["b"] = sharded(np.arange(8.0, dtype=np.float32) + 1, 0)
    with pytest.raises(paritree.WeightsError, match="expected one value of a and b, which are one tensor"):
        paritree.save(tree, made, folder / "other.safetensors")
    row = paritree.MapRow("e", "e", (0, 4), (4, 0), "a b -> b a", "rule")
    made = paritree.Map((*made.rows, row), made.direction)
    tree = {"a": sharded(np.arange(8.0, dtype=np.float32), 0), "e": np.zeros((0, 4), np.float32)}
    paritree.save(tree, made, folder / "empty.dcp")
    with pytest.raises(paritree.CheckpointError) as found:
        paritree.save(tree, made, folder / "empty")
    assert str(found.value) == (
        "e: expected an array with entries, as Orbax saves them, found (4, 0). Write another kind of checkpoint."
    )
    print("what cannot be told is refused")


if __name__ == "__main__":
    for run in (save_gpt2, save_llama, save_both_ways, refuse):
        run(Path(sys.argv[1]))
