"""LoRA adapters in peft's layout, merged into their base on the way."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from paritree import CheckpointError, Conversion, Map, ParitreeError, WeightsError, cli, convert

from .checkpoints import BFLOAT16, loaded, row, saved

SHAPES = {
    "embed.weight": (7, 4),
    "up.weight": (6, 4),
    "down.weight": (6, 4),
    "square.weight": (4, 4),
    "conv.weight": (5, 3, 2, 2),
    "up.bias": (6,),
}
LETTERS = "abcd"
MADE = Map(
    tuple(
        row(path, f"params.{path}", shape, f"{' '.join(LETTERS[: len(shape)])} -> {' '.join(LETTERS[: len(shape)])}")
        for path, shape in SHAPES.items()
    ),
    ("torch", "linen"),
)
GENERATOR = np.random.default_rng(0)


def random(*shape: int) -> np.ndarray:
    return GENERATOR.normal(size=shape).astype(np.float32)


BASE = {path: random(*shape) for path, shape in SHAPES.items()}
UP = {"up.lora_A.weight": random(2, 4), "up.lora_B.weight": random(6, 2)}
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 3, "fan_in_fan_out": False, "init_lora_weights": True}


def adapter(folder: Path, arrays: dict[str, np.ndarray], before: str = "base_model.model.", **config: object) -> Path:
    place = folder / "adapter"
    place.mkdir(exist_ok=True)
    (place / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    saved(place / "adapter_model.safetensors", {before + path: array for path, array in arrays.items()})
    return place


def merged(
    folder: Path, arrays: dict[str, np.ndarray], base: dict[str, np.ndarray] | None = None, **config: object
) -> tuple[Conversion, dict[str, np.ndarray]]:
    source = saved(folder / "source.safetensors", base or BASE)
    made = adapter(folder, arrays, **config)  # type: ignore[arg-type]
    done = convert(source, folder / "port.safetensors", MADE, merge_lora=made, overwrite=True)
    return done, {path.removeprefix("params."): array for path, array in loaded(folder / "port.safetensors").items()}


def assert_merged(found: dict[str, np.ndarray], changes: dict[str, np.ndarray]) -> None:
    for path, array in BASE.items():
        if path in changes:
            np.testing.assert_allclose(found[path], changes[path], atol=1e-6, err_msg=path)
        else:
            assert np.array_equal(found[path], array), path


def test_a_product_is_added_by_its_scale(tmp_path: Path) -> None:
    done, found = merged(tmp_path, UP)
    delta = UP["up.lora_B.weight"] @ UP["up.lora_A.weight"]
    assert_merged(found, {"up.weight": BASE["up.weight"] + 1.5 * delta})
    assert done.changed == (f"merged: 1 product of {tmp_path / 'adapter'}, scale 1.5",)
    _, found = merged(tmp_path, UP, use_rslora=True)
    assert_merged(found, {"up.weight": BASE["up.weight"] + 3 / 2**0.5 * delta})


@pytest.mark.parametrize("pattern", ["up", "^up$", "^up"])
def test_a_module_may_have_its_own_scale(pattern: str, tmp_path: Path) -> None:
    _, found = merged(tmp_path, UP, alpha_pattern={"other": 9, pattern: 5})
    delta = UP["up.lora_B.weight"] @ UP["up.lora_A.weight"]
    assert_merged(found, {"up.weight": BASE["up.weight"] + 2.5 * delta})


def test_weights_that_lie_the_other_way_convolutions_embeddings_and_what_is_saved_whole(tmp_path: Path) -> None:
    """`down` is (in, out) = (6, 4), as GPT-2's Conv1D has it; the square one lies as it does."""
    arrays = {
        "down.lora_A.weight": random(2, 6),
        "down.lora_B.weight": random(4, 2),
        "square.lora_A.weight": random(2, 4),
        "square.lora_B.weight": random(4, 2),
        "conv.lora_A.weight": random(2, 3, 2, 2),
        "conv.lora_B.weight": random(5, 2, 1, 1),
        "embed.lora_embedding_A": random(2, 7),
        "embed.lora_embedding_B": random(4, 2),
        "embed.base_layer.weight": random(7, 4),
        "up.bias": random(6),
    }
    done, found = merged(tmp_path, arrays, fan_in_fan_out=True)
    a, b = ({name.split(".")[0]: array for name, array in arrays.items() if f"_{half}" in name} for half in "AB")
    expected = {
        "down.weight": BASE["down.weight"] + 1.5 * (b["down"] @ a["down"]).T,
        "square.weight": BASE["square.weight"] + 1.5 * (b["square"] @ a["square"]).T,
        "conv.weight": BASE["conv.weight"] + 1.5 * np.einsum("or,rihw->oihw", b["conv"][:, :, 0, 0], a["conv"]),
        "embed.weight": arrays["embed.base_layer.weight"] + 1.5 * (b["embed"] @ a["embed"]).T,
        "up.bias": arrays["up.bias"],
    }
    assert_merged(found, expected)
    assert done.changed[0].endswith(", scale 1.5; 2 tensors of its own")


def test_a_base_in_bfloat16_with_a_prefix(tmp_path: Path) -> None:
    base = {f"module.{path}": array.astype(BFLOAT16) for path, array in BASE.items()}
    for before in ("base_model.model.", "base_model.model.module."):
        source = saved(tmp_path / "source.safetensors", base)
        made = adapter(tmp_path, UP, before)
        convert(source, tmp_path / "port.safetensors", MADE, merge_lora=made, overwrite=True)
        delta = 1.5 * UP["up.lora_B.weight"] @ UP["up.lora_A.weight"]
        expected = (BASE["up.weight"].astype(BFLOAT16).astype(np.float32) + delta).astype(BFLOAT16)
        found = loaded(tmp_path / "port.safetensors")["params.up.weight"]
        np.testing.assert_allclose(found.astype(np.float32), expected.astype(np.float32), rtol=1e-2)
        assert found.dtype == BFLOAT16


SQUARE = {"square.lora_A.weight": random(2, 4), "square.lora_B.weight": random(4, 2)}
TURNED = {"down.lora_A.weight": random(2, 6), "down.lora_B.weight": random(4, 2)}
MORE = "expected a LoRA adapter as peft saves it, of products alone, found"
PEFT = "Merge it with peft: model.merge_and_unload().save_pretrained(...)."
FILE, SETTINGS = "adapter/adapter_model.safetensors", "adapter/adapter_config.json"


@pytest.mark.parametrize(
    ("arrays", "config", "said"),
    [
        (UP, {"use_dora": True}, f"{SETTINGS}: {MORE} use_dora: True. {PEFT}"),
        (UP, {"init_lora_weights": "pissa"}, f"{SETTINGS}: {MORE} init_lora_weights: 'pissa'. {PEFT}"),
        (UP, {"some_future_kind": [1]}, f"{SETTINGS}: {MORE} some_future_kind: [1]. {PEFT}"),
        (
            UP,
            {"peft_type": "LOHA"},
            f"{SETTINGS}: expected a LoRA adapter as peft saves it, with the peft_type 'LORA', found 'LOHA'.",
        ),
        (UP, {"lora_alpha": "3"}, f"{SETTINGS}: expected a number lora_alpha, found '3'."),
        (
            UP,
            {"alpha_pattern": {"(a|b)*": 1}},
            f"{SETTINGS}: expected names of modules in alpha_pattern, found the pattern '(a|b)*'.",
        ),
        (
            {"up.lora_A.weight": random(2, 4)},
            {},
            f"{FILE}: base_model.model.up.lora_A.weight: expected both lora_A and lora_B, found one of them.",
        ),
        (
            {**UP, "up.lora_magnitude_vector": random(6)},
            {},
            f"{FILE}: base_model.model.up.lora_magnitude_vector: expected a factor lora_A or lora_B, or a weight of "
            "the model, found another.",
        ),
        (
            {**UP, "up.lora_B.weight": random(6, 3)},
            {},
            f"{FILE}: base_model.model.up.lora_A.weight: expected a lora_A (rank, ...) and a lora_B (..., rank), found "
            "(2, 4) and (6, 3).",
        ),
        (
            {f"u{path}": array for path, array in UP.items()},
            {},
            "expected a base with a weight for each part of the adapter, found 1 that does not fit: uup.weight "
            "is not in the base. Did you mean 'up.weight'?",
        ),
        (
            {**UP, "up.lora_B.weight": random(5, 2)},
            {},
            "expected a base with a weight for each part of the adapter, found 1 that does not fit: up.weight has "
            "shape (6, 4) and gets (5, 4). Give the base that it was trained on.",
        ),
        (
            {**SQUARE, **TURNED},
            {},
            "expected an adapter that tells whether square.weight is (out, in) or (in, out), found "
            "fan_in_fan_out False, and others that are otherwise. Merge it with peft: model.merge_and_unload().",
        ),
    ],
)
def test_what_is_more_than_a_product_or_does_not_fit(
    arrays: dict[str, np.ndarray], config: dict[str, object], said: str, tmp_path: Path
) -> None:
    with pytest.raises(ParitreeError) as refusal:
        merged(tmp_path, arrays, **config)
    assert str(refusal.value).replace(f"{tmp_path}/", "") == said
    assert not (tmp_path / "port.safetensors").exists()


def test_an_adapter_of_a_tied_path_would_untie_it(tmp_path: Path) -> None:
    tied = Map(
        (row("embed.weight", "e", (7, 4), "v d -> v d", reference_aliases=("head.weight",)),), ("torch", "linen")
    )
    head = {"head.lora_A.weight": random(2, 4), "head.lora_B.weight": random(7, 2)}
    made = adapter(tmp_path, head)
    source = saved(
        tmp_path / "source.safetensors", {"embed.weight": BASE["embed.weight"]}, {"head.weight": "embed.weight"}
    )
    with pytest.raises(WeightsError, match=r"head\.weight is tied to embed\.weight"):
        convert(source, tmp_path / "port.safetensors", tied, merge_lora=made)
    saved(source, {"embed.weight": BASE["embed.weight"], "head.weight": BASE["embed.weight"]})
    with pytest.raises(WeightsError, match=r"expected one value of embed\.weight and head\.weight"):
        convert(source, tmp_path / "port.safetensors", tied, merge_lora=made)


def test_a_folder_that_is_no_adapter(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", BASE)
    with pytest.raises(CheckpointError, match=r"adapter_config\.json: expected a LoRA adapter .*, found No such file"):
        convert(source, tmp_path / "port.safetensors", MADE, merge_lora=tmp_path)
    made = adapter(tmp_path, UP)
    (made / "adapter_model.safetensors").unlink()
    with pytest.raises(
        CheckpointError, match=r"expected adapter_model\.safetensors or adapter_model\.bin, found neither"
    ):
        convert(source, tmp_path / "port.safetensors", MADE, merge_lora=made)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    MADE.save(tmp_path / "map.json")
    places = [str(saved(tmp_path / "a.safetensors", BASE)), str(tmp_path / "b.safetensors")]
    with pytest.raises(SystemExit):
        cli.main(["convert", "--map", str(tmp_path / "map.json"), "--merge-lora", str(adapter(tmp_path, UP)), *places])
    assert "merged: 1 product of " in capsys.readouterr().out
