"""Prefixes of a source's names: found and said, taken off, and decided otherwise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from paritree import Conversion, Map, UsageError, WeightsError, convert

from .checkpoints import assert_equal, example, loaded, row, saved, weights


def with_prefix(prefix: str, arrays: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    return {prefix + path: array for path, array in (arrays or weights()).items()}


def converted(folder: Path, arrays: dict[str, np.ndarray], map: Map | None = None, **options: object) -> Conversion:
    source = saved(folder / "source.safetensors", arrays)
    return convert(source, folder / "port.safetensors", map or example(), **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod.", "model.model.", "params."])
def test_a_known_prefix_of_all_names_is_taken_off_and_said(prefix: str, tmp_path: Path) -> None:
    done = converted(tmp_path, with_prefix(prefix))
    assert_equal(loaded(tmp_path / "port.safetensors"), example().arrays(weights()))
    assert done.taken_off == prefix
    assert str(done).splitlines()[1:] == [
        f"taken off: {prefix}",
        "left out: steps",
        "not written, as the map has no row for it: batch_stats.count",
    ]


def test_ties_have_the_prefix_too(tmp_path: Path) -> None:
    arrays = with_prefix("module.")
    source = saved(tmp_path / "source.safetensors", arrays, {"module.head.weight": "module.embed.weight"})
    assert convert(source, tmp_path / "port.safetensors", example()).taken_off == "module."


def test_what_real_wrappers_save(tmp_path: Path) -> None:
    """A parallel model in an average of models, whose count has no prefix."""
    made = Map((row("weight", "kernel", (3, 2), "o i -> i o", port_shape=(2, 3)),), ("torch", "nnx"))
    inner = torch.nn.Linear(2, 3, bias=False)
    wrapped = torch.optim.swa_utils.AveragedModel(torch.nn.DataParallel(inner))
    torch.save(wrapped.state_dict(), tmp_path / "source.pt")
    done = convert(tmp_path / "source.pt", tmp_path / "port.safetensors", made)
    assert (done.taken_off, done.left_out) == ("module.module.", ("n_averaged",))
    assert np.array_equal(loaded(tmp_path / "port.safetensors")["kernel"], inner.weight.detach().numpy().T)


def test_a_collection_that_was_saved_without_its_name(tmp_path: Path) -> None:
    arrays = {path.removeprefix("params."): array for path, array in example().arrays(weights()).items()}
    done = converted(tmp_path, arrays)
    assert (done.direction, done.put_before) == (("linen", "torch"), "params.")
    assert "put before: params." in str(done).splitlines()


def test_names_that_the_map_has_stay(tmp_path: Path) -> None:
    rows = (row("model.w", "params.w", (3,), "a -> a"), row("model.model.w", "params.v", (3,), "a -> a"))
    arrays = {"model.w": np.ones(3, np.float32), "model.model.w": np.zeros(3, np.float32)}
    assert converted(tmp_path, arrays, Map(rows, ("torch", "linen"))).taken_off == ""


@pytest.mark.parametrize("change", ["one without", "unknown", "a clash"])
def test_otherwise_none_is_taken_off(change: str, tmp_path: Path) -> None:
    arrays = with_prefix("wrapper." if change == "unknown" else "module.")
    if change == "one without":
        arrays["other"] = np.ones(3, np.float32)
    if change == "a clash":
        arrays["steps"] = np.array(4)
    with pytest.raises(WeightsError, match=r"embed\.weight is missing"):
        converted(tmp_path, arrays)


def test_a_prefix_that_is_given(tmp_path: Path) -> None:
    arrays = {**with_prefix("wrapper."), "loss.weight": np.ones(3, np.float32)}
    done = converted(tmp_path, arrays, prefix="wrapper.", skip=["loss.weight"])
    assert (done.taken_off, done.left_out) == ("wrapper.", ("steps", "loss.weight"))
    assert_equal(loaded(tmp_path / "port.safetensors"), example().arrays(weights()))
    with pytest.raises(WeightsError, match=r"module\.embed\.weight is not in the map"):
        converted(tmp_path, with_prefix("module."), prefix="", overwrite=True)


def test_a_prefix_that_no_name_has_or_that_makes_two_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        converted(tmp_path, with_prefix("module."), prefix="modul.")
    assert str(refusal.value) == (
        "prefix: expected one that names of the source have, found 'modul.'. Did you mean 'module.'?"
    )
    with pytest.raises(UsageError) as refusal:
        converted(tmp_path, {**with_prefix("wrapper."), "scale": np.float32(1)[...]}, prefix="wrapper.")
    assert str(refusal.value) == (
        "scale: expected one entry of each path without the prefix, found two. Leave one out with --skip."
    )
