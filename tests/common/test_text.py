"""Text for people: what of a name is shown as it is, and what as an escape."""

from __future__ import annotations

import json

import numpy as np
import pytest

import paritree
from paritree.common.text import one_line, printable

FORGED = "a\n13 contracts of pair: all hold\x1b[32m"
SHOWN = r"a\n13 contracts of pair: all hold\x1b[32m"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("encoder.layers.0", "encoder.layers.0"),
        ("größe.重み", "größe.重み"),
        ("\x1b[2J\x07\x7f\x85", r"\x1b[2J\x07\x7f\x85"),
        ("\u202egnp.exe \u2066", r"\u202egnp.exe \u2066"),
        ("\ud800 \uffff", r"\ud800 \uffff"),
        ("one\ntwo\ttabs\rback", r"one\ntwo\ttabs\rback"),
    ],
)
def test_a_name_stays_in_its_line_and_gives_no_orders(name: str, expected: str) -> None:
    assert one_line(name) == expected


def test_a_text_keeps_its_own_lines() -> None:
    assert printable("one\n\ttwo 10\xa0%\x1b[0m") == "one\n\ttwo 10\xa0%" + r"\x1b[0m"


def test_the_names_of_a_table_are_escaped() -> None:
    table = paritree.table({FORGED: np.ones((2, 3), np.float32)})
    _, second, *rest = str(table).splitlines()
    assert second.startswith(f"{SHOWN}  (2, 3)")
    assert rest == ["", "1 parameter, 6 scalars"]
    # What programs read has the name itself.
    assert json.loads(json.dumps(table.to_json()))[0]["path"] == FORGED


def test_an_error_names_what_it_is_about_in_one_line() -> None:
    error = paritree.PathError(FORGED, "a path of the model", f"{FORGED} twice", "Look.")
    assert str(error) == f"{SHOWN}: expected a path of the model, found {SHOWN} twice. Look."
    assert error.path == FORGED
