"""Maps: carried bit for bit and back, composed, saved and read again; and every way in which one can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from paritree import Map, MapError, MapRow, WeightsError
from paritree.common.maps import composed, permuting

ROWS = (
    MapRow("a.weight", "a.kernel", (3, 4), "a b -> b a", "fingerprint", ("head.weight",)),
    MapRow("conv.weight", "conv.kernel", (5, 1, 2, 3), "a 1 b c -> b c 1 a", "fingerprint"),
    MapRow("cls", "cls", (1, 1, 4), "1 1 a -> a", "name"),
    MapRow("a.bias", "a.bias", (3,), "a -> a", "sibling", (), ("b.bias",)),
)
MAP = Map(ROWS, ("torch", "linen"), ("pooler.bias",), ("extra",), ("count",), verified=True)


def weights(dtype: Any = "float32") -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {row.reference: random.normal(size=row.shape).astype(dtype) for row in ROWS}


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ml_dtypes.bfloat16])
def test_carry_and_its_inverse_give_every_bit_back(dtype: Any) -> None:
    given = weights(dtype)
    carried = MAP.carry(given)
    assert {path: array.shape for path, array in carried.items()} == {row.port: row.port_shape for row in ROWS}
    np.testing.assert_array_equal(carried["a.kernel"], given["a.weight"].T)
    np.testing.assert_array_equal(carried["conv.kernel"], given["conv.weight"].transpose(2, 3, 1, 0))
    for path, array in MAP.inverse().carry(carried).items():
        assert array.tobytes() == given[path].tobytes()
        assert array.dtype == given[path].dtype


def test_the_inverse_of_the_inverse_is_the_map() -> None:
    assert MAP.inverse().inverse() == MAP
    assert MAP.inverse().direction == ("linen", "torch")
    assert MAP.inverse().unmatched_port == ("pooler.bias",)
    assert MAP.inverse().rows[3].reference_aliases == ("b.bias",)


def test_coverage_is_the_share_of_both_sides_that_has_a_row() -> None:
    assert MAP.coverage == 8 / 10
    assert Map((), ("torch", "nnx")).coverage == 1.0


def test_a_map_composed_with_its_inverse_changes_nothing() -> None:
    there = MAP.compose(MAP.inverse())
    assert (there.direction, there.verified, there.unmatched_reference) == (("torch", "torch"), True, ("pooler.bias",))
    for path, array in there.carry(weights()).items():
        np.testing.assert_array_equal(array, weights()[path])


def test_composed_maps_carry_as_one_after_the_other() -> None:
    second = Map(
        tuple(MapRow(row.port, row.port.upper(), row.port_shape, _reversed(row.port_shape), "value") for row in ROWS),
        ("linen", "nnx"),
        ("extra",),
    )
    both = MAP.compose(second)
    assert (both.direction, both.verified) == (("torch", "nnx"), False)
    assert [row.evidence for row in both.rows] == ["value", "value", "name", "value"]
    one_by_one = second.carry(MAP.carry(weights()))
    for path, array in both.carry(weights()).items():
        np.testing.assert_array_equal(array, one_by_one[path])


def _reversed(shape: tuple[int, ...]) -> str:
    long = sum(length != 1 for length in shape)
    return permuting(shape, range(long)[::-1], shape[::-1])


@pytest.mark.parametrize(
    ("shape", "order", "port_shape", "expected"),
    [
        ((3, 1, 4), (1, 0), (4, 3), "a 1 b -> b a"),
        ((2,), (0,), (1, 2, 1), "a -> 1 a 1"),
        ((), (), (), " -> "),
        ((2, 2, 3), (1, 0, 2), (2, 2, 3), "a b c -> b a c"),
    ],
)
def test_patterns(shape: Any, order: Any, port_shape: Any, expected: str) -> None:
    assert permuting(shape, order, port_shape) == expected
    assert MapRow("a", "b", shape, expected, "name").port_shape == port_shape


def test_an_axis_of_length_1_may_have_a_name_in_one_of_two_patterns() -> None:
    assert composed("a 1 -> 1 a", "x y -> y x") == "a 1 -> a 1"
    assert composed("a b -> b a", "1 x -> x") == "a 1 -> a"


def test_a_saved_map_is_read_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    MAP.save(file)
    assert Map.load(file) == MAP
    assert [path.name for path in tmp_path.iterdir()] == ["map.json"]
    assert file.read_text().splitlines()[10].startswith('  {"reference": "a.weight", "port": "a.kernel", ')


def test_an_edited_map_is_verified_no_more(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    MAP.save(file)
    file.write_text(file.read_text().replace('"a.bias", "port": "a.bias"', '"a.bias", "port": "z.bias"'))
    read = Map.load(file)
    assert (read.rows[3].port, read.verified) == ("z.bias", False)


def test_a_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "map.json"
    file.write_text("before")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        MAP.save(file)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("map.json", "before")]


def test_all_that_does_not_fit_is_listed() -> None:
    given: dict[str, Any] = weights()
    del given["cls"]
    given |= {"a.weight": given["a.weight"].T, "a.bias": 3, "b": np.zeros(1), "head.weight": np.zeros((3, 4))}
    with pytest.raises(WeightsError) as caught:
        MAP.carry(given)
    assert str(caught.value) == (
        "expected one array for each of 4 rows of the map, found 5 that do not fit: cls is missing; a.weight has shape "
        "(4, 3) and needs (3, 4); a.bias is no array but int; b is not in the map; head.weight is an alias of "
        "a.weight. Nothing was carried."
    )


def test_maps_that_do_not_meet_are_refused() -> None:
    second = Map(
        (MapRow("a.kernel", "w", (3, 4), "a b -> b a", "name"), MapRow("q", "q", (), " -> ", "name")), ("", "")
    )
    with pytest.raises(MapError) as caught:
        MAP.compose(second)
    assert str(caught.value) == (
        "expected a map that starts where this one ends, found 5 differences: conv.kernel is only where the first "
        "ends; cls is only where the first ends; a.bias is only where the first ends; q is only where the second "
        "starts; a.kernel has shape (4, 3) and then (3, 4). Compose maps whose middle is one model."
    )


def test_a_path_twice_is_refused() -> None:
    with pytest.raises(MapError) as caught:
        Map((ROWS[0], ROWS[0]), ("torch", "linen"))
    assert str(caught.value) == (
        "a.weight: expected every path of the reference once, found it twice. Drop one of the two rows."
    )


EDITS: dict[str, tuple[Any, str]] = {
    "another format": (
        lambda content: content | {"format": "x"},
        'FILE: expected JSON with "format": "paritree map", found something else. Give a file of Map.save.',
    ),
    "another version": (
        lambda content: content | {"version": 2},
        "FILE: expected version 1, found version 2. Make the map anew, or use the release that wrote it.",
    ),
    "no rows": (
        lambda content: content | {"rows": None},
        "FILE: rows: expected a list of rows, found NoneType.",
    ),
    "one side": (
        lambda content: content | {"direction": ["torch"]},
        "FILE: direction: expected two names, found 1.",
    ),
    "a row without a port": (
        lambda content: content | {"rows": [{"reference": "a"}]},
        "FILE: rows[0]: expected the entries 'reference', 'port', 'shape', 'layout', 'evidence', 'reference_aliases', "
        "'port_aliases', found 'reference'.",
    ),
    "a number for a path": (
        lambda content: content | {"rows": [content["rows"][0] | {"port": 1}]},
        "FILE: rows[0].port: expected a text, found int.",
    ),
    "unknown evidence": (
        lambda content: content | {"rows": [content["rows"][0] | {"evidence": "hope"}]},
        "FILE: rows[0].evidence: expected one of 'fingerprint', 'sibling', 'value', 'name', 'rule', found 'hope'.",
    ),
    "no shape": (
        lambda content: content | {"rows": [content["rows"][0] | {"shape": [3, -1]}]},
        "FILE: rows[0].shape: expected a list of lengths, found [3, -1].",
    ),
    "a layout of other axes": (
        lambda content: content | {"rows": [content["rows"][0] | {"layout": "a b c -> c b a"}]},
        "FILE: rows[0].layout: expected an einops pattern that fits the shape, found 'a b c -> c b a' for the shape "
        "(3, 4).",
    ),
    "no layout": (
        lambda content: content | {"rows": [content["rows"][0] | {"layout": "a b"}]},
        "FILE: rows[0].layout: expected an einops pattern that fits the shape, found 'a b' for the shape (3, 4).",
    ),
    "aliases that are no list": (
        lambda content: content | {"rows": [content["rows"][0] | {"port_aliases": "x"}]},
        "FILE: rows[0].port_aliases: expected a list of texts, found 'x'.",
    ),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_file_that_is_no_map_is_refused(edit: str, tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    MAP.save(file)
    change, expected = EDITS[edit]
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(MapError) as caught:
        Map.load(file)
    assert str(caught.value).replace(str(file), "FILE") == expected


def test_a_file_that_is_cut_short_or_absent_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    with pytest.raises(MapError) as caught:
        Map.load(file)
    assert str(caught.value) == f"{file}: expected a file with a map, found No such file or directory."
    MAP.save(file)
    file.write_text(file.read_text()[:-20])
    with pytest.raises(
        MapError, match=r"expected a map in JSON, found no JSON \(.*\)\. The file is cut short or no map"
    ):
        Map.load(file)
