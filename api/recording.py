"""`paritree.record`: what one side of a pair tells, asked by the very alignment and checks that it is to answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .common.devices import one_device
from .common.wing import Accident, Call, Inputs, PairError, model_of
from .conformance.check import DEFAULT_CONTRACTS, Examination, Wanted, check_pair
from .conformance.report import Report
from .conformance.results import Result
from .migration import AlignmentError, aligned
from .pairs.comparison import Bound
from .pairs.modes import measuring
from .pairs.pair import Pair
from .pairs.records import MOST_BYTES, Record, Recorder, RecordError, identity_map
from .pairs.side import Side, sides_of
from .pairs.wings import side_wing

# A model that fails one of these against itself can be the reference of none.
_NEEDED = ("forward", "determinism")


@measuring()
def record(
    model: Any,
    inputs: Inputs,
    file: str | Path | None = None,
    *,
    call: Call | None = None,
    train_call: Call | None = None,
    contracts: Sequence[str] = DEFAULT_CONTRACTS,
    precisions: Sequence[str] = ("float32",),
    device: str = "cpu",
    seed: int = 0,
    activations: bool = False,
    activation_limit: int = MOST_BYTES,
    progress: Callable[[str], None] = lambda what: None,
) -> Record:
    """A record of one side, to be the reference of a pair where its framework is not, or after it has changed.

    It holds the table with all values, and what the model answers when it is aligned and checked against itself:
    outputs, gradients, the shares of sites, what training leaves, both modes, what comes back from each way of saving
    and, of a factory, initial values. What depends on the port cannot be foreseen: see docs/records.md.

    model, inputs, call, train_call: those of one side of a `Pair`.
    file: where to save it, if anywhere; a safetensors file.
    contracts: those that it is to answer. precisions: those they are to be checked at.
    seed: that of the checks that it is to answer.
    activations: whether to keep what each call of a module takes and gives, at each of the values that are recorded, so
        that a check against the record says in which module a port differs, and by what.
    activation_limit: how many bytes of them there may be.
    device: where the model is run. What was recorded on one is the reference on any other.

    Raises:
        PairError: a model that raises or does not take the inputs; a record.
        RecordError: a model that does not agree with itself, as one that is random, a dtype that has no name there, or
            more activations than are allowed.
        UsageError: what is no model; a contract, precision or device that does not exist; a call from inside of a
            function that is traced. DeviceError: no such device.
        OSError: the file cannot be written.
    """
    live = model_of(model, role="model")
    if isinstance(live, Record):
        raise PairError("model", "a live model", "a record", "It is recorded already.")
    wing = side_wing(live)
    recorder = Recorder(model, live, wing, inputs, call, train_call, activation_limit if activations else None)
    pair = Pair(recorder, model, inputs, call, call, train_call, train_call)
    wanted = Wanted(contracts, (), precisions, one_device(device), seed=seed)
    with _one_model():
        progress("aligning")
        sides = sides_of(pair)
        notes = list(_aligned(*sides))
        report = _checked(*sides, wanted, progress)
    if activations and not recorder.has_activations:
        notes.append(
            "it has no activations: its program has no modules, or cannot be run while their calls are watched"
        )
    made = recorder.record([*notes, *_said(report)], seed)
    if file is not None:
        made.save(file)
    return made


@contextmanager
def _one_model() -> Iterator[None]:
    """Errors of a side as those of the model, which is both sides."""
    try:
        yield
    except (PairError, Accident) as error:
        if error.path not in ("reference", "port"):
            raise
        remedy = error.remedy.replace("Give the pair a reference_call or a port_call.", "Give it a call.")
        raise type(error)("model", error.expected, error.found, remedy) from error.__cause__


def _aligned(reference: Side, port: Side) -> Iterator[str]:
    """Asks what an alignment asks; says why, if it cannot."""
    try:
        aligned(reference, port)
    except AlignmentError as error:
        yield f"no port can be aligned with it, so that a check against it needs a map: {error}"


def _checked(reference: Side, port: Side, wanted: Wanted, progress: Callable[[str], None]) -> Report:
    """Asks what the contracts ask; raises RecordError for a model that does not agree with itself."""
    same = identity_map(port.stored_tensors, port.stored_tensors, (port.wing.NAME, port.wing.NAME))
    examination = Examination(Bound(reference, port, same, seed=wanted.seed), wanted, name="model")
    report = check_pair(examination, progress)
    apart = [result for result in report.failures if result.contract in _NEEDED]
    if apart:
        expected = "a model that gives the same in every run"
        raise RecordError("", expected, apart[0].message, "If it draws random numbers, fix their seed.")
    return report


def _said(report: Report) -> Iterator[str]:
    """Of the contracts that cannot be answered."""
    for result in report.results:
        if result.status == "fail":
            yield _sentence(result)


def _sentence(result: Result) -> str:
    return f"against itself, {result.contract} at {result.precision}: {result.message}"
