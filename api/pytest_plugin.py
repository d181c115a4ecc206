"""The pytest plugin: makes tests of each `paritree.suite` of a test module.

It is loaded into every session of pytest where this package is installed, so it imports nothing of the package until an
option or a suite needs it; a framework is imported when a suite is collected.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conformance.report import Report
    from .conformance.results import Result
    from .suites import Options, PartVerdict, Suite, SuitePart, SuiteRun

# Named in the header, as far as they are installed.
DISTRIBUTIONS = ("paritree", "torch", "jax", "flax", "numpy")
OPTIONS = ("paritree_device", "require_device", "paritree_alpha", "paritree_report")
# Causes that are told at the end of a session.
_CAUSES = 10
# The forms of a report, by the suffix of its file.
FORMS = {".json": "to_json", ".xml": "to_junit", ".html": "to_html"}


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("paritree", "paritree: whether a port is the same model")
    group.addoption(
        "--paritree-device",
        action="append",
        metavar="DEVICE",
        help="run the suites of pairs on this device only: cpu, cuda, cuda:1, tpu or mps, or the reference and the "
        "port on two, cpu:cuda; may be repeated",
    )
    group.addoption("--require-device", metavar="DEVICE", help="fail, instead of skipping, where this device is absent")
    group.addoption(
        "--paritree-alpha",
        metavar="RATE",
        help="how likely a suite's tests of initial values may fail for a right port; 1e-6 by default",
    )
    group.addoption(
        "--paritree-report",
        metavar="FILE",
        help="write a report of the contracts that ran, as JSON (.json), JUnit (.xml) or a page (.html)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Raises pytest.UsageError for an option that cannot be followed."""
    config.stash[_GATHERED] = Gathered(config)
    # The check of an option imports the package, and the errors of that are its own.
    if any(config.getoption(name) for name in OPTIONS):
        from .common.errors import UsageError

        try:
            _check_options(config)
        except UsageError as error:
            raise pytest.UsageError(f"paritree: {error}") from None


def pytest_report_header() -> str:
    return f"paritree: {', '.join(_versions())}"


def _versions() -> Iterator[str]:
    for name in DISTRIBUTIONS:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name} not installed"


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> SuiteNode | None:
    """A suite under a name that test functions have in this project."""
    # Where nobody has made a suite, its module is not imported.
    module = sys.modules.get(f"{__package__}.suites")
    if module is None or not isinstance(obj, module.Suite):
        return None
    if isinstance(collector, pytest.Module | pytest.Class) and collector.funcnamefilter(name):
        return SuiteNode.from_parent(collector, name=name, suite=obj)
    return None


class SuiteNode(pytest.Collector):
    """A suite of a test module."""

    def __init__(self, *, suite: Suite, **others: Any) -> None:
        super().__init__(**others)
        self.suite = suite

    def collect(self) -> Iterator[pytest.Item]:
        """A test for each part, and one for each device that is not there.

        A pair that cannot be examined is one failing test, so that the rest of the session goes on; arguments that
        cannot be read are an error of the module's.
        """
        from .common.errors import ParitreeError

        gathered = _gathered(self.config)
        try:
            self.suite.wanted(gathered.options)
            self.suite.loaded_map()
        except ParitreeError as error:
            raise self.CollectError(f"{self.nodeid}: {error}") from None
        try:
            run = self.suite.run(gathered.options, self.nodeid)
            parts = run.parts
        # The user's own code makes the models; what it raises is raised again as the test runs.
        except Exception as error:
            yield BrokenItem.from_parent(self, name="pair", error=error)
            return
        gathered.collected(self.nodeid, run)
        yield from self._items(run, parts)

    def _items(self, run: SuiteRun, parts: Sequence[SuitePart]) -> Iterator[pytest.Item]:
        has_groups = self.config.pluginmanager.hasplugin("xdist")
        for part in parts:
            item = PartItem.from_parent(self, name=part.label, run=run, part=part)
            if has_groups:
                # With --dist loadgroup one process measures a unit for all its tests.
                setting = part.unit.setting
                name = f"{self.name} {part.unit.contract} {setting.device} {setting.precision}"
                item.add_marker(pytest.mark.xdist_group(name))
            yield item
        for device in run.absent:
            yield AbsentItem.from_parent(self, name=f"device[{device}]", run=run, device=device)
        if not run.examination.wanted.devices:
            yield AbsentItem.from_parent(self, name="device", run=run, device="")


class _Item(pytest.Item):
    """A test that shows where its suite is made."""

    parent: SuiteNode

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.parent.suite.file, self.parent.suite.line - 1, f"{self.parent.name}: {self.name}"

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """In pytest's summary a failure of ours is its first line, without the name of pytest's exception before it."""
        found = super().repr_failure(excinfo, style)
        place = getattr(found, "reprcrash", None)
        if isinstance(excinfo.value, pytest.fail.Exception) and place is not None:
            place.message = str(excinfo.value).partition("\n")[0]
        return found


class PartItem(_Item):
    """One contract, of one group of parameters where it has groups."""

    def __init__(self, *, run: SuiteRun, part: SuitePart, **others: Any) -> None:
        super().__init__(**others)
        self.run, self.part = run, part

    def runtest(self) -> None:
        with _ParitreeErrors():
            verdict = self.run.verdict(self.part)
        _gathered(self.config).measured(self.parent.nodeid, self.part.unit, self.run.results(self.part.unit))
        _conclude(verdict, self.config)


class AbsentItem(_Item):
    """A device that the suite is for, and that is not there or not asked for."""

    def __init__(self, *, run: SuiteRun, device: str, **others: Any) -> None:
        super().__init__(**others)
        self.run, self.device = run, device

    def runtest(self) -> None:
        if not self.device:
            _skip(f"the suite is for {', '.join(self.parent.suite.devices or ())}, which --paritree-device leaves out")
        _gathered(self.config).measured(self.parent.nodeid, self.device, (self.run.absent[self.device],))
        _conclude(self.run.absence(self.device), self.config)


class BrokenItem(_Item):
    """A suite whose pair cannot be examined."""

    def __init__(self, *, error: Exception, **others: Any) -> None:
        super().__init__(**others)
        self.error = error

    def runtest(self) -> None:
        with _ParitreeErrors():
            raise self.error


class _ParitreeErrors:
    """Errors of this package as failures of one message; what else a user's code raises keeps its traceback."""

    def __enter__(self) -> None: ...

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        from .common.errors import ParitreeError

        if isinstance(error, ParitreeError):
            pytest.fail(f"{type(error).__name__}: {error}", pytrace=False)


def _conclude(verdict: PartVerdict, config: pytest.Config) -> None:
    """A known difference is an expected failure, unless --runxfail has those fail as any other."""
    is_failure = verdict.status == "fail" or (verdict.status == "known" and config.getoption("runxfail"))
    if is_failure:
        pytest.fail(verdict.text, pytrace=False)
    if verdict.status == "known":
        # In one line, as what is expected is listed.
        pytest.xfail(verdict.text.partition("\n")[0])
    if verdict.status == "skip":
        _skip(verdict.text)


def _skip(reason: str) -> None:
    # Shown at the line of the suite, not at this one.
    raise pytest.skip.Exception(reason, _use_item_location=True)


def _gathered(config: pytest.Config) -> Gathered:
    return config.stash[_GATHERED]


@dataclass
class Found:
    """What one suite came to.

    description: what is examined. settings: by wing, how its framework is set. results: by unit or absent device.
    """

    description: str
    settings: dict[str, str]
    alpha: float
    known: int
    results: dict[Any, tuple[Result, ...]] = field(default_factory=dict)


class Gathered:
    """What the suites of a session found, on the way to its report.

    With xdist each process has its own, and sends it to the one that writes the report.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.suites: dict[str, Found] = {}
        self.was_sent = False
        self.is_reported = config.getoption("paritree_report") is not None and not config.getoption("collectonly")
        self.unwritten = ""

    @property
    def options(self) -> Options:
        from .common.devices import device_names
        from .suites import Options

        option = self.config.getoption
        alpha = option("paritree_alpha")
        devices = device_names(option("paritree_device") or ())
        required = next(iter(device_names(filter(None, [option("require_device")]))), None)
        return Options(devices, required, None if alpha is None else float(alpha))

    def collected(self, name: str, run: SuiteRun) -> None:
        if name in self.suites:
            return
        wanted = run.examination.wanted
        self.suites[name] = Found(run.described(), run.settings(), wanted.sampling.alpha, len(wanted.known_differences))

    def measured(self, name: str, what: Any, results: tuple[Result, ...]) -> None:
        self.suites[name].results[what] = results

    def add(self, sent: dict[str, Found]) -> None:
        """Those of another process, which may have measured what this one knows already."""
        self.was_sent = True
        for name, found in sent.items():
            self.suites.setdefault(name, found).results.update(found.results)

    def lines(self) -> list[str]:
        """Each suite with its devices and precisions, and the settings of each framework."""
        by_wing = {wing: line for found in self.suites.values() for wing, line in found.settings.items()}
        # The wings of JAX share their settings.
        shared = {line: [wing for wing in by_wing if by_wing[wing] == line] for line in by_wing.values()}
        described = [f"paritree: {name}: {found.description}" for name, found in self.suites.items()]
        return described + [f"paritree: {', '.join(names)} is set to: {line}" for line, names in shared.items()]

    def causes(self) -> list[str]:
        """Of each suite that fails the causes, in full, which pytest's own summary cuts at the terminal's width."""
        if not any(
            each.status == "fail" for found in self.suites.values() for unit in found.results.values() for each in unit
        ):
            return []
        from .conformance.consequences import faults, headline

        found = faults(self.report().results)
        lines = []
        for fault in found[:_CAUSES]:
            count = len(fault.followers)
            follow = f" ({count} more {'follows' if count == 1 else 'follow'} from it)" if count else ""
            lines.append(f"paritree: {fault.result.model}: {fault.result.contract}: {headline(fault.result)}{follow}")
        return lines + ([f"paritree: and {len(found) - _CAUSES} more causes"] if found[_CAUSES:] else [])

    def report(self) -> Report:
        from .conformance.consequences import with_consequences
        from .conformance.report import Report

        found = self.suites.values()
        results = [result for each in found for unit in each.results.values() for result in unit]
        # The chance of a false alarm in any of them is at the most the sum.
        alpha = min(sum(each.alpha for each in found), 1.0)
        return Report(
            with_consequences(results), {"alpha": alpha, "known differences": sum(each.known for each in found)}
        )


_GATHERED = pytest.StashKey[Gathered]()


def _check_options(config: pytest.Config) -> None:
    option = config.getoption
    devices = [*(option("paritree_device") or ()), *filter(None, [option("require_device")])]
    alpha, report = option("paritree_alpha"), option("paritree_report")
    if devices or alpha is not None:
        from .common.devices import device_names
        from .suites import checked_alpha

        device_names(devices)
        if alpha is not None:
            checked_alpha(alpha, "--paritree-alpha")
    if report is not None:
        from .common.errors import UsageError, nearest
        from .common.files import check_writable

        if Path(report).suffix not in FORMS:
            remedy = nearest(Path(report).suffix, FORMS)
            raise UsageError("--paritree-report", f"a file that ends in {', '.join(FORMS)}", repr(report), remedy)
        from .conformance.reports import BEGINNINGS

        file = config.invocation_params.dir / report
        check_writable(file, "--paritree-report", BEGINNINGS[file.suffix])


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    """Devices, precision and determinism, as soon as a suite has brought its frameworks."""
    found = _gathered(config)
    return found.lines() if found.suites else []


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """A process of xdist has ended. One that crashed sends nothing, and its tests are said to have failed."""
    sent = getattr(node, "workeroutput", {}).get("paritree")
    if sent:
        # Of our own process, with our own classes in it; JSON would lose what is not finite.
        _gathered(node.config).add(pickle.loads(sent))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    config, found = session.config, _gathered(session.config)
    if hasattr(config, "workerinput"):
        config.workeroutput["paritree"] = pickle.dumps(found.suites)  # type: ignore[attr-defined]
    elif found.is_reported:
        from .common.errors import ParitreeError
        from .common.files import write_whole
        from .conformance.reports import BEGINNINGS

        file = Path(str(config.getoption("paritree_report")))
        text = getattr(found.report(), FORMS[file.suffix])()
        try:
            write_whole(config.invocation_params.dir / file, text, BEGINNINGS[file.suffix])
        except (OSError, ParitreeError) as error:
            # The tests are done; that they are not reported is said after them.
            found.unwritten = str(error)
            session.exitstatus = pytest.ExitCode.INTERNAL_ERROR


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    found = _gathered(config)
    for line in found.lines() if found.was_sent else ():
        terminalreporter.write_line(line)
    for line in () if hasattr(config, "workerinput") else found.causes():
        terminalreporter.write_line(line)
    # A process of xdist writes none.
    if found.unwritten:
        terminalreporter.write_line(f"paritree: the report could not be written: {found.unwritten}", red=True)
    elif found.is_reported and not hasattr(config, "workerinput"):
        count, file = len(found.report().results), config.getoption("paritree_report")
        terminalreporter.write_line(f"paritree: report of {count} results in {file}")
