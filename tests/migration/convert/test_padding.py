"""A vocabulary that one side pads: rows put to a source's tensor, or taken from it, and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from paritree import Conversion, Map, UsageError, WeightsError, cli, convert

from .checkpoints import BFLOAT16, assert_equal, example, loaded, row, saved, weights

MADE = Map(
    (
        row("wte.weight", "params.wte.embedding", (4, 3), "v d -> v d", reference_aliases=("head.weight",)),
        row("out.weight", "params.out.kernel", (4, 3), "v d -> d v", port_shape=(3, 4)),
        row("out.bias", "params.out.bias", (4,), "v -> v"),
        row("norm.weight", "params.norm.scale", (3,), "d -> d"),
    ),
    ("torch", "linen"),
)


def vocabulary(size: int, dtype: object = np.float32) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    shapes = {"wte.weight": (size, 3), "out.weight": (size, 3), "out.bias": (size,), "norm.weight": (3,)}
    return {path: generator.normal(size=shape).astype(dtype) for path, shape in shapes.items()}


def padded(size: int, rows: int, fill: float = 0.0) -> dict[str, np.ndarray]:
    found = vocabulary(size)
    for path in ("wte.weight", "out.weight", "out.bias"):
        new = np.full((rows - size, *found[path].shape[1:]), fill, np.float32)
        found[path] = np.concatenate([found[path], new])
    return found


def converted(folder: Path, arrays: dict[str, np.ndarray], **options: object) -> Conversion:
    source = saved(folder / "source.safetensors", arrays)
    return convert(source, folder / "port.safetensors", MADE, overwrite=True, **options)  # type: ignore[arg-type]


ALL = {"wte.weight": 8, "out.weight": 8, "out.bias": 8}


def test_new_rows_are_zeros_and_that_is_said(tmp_path: Path) -> None:
    done = converted(tmp_path, vocabulary(5), pad=ALL)
    assert_equal(loaded(tmp_path / "port.safetensors"), MADE.fit(shapes(8)).arrays(padded(5, 8)))
    assert str(done).splitlines()[1:] == [
        f"padded: {path} from 5 to 8 rows, the new ones zeros" for path in ("wte.weight", "out.weight", "out.bias")
    ]


def shapes(size: int) -> dict[str, tuple[int, ...]]:
    return {path: array.shape for path, array in vocabulary(size).items()}


def test_new_rows_hold_a_number_or_the_mean(tmp_path: Path) -> None:
    converted(tmp_path, vocabulary(5), pad=ALL, pad_with=-1e9)
    assert_equal(loaded(tmp_path / "port.safetensors"), MADE.fit(shapes(8)).arrays(padded(5, 8, -1e9)))
    done = converted(tmp_path, vocabulary(5), pad=ALL, pad_with="mean")
    found, before = loaded(tmp_path / "port.safetensors"), vocabulary(5)
    np.testing.assert_allclose(found["params.wte.embedding"][5:], [before["wte.weight"].mean(0)] * 3, atol=1e-6)
    np.testing.assert_allclose(found["params.out.bias"][5:], before["out.bias"].mean(), atol=1e-6)
    assert done.changed[0] == "padded: wte.weight from 5 to 8 rows, the new ones the mean of the others"


def test_the_way_back_trims_along_the_axis_of_the_vocabulary(tmp_path: Path) -> None:
    converted(tmp_path, vocabulary(5), pad=ALL)
    source = (tmp_path / "port.safetensors").rename(tmp_path / "padded.safetensors")
    trim = {"params.wte.embedding": 5, "params.out.kernel": (1, 5), "params.out.bias": 5}
    done = convert(source, tmp_path / "back.safetensors", MADE, trim=trim)
    assert_equal(loaded(tmp_path / "back.safetensors"), vocabulary(5))
    assert done.changed == (
        "trimmed: params.wte.embedding from 8 to 5 rows; what went was all zeros",
        "trimmed: params.out.kernel from 8 to 5 rows along axis 1; what went was all zeros",
        "trimmed: params.out.bias from 8 to 5 rows; what went was all zeros",
    )
    done = convert(
        source,
        tmp_path / "less.safetensors",
        MADE,
        trim={**trim, "params.out.bias": 5, "params.wte.embedding": 4, "params.out.kernel": (1, 4)}
        | {"params.out.bias": 4},
    )
    assert done.changed[0].endswith("what went was not all zeros")


@pytest.mark.parametrize("path", ["wte.weight", "head.weight"])
@pytest.mark.parametrize("as_alias", [True, False])
def test_all_paths_of_a_tie_are_padded(path: str, as_alias: bool, tmp_path: Path) -> None:
    arrays = vocabulary(5)
    metadata = {"head.weight": "wte.weight"} if as_alias else None
    arrays |= {} if as_alias else {"head.weight": arrays["wte.weight"]}
    source = saved(tmp_path / "source.safetensors", arrays, metadata)
    convert(
        source,
        tmp_path / "port.safetensors",
        MADE,
        pad={**ALL, path: 8} if path in ALL else {path: 8, "out.weight": 8, "out.bias": 8},
    )
    assert_equal(loaded(tmp_path / "port.safetensors"), MADE.fit(shapes(8)).arrays(padded(5, 8)))


def test_what_does_not_fit_the_map_is_refused(tmp_path: Path) -> None:
    source = saved(tmp_path / "source.safetensors", weights())
    with pytest.raises(WeightsError, match=r"in_proj\.weight"):
        convert(source, tmp_path / "port.safetensors", example(), pad={"in_proj.weight": 13})
    assert not (tmp_path / "port.safetensors").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"pad": {"wte.wight": 8}},
            "wte.wight: expected a tensor of the source that the map has, found none of that name. "
            "Did you mean 'wte.weight'?",
        ),
        ({"pad": {"wte.weight": 5}}, "wte.weight: expected more than its 5 rows to pad to, found 5."),
        ({"trim": {"wte.weight": 0}}, "wte.weight: expected fewer than its 5 rows to trim to, found 0."),
        ({"pad": {"wte.weight": 1 << 62}}, f"wte.weight: expected more than its 5 rows to pad to, found {1 << 62:,}."),
        (
            {"pad": {"wte.weight": (2, 8)}},
            "wte.weight: expected an axis of (5, 3) to change, found axis 2. The first one is 0.",
        ),
        (
            {"pad": {"wte.weight": 8}, "trim": {"wte.weight": 4}},
            "wte.weight: expected a tensor to pad or to trim, found one for both.",
        ),
        ({"pad": ALL, "pad_with": "median"}, "pad_with: expected a number or 'mean', found 'median'."),
        (
            {"pad": ALL, "pad_with": 1e300},
            "wte.weight: expected a tensor whose new rows can hold what they are to, found float32 for 1e+300.",
        ),
    ],
)
def test_rows_that_a_tensor_cannot_have(options: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refusal:
        converted(tmp_path, vocabulary(5), **options)
    assert str(refusal.value) == said


def test_bfloat16_is_padded(tmp_path: Path) -> None:
    converted(tmp_path, vocabulary(5, BFLOAT16), pad=ALL, pad_with="mean")
    assert loaded(tmp_path / "port.safetensors")["params.wte.embedding"].shape == (8, 3)


def test_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path / "a.safetensors", vocabulary(5))
    MADE.save(tmp_path / "map.json")
    places = ["--map", str(tmp_path / "map.json"), str(tmp_path / "a.safetensors"), str(tmp_path / "b.safetensors")]
    options = ["--pad", "wte.weight=8", "--pad", "out.weight=0:8", "--pad", "out.bias=8", "--pad-with", "1.5"]
    for more, code in ((options, 0), (["--trim", "wte.weight"], 2), (["--pad", "a=1", "--pad", "a=2"], 2)):
        with pytest.raises(SystemExit) as stop:
            cli.main(["convert", *more, *places])
        assert int(stop.value.code or 0) == code
    out, err = capsys.readouterr()
    assert "padded: out.weight from 5 to 8 rows, the new ones 1.5\n" in out
    assert err.splitlines() == [
        "paritree: --trim: expected PATH=ROWS, or PATH=AXIS:ROWS, once for each path, found 'wte.weight'.",
        "paritree: --pad: expected PATH=ROWS, or PATH=AXIS:ROWS, once for each path, found 'a=2'.",
    ]
