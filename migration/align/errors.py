"""The error of an alignment that does not come to a proved map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...common.errors import ParitreeError

if TYPE_CHECKING:
    from ...pairs.localize import Localized
    from ...pairs.maps import Map


class AlignmentError(ParitreeError, ValueError):
    """Two programs that differ, a row that nothing assigned, or a map that its proof refuted. No map is returned.

    found_map: what is most likely which, not proved, where there is a guess.
    place: where the programs part ways, if that could be located.
    """

    def __init__(
        self,
        path: str,
        expected: str,
        found: str,
        remedy: str = "",
        *,
        found_map: Map | None = None,
        place: Localized | None = None,
    ) -> None:
        super().__init__(path, expected, found, remedy)
        if place is not None:
            self.args = (f"{self.args[0]}{place.excerpts}",)
        self.found_map = found_map
        self.place = place

    def at(self, place: Localized | None, found_map: Map, where: str = "") -> AlignmentError:
        """The same error with the place at which the programs part ways. where: what is said of it."""
        remedy = " ".join(text for text in (self.remedy, where) if text)
        return AlignmentError(self.path, self.expected, self.found, remedy, found_map=found_map, place=place)
