"""Sizes for a map's rows in a model of another size: lengths of axes and bounds of pieces, from the tensors' shapes.

Each row relates lengths: an axis of a tensor is as long as the names of the pattern that lie in it, or as all the spans
along it together. What is known at one end of a row tells of the other, until nothing new follows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

from ....common.layouts import Names
from .ends import Draft, End, Place, Spans


class Conflict(Exception):
    """Lengths that no model can have."""


class Solver:
    """All drafts of a map, and what they say of each other's lengths."""

    def __init__(self, drafts: Sequence[Draft], old: Mapping[Place, Sequence[tuple[int, int]]]) -> None:
        """old: the first model's spans by place."""
        self.drafts = drafts
        self.spans: dict[Place, Spans] = {}
        self.of_place: dict[Place, list[Draft]] = {}
        self.faults: dict[str, str] = {}
        for draft in drafts:
            for end, model_path in ((draft.reference, draft.model.reference), (draft.port, draft.model.port)):
                for number, axis in enumerate(end.axes):
                    if axis.order is not None:
                        spans = self.spans.setdefault((end.name, end.path, number), Spans())
                        self.of_place.setdefault((end.name, end.path, number), []).append(draft)
                        spans.orders.add(axis.order)
                        bounds = old[end.name, model_path, number]
                        alike = len({stop - start for start, stop in bounds}) == 1
                        spans.equal = len(bounds) if alike else 0

    def solve(self) -> None:
        """Find all lengths that follow; then let spans be equal that were, and find what follows from that."""
        self._settle(self.drafts)
        # All of them are asked each time, so that many layers do not take as many rounds.
        while any([self._divide(draft) for draft in self.drafts]):
            self._settle(self.drafts)

    def _settle(self, waiting: Sequence[Draft]) -> None:
        """Go over those of these drafts that are open until nothing changes."""
        while waiting:
            changed = [draft for draft in waiting if self._step(draft)]
            if not changed:
                return
            waiting = [draft for draft in waiting if draft.text not in self.faults and self.open_lengths(draft)]

    def open_lengths(self, draft: Draft) -> list[str]:
        """What of a draft is not known, in words."""
        return draft.open_lengths + [
            f"the bounds of the {end.name}'s pieces"
            for end in (draft.reference, draft.port)
            for number, axis in enumerate(end.axes)
            if axis.order is not None and self.spans[end.name, end.path, number].is_open
        ]

    def _step(self, draft: Draft) -> bool:
        try:
            changed = [self._end(draft, end) for end in (draft.reference, draft.port)]
        except Conflict as conflict:
            self.faults[draft.text] = str(conflict)
            return False
        return any(changed)

    def _end(self, draft: Draft, end: End) -> bool:
        changed = False
        for number, group in enumerate(end.groups or ()):
            lengths = {axis: self._length(draft, end, axis) for axis in group}
            unknown = [axis for axis, length in lengths.items() if length is None]
            known = prod(length for length in lengths.values() if length is not None)
            whole = end.shape[number]
            if whole is None and not unknown:
                end.shape[number], changed = known, True
            elif whole is not None and len(unknown) == 1:
                lengths[unknown[0]] = self._divided(whole, known, end)
            elif whole is not None and not unknown and whole != known:
                raise Conflict(f"{end.path} has an axis of length {whole} and not {known}")
            for axis, length in lengths.items():
                changed |= self._within(draft, end, axis, length)
        return changed

    @staticmethod
    def _divided(whole: int, known: int, end: End) -> int:
        if not known or whole % known:
            raise Conflict(f"{end.path} has an axis of length {whole}, which {known} does not divide")
        return whole // known

    def _length(self, draft: Draft, end: End, number: int) -> int | None:
        """How long an axis of the view is, as far as its names or spans tell."""
        axis = end.axes[number]
        if axis.length is not None or axis.place is not None:
            return axis.length
        if axis.order is not None:
            return self.spans[end.name, end.path, number].total
        count = self._count(draft, axis.names)
        return None if count is None else count * axis.step

    @staticmethod
    def _count(draft: Draft, names: Names) -> int | None:
        found = 1
        for name in names:
            if name not in draft.lengths:
                return None
            found *= draft.lengths[name]
        return found

    def _within(self, draft: Draft, end: End, number: int, length: int | None) -> bool:
        """Tell what an axis holds of its length, and the other way round; whether that was new."""
        axis = end.axes[number]
        changed = axis.length is None and length is not None
        axis.length = length
        if axis.place is not None:
            return changed
        if axis.order is None:
            entries = None if length is None else len(range(axis.start, length, axis.step))
            return self._name(draft, end, axis.names, entries) or changed
        spans = self.spans[end.name, end.path, number]
        if axis.order not in spans.lengths:
            count = self._count(draft, axis.names)
            if count is None and length is not None and len(spans.orders) - len(spans.lengths) == 1:
                count = length - spans.taken
                if count < 0:
                    raise Conflict(f"{end.path} has an axis of length {length} for pieces of {spans.taken}")
            if count is not None:
                spans.give(axis.order, count)
                changed = True
        return self._name(draft, end, axis.names, spans.lengths.get(axis.order)) or changed

    def _name(self, draft: Draft, end: End, names: Names, entries: int | None) -> bool:
        """Give the one name without a length its own."""
        unknown = [name for name in names if name not in draft.lengths]
        if entries is None:
            return False
        known = prod(draft.lengths[name] for name in names if name in draft.lengths)
        if not unknown and known != entries:
            raise Conflict(f"{end.path} has {entries} entries where the other side has {known}")
        if len(unknown) != 1:
            return False
        draft.lengths[unknown[0]] = self._divided(entries, known, end)
        return True

    def _divide(self, draft: Draft) -> bool:
        """Let the spans of an axis be equal that were, unless another axis tells that they are not; whether any is.

        What follows for the rows of that axis is found at once, before another one is divided.
        """
        changed = False
        for end in (draft.reference, draft.port):
            for number, group in enumerate(end.groups or ()):
                whole = end.shape[number]
                place = end.name, end.path, group[0]
                spans = self.spans.get(place)
                if len(group) > 1 or whole is None or spans is None or not spans.equal:
                    continue
                count = len(spans.orders)
                if not spans.lengths and not whole % count and _in_proportion(end, number, spans):
                    for order in spans.orders:
                        spans.give(order, whole // count)
                    self._settle(self.of_place[place])
                    changed = True
        return changed


def _in_proportion(end: End, number: int, spans: Spans) -> bool:
    """Whether every other axis that had the length of one span still has it."""
    whole = end.shape[number] or 0
    return all(
        old * spans.equal != end.old_shape[number] or length * len(spans.orders) == whole
        for other, (old, length) in enumerate(zip(end.old_shape, end.shape, strict=True))
        if other != number and length is not None
    )
