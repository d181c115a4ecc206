"""A report as the XML that continuous integration reads: JUnit's, as pytest and Jenkins spell it.

A suite for each device and precision, a case for each result. What was not checked and what differs as declared are
skipped cases, each with its reason, so that nothing is silently green.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from ...common.text import printable
from ..results import Result, Results
from .units import allowed, both_paths, grouped, measured
from .words import title, told


def to_junit(report: Results) -> str:
    """The whole document, with its declaration (UTF-8)."""
    root = ET.Element("testsuites", _counts(report.results) | {"name": "paritree"})
    suites = grouped(report.results, lambda result: (result.device, result.precision))
    for (device, precision), results in suites.items():
        suite = ET.SubElement(root, "testsuite", {"name": printable(f"{device} {precision}")} | _counts(results))
        _properties(suite, {**report.environment, "checked": title(results)} | dict(report.facts))
        _add_cases(suite, results)
    ET.indent(root, " ")
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _counts(results: Sequence[Result]) -> dict[str, str]:
    statuses = Counter(result.status for result in results)
    skipped = statuses["skip"] + statuses["known"]
    counts = {"tests": len(results), "failures": statuses["fail"], "errors": 0, "skipped": skipped, "time": 0}
    return {name: str(count) for name, count in counts.items()}


def _properties(parent: ET.Element, values: Mapping[str, object]) -> None:
    properties = ET.SubElement(parent, "properties")
    for name, value in values.items():
        ET.SubElement(properties, "property", {"name": printable(name), "value": printable(str(value))})


def _add_cases(suite: ET.Element, results: Sequence[Result]) -> None:
    """Readers tell cases by their names, so that a second one of a name gets a number."""
    seen: Counter[tuple[str, str]] = Counter()
    for result in results:
        kind = ".".join(filter(None, (result.model, result.wing, result.contract))) or "device"
        name = both_paths(result) or ("whole model" if result.contract else result.device)
        seen[kind, name] += 1
        number = f" #{seen[kind, name]}" if seen[kind, name] > 1 else ""
        names = {"classname": printable(kind), "name": printable(name + number), "time": "0"}
        _fill(ET.SubElement(suite, "testcase", names), result)


def _fill(case: ET.Element, result: Result) -> None:
    numbers = {"measured": measured(result), "allowed": allowed(result), "policy": result.policy}
    properties = numbers | {"follows_from": result.follows_from}
    if any(properties.values()):
        _properties(case, {name: value for name, value in properties.items() if value})
    message = printable(result.message)
    if result.status == "fail":
        message = f"follows from {printable(result.follows_from)}: {message}" if result.follows_from else message
        failure = ET.SubElement(case, "failure", {"message": message, "type": printable(result.cause) or "contract"})
        lines = (result.message, *(f"{label}: {value}" for label, value in told(result)))
        failure.text = printable("\n".join(filter(None, lines)))
    elif result.status == "skip":
        ET.SubElement(case, "skipped", {"message": message or "no reason was given"})
    elif result.status == "known":
        ET.SubElement(case, "skipped", {"message": f"known difference: {message}", "type": "known"})
