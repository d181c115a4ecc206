"""Conversions that are killed or that race leave what was there or what was to be; see `killed.py`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--kills", "16"),
        ("--races", "16"),
        ("--walk", "151"),
        pytest.param(("--kills", "2000"), marks=pytest.mark.thorough),
        pytest.param(("--races", "2000"), marks=pytest.mark.thorough),
        pytest.param(("--walk", "1"), marks=pytest.mark.thorough),
    ],
)
def test_nothing_is_lost(arguments: tuple[str, str]) -> None:
    # From a process that has imported everything and begun nothing: what a framework began must not be forked.
    command = [sys.executable, "-m", "tests.migration.convert.killed", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n0 wrong\n" in done.stdout
