"""A report as text, for a terminal or a pipe.

Two layouts: the reference models have a line for each model, device and contract, with the wings side by side; a pair
begins with what is wrong, a paragraph for each of the first failures with what follows from it, and then has a line for
each contract and setting.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Sequence
from itertools import chain, repeat

from ...common.tables import columns, counted
from ...common.text import one_line, printable
from ..consequences import Fault, faults, first_sentence, place_of
from ..known import as_code, proposed
from ..results import Result, Results
from .units import UnitResults, both_paths, grouped, number, setting, severity, skipped, units, varying
from .words import causes, notes, sentence, statistics, summary, title, told, told_of

# Failures that are told in full: of one contract at one setting, and of the whole report.
_SHOWN, _SHOWN_IN_ALL = 3, 24
_PER_CENT = re.compile(r"(?<=\d) (?=%)")
# A path is cut to make the table fit, but not below this.
_LEAST_PATH = 20


def folded(report: Results) -> list[str]:
    """The failures of a pair, one a line: the first of each contract with what follows from it, and how many more."""
    lines: list[str] = []
    for unit, found in _by_unit(report):
        for fault in found[:_SHOWN]:
            lines += [sentence(fault.result), *(f"  what follows: {words}" for words in told_of(fault))]
        if found[_SHOWN:]:
            lines.append(_more(unit, found[_SHOWN:]))
    return lines


def _by_unit(report: Results) -> list[tuple[UnitResults, list[Fault]]]:
    """The failures that follow from no other one by contract and setting, those that others follow from first."""
    roots = {id(fault.result): fault for fault in faults(report.results)}
    found = []
    for unit in units(report.results):
        own = [roots[id(each)] for each in unit.results if id(each) in roots]
        if own:
            found.append((unit, sorted(own, key=lambda fault: not fault.followers)))
    return found


def to_text(report: Results, width: int) -> str:
    """The whole report.

    width: of a line, 40 at least; what cannot be broken and is longer stays whole. Reference models have a table that
        is as wide as it is.
    """
    return _of_pair(report, max(width, 40)) if report.is_of_pair else _of_models(report)


# The reference models


def _of_models(report: Results) -> str:
    lines = columns(list(_rows(report.results)))
    if report.failures:
        lines += ["", *(sentence(result) for result in report.failures)]
    lines += ["", *(f"skipped: {reason}" for reason in skipped(report.results))]
    return printable("\n".join((*lines, summary(report))))


def _rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    """One line for each model, device and contract, the wings that agree on it side by side."""
    yield "model", "device", "contract", "wings", "measured", "allowed", "result"
    groups = grouped(results, lambda result: (result.model, result.device, result.contract, result.status))
    for (model, device, contract, status), members in groups.items():
        wings = " ".join(dict.fromkeys(member.wing for member in members))
        worst = max(members, key=severity)
        yield model, device, contract, wings, number(worst.measured), number(worst.allowed), status


# A pair


def _of_pair(report: Results, width: int) -> str:
    found = units(report.results)
    shown = varying(found)
    blocks = [
        [*_title(report, width), *_places(report, shown, width)],
        *_failures(report, shown, width),
        _overview(found, shown, width),
        [line for unit in found for line in _known(unit, shown, width)],
        _proposed(report, width),
        list(_skipped(report, shown, width)),
        [line for words in notes(report) for line in _wrapped(words, width)],
        [line for words in (statistics(report), summary(report)) if words for line in _wrapped(words, width)],
    ]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _title(report: Results, width: int) -> list[str]:
    """The pair, and how many of its failures are no more than consequences."""
    following = sum(bool(each.follows_from) for each in report.failures)
    failing, follow = counted(len(report.failures), "failure"), "follows" if following == 1 else "follow"
    words = f"{title(report.results)}: {failing}, of which {following:,} only {follow} from another one"
    return _wrapped(words, width) if following else [printable(title(report.results))]


def _places(report: Results, shown: Sequence[str], width: int) -> Iterator[str]:
    """Each cause with its place in a line, the first of each contract."""
    for unit, found in _by_unit(report):
        for fault in found[:_SHOWN]:
            words = place_of(fault.result) or first_sentence(fault.result.message)
            yield from _wrapped(f"{_name(unit.contract, setting(unit, shown))}: {words}", width, "    ", "  ")


def _overview(found: Sequence[UnitResults], shown: Sequence[str], width: int) -> list[str]:
    """The table of contracts, or, where it does not fit, three lines for each."""
    if not found:
        return []
    header = (*("wings" if name == "wing" else name for name in shown), "contract", "paths", "worst path")
    lines = [(*header, "measured", "allowed", "result"), *(_cells(unit, shown) for unit in found)]
    path = len(shown) + 2
    room = width - max(map(len, columns([(*line[:path], "", *line[path + 1 :]) for line in lines])))
    if room < min(_LEAST_PATH, max(len(line[path]) for line in lines)):
        return [line for unit in found for line in _stacked(unit, shown, width)]
    return columns([(*line[:path], _cut(line[path], room), *line[path + 1 :]) for line in lines])


def _cells(unit: UnitResults, shown: Sequence[str]) -> tuple[str, ...]:
    return tuple(map(one_line, (*setting(unit, shown), unit.contract, *unit.cells, unit.status)))


def _cut(path: str, room: int) -> str:
    """A path with its middle left out where it is too long: its end says more than its start."""
    if len(path) <= room:
        return path
    tail = (room - 3) * 2 // 3
    return f"{path[: room - 3 - tail]}...{path[len(path) - tail :]}"


def _stacked(unit: UnitResults, shown: Sequence[str], width: int) -> Iterator[str]:
    *head, contract, count, path, size, limit, status = _cells(unit, shown)
    yield from _wrapped(" ".join((*head, f"{contract}: {status}", f"({count})" if count else "")).rstrip(), width, "  ")
    if path:
        yield f"  worst {path}"
    if size:
        yield from _wrapped(f"measured {size}, allowed {limit}", width, "  ", "  ")


def _failures(report: Results, shown: Sequence[str], width: int) -> Iterator[list[str]]:
    """For each contract that does not hold by itself a block with the first of its failures, and what follows."""
    left = _SHOWN_IN_ALL
    for unit, found in _by_unit(report):
        first = found[: min(_SHOWN, left)]
        left -= len(first)
        lines = _wrapped(f"{_name(unit.contract, setting(unit, shown))}: {_held(unit, found)}", width)
        for fault in first:
            lines += _paragraph(fault, width)
        if found[len(first) :]:
            lines += _wrapped(_more(unit, found[len(first) :]), width, "      ", "  ")
        yield lines


def _held(unit: UnitResults, found: Sequence[Fault]) -> str:
    """How many failures there are, and how many of the contract only follow from another one."""
    own = sum(fault.result.status == "fail" for fault in found)
    others = len(unit.of("fail")) - own
    words = counted(own, "failure") if own else "differs as declared"
    words += f" in {counted(unit.paths, 'path')}" if unit.paths else ""
    return words + (f", and {others:,} that only follow{'s' if others == 1 else ''} from another one" if others else "")


def _name(contracts: str, where: Sequence[str]) -> str:
    """`gradients [cuda, bfloat16]`."""
    named = ", ".join(where)
    return f"{contracts} [{named}]" if named else contracts


def _more(unit: UnitResults, left: Sequence[Fault]) -> str:
    following = sum(len(fault.followers) for fault in left)
    more = f"; {counted(following, 'failure')} more follow{'s' if following == 1 else ''} from these"
    by_cause = causes(fault.result for fault in left)
    return f"... and {len(left):,} more of {unit.contract}, by cause: {by_cause}{more if following else ''}"


def _paragraph(fault: Fault, width: int) -> list[str]:
    result = fault.result
    words = result.message or f"{both_paths(result) or 'the whole model'}: the contract does not hold"
    lines = _wrapped(words, width, "  ", "  ")
    for label, value in told(result):
        lines += _wrapped(value, width, " " * 13, f"    {label:<9}")
    for label, words in zip(chain(["follow"], repeat("")), told_of(fault), strict=False):
        lines += _wrapped(words, width, " " * 15, f"    {label:<9}")
    return lines


def _known(unit: UnitResults, shown: Sequence[str], width: int) -> Iterator[str]:
    """The declared differences, those with the same words together."""
    groups = list(unit.known.items())
    for message, results in groups[:_SHOWN]:
        more = f" and {len(results) - 1:,} more" if len(results) > 1 else ""
        path = both_paths(results[0])
        where = f" at {path}{more}" if path else ""
        yield from _wrapped(f"known: {_name(unit.contract, setting(unit, shown))}{where}: {message}", width, "  ")
    if groups[_SHOWN:]:
        yield f"  ... and {sum(len(results) for _, results in groups[_SHOWN:]):,} more of {unit.contract}"


def _proposed(report: Results, width: int) -> list[str]:
    """What to write to accept the failures that the frameworks themselves make; never broken, as it is to be copied."""
    found = proposed(report.results)
    if not found:
        return []
    words = "These differences come from the frameworks themselves. To accept them, pass them as known_differences:"
    return [*_wrapped(words, width), *(f"  {printable(as_code(each))}" for each in found)]


def _skipped(report: Results, shown: Sequence[str], width: int) -> Iterator[str]:
    """Each reason with the contracts that it keeps from being checked; an absent device says its own name."""
    shown = [name for name in shown if name != "wing"]
    for reason, results in skipped(report.results).items():
        places = grouped((result for result in results if result.contract), lambda result: setting(result, shown))
        named = [
            _name(", ".join(dict.fromkeys(result.contract for result in members)), where)
            for where, members in places.items()
        ]
        yield from _wrapped(": ".join(filter(None, ("skipped", "; ".join(named), reason))), width, "  ")


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
