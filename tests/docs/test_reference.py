"""The reference has every public name once, and docstrings become what their author meant."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import paritree

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def as_rst() -> Callable[[str], Iterator[str]]:
    file = DOCS / "docstrings.py"
    if not file.is_file():
        pytest.skip("the tests run away from the tree, and the reference is not in the wheel")
    spec = importlib.util.spec_from_file_location("docstrings", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.as_rst


def test_every_public_name_is_in_the_reference_once(as_rst: object) -> None:
    told = {
        file.stem: re.findall(r"(?m)^\.\. auto\w+:: (.+)$", file.read_text(encoding="utf-8"))
        for file in (DOCS / "reference").glob("*.md")
    }
    rooms = {"architectures", "initializers"}

    for room in rooms:
        defined = vars(getattr(paritree, room)).items()
        public = [name for name, value in defined if inspect.isclass(value) or inspect.isfunction(value)]
        assert sorted(told[room]) == sorted(public)
    names = [name for page, found in told.items() if page not in rooms for name in found]
    assert sorted(names) == sorted(set(paritree.__all__) - rooms)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One line of `code`.", "One line of ``code``."),
        ("A `Map`s row, *args, a_ and 2 * 3 | 4", "A ``Map``\\ s row, \\*args, a\\_ and 2 \\* 3 \\| 4"),
        ("Two lines\nof prose.", "Two lines of prose."),
        ("a lone ` tick", "a lone \\` tick"),
        (
            "x: what it is\n    and more\nlower, upper: bounds",
            "* **x**: what it is and more\n* **lower, upper**: bounds",
        ),
        ("Raises:\n    SpecError, PathError: no spec.", "**Raises**\n\n* **SpecError, PathError**: no spec."),
        ("- one\n  more\n- two", "* one more\n* two"),
        ("For example:\n\n    import x\n    x.y()", "For example:\n\n.. code-block:: python\n\n   import x\n   x.y()"),
        ("Rooms:\n    one    of these", "Rooms:\n\n.. code-block:: text\n\n   one    of these"),
    ],
)
def test_a_docstring_becomes_what_its_author_meant(
    text: str, expected: str, as_rst: Callable[[str], Iterator[str]]
) -> None:
    assert re.sub(r"\n{3,}", "\n\n", "\n".join(as_rst(text))).strip() == expected
