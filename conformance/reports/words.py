"""What the forms of a report say in the same words: of a failure, of several results, and of the whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from ...common.tables import counted
from ...common.text import printable
from ..consequences import Fault, first_sentence
from ..results import Result, Results
from .units import SETTING, UnitResults, allowed, both_paths, distinct, measured, setting, units

# Smallest effects that the sentence on statistics names; the page has them all.
_EFFECTS = 3


def told(result: Result) -> list[tuple[str, str]]:
    """What is known of a failure besides its message, each with its label."""
    limit = allowed(result)
    lines = {
        "path": both_paths(result),
        "measured": measured(result),
        "allowed": f"{limit} ({result.policy})" if limit and result.policy else limit,
        "cause": result.cause,
        "module": result.module,
        "follows": f"from {result.follows_from}" if result.follows_from else "",
    }
    return [(label, value) for label, value in lines.items() if value]


def sentence(result: Result) -> str:
    """One failure on one line."""
    precision = "" if result.precision == "float32" else f", {result.precision}"
    return f"{result.model} [{result.wing}, {result.device}{precision}] {result.contract}: {result.message}"


def told_of(fault: Fault) -> list[str]:
    """What follows from a failure: a line for each contract and setting, with the worst of it."""
    here = setting(fault.result, SETTING)
    return [_told_as_one(unit, setting(unit, SETTING) == here) for unit in units(fault.followers)]


def _told_as_one(unit: UnitResults, is_here: bool) -> str:
    name = unit.contract if is_here else f"{unit.contract} [{unit.device}, {unit.precision}]"
    failing, worst = unit.results, unit.worst
    if len(failing) == 1:
        return f"{name}: {first_sentence(worst.message) or both_paths(worst)}"
    size = f", by {measured(worst)}" if measured(worst) else ""
    return f"{name}: {counted(len(failing), 'failure')}, the worst at {both_paths(worst) or 'the whole'}{size}"


def title(results: Sequence[Result]) -> str:
    """`pair [torch -> nnx]`; the names alone where several models are in the report."""
    checked = [result for result in results if result.contract] or list(results)
    models, wings = (distinct(checked, name) for name in ("model", "wing"))
    if len(models) > 3:
        return f"{len(models)} models"
    return f"{', '.join(models)} [{wings[0]}]" if len(wings) == 1 and wings[0] else ", ".join(models)


def causes(results: Iterable[Result]) -> str:
    """`transposed 900, unknown 85`: how many failures have which cause, the commonest first."""
    counts = Counter(result.cause or "unknown" for result in results)
    return ", ".join(f"{cause} {count:,}" for cause, count in counts.most_common())


def effects(results: Iterable[Result]) -> list[tuple[str, int]]:
    """The smallest effects that the tests of initial values would have caught, each with the number of parameters."""
    stated = (result.details.get("smallest") for result in _judged(results))
    return Counter(str(words) for words in stated if words).most_common()


def _judged(results: Iterable[Result]) -> list[Result]:
    return [each for each in results if each.contract == "initialization" and each.measured is not None]


def statistics(report: Results) -> str:
    """The rate of false alarms, among how many parameters, and the smallest effects; empty without such a contract."""
    judged = _judged(report.results)
    if not judged:
        return ""
    parts = [f"{counted(len(judged), 'parameter')} tested"]
    if "tests" in report.facts:
        parts[0] += f" by {counted(int(report.facts['tests']), 'test')}"
    if "alpha" in report.facts:
        parts.append(f"for a right port the chance that any of them fails is {float(report.facts['alpha']):.2g}")
    stated = effects(judged)
    if stated:
        several = len(stated) > 1
        listed = [f"{words} ({count:,})" if several else words for words, count in stated[:_EFFECTS]]
        rest = f" and {len(stated) - _EFFECTS:,} others" if len(stated) > _EFFECTS else ""
        parts.append(f"the smallest difference that would have been found: {', '.join(listed)}{rest}")
    return f"initialization: {'; '.join(parts)}"


def notes(report: Results) -> list[str]:
    """What is to be known of how the sides were run, each in a line."""
    return [f"note: {text}" for text in report.facts.get("notes", ())]


def summary(report: Results) -> str:
    """How many contracts hold, in a line.

    Of models `411 contracts on 11 models (torch, linen, nnx; cpu): all hold`, of a pair `12 contracts of pair (torch ->
    nnx; cpu; float32): 2 do not hold, 9 hold, 1 differs as declared; 1 skipped`.
    """
    found = units(report.results)
    counts = Counter(unit.status for unit in found)
    checked = [unit for unit in found if unit.status != "skip"]
    contracts, models = counted(len(checked), "contract"), distinct(checked, "model")
    wings, devices, precisions = (", ".join(distinct(checked, name)) for name in ("wing", "device", "precision"))
    if not report.is_of_pair:
        verdict = "all hold" if report.ok else f"{counts['fail']} do not hold"
        checked_on = f"{contracts} on {counted(len(models), 'model')} ({wings}; {devices})"
        return printable(f"{checked_on}: {verdict}") if checked else "nothing was checked"
    known = sum(result.status == "known" for result in report.results)
    left = f"; {counted(known, 'known difference')}" if known else ""
    left += f"; {counts['skip']:,} skipped" if counts["skip"] else ""
    verdict = ", ".join(_verdicts(counts["fail"], counts["pass"], counts["known"]))
    checked_on = f"{contracts} of {', '.join(models)} ({wings}; {devices}; {precisions})"
    return printable(f"{checked_on}: {verdict}{left}") if checked else f"nothing was checked{left}"


def _verdicts(fail: int, held: int, known: int) -> Iterator[str]:
    if fail:
        yield f"{fail:,} {'does' if fail == 1 else 'do'} not hold"
    if held:
        hold = f"{held:,} {'holds' if held == 1 else 'hold'}"
        yield hold if fail or known else "all hold"
    if known:
        yield f"{known:,} {'differs' if known == 1 else 'differ'} as declared"
