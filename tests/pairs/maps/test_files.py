"""Maps as files: saved and read again, edited by a person, and every file that is no map."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from paritree import Map, MapError, MapRow, UsageError
from paritree.pairs.maps import files
from paritree.pairs.maps.pieces import parsed

BOTH = (("h", 2),)
ROWS = (
    MapRow("a.weight", "a.kernel", (3, 4), (4, 3), "o i -> i o", "fingerprint", reference_aliases=("head.weight",)),
    MapRow("qkv", "q", (8, 4), (2, 2, 4), "(h d) i -> h d i", "sibling", BOTH, reference_piece=parsed("[0:4]")),
    MapRow("qkv", "k", (8, 4), (2, 2, 4), "(h d) i -> h d i", "sibling", BOTH, reference_piece=parsed("[4:8]")),
    MapRow("b_ih", "b", (3,), (3,), "a -> a", "rule", summed=True),
    MapRow("b_hh", "b", (3,), (3,), "a -> a", "rule", summed=True),
    MapRow("größe", "g", (2,), (2,), "a -> a", "name", transform="x * 8.0"),
)
MAP = Map(ROWS, ("torch", "linen"), ("pooler.bias",), ("extra",), ("count",), verified=True)

TEXT = """{
"format": "paritree map",
"version": 2,
"direction": ["torch", "linen"],
"unmatched_reference": ["pooler.bias"],
"unmatched_port": ["extra"],
"aside_reference": ["count"],
"aside_port": [],
"verified": "DIGEST",
"rows": [
  {"reference": "a.weight", "port": "a.kernel", "shape": [3, 4], "port_shape": [4, 3], "layout": "o i -> i o", \
"evidence": "fingerprint", "reference_aliases": ["head.weight"]},
  {"reference": "qkv", "port": "q", "shape": [8, 4], "port_shape": [2, 2, 4], "layout": "(h d) i -> h d i", \
"evidence": "sibling", "sizes": {"d": 2, "h": 2}, "reference_piece": "[0:4]"},
  {"reference": "qkv", "port": "k", "shape": [8, 4], "port_shape": [2, 2, 4], "layout": "(h d) i -> h d i", \
"evidence": "sibling", "sizes": {"d": 2, "h": 2}, "reference_piece": "[4:8]"},
  {"reference": "b_ih", "port": "b", "shape": [3], "port_shape": [3], "layout": "a -> a", "evidence": "rule", \
"summed": true},
  {"reference": "b_hh", "port": "b", "shape": [3], "port_shape": [3], "layout": "a -> a", "evidence": "rule", \
"summed": true},
  {"reference": "größe", "port": "g", "shape": [2], "port_shape": [2], "layout": "a -> a", "evidence": "name", \
"transform": "x * 8.0"}
]
}
"""


def test_a_saved_map_is_read_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    for made in (MAP, MAP.inverse(), Map(ROWS, ("torch", "nnx"))):
        made.save(file)
        assert Map.load(file) == made
        assert [path.name for path in tmp_path.iterdir()] == ["map.json"]


def test_a_file_is_written_for_a_person(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    MAP.save(file)
    digest = json.loads(file.read_text())["verified"]
    assert file.read_text(encoding="utf-8") == TEXT.replace("DIGEST", digest)


def test_a_person_may_leave_out_what_follows(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    row = {"reference": "a", "port": "b", "shape": [4, 2], "port_shape": [2, 2, 2], "evidence": "rule"}
    row |= {"layout": "(h d) i -> h d i", "sizes": {"h": 2}, "transform": "x*2-1", "port_piece": "[:, 0:]"}
    file.write_text(
        json.dumps({"format": "paritree map", "version": 2, "direction": ["torch", "pytree"], "rows": [row]})
    )
    (read,) = Map.load(file).rows
    assert (read.sizes, read.transform, read.port_piece.is_whole) == ((("d", 2), ("h", 2)), "x * 2 - 1", True)


def test_an_edited_map_is_verified_no_more(tmp_path: Path) -> None:
    file = tmp_path / "map.json"
    MAP.save(file)
    file.write_text(file.read_text().replace('"port": "g"', '"port": "z"'))
    read = Map.load(file)
    assert (read.rows[5].port, read.verified) == ("z", False)


def test_a_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "map.json"
    MAP.save(file)
    before = file.read_text()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device"):
        MAP.save(file)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("map.json", before)]


def test_a_map_replaces_only_a_map(tmp_path: Path) -> None:
    file = tmp_path / "pair.py"
    file.write_text('model = train_for_a_week()  # as JSON: {"format": "paritree map"}')
    with pytest.raises(
        UsageError, match=r"pair\.py: expected a file to write, or to replace by one of its kind, found "
    ):
        MAP.save(file)
    assert file.read_text().startswith("model = train_for_a_week()")
    for there in (
        "",
        files.text(MAP),
        json.dumps(json.loads(files.text(MAP)), indent=4),
        '{"format": "paritree map", "version": 1}',
    ):
        file.write_text(there)
        MAP.save(file)
        assert file.read_text() == files.text(MAP)


def _first(**changes: Any) -> Any:
    return lambda content: content | {"rows": [content["rows"][0] | changes, *content["rows"][1:]]}


EDITS: dict[str, tuple[Any, str]] = {
    "another format": (
        lambda content: content | {"format": "x"},
        'FILE: expected JSON with "format": "paritree map", found something else. Give a file of Map.save.',
    ),
    "a list": (
        lambda content: [content],
        'FILE: expected JSON with "format": "paritree map", found something else. Give a file of Map.save.',
    ),
    "the first version": (
        lambda content: content | {"version": 1},
        "FILE: expected version 2, found version 1. Version 1 was about other paths and had no pieces: align the "
        "models anew.",
    ),
    "a later version": (
        lambda content: content | {"version": 3},
        "FILE: expected version 2, found version 3. Make the map anew, or use the release that wrote it.",
    ),
    "an unknown entry": (
        lambda content: content | {"row": []},
        "FILE: expected no other entries than a map has, found 'row'. Did you mean 'rows'?",
    ),
    "no rows": (
        lambda content: content | {"rows": None},
        "FILE: rows: expected a list of rows, found NoneType.",
    ),
    "one side": (
        lambda content: content | {"direction": ["torch"]},
        "FILE: direction: expected two names, found 1.",
    ),
    "a row that is none": (
        lambda content: content | {"rows": ["a"]},
        "FILE: rows[0]: expected a row as an object, found str.",
    ),
    "a row without a port": (
        lambda content: content | {"rows": [{"reference": "a"}]},
        "FILE: rows[0]: expected the entries 'reference', 'port', 'shape', 'port_shape', 'layout', 'evidence', found "
        "no 'port'.",
    ),
    "an unknown entry of a row": (
        _first(piece="[0]"),
        "FILE: rows[0]: expected no other entries than a row has, found 'piece'. Did you mean 'port_piece'?",
    ),
    "a number for a path": (_first(port=1), "FILE: rows[0].port: expected a text, found int."),
    "unknown evidence": (
        _first(evidence="hope"),
        "FILE: rows[0].evidence: expected one of 'fingerprint', 'sibling', 'value', 'output', 'name', 'layout', "
        "'rule', found 'hope'.",
    ),
    "no shape": (_first(shape=[3, -1]), "FILE: rows[0].shape: expected a list of lengths, found [3, -1]."),
    "sizes that are none": (
        _first(sizes=[2]),
        "FILE: rows[0].sizes: expected an object with the length of each bracketed axis, found [2].",
    ),
    "no piece": (
        _first(port_piece="0:2"),
        "FILE: rows[0].port_piece: expected a piece such as '[8:16]', '[:, 1]' or '(2 3 8)[:, 1]', found '0:2'.",
    ),
    "no flag": (_first(summed=1), "FILE: rows[0].summed: expected true or false, found 1."),
    "no transform": (
        _first(transform="exp(x)"),
        "FILE: rows[0] (a.weight -> a.kernel): expected a transform such as 'x + 1', 'x / 8.0' or 'x * 2 - 1', which "
        "has an inverse, found 'exp(x)'.",
    ),
    "a layout of other axes": (
        _first(layout="a b c -> c b a"),
        "FILE: rows[0] (a.weight -> a.kernel): expected an einops pattern that fits the shape, with sizes for its "
        "bracketed axes, found 'a b c -> c b a' for the shape (3, 4).",
    ),
    "another shape": (
        _first(shape=[4, 4]),
        "FILE: rows[0] (a.weight -> a.kernel): expected a layout that leads to the port's tensor (4, 3), found (4, 4).",
    ),
    "aliases that are no list": (
        _first(port_aliases="x"),
        "FILE: rows[0].port_aliases: expected a list of texts, found 'x'.",
    ),
    "a row that is taken out": (
        lambda content: content | {"rows": [row for row in content["rows"] if row["port"] != "k"]},
        "FILE: qkv: expected every entry of the reference's tensor of shape (8, 4) in one row, found entries in no "
        "row, of 1 row: [0:4]. Correct the pieces.",
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


def test_a_name_that_is_no_unicode_is_kept_as_an_escape(tmp_path: Path) -> None:
    made = Map((MapRow("half \ud800", "größe", (2,), (2,), "a -> a", "name"),), ("torch", "linen"), verified=True)
    made.save(tmp_path / "map.json")
    assert '"half \\ud800"' in (tmp_path / "map.json").read_text(encoding="utf-8")
    assert Map.load(tmp_path / "map.json") == made
