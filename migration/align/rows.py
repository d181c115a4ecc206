"""From assigned parts to the rows of a map, and values carried by rows that are not all there yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import chain, count, pairwise
from math import prod
from string import ascii_lowercase

import numpy as np

from ...pairs.maps import Map, MapRow, Piece
from ...pairs.side import Side
from .additive import Addend
from .axis_groupings import EVERY, REVERSED, Factors, Part, Runs
from .candidates import Candidates, Match
from .errors import AlignmentError
from .fingerprints import Order, Shuffle
from .points import Hypothesis

Arrays = Mapping[str, np.ndarray]


def rows_of(candidates: Candidates, hypothesis: Hypothesis, reference: Side, port: Side) -> list[MapRow]:
    """The assigned rows in the reference's order, those that add to the same part of the port one after the other."""
    made = [
        _row(candidates, candidates.parts[0][key], match, hypothesis, reference, port)
        for path in reference.tensors
        for key in _assigned_keys(candidates, path)
        for match in candidates.copied.get(key, [candidates.matches[key]])
    ]
    return list(_with_addends(made, hypothesis, reference, port))


def map_of(candidates: Candidates, hypothesis: Hypothesis, reference: Side, port: Side) -> Map:
    """The rows of tensors all of whose parts are assigned, on both sides; not proved yet."""
    rows = rows_of(candidates, hypothesis, reference, port)
    whole = [{path for path in side.tensors if candidates.is_whole(side.number, path)} for side in (reference, port)]
    # A tensor goes with all its rows, and may take another one with it.
    while True:
        kept = [row for row in rows if row.reference in whole[0] and row.port in whole[1]]
        dropped = [row for row in rows if row.reference not in whole[0] or row.port not in whole[1]]
        if len(kept) == len(rows):
            break
        whole[0] -= {row.reference for row in dropped}
        whole[1] -= {row.port for row in dropped}
        rows = kept
    ours, theirs = {row.reference for row in rows}, {row.port for row in rows}
    left = [[path for path in side.tensors if path not in done] for side, done in ((reference, ours), (port, theirs))]
    # What is frozen and has no partner is a constant, as a table of sinusoids: the other side has it in its program.
    constants = [tuple(filter(side.is_frozen, paths)) for side, paths in zip((reference, port), left, strict=True)]
    return Map(
        tuple(rows),
        (reference.wing.NAME, port.wing.NAME),
        tuple(path for path in left[0] if path not in constants[0]),
        tuple(path for path in left[1] if path not in constants[1]),
        reference.ignored + constants[0],
        port.ignored + constants[1],
    )


def carried(rows: Sequence[MapRow], weights: Arrays, base: Arrays) -> dict[str, np.ndarray]:
    """The port's tensors with the rows' values, and beside them what `base` has there."""
    found: dict[str, np.ndarray] = {}
    reached: set[tuple[str, str]] = set()
    for row in rows:
        if row.port not in found:
            like = base.get(row.port)
            found[row.port] = np.zeros(row.port_shape, np.float32) if like is None else np.array(like)
        target = row.port_piece.of(found[row.port])
        position = row.port, str(row.port_piece)
        value = row.to_port(weights[row.reference])
        if row.summed and position in reached:
            target += value
        else:
            target[...] = value
        reached.add(position)
    return found


def _assigned_keys(candidates: Candidates, path: str) -> list[str]:
    partitions = candidates.partitions[0][path]
    return [part.key for part in partitions[0] if part.key in candidates.matches] if partitions else []


def _row(
    candidates: Candidates, ours: Part, match: Match, hypothesis: Hypothesis, reference: Side, port: Side
) -> MapRow:
    theirs = candidates.parts[1][match.key]
    layout, sizes = pattern(ours.factors, match.order, theirs.factors, (ours.axes, theirs.axes))
    return MapRow(
        ours.path,
        theirs.path,
        reference.shape(ours.path),
        port.shape(theirs.path),
        layout,
        match.evidence,
        sizes,
        ours.piece,
        _reversed(theirs, match.order.flips),
        hypothesis.transforms.get(theirs.path, ""),
        copied=ours.key in candidates.copied,
        reference_aliases=reference.tensors[ours.path].aliases,
        port_aliases=port.tensors[theirs.path].aliases,
    )


def _reversed(part: Part, axes: Sequence[int]) -> Piece:
    """The part's piece, read backwards along some of its axes; only a whole tensor's is."""
    if not axes:
        return part.piece
    if not part.piece.is_whole or any(len(lengths) > 1 for lengths in part.factors):
        raise AlignmentError(part.key, "a kernel as a whole that runs backwards", "a part of one")
    return Piece((), tuple(REVERSED if axis in axes else EVERY for axis in range(max(axes) + 1)))


def _with_addends(rows: Iterable[MapRow], hypothesis: Hypothesis, reference: Side, port: Side) -> Iterator[MapRow]:
    """Each row, and after it those of the tensors that are added to its own on either side."""
    followers: list[dict[str, list[tuple[str, Addend]]]] = [{}, {}]
    for side in (0, 1):
        for path, addend in hypothesis.additive[side].items():
            followers[side].setdefault(addend.partner, []).append((path, addend))
    for row in rows:
        added = []
        for side, name, piece in ((0, row.reference, row.reference_piece), (1, row.port, row.port_piece)):
            for path, addend in followers[side].get(name, ()):
                if piece.of(addend.mask).all():
                    aliases = (reference, port)[side].tensors[path].aliases
                    changes = {"reference": path, "reference_aliases": aliases}
                    added.append(changes if side == 0 else {"port": path, "port_aliases": aliases})
        yield replace(row, summed=True) if added else row
        for each in added:
            yield replace(row, summed=True, **each)


@lru_cache(maxsize=4096)
def pattern(
    ours: Factors, order: Order, theirs: Factors, axes: tuple[Runs, Runs] = ((), ())
) -> tuple[str, tuple[tuple[str, int], ...]]:
    """The einops pattern between two parts, and the lengths of the axes in its brackets.

    ours, theirs: for each axis of a part the tensor's axes that make it up.
    axes: of both which these are; as they stand if empty.
    """
    names = (ascii_lowercase[number] if number < 26 else f"a{number}" for number in count())
    long = [position for position, lengths in enumerate(ours) if prod(lengths) != 1]
    their_long = [position for position, lengths in enumerate(theirs) if prod(lengths) != 1]
    left: dict[int, list[str]] = {}
    right: dict[int, list[str]] = {}
    sizes: list[tuple[str, int]] = []
    for position in long:
        their_position = their_long[order.axes.index(long.index(position))]
        shuffle = order.shuffle if order.shuffle and long[order.shuffle.axis] == position else None
        runs = _runs(shuffle, ours[position], theirs[their_position])
        named = [[next(names) for _ in run] for run in runs]
        atoms, letters = [*chain(*runs)], [*chain(*named)]
        left[position] = _tokens(ours[position], atoms, letters)
        turned = shuffle.order if shuffle else (0,)
        their_atoms, their_letters = [*chain(*(runs[at] for at in turned))], [*chain(*(named[at] for at in turned))]
        right[their_position] = _tokens(theirs[their_position], their_atoms, their_letters)
        if any("(" in token for token in (*left[position], *right[their_position])):
            sizes += sorted(zip(letters, atoms, strict=True))
    return f"{_side(ours, left, axes[0])} -> {_side(theirs, right, axes[1])}", tuple(sizes)


def _side(factors: Factors, tokens: Mapping[int, list[str]], axes: Runs) -> str:
    """One side of a pattern: the tokens of each axis, where they stand."""
    words = [word for position, lengths in enumerate(factors) for word in tokens.get(position, ["1"] * len(lengths))]
    return " ".join(word for _, word in sorted(zip([*chain(*axes)] or count(), words, strict=False)))


def _runs(shuffle: Shuffle | None, ours: tuple[int, ...], theirs: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The lengths that one axis consists of, in runs that change places as the shuffle has it; without one, one run."""
    if shuffle is None:
        return [_atoms(ours, theirs)]
    runs = _parted(_atoms(ours, shuffle.lengths), shuffle.lengths)
    theirs_first = [runs[at] for at in shuffle.order]
    finer = _parted(_atoms(theirs, (*chain(*theirs_first),)), [prod(run) for run in theirs_first])
    return [finer[shuffle.order.index(position)] for position in range(len(runs))]


def _parted(atoms: Sequence[int], lengths: Sequence[int]) -> list[tuple[int, ...]]:
    """The atoms in runs whose products are the lengths."""
    rest, found = list(atoms), []
    for length in lengths:
        run: list[int] = []
        while prod(run) < length:
            run.append(rest.pop(0))
        found.append(tuple(run))
    return found


def _atoms(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """The coarsest lengths of which both are products of runs.

    Raises:
        AlignmentError: two factorings that cross.
    """
    ends = sorted({*np.cumprod(one[::-1]).tolist(), *np.cumprod(other[::-1]).tolist(), 1})
    if any(high % low for low, high in pairwise(ends)):
        raise AlignmentError("", f"one axis that is {one} on one side and {other} on the other", "lengths that cross")
    return tuple(high // low for low, high in pairwise(ends))[::-1]


def _tokens(factors: tuple[int, ...], atoms: Sequence[int], names: Sequence[str]) -> list[str]:
    """An axis's factors by the names of the atoms that make up each."""
    tokens, position = [], 0
    for factor in factors:
        taken: list[str] = []
        size = 1
        while size < factor:
            size *= atoms[position]
            taken.append(names[position])
            position += 1
        tokens.append("1" if not taken else taken[0] if len(taken) == 1 else f"({' '.join(taken)})")
    return tokens
