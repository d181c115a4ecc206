"""What the content of a record is made of, held against it once when it is read: no answer fails on its form later.

A check takes a value and says what is wrong with it, as where in it, what was expected and what was found. Entries that
are not known here are another release's, and left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from math import prod
from typing import Any

from ...common.errors import shown
from ...common.reading import is_shape
from .files import RecordError

# An output's, for which cotangents are made before they are compared: no model that is recorded has a larger one.
_MOST_ENTRIES = 1 << 28


class _Misformed(Exception):
    """A value that is not of its form; its arguments are where it is, what was expected and what was found."""


Check = Callable[[Any, str], None]


def check(content: Any, arrays: Collection[str], file: str) -> None:
    """Hold all of a record's content against its form.

    arrays: the digests that it may name.

    Raises:
        RecordError: the first entry that is missing, or not of its form.
    """
    try:
        _content(arrays)(content, "")
    except _Misformed as error:
        where, expected, found = error.args
        remedy = "Record again, or use the release that wrote it."
        raise RecordError(f"{file}: {where}", expected, found, remedy) from None


def _content(arrays: Collection[str]) -> Check:
    key = _one_of(arrays, "the digest of one of the record's arrays")
    named_arrays, tensors = _named(key), _stored_tensors(key)
    trip = _or_error(_fields({"way": _text, "natives": tensors}))
    return _fields(
        {
            "wing": _one_of(("torch", "linen", "nnx", "pytree"), "the name of a wing"),
            "is_factory": _flag,
            "versions": _versions,
            "notes": _many(_text),
            "seed": _whole,
            "inputs": _inputs(key),
            "natives": tensors,
            "runs": _runs(key),
            "round_trips": _many(trip),
            "draws": _named(_or_error(_fields({"draws": named_arrays}))),
        },
        {"activations": lambda value, where: _activations(value, where, named_arrays)},
    )


def _runs(key: Check) -> Check:
    named_arrays, shapes = _named(key), _many(_shape)
    sites = _named(_many(_pair(_text, key)))
    kinds = {
        "probe": _fields({"outputs": named_arrays}, {"gradients": named_arrays, "cotangents": _text}),
        "sites": _fields({"sites": sites, "shapes": shapes, "cotangents": _text}),
        "training": _fields(
            {"losses": _many(_number), "natives": _stored_tensors(key), "shapes": shapes, "targets": _text}
        ),
        "pass": _fields({"outputs": named_arrays, "buffers": named_arrays}),
    }

    def checked(value: Any, where: str) -> None:
        _named(_object)(value, where)
        for address, run in value.items():
            kind = kinds.get(address.partition(" ")[0], _object)
            _or_error(kind)(run, f"{where}.{address}")
            if "gradients" in run and "cotangents" not in run:
                raise _Misformed(f"{where}.{address}", "the cotangents of its gradients", "none")

    return checked


def _stored_tensors(key: Check) -> Check:
    required = {"path": _text, "array": key, "keys": _many(_key)}
    one = _fields(required, {"trainable": _flag, "saved": _flag, "aliases": _many(_text), "frozen": _flag})

    def checked(value: Any, where: str) -> None:
        _many(one)(value, where)
        seen: set[str] = set()
        for number, each in enumerate(value):
            if each["path"] in seen:
                raise _Misformed(f"{where}[{number}].path", "every path once", f"{shown(each['path'])} twice")
            seen.add(each["path"])

    return checked


def _inputs(key: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        _fields({"by": _one_of(("name", "position"), "'name' or 'position'"), "arrays": _any})(value, where)
        (_named if value["by"] == "name" else _many)(key)(value["arrays"], f"{where}.arrays")

    return checked


def _activations(value: Any, where: str, named_arrays: Check) -> None:
    module = {"path": _text, "name": _text, "settings": _object, "holds": _many(_text), "subtree": _many(_text)}
    call = {"module": _whole, "call": _whole, "depth": _whole, "inputs": named_arrays, "outputs": named_arrays}
    _fields({"modules": _many(_fields(module)), "passes": _named(_many(_fields(call)))})(value, where)
    for address, calls in value["passes"].items():
        for number, each in enumerate(calls):
            if not 0 <= each["module"] < len(value["modules"]):
                place = f"{where}.passes.{address}[{number}].module"
                raise _Misformed(place, f"the number of one of {len(value['modules'])} modules", shown(each["module"]))


def _fields(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    def checked(value: Any, where: str) -> None:
        _object(value, where)
        for name, each in {**required, **(optional or {})}.items():
            if name in value:
                each(value[name], f"{where}.{name}" if where else name)
            elif name in required:
                raise _Misformed(where or "content", f"an entry {name!r}", "none")

    return checked


def _or_error(kind: Check) -> Check:
    """What a run gave, or the error that it raised."""
    error = _fields(dict.fromkeys(("error", "path", "expected", "found", "remedy"), _text))

    def checked(value: Any, where: str) -> None:
        (error if isinstance(value, dict) and "error" in value else kind)(value, where)

    return checked


def _named(each: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        _object(value, where)
        for name, held in value.items():
            each(held, f"{where}.{name}")

    return checked


def _many(each: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        _is(list, "a list")(value, where)
        for number, held in enumerate(value):
            each(held, f"{where}[{number}]")

    return checked


def _pair(first: Check, second: Check) -> Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, list) or len(value) != 2:
            raise _Misformed(where, "a list of two", shown(value))
        first(value[0], f"{where}[0]")
        second(value[1], f"{where}[1]")

    return checked


def _one_of(known: Collection[str], expected: str) -> Check:
    def checked(value: Any, where: str) -> None:
        if not isinstance(value, str) or value not in known:
            raise _Misformed(where, expected, shown(value))

    return checked


def _is(kind: type | tuple[type, ...], expected: str) -> Check:
    def checked(value: Any, where: str) -> None:
        # True and False are whole numbers to Python.
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _Misformed(where, expected, shown(value))

    return checked


def _shape(value: Any, where: str) -> None:
    if not isinstance(value, list) or not is_shape(value) or prod(value) > _MOST_ENTRIES:
        raise _Misformed(where, "the lengths of an output's axes", shown(value))


def _versions(value: Any, where: str) -> None:
    # Those of which it is said that they are others now.
    _fields({"paritree": _text, "numpy": _text})(value, where)
    _named(_text)(value, where)


def _any(value: Any, where: str) -> None:
    """It is looked at elsewhere."""


_text, _flag, _whole = _is(str, "a text"), _is(bool, "true or false"), _is(int, "a whole number")
_number, _object, _key = _is((int, float), "a number"), _is(dict, "an object"), _is((str, int), "a text or number")
