"""A report in a notebook: the verdict, the causes with what follows from each folded, and a line for each contract."""

from __future__ import annotations

from collections.abc import Sequence

from ...common.markup import Fold, Mark, Part, Prose, Sheet, of_object
from ...common.tables import counted
from ..consequences import Fault, faults, headline
from ..results import Result, Results
from .units import UnitResults, both_paths, setting, skipped, units, varying
from .words import notes, summary, title, told_of

# Causes that are told; more are counted.
_CAUSES = 12
_VERBS = {"pass": "holds", "fail": "fails", "known": "known", "skip": "skipped"}


def to_notebook(report: Results) -> str:
    """What a report shows of itself in a notebook; `to_html` is the whole page."""
    found = units(report.results)
    parts: list[Part] = [Prose(f"{summary(report)}.")]
    roots = sorted(faults(report.results), key=lambda fault: not fault.followers)
    for fault in roots[:_CAUSES]:
        parts += _cause(fault)
    if roots[_CAUSES:]:
        parts.append(Prose(f"and {len(roots) - _CAUSES:,} more, which `print` and `to_html()` tell"))
    if found:
        parts.append(_contracts(found))
    parts += [Prose(words) for words in notes(report)]
    reasons = skipped(report.results)
    if reasons:
        listed = [Prose(f"{_contracts_of(members)}: {reason}") for reason, members in reasons.items()]
        parts.append(Fold(f"Not checked, for {counted(len(reasons), 'reason')}", listed))
    mark = Mark("holds" if report.ok else "does not hold", "pass" if report.ok else "fail")
    return of_object(title(report.results) if report.results else "nothing", parts, mark)


def _cause(fault: Fault) -> list[Part]:
    result = fault.result
    path, words = both_paths(result), headline(result)
    where = f" at `{path}`" if path and (result.path or result.port_path) not in words else ""
    told = Prose(f"✕ {result.contract}{where}: {words}")
    if not fault.followers:
        return [told]
    return [told, Fold(f"{len(fault.followers):,} that only follow from it", list(map(Prose, told_of(fault))))]


def _contracts(found: Sequence[UnitResults]) -> Sheet:
    names = varying(found)
    header = ("contract", *names, "result", "paths", "worst path", "measured", "allowed")
    rows = [
        (unit.contract, *setting(unit, names), Mark(_VERBS[unit.status], unit.status), *unit.cells) for unit in found
    ]
    return Sheet(header, rows, ("worst path",), ("paths", "measured", "allowed"))


def _contracts_of(members: Sequence[Result]) -> str:
    return ", ".join(dict.fromkeys(each.contract or "all contracts" for each in members))
