"""Conversion of sound checkpoints: every kind of source and destination, both ways, with ties, pieces and casts."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import safetensors.torch
import torch
from safetensors import safe_open

import paritree
from paritree import Map, convert
from paritree.pairs.maps.pieces import parsed

from .checkpoints import BFLOAT16, assert_equal, example, loaded, row, saved, weights


def as_torch(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    found = {path: torch.from_numpy(array.copy()) for path, array in arrays.items()}
    return {**found, "head.weight": found["embed.weight"]}


def sources(folder: Path) -> dict[str, Path]:
    """The same weights as every kind of checkpoint of the torch side."""
    arrays = weights()
    saved(folder / "tie.safetensors", arrays, {"head.weight": "embed.weight"})
    saved(folder / "twice.safetensors", {**arrays, "head.weight": arrays["embed.weight"]})
    torch.save(as_torch(arrays), folder / "flat.pt")
    torch.save({"epoch": 3, "state_dict": as_torch(arrays), "model": 1}, folder / "nested.ckpt")
    torch.save(as_torch(arrays), folder / "old.bin", _use_new_zipfile_serialization=False)
    names = list(arrays)
    for ending, save in (("safetensors", saved), ("bin", lambda file, part: torch.save(as_parts(part), file))):
        homes = {}
        for number, part in enumerate((names[:3], names[3:])):
            home = f"model-{number}.{ending}"
            save(folder / home, {path: arrays[path] for path in part})
            homes |= dict.fromkeys(part, home)
        (folder / f"{ending}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": homes}))
    return {path.name: path for path in folder.iterdir() if not path.name.startswith("model-")}


def as_parts(arrays: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {path: torch.from_numpy(array.copy()) for path, array in arrays.items()}


KINDS = (
    "tie.safetensors",
    "twice.safetensors",
    "flat.pt",
    "nested.ckpt",
    "old.bin",
    "safetensors.index.json",
    "bin.index.json",
)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_source_gives_what_the_map_carries(kind: str, tmp_path: Path) -> None:
    expected = example().arrays(weights())
    done = convert(sources(tmp_path)[kind], tmp_path / "port.safetensors", example())
    found = loaded(tmp_path / "port.safetensors")
    assert_equal(found, expected)
    assert done.direction == ("torch", "linen")
    assert (done.tensors, done.nbytes) == (len(expected), sum(array.nbytes for array in expected.values()))
    assert done.left_out == (("steps", "epoch", "model") if kind == "nested.ckpt" else ("steps",))
    assert done.absent == ("batch_stats.count",)


def test_there_and_back_through_every_destination(tmp_path: Path) -> None:
    arrays = {**weights(), "scale": np.asarray(np.nan, np.float32)}
    del arrays["steps"]
    source = saved(tmp_path / "source.safetensors", arrays, {"head.weight": "embed.weight"})
    convert(source, tmp_path / "port", example())
    convert(source, tmp_path / "port.safetensors", example())
    for port in ("port", "port.safetensors"):
        back = convert(tmp_path / port, tmp_path / f"{port}.back.safetensors", example())
        assert back.direction == ("linen", "torch")
        assert back.aliases == ("head.weight",)
        found = loaded(tmp_path / f"{port}.back.safetensors")
        again = example().inverse().arrays(example().arrays(weights() | {"scale": arrays["scale"]}))
        assert_equal(found, again)
        for path in ("embed.weight", "in_proj.weight", "conv.weight", "scale"):
            assert found[path].tobytes() == arrays[path].tobytes()


def test_an_orbax_destination_is_the_tree_that_apply_takes(tmp_path: Path) -> None:
    import orbax.checkpoint as ocp

    convert(saved(tmp_path / "source.safetensors", weights()), tmp_path / "port", example())
    with ocp.StandardCheckpointer() as checkpointer:
        tree = checkpointer.restore((tmp_path / "port").absolute(), example().carry(weights()))
    assert sorted(tree["params"]) == ["cell", "conv", "embed", "key", "norm", "query", "scale", "value"]
    assert np.array_equal(tree["params"]["query"]["kernel"], example().arrays(weights())["params.query.kernel"])


def test_an_orbax_checkpoint_of_a_torch_side_has_the_aliases(tmp_path: Path) -> None:
    convert(saved(tmp_path / "source.safetensors", weights()), tmp_path / "port.safetensors", example())
    done = convert(tmp_path / "port.safetensors", tmp_path / "back", example())
    assert done.aliases == ("head.weight",)
    again = convert(tmp_path / "back", tmp_path / "again.safetensors", example())
    assert again.direction == ("torch", "linen")
    assert_equal(loaded(tmp_path / "again.safetensors"), loaded(tmp_path / "port.safetensors"))


def test_an_orbax_source_may_be_a_step_or_a_state(tmp_path: Path) -> None:
    import orbax.checkpoint as ocp
    from flax import nnx

    model = nnx.Linear(2, 3, rngs=nnx.Rngs(0))
    with ocp.CheckpointManager(tmp_path / "run") as manager:
        manager.save(7, args=ocp.args.StandardSave(nnx.state(model)))
        manager.wait_until_finished()
    made = Map(
        (
            row("weight", "kernel", (3, 2), "o i -> i o", port_shape=(2, 3)),
            row("bias", "bias", (3,), "o -> o"),
        ),
        ("torch", "nnx"),
    )
    convert(tmp_path / "run" / "7", tmp_path / "back.safetensors", made)
    expected = {"weight": np.asarray(model.kernel[...]).T, "bias": np.asarray(model.bias[...])}
    assert_equal(loaded(tmp_path / "back.safetensors"), expected)


def test_the_file_is_laid_out_as_safetensors_does_it(tmp_path: Path) -> None:
    """Byte for byte, for names of any script and for dtypes of every width."""
    dtypes = (np.float64, np.float32, np.float16, BFLOAT16, np.int64, np.int8, np.uint16, np.bool_, np.complex64)
    arrays = {f"größe.{number}": np.ones((3, number), dtype) for number, dtype in enumerate(dtypes)}
    rows = tuple(row(path, path, array.shape, "a b -> a b") for path, array in arrays.items())
    source = saved(tmp_path / "source.safetensors", arrays)
    convert(source, tmp_path / "port.safetensors", Map(rows, ("pytree", "pytree")))
    assert (tmp_path / "port.safetensors").read_bytes() == source.read_bytes()


def test_torch_loads_a_tie_that_was_converted_back(tmp_path: Path) -> None:
    class Tied(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(7, 4)
            self.head = torch.nn.Linear(4, 7, bias=False)
            self.head.weight = self.embed.weight

    tied = row("embed.weight", "params.embed.embedding", (7, 4), "v d -> v d", reference_aliases=("head.weight",))
    made = Map((tied,), ("torch", "linen"))
    model, other = Tied(), Tied()
    safetensors.torch.save_model(model, str(tmp_path / "source.safetensors"))
    convert(tmp_path / "source.safetensors", tmp_path / "port.safetensors", made)
    assert sorted(loaded(tmp_path / "port.safetensors")) == ["params.embed.embedding"]
    convert(tmp_path / "port.safetensors", tmp_path / "back.safetensors", made)
    with safe_open(tmp_path / "back.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt", "head.weight": "embed.weight"}
    assert safetensors.torch.load_model(other, str(tmp_path / "back.safetensors")) == (set(), [])
    assert torch.equal(other.head.weight, model.embed.weight)


def test_a_tie_under_its_alias_alone(tmp_path: Path) -> None:
    arrays = weights()
    arrays["head.weight"] = arrays.pop("embed.weight")
    convert(saved(tmp_path / "source.safetensors", arrays), tmp_path / "port.safetensors", example())
    assert_equal(loaded(tmp_path / "port.safetensors"), example().arrays(weights()))


def test_a_tie_with_two_values_is_refused_until_one_is_chosen(tmp_path: Path) -> None:
    arrays = {**weights(), "head.weight": weights(1)["embed.weight"]}
    source, target = saved(tmp_path / "source.safetensors", arrays), tmp_path / "port.safetensors"
    with pytest.raises(paritree.WeightsError) as refusal:
        convert(source, target, example())
    assert str(refusal.value) == (
        "expected one value of embed.weight and head.weight, which are one tensor of the model, found two that differ. "
        "Choose one: --keep embed.weight or --keep head.weight (in Python keep=[...])."
    )
    assert [file.name for file in tmp_path.iterdir()] == ["source.safetensors"]
    for path in ("embed.weight", "head.weight"):
        convert(source, target, example(), keep=[path], overwrite=True)
        assert np.array_equal(loaded(target)["params.embed.embedding"], arrays[path])
    with pytest.raises(paritree.UsageError, match=r"hed.weight: expected a path of a tie to keep, .*'head.weight'"):
        convert(source, target, example(), keep=["hed.weight"], overwrite=True)


def test_a_tie_with_two_equal_values_that_are_not_numbers(tmp_path: Path) -> None:
    arrays = weights()
    arrays["embed.weight"][0] = np.nan
    arrays["head.weight"] = arrays["embed.weight"].copy()
    convert(saved(tmp_path / "source.safetensors", arrays), tmp_path / "port.safetensors", example())
    assert np.isnan(loaded(tmp_path / "port.safetensors")["params.embed.embedding"][0]).all()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_floating_tensors_are_cast_on_request(dtype: str, tmp_path: Path) -> None:
    arrays = weights(dtype=np.float64)
    source = saved(tmp_path / "source.safetensors", arrays)
    convert(source, tmp_path / "port.safetensors", example(), dtype=dtype)
    wanted = BFLOAT16 if dtype == "bfloat16" else np.dtype(dtype)
    expected = {path: array.astype(wanted) for path, array in example().arrays(arrays).items()}
    assert_equal(loaded(tmp_path / "port.safetensors"), expected)


def test_bfloat16_is_kept_through_torch_and_orbax(tmp_path: Path) -> None:
    made = Map((row("w", "params.w", (3, 5), "a b -> b a", port_shape=(5, 3)),), ("torch", "linen"))
    tensor = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).bfloat16()
    torch.save({"w": tensor}, tmp_path / "source.pt")
    convert(tmp_path / "source.pt", tmp_path / "port", made)
    convert(tmp_path / "port", tmp_path / "back.safetensors", made)
    assert torch.equal(safetensors.torch.load_file(tmp_path / "back.safetensors")["w"], tensor)


def test_a_cast_that_loses_a_value_is_refused(tmp_path: Path) -> None:
    arrays = {**weights(), "norm.weight": np.array([1, np.inf, 1e6, 1], np.float32)}
    source = saved(tmp_path / "source.safetensors", arrays)
    with pytest.raises(paritree.DtypeError) as refusal:
        convert(source, tmp_path / "port.safetensors", example(), dtype="float16")
    assert str(refusal.value) == (
        "params.norm.scale: expected values that float16 can hold, found 999999. Keep the dtype, or choose a wider one."
    )
    with pytest.raises(paritree.DtypeError, match="dtype: expected one of 'float32', 'bfloat16', 'float16'"):
        convert(source, tmp_path / "port.safetensors", example(), dtype="float61")
    assert [file.name for file in tmp_path.iterdir()] == ["source.safetensors"]


def test_progress_is_told_in_bytes(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    source = saved(tmp_path / "source.safetensors", weights())
    done = convert(source, tmp_path / "port.safetensors", example(), on_progress=lambda *numbers: told.append(numbers))
    assert [total for _, total in told] == [done.nbytes] * len(told)
    assert [each for each, _ in told] == sorted({each for each, _ in told})
    assert told[-1] == (done.nbytes, done.nbytes)


def test_which_side_a_source_is_can_be_said_where_names_are_alike(tmp_path: Path) -> None:
    made = Map((row("w", "w", (3, 3), "a b -> b a"),), ("torch", "nnx"))
    source = saved(tmp_path / "source.safetensors", {"w": np.arange(9, dtype=np.float32).reshape(3, 3)})
    assert convert(source, tmp_path / "port.safetensors", made).direction == ("torch", "nnx")
    assert convert(source, tmp_path / "back.safetensors", made, inverse=True).direction == ("nnx", "torch")


def test_which_side_a_source_is_follows_from_shapes_where_names_are_alike(tmp_path: Path) -> None:
    made = Map((row("w", "w", (2, 3), "a b -> b a", port_shape=(3, 2)),), ("torch", "nnx"))
    source = saved(tmp_path / "source.safetensors", {"w": np.zeros((3, 2), np.float32)})
    assert convert(source, tmp_path / "back.safetensors", made).direction == ("nnx", "torch")


def test_a_map_of_a_small_model_serves_a_large_one(tmp_path: Path) -> None:
    rows = tuple(
        row(f"layers.{n}.weight", f"params.layers_{n}.kernel", (3, 2), "o i -> i o", port_shape=(2, 3))
        for n in range(2)
    )
    arrays = {f"layers.{n}.weight": np.full((30, 20), n, np.float32) for n in range(12)}
    source = saved(tmp_path / "source.safetensors", arrays)
    convert(source, tmp_path / "port.safetensors", Map(rows, ("torch", "linen")))
    expected = {f"params.layers_{n}.kernel": np.full((20, 30), n, np.float32) for n in range(12)}
    assert_equal(loaded(tmp_path / "port.safetensors"), expected)


def test_layers_that_the_port_stacks_are_written_each_to_its_place(tmp_path: Path) -> None:
    rows = tuple(
        row(
            f"layers.{n}.weight",
            "params.layers.kernel",
            (300, 200),
            "o i -> i o",
            port_shape=(3, 200, 300),
            port_piece=parsed(f"[{n}]"),
        )
        for n in range(3)
    )
    generator = np.random.default_rng(0)
    arrays = {f"layers.{n}.weight": generator.normal(size=(300, 200)).astype(np.float32) for n in range(3)}
    source = saved(tmp_path / "source.safetensors", arrays)
    made = Map(rows, ("torch", "linen"))
    convert(source, tmp_path / "port.safetensors", made)
    assert_equal(loaded(tmp_path / "port.safetensors"), made.arrays(arrays))
    convert(tmp_path / "port.safetensors", tmp_path / "back.safetensors", made)
    assert_equal(loaded(tmp_path / "back.safetensors"), arrays)


def test_the_result_as_text() -> None:
    done = paritree.Conversion(
        Path("port.safetensors"), ("torch", "linen"), 2, 1234567, ("head.weight",), ("steps",), ("count",)
    )
    assert str(done).splitlines() == [
        "torch -> linen: 2 tensors, 1,234,567 bytes, 1 alias",
        "left out: steps",
        "not written, as the map has no row for it: count",
    ]


def test_a_source_gives_back_what_was_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each entry once, and not before the last tensor that needs it."""
    from paritree.migration.convert import execute, readers

    events: list[str] = []
    release, make = readers.SafetensorsFile.release, execute._Making.__call__

    def released(self: object, path: str) -> None:
        events.append(f"release {path}")
        release(self, path)  # type: ignore[arg-type]

    def made(self: object, run: SimpleNamespace) -> object:
        events.append(run.path)
        return make(self, run)  # type: ignore[arg-type]

    monkeypatch.setattr(readers.SafetensorsFile, "release", released)
    monkeypatch.setattr(execute._Making, "__call__", made)
    convert(saved(tmp_path / "source.safetensors", weights()), tmp_path / "port.safetensors", example())
    assert sorted(each for each in events if each.startswith("release")) == sorted(
        f"release {path}" for path in weights() if path != "steps"
    )
    last = max(events.index(f"params.{name}.kernel") for name in ("query", "key", "value"))
    assert events.index("release in_proj.weight") > last
