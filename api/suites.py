"""`paritree.suite`: the contracts of a pair as tests, one for each contract and group of parameters.

A suite is a value in a test module; the pytest plugin makes tests of it. What a test is about and what it says is here,
without pytest.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

from .checking import examined
from .common.devices import device_names
from .common.errors import ParitreeError, UsageError
from .common.wing import exits_reported
from .conformance.check import DEFAULT_CONTRACTS, DEVICES, Examination, Unit, Wanted
from .conformance.consequences import LEADING, Fault, faults, headline, name_of, with_consequences
from .conformance.contracts import Sampling
from .conformance.known import KnownDifference, load
from .conformance.results import Result
from .pairs.maps import Map
from .pairs.modes import measuring
from .pairs.pair import Pair
from .pairs.wings import HOMES, load_wing

# Their results are about one parameter each, whichever the pair; those of the others are about the whole model, or
# about what only a run can tell.
GROUPED = ("shapes", "layout", "gradients", "training", "values", "initialization")
# Buffers have no part in these.
_OF_PARAMETERS = ("layout", "gradients")
# Of one test's failures, this many are shown in full.
_SHOWN = 10


@dataclass(frozen=True)
class Options:
    """What a session of pytest asks of all its suites.

    devices: none for what each suite says. required_device: one whose absence fails. alpha: None for each suite's own.
    """

    devices: tuple[str, ...] = ()
    required_device: str | None = None
    alpha: float | None = None


@dataclass(eq=False)
class Suite:
    """The contracts of a pair, to be tested. Made by `suite`, which says what each field is."""

    pair: Pair | Callable[[], Pair]
    map: Map | str | Path | None
    contracts: Sequence[str]
    devices: Sequence[str] | None
    precisions: Sequence[str]
    known_differences: Sequence[KnownDifference] | str | Path
    alpha: float
    name: str | None
    file: Path
    line: int
    _made: dict[tuple[Options, str], SuiteRun] = field(default_factory=dict, repr=False)

    def wanted(self, options: Options) -> Wanted:
        """Raises UsageError for a contract, device, precision or rate that does not exist, or an unreadable file."""
        for each in (self.contracts, self.devices, self.precisions):
            if each is not None and (isinstance(each, str) or not each):
                raise UsageError("suite", "a sequence of names", repr(each))
        known = self.known_differences
        return Wanted(
            tuple(self.contracts),
            self._devices(options),
            tuple(self.precisions),
            known_differences=load(self._placed(known)) if isinstance(known, str | Path) else tuple(known),
            sampling=Sampling(alpha=checked_alpha(self.alpha if options.alpha is None else options.alpha, "alpha")),
        )

    def _devices(self, options: Options) -> tuple[str, ...]:
        """Those of the suite that the session asks for. A suite that names none is for all that are asked for."""
        if self.devices is None:
            return device_names([*(options.devices or DEVICES), *filter(None, [options.required_device])])
        own = device_names(self.devices)
        return tuple(device for device in own if not options.devices or device in options.devices)

    def loaded_map(self) -> Map | None:
        """Raises MapError for a file that is no map."""
        return Map.load(self._placed(self.map)) if isinstance(self.map, str | Path) else self.map

    def run(self, options: Options, name: str) -> SuiteRun:
        """The suite under the options of a session, made once. name: for the results, unless the suite has its own.

        Raises:
            ParitreeError: as `wanted`, `loaded_map` and `paritree.check`; whatever the function raises that makes the
                pair.
        """
        key = (options, name)
        if key not in self._made:
            self._made[key] = SuiteRun(self, options, self.name or name)
        return self._made[key]

    def _placed(self, file: str | Path) -> Path:
        """A path as it is meant where the suite is written."""
        return self.file.parent / file


def suite(
    pair: Pair | Callable[[], Pair],
    map: Map | str | os.PathLike[str] | None = None,
    *,
    contracts: Sequence[str] = DEFAULT_CONTRACTS,
    devices: Sequence[str] | None = None,
    precisions: Sequence[str] = ("float32",),
    known_differences: Sequence[KnownDifference] | str | os.PathLike[str] = (),
    alpha: float = Sampling.alpha,
    name: str | None = None,
) -> Suite:
    """The contracts of a pair as pytest tests: `test_port = paritree.suite(pair)` in a test module.

    pair: a Pair, or a function without arguments that gives one; it is called when the suite is collected.
    map: from the reference to the port, or its file; without one the two are aligned when the suite is collected.
    devices: `cpu`, `cuda`, `cuda:1`, or `cpu:cuda` for the reference on one and the port on another; without, `cpu` and
        `cuda`, or those of `--paritree-device`, which else chooses among them. Those that not both sides see are
        skipped, visibly.
    precisions: of the contracts of arithmetic: `float32` (strict), `tf32`, `bfloat16`.
    known_differences: failures that are accepted, or the TOML file that lists them.
    alpha: the chance that a correct pair is said to be initialized differently, for all parameters together;
        `--paritree-alpha` replaces it.
    name: of the pair, in a report; else the test's.

    Paths are relative to the file in which this is called. What is wrong with an argument is said at collection.
    """
    caller = sys._getframe(1)
    as_paths = [Path(each) if isinstance(each, str | os.PathLike) else each for each in (map, known_differences)]
    where = Path(caller.f_code.co_filename), caller.f_lineno
    given: tuple[Any, Any] = (as_paths[0], as_paths[1])
    return Suite(pair, given[0], contracts, devices, precisions, given[1], alpha, name, *where)


def checked_alpha(alpha: object, what: str) -> float:
    """A rate of false alarms, which may be given as text.

    Raises:
        UsageError: no number between 0 and 1.
    """
    try:
        rate = float(alpha)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        rate = 0.0
    if not 0 < rate < 1:
        raise UsageError(what, "a rate of false alarms between 0 and 1", repr(alpha), "1e-6 is the default.")
    return rate


@dataclass(frozen=True)
class SuitePart:
    """What one test is about: a unit, and of a grouped contract the module whose own parameters they are."""

    unit: Unit
    group: str | None = None

    @property
    def label(self) -> str:
        """`gradients[h.0.attn]`, `forward`, `gradients[h.0.attn-cuda-bfloat16]`: cpu and float32 are not said."""
        setting = self.unit.setting
        told = (self.group or "", setting.device, setting.precision)
        shown = "-".join(each for each in told if each not in ("", "cpu", "float32"))
        name = self.unit.contract.replace(" ", "_")
        return f"{name}[{shown}]" if shown else name


@dataclass(frozen=True)
class PartVerdict:
    """What a test comes to. status: `pass`, `fail`, `known` or `skip`; text: what is said of it."""

    status: str
    text: str = ""


class SuiteRun:
    """A suite under the options of a session: the parts that are tests, and their results, each unit measured once."""

    @measuring()
    def __init__(self, suite: Suite, options: Options, name: str) -> None:
        wanted, map = suite.wanted(options), suite.loaded_map()
        self.required_device = options.required_device
        pair = _paired(suite.pair)
        self.examination: Examination = examined(pair, map, wanted, name=name)
        self._measured: dict[Unit, tuple[Result, ...]] = {}
        self._failed: dict[Unit, Exception] = {}

    @property
    def wings(self) -> tuple[str, str]:
        bound = self.examination.bound
        return bound.reference.wing.NAME, bound.port.wing.NAME

    def described(self) -> str:
        """What is examined, in a line."""
        wanted = self.examination.wanted
        devices = ", ".join(device for device in wanted.devices if device not in self.absent) or "no device"
        precisions, alpha = ", ".join(wanted.precisions), wanted.sampling.alpha
        return f"{' -> '.join(self.wings)} on {devices} at {precisions}, false alarms {alpha:g}"

    def settings(self) -> dict[str, str]:
        """By wing, in a line, how its framework is set: devices, precision, determinism. A pytree is JAX's."""
        wings = dict.fromkeys(wing if wing in HOMES else "nnx" for wing in self.wings)
        found = {wing: load_wing(wing).settings() for wing in wings}
        return {
            wing: ", ".join(f"{name} {value}" for name, value in each.items() if "version" not in name)
            for wing, each in found.items()
        }

    @cached_property
    def absent(self) -> dict[str, Result]:
        """A skipped result by each wanted device that is not there."""
        return {result.device: result for result in self.examination.absent}

    def absence(self, device: str) -> PartVerdict:
        """Of a device that is not there: a failure if it is required."""
        result = self.absent[device]
        if device != self.required_device:
            return PartVerdict("skip", result.message)
        return PartVerdict("fail", f"{result.message}; --require-device {device} makes that a failure")

    @cached_property
    def parts(self) -> tuple[SuitePart, ...]:
        """The tests, in the order of a report. They follow from the map; nothing is measured."""
        return tuple(SuitePart(unit, group) for unit in self.examination.units for group in self._groups(unit.contract))

    def _groups(self, contract: str) -> tuple[str | None, ...]:
        if contract not in GROUPED:
            return (None,)
        bound = self.examination.bound
        rows = (row.reference for row in bound.map.rows)
        named = [path for path in rows if contract not in _OF_PARAMETERS or not self._is_buffer(path)]
        return tuple(dict.fromkeys(map(bound.reference.module, named))) or (None,)

    def _is_buffer(self, path: str) -> bool:
        native = self.examination.bound.reference.stored_tensors.get(path)
        return native is not None and not native.trainable

    @measuring()
    def results(self, unit: Unit) -> tuple[Result, ...]:
        """All of a unit. An error of its measurement is raised again for each test that asks.

        Raises:
            PairError: as `Examination.results`.
        """
        if unit in self._failed:
            raise self._failed[unit]
        try:
            return self._measured.setdefault(unit, self.examination.results(unit))
        except Exception as error:
            self._failed[unit] = error
            raise

    def verdict(self, part: SuitePart) -> PartVerdict:
        """Of one test, measured now if its unit was not; where it fails, what it may follow from is measured, too.

        Raises:
            PairError: as `results`.
        """
        about = self._of_part(part, self.results(part.unit))
        if any(result.status == "fail" for result in about):
            return PartVerdict("fail", self._failure(part))
        for status in ("known", "pass"):
            said = dict.fromkeys(result.message for result in about if result.status == status)
            if said:
                return PartVerdict(status, "; ".join(said))
        reasons = dict.fromkeys(result.message for result in about)
        return PartVerdict("skip", "; ".join(reasons) or f"this contract found nothing to examine in {part.group!r}")

    def _of_part(self, part: SuitePart, results: Sequence[Result]) -> list[Result]:
        """Of a unit's results those of a part's group. What is in no group, as an error is, is shown by each."""
        if part.group is None:
            return list(results)
        groups = set(self._groups(part.unit.contract))
        placed = [(result, self._groups_of(result) & groups) for result in results]
        own = [result for result, where in placed if part.group in where]
        strays = [result for result, where in placed if not where]
        return own + [result for result in strays if result.status == "fail" or not own]

    def _groups_of(self, result: Result) -> set[str | None]:
        """The modules that a result is about; a known difference that is gone has a pattern for its path."""
        if not result.path:
            return set()
        bound = self.examination.bound
        named = {path for path in bound.map.by_reference if path == result.path or fnmatchcase(path, result.path)}
        return {bound.reference.module(path) for path in named or {result.path}}

    def _failure(self, part: SuitePart) -> str:
        """What is said of a test that fails: first the cause; in a line, of one that only follows from others."""
        results, found = self._with_what_leads(part.unit)
        about = self._of_part(part, results)
        failing = [result for result in about if result.status == "fail"]
        own = [result for result in failing if not result.follows_from]
        roots = [fault.result for fault in found if any(each is one for each in fault.followers for one in failing)]
        follows = [f"follows from {name_of(root, failing[0])}: {headline(root)}" for root in roots]
        one, where = failing[0], f" in {part.group!r}" if part.group else ""
        head = f"{one.contract}{where}: {len(failing)} of {len(about)} do not hold"
        if not own:
            return f"{'; '.join(follows)} ({head})"
        lines = [headline(own[0]), f"{head} ({one.wing}, {one.device}, {one.precision})"]
        for result in own[:_SHOWN]:
            lines += ["", *told(result)]
        if len(own) > _SHOWN:
            lines += ["", f"and {len(own) - _SHOWN} more"]
        if follows:
            lines += ["", f"and {len(failing) - len(own)} of these that only follow:", *follows]
        return "\n".join(lines)

    def _with_what_leads(self, unit: Unit) -> tuple[list[Result], tuple[Fault, ...]]:
        """A unit's results with what they follow from, and all failures of what that may be.

        At the same setting that is measured if it was not. At others, which may take long, what was measured is taken.
        """
        for other in self.examination.units:
            if other.setting == unit.setting and other.contract in LEADING.get(unit.contract, ()):
                # What cannot be measured is said by its own tests, and nothing follows from it.
                with suppress(ParitreeError):
                    self.results(other)
        places = [(other, result) for other in self.examination.units for result in self._measured.get(other, ())]
        results = with_consequences([result for _, result in places])
        own = [result for result, (other, _) in zip(results, places, strict=True) if other == unit]
        return own, faults(results)


def told(result: Result) -> list[str]:
    """A failure in lines: both paths, what was measured and what is allowed, the cause and the module."""
    both = " = ".join(path for path in (result.path, result.port_path) if path)
    lines = [result.message or f"{both or 'the whole model'}: does not hold"]
    if both:
        lines.append(f"  paths:    {both}")
    if result.measured is not None and result.allowed is not None:
        why = f" ({result.policy})" if result.policy else ""
        lines.append(f"  measured: {result.measured:.3g}, allowed {result.allowed:.3g}{why}")
    for name, value in (("cause", result.cause), ("module", result.module)):
        if value:
            lines.append(f"  {name + ':':<9} {value}")
    return lines


def _paired(pair: Pair | Callable[[], Pair]) -> Pair:
    with exits_reported("suite"):
        found = pair() if callable(pair) and not isinstance(pair, Pair) else pair
    if not isinstance(found, Pair):
        remedy = "Make one: Pair(reference, port, inputs)."
        raise UsageError("suite", "a paritree.Pair or a function that gives one", type(found).__name__, remedy)
    return found
