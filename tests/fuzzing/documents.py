"""JSON as a reader has it, with another value in some place."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import strategies as st

from .readers import Reader

NUMBERS = [2**31, 2**63 - 1, 2**64, -(2**70), 10**4000, 0.5, -0.0, 1e308, float("inf"), float("nan")]
TEXTS = ["__metadata__", "..", "/etc/passwd", "\0", "\ud800", "[0:8:0]", "x * 1e-320", "a" * 10_000, "F32", "a -> a"]
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 9), st.sampled_from(NUMBERS), st.text(max_size=5), st.sampled_from(TEXTS)
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)
WAYS = st.sampled_from(("another", "another", "without", "renamed"))


@st.composite
def documents(draw: st.DrawFn, reader: Reader) -> bytes:
    """The reader's document after one change or two, as bytes."""
    document = reader.document
    for _ in range(draw(st.integers(1, 2))):
        document = _changed(document, draw(st.sampled_from(_places(document))), draw(VALUES), draw(WAYS))
    return reader.as_bytes(document)


def _places(document: Any, keys: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where a value stands, all of it included."""
    found = [keys]
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            found += _places(value, (*keys, key))
    return found


def _changed(document: Any, keys: tuple[Any, ...], value: Any, how: str) -> Any:
    """The document with another value there, or without what is there, or with it under another name."""
    if not keys:
        return value
    made = copy.deepcopy(document)
    holder = made
    for key in keys[:-1]:
        holder = holder[key]
    if how == "without":
        del holder[keys[-1]]
    elif how == "renamed" and isinstance(holder, dict):
        holder[str(value) if not isinstance(value, int) else "n"] = holder.pop(keys[-1])
    else:
        holder[keys[-1]] = value
    return made
