"""What the forms of a report share: results by contract and setting, the worst of them, and how a number is written."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from ...common.text import one_line
from ..results import Result, Status

# What a group of results says as a whole is the first of these that occurs in it.
_ORDER: tuple[Status, ...] = ("fail", "known", "pass", "skip")
SETTING = ("model", "wing", "device", "precision")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True)
class UnitResults:
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

    def of(self, status: Status) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.status == status)

    @property
    def known(self) -> dict[str, list[Result]]:
        """The declared differences, by what is said of them."""
        return grouped(self.of("known"), lambda result: result.message)

    @property
    def paths(self) -> int:
        """How many parameters and buffers were looked at; 0 for what is about the whole model."""
        return _count_paths(self.results)

    @property
    def cells(self) -> tuple[str, str, str, str]:
        """In a table of contracts: the number of paths and of those at fault, the path of the worst result, what was
        measured there, and what is allowed. Where all are equally good none is the worst."""
        worst = self.worst
        path = (worst.path or worst.port_path) if severity(worst) > 0 else ""
        fault = f"{_count_paths(self.of(self.status)):,} of " if self.status in ("fail", "known") else ""
        return f"{fault}{self.paths:,}" if self.paths else "", path, measured(worst), allowed(worst)


def _count_paths(results: Iterable[Result]) -> int:
    return len({(result.path, result.port_path) for result in results} - {("", "")})


def units(results: Iterable[Result]) -> tuple[UnitResults, ...]:
    """In the order of their first results; a device that is absent is no unit."""
    named = (result for result in results if result.contract)
    groups = grouped(named, lambda each: (each.model, each.wing, each.device, each.precision, each.contract))
    return tuple(UnitResults(*key, tuple(members)) for key, members in groups.items())


def grouped(results: Iterable[Result], key: Callable[[Result], Key]) -> dict[Key, list[Result]]:
    """Those of one key together, keys and results in their order."""
    groups: dict[Key, list[Result]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def skipped(results: Iterable[Result]) -> dict[str, list[Result]]:
    """What was skipped, by the reason."""
    found = (result for result in results if result.status == "skip")
    return grouped(found, lambda result: result.message or "no reason was given")


def distinct(results: Sequence[Result] | Sequence[UnitResults], name: str) -> list[str]:
    """The values of one field, each once, in order."""
    return list(dict.fromkeys(getattr(each, name) for each in results))


def varying(results: Sequence[Result] | Sequence[UnitResults]) -> tuple[str, ...]:
    """Of model, wing, device and precision those that are not the same for all."""
    return tuple(name for name in SETTING if len(distinct(results, name)) > 1)


def setting(of: Result | UnitResults, names: Sequence[str]) -> tuple[str, ...]:
    """The values of these fields."""
    return tuple(getattr(of, name) for name in names)


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


def both_paths(result: Result) -> str:
    """`reference = port`, or the one there is."""
    return " = ".join(one_line(path) for path in (result.path, result.port_path) if path)
