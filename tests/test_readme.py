"""README is true: what it shows is what the commands print, and its Python runs."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from paritree import cli

HOME = Path(__file__).parents[1]
TEXT = (HOME / "README.md").read_text(encoding="utf-8")
pytest_plugins = ["pytester"]
ELISION = "..."


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as stop:
        cli.main(list(arguments))
    return int(stop.value.code or 0), capsys.readouterr().out


@pytest.fixture
def pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The file of pairs that README shows, in the folder where the commands run."""
    (source,) = [block for block in blocks("python") if "class Reference" in block]
    (tmp_path / "pairs.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "pairs", raising=False)
    monkeypatch.setenv("COLUMNS", "110")
    return source


@pytest.mark.parametrize(
    ("command", "code"),
    [(("check", "pairs.py:drifted", "--contracts", "forward"), 1), (("align", "pairs.py:pair"), 0)],
)
def test_what_it_shows_is_what_is_printed(
    command: tuple[str, ...], code: int, pairs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"$ paritree {' '.join(command)}\n"
    (shown,) = [block.removeprefix(line) for block in blocks("console") if block.startswith(line)]
    found, out = printed(capsys, *command)
    assert found == code
    beginning, _, rest = shown.partition(f"{ELISION}\n")
    assert out.startswith(beginning)
    assert not rest


def test_the_rows_of_the_check_that_it_shows_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    (shown,) = [block for block in blocks("console") if block.startswith("$ make check\n")]
    lines = [line.split() for line in shown.splitlines() if line.startswith(("model", "mlp"))]
    code, text = printed(capsys, "check", "mlp", "--device", "cpu")
    out = [line.split() for line in text.splitlines()]
    assert code == 0
    # Of an error's last digits nothing is promised.
    assert lines[0] in out
    both = [[[*line[:6], line[-1]] for line in each if line[:1] == ["mlp"]] for each in (lines, out)]
    assert len(both[0]) == 3
    assert all(line in both[1] for line in both[0])


def test_the_test_that_it_shows_is_collected(pairs: str, pytester: pytest.Pytester) -> None:
    (suite,) = [block for block in blocks("python") if "paritree.suite" in block]
    pytester.makepyfile(pairs=pairs, test_port=suite)
    result = pytester.runpytest_subprocess("--collect-only", "-q", "-p", "no:cacheprovider")
    result.stdout.fnmatch_lines(["*test_port*forward*"])


def test_it_is_short_and_what_it_links_to_is_there() -> None:
    assert len(TEXT.splitlines()) <= 150
    for link in re.findall(r"\]\(([^)#]+)", TEXT):
        assert (HOME / link).exists(), link
