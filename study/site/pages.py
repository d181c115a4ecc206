"""The pages of the site's study: the front page with every row, and one page for each section.

They are made from the outcomes of a run: the code that they show is the code that ran.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from .. import markdown
from ..catalogue import IDS, SECTIONS
from ..pages import versions
from ..record import Outcome, Verdict
from . import results
from .rows import prose, row

# folder of the rows: (the page's title, what it is about)
PAGES = {
    "access": (
        "Access: where the parameters are, and what one is",
        "A PyTorch model holds its parameters. A Flax Linen model is a definition, and its parameters are a "
        "separate tree of arrays. A Flax NNX model holds them again, each in a box. Most of what follows comes from "
        "these three choices.",
    ),
    "naming": (
        "Nested naming: what a parameter is called",
        "A model is a tree of modules, and a parameter's name is the way to it. The three frameworks spell that way "
        "differently, and allow different names.",
    ),
    "initialization": (
        "Initialization: what the first values are drawn from",
        "The same words mean different distributions, and the same distribution never gives the same numbers. What "
        "can be compared is the law of the draws.",
    ),
    "setting": (
        "Setting values, and what counts as a parameter",
        "How a value is written into a parameter, and which arrays of a model are parameters at all.",
    ),
    "laziness": (
        "Laziness: when the shapes are known",
        "A lazy layer takes the width of its input from the first input that it sees. PyTorch has such layers "
        "beside the ordinary ones, every layer of Linen is one, and NNX has none.",
    ),
    "tying": (
        "Tying: one parameter in two places",
        "A tie is one parameter that a model uses in several places (its sites). In PyTorch and NNX it is one "
        "object under two names; in Linen it is one name that two layers look up. The gradient of a tied parameter "
        "is the sum over its sites, where nothing loses the tie on the way.",
    ),
    "exercises": (
        "Questions and exercises",
        "Read the question and the code, predict what each framework prints, and then reveal it.",
    ),
}
_SCALE = {
    Verdict.SAME: "the three results are equal",
    Verdict.RELABELLED: "they are equal after names and the order of axes are put into PyTorch's form: the kernel "
    "`layers_0.kernel` of shape (4, 8) is the weight `0.weight` of shape (8, 4)",
    Verdict.MUST_DIFFER: "they are not equal, and the page says why they cannot be",
    Verdict.ABSENT: "one of the frameworks has no such thing, and the page says why",
}
_WRITTEN = (
    "Nothing here is written from memory: when this site was built, every piece of code was run with {versions}, on "
    "the CPU, and the results are what it returned."
)


def pages(outcomes: Sequence[Outcome]) -> dict[str, str]:
    """The text of each page by its file's name: `index.md`, and one for each folder of rows (`tying.md`)."""
    by_id = {outcome.behaviour.id: outcome for outcome in outcomes}
    ordered = [by_id[name] for name in IDS if name in by_id]
    found = {"index.md": _front(ordered)}
    for folder, (title, about) in PAGES.items():
        if members := [each for each in ordered if SECTIONS[each.behaviour.id[0]][1] == folder]:
            found[f"{folder}.md"] = _page(title, about, members)
    return found


def write(folder: Path, outcomes: Sequence[Outcome]) -> None:
    """Write the pages into a folder, which is made; a page that would not change is left as it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages(outcomes).items():
        file = folder / name
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")


def _page(title: str, about: str, members: Sequence[Outcome]) -> str:
    letters = dict.fromkeys(each.behaviour.id[0] for each in members)
    blocks = [f"# {title}", markdown.paragraph(about)]
    for letter in letters:
        if len(letters) > 1:
            blocks.append(f"## {SECTIONS[letter][0]}")
        level = 2 if len(letters) == 1 else 3
        for each in members:
            if each.behaviour.id[0] == letter:
                blocks += row(each, level)
    return _joined(blocks)


def _front(ordered: Sequence[Outcome]) -> str:
    counts = Counter(outcome.verdict for outcome in ordered)
    scale = [f"- {results.mark(verdict)} {meaning}. {counts[verdict]} rows." for verdict, meaning in _SCALE.items()]
    *others, last = (f"{name} {number}" for name, number in versions().items())
    return _joined(
        [
            "# Study: PyTorch, Flax Linen and Flax NNX side by side",
            markdown.paragraph(
                f"{len(ordered)} behaviours of parameters: how each framework reaches, names, initializes, sets and "
                "ties them. Each is shown by three short functions, one for each framework, and by what they "
                "returned."
            ),
            markdown.paragraph(_WRITTEN.format(versions=f"{', '.join(others)} and {last}")),
            "## How to read a page",
            markdown.paragraph(
                "Choose your framework in one tab, and all tabs of the site follow and remember it. The code can be "
                "pasted and run as it is. Below it stand the results of all three; a result that is the same in all "
                "three stands once. Numbers are shown, and compared, with four significant digits. A mark says how "
                "far apart the frameworks are:"
            ),
            "\n".join(scale),
            markdown.paragraph(
                "Two words in the code are ours. `raised(action)` runs the action and returns the exception that it "
                "raises, where an error is the result. `Absent(reason)` stands where a framework has no such thing."
            ),
            markdown.paragraph(
                "The behaviours are those of five notebooks on PyTorch's parameter management, S0 to S4, that this "
                "study grew from. A row says which of them show it, and what they get wrong. For one row in the "
                "terminal, run at once: `paritree study W6`."
            ),
            "## All rows",
            _overview(ordered),
        ]
    )


def _overview(ordered: Sequence[Outcome]) -> str:
    lines = [
        (f"[{record.id}](#{record.id.lower()})", prose(record.question or record.title), results.mark(outcome.verdict))
        for outcome in ordered
        for record in [outcome.behaviour]
    ]
    return markdown.table(("row", "what it is about", "verdict"), lines)


def _joined(blocks: Sequence[str]) -> str:
    return "\n\n".join(blocks) + "\n"
