"""The Python that the pages of docs/ show runs; the guides, which begin with nothing, have tests of their own."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = ("conformance.md", "devices.md", "recipes.md", "records.md", "reports.md")
# What the reader of a page has: a file `mine.py` with a pair, its map, a record of its reference, and a list of
# known differences.
MINE = """
import numpy as np
import torch
from flax import nnx

import paritree


def make_pair():
    torch.manual_seed(0)
    inputs = (np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32),)
    return paritree.Pair(torch.nn.Linear(4, 3), nnx.Linear(4, 3, rngs=nnx.Rngs(0)), inputs)
"""


def blocks(page: str) -> list[str]:
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


@pytest.fixture
def names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The names that a page begins with, in a folder of the reader's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "known.toml").write_text("")
    for name in ("mine", "test_port"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    found: dict[str, Any] = {"__name__": "__main__"}
    setup = (
        "import paritree",
        "from mine import make_pair",
        "pair = make_pair()",
        "port, found = pair.port, paritree.align(pair)",
        "found.save('map.json')",
        "paritree.record(pair.reference, pair.inputs, 'reference.safetensors')",
        "report = paritree.check(pair, found, contracts=('names', 'forward'))",
    )
    exec("\n".join(setup), found)
    return found


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page: str, names: dict[str, Any]) -> None:
    for block in blocks(page):
        exec(compile(block, page, "exec"), names)
