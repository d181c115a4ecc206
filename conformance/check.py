"""The check of a pair: every contract on every present device, at the precisions that were asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ..common.devices import device_names, sides_devices
from ..common.errors import NotExpressibleError, ParitreeError, UsageError, nearest
from ..common.wing import Accident, PairError
from ..pairs.comparison import Bound
from ..pairs.precision import PRECISIONS, Setting
from ..pairs.side import Side
from ..pairs.wings import pair_absence, require
from .consequences import with_consequences
from .contracts import (
    ARITHMETIC,
    DEFAULT_CONTRACTS,
    ON_REQUEST,
    PAIR_CONTRACTS,
    RECIPES,
    SHARDED,
    STORED,
    STRUCTURE,
    Sampling,
    initialization,
)
from .known import KnownDifference, accepted, check_contracts
from .report import Report
from .results import TENSORS, Finding, Result

DEVICES = ("cpu", "cuda")

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Wanted:
    """What is to be checked, and how.

    contracts: by name, in any order. devices: `cpu`, `cuda`, `cuda:1`, or `cpu:cuda` for the reference on one and the
        port on another; those that not both sides see are skipped, with a row that says so.
    precisions: `float32`, `tf32`, `bfloat16`. required_device: one more, whose absence is an error.
    known_differences: failures that are declared.
    sampling: of initial values. seed: of everything random that the check makes.

    Raises:
        UsageError: a contract, device or precision that does not exist.
    """

    contracts: Sequence[str] = DEFAULT_CONTRACTS
    devices: Sequence[str] = DEVICES
    precisions: Sequence[str] = ("float32",)
    required_device: str | None = None
    known_differences: Sequence[KnownDifference] = ()
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0

    def __post_init__(self) -> None:
        check_names(self.contracts, PAIR_CONTRACTS, "contract")
        required = [self.required_device] if self.required_device else []
        object.__setattr__(self, "devices", device_names([*self.devices, *required]))
        check_names(self.precisions, PRECISIONS, "precision")
        object.__setattr__(self, "required_device", next(iter(device_names(required)), None))
        check_contracts(self.known_differences, PAIR_CONTRACTS)


def check_names(given: Iterable[str], known: Sequence[str], what: str) -> None:
    """Raises UsageError for a name that is none of the known, with the nearest that is."""
    for name in given:
        if name not in known:
            raise UsageError(name, f"the name of a {what}", f"{name!r}, which is none", nearest(name, known))


@dataclass(frozen=True)
class Unit:
    """One contract at one setting: what is examined together."""

    contract: str
    setting: Setting


class Examination:
    """A pair under a map, whose contracts are examined one unit at a time, each once.

    bound: whose map need not be proved. name: of the pair, in the results.

    Raises:
        DeviceError: the required device is absent.
    """

    def __init__(self, bound: Bound, wanted: Wanted, *, name: str = "pair") -> None:
        self.bound, self.wanted, self.name = bound, wanted, name
        self._results: dict[Unit, tuple[Result, ...]] = {}
        seen = [{side.kind: side.wing.devices()} for side in (bound.reference, bound.port)]
        if wanted.required_device:
            require(wanted.required_device, pair_absence(wanted.required_device, *seen))
        self._absent = {device: pair_absence(device, *seen) for device in wanted.devices}

    def again(self, seed: int) -> Examination:
        """The same at another seed. What was compiled is not compiled again."""
        return Examination(replace(self.bound, seed=seed), replace(self.wanted, seed=seed), name=self.name)

    @property
    def absent(self) -> tuple[Result, ...]:
        """A skipped result for each wanted device that is not there."""
        reasons = ((device, reason) for device, reason in self._absent.items() if reason)
        return tuple(self._result("", Setting(device), _skipped(reason)) for device, reason in reasons)

    @property
    def units(self) -> tuple[Unit, ...]:
        """What is to be examined, in the order of a report."""
        devices = [device for device, reason in self._absent.items() if not reason]
        return tuple(
            Unit(contract, Setting(device, precision))
            for device in devices
            for contract in PAIR_CONTRACTS
            if contract in self.wanted.contracts
            for precision in (self.wanted.precisions if contract in ARITHMETIC else ("float32",))
        )

    def results(self, unit: Unit) -> tuple[Result, ...]:
        """Of one unit, with the known differences marked.

        Raises:
            PairError: a side ignores its seed or does not take the inputs, or the outputs are of unequal structure.
        """
        if unit not in self._results:
            found = [self._result(unit.contract, unit.setting, each) for each in self._findings(unit)]
            self._results[unit] = tuple(accepted(found, self.wanted.known_differences))
        return self._results[unit]

    def _findings(self, unit: Unit) -> list[Finding]:
        try:
            return list(self._examined(unit))
        except (PairError, Accident):
            # Two sides that cannot be run are no pair.
            raise
        except NotExpressibleError as error:
            return [_skipped(str(error))]
        except ParitreeError as error:
            return [Finding(error.path, False, None, None, str(error), cause=type(error).__name__)]

    def _examined(self, unit: Unit) -> Iterable[Finding]:
        if unit.contract == "initialization":
            return initialization(self.bound, unit.setting, self.wanted.sampling)
        if unit.contract in ON_REQUEST:
            return ON_REQUEST[unit.contract](self.bound.partial.comparison(unit.setting))
        if unit.contract not in {**ARITHMETIC, **RECIPES, **SHARDED}:
            return {**STRUCTURE, **STORED}[unit.contract](self.bound)
        reason = _not_comparable(self.bound, unit.setting)
        if reason:
            return [_skipped(reason)]
        return {**ARITHMETIC, **RECIPES, **SHARDED}[unit.contract](self.bound.comparison(unit.setting))

    def _result(self, contract: str, setting: Setting, finding: Finding) -> Result:
        wings = f"{self.bound.reference.kind} -> {self.bound.port.kind}"
        status: Any = {None: "skip", True: "pass", False: "fail"}[finding.ok]
        result = Result(
            self.name, wings, setting.device, contract, finding.path, status, finding.measured, finding.allowed
        )
        return replace(
            result,
            message=finding.message,
            precision=setting.precision,
            port_path=finding.port_path,
            policy=finding.policy,
            cause=finding.cause,
            module=finding.module,
            details=finding.details,
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What holds for all results."""
        sampling, declared = self.wanted.sampling, len(self.wanted.known_differences)
        found = {"alpha": sampling.alpha, "seed": self.wanted.seed, "known differences": declared}
        found[TENSORS] = _told_tensors(self.bound.reference)
        return found | ({"notes": list(self.bound.notes)} if self.bound.notes else {})


def _told_tensors(side: Side) -> list[dict[str, Any]]:
    """A side's tensors as a report keeps them, each name of a tied one."""
    found = []
    for path, each in side.stored_tensors.items():
        kind = "parameter" if each.trainable else "buffer"
        told = {"path": path, "shape": list(each.array.shape), "dtype": each.array.dtype.name, "kind": kind}
        found += [told, *({**told, "path": alias, "alias_of": path} for alias in each.aliases)]
    return found


def check_pair(examination: Examination, progress: Progress = lambda what: None) -> Report:
    """Every wanted contract of a pair.

    progress: told the name of each contract as its turn comes.

    Raises:
        PairError: as `Examination.results`.
    """
    results: list[Result] = []
    for unit in examination.units:
        progress(f"{examination.name} [{unit.setting.device}, {unit.setting.precision}] {unit.contract}")
        results += examination.results(unit)
    return Report(with_consequences((*results, *examination.absent)), examination.facts)


def _not_comparable(bound: Bound, setting: Setting) -> str:
    if setting.has_tf32 and sides_devices(setting.device).kinds == {"cpu"}:
        return "TF32 is a precision of GPUs"
    if not bound.map.rows:
        return "there is no map to carry values with"
    if not bound.is_whole:
        return "names or shapes are not the map's, so that no values can be carried"
    return ""


def _skipped(reason: str) -> Finding:
    return Finding("", None, None, None, reason)
