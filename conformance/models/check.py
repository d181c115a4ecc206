"""The check of the reference models: every contract, on all wings and on every device present."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ...common.errors import ParitreeError, UsageError, nearest
from ...common.models import MODELS, ReferenceModel, reference_model
from ...common.wing import WINGS
from ...pairs.wings import load_wing, missing_device, require_device
from ..report import Report
from ..results import Finding, Result
from . import numerics, structure
from .initialization import Initialization
from .subject import Oracle, Subject

Contract = Callable[[Subject, Oracle], Iterator[Finding]]

# In order: a model with wrong names cannot be loaded, and one that cannot be loaded computes nothing.
MEASURED: dict[str, Contract] = {
    "names": structure.names,
    "shapes": structure.shapes,
    "ties": structure.ties,
    "weights": structure.weights,
    "forward": numerics.forward,
    "gradients": numerics.gradients,
    "tied gradients": numerics.tied_gradients,
    "training": numerics.training,
}
CONTRACTS = (*MEASURED, "initialization")
DEVICES = ("cpu", "cuda")

Progress = Callable[[str], None]


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
        UsageError: an unknown model, wing or contract; DeviceError: the required device is absent.
    """
    models = [reference_model(name) for name in names or MODELS]
    loaded = {name: load_wing(name) for name in wings}
    _check_known(contracts, CONTRACTS, "contract")
    _check_known(devices, DEVICES, "device")
    if required_device is not None:
        _check_known([required_device], DEVICES, "device")
        require_device(required_device, loaded)
    subjects, skipped = [], []
    for device in devices:
        absent = missing_device(device, loaded)
        if absent:
            skipped.append(Result("", "", device, "", "", "skip", None, None, absent))
            continue
        subjects += [Subject.build(model, wing, device) for model in models for wing in loaded.values()]
    return Report((*check_subjects(subjects, contracts, progress), *skipped))


def check_subjects(
    subjects: Iterable[Subject], contracts: Sequence[str] = CONTRACTS, progress: Progress = lambda what: None
) -> tuple[Result, ...]:
    """The results of every contract on every subject; initialization is judged over all of them together."""
    judge_of_draws = Initialization()
    oracles: dict[ReferenceModel, Oracle] = {}
    results: list[Result] = []
    subjects = list(subjects)
    for subject in subjects:
        progress(f"{subject.reference.name} [{subject.wing.NAME}, {subject.device}]")
        oracle = oracles.setdefault(subject.reference, Oracle(subject.reference, load_wing("torch")))
        for contract in contracts:
            if contract in MEASURED:
                results += _results(subject, contract, _measured(MEASURED[contract], subject, oracle))
        if "initialization" in contracts:
            judge_of_draws.observe(subject, oracle)
    if "initialization" in contracts:
        for subject in subjects:
            results += _results(subject, "initialization", judge_of_draws.findings(subject))
    order = list(oracles)
    return tuple(sorted(results, key=lambda result: _place(result, order)))


def _measured(contract: Contract, subject: Subject, oracle: Oracle) -> list[Finding]:
    try:
        with subject.wing.running(subject.device):
            return list(contract(subject, oracle))
    except ParitreeError as error:
        return [Finding(error.path, False, None, None, str(error))]
    except Exception as error:
        # A model is anybody's code: what it raises is a contract that does not hold, and the others are still checked.
        first = str(error).strip().partition("\n")[0]
        return [Finding("", False, None, None, f"the model raises {type(error).__name__}: {first}")]


def _results(subject: Subject, contract: str, findings: Iterable[Finding]) -> list[Result]:
    """A row for each failing path; if there is none, one for the path nearest to failing."""
    found = list(findings)
    failing = [finding for finding in found if not finding.ok]
    if not found:
        return []
    best = min if contract == "initialization" else max
    shown = failing or [best(found, key=lambda finding: finding.measured or 0.0)]
    return [
        Result(
            subject.reference.name,
            subject.wing.NAME,
            subject.device,
            contract,
            finding.path,
            "pass" if finding.ok else "fail",
            finding.measured,
            finding.allowed,
            finding.message,
        )
        for finding in shown
    ]


def _place(result: Result, order: list[ReferenceModel]) -> tuple[int, int, int]:
    names = [model.name for model in order]
    return (DEVICES.index(result.device), names.index(result.model), CONTRACTS.index(result.contract))


def _check_known(given: Iterable[str], known: Sequence[str], what: str) -> None:
    for name in given:
        if name not in known:
            raise UsageError(name, f"the name of a {what}", f"{name!r}, which is none", nearest(name, known))
