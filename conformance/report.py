"""Results and the report that gathers them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

from ..common.errors import ParitreeError
from ..common.tables import columns, counted

Status = Literal["pass", "fail", "skip"]
DISTRIBUTIONS = ("paritree", "torch", "jax", "flax", "numpy", "scipy")


@dataclass(frozen=True)
class Finding:
    """What one contract found at one path; `measured` above `allowed` is a failure unless the contract says else."""

    path: str
    ok: bool
    measured: float | None
    allowed: float | None
    message: str = ""


@dataclass(frozen=True)
class Result:
    """One contract on one model, wing and device: the worst path if it holds, else one row a failing path.

    measured, allowed: errors relative to the tensor's norm; for an initialization the smallest p-value and the level
        it must stay above; for a structure the number of paths that differ. None for what was skipped.
    """

    model: str
    wing: str
    device: str
    contract: str
    path: str
    status: Status
    measured: float | None
    allowed: float | None
    message: str = ""


class ContractFailure(ParitreeError, AssertionError):
    """Raised by `Report.raise_for_failure`; the text lists every failing contract."""


@dataclass(frozen=True)
class Report:
    """The results of a check."""

    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether every contract holds that could be checked, and one could."""
        return not self.failures and any(result.status == "pass" for result in self.results)

    @property
    def failures(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.status == "fail")

    def raise_for_failure(self) -> None:
        """Raises ContractFailure if a contract does not hold."""
        if not self.ok and not self.failures:
            raise ContractFailure("", "at least one contract to be checked", "none", "Look at what was skipped.")
        if self.failures:
            listed = "\n".join(_sentence(result) for result in self.failures)
            raise ContractFailure("", "all contracts to hold", f"{len(self.failures)} that do not:\n{listed}")

    def to_json(self) -> str:
        """`{"ok", "versions", "results"}`, one result an object with the fields of `Result`.

        JSON has no infinity, which is the error of an output that is not finite: it becomes null.
        """
        results = [{name: _plain(value) for name, value in asdict(result).items()} for result in self.results]
        return json.dumps({"ok": self.ok, "versions": versions(), "results": results}, indent=1, allow_nan=False)

    def __str__(self) -> str:
        lines = columns(_rows(self.results))
        if self.failures:
            lines += ["", *(_sentence(result) for result in self.failures)]
        skipped = dict.fromkeys(result.message for result in self.results if result.status == "skip")
        lines += ["", *(f"skipped: {reason}" for reason in skipped)]
        return "\n".join((*lines, self.summary))

    @property
    def summary(self) -> str:
        checked = [result for result in self.results if result.status != "skip"]
        models = len({result.model for result in checked})
        wings = ", ".join(dict.fromkeys(result.wing for result in checked))
        devices = ", ".join(dict.fromkeys(result.device for result in checked))
        keys = {(result.model, result.wing, result.device, result.contract) for result in checked}
        failed = {(result.model, result.wing, result.device, result.contract) for result in self.failures}
        if not keys:
            return "nothing was checked"
        verdict = "all hold" if self.ok else f"{len(failed)} do not hold"
        checked_on = f"{counted(len(keys), 'contract')} on {counted(models, 'model')}"
        return f"{checked_on} ({wings}; {devices}): {verdict}"


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def versions() -> dict[str, str]:
    """The installed versions of what a result depends on."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def _sentence(result: Result) -> str:
    return f"{result.model} [{result.wing}, {result.device}] {result.contract}: {result.message}"


def _rows(results: Sequence[Result]) -> list[tuple[str, ...]]:
    """One line for each model, device and contract, the wings that agree on it side by side."""
    groups: dict[tuple[str, str, str, str], list[Result]] = {}
    for result in results:
        groups.setdefault((result.model, result.device, result.contract, result.status), []).append(result)
    lines: list[tuple[str, ...]] = [("model", "device", "contract", "wings", "measured", "allowed", "result")]
    for (model, device, contract, status), members in groups.items():
        wings = " ".join(dict.fromkeys(member.wing for member in members))
        # An initialization passes above its level and everything else below: show the member nearest to failing.
        worst = max(members, key=_severity)
        lines.append((model, device, contract, wings, _number(worst.measured), _number(worst.allowed), status))
    return lines


def _severity(result: Result) -> float:
    if result.measured is None or result.allowed is None:
        return 0.0
    return -result.measured if result.contract == "initialization" else result.measured


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2g}"
