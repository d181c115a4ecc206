"""A report as one page of HTML, which loads nothing: style and drawings are in it, and it has no script.

What stands in the page is said here, section by section, in texts, numbers and tables; how it is written is said by
the template `report.html`. The page is XML too, so that it can be read by a strict parser.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...common.markup import environment
from ...common.tables import counted
from ..consequences import Fault, faults, first_sentence, headline, place_of
from ..known import as_code, proposed
from ..results import TENSORS, WHY, Result, Results
from .drawings import ROLES, errors, histogram, shares, side
from .model_tree import model_tree
from .units import (
    UnitResults,
    allowed,
    both_paths,
    grouped,
    measured,
    number,
    setting,
    skipped,
    units,
    varying,
)
from .words import causes, effects, statistics, summary, title, told, told_of

# Failures of a contract and histograms that are written out; more are counted.
_FAILURES, _HISTOGRAMS = 6, 60
_SETTINGS = {
    "float32": "strict: no TF32, matrix products of full precision on both sides",
    "tf32": "float32, with matrix products in TF32",
    "bfloat16": "all arrays in bfloat16",
    "float64": "all arrays in float64",
}
_TILES = {"pass": "hold", "fail": "fail", "skip": "skipped", "known": "known differences"}


@dataclass(frozen=True)
class PageTable:
    """Rows, each headed by its first cell. From a column's heading the template knows how to write its cells.

    words: what is said above the table, or in its place where it is folded.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[object]]
    words: str = ""


def to_html(report: Results) -> str:
    """The whole page, as UTF-8 text.

    report: of a pair or of reference models, with or without results, and whatever stands in its texts.
    """
    return environment(Path(__file__).parent).get_template("report.html").render(_page(report))


def _page(report: Results) -> dict[str, Any]:
    found = units(report.results)
    counts = Counter(unit.status for unit in found)
    counts["known"] = sum(result.status == "known" for result in report.results)
    # A section is an anchor, a heading, and what stands below: a table, or what the template writes by the anchor.
    blocks = _failures(report, found)
    sections = (
        ("causes", "What is wrong", _causes(blocks)),
        ("model", "Where in the model", model_tree(report)),
        ("failures", "Each failure", blocks),
        ("contracts", "Contracts", _contracts(found)),
        ("known", "Known differences", _known(found)),
        ("frameworks", "What the frameworks differ in", _proposed(report.results)),
        ("skipped", "Skipped", _skipped(report.results)),
        ("initialization", "Initial distributions", _initialization(found)),
        ("gradients", "Gradient errors", _gradients(found)),
        ("tied", "Tied gradients", _tied(report.results)),
        ("statistics", "Statistics", _statistics(report)),
        ("environment", "Environment", _environment(report, found)),
    )
    return {
        "name": title(report.results) if report.results else "nothing",
        "verdict": "pass" if report.ok else "fail",
        "failures": len(report.failures),
        "summary": summary(report),
        "tiles": [(status, label, counts[status]) for status, label in _TILES.items()],
        "sections": [section for section in sections if section[2]],
        "version": report.environment.get("paritree", ""),
    }


# What holds, what does not, and what was not looked at


def _contracts(found: Sequence[UnitResults]) -> PageTable | None:
    names = varying(found)
    header = ("contract", *names, "result", "paths", "worst path", "measured", "allowed")
    rows = [(unit.contract, *setting(unit, names), unit.status, *unit.cells) for unit in found]
    caption = "Each contract, with the path whose error is the largest compared with what is allowed."
    return PageTable(caption, header, rows) if rows else None


def _failures(report: Results, found: Sequence[UnitResults]) -> list[dict[str, Any]]:
    """For each contract that does not hold by itself the first failures in full with what follows from each, the others
    as a table."""
    names, blocks = varying(found), []
    roots = {id(fault.result): fault for fault in faults(report.results)}
    number = itertools.count(1)
    for unit in found:
        own = sorted(
            (roots[id(each)] for each in unit.results if id(each) in roots), key=lambda each: not each.followers
        )
        if own:
            first, others = own[:_FAILURES], own[_FAILURES:]
            left = [fault.result for fault in others]
            left += [each for fault in others for each in fault.followers]
            words = f"{len(left):,} more, by cause: {causes(left)}"
            block = {
                "heading": f"{_place(unit, names)}: {counted(len(own), 'failure')}",
                "first": [_article(fault, next(number)) for fault in first],
                "others": PageTable("The other failures", _FAILING, list(map(_row, left)), words),
            }
            blocks.append(block)
    return blocks


_FAILING = ("path", "message", "cause")


def _row(result: Result) -> tuple[str, str, str]:
    return both_paths(result), result.message, result.cause


def _article(fault: Fault, number: int) -> dict[str, Any]:
    result = fault.result
    return {
        "anchor": f"failure-{number}",
        "contract": result.contract,
        "headline": headline(result) if WHY in result.details else place_of(result) or first_sentence(result.message),
        "path": both_paths(result),
        "message": result.message or "the contract does not hold",
        "told": told(result),
        "follow": _follow(fault),
    }


def _causes(blocks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The failures that are told, those first that others follow from, to lead to them."""
    return sorted((each for block in blocks for each in block["first"]), key=lambda each: not each["follow"].rows)


def _follow(fault: Fault) -> PageTable:
    """What follows from a failure."""
    rows = [(each.contract, *_row(each)) for each in fault.followers]
    words = (
        f"{counted(len(rows), 'failure')} that only follow{'s' if len(rows) == 1 else ''}: {'; '.join(told_of(fault))}"
    )
    return PageTable("What follows", ("contract", *_FAILING), rows, words)


def _place(unit: UnitResults, names: Sequence[str]) -> str:
    return ", ".join((unit.contract, *setting(unit, names)))


def _known(found: Sequence[UnitResults]) -> PageTable | None:
    """A row for each contract and reason, with all its paths."""
    known = [unit for unit in found if unit.known]
    names, rows = varying(known), []
    for unit in known:
        for message, members in unit.known.items():
            rows.append((_place(unit, names), [both_paths(each) for each in members], message))
    header = ("contract", "path", "what differs, and why")
    return PageTable("Failures that were declared, with the reasons.", header, rows) if rows else None


def _proposed(results: Sequence[Result]) -> PageTable | None:
    rows = [(each.contract, each.path, as_code(each)) for each in proposed(results)]
    caption = (
        "Failures that come from the frameworks themselves, and what to write in known_differences to accept them."
    )
    return PageTable(caption, ("contract", "path", "known difference"), rows) if rows else None


def _skipped(results: Sequence[Result]) -> PageTable | None:
    rows = []
    for reason, members in skipped(results).items():
        names = dict.fromkeys(each.contract or "all contracts" for each in members)
        places = dict.fromkeys(f"{each.device} {each.precision}" for each in members)
        rows.append((", ".join(names), ", ".join(places), reason))
    return PageTable("What was not checked, and why.", ("contract", "setting", "reason"), rows) if rows else None


# Initial distributions


def _initialization(found: Sequence[UnitResults]) -> dict[str, Any]:
    """The failures first; those that are alike share a drawing, and all are in the table."""
    results = (result for unit in found if unit.contract == "initialization" for result in unit.results)
    order = ("fail", "known", "pass", "skip")
    judged = sorted((result for result in results if result.details), key=lambda result: order.index(result.status))
    if not judged:
        return {}
    groups = grouped(judged, _likeness).values()
    shown = [group for group in groups if group[0].status == "fail" or histogram(group[0])][:_HISTOGRAMS]
    left = len(judged) - sum(map(len, shown))
    return {"cards": [_card(group) for group in shown], "left": left, "all": _drawn(judged)}


def _likeness(result: Result) -> tuple[str, ...]:
    """What results of one drawing have in common: schemes, and standard deviations to two digits, where known."""
    sides = [side(result.details, name, role) for name in ("schemes", "std") for role in ROLES]
    paths = (result.path, result.port_path) if None in sides else ()
    numbers = (number(each) if isinstance(each, int | float) else str(each) for each in sides)
    return (result.status, result.device, result.model, *numbers, *paths)


def _card(group: Sequence[Result]) -> dict[str, Any]:
    result = group[0]
    return {
        "drawing": histogram(result),
        "status": result.status,
        "path": result.path or result.port_path,
        "others": f" and {len(group) - 1:,} alike" if len(group) > 1 else "",
        "sides": [(role, words) for role in ROLES if (words := _side_words(result, role))],
        "numbers": "" if result.measured is None else f"{measured(result)}, allowed {allowed(result)}",
    }


def _side_words(result: Result, role: str) -> str:
    scheme, std = side(result.details, "schemes", role), side(result.details, "std", role)
    words = [str(scheme)] if scheme else []
    return ", ".join(words + ([f"measured std {std:.3g}"] if isinstance(std, int | float) else []))


def _drawn(judged: Sequence[Result]) -> PageTable:
    header = ("parameter", "result", "reference", "port", "p", "level", "test", "values", "would have found")
    rows = []
    for result in judged:
        size = result.details.get("n")
        test, caught = (result.details.get(name) or "" for name in ("test", "smallest"))
        sides = (_side_words(result, role) for role in ROLES)
        numbers = (number(result.measured), number(result.allowed), test, f"{size:,}" if isinstance(size, int) else "")
        rows.append((both_paths(result), result.status, *sides, *numbers, caught))
    return PageTable("Initial distributions", header, rows, f"All {len(rows):,} in a table")


# Gradients


def _gradients(found: Sequence[UnitResults]) -> list[dict[str, Any]]:
    """A chart for each setting, with its numbers."""
    every = [unit for unit in found if unit.contract == "gradients"]
    header = ("parameter", "result", "error", "allowed", "why that much")
    names, charts = varying(every), []
    for unit in every:
        results, name = unit.results, _place(unit, names)
        drawing = errors(results, name)
        if drawing and len(results) > 1:
            rows = [(both_paths(each), each.status, measured(each), allowed(each), each.policy) for each in results]
            table = PageTable(name, header, rows, f"All {len(rows):,} in a table")
            charts.append({"drawing": drawing, "all": table})
    return charts


def _tied(results: Sequence[Result]) -> PageTable | None:
    tied = [result for result in results if isinstance(result.details.get("sites"), Mapping)]
    names, rows = varying(tied), []
    for result in tied:
        sites = {str(name): share for name, share in result.details["sites"].items() if isinstance(share, int | float)}
        where = ", ".join((both_paths(result), *setting(result, names)))
        listed = ", ".join(f"{name} {share:.0%}" for name, share in sites.items())
        rows.append((where, result.status, shares(sites, both_paths(result)) or "", listed))
    words = (
        "A parameter that is used at several sites has the sum of their gradients. The share of a site is the norm of "
        "its gradient, divided by the norm of the sum. Where gradients point in different directions, the shares add "
        "up to more than 100 %."
    )
    header = ("parameter", "result", "shares", "site (operation), share")
    return PageTable("Shares of the sites", header, rows, words) if rows else None


# Numbers behind it


def _statistics(report: Results) -> PageTable | None:
    words = statistics(report)
    rows = [(effect, f"{count:,}") for effect, count in effects(report.results)]
    caption, header = (
        "The smallest differences that the tests of initial values would have found.",
        ("smallest difference", "parameters"),
    )
    return PageTable(caption, header, rows, f"{words}.") if words else None


def _environment(report: Results, found: Sequence[UnitResults]) -> PageTable:
    rows = list(report.environment.items())
    if found:
        rows.append(("devices", ", ".join(dict.fromkeys(unit.device for unit in found))))
    rows += [(precision, _SETTINGS.get(precision, "")) for precision in dict.fromkeys(unit.precision for unit in found)]
    rows += [(name, _fact(value)) for name, value in report.facts.items() if name != TENSORS]
    return PageTable("Versions, devices and settings.", ("what", "which"), rows)


def _fact(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, default=str) if isinstance(value, Mapping | list | tuple) else str(value)
