"""The contract of values: what a port holds that was given the reference's weights, and whether it was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ...common.errors import ParitreeError
from ...common.tables import counted
from ...pairs.closeness import relative_error
from ...pairs.comparison import Bound
from ...pairs.maps import MapRow, Piece
from ...pairs.side import Weights
from ..explain import Diagnosis, Origins, looks_drawn, other_merging
from ..results import Finding

# As equal as a carried value is: one rounding, where a sum or a transform makes it.
_LIMIT = 4 * float(np.finfo(np.float32).eps)
# Causes with which an array has nothing of the reference's values; two small ones may be alike by chance.
_OWN = ("not carried", "zero", "shape", "not finite", "")
_UNKNOWN = ("not carried", "close", "")
_LEAST_VALUES = 4
_REMEDY = "Carry it by the map: paritree.carry(reference, port, map)."


def values(bound: Bound) -> Iterator[Finding]:
    """Both sides hold one set of weights, if they hold one at all: a port that was given the reference's.

    Two models that were each initialized by itself are no such pair, and neither are two factories. A port was given
    the reference's weights if it holds any of them, rightly or in a way that is known: transposed, scaled, in another
    place, rounded. Constants tell nothing, and neither does what a formula makes: both sides have them from the start.
    """
    if (bound.reference.factory or bound.port.factory) and not bound.port.is_loaded:
        yield Finding("", None, None, None, "a side is a factory, which draws values of its own")
        return
    absent = [path for path in bound.map.by_port if path not in bound.port.stored_tensors]
    if absent:
        words = f"{absent[0]}: the map has it and the port has no tensor of its own there, whose values could be told"
        yield Finding("", None, None, None, words)
        return
    try:
        parts = _parts(bound)
    except ParitreeError as error:
        yield Finding("", None, None, None, f"the weights cannot be carried: {error}")
        return
    diagnoses = _diagnoses(parts) | _otherwise(bound, parts)
    not_given = _not_given(bound, parts, diagnoses)
    if not_given is not None:
        yield not_given
        return
    for part in parts:
        row, diagnosis = part.rows[0], diagnoses.get(part.name)
        words = f"{part.name}: what the port holds {diagnosis.words} ({part.told()}). {_REMEDY}" if diagnosis else ""
        module, cause = (bound.modules(row), diagnosis.cause) if diagnosis else ("", "")
        ok = diagnosis is None
        yield Finding(row.reference, ok, part.error, _LIMIT, words, row.port, "one rounding", cause, module)


@dataclass(frozen=True, eq=False)
class _Part:
    """What the port has of one row, or of the rows of one sum or one tensor's copies, and what it should be.

    given: what the reference has of the first. alone: of a sum in the port, each summand by its path.
    """

    name: str
    rows: Sequence[MapRow]
    given: np.ndarray
    found: np.ndarray
    expected: np.ndarray
    alone: Mapping[str, np.ndarray]

    @cached_property
    def error(self) -> float:
        # What is not finite has no distance from itself.
        if np.array_equal(self.found, self.expected):
            return 0.0
        return relative_error(self.found.astype(np.float64), self.expected.astype(np.float64))

    @property
    def tells(self) -> bool:
        """Whether it is no constant on both sides, which any two models may have in common."""
        return any((array != array.flat[0]).any() for array in (self.found, self.expected) if array.size)

    def told(self) -> str:
        """What the map says of it."""
        row = self.rows[0]
        sources = dict.fromkeys(f"{each.reference}{each.reference_piece}" for each in self.rows)
        source = (" + " if row.summed else " = ").join(sources)
        how = f"{row.layout!r}" + (f" and {row.transform!r}" if row.transform else "")
        if len(self.rows) == 1 and np.array_equal(self.given, self.found):
            return f"{source} as it is, where the map has {how}"
        return f"by the map {source} with {how}"


def _parts(bound: Bound) -> list[_Part]:
    """Of every tensor that the map is about."""
    weights = {path: native.array for path, native in bound.reference.tensors.items()}
    expected = bound.carried(weights)
    ends = Counter((row.port, row.port_piece) for row in bound.map.rows)
    groups: dict[tuple[str, Piece, bool], list[MapRow]] = {}
    for row in bound.map.rows:
        # What the port adds up again may be shared out among its tensors in any way.
        is_shared = row.summed and ends[row.port, row.port_piece] == 1
        end = (row.reference, row.reference_piece) if is_shared else (row.port, row.port_piece)
        groups.setdefault((*end, is_shared), []).append(row)
    return [
        _shared(bound, rows, weights) if is_shared else _part(bound, rows, weights, expected)
        for (_, _, is_shared), rows in groups.items()
    ]


def _part(bound: Bound, rows: Sequence[MapRow], weights: Weights, expected: Weights) -> _Part:
    row = rows[0]
    given = row.reference_piece.of(weights[row.reference])
    alone = {each.reference: each.to_port(weights[each.reference]) for each in rows if row.summed}
    wanted = row.port_piece.of(expected[row.port])
    return _Part(_name(row), rows, given, _held(bound, row), wanted, alone)


def _shared(bound: Bound, rows: Sequence[MapRow], weights: Weights) -> _Part:
    """The sum of several tensors of the port, in the reference's axes."""
    held = [(row, _held(bound, row)) for row in rows]
    misshapen = [array for row, array in held if array.shape != row.port_piece.shape(row.port_shape)]
    found = misshapen[0] if misshapen else sum(row.to_reference(array) for row, array in held)
    row = rows[0]
    wanted = row.reference_piece.of(weights[row.reference])
    return _Part(" + ".join(map(_name, rows)), rows, wanted, np.asarray(found), wanted, {})


def _name(row: MapRow) -> str:
    return f"{row.port}{row.port_piece}"


def _held(bound: Bound, row: MapRow) -> np.ndarray:
    array = bound.port.stored_tensors[row.port].array
    return row.port_piece.of(array) if array.shape == tuple(row.port_shape) else array


def _diagnoses(parts: Sequence[_Part]) -> dict[str, Diagnosis]:
    """What those are that are wrong, by name."""
    origins = Origins({part.name: part.expected for part in parts}, _LIMIT)
    told = {part.name: _diagnosis(origins, part) for part in parts if not part.error <= _LIMIT}
    for group in _packed(parts):
        unknown = [part.name for part in group if part.name in told and told[part.name].cause in _UNKNOWN]
        if unknown:
            found, expected = (np.concatenate([each.ravel() for each in arrays]) for arrays in _arrays(group))
            whole = Origins({"": expected}, _LIMIT).diagnosis(found, "")
            if whole.cause == "permuted":
                words = f"is a part of what {whole.words}: {', '.join(part.name for part in group)}"
                told.update((name, Diagnosis(whole.cause, words)) for name in unknown)
    return told


def _diagnosis(origins: Origins, part: _Part) -> Diagnosis:
    for path, array in part.alone.items():
        if np.array_equal(array, part.found) and part.tells:
            return Diagnosis("missing summand", f"is {path} alone, without what is added to it")
    return origins.diagnosis(part.found, part.name)


def _otherwise(bound: Bound, parts: Sequence[_Part]) -> dict[str, Diagnosis]:
    """What those are that are wrong and of a weight norm that one side alone has, where that is known, by name."""
    wrong = [part for part in parts if not part.error <= _LIMIT and len(part.rows) == 1]
    found = {part.name: other_merging(bound, part.rows[0], part.found, part.expected, _LIMIT) for part in wrong}
    return {name: each for name, each in found.items() if each is not None}


def _packed(parts: Sequence[_Part]) -> Iterator[list[_Part]]:
    """The parts of one tensor of either side: who cuts it in another way mixes them."""
    for side in ("port", "reference"):
        groups: dict[str, list[_Part]] = {}
        for part in parts:
            groups.setdefault(getattr(part.rows[0], side), []).append(part)
        yield from (group for group in groups.values() if len(group) > 1)


def _arrays(parts: Sequence[_Part]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    return [part.found for part in parts], [part.expected for part in parts]


def _not_given(bound: Bound, parts: Sequence[_Part], diagnoses: Mapping[str, Diagnosis]) -> Finding | None:
    """Why nothing is to be said of the values, or what is wrong with a port that is said to be loaded."""
    telling = [part for part in parts if part.tells]
    given = [part for part in telling if _is_given(part, diagnoses.get(part.name))]
    if not telling or 2 * len(given) > len(telling) or (given and bound.port.is_loaded):
        return None
    # Two models of one framework may have drawn some tensors alike, from one seed.
    if _is_across(bound) and any(_is_proof(bound, part, diagnoses.get(part.name)) for part in given):
        return None
    what = "that is no constant holds" if len(telling) == 1 else "that are no constants hold"
    seen = f"{len(given)} of {counted(len(telling), 'tensor')} {what} the reference's, in any order, scale or precision"
    if bound.port.is_loaded:
        words = f"the port is said to be loaded and holds values of its own: {seen}. {_REMEDY}"
        return Finding("", False, None, None, words, policy="one rounding", cause="not carried")
    hint = "If it was loaded, Pair(..., loaded=True) makes this a failure."
    return Finding("", None, None, None, f"the port holds values of its own: {seen}. {hint}")


def _is_given(part: _Part, diagnosis: Diagnosis | None) -> bool:
    """Whether a part holds values of the reference's, be they right or not."""
    return diagnosis is None or (diagnosis.cause not in _OWN and part.found.size >= _LEAST_VALUES)


def _is_across(bound: Bound) -> bool:
    """Whether one side is of PyTorch and the other of JAX."""
    return (bound.reference.wing.NAME == "torch") != (bound.port.wing.NAME == "torch")


def _is_proof(bound: Bound, part: _Part, diagnosis: Diagnosis | None) -> bool:
    """Whether models of two frameworks cannot both hold this unless one was given it."""
    is_close = diagnosis is not None and diagnosis.cause == "close"
    return bound.reference.is_free(part.rows[0].reference) and not is_close and looks_drawn(part.expected)
