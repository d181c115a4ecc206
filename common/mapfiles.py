"""Maps as files: JSON with a version, one row a line, to be read and edited by a person."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from einops import EinopsError

from .errors import ShapeError
from .maps import EVIDENCE, Map, MapError, MapRow

FORMAT = "paritree map"
VERSION = 1
# The fields of a Map that name what has no row, in its order.
WITHOUT_ROWS = ("unmatched_reference", "unmatched_port", "aside_reference", "aside_port")


def save(made: Map, file: Path) -> None:
    """Write it beside its place first and then move it there, so that no half of a file is ever seen."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as stream:
            stream.write(text(made))
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def text(made: Map) -> str:
    """The file's content."""
    head = {
        "format": FORMAT,
        "version": VERSION,
        "direction": made.direction,
        **{name: getattr(made, name) for name in WITHOUT_ROWS},
        # What was verified is these rows: a change of them makes the digest another one.
        "verified": _digest(made) if made.verified else None,
    }
    lines = [f'"{key}": {json.dumps(value, ensure_ascii=False)}' for key, value in head.items()]
    rows = ",\n".join(f"  {json.dumps(asdict(row), ensure_ascii=False)}" for row in made.rows)
    return "{\n" + ",\n".join([*lines, f'"rows": [\n{rows}\n]']) + "\n}\n"


def load(file: Path) -> Map:
    """Raises MapError; see `Map.load`."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise MapError(str(file), "a file with a map", error.strerror or str(error)) from None
    except ValueError as error:
        raise MapError(
            str(file), "a map in JSON", f"no JSON ({error})", "The file is cut short or no map; make it anew."
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise MapError(str(file), f'JSON with "format": "{FORMAT}"', "something else", "Give a file of Map.save.")
    if content.get("version") != VERSION:
        found = f"version {content.get('version')!r}"
        raise MapError(str(file), f"version {VERSION}", found, "Make the map anew, or use the release that wrote it.")
    return _map_of(content, file)


def _map_of(content: dict[str, Any], file: Path) -> Map:
    rows = content.get("rows")
    if not isinstance(rows, list):
        raise MapError(f"{file}: rows", "a list of rows", type(rows).__name__)
    direction = _texts(content.get("direction"), f"{file}: direction")
    if len(direction) != 2:
        raise MapError(f"{file}: direction", "two names", str(len(direction)))
    found = Map(
        tuple(_row(row, f"{file}: rows[{number}]") for number, row in enumerate(rows)), (direction[0], direction[1])
    )
    without: dict[str, Any] = {name: _texts(content.get(name), f"{file}: {name}") for name in WITHOUT_ROWS}
    found = replace(found, **without)
    return replace(found, verified=content.get("verified") == _digest(found))


def _row(row: Any, place: str) -> MapRow:
    names = [field.name for field in fields(MapRow)]
    if not isinstance(row, dict) or sorted(row) != sorted(names):
        found = ", ".join(map(repr, row)) if isinstance(row, dict) else type(row).__name__
        raise MapError(place, "the entries " + ", ".join(map(repr, names)), found)
    for name in ("reference", "port", "layout"):
        if not isinstance(row[name], str):
            raise MapError(f"{place}.{name}", "a text", type(row[name]).__name__)
    if row["evidence"] not in EVIDENCE:
        raise MapError(f"{place}.evidence", "one of " + ", ".join(map(repr, EVIDENCE)), repr(row["evidence"]))
    shape = row["shape"]
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise MapError(f"{place}.shape", "a list of lengths", repr(shape))
    aliases = {name: _texts(row[name], f"{place}.{name}") for name in ("reference_aliases", "port_aliases")}
    made = MapRow(**{**row, "shape": tuple(shape), **aliases})
    try:
        _ = made.port_shape
    except (ShapeError, EinopsError):
        found = f"{made.layout!r} for the shape {made.shape}"
        raise MapError(f"{place}.layout", "an einops pattern that fits the shape", found) from None
    return made


def _texts(value: Any, place: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise MapError(place, "a list of texts", repr(value))
    return tuple(value)


def _digest(made: Map) -> str:
    """A hash of all that the proof was about: the rows, and what has none."""
    about = [[asdict(row) for row in made.rows], made.direction, *(getattr(made, name) for name in WITHOUT_ROWS)]
    return hashlib.blake2b(json.dumps(about).encode(), digest_size=16).hexdigest()
