"""The proof: each tensor gets values of its own, the map carries them across, and both sides must tell the same.

With values of ordinary size nonlinearities show; with small ones what is added to a variance. At the other points only
outputs are compared: faint values show even the least that is added, large ones of either sign bounds and lost signs.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from typing import NamedTuple

import numpy as np

from ...common.errors import listed
from ...common.wing import PairError, Probe
from ...pairs.closeness import is_comparable, is_zero_gradient, largest_gradient, relative_error
from ...pairs.comparison import Bound, Comparison, Point
from ...pairs.kept import kept_rows
from ...pairs.maps import MapRow
from ...pairs.precision import COARSEST, ROUNDINGS
from .errors import AlignmentError


def prove(comparison: Comparison) -> None:
    """Raise AlignmentError, with all that disagrees, unless both sides agree under the map at all points.

    What has no row has values of its own on either side: one that has an effect is seen.
    """
    bound, limit = comparison.bound, comparison.limit
    for point in (bound.ordinary, bound.quiet):
        faults = apart_at(comparison, point)
        if faults:
            raise AlignmentError(
                "",
                f"outputs and gradients that agree within {limit:.1e} once distinct values are carried across",
                f"{len(faults)} that do not: {listed([fault.text for fault in faults])}",
                "The programs differ, or these rows are not right; no map was made.",
            )
    _check_outer_points(comparison)


def outputs_agree_at_all_points(comparison: Comparison) -> bool:
    """Whether the outputs do; of the gradients nothing is asked."""
    try:
        for point in (comparison.bound.ordinary, comparison.bound.quiet):
            _check_outputs(comparison, point)
        _check_outer_points(comparison)
    except (AlignmentError, PairError):
        return False
    return True


def apart_at(comparison: Comparison, point: Point) -> list[Disagreement]:
    """The outputs and gradients that differ at a point by more than rounding explains."""
    bound = comparison.bound
    probes = comparison.probes_at(point) if point.name else comparison.probes
    halted = frozenset(row.reference for row in bound.map.rows if bound.is_halted(row))
    faults = disagreements(bound, probes, comparison.limit, bool(point.name), halted)
    if faults:
        faults = _beyond_rounding(faults, probes[0], comparison.rounding_at(point, gradients=True).exact)
    if all(fault.row is not None for fault in faults):
        faults = [fault for fault in faults if not _is_kept(comparison, point, probes, fault.row)]
    return faults


def _check_outer_points(comparison: Comparison) -> None:
    for point in comparison.bound.outer_points:
        milder = None if _check_outputs(comparison, point) else comparison.bound.less_faint(point)
        if milder is not None:
            _check_outputs(comparison, milder)


def _check_outputs(comparison: Comparison, point: Point) -> bool:
    """Whether all could be compared: not where rounding chooses, as between experts that are equal but for it.

    Raises:
        AlignmentError: outputs that differ by more than rounding.
    """
    ours, theirs = comparison.outputs_at(point)
    # Where the reference has no number, as the root of a negative one, nothing can be compared.
    comparable = {output for output, array in ours.items() if is_comparable(array)}
    faults = [fault for fault in outputs_apart(ours, theirs, comparison.limit) if fault.name in comparable]
    exact = comparison.rounding_at(point).exact if faults else None
    if exact is not None:
        rounding = {fault.name: relative_error(ours[fault.name], exact.outputs[fault.name]) for fault in faults}
        faults = [fault for fault in faults if not fault.size <= ROUNDINGS * rounding[fault.name]]
    shaken = comparison.shaken_at(point) if faults and point.name else {}
    told = [fault for fault in faults if not shaken.get(fault.name, 0.0) > COARSEST]
    if told:
        raise AlignmentError(
            "",
            f"outputs that agree within {comparison.limit:.1e} at {point.name} too",
            listed([fault.text for fault in told]),
            "The programs differ where values are small or large, as in an eps or a bound; no map was made.",
        )
    return len(told) == len(faults)


class Disagreement(NamedTuple):
    """What differs (a row, or an output of a name), and by how much of its norm."""

    text: str
    size: float
    row: MapRow | None = None
    name: str = ""


def _beyond_rounding(faults: list[Disagreement], ours: Probe, exact: Probe | None) -> list[Disagreement]:
    """Those that the reference's own rounding does not explain.

    A gradient that is a small difference of large numbers (a query's under a nearly uniform attention) is rounded
    coarsely on both sides. How coarsely, the reference's own float64 run tells; a wrong partner is wrong by all of it.
    """
    if exact is None:
        return faults
    return [fault for fault in faults if fault.row is None or not _explained(fault.row, fault.size, ours, exact)]


def _is_kept(comparison: Comparison, point: Point, probes: tuple[Probe, Probe], row: MapRow | None) -> bool:
    """Whether a gradient differs in rows alone that one side keeps from training, where the outputs agree.

    That is a fault of the port's, and none of the map: the contract of gradients tells it.
    """
    both = comparison.bound.gradients(row, *(probe.gradients for probe in probes)) if row is not None else None
    return row is not None and both is not None and bool(kept_rows(comparison, row, point, *both, comparison.limit))


def _explained(row: MapRow, size: float, ours: Probe, exact: Probe) -> bool:
    piece, path = row.reference_piece, row.reference
    rounding = relative_error(piece.of(ours.gradients[path]).astype(np.float64), piece.of(exact.gradients[path]))
    return rounding <= COARSEST and size <= ROUNDINGS * rounding


def disagreements(
    bound: Bound, probes: tuple[Probe, Probe], limit: float, quiet: bool, halted: Container[str] = ()
) -> list[Disagreement]:
    """What differs by more than `limit` of its norm, the outputs first, then the rows by the size of the error.

    halted: the reference's paths of which one side may have no gradient.
    """
    largest = largest_gradient(probes[0].gradients), largest_gradient(probes[1].gradients)
    rows = bound.map.rows
    apart = [(_apart(bound, row, probes, largest, limit, quiet, row.reference in halted), row) for row in rows]
    apart.sort(key=lambda each: -each[0])
    return outputs_apart(probes[0].outputs, probes[1].outputs, limit) + [
        Disagreement(f"the gradient of {_named(row)} by {size:.1e}", size, row)
        for size, row in apart
        if not size <= limit
    ]


def _named(row: MapRow) -> str:
    return f"{row.reference}{row.reference_piece} (= {row.port}{row.port_piece}, by {row.evidence})"


def _apart(
    bound: Bound,
    row: MapRow,
    probes: tuple[Probe, Probe],
    largest: tuple[float, float],
    limit: float,
    quiet: bool,
    is_halted: bool,
) -> float:
    """The error of a row's gradient, 0 where neither side has more than rounding to tell of it."""
    both = bound.gradients(row, probes[0].gradients, probes[1].gradients)
    if both is None:
        return 0.0
    ours, theirs = both
    zero = is_zero_gradient(ours, largest[0], limit), is_zero_gradient(theirs, largest[1], limit)
    if (is_halted and any(zero)) or (all(zero) and _may_be_zero(row, quiet)):
        return 0.0
    return relative_error(ours, theirs)


def _may_be_zero(row: MapRow, quiet: bool) -> bool:
    """At the ordinary point no tensor that had a fingerprint may hide behind rounding."""
    return quiet or row.evidence != "fingerprint"


def outputs_apart(
    reference: Mapping[str, np.ndarray], port: Mapping[str, np.ndarray], limit: float
) -> list[Disagreement]:
    """The outputs that differ by more than `limit` of their norm."""
    faults = []
    for name, other, size in output_errors(reference, port):
        if not size <= limit:
            place = f"output {name!r}" if name else "the output"
            partner = f" (= {other!r})" if other != name else ""
            faults.append(Disagreement(f"{place}{partner} by {size:.1e}", size, name=name))
    return faults


def output_errors(
    reference: Mapping[str, np.ndarray], port: Mapping[str, np.ndarray]
) -> Iterable[tuple[str, str, float]]:
    """(name, the port's name, error) for each output; by place in the structure where the names differ."""
    names = list(reference) if set(reference) == set(port) else list(port)
    return [
        (name, other, relative_error(port[other], reference[name]))
        for name, other in zip(reference, names, strict=True)
    ]
