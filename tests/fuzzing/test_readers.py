"""What readers are given at random: bytes, sound files that were changed, and JSON with another value in it."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .readers import Reader, outcome, readers

READERS = readers()
QUICK = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 9),
    st.sampled_from([2**31, 2**63 - 1, 2**64, -(2**70), 10**4000, 0.5, -0.0, 1e308, float("inf"), float("nan")]),
    st.text(max_size=5),
    st.sampled_from(["__metadata__", "..", "/etc/passwd", "\0", "\ud800", "[0:8:0]", "x * 1e-320", "a" * 10_000]),
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


def places(document: Any, keys: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value stands, all of it included."""
    found = [keys]
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            found += places(value, (*keys, key))
    return found


def changed(document: Any, keys: tuple[Any, ...], value: Any, how: str) -> Any:
    """The document with another value there, or without what is there, or with it twice under another name."""
    if not keys:
        return value
    made = copy.deepcopy(document)
    holder = made
    for key in keys[:-1]:
        holder = holder[key]
    if how == "without":
        del holder[keys[-1]]
    elif how == "renamed" and isinstance(holder, dict):
        holder[str(value)] = holder.pop(keys[-1])
    else:
        holder[keys[-1]] = value
    return made


def checked(reader: Reader, content: bytes) -> str:
    with tempfile.TemporaryDirectory() as folder:
        return outcome(reader, content, Path(folder))


@pytest.mark.parametrize("name", READERS)
def test_what_is_sound_is_read(name: str) -> None:
    for seed in READERS[name].seeds:
        assert checked(READERS[name], seed) == "read"


@pytest.mark.parametrize("name", READERS)
@QUICK
@given(st.data())
def test_bytes(name: str, data: st.DataObject) -> None:
    reader = READERS[name]
    whole = data.draw(st.sampled_from(reader.seeds))
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(start + 9, len(whole))))
    checked(reader, whole[:start] + data.draw(st.binary(max_size=9)) + whole[end:])
    checked(reader, whole[:start])
    checked(reader, data.draw(st.binary(max_size=50)))


@pytest.mark.parametrize("name", [name for name, reader in READERS.items() if reader.document is not None])
@QUICK
@given(st.data())
def test_json(name: str, data: st.DataObject) -> None:
    reader = READERS[name]
    document = reader.document
    for _ in range(data.draw(st.integers(1, 2))):
        keys = data.draw(st.sampled_from(places(document)))
        how = data.draw(st.sampled_from(("another", "another", "without", "renamed")))
        document = changed(document, keys, data.draw(VALUES), how)
    checked(reader, reader.as_bytes(document))


DEEP = {
    "list": b"[" * 100_000,
    "object": b'{"a":' * 100_000,
    "both": b"[" * 500 + b"]" * 500,
    "number": b"1" * 5000,
    "parentheses": b"(" * 100_000 + b"|" + b"(" * 100_000 + b"|" + b"(" * 100_000,
    "tables": b"[" + b"a." * 50_000 + b"a]\n",
    "arrays": b"a = " + b"[" * 50_000,
    "digits": b"a = " + b"1" * 5000,
    "hexadecimal": b"[[known_difference]]\nreason = 0x" + b"f" * 50_000,
    "inline": b"a = " + b"{a=" * 50_000,
    "surrogates": b'{"\\ud800": "\\ud800"}',
    "nothing": b"",
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", DEEP.values(), ids=DEEP)
def test_what_is_deep_or_long(name: str, content: bytes) -> None:
    reader = READERS[name]
    assert len(checked(reader, content)) < 50_000
    if name in ("safetensors", "record"):
        checked(reader, len(content).to_bytes(8, "little") + content)
