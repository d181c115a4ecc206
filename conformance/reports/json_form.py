"""A report as JSON, and back: see docs/reports.md for every field."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NoReturn, TypeVar, get_args

import numpy as np

from ...common.errors import UsageError, nearest
from ..results import Result, Results, Status

# A change that a reader would notice is a new number.
SCHEMA = 2
_FIELDS = tuple(field.name for field in fields(Result))
_NUMBERS = ("measured", "allowed")
# Those that reports of this schema did not always have.
_LATER = ("follows_from",)
# JSON has no word for these. The field is null, and this word beside it lets a reader have it back.
_NOT_FINITE = "not_finite"
Made = TypeVar("Made", bound=Results)
_TOP = {"schema": int, "ok": bool, "facts": dict, "versions": dict, "results": list}
_KINDS = {int: "a whole number", bool: "true or false", dict: "an object", list: "a list", str: "a text"}


def to_json(report: Results) -> str:
    """One object, one result a line; what is not finite is null."""
    head = {"schema": SCHEMA, "ok": report.ok, "facts": _plain(report.facts), "versions": dict(report.environment)}
    lines = [f" {json.dumps(name)}: {json.dumps(value, allow_nan=False)}," for name, value in head.items()]
    results = ",\n".join(f"  {json.dumps(_written(result), allow_nan=False)}" for result in report.results)
    return "\n".join(("{", *lines, ' "results": [', *filter(None, (results,)), " ]", "}"))


def _written(result: Result) -> dict[str, Any]:
    entry = {name: _plain(getattr(result, name)) for name in _FIELDS}
    lost = {
        name: str(float(value))
        for name in _NUMBERS
        if (value := getattr(result, name)) is not None and entry[name] is None
    }
    return {**entry, _NOT_FINITE: lost} if lost else entry


def _plain(value: Any) -> Any:
    """What JSON can say of a value: containers and NumPy's numbers as its own, what is not finite as null."""
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | None) else str(value)


def from_json(text: str, kind: type[Made]) -> Made:
    """The report that was written, as one of a kind of results.

    Raises:
        UsageError: no JSON, no report, or one of another schema version.
    """
    found = _parsed(text)
    _check_schema(found)
    for name, expected in _TOP.items():
        if name not in found:
            raise UsageError("report", f"a field {name!r}", "none")
        _checked(found[name], expected, f"report.{name}")
    results = tuple(_read(entry, f"report.results[{number}]") for number, entry in enumerate(found["results"]))
    return kind(results, found["facts"], found["versions"])


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise UsageError("report", "JSON", f"none: {error}", "Give what `to_json` has written.") from None
    if not isinstance(found, dict):
        raise UsageError("report", "an object with results", type(found).__name__, "Give what `to_json` has written.")
    return found


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _check_schema(found: dict[str, Any]) -> None:
    if "schema" not in found:
        remedy = "Give what `to_json` has written; before schema 2 a report had no number: check again."
        raise UsageError("report", f"schema {SCHEMA}", "none", remedy)
    if found["schema"] != SCHEMA:
        remedy = "Read it with the version of paritree that wrote it, or check again."
        raise UsageError("report", f"schema {SCHEMA}", f"schema {found['schema']!r}", remedy)


def _checked(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise UsageError(where, _KINDS[kind], type(value).__name__)
    return value


def _read(entry: Any, where: str) -> Result:
    for name in _checked(entry, dict, where):
        if name not in (*_FIELDS, _NOT_FINITE):
            raise UsageError(where, "the fields of a result", repr(name), nearest(name, _FIELDS))
    lost = entry.get(_NOT_FINITE, {})
    values: dict[str, Any] = {}
    for name in _FIELDS:
        if name not in entry:
            if name in _LATER:
                continue
            raise UsageError(where, f"a field {name!r}", "none")
        values[name] = _value(name, entry[name], f"{where}.{name}")
        if name in _NUMBERS and isinstance(lost, dict) and lost.get(name) in ("inf", "-inf", "nan"):
            values[name] = float(lost[name])
    return Result(**values)


def _value(name: str, value: Any, where: str) -> Any:
    if name == "status":
        if value not in get_args(Status):
            raise UsageError(where, f"one of {', '.join(get_args(Status))}", repr(value))
        return value
    if name in _NUMBERS:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise UsageError(where, "a number or null", repr(value))
        return value
    return _checked(value, dict if name == "details" else str, where)
