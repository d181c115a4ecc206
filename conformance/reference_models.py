"""The reference models: each wing's model of a spec, as the port of a pair whose map comes from the tables.

The reference of all ports is the torch wing's model in float64. The contracts are those of any pair; beside them are
those that a spec alone knows: the model's table, the weights under its paths, and the laws of initial values.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, partial
from string import ascii_lowercase
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from ..common import paths
from ..common.devices import device_names, sides_devices
from ..common.errors import ParitreeError
from ..common.models import MODELS, ReferenceModel, neutral_weights, reference_model
from ..common.spec import Layer
from ..common.tables import Row, Table, alike, shape_text
from ..common.wing import WINGS, PairError, SideWing, StoredTensor, Wing
from ..pairs.comparison import Bound
from ..pairs.maps import Map, MapRow
from ..pairs.modes import measuring
from ..pairs.precision import Setting
from ..pairs.side import Side
from ..pairs.wings import absence, load_wing, pair_absence, require
from .check import DEVICES, Examination, Progress, Unit, Wanted, check_names
from .contracts import DEFAULT_CONTRACTS
from .explain import diagnosis_of
from .initial_laws import InitialLaws
from .report import Report
from .results import Finding, Result


@dataclass(frozen=True, eq=False)
class Reference:
    """The reference of all ports of a model: the torch wing's, with neutral weights.

    It runs in float64, whatever its port runs in, and on the CPU unless another device is named for it. The tests hold
    the three wings' float64 runs against each other.
    """

    model: ReferenceModel
    device: str = "cpu"

    @cached_property
    def table(self) -> Table:
        """The spec's."""
        return self.model.table()

    @cached_property
    def weights(self) -> dict[str, np.ndarray]:
        return neutral_weights(self.table)

    @cached_property
    def side(self) -> Side:
        torch = load_wing("torch")
        live = torch.load(torch.build(self.model.resolved, device=self.device), self.weights)
        runs = {name: partial(_exactly, getattr(torch, name), {}) for name in _RUNS}
        exact = {**vars(torch), **runs, "running": lambda *_: torch.running(self.device, "float64")}
        return Side("reference", cast(SideWing, SimpleNamespace(**exact)), live, live, self.model.inputs())


_RUNS = ("prober", "tracer", "site_prober", "trainer")


def _exactly(make: Callable[..., Any], answers: dict[bytes, Any], *given: Any, **named: Any) -> Callable[..., Any]:
    """What `make` makes ready, in float64. What it was asked once it answers from memory, since all ports ask alike."""
    run = make(*given, **{**named, "dtype": "float64"})

    def answer(*asked: Any, **how: Any) -> Any:
        question = pickle.dumps((asked, how))
        if question not in answers:
            answers[question] = run(*asked, **how)
        return answers[question]

    return answer


@dataclass(frozen=True, eq=False)
class Port:
    """A live model of one wing on one device, and the spec it was built from.

    device: as it was asked for, which may name the reference's before it.
    """

    reference: Reference
    wing: Wing
    device: str
    spec: Layer
    model: Any

    @staticmethod
    def build(reference: Reference, wing: Wing, device: str, spec: Layer | None = None) -> Port:
        """The wing's model of the reference's spec, or of another one that claims to be it."""
        spec = reference.model.resolved if spec is None else spec
        place = sides_devices(device).port
        with wing.running(place):
            return Port(reference, wing, device, spec, wing.build(spec, device=place))

    @property
    def place(self) -> str:
        """Where it is."""
        return sides_devices(self.device).port

    @property
    def name(self) -> str:
        return self.reference.model.name

    @cached_property
    def table(self) -> Table:
        return self.wing.table(self.model)

    @cached_property
    def examination(self) -> Examination:
        """The pair that it makes with its reference."""
        wing, model = self.wing, self.model
        # What does not take them is a finding of the contract of weights; the others are about it as it was built.
        with suppress(ParitreeError):
            model = wing.load(model, self.reference.weights)
        # No reference model has modes, but that is known of a Linen module only to the one who gives the call.
        train_call = (lambda model, inputs: model[0].apply(model[1], *inputs)) if wing.NAME == "linen" else None
        inputs = self.reference.model.inputs()
        side = Side("port", cast(SideWing, wing), model, model, inputs, train_call=train_call)
        bound = Bound(self.reference.side, side, table_map(self.reference, side, self.table))
        return Examination(bound, Wanted(EXAMINED, (self.device,)), name=self.name)


def table_map(reference: Reference, port: Side, table: Table) -> Map:
    """What stands under one path of two tables is one tensor, in the layout and with the ties that it has there.

    table: the port's. What is no floating-point tensor of both sides has no row.
    """
    torch = reference.side
    ours, theirs = _stored(torch, load_wing("torch").table(torch.model)), _stored(port, table)
    rows = []
    for row in reference.table.owners:
        if row.path not in ours or row.path not in theirs or not ours[row.path][1].is_floating:
            continue
        (_, one), (_, other) = ours[row.path], theirs[row.path]
        tied = [row.path, *(tie.alias for tie in reference.table.ties if tie.owner == row.path)]
        names = dict.fromkeys(theirs[path][0] for path in tied if path in theirs)
        layout, axes = table[row.path].layout.with_sizes(row.axes), " ".join(ascii_lowercase[: len(row.shape)])
        rows.append(
            MapRow(
                one.path,
                other.path,
                row.sizes,
                layout.native_shape(row.sizes),
                f"{axes} -> {axes}" if layout.is_identity else layout.pattern,
                "name",
                layout.sizes,
                reference_aliases=one.aliases,
                port_aliases=tuple(name for name in names if name != other.path),
            )
        )
    return Map(tuple(rows), (torch.kind, port.kind))


def _stored(side: Side, table: Table) -> dict[str, tuple[str, StoredTensor]]:
    """By a table's paths the native path, which may be an alias, and the tensor. Linen's table has no collections."""
    named = {}
    for native in side.stored_tensors.values():
        for name in (native.path, *native.aliases):
            named[name.partition(".")[2] if side.wing.NAME == "linen" else name] = name, native
    found = {row.path: paths.join(*map(str, row.native_path)) for row in table}
    return {path: named[name] for path, name in found.items() if name in named}


# What a spec alone knows


def table(port: Port) -> Iterator[Finding]:
    """The model's table is the spec's: its paths in their order, with their shapes, dtypes, kinds and ties."""
    expected, found = port.reference.table, port.table
    faults = [(row.path, "is missing from the model") for row in expected if row.path not in found]
    faults += [(row.path, "is not in the spec") for row in found if row.path not in expected]
    if not faults and found.paths != expected.paths:
        index = next(i for i, pair in enumerate(zip(expected.paths, found.paths, strict=True)) if pair[0] != pair[1])
        faults = [(found.paths[index], f"stands where {expected.paths[index]} belongs, at index {index}")]
    for row in expected:
        if row.path in found:
            faults += [(row.path, words) for words in _differences(port, row, found[row.path])]
    yield from _counted(faults)


def _differences(port: Port, expected: Row, found: Row) -> Iterator[str]:
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
    elif own and not port.wing.identical(port.model, own, found.path):
        yield f"is listed as tied to {own} but is another object"


def weights(port: Port) -> Iterator[Finding]:
    """Neutral weights that are given by path come back bit for bit, each under its own."""
    given = port.reference.weights
    try:
        found = port.wing.weights(port.wing.load(port.model, given))
    except ParitreeError as error:
        yield Finding(error.path, False, None, 0, f"the weights cannot be loaded: {error}")
        return
    faults = []
    for path, array in given.items():
        if path in found and not np.array_equal(found[path], array):
            others = {other: each for other, each in given.items() if other != path}
            faults.append((path, f"the array that comes back {diagnosis_of(found[path], array, 0.0, others).words}"))
    yield from _counted(faults)


def _counted(faults: list[tuple[str, str]]) -> Iterator[Finding]:
    """One finding a fault; none is a pass with zero faults measured."""
    if not faults:
        yield Finding("", True, 0, 0)
    for path, fault in faults:
        yield Finding(path, False, len(faults), 0, f"{path}: {fault}")


# The check

OF_SPEC: dict[str, Callable[[Port], Iterator[Finding]]] = {"table": table, "weights": weights}
# No reference model has two modes or an optimizer, none is random or sharded, and their initial values have laws to be
# held against.
_LEFT_OUT = ("modes", "determinism", "recipe", "sharded", "initialization")
EXAMINED = tuple(contract for contract in DEFAULT_CONTRACTS if contract not in _LEFT_OUT)
CONTRACTS = (*OF_SPEC, *EXAMINED, "initialization")


@measuring()
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

    devices: `cuda` is where the ports run, `cuda:cuda` their references too. One that not all wings see is skipped by
        those that do not, with a row that says so.
    required_device: one whose absence is an error.
    progress: told the name of each model and wing as its turn comes.

    Raises:
        UsageError: an unknown model, wing, device or contract; DeviceError: the required device is absent.
    """
    models = [reference_model(name) for name in names or MODELS]
    loaded = [load_wing(name) for name in wings]
    check_names(contracts, CONTRACTS, "contract")
    required = device_names(filter(None, [required_device]))
    devices = device_names([*devices, *required])
    for device in required:
        require(device, _absence(device, loaded))
    reasons = {device: _absence(device, loaded) for device in devices}
    ports = []
    for device in devices:
        references = [Reference(model, _reference_device(device)) for model in models]
        seeing = [wing for wing in loaded if not _absence(device, [wing])]
        ports += [Port.build(each, wing, device) for each in references for wing in seeing]
    absent = [Result("", "", device, "", "", "skip", None, None, why) for device, why in reasons.items() if why]
    return Report((*check_ports(ports, contracts, progress), *absent))


def _reference_device(device: str) -> str:
    """That of the reference, which is on the CPU unless it is named: a TPU has no PyTorch of ours."""
    named = sides_devices(device)
    return "cpu" if named.reference == named.port else named.reference


def _absence(device: str, wings: Sequence[Wing]) -> str | None:
    seen = {wing.NAME: wing.devices() for wing in wings}
    own = sides_devices(device)
    if own.reference == own.port:
        return absence(own.port, seen)
    return pair_absence(device, {"torch": load_wing("torch").devices()}, seen)


def check_ports(
    ports: Sequence[Port], contracts: Sequence[str] = CONTRACTS, progress: Progress = lambda what: None
) -> tuple[Result, ...]:
    """The results of every contract on every port; initialization is judged over all of them together.

    In the order of the devices, models and contracts, the wings side by side.
    """
    laws, results = InitialLaws(), []
    for port in ports:
        progress(f"{port.name} [{port.wing.NAME}, {port.device}]")
        for contract in contracts:
            if contract != "initialization":
                results += _shown(_results(port, contract))
        if "initialization" in contracts:
            laws.observe(port, port.wing, port.place, port.spec, port.reference.table)
    if "initialization" in contracts:
        for port in ports:
            found = [_result(port, "initialization", finding) for finding in laws.findings(port)]
            results += _shown(found, nearest=min)
    models = [port.name for port in ports]
    return tuple(
        sorted(results, key=lambda each: (each.device, models.index(each.model), CONTRACTS.index(each.contract)))
    )


def _results(port: Port, contract: str) -> list[Result]:
    try:
        with port.wing.running(port.place):
            if contract in OF_SPEC:
                return [_result(port, contract, finding) for finding in OF_SPEC[contract](port)]
            found = port.examination.results(Unit(contract, Setting(port.device)))
            return [replace(result, wing=port.wing.NAME) for result in found]
    # A model is anybody's code: what it raises is a contract that does not hold, and the others are still checked.
    except Exception as error:
        return [_result(port, contract, Finding("", False, None, None, _said(error)))]


def _said(error: Exception) -> str:
    raised = error.__cause__ if isinstance(error, PairError) and error.__cause__ else error
    if isinstance(raised, ParitreeError):
        return str(raised)
    return f"the model raises {type(raised).__name__}: {str(raised).strip().partition(chr(10))[0]}"


def _result(port: Port, contract: str, finding: Finding) -> Result:
    status: Any = "pass" if finding.ok else "fail"
    told = finding.path, status, finding.measured, finding.allowed, finding.message
    return Result(port.name, port.wing.NAME, port.device, contract, *told)


def _shown(results: list[Result], nearest: Callable[..., Result] = max) -> list[Result]:
    """A row for each failing path, or if there is none one for the path nearest to failing; and what was skipped."""
    of = {status: [each for each in results if each.status == status] for status in ("fail", "pass", "skip")}
    passing = [nearest(of["pass"], key=lambda each: each.measured or 0.0)] if of["pass"] else []
    return (of["fail"] or passing) + of["skip"]
