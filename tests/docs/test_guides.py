"""The guides are true: their Python runs, their commands are run, and what they show is printed.

A block of Python whose first line is `# NAME.py` is that file; any other runs in the names of those before it. A `text`
block is what the Python above it printed; of a command's output the lines that are shown must occur in it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
BLOCKS = re.compile(r"^```(python|text|console)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PROGRAMS = {
    "paritree": [sys.executable, "-m", "paritree"],
    "pytest": [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"],
    "sed": ["sed"],
}


def blocks(page: str) -> list[tuple[str, str]]:
    file = DOCS / page
    if not file.is_file():
        pytest.skip("the tests run away from the tree, and the guides are not in the wheel")
    return BLOCKS.findall(file.read_text(encoding="utf-8"))


def spoken(command: str) -> str:
    """What a command prints, on both outputs."""
    name, *arguments = shlex.split(command)
    done = subprocess.run([*PROGRAMS[name], *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def follow(page: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {}
    printed = ""
    for kind, text in blocks(page):
        title = re.match(r"# (\w+\.py)\n", text)
        if kind == "python" and title:
            Path(title[1]).write_text(text, encoding="utf-8")
        elif kind == "python":
            exec(compile(text, page, "exec"), names)
            printed = capsys.readouterr().out
        elif kind == "text":
            assert printed.splitlines() == text.splitlines()
        else:
            command, _, shown = text.partition("\n")
            output = " ".join(spoken(command.removeprefix("$ ")).split())
            missing = [line for line in shown.splitlines() if " ".join(line.split()) not in output]
            assert missing == [], output


@pytest.mark.parametrize("page", ["tutorial.md", "carry.md", "load.md", "loading.md", "ci.md", "build.md"])
def test_a_guide_can_be_followed(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    # An import of a file that was changed a moment ago must not find the last one's code.
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    # Nor does a guide find a file of another one, or leave its own.
    forget()
    try:
        follow(page, capsys)
    finally:
        forget()


def forget() -> None:
    for name in ("pairs", "port", "reference"):
        sys.modules.pop(name, None)
