"""Weight norms: which tensors are factors of what a map has, what their product is, and rows that name them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen
from torch.nn.utils import parametrizations

from paritree import MapError, WeightsError
from paritree.pairs.maps import Map, MapRow, Piece, product, weight_norms


def row(reference: str = "conv.weight", port: str = "conv.kernel", **others: Any) -> MapRow:
    return MapRow(reference, port, (6, 4, 3), (3, 4, 6), "o i k -> k i o", "rule", **others)


def made(*rows: MapRow, **others: Any) -> Map:
    return Map(rows or (row(),), ("torch", "nnx"), **others)


FACTORS = row(reference_factors=("conv.weight_g", "conv.weight_v"))


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("put", [torch.nn.utils.weight_norm, parametrizations.weight_norm])
@pytest.mark.parametrize("dim", [0, 1, 2, None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_torch_s_own_in_any_axis(put: Any, dim: int | None, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential()
    model.add_module("conv", put(torch.nn.Conv1d(4, 6, 3, bias=False), dim=dim))
    with torch.no_grad():
        for each in model.parameters():
            each.mul_(torch.rand(each.shape) + 0.5)
    carried = made().carry(model.to(dtype).state_dict())["conv"]["kernel"]
    wanted = model.conv.weight if put is parametrizations.weight_norm else None
    if wanted is None:
        model(torch.zeros(1, 4, 3, dtype=dtype))
        wanted = model.conv.weight
    assert carried.dtype.name == str(dtype).removeprefix("torch.")
    expected = wanted.detach().float().numpy().transpose(2, 1, 0)
    np.testing.assert_allclose(carried.astype(np.float32), expected, rtol=2e-6 if dtype is torch.float32 else 1e-2)


@pytest.mark.parametrize("axes", [-1, 0, (0, 1), None])
@pytest.mark.parametrize("is_inside", [True, False])
def test_linen_s_own_beside_its_layer_or_around_it(axes: Any, is_inside: bool) -> None:
    class Model(linen.Module):
        @linen.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            return linen.WeightNorm(linen.Dense(4, use_bias=False), feature_axes=axes)(x)

    model = linen.WeightNorm(linen.Dense(4, use_bias=False), feature_axes=axes) if is_inside else Model()
    variables = model.init(jax.random.key(0), jnp.ones((1, 3)))
    name = "layer_instance" if is_inside else "Dense_0"
    variables = jax.tree.map(lambda each: each * np.random.default_rng(0).uniform(1, 2, each.shape), variables)
    rows = MapRow(f"params.{name}.kernel", "weight", (3, 4), (4, 3), "i o -> o i", "rule")
    weight = Map((rows,), ("linen", "torch")).carry(variables)["weight"]
    np.testing.assert_allclose(np.eye(3) @ weight.T, model.apply(variables, jnp.eye(3)), rtol=1e-5)


def test_what_the_map_knows_as_it_is_stays() -> None:
    shapes = {"conv.weight_g": (6, 1, 1), "conv.weight_v": (6, 4, 3)}
    assert weight_norms(shapes, made()) == {"conv.weight": ("conv.weight_g", "conv.weight_v")}
    assert weight_norms(shapes, made().inverse()) == {"conv.weight": ("conv.weight_g", "conv.weight_v")}
    assert not weight_norms(shapes, made(unmatched_reference=("conv.weight_g",)))
    assert not weight_norms({**shapes, "conv.weight": (6, 4, 3)}, made())
    assert not weight_norms({**shapes, "conv.weight_g": (5, 1, 1)}, made())
    assert not weight_norms({"other.weight_g": (6, 1, 1), "other.weight_v": (6, 4, 3)}, made())


def test_another_layer_of_a_known_kind_is_one() -> None:
    layer = made(row("layers.0.weight", "layers.0.kernel"))
    shapes = {
        f"layers.{number}.weight_{half}": (6, 4, 3)[: 1 + 2 * (half == "v")] for number in range(3) for half in "gv"
    }
    assert [*weight_norms(shapes, layer)] == [f"layers.{number}.weight" for number in range(3)]
    fitted = layer.fit(shapes)
    assert [each.reference for each in fitted.rows] == [f"layers.{number}.weight" for number in range(3)]


@pytest.mark.parametrize(
    ("magnitude", "direction", "kept"),
    [
        ((6, 1), (6, 4), "ij -> i"),
        ((6,), (4, 6), "last"),
        ((4,), (4, 4), "last"),
        ((4,), (4, 6), "first"),
    ],
)
def test_the_axes_that_a_magnitude_is_of(magnitude: Any, direction: Any, kept: str) -> None:
    found = product(np.full(magnitude, 2.0), np.random.default_rng(0).normal(size=direction))
    axis = 0 if kept == "last" else 1
    np.testing.assert_allclose(np.linalg.norm(found, axis=axis), 2)


def test_a_magnitude_of_two_possible_axes_is_none() -> None:
    shapes = {"params.WeightNorm_0.Conv_0/kernel/scale": (4,), "params.Conv_0.kernel": (4, 4, 6)}
    kernel = MapRow("params.Conv_0.kernel", "weight", (4, 4, 6), (4, 4, 6), "a b c -> a b c", "rule")
    assert not weight_norms(shapes, Map((kernel,), ("linen", "torch")))


def test_a_direction_of_zeros_is_torch_s_nan() -> None:
    found = product(np.ones((2, 1), np.float32), np.array([[0, 0], [3, 4]], np.float32))
    np.testing.assert_allclose(found, [[np.nan, np.nan], [0.6, 0.8]], rtol=1e-6)


def test_rows_that_name_factors_in_a_file_and_in_the_table(tmp_path: Path) -> None:
    made(FACTORS).save(tmp_path / "map.json")
    assert Map.load(tmp_path / "map.json") == made(FACTORS)
    assert "conv.weight = weight norm of conv.weight_g and conv.weight_v" in str(made(FACTORS))
    assert made(FACTORS).inverse().inverse() == made(FACTORS)


def test_names_of_factors_follow_those_of_the_row() -> None:
    layer = made(row("0.w", "0.kernel", reference_factors=("0.length", "0.way")))
    fitted = layer.fit({"0.w": (6, 4, 3), "1.w": (6, 4, 3)})
    assert [each.reference_factors for each in fitted.rows] == [("0.length", "0.way"), ("1.length", "1.way")]


def test_rows_that_name_factors_carry_them_by_any_name() -> None:
    own = made(row(reference_factors=("long", "way")))
    given = {"long": np.full((6, 1, 1), 3.0), "way": np.random.default_rng(0).normal(size=(6, 4, 3))}
    kernel = own.carry(given)["conv"]["kernel"]
    np.testing.assert_allclose(np.sqrt((kernel**2).sum((0, 1))), 3)
    with pytest.raises(WeightsError, match=r"conv\.weight is missing"):
        own.carry({"way": given["way"]})


def test_there_is_no_way_back_to_factors() -> None:
    with pytest.raises(MapError) as refused:
        made(FACTORS).inverse().carry({"conv.kernel": np.zeros((3, 4, 6))})
    assert str(refused.value) == (
        "conv.weight: expected a tensor that its side stores as it is, found the product of conv.weight_g and "
        "conv.weight_v, which it does not tell. The way back makes conv.weight itself, which `weight_norm` parts "
        "again, by a map whose rows are without 'reference_factors' and 'port_factors'."
    )


def test_a_factor_has_no_row_of_its_own() -> None:
    with pytest.raises(MapError, match=r"^b: expected every path of the reference once, found it twice"):
        made(row(reference_factors=("a", "b")), row("b", "c.kernel"))


def test_rows_of_one_tensor_have_the_same_factors() -> None:
    parts = [Piece(index=(span,)) for span in ((0, 3, None), (3, 6, None))]
    rows = [
        MapRow("w", f"k{number}", (6, 4), (3, 4), "o i -> o i", "rule", reference_piece=part, reference_factors=factors)
        for number, (part, factors) in enumerate(zip(parts, [("g", "v"), ()], strict=True))
    ]
    with pytest.raises(MapError, match="the same factors of the reference's tensor in all of its rows"):
        made(*rows)


def test_one_factor_is_none() -> None:
    with pytest.raises(MapError, match=r"expected the paths of a magnitude and of a direction, or none, found \['a'\]"):
        row(reference_factors=("a",))
