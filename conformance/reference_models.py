"""The reference models: each wing's model of a spec, as the port of a pair whose map comes from the tables.

The reference of all ports is the torch wing's model in float64. The contracts are those of any pair; beside them are
those that a spec alone knows: the model's table, the weights under its paths, and the laws of initial values.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from ..common import paths
from ..common.errors import ParitreeError
from ..common.models import MODELS, ReferenceModel, neutral_weights, reference_model
from ..common.spec import Layer
from ..common.tables import Row, Table, alike, shape_text
from ..common.wing import WINGS, Native, PairError, SideWing, Wing
from ..pairs.comparison import Bound
from ..pairs.maps import Map, MapRow
from ..pairs.precision import Setting
from ..pairs.side import Side
from ..pairs.wings import absence, load_wing, require
from .check import DEVICES, Examination, Unit, Wanted, check_names
from .contracts import PAIR_CONTRACTS
from .explain import diagnosis_of
from .initial_laws import InitialLaws
from .report import Report
from .results import Finding, Result

Progress = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Original:
    """The reference of all ports of a model: the torch wing's, with neutral weights.

    As a side of a pair it runs in float64 on the CPU, whatever its port runs in. Tests hold the three wings' float64
    runs against each other.
    """

    described: ReferenceModel

    @cached_property
    def table(self) -> Table:
        return self.described.table()

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        return neutral_weights(self.table)

    @cached_property
    def side(self) -> Side:
        torch = load_wing("torch")
        model = torch.load(torch.build(self.described.resolved), self.weights)
        return Side("reference", _exact(torch), model, model, self.described.inputs())


def _exact(wing: Wing) -> SideWing:
    """A wing in float64 on the CPU at any setting. What it was asked once it answers from memory, to every port."""

    def exactly(make: Callable[..., Any]) -> Callable[..., Any]:
        answers: dict[bytes, Any] = {}

        def made(*given: Any, **named: Any) -> Callable[..., Any]:
            run = make(*given, **{**named, "dtype": "float64"})

            def answer(*asked: Any, **how: Any) -> Any:
                question = pickle.dumps((asked, how))
                if question not in answers:
                    answers[question] = run(*asked, **how)
                return answers[question]

            return answer

        return made

    runs = {name: exactly(getattr(wing, name)) for name in ("prober", "tracer", "site_prober", "trainer")}
    return cast(
        SideWing, SimpleNamespace(**{**vars(wing), **runs, "running": lambda *_: wing.running(dtype="float64")})
    )


@dataclass(frozen=True, eq=False)
class Subject:
    """A live model of one wing on one device, and the spec it was built from: the port of an original."""

    original: Original
    wing: Wing
    device: str
    spec: Layer
    model: Any

    @staticmethod
    def build(original: Original, wing: Wing, device: str, spec: Layer | None = None) -> Subject:
        """The wing's model of the original, or of another spec that claims to be it."""
        spec = original.described.resolved if spec is None else spec
        with wing.running(device):
            return Subject(original, wing, device, spec, wing.build(spec, device=device))

    @property
    def name(self) -> str:
        return self.original.described.name

    @cached_property
    def table(self) -> Table:
        return self.wing.table(self.model)

    @cached_property
    def loaded(self) -> Any:
        """The model with the original's weights; as it was built where it does not take them, which is a finding."""
        try:
            return self.wing.load(self.model, self.original.weights)
        except ParitreeError:
            return self.model

    @cached_property
    def examination(self) -> Examination:
        """The pair of the original and this model."""
        # No reference model has modes, which nothing can know of a Linen module but the one who gives the call.
        train_call = _called if self.wing.NAME == "linen" else None
        inputs, wing = self.original.described.inputs(), cast(SideWing, self.wing)
        port = Side("port", wing, self.loaded, self.loaded, inputs, train_call=train_call)
        bound = Bound(self.original.side, port, table_map(self.original, port, self.table))
        return Examination(bound, Wanted(EXAMINED, (self.device,)), name=self.name)


def _called(model: Any, inputs: tuple[Any, ...]) -> Any:
    module, variables = model
    return module.apply(variables, *inputs)


def table_map(original: Original, port: Side, found: Table) -> Map:
    """What two tables have under one path is one tensor: rows from the original's natives to the port's.

    found: the port's table. A path that it lacks has no row. Shapes and ties are the spec's.
    """
    expected = original.table
    ours = _named(original.side)
    theirs = _named(port)
    rows = []
    for row in expected.owners:
        one, other = ours.get(row.path), theirs.get(_dotted(found[row.path])) if row.path in found else None
        if one is None or other is None or not one.native.is_floating:
            # Stored under no path of its own, or whole numbers, which no map is about.
            continue
        layout = found[row.path].layout.with_sizes(row.axes)
        axes = " ".join(f"axis{number}" for number in range(len(row.shape)))
        names = [theirs[_dotted(found[path])].name for path in _aliases(expected, row.path) if path in found]
        rows.append(
            MapRow(
                one.native.path,
                other.native.path,
                row.sizes,
                layout.native_shape(row.sizes),
                f"{axes} -> {axes}" if layout.is_identity else layout.pattern,
                "name",
                layout.sizes,
                reference_aliases=one.native.aliases,
                port_aliases=tuple(name for name in dict.fromkeys((other.name, *names)) if name != other.native.path),
            )
        )
    return Map(tuple(rows), (original.side.kind, port.kind))


def _aliases(table: Table, owner: str) -> list[str]:
    return [tie.alias for tie in table.ties if tie.owner == owner]


@dataclass(frozen=True)
class Named:
    """A tensor under one of its native paths."""

    name: str
    native: Native


def _named(side: Side) -> dict[str, Named]:
    """A side's tensors by every native path as a table spells it, which leaves out Linen's collection."""
    in_collections = side.wing.NAME == "linen"
    return {
        name.partition(".")[2] if in_collections else name: Named(name, native)
        for native in side.natives.values()
        for name in (native.path, *native.aliases)
    }


def _dotted(row: Row) -> str:
    return paths.join(*map(str, row.native_path))


# What a spec alone knows


def table(subject: Subject) -> Iterator[Finding]:
    """The model's table is the spec's: its paths in their order, with their shapes, dtypes, kinds and ties."""
    expected, found = subject.original.table, subject.table
    faults = [(row.path, "is missing from the model") for row in expected if row.path not in found]
    faults += [(row.path, "is not in the spec") for row in found if row.path not in expected]
    if not faults and found.paths != expected.paths:
        place = next(i for i, pair in enumerate(zip(expected.paths, found.paths, strict=True)) if pair[0] != pair[1])
        faults = [(found.paths[place], f"stands where {expected.paths[place]} belongs, at place {place}")]
    for row in expected:
        if row.path in found:
            faults += [(row.path, words) for words in _differences(row, found[row.path])]
    for tie in expected.ties:
        is_listed = tie.alias in found and found[tie.alias].tie
        if is_listed and not subject.wing.identical(subject.model, tie.owner, tie.alias):
            faults.append((tie.alias, f"is listed as tied to {tie.owner} but is another object"))
    yield from _counted(faults)


def _differences(expected: Row, found: Row) -> Iterator[str]:
    if found.shape != expected.shape:
        yield f"has shape {shape_text(found.shape)}, expected {shape_text(expected.shape)}"
    if not alike(found.dtype, expected.dtype):
        yield f"is {found.dtype}, expected {expected.dtype}"
    if found.kind != expected.kind:
        yield f"is a {found.kind}, expected a {expected.kind}"
    own, right = (row.tie.owner if row.tie else "" for row in (found, expected))
    if own and own != right:
        yield f"is tied to {own}, expected {right or 'a parameter of its own'}"
    elif own != right:
        yield f"is a parameter of its own, expected an alias of {right}: the tie is lost"


def weights(subject: Subject) -> Iterator[Finding]:
    """Neutral weights that are given by path come back bit for bit, each under its own."""
    given = subject.original.weights
    try:
        found = subject.wing.weights(subject.wing.load(subject.model, given))
    except ParitreeError as error:
        yield Finding(error.path, False, None, 0, f"the weights cannot be loaded: {error}")
        return
    yield from _counted(
        [
            (path, f"the array that comes back {diagnosis_of(found[path], array, 0.0, _others(given, path)).words}")
            for path, array in given.items()
            if path in found and not np.array_equal(found[path], array)
        ]
    )


def _others(arrays: Mapping[str, np.ndarray], path: str) -> dict[str, np.ndarray]:
    return {other: array for other, array in arrays.items() if other != path}


def _counted(faults: list[tuple[str, str]]) -> Iterator[Finding]:
    """One finding a fault; none is a pass with zero faults measured."""
    if not faults:
        yield Finding("", True, 0, 0)
    for path, fault in faults:
        yield Finding(path, False, len(faults), 0, f"{path}: {fault}")


# The check

# What is checked without a run, in both.
OF_SPEC: dict[str, Callable[[Subject], Iterator[Finding]]] = {"table": table, "weights": weights}
# No reference model knows two modes, none is random, and their initial values have exact laws to be held against.
_LEFT_OUT = ("modes", "determinism", "initialization")
EXAMINED = tuple(contract for contract in PAIR_CONTRACTS if contract not in _LEFT_OUT)
CONTRACTS = (*OF_SPEC, *EXAMINED, "initialization")


def check_reference_models(
    names: Sequence[str] = (),
    *,
    wings: Sequence[str] = WINGS,
    devices: Sequence[str] = DEVICES,
    contracts: Sequence[str] = CONTRACTS,
    required_device: str | None = None,
    progress: Progress = lambda what: None,
) -> Report:
    """Check the reference models (all of them if `names` is empty) and report every contract.

    devices: a device that not all wings see is skipped, with a row that says so.
    required_device: one whose absence is an error.
    progress: told the name of each model and wing as its turn comes.

    Raises:
        UsageError: an unknown model, wing, device or contract; DeviceError: the required device is absent.
    """
    originals = [Original(reference_model(name)) for name in names or MODELS]
    loaded = [load_wing(name) for name in wings]
    check_names(contracts, CONTRACTS, "contract")
    check_names([*devices, *filter(None, [required_device])], DEVICES, "device")
    seen = {wing.NAME: wing.devices() for wing in loaded}
    if required_device is not None:
        require(required_device, seen)
    absent = {device: reason for device in devices if (reason := absence(device, seen))}
    subjects = [
        Subject.build(original, wing, device)
        for device in devices
        if device not in absent
        for original in originals
        for wing in loaded
    ]
    skipped = (Result("", "", device, "", "", "skip", None, None, reason) for device, reason in absent.items())
    return Report((*check_subjects(subjects, contracts, progress), *skipped))


def check_subjects(
    subjects: Sequence[Subject], contracts: Sequence[str] = CONTRACTS, progress: Progress = lambda what: None
) -> tuple[Result, ...]:
    """The results of every contract on every subject; initialization is judged over all of them together.

    In the order of the devices, models and contracts, the wings side by side.
    """
    laws, results = InitialLaws(), []
    for subject in subjects:
        progress(f"{subject.name} [{subject.wing.NAME}, {subject.device}]")
        for contract in CONTRACTS[:-1]:
            if contract in contracts:
                results += _shown(_results(subject, contract))
        if "initialization" in contracts:
            laws.observe(subject, subject.wing, subject.device, subject.spec, subject.original.table)
    if "initialization" in contracts:
        for subject in subjects:
            found = [_result(subject, "initialization", finding) for finding in laws.findings(subject)]
            results += _shown(found, min)
    order = list(dict.fromkeys(subject.name for subject in subjects))
    return tuple(sorted(results, key=lambda each: _rank(each, order)))


def _results(subject: Subject, contract: str) -> list[Result]:
    try:
        if contract in OF_SPEC:
            with subject.wing.running(subject.device):
                return [_result(subject, contract, finding) for finding in OF_SPEC[contract](subject)]
        found = subject.examination.results(Unit(contract, Setting(subject.device)))
        return [replace(result, wing=subject.wing.NAME) for result in found]
    # A model is anybody's code: what it raises is a contract that does not hold, and the others are still checked.
    except Exception as error:
        return [_result(subject, contract, Finding("", False, None, None, _said(error)))]


def _said(error: Exception) -> str:
    raised = error.__cause__ if isinstance(error, PairError) and error.__cause__ else error
    if isinstance(raised, ParitreeError):
        return str(raised)
    return f"the model raises {type(raised).__name__}: {str(raised).strip().partition(chr(10))[0]}"


def _shown(results: list[Result], worst: Callable[..., Result] = max) -> Iterable[Result]:
    """A row for each failing path; if there is none, one for the path nearest to failing, or for what was skipped."""
    failing = [result for result in results if result.status == "fail"]
    passing = [result for result in results if result.status == "pass"]
    return failing or (passing and [worst(passing, key=lambda each: each.measured or 0.0)]) or results[:1]


def _result(subject: Subject, contract: str, finding: Finding) -> Result:
    status: Any = "pass" if finding.ok else "fail"
    measured, allowed, message = finding.measured, finding.allowed, finding.message
    name, wing = subject.name, subject.wing.NAME
    return Result(name, wing, subject.device, contract, finding.path, status, measured, allowed, message)


def _rank(result: Result, order: list[str]) -> tuple[int, int, int]:
    return DEVICES.index(result.device), order.index(result.model), CONTRACTS.index(result.contract)
