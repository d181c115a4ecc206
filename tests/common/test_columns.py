"""Plain-text tables: columns, and lines of cells where columns are too wide."""

from __future__ import annotations

import io

import pytest

from paritree.common.columns import columns, fit, in_lines, terminal_width


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert columns([("a", "b", "c"), ("long name", "", "x")]) == ["a          b  c", "long name     x"]


def test_a_cell_never_makes_a_line_of_its_own() -> None:
    assert columns([("a\nb", "c")]) == ["a\\nb  c"]
    assert in_lines(["a\nb", "c"], 20) == ["a\\nb  c"]


@pytest.mark.parametrize("width", [10, 14, 24])
def test_cells_stand_behind_one_another_and_no_word_is_torn(width: int) -> None:
    cells = ("first", "", "Normal(mean=0, std=1)", "last")
    lines = in_lines(cells, width, 2)
    assert " ".join(lines).split() == ["first", "Normal(mean=0,", "std=1)", "last"]
    assert max(map(len, lines)) <= max(width, len("      Normal(mean=0,"))
    assert lines[0].startswith("  first")
    assert all(line.startswith("    ") for line in lines[1:])


def test_what_fits() -> None:
    assert fit(["1234"], 4)
    assert not fit(["1234", "12345"], 4)
    assert fit(["1" * 1000], None)


def test_a_pipe_has_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "77")
    monkeypatch.setattr("sys.stdout", io.StringIO())
    assert terminal_width() is None
    monkeypatch.setattr("sys.stdout", Terminal())
    assert terminal_width() == 77
