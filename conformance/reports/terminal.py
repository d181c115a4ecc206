"""A report as text, for a terminal or a pipe.

Two layouts: the reference models have a line for each model, device and contract, with the wings side by side; a pair
has a line for each contract and setting, and a paragraph for each of the first failures.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence

from ...common.tables import columns, counted
from ..results import Result, Results
from .units import (
    Unit,
    allowed,
    both_paths,
    causes,
    distinct,
    effects,
    measured,
    number,
    printable,
    severity,
    skipped,
    title,
    units,
)

# Failures that are told in full: of one contract at one setting, and of the whole report.
_SHOWN, _SHOWN_IN_ALL = 3, 24
_PER_CENT = re.compile(r"(?<=\d) (?=%)")
# A path is cut to make the table fit, but not below this.
_LEAST_PATH = 20


def sentence(result: Result) -> str:
    """One failure on one line."""
    precision = "" if result.precision == "float32" else f", {result.precision}"
    return f"{result.model} [{result.wing}, {result.device}{precision}] {result.contract}: {result.message}"


def folded(report: Results) -> list[str]:
    """The failures of a pair, one a line: the first of each contract and how many more."""
    lines: list[str] = []
    for unit in units(report.results):
        failing = unit.of("fail")
        lines += [sentence(result) for result in failing[:_SHOWN]]
        if len(failing) > _SHOWN:
            lines.append(f"... and {_more(unit, failing[_SHOWN:])}")
    return lines


def to_text(report: Results, width: int) -> str:
    """The whole report.

    width: of a line; a path that is longer than that stays whole.
    """
    return _of_pair(report, max(width, 40)) if report.is_of_pair else _of_models(report)


# The reference models


def _of_models(report: Results) -> str:
    lines = columns(_rows(report.results))
    if report.failures:
        lines += ["", *(sentence(result) for result in report.failures)]
    lines += ["", *(f"skipped: {reason}" for reason in skipped(report.results))]
    return "\n".join((*lines, summary(report)))


def _rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """One line for each model, device and contract, the wings that agree on it side by side."""
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.model, result.device, result.contract, result.status), []).append(result)
    lines: list[tuple[str, ...]] = [("model", "device", "contract", "wings", "measured", "allowed", "result")]
    for (model, device, contract, status), members in groups.items():
        wings = " ".join(dict.fromkeys(member.wing for member in members))
        worst = max(members, key=severity)
        lines.append((model, device, contract, wings, number(worst.measured), number(worst.allowed), status))
    return lines


def summary(report: Results) -> str:
    """How many contracts hold, in a line."""
    return _summary_of_pair(report) if report.is_of_pair else _summary_of_models(report)


def _summary_of_models(report: Results) -> str:
    """`279 contracts on 11 models (torch, linen, nnx; cpu): all hold`."""
    checked = [result for result in report.results if result.status != "skip"]
    keys = {(result.model, result.wing, result.device, result.contract) for result in checked}
    failed = {(result.model, result.wing, result.device, result.contract) for result in report.failures}
    if not keys:
        return "nothing was checked"
    models, wings, devices = (distinct(checked, name) for name in ("model", "wing", "device"))
    verdict = "all hold" if report.ok else f"{len(failed)} do not hold"
    checked_on = f"{counted(len(keys), 'contract')} on {counted(len(models), 'model')}"
    return f"{checked_on} ({', '.join(wings)}; {', '.join(devices)}): {verdict}"


# A pair


def _of_pair(report: Results, width: int) -> str:
    found = units(report.results)
    blocks = [
        [printable(title(report.results)), *_overview(found, width)],
        *_failures(found, width),
        _known(found, width),
        _skipped(report, found, width),
        [line for words in (statistics(report), summary(report)) if words for line in _wrapped(words, width)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _overview(found: Sequence[Unit], width: int) -> list[str]:
    """The table of contracts, or, where it does not fit, three lines for each."""
    if not found:
        return []
    shown = _varying(found)
    header = (*("wings" if name == "wing" else name for name in shown), "contract", "paths", "worst path")
    cells = [(*header, "measured", "allowed", "result"), *(_cells(unit, shown) for unit in found)]
    place = len(shown) + 2
    room = width - max(map(len, columns([(*line[:place], "", *line[place + 1 :]) for line in cells])))
    if room < min(_LEAST_PATH, max(len(line[place]) for line in cells)):
        return [line for unit in found for line in _stacked(unit, shown, width)]
    return columns([(*line[:place], _cut(line[place], room), *line[place + 1 :]) for line in cells])


def _varying(found: Sequence[Unit]) -> tuple[str, ...]:
    """The fields that are not the same in all lines; device and precision are named together."""
    names = [name for name in ("model", "wing", "device", "precision") if len(distinct(found, name)) > 1]
    return tuple(names)


def _cells(unit: Unit, shown: Sequence[str]) -> tuple[str, ...]:
    worst = unit.worst
    head = (printable(getattr(unit, name)) for name in shown)
    return (*head, unit.contract, unit.count, printable(unit.worst_path), measured(worst), allowed(worst), unit.status)


def _cut(path: str, room: int) -> str:
    """A path with its middle left out where it is too long: its end says more than its start."""
    if len(path) <= room:
        return path
    tail = (room - 3) * 2 // 3
    return f"{path[: room - 3 - tail]}...{path[len(path) - tail :]}"


def _stacked(unit: Unit, shown: Sequence[str], width: int) -> Iterator[str]:
    *head, contract, count, path, size, limit, status = _cells(unit, shown)
    yield from _wrapped(" ".join((*head, f"{contract}: {status}", f"({count})" if count else "")).rstrip(), width, "  ")
    if path:
        yield f"  worst {path}"
    if size:
        yield from _wrapped(f"measured {size}, allowed {limit}", width, "  ", "  ")


def _failures(found: Sequence[Unit], width: int) -> Iterator[list[str]]:
    """For each contract that does not hold a block with the first of its failures."""
    left, shown = _SHOWN_IN_ALL, _varying(found)
    for unit in found:
        failing = unit.of("fail")
        if not failing:
            continue
        first = failing[: min(_SHOWN, left)]
        left -= len(first)
        held = f"{counted(len(failing), 'failure')}" + (f" in {counted(unit.paths, 'path')}" if unit.paths else "")
        lines = _wrapped(f"{_place(unit, shown)}: {held}", width)
        for result in first:
            lines += _paragraph(result, width)
        if failing[len(first) :]:
            lines += _wrapped(f"... and {_more(unit, failing[len(first) :])}", width, "      ", "  ")
        yield lines


def _place(unit: Unit, shown: Sequence[str]) -> str:
    """`gradients [cuda, bfloat16]`: of the settings those that vary in the report."""
    where = ", ".join(printable(getattr(unit, name)) for name in shown)
    return f"{unit.contract} [{where}]" if where else unit.contract


def _more(unit: Unit, left: Sequence[Result]) -> str:
    return f"{len(left):,} more of {unit.contract}, by cause: {causes(left)}"


def _paragraph(result: Result, width: int) -> list[str]:
    words = result.message or f"{both_paths(result) or 'the whole model'}: the contract does not hold"
    lines = _wrapped(words, width, "  ", "  ")
    for label, value in told(result):
        lines += _wrapped(value, width, " " * 13, f"    {label:<9}")
    return lines


def told(result: Result) -> Iterator[tuple[str, str]]:
    """What is known of a failure besides its message, each with its label."""
    if both_paths(result):
        yield "path", both_paths(result)
    if result.measured is not None:
        yield "measured", measured(result)
    if result.allowed is not None:
        yield "allowed", allowed(result) + (f" ({result.policy})" if result.policy else "")
    if result.cause:
        yield "cause", result.cause
    if result.module:
        yield "module", result.module


def _known(found: Sequence[Unit], width: int) -> list[str]:
    """The declared differences, those with the same words together."""
    lines: list[str] = []
    shown = _varying(found)
    for unit in found:
        alike: dict[str, list[Result]] = {}
        for result in unit.of("known"):
            alike.setdefault(result.message, []).append(result)
        for message, results in list(alike.items())[:_SHOWN]:
            more = f" and {len(results) - 1:,} more" if len(results) > 1 else ""
            path = both_paths(results[0])
            where = f" at {path}{more}" if path else ""
            lines += _wrapped(f"known: {_place(unit, shown)}{where}: {message}", width, "  ")
        left = list(alike.values())[_SHOWN:]
        if left:
            lines.append(f"  ... and {sum(map(len, left)):,} more of {unit.contract}")
    return lines


def _skipped(report: Results, found: Sequence[Unit], width: int) -> list[str]:
    """Each reason with the contracts that it keeps from being checked; an absent device says its own name."""
    lines: list[str] = []
    shown = [name for name in _varying(found) if name != "wing"]
    for reason, results in skipped(report.results).items():
        places: dict[str, list[str]] = {}
        for result in results:
            where = ", ".join(getattr(result, name) for name in shown)
            if result.contract and result.contract not in places.setdefault(where, []):
                places[where].append(result.contract)
        named = [f"{', '.join(names)} [{where}]" if where else ", ".join(names) for where, names in places.items()]
        lines += _wrapped(": ".join(filter(None, ("skipped", "; ".join(named), reason))), width, "  ")
    return lines


def statistics(report: Results) -> str:
    """The rate of false alarms, among how many parameters, and the smallest effects; empty without such a contract."""
    judged = [
        result for result in report.results if result.contract == "initialization" and result.measured is not None
    ]
    if not judged:
        return ""
    parts = [f"{counted(len(judged), 'parameter')} judged"]
    if "tests" in report.facts:
        parts[0] += f" by {counted(int(report.facts['tests']), 'test')}"
    if "alpha" in report.facts:
        parts.append(f"{float(report.facts['alpha']):.2g} is the chance of a false alarm among all together")
    stated = effects(judged)
    if stated:
        several = len(stated) > 1
        listed = [f"{words} ({count:,})" if several else words for words, count in stated[:_SHOWN]]
        rest = f" and {len(stated) - _SHOWN:,} others" if len(stated) > _SHOWN else ""
        parts.append(f"the smallest effect that would have been caught: {', '.join(listed)}{rest}")
    return f"initialization: {'; '.join(parts)}"


def _summary_of_pair(report: Results) -> str:
    """`12 contracts of pair (torch -> nnx; cpu; float32): 2 do not hold, 9 hold, 1 differs as declared; 1 skipped`."""
    found = units(report.results)
    counts = {status: sum(unit.status == status for unit in found) for status in ("fail", "known", "pass", "skip")}
    checked = [unit for unit in found if unit.status != "skip"]
    known = sum(result.status == "known" for result in report.results)
    left = f"; {counted(known, 'known difference')}" if known else ""
    left += f"; {counts['skip']:,} skipped" if counts["skip"] else ""
    if not checked:
        return f"nothing was checked{left}"
    names = (", ".join(distinct(checked, name)) for name in ("wing", "device", "precision"))
    head = f"{counted(len(checked), 'contract')} of {', '.join(distinct(checked, 'model'))} ({'; '.join(names)})"
    return printable(f"{head}: {', '.join(_verdicts(counts))}{left}")


def _verdicts(counts: dict[str, int]) -> Iterator[str]:
    fail, held, known = (counts[status] for status in ("fail", "pass", "known"))
    if fail:
        yield f"{fail:,} {'does' if fail == 1 else 'do'} not hold"
    if held:
        hold = f"{held:,} {'holds' if held == 1 else 'hold'}"
        yield hold if fail or known else "all hold"
    if known:
        yield f"{known:,} {'differs' if known == 1 else 'differ'} as declared"


def _wrapped(words: str, width: int, rest: str = "", first: str = "") -> list[str]:
    """Lines of whole words. A number, a path or anything else without a blank is never torn, nor `10 %`.

    first, rest: what the first line begins with, and the others.
    """
    lines: list[str] = []
    for line in _PER_CENT.sub("\xa0", printable(words)).split("\n"):
        lines += textwrap.wrap(
            line.strip(),
            width,
            initial_indent=rest if lines else first,
            subsequent_indent=rest,
            break_long_words=False,
            break_on_hyphens=False,
        )
    return [line.replace("\xa0", " ") for line in lines]
