"""The catalogue as notebooks, one a section, made from the records: what is shown is what ran.

They follow the chapter of Dive into Deep Learning that the source notebooks follow, step by step. `notebooks` makes
them without outputs, in the same cells with the same ids every time; `executed` runs one. What they need besides the
package is imported when they are made: nbformat, and nbclient with a kernel to run them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from importlib import import_module
from os import environ
from pathlib import Path
from typing import Any

from ..common.errors import UsageError
from ..common.files import check_writable, write_whole
from . import markdown, pages
from .catalogue import IDS, SECTIONS
from .record import NAMES, WINGS, Outcome
from .site import PAGES

COMMAND = "paritree study --notebooks docs/notebooks"

FILES = {folder: f"{number}-{folder}.ipynb" for number, folder in enumerate(PAGES, start=1)}

# The steps of the chapter, each named before the row with which it begins.
_STEPS = {
    "A1": "A net to look into",
    "A2": "Targeted parameters",
    "A6": "All parameters at once",
    "A13": "What else there is to see",
    "N1": "Collecting parameters from nested blocks",
    "I1": "Built-in initialization",
    "I11": "Custom initialization",
    "I14": "What an initializer sees, and when it runs",
    "S1": "Setting parameters directly",
    "T1": "What counts as a parameter",
    "L1": "Lazy initialization",
    "W1": "Tied parameters",
    "W9": "Beyond one layer in two slots",
    "E1": "Exercises",
}

_HOW = """\
Each row makes a statement and shows it three times: in PyTorch, in Flax Linen and in Flax NNX. The cells are the \
functions that the catalogue of `paritree` runs, with all that they need; below them stand the facts that they return, \
side by side, and how far apart the three are. Run the first cell, and then any other, in any order."""

_WORDS = """\
Two words in the cells are not the frameworks': `raised(action)` runs an action and returns the exception that it \
raises, where an error is the result; `Absent(reason)` stands where a framework has no such thing."""

_SOURCES = """\
S0 to S4 are the five notebooks that these grew from: they work through the chapter on parameter management of *Dive \
into Deep Learning*, in PyTorch. The steps are those of the chapter, and where a notebook is mistaken, the row says \
so. This notebook is generated (`{command}`) and was run with {versions}, on the CPU."""

_SETUP = """\
import os

os.environ["JAX_PLATFORMS"] = "cpu"  # before JAX is imported

# Floats with four digits, as they are compared.
%precision %.4g

import torch"""

_FIGURE = """\
from paritree.study import figures, outcome

figures.sheet(figures.of(outcome("{id}")))"""

_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# How one of ours begins: nothing else is written over.
_OURS = re.compile(rb'\{\s*"cells": \[\s*\{\s*"cell_type": "markdown",\s*"id": "about",')


def notebooks(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The notebooks of the sections by the names of their files (`6-tying.ipynb`), without outputs.

    Raises:
        UsageError: nbformat is not installed.
    """
    by_id = {outcome.behaviour.id: outcome for outcome in outcomes}
    found = {}
    for folder, name in FILES.items():
        members = [by_id[row] for row in IDS if SECTIONS[row[0]][1] == folder and row in by_id]
        if members:
            found[name] = _notebook(*PAGES[folder], members)
    return found


def text(notebook: Any) -> str:
    """A notebook as its file holds it."""
    return _needed("nbformat").writes(notebook) + "\n"


def executed(notebook: Any) -> Any:
    """The notebook with the outputs of a run in a kernel of its own, without a trace of when and where.

    Raises:
        UsageError: nbclient is not installed, or a cell raised something.
    """
    run, nbclient = deepcopy(notebook), _needed("nbclient")
    # The kernel listens to this machine alone, and says at the level of warnings that it is not encrypted.
    options = {"timeout": 600, "kernel_name": "python3", "record_timing": False}
    client = nbclient.NotebookClient(run, extra_arguments=["--log-level=ERROR"], **options)
    with tempfile.TemporaryDirectory() as folder:
        try:
            client.execute(env={**environ, "IPYTHONDIR": folder})
        except nbclient.exceptions.CellExecutionError as error:
            found = f"{error.ename}: {error.evalue}"
            raise UsageError("notebook", "cells that run", found, "Run the row: paritree study ROW.") from None
    run.metadata = deepcopy(notebook.metadata)
    return run


def check(folder: str | Path) -> None:
    """Before long work, whose result is to be written there.

    Raises:
        UsageError: a module is not installed that makes or runs notebooks; the folder may not be written, or holds
            something else of the name of one.
    """
    for module in ("nbformat", "nbclient", "ipykernel"):
        _needed(module)
    for name in FILES.values():
        check_writable(Path(folder) / name, "--notebooks", _OURS)


def write(folder: str | Path, outcomes: Sequence[Outcome], told: Callable[[str], object] = lambda what: None) -> None:
    """Run the notebooks and write them into a folder, over nothing but notebooks of this kind.

    told: the name of each, before it is run.

    Raises:
        UsageError: as `executed`.
    """
    for name, notebook in notebooks(outcomes).items():
        told(name)
        write_whole(Path(folder) / name, text(executed(notebook)), _OURS)


def _needed(module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        remedy = 'Install what makes and runs them: pip install "paritree[notebooks]".'
        raise UsageError("notebooks", f"the module {module}", "none of that name", remedy) from None


def _notebook(title: str, about: str, members: Sequence[Outcome]) -> Any:
    *others, last = (f"{name} {number}" for name, number in pages.versions().items())
    ran = _SOURCES.format(command=COMMAND, versions=f"{', '.join(others)} and {last}")
    head = "\n\n".join((f"# {title}", about, _HOW, _WORDS, ran))
    cells = [_markdown("about", head), _code("setup", _SETUP)]
    for outcome in members:
        name = outcome.behaviour.id
        if name in _STEPS:
            cells.append(_markdown(f"{name.lower()}-step", f"## {_STEPS[name]}"))
        cells += _row(outcome)
    return _needed("nbformat").v4.new_notebook(cells=cells, metadata=_METADATA)


def _row(outcome: Outcome) -> Iterator[Any]:
    """The cells of a row; of an exercise, the question comes first and what answers it last."""
    record = outcome.behaviour
    name = record.id.lower()
    shown = f" *({', '.join(record.sources)})*" if record.sources else ""
    finding = [f"**{markdown.escaped(record.title)}.**{shown}", markdown.escaped(record.statement)]
    if record.question:
        asked = [f"### Exercise {record.id[1:]}", markdown.escaped(record.question), "Predict, then run the cells."]
        yield _markdown(name, "\n\n".join(asked))
    else:
        yield _markdown(name, "\n\n".join((f"### {record.id} · {markdown.escaped(record.title)}{shown}", finding[1])))
    for wing in WINGS:
        yield _code(f"{name}-{wing}", _cell(outcome, wing))
    yield _markdown(f"{name}-facts", "\n\n".join([*(finding if record.question else []), *_findings(outcome)]))
    if record.figures:
        yield _code(f"{name}-figures", _FIGURE.format(id=record.id))
    if rest := list(_remarks(outcome)):
        yield _markdown(f"{name}-notes", "\n\n".join(rest))


def _cell(outcome: Outcome, wing: str) -> str:
    """The function with what it needs, called; PyTorch's numbers are drawn from the seed that the catalogue sets."""
    called = f"in_{wing}()"
    code = outcome.behaviour.script(wing).removesuffix(f"print({called})").rstrip()
    seeded = "torch.manual_seed(0)\n" if wing == "torch" else ""
    return f"# {NAMES[wing]}\n{code}\n\n\n{seeded}{called}"


def _findings(outcome: Outcome) -> Iterator[str]:
    reason = markdown.escaped(outcome.behaviour.reason)
    yield f"Verdict: **{outcome.verdict.words}**. {reason}".rstrip()
    if problems := outcome.problems():
        yield "**This run does not confirm the record:**"
        yield "\n".join(f"- {markdown.escaped(problem)}" for problem in problems)
    yield from pages.facts(outcome)


def _remarks(outcome: Outcome) -> Iterator[str]:
    record = outcome.behaviour
    for heading, texts in (("In the source notebooks:", record.mistakes), ("Notes:", record.notes)):
        if texts:
            yield heading
            yield "\n".join(f"- {markdown.escaped(each)}" for each in texts)


def _markdown(identifier: str, source: str) -> Any:
    return _needed("nbformat").v4.new_markdown_cell(source, id=identifier)


def _code(identifier: str, source: str) -> Any:
    return _needed("nbformat").v4.new_code_cell(source, id=identifier)
