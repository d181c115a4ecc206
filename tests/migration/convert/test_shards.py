"""Folders in Hugging Face's layout: what is in them, who reads them, and how they are replaced."""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

import paritree
from paritree import Map, architectures, convert
from paritree.migration.convert.shards import shard_size

from .checkpoints import assert_equal, example, loaded, row, saved, weights

INDEX = "model.safetensors.index.json"


def to_torch(folder: Path, size: int | str, seed: int = 0, name: str = "made", **options: object) -> Path:
    """A folder of the torch side, made from the port's checkpoint."""
    port = folder / f"port-{seed}.safetensors"
    if not port.exists():
        saved(port, example().arrays(weights(seed)))
    convert(port, folder / name, example(), max_shard_size=size, **options)  # type: ignore[arg-type]
    return folder / name


def files(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def gathered(folder: Path) -> dict[str, np.ndarray]:
    """By the index, each tensor from the file that it names."""
    homes = json.loads((folder / INDEX).read_text())["weight_map"]
    return {path: loaded(folder / name)[path] for path, name in homes.items()}


def test_the_layout_is_that_of_the_library(tmp_path: Path) -> None:
    made = to_torch(tmp_path, 300)
    expected = example().inverse().arrays(example().arrays(weights()))
    assert_equal(gathered(made), expected)
    index = json.loads((made / INDEX).read_text())
    assert index["metadata"] == {"total_size": sum(array.nbytes for array in expected.values())}
    shards = files(made)[:-1]
    assert shards == [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    assert sorted(index["weight_map"]) == sorted(path for name in shards for path in loaded(made / name))
    for name in shards:
        with safe_open(made / name, "np") as file:
            assert file.metadata() == {"format": "pt"}
        # Only a tensor that is alone in its shard is larger.
        sizes = [array.nbytes for array in loaded(made / name).values()]
        assert sum(sizes) <= 300 or len(sizes) == 1


def test_what_fits_in_one_shard_is_one_file_without_an_index(tmp_path: Path) -> None:
    made = to_torch(tmp_path, "5GB")
    assert files(made) == ["model.safetensors"]
    assert_equal(loaded(made / "model.safetensors"), example().inverse().arrays(example().arrays(weights())))


@pytest.mark.parametrize("size", [1, 300, "5GB"])
def test_a_folder_of_shards_is_a_source(size: int | str, tmp_path: Path) -> None:
    made = to_torch(tmp_path, size)
    done = convert(made, tmp_path / "back.safetensors", example())
    assert done.direction == ("torch", "linen")
    again = example().inverse().arrays(example().arrays(weights()))
    assert_equal(loaded(tmp_path / "back.safetensors"), example().arrays(again))


def test_each_side_can_be_in_shards(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", weights())
    convert(source, tmp_path / "port", example(), max_shard_size=100)
    assert_equal(gathered(tmp_path / "port"), example().arrays(weights()))


def test_there_may_be_more_shards_than_open_files(tmp_path: Path) -> None:
    arrays = {f"w{number}": np.full(3, number, np.float32) for number in range(200)}
    rows = tuple(row(path, path, (3,), "a -> a") for path in arrays)
    source = saved(tmp_path / "source.safetensors", arrays)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 40, hard))
    try:
        convert(source, tmp_path / "made", Map(rows, ("pytree", "pytree")), max_shard_size=1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert_equal(gathered(tmp_path / "made"), arrays)


@pytest.mark.parametrize(
    ("size", "expected"),
    [("5GB", 5 * 10**9), ("1.5 kb", 1500), ("2MiB", 2 << 20), ("10", 10), (7, 7), ("1TB", 10**12)],
)
def test_sizes_are_read_as_the_library_reads_them(size: int | str, expected: int) -> None:
    assert shard_size(size) == expected


@pytest.mark.parametrize("size", [0, -1, True, "", "5 giga", "0KB", "GB", "-5GB", "nan", 1.5])
def test_a_size_that_is_none_is_refused(size: object, tmp_path: Path) -> None:
    with pytest.raises(paritree.UsageError) as refusal:
        to_torch(tmp_path, size)  # type: ignore[arg-type]
    assert str(refusal.value) == (
        f"max_shard_size: expected a size such as '5GB', '500MB' or a number of bytes, found {size!r}. "
        "KB, MB, GB and TB are powers of ten, KiB of two."
    )
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", ["made.safetensors", "made.Safetensors", "made.bin", "model.json"])
def test_the_destination_of_shards_is_a_folders_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(paritree.CheckpointError) as refusal:
        to_torch(tmp_path, 300, name=name)
    ending = Path(name).suffix
    assert str(refusal.value) == (
        f"{tmp_path / name}: expected a folder's name for shards, found one that ends in {ending!r}. "
        "Give one without an ending."
    )


@pytest.mark.parametrize(("first", "then"), [(300, 1), (300, "5GB"), ("5GB", 300)])
def test_shards_are_replaced_by_shards_and_none_is_left(first: int | str, then: int | str, tmp_path: Path) -> None:
    to_torch(tmp_path, first)
    expected = files(to_torch(tmp_path, then, name="other", seed=1))
    made = to_torch(tmp_path, then, overwrite=True, seed=1)
    assert files(made) == expected
    assert_equal(loaded(made / files(made)[0]), loaded(tmp_path / "other" / files(made)[0]))
    assert [each for each in files(tmp_path) if each.startswith(".")] == []


def test_shards_and_orbax_replace_each_other(tmp_path: Path) -> None:
    made = to_torch(tmp_path, 300)
    convert(tmp_path / "port-0.safetensors", made, example(), overwrite=True)
    assert (made / "_METADATA").is_file()
    assert INDEX in files(to_torch(tmp_path, 300, overwrite=True))


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "notes", "model-1-of-2.safetensors"])
def test_a_folder_of_shards_with_anything_else_is_not_replaced(name: str, tmp_path: Path) -> None:
    made = to_torch(tmp_path, 300)
    (made / name).write_text("mine")
    with pytest.raises(paritree.CheckpointError) as refusal:
        to_torch(tmp_path, 300, overwrite=True)
    assert str(refusal.value) == (
        f"{made}: expected a folder with a checkpoint of Orbax, DCP or in shards and nothing else to overwrite, found "
        f"{name!r} in it. Remove it first. It was not touched."
    )
    assert (made / name).read_text() == "mine"


def test_a_folder_of_shards_does_not_replace_its_source(tmp_path: Path) -> None:
    made = to_torch(tmp_path, 300)
    for source in (made, made / INDEX):
        with pytest.raises(paritree.CheckpointError, match="a destination apart from what it is made from"):
            convert(source, made, example(), max_shard_size=1, overwrite=True)
    alone = to_torch(tmp_path, "5GB", name="alone") / "model.safetensors"
    with pytest.raises(paritree.CheckpointError, match="a destination apart from what it is made from"):
        convert(alone.parent, alone, example(), overwrite=True)


def test_an_error_leaves_nothing_of_shards(tmp_path: Path) -> None:
    arrays = {**weights(), "conv.weight": np.full((6, 5, 3, 2), 1e6, np.float32)}
    source = saved(tmp_path / "source.safetensors", arrays)
    with pytest.raises(paritree.DtypeError, match="values that float16 can hold"):
        convert(source, tmp_path / "made", example(), dtype="float16", max_shard_size=100)
    assert files(tmp_path) == ["source.safetensors"]


def test_transformers_loads_what_flax_has_trained(tmp_path: Path) -> None:
    """A GPT-2 trained in NNX, saved by Orbax, becomes a folder for `from_pretrained`, with the tie and equal logits."""
    import jax
    import jax.numpy as jnp
    import orbax.checkpoint as ocp
    import transformers
    from flax import nnx

    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 8, "vocab_size": 32, "n_positions": 16}
    config = transformers.GPT2Config(**sizes)
    torch.manual_seed(0)
    reference = transformers.GPT2LMHeadModel(config).eval()
    port = paritree.build(architectures.gpt2(architectures.GPT2Config(**sizes)), "nnx", seed=1)
    tokens = np.arange(12).reshape(2, 6) * 5 % 32
    pair = paritree.Pair(reference, port, (tokens,), lambda model, inputs: model(inputs[0]).logits)
    found = paritree.align(pair)

    def loss(model: nnx.Module) -> jax.Array:
        return -jnp.take_along_axis(jax.nn.log_softmax(model(tokens)[:, :-1]), tokens[:, 1:, None], 2).mean()

    for _ in range(2):
        gradients = nnx.grad(loss)(port)
        state = nnx.state(port, nnx.Param)
        nnx.update(port, jax.tree.map(lambda value, gradient: value - 0.5 * gradient, state, gradients))
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "trained", nnx.to_pure_dict(nnx.state(port, nnx.Param)))

    convert(tmp_path / "trained", tmp_path / "model", found, max_shard_size="2KB")
    config.save_pretrained(tmp_path / "model")
    assert len(files(tmp_path / "model")) > 5
    model, told = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not any(told.values()), told
    assert model.lm_head.weight is model.transformer.wte.weight
    with torch.no_grad():
        np.testing.assert_allclose(model(torch.from_numpy(tokens)).logits, port(tokens), atol=2e-6, rtol=0)
    # What the library saves of it in turn is the same, bit for bit, in the same form.
    model.save_pretrained(tmp_path / "theirs", max_shard_size="2KB")
    assert_equal(gathered(tmp_path / "model"), gathered(tmp_path / "theirs"))
    done = convert(tmp_path / "theirs", tmp_path / "again.safetensors", found)
    assert done.direction == ("torch", "nnx")
    assert_equal(
        loaded(tmp_path / "again.safetensors"),
        found.arrays(gathered(tmp_path / "model")),
    )
