"""Conversion of another size of a map's model, and of sources with entries that the map does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paritree import Map, UsageError, WeightsError, cli, convert
from paritree.pairs.maps.pieces import parsed

from .checkpoints import assert_equal, example, loaded, row, saved, weights

MODELS = """
import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx

class Port(nnx.Module):
    def __init__(self, seed):
        self.attention = nnx.MultiHeadAttention(4, 8, use_bias=False, decode=False, rngs=nnx.Rngs(seed))

attention = Port(0)
tree = {"attention": {name: {"kernel": jnp.zeros((8, 4, 2))} for name in ("query", "key", "value")}}
tree["attention"]["out"] = {"kernel": jnp.zeros((4, 2, 8))}
collections = linen.Dense(8), {"params": tree}
nothing = torch.nn.ReLU()
abstract = nnx.eval_shape(lambda: Port(0))
shapes = jax.tree.map(lambda each: jax.ShapeDtypeStruct(each.shape, each.dtype), tree)
pair = collections[0], {"params": shapes}
number = 3
"""


def small(side: str = "nnx", width: int = 4, heads: int = 2) -> Map:
    """An attention of which the shape of the torch side does not tell the heads."""
    prefix = "params.attention" if side == "linen" else "attention"
    head = width // heads
    sizes = (("h", heads), ("d", head))
    return Map(
        (
            *(
                row(
                    "in_proj",
                    f"{prefix}.{name}.kernel",
                    (3 * width, width),
                    "(h d) i -> i h d",
                    reference_piece=parsed(f"[{number * width}:{(number + 1) * width}]"),
                    port_shape=(width, heads, head),
                    sizes=sizes,
                )
                for number, name in enumerate(("query", "key", "value"))
            ),
            row("out", f"{prefix}.out.kernel", (width, width), "o (h d) -> h d o", port_shape=(heads, head, width),
                sizes=sizes),
        ),
        ("torch", side),
    )  # fmt: skip


def large() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    return {"in_proj": generator.normal(size=(24, 8)), "out": generator.normal(size=(8, 8))}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODELS)
    return tmp_path / "models.py"


def model(file: Path, name: str) -> Any:
    from paritree.targets import load_target

    return load_target(f"{file}:{name}")


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("attention", "nnx"),
        ("Port", "nnx"),
        ("collections", "linen"),
        ("tree", "pytree"),
        ("abstract", "nnx"),
        ("shapes", "pytree"),
        ("pair", "linen"),
    ],
)
def test_a_model_tells_the_shapes_that_the_source_does_not(name: str, side: str, file: Path) -> None:
    source, target = saved(file.parent / "large.safetensors", large()), file.parent / "port.safetensors"
    convert(source, target, small(side), like=model(file, name))
    assert_equal(loaded(target), small(side, 8, 4).arrays(large()))


def test_a_torch_model_tells_them_on_the_way_back(tmp_path: Path) -> None:
    import torch

    class Reference(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.in_proj, self.out = (torch.nn.Parameter(torch.zeros(shape)) for shape in ((24, 8), (8, 8)))

    port = saved(tmp_path / "port.safetensors", small("nnx", 8, 4).arrays(large()))
    for device in ("cpu", "meta"):
        convert(port, tmp_path / "back.safetensors", small(), like=Reference().to(device), overwrite=True)
        assert_equal(loaded(tmp_path / "back.safetensors"), large())


def test_a_checkpoint_tells_them_whatever_counters_it_has(tmp_path: Path) -> None:
    source = saved(tmp_path / "large.safetensors", large())
    wanted = {path: np.zeros_like(array) for path, array in small("nnx", 8, 4).arrays(large()).items()}
    like = saved(tmp_path / "like.safetensors", {**wanted, "steps": np.arange(3)})
    convert(source, tmp_path / "port.safetensors", small(), like=like)
    assert_equal(loaded(tmp_path / "port.safetensors"), small("nnx", 8, 4).arrays(large()))


def run(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[int, str, str]:
    """The command line's code and texts for a conversion of `large.safetensors`."""
    small().save(folder / "map.json")
    source, target = str(folder / "large.safetensors"), str(folder / "port.safetensors")
    with pytest.raises(SystemExit) as stop:
        cli.main(["convert", "--map", str(folder / "map.json"), *options, source, target])
    captured = capsys.readouterr()
    return int(stop.value.code or 0), captured.out, captured.err


def test_the_command_says_what_tells_the_shapes_and_takes_it(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(file.parent / "large.safetensors", large())
    assert run(file.parent, capsys) == (
        2,
        "",
        "paritree: expected the shapes of the same model in another size, found 4 that do not fit: 4 rows (in_proj -> "
        "attention.query.kernel, in_proj -> attention.key.kernel, in_proj -> attention.value.kernel, and 1 more): "
        "nothing tells the length of 'd', the length of 'h', the shape of the port. Give the shapes of the nnx side: "
        "--like with a checkpoint or a live model (FILE.py:MODEL) of this size, in Python like=... Or align models of "
        "this size. Nothing was written.\n",
    )
    assert run(file.parent, capsys, "--like", f"{file}:Port") == (0, "torch -> nnx: 4 tensors, 2,048 bytes\n", "")
    assert_equal(loaded(file.parent / "port.safetensors"), small("nnx", 8, 4).arrays(large()))


def test_a_like_that_is_no_model(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(file.parent / "large.safetensors", large())
    assert run(file.parent, capsys, "--like", f"{file}:number") == (
        2,
        "",
        "paritree: like: expected an nn.Module, an nnx.Module, (linen module, variables) or a pytree of arrays, live "
        "or abstract, found int.\n",
    )
    assert run(file.parent, capsys, "--like", f"{file}:Porto")[2] == (
        f"paritree: {file}:Porto: expected the name 'Porto' in models.py, found none. Did you mean 'Port'?\n"
    )
    with pytest.raises(UsageError) as refusal:
        convert(file.parent / "large.safetensors", file.parent / "port", small(), like=model(file, "nothing"))
    assert str(refusal.value) == "like: expected a model with arrays, found ReLU without. Give one with its weights."
    with pytest.raises(WeightsError) as unfit:
        convert(file.parent / "large.safetensors", file.parent / "port", small("linen"), like=model(file, "attention"))
    assert "the port's params.attention.query.kernel is missing" in str(unfit.value)
    assert str(unfit.value).endswith("is not in the map. Align models of this size. Nothing was written.")
    assert sorted(each.name for each in file.parent.iterdir()) == [
        *("__pycache__",) * (file.parent / "__pycache__").exists(),
        *("large.safetensors", "map.json", "models.py"),
    ]


def test_what_the_map_does_not_know_is_left_out_on_request(tmp_path: Path) -> None:
    masks = {f"h.{layer}.masked_bias": np.zeros(1, np.float32) for layer in range(2)}
    source = saved(tmp_path / "source.safetensors", {**weights(), **masks})
    with pytest.raises(WeightsError) as refusal:
        convert(source, tmp_path / "port.safetensors", example())
    assert str(refusal.value) == (
        "expected one tensor for each of 7 tensors of the map's torch side, found 2 that do not fit: h.0.masked_bias "
        "is not in the map; h.1.masked_bias is not in the map. Leave out what the map does not know with --skip PATH "
        "(in Python skip=[...]). Nothing was written."
    )
    for skip in (["h.*.masked_bias"], list(masks), ["h.?.*"]):
        done = convert(source, tmp_path / "port.safetensors", example(), skip=skip, overwrite=True)
        assert done.left_out == ("steps", *masks)
        assert_equal(loaded(tmp_path / "port.safetensors"), example().arrays(weights()))


def test_a_skip_that_matches_nothing_or_what_is_needed(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", weights())
    with pytest.raises(UsageError) as refusal:
        convert(source, tmp_path / "port.safetensors", example(), skip=["masked*", "norm.wight"])
    assert str(refusal.value) == (
        "masked*: expected a path of the source to skip, found none that it matches. There are 'steps', "
        "'cell.bias_hh', 'cell.bias_ih', 'conv.weight', 'embed.weight', 'in_proj.weight', ..."
    )
    with pytest.raises(WeightsError, match=r"found 1 that does not fit: norm.weight is missing\. Nothing was written"):
        convert(source, tmp_path / "port.safetensors", example(), skip=["norm.*"])
    assert [each.name for each in tmp_path.iterdir()] == ["source.safetensors"]


def test_one_value_of_a_tie_may_be_skipped(tmp_path: Path) -> None:
    arrays = {**weights(), "head.weight": weights(1)["embed.weight"]}
    source = saved(tmp_path / "source.safetensors", arrays)
    done = convert(source, tmp_path / "port.safetensors", example(), skip=["head.*"])
    assert done.left_out == ("steps", "head.weight")
    assert_equal(loaded(tmp_path / "port.safetensors"), example().arrays(weights()))


def test_an_entry_whose_path_looks_like_a_pattern(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", {**weights(), "mask[0]": np.zeros(2, np.float32)})
    done = convert(source, tmp_path / "port.safetensors", example(), skip=["mask[0]"])
    assert done.left_out == ("steps", "mask[0]")


def test_the_command_skips(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arrays = {**{path: array[:] for path, array in large().items()}, "a.mask": np.zeros(1), "b.mask": np.zeros(1)}
    saved(tmp_path / "large.safetensors", arrays)
    like = saved(tmp_path / "like.safetensors", small("nnx", 8, 4).arrays(large()))
    code, out, err = run(tmp_path, capsys, "--like", str(like))
    assert (code, out) == (2, "")
    assert err.endswith(
        "found 2 that do not fit: a.mask is not in the map; b.mask is not in the map. Leave out what the map does not "
        "know with --skip PATH (in Python skip=[...]). Or align models of this size. Nothing was written.\n"
    )
    assert run(tmp_path, capsys, "--like", str(like), "--skip", "a.*", "--skip", "b.mask") == (
        0,
        "torch -> nnx: 4 tensors, 2,048 bytes\nleft out: a.mask\nleft out: b.mask\n",
        "",
    )
