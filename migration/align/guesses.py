"""Guesses: what is most likely the map where none was proved, and what can be said of the programs under it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from ...common.errors import NotExpressibleError, listed
from ...common.tables import shape_text
from ...common.wing import PairError
from ...pairs.closeness import relative_error
from ...pairs.comparison import Bound, Comparison, Point
from ...pairs.localize import Localized, locate, locate_gradients, module_outcomes
from ...pairs.maps import Map, MapRow
from ...pairs.side import Side
from .approximate import by_modules, by_tensors, calls_of
from .candidates import Candidates
from .effects import assigned_by_outputs
from .errors import AlignmentError
from .freedoms import Freedoms
from .points import SymmetricPoint, are_of_one_shape
from .proof import apart_at, output_errors, outputs_agree_at_all_points, outputs_apart, prove
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
    def refuted(point: SymmetricPoint, map: Map, reference: Side, port: Side) -> Guess:
        """map: of measured rows that its proof refuted."""
        calls = [calls_of(side, point) for side in (reference, port)]
        return Guess(point, by_tensors(point, reference, port, calls), Bound(reference, port, map))

    @staticmethod
    def at(points: Iterable[SymmetricPoint], reference: Side, port: Side, *known: Guess) -> list[Guess]:
        """Those of each of the points and known ones, the likeliest first: under which most modules do the same."""
        found: dict[tuple[MapRow, ...], Guess] = {guess.bound.map.rows: guess for guess in known}
        for point in points:
            calls = [calls_of(side, point) for side in (reference, port)]
            for matched in (by_tensors, by_modules):
                candidates = matched(point, reference, port, calls)
                made = map_of(candidates, point.hypothesis, reference, port)
                found.setdefault(made.rows, Guess(point, candidates, Bound(reference, port, made)))
        guesses = [*found.values()]
        return sorted(guesses, key=lambda guess: guess.standing, reverse=True) if len(guesses) > 1 else guesses

    @staticmethod
    def by_outputs(point: SymmetricPoint, reference: Side, port: Side, limit: float) -> Guess:
        """By measurement alone, at a point where the outputs agree, for where gradients are wrong."""
        candidates = assigned_by_outputs(point, reference, port, limit)
        return Guess(point, candidates, Bound(reference, port, map_of(candidates, point.hypothesis, reference, port)))

    @cached_property
    def standing(self) -> tuple[int, float]:
        """How many modules of the port do what the reference's do, and how near the gradients are."""
        agreeing, near = 0, 0.0
        try:
            near = sum(map(self._nearness, self.bound.map.rows))
            if self.bound.reference.is_small and self.bound.port.is_small:
                agreeing = sum(each.verdict == "agrees" for each in module_outcomes(self._comparison).outcomes)
        except (PairError, NotExpressibleError):
            # A program that cannot be watched tells nothing of its modules, and a record has not all runs.
            return agreeing, near
        return agreeing, near

    def _nearness(self, row: MapRow) -> float:
        """How near its gradients are, 1 for each number of a tensor whose gradient is the reference's."""
        both = self.bound.gradients(row, *(probe.gradients for probe in self._comparison.probes))
        return max(0.0, 1 - relative_error(both[1], both[0])) * both[0].size if both else 0.0

    @cached_property
    def outputs_agree(self) -> bool:
        return are_of_one_shape(self.point) and outputs_agree_at_all_points(self._comparison)

    @cached_property
    def place(self) -> Localized | None:
        """Where the programs part ways, at values that the map carries: the first ones at which they do.

        Outputs that agree may differ by less than they are judged by, as by an eps; then only a known cause tells.
        """
        if self.outputs_agree:
            found = locate(self._comparison, self.bound.ordinary)
            return found if found is not None and found.module_cause is not None else None
        points = self.bound.ordinary, self.bound.quiet, *self.bound.outer_points
        return locate(self._comparison, next(filter(self._differs_at, points), self.bound.ordinary))

    def _differs_at(self, point: Point) -> bool:
        try:
            return bool(outputs_apart(*self._comparison.outputs_at(point), self._comparison.limit))
        except (PairError, NotExpressibleError):
            # A record has not all runs, and some programs none at some values.
            return False

    @property
    def told(self) -> str:
        """What has no partner, and where the programs part ways, or why that is not to be seen."""
        where = str(self.place or ("" if self.outputs_agree else self.bound.reference.unseen))
        return " ".join(text for text in (self.alone, where) if text)

    def refusal(self, error: AlignmentError) -> AlignmentError:
        """The error of a hypothesis that agreed; where it refuted a map and this one is likelier, that of this one."""
        if error.found_map not in (None, self.bound.map):
            try:
                prove(self._comparison)
            except AlignmentError as own:
                error = own
        return error.at(self.place, self.bound.map, self.told)

    @property
    def alone(self) -> str:
        """The parameters that have no partner, and what their modules hold beside them; empty where there are none."""
        sides = (
            (self.bound.reference, self.bound.map.unmatched_reference),
            (self.bound.port, self.bound.map.unmatched_port),
        )
        found = [f"in the {side.role} {listed(each)}" for side, paths in sides if (each := _alone(side, paths))]
        return f"Without a partner are {', and '.join(found)}." if found else ""

    def freed(self, given: Mapping[str, str], limit: float, progress: Callable[[str], None]) -> Bound | None:
        """The map with what one of the programs makes up for, proved; None where there is no such thing.

        given: the partners that a person's rules name, which it must have.
        """
        cause = self.place.module_cause if self.place else None
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
        place = locate_gradients(self._comparison, self.bound.ordinary)
        remedy = "Compare what the port does with gradients: a backward of its own, or one that is stopped."
        return AlignmentError(
            "",
            f"gradients that agree within {self._comparison.limit:.1e} where the outputs do",
            f"{len(faults)} that do not: {listed([fault.text for fault in faults])}",
            " ".join(text for text in (str(place or ""), remedy) if text),
            found_map=self.bound.map,
            place=place,
        )

    @property
    def _comparison(self) -> Comparison:
        return self.bound.comparison(self.bound.reference.setting)


def _alone(side: Side, paths: Sequence[str]) -> list[str]:
    modules = {side.module(path) for path in paths if side.is_free(path)}
    return [f"{path} {shape_text(side.shape(path))}" for path in paths if side.module(path) in modules]
