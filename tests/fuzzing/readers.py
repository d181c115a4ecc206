"""All that reads a file, by name: from bytes to what it made of them, each with sound files to begin with.

A reader may refuse what it is given by an error of our own. Anything else that it raises is a fault.
"""

from __future__ import annotations

import io
import json
import struct
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from flax import serialization
from safetensors.numpy import save

from paritree import Map, MapRow, ParitreeError, Record
from paritree.common.wing import Optimizer
from paritree.conformance.known import load as load_known
from paritree.conformance.report import Report
from paritree.impl_torch import dcp
from paritree.migration.convert.readers import open_source
from paritree.pairs.maps.pieces import parsed
from paritree.pairs.records import files as records
from paritree.pairs.records import forms


class Reader(NamedTuple):
    """read: takes bytes and a folder of its own. seeds: sound ones. as_bytes: JSON as the reader has it."""

    read: Callable[[bytes, Path], Any]
    seeds: tuple[bytes, ...]
    document: Any = None
    as_bytes: Callable[[Any], bytes] = lambda document: dumped(document).encode("utf-8", "surrogatepass")


def outcome(reader: Reader, content: bytes, folder: Path) -> str:
    """What came of it: `read`, or our own error's text; whatever else it raises is let through."""
    try:
        reader.read(content, folder)
    except ParitreeError as error:
        return str(error)
    return "read"


def dumped(document: Any) -> str:
    return json.dumps(document, ensure_ascii=False)


def _written(content: bytes, folder: Path, name: str) -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


def _source(name: str, within: str = "") -> Callable[[bytes, Path], Any]:
    """within: the folder that is opened, if it is not the file itself."""

    def read(content: bytes, folder: Path) -> Any:
        file = _written(content, folder, name)
        source = open_source(folder / within if within else file)
        for path in source.entries:
            source.array(path).tobytes()
            source.release(path)

    return read


def _dcp(content: bytes, folder: Path) -> Any:
    """A folder of torch.distributed.checkpoint with these bytes for its metadata."""
    (folder / "a").mkdir()
    (folder / "a" / "__0_0.distcp").write_bytes(_DCP["__0_0.distcp"])
    return _source("a/.metadata", "a")(content, folder)


def _index(content: bytes, folder: Path) -> Any:
    (folder / "1.safetensors").write_bytes(_SAFETENSORS)
    return _source("a.index.json")(content, folder)


def _map(content: bytes, folder: Path) -> Any:
    made = Map.load(_written(content, folder, "map.json"))
    back = made.inverse()
    size = sum(np.prod(row.shape, dtype=float) for row in made.rows)
    if size < 10_000:
        made.carry(back.arrays({path: np.ones(rows[0].shape, np.float32) for path, rows in back.by_reference.items()}))
    made.fit({path: rows[0].shape for path, rows in made.by_reference.items()})
    made.save(folder / "again.json")
    assert Map.load(folder / "again.json") == made


def _record(content: bytes, folder: Path) -> Any:
    found = Record.load(_written(content, folder, "record.safetensors"))
    repr(found)
    told = (found.inputs, found.versions, found.seed, found.notes, found.nbytes, found.activations_nbytes)
    asked = [
        found.stored_tensors,
        lambda: [*found.round_trips()],
        lambda: found.draws([0], "cpu", None),
        lambda: found.tracer(found.inputs, None, "float32")({}),
        lambda: found.prober(found.inputs, None, "float32")({}, _ones),
        lambda: found.prober(found.inputs, None, "float64")({}, _ones),
        lambda: found.site_prober(found.inputs, None, "float32")({}, _ones, ("w",)),
        lambda: found.trainer(found.inputs, None, "float32", None)({}, _ones, _OPTIMIZER, 1),
        lambda: found.passer(found.inputs, None, "float32", None)({}, training=False),
    ]
    for each in asked:
        # What a run raised is told again, and what was not recorded is refused.
        with suppress(ParitreeError):
            each()
    return told


def _ones(shapes: Any) -> Any:
    return [np.ones(shape) for shape in shapes]


def _toml(content: bytes, folder: Path) -> Any:
    return [str(known) for known in load_known(_written(content, folder, "known.toml"))]


def _texts(content: bytes, folder: Path) -> Any:
    """The small languages of a row: a piece, a layout, a transform."""
    piece, layout, transform = f"{content.decode('utf-8', 'replace')}||".split("|")[:3]
    parsed(piece).normal((4, 6))
    row = MapRow("w", "v", (4, 6), (6, 4), layout or "a b -> b a", "rule", transform=transform)
    return row.to_reference(row.to_port(np.ones((4, 6), np.float32)))


def _report(content: bytes, folder: Path) -> Any:
    return str(Report.from_json(content.decode("utf-8", "replace")))


_ARRAYS = {"w": np.arange(6, dtype=np.float32).reshape(2, 3), "half": np.zeros(2, np.float16), "n": np.array(3)}
_SAFETENSORS = save(_ARRAYS, {"head": "w"})


def _dcp_files() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        dcp.write(Path(folder, "a"), _ARRAYS)
        return {file.name: file.read_bytes() for file in Path(folder, "a").iterdir()}


_DCP = _dcp_files()


def _with_header(document: Any) -> bytes:
    text = dumped(document).encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(text)) + text + bytes(44)


def _header() -> Any:
    length = struct.unpack("<Q", _SAFETENSORS[:8])[0]
    return json.loads(_SAFETENSORS[8 : 8 + length])


def _checkpoints() -> tuple[bytes, ...]:
    """New and old, compressed and not, each with a tie, a view, a scalar and others."""
    weight = torch.arange(6.0).reshape(2, 3)
    content = {"w": weight, "t": weight, "v": weight.t()[1:], "n": torch.tensor(3), "epoch": 4, "more": {"x": [weight]}}
    made = []
    for is_zip in (True, False):
        stream = io.BytesIO()
        torch.save(content, stream, _use_new_zipfile_serialization=is_zip)
        made.append(stream.getvalue())
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(made[0])) as whole, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name))
    return (*made, stream.getvalue(), _without_checksums(content))


def _npz() -> tuple[bytes, ...]:
    """As NumPy writes it, stored and compressed, in either order of bytes and of axes, and with no checksums."""
    arrays = {**_ARRAYS, "a/turned": np.asfortranarray(_ARRAYS["w"]), "big": _ARRAYS["w"].astype(">f4")}
    plain, packed = io.BytesIO(), io.BytesIO()
    np.savez(plain, **arrays)
    np.savez_compressed(packed, **arrays)
    unchecked = plain.getvalue()
    for sign, offset in ((b"PK\x03\x04", 14), (b"PK\x01\x02", 16)):
        first, *others = unchecked.split(sign)
        begin = offset - len(sign)
        unchecked = sign.join([first, *(each[:begin] + bytes(4) + each[begin + 4 :] for each in others)])
    return plain.getvalue(), packed.getvalue(), unchecked


def _without_checksums(content: Any) -> bytes:
    """A byte of its pickle that was changed is not noticed by its checksum."""
    stream, before = io.BytesIO(), torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(content, stream)
    finally:
        torch.serialization.set_crc32_options(before)
    return stream.getvalue()


def _map_document() -> Any:
    rows = [
        MapRow("a.w", "a.kernel", (4, 6), (6, 4), "o i -> i o", "rule", transform="x + 1", reference_aliases=("b.w",)),
        MapRow("q", "k", (8, 4), (4, 2, 2), "(h d) i -> i h d", "name", (("h", 2), ("d", 2)), parsed("[0:4]")),
        MapRow("q", "l", (8, 4), (4, 2, 2), "(h d) i -> i h d", "name", (("h", 2), ("d", 2)), parsed("[4:8]")),
        *(MapRow(f"b{number}", "b", (8,), (8,), "a -> a", "rule", summed=True) for number in range(2)),
    ]
    made = Map(tuple(rows), ("torch", "linen"), ("u",), aside_port=("c",))
    with tempfile.TemporaryDirectory() as folder:
        made.save(Path(folder, "map.json"))
        return json.loads(Path(folder, "map.json").read_text())


_KEY = forms.digest(_ARRAYS["w"])


_OPTIMIZER = Optimizer("sgd", 0.1)


def _address(kind: str, **about: Any) -> str:
    return forms.address(kind, "float32", {}, **about)


def _record_document() -> Any:
    tensor = {"path": "w", "array": _KEY, "keys": ["w", 0], "trainable": True, "aliases": ["t"]}
    error = {"error": "PairError", "path": "", "expected": "a", "found": "b", "remedy": ""}
    trace = {"module": 0, "call": 0, "depth": 1, "inputs": {"": _KEY}, "outputs": {"": _KEY}}
    module = {"path": "", "name": "Net", "settings": {"eps": 1e-5, "size": [1, 2]}, "holds": ["w"], "subtree": ["w"]}
    given, about = forms.digest_for(_ones, [(2, 3)]), {"optimizer": forms.optimizer_text(_OPTIMIZER), "steps": 1}
    modes = {"training": False, "dropout": False, "seed": 0}
    return {
        "wing": "torch",
        "is_factory": True,
        "versions": {name: "1" for name in ("paritree", "numpy", "torch", "jax", "flax")},
        "notes": ["a note"],
        "seed": 0,
        "inputs": {"by": "position", "arrays": [_KEY]},
        "natives": [tensor],
        "runs": {
            _address("probe"): {"outputs": {"": _KEY}, "gradients": {"w": _KEY}, "cotangents": given},
            _address("sites"): {"sites": {"w": [["linear", _KEY]]}, "shapes": [[2, 3]], "cotangents": given},
            _address("training", **about): {
                "losses": [0.5],
                "natives": [tensor],
                "shapes": [[2, 3]],
                "targets": given,
            },
            _address("pass", **modes): {"outputs": {"": _KEY}, "buffers": {}},
            forms.address("probe", "float64", {}): error,
        },
        "round_trips": [{"way": "state_dict", "natives": [tensor]}, error],
        "draws": {"[0] None": {"draws": {"w": _KEY}}},
        "activations": {"modules": [module], "passes": {_address("trace"): [trace]}},
    }


def _record_of(document: Any) -> bytes:
    """A record with that content, whose digest is right: what a person could craft."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "r")
        records.save(document, {_KEY: _ARRAYS["w"]}, file)
        return file.read_bytes()


_KNOWN = b'[[known_difference]]\ncontract = "modes"\npath = "h.*.w"\nreason = "meant"\n'
_REPORT = Report((), {"alpha": 0.001}, {}).to_json()


@cache
def readers() -> Mapping[str, Reader]:
    """By name."""
    map_document, record_document = _map_document(), _record_document()
    index = {"metadata": {}, "weight_map": dict.fromkeys(_ARRAYS, "1.safetensors")}
    return {
        "safetensors": Reader(_source("a.safetensors"), (_SAFETENSORS,), _header(), _with_header),
        "torch": Reader(_source("a.pt"), _checkpoints()),
        "dcp": Reader(_dcp, (_DCP[".metadata"],)),
        "npz": Reader(_source("a.npz"), _npz()),
        "msgpack": Reader(_source("a.msgpack"), (serialization.to_bytes({"params": _ARRAYS, "step": 3}),)),
        "index": Reader(_index, (dumped(index).encode(),), index),
        "map": Reader(_map, (dumped(map_document).encode(),), map_document),
        "record": Reader(_record, (_record_of(record_document),), record_document, _record_of),
        "toml": Reader(_toml, (_KNOWN,)),
        "texts": Reader(_texts, (b"(2 2 6)[:, 1]|a b -> b a|x * 2 - 1", b"[::2, 1:3]")),
        "report": Reader(_report, (_REPORT.encode(),), json.loads(_REPORT)),
    }
