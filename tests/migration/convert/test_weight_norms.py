"""Checkpoints with weight norms, by a map that has their products: converted, loaded and saved; and no way back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

import paritree
from paritree import MapError, WeightsError, convert, save
from paritree.pairs.maps import Map, MapRow

from .checkpoints import loaded, saved

FACTORS = {
    "0": ("0.weight_g", "0.weight_v"),
    "2": ("2.parametrizations.weight.original0", "2.parametrizations.weight.original1"),
}


def made(with_factors: bool = False) -> Map:
    rows = []
    for name, shape in (("0", (6, 4)), ("2", (4, 6))):
        kernel = (f"{name}.weight", f"layers.{name}.kernel", shape, shape[::-1], "o i -> i o", "rule")
        rows.append(MapRow(*kernel, reference_factors=FACTORS[name] if with_factors else ()))
        rows.append(MapRow(f"{name}.bias", f"layers.{name}.bias", shape[:1], shape[:1], "o -> o", "rule"))
    return Map(tuple(rows), ("torch", "nnx"))


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    with pytest.warns(FutureWarning):
        first = nn.utils.weight_norm(nn.Linear(4, 6))
    model = nn.Sequential(first, nn.ReLU(), parametrizations.weight_norm(nn.Linear(6, 4), dim=1))
    with torch.no_grad():
        for each in model.parameters():
            each.mul_(torch.rand(each.shape) + 0.5)
    return model


def expected(model: Any) -> dict[str, np.ndarray]:
    model(torch.zeros(1, 4))
    return {
        f"layers.{number}.{name}": array.detach().numpy()
        for number in (0, 2)
        for name, array in (("kernel", model[number].weight.T), ("bias", model[number].bias))
    }


def check(found: dict[str, Any], wanted: dict[str, np.ndarray]) -> None:
    assert found.keys() == wanted.keys()
    for path, array in wanted.items():
        np.testing.assert_allclose(np.asarray(found[path]), array, rtol=1e-6, err_msg=path)


@pytest.mark.parametrize("factors", [True, False])
@pytest.mark.parametrize("before", ["", "module."])
@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_converted(kind: str, before: str, factors: bool, model: nn.Module, tmp_path: Path) -> None:
    state = {before + name: tensor for name, tensor in model.state_dict().items()}
    source = tmp_path / f"source.{kind}"
    if kind == "pt":
        torch.save(state, source)
    else:
        saved(source, {name: tensor.numpy() for name, tensor in state.items()})
    done = convert(source, tmp_path / "port.safetensors", made(factors))
    check(loaded(tmp_path / "port.safetensors"), expected(model))
    assert str(done).splitlines() == [
        "torch -> nnx: 4 tensors, 232 bytes",
        *(["taken off: module."] if before else []),
        "merged: 2 weight norms: 0.weight_g and 0.weight_v as 0.weight, and 1 more",
    ]


def test_loaded_and_saved_and_carried(model: nn.Module, tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", {path: array.numpy() for path, array in model.state_dict().items()})
    like = {
        "layers": {
            number: {
                name: jax.ShapeDtypeStruct(expected(model)[f"layers.{number}.{name}"].shape, np.float32)
                for name in ("kernel", "bias")
            }
            for number in ("0", "2")
        }
    }
    notes: list[str] = []
    tree = paritree.load(source, made(), like, on_note=notes.append)
    assert notes == ["merged: 2 weight norms: 0.weight_g and 0.weight_v as 0.weight, and 1 more"]
    assert tuple(notes) == paritree.plan(source, made(), like).told
    check(
        {f"layers.{n}.{name}": array for n, layer in tree["layers"].items() for name, array in layer.items()},
        expected(model),
    )
    done = save(model, made(), tmp_path / "port.safetensors")
    assert "merged: 2 weight norms" in str(done)
    check(loaded(tmp_path / "port.safetensors"), expected(model))


def test_padded_after_they_are_merged(model: nn.Module, tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", {path: array.numpy() for path, array in model.state_dict().items()})
    small = Map(
        tuple(row for row in made().rows if row.reference == "0.weight"),
        ("torch", "nnx"),
        aside_reference=("0.bias", "2.bias"),
    )
    convert(source, tmp_path / "port.safetensors", small, skip=["2.*"], trim={"0.weight": 3})
    check(loaded(tmp_path / "port.safetensors"), {"layers.0.kernel": expected(model)["layers.0.kernel"][:, :3]})


def test_the_way_back_makes_the_product_or_is_refused(model: nn.Module, tmp_path: Path) -> None:
    port = saved(
        tmp_path / "port.safetensors", {path: np.ascontiguousarray(each) for path, each in expected(model).items()}
    )
    convert(port, tmp_path / "back.safetensors", made())
    plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    plain.load_state_dict(
        {path: torch.from_numpy(array) for path, array in loaded(tmp_path / "back.safetensors").items()}
    )
    again = parametrizations.weight_norm(plain[0])
    np.testing.assert_allclose(again.weight.detach(), model[0].weight.detach(), rtol=1e-6)
    for refused in (
        lambda: convert(port, tmp_path / "b.safetensors", made(True)),
        lambda: paritree.load(port, made(True), model),
    ):
        with pytest.raises(
            MapError, match=r"^0\.weight: expected a tensor that its side stores as it is, found the product"
        ):
            refused()


def test_factors_that_do_not_fit_are_told(tmp_path: Path) -> None:
    small = Map(made().rows[:1], ("torch", "nnx"))
    source = saved(tmp_path / "a.safetensors", {"0.weight_g": np.zeros((5, 1)), "0.weight_v": np.zeros((6, 4))})
    with pytest.raises(
        WeightsError, match=r"0\.weight is missing; 0\.weight_g is not in the map; 0\.weight_v is not in"
    ):
        convert(source, tmp_path / "b.safetensors", small)
