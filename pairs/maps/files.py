"""Maps as files: JSON with a version, one row a line, to be read and edited by a person."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any, TypeVar

from ...common.errors import MapError, ShapeError, nearest, shown
from ...common.files import written_whole
from ...common.reading import are_lengths, is_shape, read_json
from .correspondence import Correspondence
from .pieces import Piece, parsed
from .rows import EVIDENCE, MapRow

Made = TypeVar("Made", bound=Correspondence)

FORMAT = "paritree map"
VERSION = 2
# How a file of a map begins, of any version; no other file is replaced by one.
BEGINNING = re.compile(rb'\s*\{\s*"format"\s*:\s*"paritree map"')
# The fields of a Map that name what has no row, in its order.
WITHOUT_ROWS = ("unmatched_reference", "unmatched_port", "aside_reference", "aside_port")


def save(made: Correspondence, file: Path) -> None:
    """Write the file, whole or not at all.

    Raises:
        UsageError: something else than a map is there. OSError: it cannot be written.
    """
    with written_whole(file, BEGINNING) as stream:
        stream.write(text(made).encode())


def text(made: Correspondence) -> str:
    """The file's content."""
    head = {
        "format": FORMAT,
        "version": VERSION,
        "direction": made.direction,
        **{name: getattr(made, name) for name in WITHOUT_ROWS},
        # What was verified is these rows: a change of them makes the digest another one.
        "verified": digest(made) if made.verified else None,
    }
    lines = [f'"{key}": {_as_json(value)}' for key, value in head.items()]
    rows = ",\n".join(f"  {_as_json(_written(row))}" for row in made.rows)
    return "{\n" + ",\n".join([*lines, f'"rows": [\n{rows}\n]']) + "\n}\n"


def _as_json(value: Any) -> str:
    """Readable where it can be: half of a surrogate pair is no Unicode, and JSON has it as an escape alone."""
    text = json.dumps(value, ensure_ascii=False)
    is_unicode = not any("\ud800" <= sign <= "\udfff" for sign in text)
    return text if is_unicode else json.dumps(value)


def load(file: Path, kind: type[Made]) -> Made:
    """The map of a file, as one of a kind of correspondence.

    Raises:
        MapError: see `Map.load`.
    """
    try:
        content = read_json(file)
    except OSError as error:
        raise MapError(str(file), "a file with a map", error.strerror or str(error)) from None
    except ValueError as error:
        raise MapError(
            str(file), "a map in JSON", f"no JSON ({error})", "The file is cut short or no map; make it anew."
        ) from None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise MapError(str(file), f'JSON with "format": "{FORMAT}"', "something else", "Give a file of Map.save.")
    if content.get("version") != VERSION:
        found = f"version {shown(content.get('version'))}"
        remedy = "Make the map anew, or use the release that wrote it."
        if content.get("version") == 1:
            remedy = "Version 1 was about other paths and had no pieces: align the models anew."
        raise MapError(str(file), f"version {VERSION}", found, remedy)
    return _made_of(content, file, kind)


def _made_of(content: dict[str, Any], file: Path, kind: type[Made]) -> Made:
    _check_names(content, ("format", "version", "direction", *WITHOUT_ROWS, "verified", "rows"), str(file), "a map")
    rows = content.get("rows")
    if not isinstance(rows, list):
        raise MapError(f"{file}: rows", "a list of rows", type(rows).__name__)
    direction = _texts(content.get("direction"), f"{file}: direction")
    if len(direction) != 2:
        raise MapError(f"{file}: direction", "two names", str(len(direction)))
    read = tuple(_row(row, f"{file}: rows[{number}]") for number, row in enumerate(rows))
    without: dict[str, Any] = {name: _texts(content.get(name, []), f"{file}: {name}") for name in WITHOUT_ROWS}
    try:
        found = kind(read, (direction[0], direction[1]), **without)
    except MapError as error:
        raise MapError(f"{file}: {error.path}", error.expected, error.found, error.remedy) from None
    return replace(found, verified=content.get("verified") == digest(found))


# The fields of a row that must be there; the others have a default, and one that has it is not written.
_REQUIRED = tuple(field.name for field in fields(MapRow) if field.init and field.default is MISSING)
_DEFAULTS = {field.name: field.default for field in fields(MapRow) if field.init and field.default is not MISSING}


def _written(row: MapRow) -> dict[str, Any]:
    """A row as JSON has it: pieces as text, sizes as an object, what has its default left out."""
    found = {name: getattr(row, name) for name in _REQUIRED}
    found |= {name: getattr(row, name) for name, default in _DEFAULTS.items() if getattr(row, name) != default}
    if "sizes" in found:
        found["sizes"] = dict(row.sizes)
    return {name: str(value) if isinstance(value, Piece) else value for name, value in found.items()}


def _row(row: Any, where: str) -> MapRow:
    if not isinstance(row, dict):
        raise MapError(where, "a row as an object", type(row).__name__)
    _check_names(row, (*_REQUIRED, *_DEFAULTS), where, "a row")
    missing = [name for name in _REQUIRED if name not in row]
    if missing:
        raise MapError(where, "the entries " + ", ".join(map(repr, _REQUIRED)), f"no {missing[0]!r}")
    read: dict[str, Any] = {name: _READERS[name](value, f"{where}.{name}") for name, value in row.items()}
    try:
        return MapRow(**read)
    except MapError as error:
        raise MapError(f"{where} ({error.path})", error.expected, error.found, error.remedy) from None


def _check_names(entries: dict[str, Any], known: tuple[str, ...], where: str, what: str) -> None:
    unknown = [name for name in entries if name not in known]
    if unknown:
        raise MapError(where, f"no other entries than {what} has", repr(unknown[0]), nearest(unknown[0], known))


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise MapError(where, "a text", type(value).__name__)
    return value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise MapError(where, "a list of texts", shown(value))
    return tuple(value)


def _shape(value: Any, where: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not is_shape(value):
        raise MapError(where, "a list of lengths", shown(value))
    return tuple(value)


def _sizes(value: Any, where: str) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, dict) or not are_lengths(value.values()):
        raise MapError(where, "an object with the length of each bracketed axis", shown(value))
    return tuple(value.items())


def _piece(value: Any, where: str) -> Piece:
    try:
        return parsed(_text(value, where))
    except ShapeError as error:
        raise MapError(where, error.expected, error.found) from None


def _evidence(value: Any, where: str) -> str:
    if value not in EVIDENCE:
        raise MapError(where, "one of " + ", ".join(map(repr, EVIDENCE)), shown(value))
    return value


def _flag(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise MapError(where, "true or false", shown(value))
    return value


_READERS: dict[str, Callable[[Any, str], Any]] = {
    "reference": _text,
    "port": _text,
    "shape": _shape,
    "port_shape": _shape,
    "layout": _text,
    "evidence": _evidence,
    "sizes": _sizes,
    "reference_piece": _piece,
    "port_piece": _piece,
    "transform": _text,
    "summed": _flag,
    "copied": _flag,
    "reference_aliases": _texts,
    "port_aliases": _texts,
    "reference_factors": _texts,
    "port_factors": _texts,
}


def digest(made: Correspondence) -> str:
    """A hash of all that the proof was about: the rows, and what has none."""
    about = [[_written(row) for row in made.rows], made.direction, *(getattr(made, name) for name in WITHOUT_ROWS)]
    return hashlib.blake2b(json.dumps(about).encode(), digest_size=16).hexdigest()
