"""Sizes for a map's rows in a model of another size: lengths of axes and bounds of pieces, from the tensors' shapes.

Each row relates lengths: an axis of a tensor is as long as the names of the pattern that lie in it, or as all the spans
along it together. What is known of one piece of a row tells of the other, until nothing new follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from ....common.layouts import Names
from .drafts import AxisKey, AxisSpans, PieceDraft, RowDraft


class Conflict(Exception):
    """Lengths that no model can have."""


class Solver:
    """All drafts of a map, and what they say of each other's lengths."""

    def __init__(self, drafts: Sequence[RowDraft], old: Mapping[AxisKey, Sequence[tuple[int, int]]]) -> None:
        """old: the first model's spans by axis."""
        self.drafts = drafts
        self.spans: dict[AxisKey, AxisSpans] = {}
        self.of_axis: dict[AxisKey, list[RowDraft]] = {}
        self.faults: dict[str, str] = {}
        for draft in drafts:
            for piece, old_path in ((draft.reference, draft.old.reference), (draft.port, draft.old.port)):
                for number, axis in enumerate(piece.axes):
                    if axis.order is not None:
                        spans = self.spans.setdefault((piece.side, piece.path, number), AxisSpans())
                        self.of_axis.setdefault((piece.side, piece.path, number), []).append(draft)
                        spans.orders.add(axis.order)
                        bounds = old[piece.side, old_path, number]
                        alike = len({stop - start for start, stop in bounds}) == 1
                        spans.equal = len(bounds) if alike else 0

    def solve(self) -> None:
        """Find all lengths that follow; then let spans be equal that were, and find what follows from that."""
        self._settle(self.drafts)
        # All of them are asked each time, so that many layers do not take as many rounds.
        while any([self._divide(draft) for draft in self.drafts]):
            self._settle(self.drafts)

    def _settle(self, waiting: Sequence[RowDraft]) -> None:
        """Go over those of these drafts that are open until nothing changes."""
        while waiting:
            changed = [draft for draft in waiting if self._step(draft)]
            if not changed:
                return
            waiting = [draft for draft in waiting if draft.text not in self.faults and self.open_lengths(draft)]

    def open_lengths(self, draft: RowDraft) -> list[str]:
        """What of a draft is not known, in words."""
        return draft.open_lengths + [
            f"the bounds of the {piece.side}'s pieces"
            for piece in (draft.reference, draft.port)
            for number, axis in enumerate(piece.axes)
            if axis.order is not None and self.spans[piece.side, piece.path, number].is_open
        ]

    def _step(self, draft: RowDraft) -> bool:
        try:
            changed = [self._follow(draft, piece) for piece in (draft.reference, draft.port)]
        except Conflict as conflict:
            self.faults[draft.text] = str(conflict)
            return False
        return any(changed)

    def _follow(self, draft: RowDraft, piece: PieceDraft) -> bool:
        changed = False
        for number, group in enumerate(piece.groups or ()):
            lengths = {axis: self._length(draft, piece, axis) for axis in group}
            unknown = [axis for axis, length in lengths.items() if length is None]
            known = prod(length for length in lengths.values() if length is not None)
            whole = piece.shape[number]
            if whole is None and not unknown:
                piece.shape[number], changed = known, True
            elif whole is not None and len(unknown) == 1:
                lengths[unknown[0]] = self._divided(whole, known, piece)
            elif whole is not None and not unknown and whole != known:
                raise Conflict(f"{piece.path} has an axis of length {whole} and not {known}")
            for axis, length in lengths.items():
                changed |= self._within(draft, piece, axis, length)
        return changed

    @staticmethod
    def _divided(whole: int, known: int, piece: PieceDraft) -> int:
        if not known or whole % known:
            raise Conflict(f"{piece.path} has an axis of length {whole}, which {known} does not divide")
        return whole // known

    def _length(self, draft: RowDraft, piece: PieceDraft, number: int) -> int | None:
        """How long an axis of the view is, as far as its names or spans tell."""
        axis = piece.axes[number]
        if axis.length is not None or axis.index is not None:
            return axis.length
        if axis.order is not None:
            return self.spans[piece.side, piece.path, number].total
        count = self._count(draft, axis.names)
        return None if count is None else count * axis.step

    @staticmethod
    def _count(draft: RowDraft, names: Names) -> int | None:
        found = 1
        for name in names:
            if name not in draft.lengths:
                return None
            found *= draft.lengths[name]
        return found

    def _within(self, draft: RowDraft, piece: PieceDraft, number: int, length: int | None) -> bool:
        """Tell what an axis holds of its length, and the other way round; whether that was new."""
        axis = piece.axes[number]
        changed = axis.length is None and length is not None
        axis.length = length
        if axis.index is not None:
            return changed
        if axis.order is None:
            entries = None if length is None else len(range(axis.start, length, axis.step))
            return self._name(draft, piece, axis.names, entries) or changed
        spans = self.spans[piece.side, piece.path, number]
        if axis.order not in spans.lengths:
            count = self._count(draft, axis.names)
            if count is None and length is not None and len(spans.orders) - len(spans.lengths) == 1:
                count = length - spans.taken
                if count < 0:
                    raise Conflict(f"{piece.path} has an axis of length {length} for pieces of {spans.taken}")
            if count is not None:
                spans.give(axis.order, count)
                changed = True
        return self._name(draft, piece, axis.names, spans.lengths.get(axis.order)) or changed

    def _name(self, draft: RowDraft, piece: PieceDraft, names: Names, entries: int | None) -> bool:
        """Give the one name without a length its own."""
        unknown = [name for name in names if name not in draft.lengths]
        if entries is None:
            return False
        known = prod(draft.lengths[name] for name in names if name in draft.lengths)
        if not unknown and known != entries:
            raise Conflict(f"{piece.path} has {entries} entries where the other side has {known}")
        if len(unknown) != 1:
            return False
        draft.lengths[unknown[0]] = self._divided(entries, known, piece)
        return True

    def _divide(self, draft: RowDraft) -> bool:
        """Let the spans of an axis be equal that were, unless another axis tells that they are not; whether any is.

        What follows for the rows of that axis is found at once, before another one is divided.
        """
        changed = False
        for piece in (draft.reference, draft.port):
            for number, group in enumerate(piece.groups or ()):
                whole = piece.shape[number]
                key = piece.side, piece.path, group[0]
                spans = self.spans.get(key)
                if len(group) > 1 or whole is None or spans is None or not spans.equal:
                    continue
                count = len(spans.orders)
                if not spans.lengths and not whole % count and _in_proportion(piece, number, spans):
                    for order in spans.orders:
                        spans.give(order, whole // count)
                    self._settle(self.of_axis[key])
                    changed = True
        return changed


def _in_proportion(piece: PieceDraft, number: int, spans: AxisSpans) -> bool:
    """Whether every other axis that had the length of one span still has it."""
    whole = piece.shape[number] or 0
    return all(
        old * spans.equal != piece.old_shape[number] or length * len(spans.orders) == whole
        for other, (old, length) in enumerate(zip(piece.old_shape, piece.shape, strict=True))
        if other != number and length is not None
    )
