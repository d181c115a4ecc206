"""What readers are given at random: bytes, sound files that were changed, and JSON with another value in it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .documents import documents
from .readers import Reader, outcome, readers

READERS = readers()
# The same examples each time, but for `make fuzz` without atheris.
QUICK = settings(
    max_examples=40, deadline=None, derandomize="FUZZ" not in os.environ, suppress_health_check=list(HealthCheck)
)


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
    checked(READERS[name], data.draw(documents(READERS[name])))


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
