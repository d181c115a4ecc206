"""A checkpoint straight into a model: what is read, every kind of model and source, and what is refused."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.distributed import checkpoint

import paritree
from paritree import CheckpointError, DtypeError, Map, UsageError, WeightsError
from paritree.common.trees import leaves
from paritree.migration.load import filling, reading
from paritree.pairs.maps import MapRow, nested

from ..convert.checkpoints import example, saved, weights
from ..processes import run_alone, run_together
from .models import WIDE, gpt2, llama
from .models import saved as saved_as_shards

ROOT = Path(__file__).parents[3]


def test_onto_a_mesh(tmp_path: Path) -> None:
    assert run_alone("tests.migration.load.on_mesh", tmp_path) == [
        "GPT-2 as an NNX module",
        "GPT-2 as a state, by a map of another size",
        "GPT-2 as a live module",
        "Llama as Linen variables, by a map of another size",
        "Llama as a pytree",
        "Llama in bfloat16",
        "Orbax by chunks",
        "what does not fit is refused",
    ]


def test_no_more_is_held_than_a_window_besides_the_shards(tmp_path: Path) -> None:
    kinds = ["same", "turned", "cast", "changed", "summed", "copied", "tied", "stacked", "split", "module"]
    assert run_alone("tests.migration.load.in_windows", tmp_path) == kinds


def test_onto_one_mesh_of_two_processes(tmp_path: Path) -> None:
    saved_as_shards(gpt2(WIDE), tmp_path / "gpt2", "1MB")
    saved_as_shards(llama(WIDE), tmp_path / "llama", "1MB")
    with warnings.catch_warnings():
        # That there is one process.
        warnings.simplefilter("ignore")
        state = {path: tensor for path, tensor in gpt2(WIDE).state_dict().items() if path != "lm_head.weight"}
        checkpoint.save(state, checkpoint_id=tmp_path / "gpt2.dcp", no_dist=True)
    held = ["GPT-2 and Llama", "other maps", "other sources", "a source that changes"]
    assert run_together("tests.migration.load.over_processes", tmp_path) == [[*held, "dead"], held]


def abstract(dtype: Any = jnp.float32) -> dict[str, Any]:
    shapes = {path: rows[0].port_shape for path, rows in example().by_port.items()}
    return nested({path: jax.ShapeDtypeStruct(shape, dtype) for path, shape in shapes.items()}, with_numbers=False)


def flat(tree: Any) -> dict[str, np.ndarray]:
    return {path: np.asarray(leaf) for path, leaf in leaves(tree)}


def check_equal(made: Any, expected: dict[str, Any]) -> None:
    found = flat(made)
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        np.testing.assert_array_equal(found[path], array, err_msg=path, strict=True)


def test_everything_that_a_map_can_have_there_and_back(tmp_path: Path) -> None:
    source = saved(tmp_path / "m.safetensors", weights())
    made = paritree.load(source, example(), abstract())
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(made))
    check_equal(made, example().arrays(weights()))
    back = saved(tmp_path / "n.safetensors", flat(made))
    like = {path: np.zeros_like(array) for path, array in weights().items() if path != "steps"}
    expected = {path: array for path, array in example().inverse().arrays(flat(made)).items()}
    check_equal(paritree.load(back, example(), like), expected)


@pytest.mark.parametrize("window", [4, 64])
def test_in_windows_of_any_size(window: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filling, "WINDOW", window)
    source = saved(tmp_path / "m.safetensors", weights())
    check_equal(paritree.load(source, example(), abstract()), example().arrays(weights()))


def test_by_pages_where_there_are_many_short_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MANY", 0)
    source = saved(tmp_path / "m.safetensors", weights())
    check_equal(paritree.load(source, example(), abstract()), example().arrays(weights()))


@pytest.mark.parametrize("kind", ["torch", "orbax", "shards", "npz"])
def test_other_sources(kind: str, tmp_path: Path) -> None:
    given = {path: torch.from_numpy(array.copy()) for path, array in weights().items()}
    if kind == "torch":
        # Not contiguous, as an optimizer may leave a tensor.
        given["embed.weight"] = given["embed.weight"].T.contiguous().T
        torch.save(given, tmp_path / "m.pt")
        source = tmp_path / "m.pt"
    elif kind == "npz":
        source = tmp_path / "m.npz"
        np.savez(source, **weights())
    elif kind == "shards":
        saved(tmp_path / "a.safetensors", {path: array for path, array in weights().items() if path < "d"})
        saved(tmp_path / "b.safetensors", {path: array for path, array in weights().items() if path >= "d"})
        homes = ", ".join(f'"{path}": "{"a" if path < "d" else "b"}.safetensors"' for path in weights())
        source = tmp_path / "m.index.json"
        source.write_text(f'{{"weight_map": {{{homes}}}}}')
    else:
        source = tmp_path / "m"
        paritree.convert(saved(tmp_path / "m.safetensors", weights()), source, example())
        like = {path: np.zeros_like(array) for path, array in weights().items() if path != "steps"}
        carried = example().arrays(weights())
        check_equal(paritree.load(source, example(), like), example().inverse().arrays(carried))
        return
    check_equal(paritree.load(source, example(), abstract()), example().arrays(weights()))


def test_arrays_of_numpy_stay_so_and_what_has_no_row_stays(tmp_path: Path) -> None:
    source = saved(tmp_path / "m.safetensors", weights())
    like = {"params": abstract()["params"], "other": np.ones(2, np.float32)}
    made = paritree.load(source, example(), jax.tree.map(lambda each: np.zeros(each.shape, each.dtype), like))
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(made))
    check_equal(made, example().arrays(weights()) | {"other": np.zeros(2, np.float32)})


def refused(kind: type[Exception], *arguments: Any, **others: Any) -> str:
    with pytest.raises(kind) as caught:
        paritree.load(*arguments, **others)
    return str(caught.value)


def test_a_model_that_does_not_fit(tmp_path: Path) -> None:
    source = saved(tmp_path / "m.safetensors", weights())
    like = abstract()
    del like["params"]["conv"]
    like["params"]["more"] = jax.ShapeDtypeStruct((2,), np.float32)
    text = refused(WeightsError, source, example(), like)
    assert "params.conv.kernel is missing" in text
    like = abstract()
    like["params"]["more"] = jax.ShapeDtypeStruct((2,), np.float32)
    assert refused(WeightsError, source, example(), like) == (
        "expected a model with the 8 tensors of the map's linen side, found 1 that does not fit: params.more has no "
        "row in the map, and no values. What no checkpoint holds must have its values: make it on a device. Nothing "
        "was loaded."
    )
    assert refused(UsageError, source, example(), 3) == (
        "like: expected an nn.Module, an nnx.Module, (linen module, variables) or a pytree of arrays, live or "
        "abstract, found int."
    )


def test_two_values_of_one_tensor(tmp_path: Path) -> None:
    given = weights() | {"head.weight": weights()["embed.weight"] + 1}
    source = saved(tmp_path / "m.safetensors", given)
    assert refused(WeightsError, source, example(), abstract()) == (
        "expected one value of embed.weight and head.weight, which are one tensor of the model, found two that differ. "
        "Choose one: --keep embed.weight or --keep head.weight (in Python keep=[...])."
    )
    made = paritree.load(source, example(), abstract(), keep=["head.weight"])
    np.testing.assert_array_equal(made["params"]["embed"]["embedding"], given["head.weight"])


def test_copies_of_one_tensor(tmp_path: Path) -> None:
    rows = [MapRow(name, "w", (2, 3), (3, 2), "a b -> b a", "rule", copied=True) for name in ("one", "two")]
    made, array = Map(tuple(rows), ("torch", "pytree")), np.arange(6, dtype=np.float32).reshape(2, 3)
    like = {"w": jax.ShapeDtypeStruct((3, 2), np.float32)}
    alike = saved(tmp_path / "a.safetensors", {"one": array, "two": array})
    check_equal(paritree.load(alike, made, like), {"w": array.T})
    unlike = saved(tmp_path / "b.safetensors", {"one": array, "two": array + 1})
    assert "expected one value of one and two" in refused(WeightsError, unlike, made, like)
    check_equal(paritree.load(unlike, made, like, keep=["two"]), {"w": array.T + 1})


def test_a_value_that_the_dtype_cannot_hold(tmp_path: Path) -> None:
    source = saved(tmp_path / "m.safetensors", weights() | {"scale": np.asarray(1e6, np.float32)})
    assert refused(DtypeError, source, example(), abstract(jnp.float16)) == (
        "params.scale: expected values that float16 can hold, found 1e+06. Make the model with a wider dtype."
    )


def test_a_dtype_that_jax_has_with_wide_types_only(tmp_path: Path) -> None:
    with jax.enable_x64(True):
        like = abstract(jnp.float64)
    source = saved(tmp_path / "m.safetensors", weights())
    assert "found float64. Enable 64-bit types" in refused(DtypeError, source, example(), like)


@pytest.mark.parametrize("by_pages", [False, True])
@pytest.mark.parametrize("cut", [False, True])
def test_a_source_that_changes_while_it_is_read(
    cut: bool, by_pages: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = saved(tmp_path / "m.safetensors", weights())
    if by_pages:
        monkeypatch.setattr(reading, "MANY", 0)
        monkeypatch.setattr(reading, "SHORT", 1 << 20)

    def change(done: int, total: int) -> None:
        if cut:
            os.truncate(source, 1000)
        else:
            os.utime(source, (1, 1))

    text = refused(CheckpointError, source, example(), abstract(), on_progress=change)
    if cut and not by_pages:
        assert text.startswith(f"{source}: expected what can be read to its end, found an end at byte ")
        assert text.endswith("Copy it again, and load again.")
    else:
        assert text == (
            f"{source}: expected a file that stays as it is while it is read, found one that was written to in the "
            "meantime. Begin again when nothing writes to it."
        )


@pytest.mark.parametrize("name", ["m.pt", "m.npz", "m", "m.dcp"])
def test_another_source_that_changes_while_it_is_read(name: str, tmp_path: Path) -> None:
    source, like = tmp_path / name, abstract()
    if name == "m.pt":
        torch.save({path: torch.from_numpy(array.copy()) for path, array in weights().items()}, source)
    elif name == "m.npz":
        np.savez(source, **weights())
    else:
        paritree.convert(saved(tmp_path / "m.safetensors", weights()), source, example())
        like = {path: np.zeros_like(array) for path, array in weights().items() if path != "steps"}
    file = next(each for each in source.rglob("*") if each.is_file()) if source.is_dir() else source

    def change(done: int, total: int) -> None:
        os.utime(file, (1, 1))

    text = refused(CheckpointError, source, example(), like, on_progress=change)
    assert text == (
        f"{file}: expected a file that stays as it is while it is read, found one that was written to in the "
        "meantime. Begin again when nothing writes to it."
    )


def test_an_index_that_names_a_file_elsewhere(tmp_path: Path) -> None:
    index = tmp_path / "m.index.json"
    index.write_text('{"weight_map": {"a": "../m.safetensors"}}')
    assert refused(CheckpointError, index, example(), abstract()) == (
        f"{index}: expected the names of files beside it, found '../m.safetensors'. Copy the index again."
    )


def test_a_source_elsewhere() -> None:
    assert refused(CheckpointError, "gs://bucket/model", example(), abstract()) == (
        "gs://bucket/model: expected a source on this machine, found one at gs://. Copy it to a disk that every "
        "process sees, and give its path."
    )


def test_names_with_a_prefix(tmp_path: Path) -> None:
    source = saved(tmp_path / "m.safetensors", {f"module.{path}": array for path, array in weights().items()})
    check_equal(paritree.load(source, example(), abstract()), example().arrays(weights()))
    assert "is missing" in refused(WeightsError, source, example(), abstract(), prefix="")
