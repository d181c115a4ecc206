"""The steps of an alignment, in order: a symmetric point, fingerprints, what they leave open, a proof."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

from ...common.maps import Map
from ...common.pairs import Pair
from ...common.tolerance import allowed
from .errors import AlignmentError, listed
from .leftovers import settle_by_module, settle_by_name, settle_by_value
from .matching import Matching, map_of, matched, with_silent_options
from .points import symmetric_weights, uneven
from .proof import prove
from .sides import Side, check_dtype, side_of, wing_of


def align(pair: Pair, *, dtype: str = "float32") -> Map:
    """The map from the reference to the port: which tensor is which and with which axes, measured and then proved.

    It needs no names and no rules. Both models are set to a point at which every candidate holds the same numbers;
    equal gradients there find the partners (see `contents` and `fingerprints`), weaker evidence settles what has none
    (see `leftovers`), and distinct values carried across must give equal outputs and gradients (see `proof`). Each row
    says what settled it. The models are not changed.

    dtype: what both sides compute in, `float32` or `float64`, on the CPU.

    Raises:
        AlignmentError: the programs differ, a row is open, or the proof failed: what and by how much.
        PairError: outputs of unequal structure or shape.
        UsageError: a side that is no model; NotExpressibleError: an output that is no structure of arrays.
    """
    check_dtype(dtype)
    with ExitStack() as stack:
        for model in (pair.reference, pair.port):
            stack.enter_context(wing_of(model).running("cpu", dtype))
        reference = side_of("reference", pair.reference, pair.inputs, pair.reference_call, dtype)
        port = side_of("port", pair.port, pair.inputs, pair.port_call, dtype)
        return _aligned(reference, port, allowed(max(len(reference.tensors), 1), dtype))


def _aligned(reference: Side, port: Side, limit: float) -> Map:
    found = matched(reference, port, symmetric_weights(reference, port), limit)
    ledger = with_silent_options(found, reference, port)
    settle_by_module(ledger)
    settle_by_value(ledger, reference.values, port.values)
    settle_by_module(ledger)
    settle_by_name(ledger)
    made = map_of(ledger, reference, port)
    _check_nothing_open(made, found, reference, port)
    prove(made, reference, port, limit)
    return replace(made, verified=True)


def _check_nothing_open(made: Map, found: Matching, reference: Side, port: Side) -> None:
    """A tensor may be without a partner where it has none to choose from and no effect.

    Raises:
        AlignmentError: every other one, with its candidates.
    """
    options = found.ledger.options
    faults = [
        f"{path} may be {' or '.join(options[path])}, and nothing measured tells which"
        for path in made.unmatched_reference
        if options.get(path)
    ]
    for side, unmatched, heard in zip(
        (reference, port), (made.unmatched_reference, made.unmatched_port), found.heard, strict=True
    ):
        other = port if side is reference else reference
        faults += [
            f"{path} of the {side.role} has a gradient that no open one of the {other.role} has"
            for path in unmatched
            if path in heard and not options.get(path)
        ]
    if faults:
        raise AlignmentError(
            "",
            "a partner for every tensor that the outputs depend on",
            f"{len(faults)} without: {listed(faults)}",
            f"Compare the ties, and what these are used for. {uneven(reference, port)}".rstrip(),
        )
