"""What the forms of a report share: results by contract and setting, the worst of them, and how a number is written."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..results import Result, Status

# What a group of results says as a whole is the first of these that occurs in it.
_ORDER: tuple[Status, ...] = ("fail", "known", "pass", "skip")
# Control characters, lone surrogates and non-characters: not allowed in XML, and orders to a terminal.
_NOT_PRINTABLE = re.compile(r"[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True)
class Unit:
    """One contract of one model at one setting, with all its results."""

    model: str
    wing: str
    device: str
    precision: str
    contract: str
    results: tuple[Result, ...]

    @property
    def status(self) -> Status:
        """`fail` if anything fails; else `known` if a declared difference occurs; else `pass` if anything holds."""
        return next(status for status in _ORDER if any(result.status == status for result in self.results))

    @property
    def worst(self) -> Result:
        """Of the results of that status the one farthest beyond what is allowed, or nearest to it."""
        return max(self.of(self.status), key=severity)

    @property
    def worst_path(self) -> str:
        """Of the worst; empty where all are equally good."""
        worst = self.worst
        return (worst.path or worst.port_path) if severity(worst) > 0 else ""

    def of(self, status: Status) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.status == status)

    @property
    def paths(self) -> int:
        """How many parameters and buffers were looked at; 0 for what is about the whole model."""
        return len({(result.path, result.port_path) for result in self.results} - {("", "")})

    @property
    def paths_of_status(self) -> int:
        """How many of them have the unit's own status."""
        return len({(result.path, result.port_path) for result in self.of(self.status)} - {("", "")})

    @property
    def count(self) -> str:
        """The number of paths, and how many of them are at fault."""
        if self.status in ("pass", "skip") or not self.paths:
            return f"{self.paths:,}" if self.paths else ""
        return f"{self.paths_of_status:,} of {self.paths:,}"


def units(results: Iterable[Result]) -> tuple[Unit, ...]:
    """In the order of their first results; a device that is absent is no unit."""
    groups: dict[tuple[str, str, str, str, str], list[Result]] = {}
    for result in results:
        if result.contract:
            key = (result.model, result.wing, result.device, result.precision, result.contract)
            groups.setdefault(key, []).append(result)
    return tuple(Unit(*key, tuple(members)) for key, members in groups.items())


def is_p_value(result: Result) -> bool:
    """Whether `measured` must stay above `allowed`, and not below it."""
    return result.contract == "initialization" or result.policy.startswith("p-value")


def severity(result: Result) -> float:
    """How many times what is allowed; at most 1 for what holds. Infinity for a failure that is no number."""
    measured, allowed = result.measured, result.allowed
    if measured is None or allowed is None or math.isnan(measured):
        return math.inf if result.status in ("fail", "known") else 0.0
    over, under = (allowed, measured) if is_p_value(result) else (measured, allowed)
    if not over:
        return 0.0
    return over / under if under else math.inf


def number(value: float | None) -> str:
    """Two significant digits; a count in full; nothing for None."""
    if value is None:
        return ""
    if math.isfinite(value) and float(value).is_integer() and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:.2g}"


def measured(result: Result) -> str:
    """`4.2e-08`, or `p 0.003`."""
    text = number(result.measured)
    return f"p {text}" if text and is_p_value(result) else text


def allowed(result: Result) -> str:
    """`6.6e-06`, or `> 5.9e-10` for a p-value."""
    text = number(result.allowed)
    return f"> {text}" if text and is_p_value(result) else text


def printable(text: str) -> str:
    """The text with every character that is none written as its escape."""
    return _NOT_PRINTABLE.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), text)


def both_paths(result: Result) -> str:
    """`reference = port`, or the one there is."""
    return " = ".join(path for path in (result.path, result.port_path) if path)


def distinct(results: Sequence[Result] | Sequence[Unit], name: str) -> list[str]:
    """The values of one field, each once, in order."""
    return list(dict.fromkeys(getattr(each, name) for each in results))


def causes(results: Iterable[Result]) -> str:
    """`transposed 900, unknown 85`: how many failures have which cause, the commonest first."""
    counts = Counter(result.cause or "unknown" for result in results)
    return ", ".join(f"{cause} {count:,}" for cause, count in counts.most_common())


def effects(results: Iterable[Result]) -> list[tuple[str, int]]:
    """The smallest effects that the tests of initial values would have caught, each with the number of parameters."""
    stated = (result.details.get("smallest") for result in results if result.contract == "initialization")
    return Counter(str(words) for words in stated if words).most_common()


def skipped(results: Iterable[Result]) -> dict[str, list[Result]]:
    """What was skipped, by the reason."""
    reasons: dict[str, list[Result]] = {}
    for result in results:
        if result.status == "skip":
            reasons.setdefault(result.message or "no reason was given", []).append(result)
    return reasons


def title(results: Sequence[Result]) -> str:
    """`pair [torch -> nnx]`; the names alone where several models are in the report."""
    checked = [result for result in results if result.contract] or list(results)
    models, wings = (distinct(checked, name) for name in ("model", "wing"))
    if len(models) > 3:
        return f"{len(models)} models"
    return f"{', '.join(models)} [{wings[0]}]" if len(wings) == 1 and wings[0] else ", ".join(models)
