"""Guesses: what is most likely the map where none was proved, and what can be said of the programs under it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from ...pairs.comparison import Bound, Comparison
from ...pairs.localize import Localized, locate
from ...pairs.maps import Map
from ...pairs.side import Side
from .approximate import approximate
from .candidates import Candidates
from .effects import assigned_by_outputs
from .errors import AlignmentError, listed
from .freedoms import Freedoms
from .points import SymmetricPoint
from .proof import apart_at, output_errors, outputs_agree_at_all_points, prove
from .rows import map_of

# How many times as far as the outputs gradients are apart that are wrong by themselves.
ALONE = 1e3
# Causes that other weights may make up for.
FREE = ("scale", "heads", "axis order", "block order", "transposed")


@dataclass(frozen=True)
class Guess:
    """What is most likely the map at a point.

    candidates: with the likely partners as matches. bound: both sides under the likely map.
    """

    point: SymmetricPoint
    candidates: Candidates
    bound: Bound

    @staticmethod
    def of(point: SymmetricPoint, refuted: Map | None, reference: Side, port: Side) -> Guess:
        """refuted: a map of measured rows that its proof refuted, which is likelier than any guess."""
        candidates = approximate(point, reference, port)
        likely = refuted or map_of(candidates, point.hypothesis, reference, port)
        return Guess(point, candidates, Bound(reference, port, likely))

    @staticmethod
    def by_outputs(point: SymmetricPoint, reference: Side, port: Side, limit: float) -> Guess:
        """By measurement alone, at a point where the outputs agree, for where gradients are wrong."""
        candidates = assigned_by_outputs(point, reference, port, limit)
        return Guess(point, candidates, Bound(reference, port, map_of(candidates, point.hypothesis, reference, port)))

    @cached_property
    def outputs_agree(self) -> bool:
        return outputs_agree_at_all_points(self._comparison)

    @cached_property
    def place(self) -> Localized | None:
        """Where the programs part ways, at values of their own that the map carries."""
        return None if self.outputs_agree else locate(self._comparison, self.bound.ordinary)

    @property
    def where(self) -> str:
        """The place in words, or why there is none to be seen."""
        return str(self.place or ("" if self.outputs_agree else self.bound.reference.unseen))

    def freed(self, given: Mapping[str, str], limit: float, progress: Callable[[str], None]) -> Bound | None:
        """The map with what one of the programs makes up for, proved; None where there is no such thing.

        given: the partners that a person's rules name, which it must have.
        """
        cause = self.place.cause if self.place else None
        if self.outputs_agree or (cause is not None and cause.name not in FREE):
            return None
        progress("aligning: orders and factors that a program may make up for")
        reference, port = self.bound.reference, self.bound.port
        for made in Freedoms(self.candidates, self.point.hypothesis, reference, port, limit).maps():
            bound = Bound(reference, port, replace(made, verified=True))
            if any(given.get(row.reference, row.port) != row.port for row in made.rows):
                continue
            try:
                prove(bound.comparison(reference.setting))
            except AlignmentError:
                continue
            return bound
        return None

    def wrong_gradients(self) -> AlignmentError | None:
        """That the outputs agree at all points and gradients do not, as of a backward of one's own; None if they do."""
        if not self.outputs_agree:
            return None
        faults = apart_at(self._comparison, self.bound.ordinary)
        outputs = max(size for _, _, size in output_errors(*(probe.outputs for probe in self._comparison.probes)))
        # A small difference of the programs, as of an eps, shows in both; a wrong backward in the gradients alone.
        if not any(fault.size > ALONE * outputs for fault in faults):
            return None
        return AlignmentError(
            "",
            f"gradients that agree within {self._comparison.limit:.1e} where the outputs do",
            f"{len(faults)} that do not: {listed([fault.text for fault in faults])}",
            "Compare what the port does with gradients: a backward of its own, or one that is stopped.",
            found_map=self.bound.map,
        )

    @property
    def _comparison(self) -> Comparison:
        return self.bound.comparison(self.bound.reference.setting)
