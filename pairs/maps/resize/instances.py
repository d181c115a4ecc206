"""Path templates at work on the paths of another size: which rows there are and how they are called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from itertools import product
from typing import NamedTuple

from ....common.tables import counted, shape_text
from ..correspondence import Correspondence
from ..patterns import sides
from ..pieces import Piece
from ..rows import MapRow
from .drafts import AxisKey, PieceDraft, RowDraft, Shape, old_spans, spans_of
from .templates import Numbers, PathTemplate, TemplateRow, filled, skeleton, template_row, templates

Shapes = Mapping[str, Shape]


class Instance(NamedTuple):
    """A template for one path of the reference and the indices of a piece of it, with what follows from them."""

    template: PathTemplate
    path: str
    indices: Numbers
    follows: Numbers

    @property
    def row(self) -> MapRow:
        return self.template.row

    @property
    def port(self) -> str:
        text, numbers = skeleton(self.row.port)
        return filled(text, self.follows[: len(numbers)])

    @property
    def port_indices(self) -> Numbers:
        start = len(skeleton(self.row.port)[1])
        return self.follows[start : start + len(_dropped(self.row.port_piece))]


class Instantiation:
    """A map's templates at work on the shapes of another size.

    given, wanted: the reference's and the port's shapes by path; without the port's they follow from the reference's.
    faults: what does not fit, in words. seen: by "reference" and "port", the paths that a row was to be about.
    """

    def __init__(self, made: Correspondence, given: Shapes, wanted: Shapes | None) -> None:
        self.made, self.given, self.wanted = made, given, wanted
        self.faults: list[str] = []
        self.seen: dict[str, set[str]] = {"reference": set(), "port": set()}
        self.old_spans = old_spans(made.rows)
        self.templates = _templates(made.rows, self.old_spans)
        self.of_path = _by_path(self.templates)

    def drafts(self) -> list[RowDraft]:
        """Of all rows that the templates have for the reference's paths; what does not fit is among the faults."""
        found = [each for path in self.given for each in self._of(path)]
        met = {id(each.template) for each in found}
        for template in self.templates:
            missing = template.row.reference
            if id(template) not in met and missing not in self.seen["reference"]:
                self.faults.append(f"{missing} is missing")
        stacked = _stacked(found)
        return [draft for each in found if (draft := self._draft(each, stacked)) is not None]

    def _of(self, path: str) -> list[Instance]:
        """All that the templates for a path of the reference make of it."""
        numbers, shape = skeleton(path)[1], self.given[path]
        made = []
        for template in self._chosen(path, shape):
            self.seen["reference"].add(path)
            if len(shape) != len(template.row.shape):
                self._misshapen(path, shape, template.row.shape)
                example = template.rows[0].numbers[len(numbers) :]
                follows = template.follows((*numbers, *example))
                if follows is not None:
                    self.seen["port"].add(Instance(template, path, example, follows).port)
                continue
            for indices in product(*_indices(template, shape, len(numbers))):
                follows = template.follows((*numbers, *indices))
                if follows is not None:
                    made.append(Instance(template, path, indices, follows))
        return made

    def _chosen(self, path: str, shape: Shape) -> Sequence[PathTemplate]:
        """The templates of the known path that is most like this one: of its rank, and with most of its numbers.

        Of several that of the layer that has the same tensors, as of those with experts and of those without.
        """
        text, numbers = skeleton(path)
        known = self.of_path.get(text, {})
        if numbers in known:
            return known[numbers]
        if path in self.made.unmatched_reference or path in self.made.aside_reference:
            return ()
        same: dict[tuple[int, ...], set[int]] = {}
        chosen: dict[tuple[int, ...], Sequence[PathTemplate]] = {}
        of_key: dict[tuple[int, ...], list[Numbers]] = {}
        for others, found in known.items():
            if len(found[0].row.shape) == len(shape) and self._is_about(found, numbers):
                key = tuple(map(id, found))
                chosen[key] = found
                of_key.setdefault(key, []).append(others)
                same.setdefault(key, set()).update(
                    position for position, number in enumerate(others) if number == numbers[position]
                )
        most = max(map(len, same.values()), default=0)
        best = [key for key, found in same.items() if len(found) == most]
        if len(best) > 1:
            best = [key for key in best if any(self._is_kin(path, filled(text, others)) for others in of_key[key])]
        return chosen[best[0]] if len(best) == 1 else ()

    def _is_kin(self, path: str, known: str) -> bool:
        """Whether the layers that a new path lies in have the tensors that those of a known one have."""
        return all(
            self._new_layers[layer] == self._known_layers[other]
            for (layer, _), (other, _) in zip(_layers(path), _layers(known), strict=True)
        )

    @cached_property
    def _new_layers(self) -> dict[str, set[str]]:
        return _contents(self.given)

    @cached_property
    def _known_layers(self) -> dict[str, set[str]]:
        return _contents((*self.made.by_reference, *self.made.unmatched_reference, *self.made.aside_reference))

    @staticmethod
    def _is_about(found: Sequence[PathTemplate], numbers: Numbers) -> bool:
        """Whether no number is held at another value."""
        return all(
            position >= len(numbers) or numbers[position] == value
            for each in found
            for position, value in each.held.items()
        )

    def _draft(self, found: Instance, stacked: Mapping[tuple[str, int], int]) -> RowDraft | None:
        row, port = found.row, found.port
        self.seen["port"].add(port)
        port_shape = self._port_shape(found, stacked)
        if port_shape is None:
            return None
        rest = iter(found.follows[len(skeleton(row.port)[1]) + len(found.port_indices) :])
        aliases = _filled(row.reference_aliases, rest), _filled(row.port_aliases, rest)
        self.seen["reference"].update(aliases[0])
        self.seen["port"].update(aliases[1])
        factors = _filled(row.reference_factors, rest), _filled(row.port_factors, rest)
        orders, spans = tuple(rest), len(list(spans_of(row.reference_piece)))
        left, right = sides(row.layout, len(row.reference_piece.shape(row.shape)))
        shape: list[int | None] = [*self.given[found.path]]
        return RowDraft(
            row,
            PieceDraft(
                "reference", found.path, shape, row.shape, row.reference_piece, found.indices, orders[:spans], left
            ),
            PieceDraft(
                "port", port, port_shape, row.port_shape, row.port_piece, found.port_indices, orders[spans:], right
            ),
            (*aliases, *factors),
        )

    def _port_shape(self, found: Instance, stacked: Mapping[tuple[str, int], int]) -> list[int | None] | None:
        """The port's shape as far as it is known; None, with a fault, where there is none or one of another rank."""
        row, port = found.row, found.port
        if self.wanted is None:
            shape: list[int | None] = [None] * len(row.port_shape)
            for number, axis in enumerate(_dropped(row.port_piece)):
                shape[axis] = stacked[port, number]
            return shape
        if port not in self.wanted:
            self.faults.append(f"the port's {port} is missing")
            return None
        if len(self.wanted[port]) != len(row.port_shape):
            self._misshapen(f"the port's {port}", self.wanted[port], row.port_shape)
            return None
        return [*self.wanted[port]]

    def _misshapen(self, path: str, shape: Shape, old: Shape) -> None:
        self.faults.append(f"{path} has shape {shape_text(shape)} and needs {counted(len(old), 'axis', 'axes')}")


def _layers(path: str) -> list[tuple[str, str]]:
    """What a path lies in and what is numbered, the outermost first, each with the rest of the path."""
    parts = path.split(".")
    numbered = [number for number, part in enumerate(parts[:-1], 1) if skeleton(part)[1]]
    return [(".".join(parts[:number]), ".".join(parts[number:])) for number in numbered]


def _contents(paths: Iterable[str]) -> dict[str, set[str]]:
    """By numbered layer what lies in it, whatever its numbers."""
    found: dict[str, set[str]] = {}
    for path in paths:
        for layer, rest in _layers(path):
            found.setdefault(layer, set()).add(skeleton(rest)[0])
    return found


def _templates(rows: Iterable[MapRow], spans: Mapping[AxisKey, Sequence[tuple[int, int]]]) -> list[PathTemplate]:
    orders = {(*key, bounds): number for key, found in spans.items() for number, bounds in enumerate(found)}
    kinds: dict[tuple[object, ...], list[TemplateRow]] = {}
    for row in rows:
        found = template_row(
            row,
            (
                *(orders["reference", row.reference, *each] for each in spans_of(row.reference_piece)),
                *(orders["port", row.port, *each] for each in spans_of(row.port_piece)),
            ),
        )
        kinds.setdefault(found.kind, []).append(found)
    return [template for alike in kinds.values() for template in templates(alike)]


def _by_path(found: Iterable[PathTemplate]) -> dict[str, dict[Numbers, list[PathTemplate]]]:
    """By skeleton and numbers: the templates that have a row about that path."""
    made: dict[str, dict[Numbers, dict[int, PathTemplate]]] = {}
    for template in found:
        for each in template.rows:
            text, numbers = skeleton(each.row.reference)
            made.setdefault(text, {}).setdefault(numbers, {})[id(template)] = template
    return {text: {key: list(each.values()) for key, each in by.items()} for text, by in made.items()}


def _dropped(piece: Piece) -> list[int]:
    """The axes of a tensor of which a piece has one index; of one seen in another shape they are its own."""
    if piece.view:
        return []
    return [axis for axis, index in enumerate(piece.index) if isinstance(index, int)]


def _indices(template: PathTemplate, shape: Shape, first: int) -> list[Sequence[int]]:
    """For each axis that the reference's piece drops: the indices, all of the new axis if they were all of the old."""
    row, found = template.row, []
    for number, axis in enumerate(_dropped(row.reference_piece), first):
        values = {each.numbers[number] for each in template.rows}
        if number not in template.held and len(values) == row.shape[axis]:
            found.append(range(shape[axis]))
        else:
            found.append(sorted(values))
    return found


def _stacked(found: Iterable[Instance]) -> dict[tuple[str, int], int]:
    """By path and number of a dropped axis: how long the port's stack must be."""
    lengths: dict[tuple[str, int], int] = {}
    for each in found:
        for number, index in enumerate(each.port_indices):
            key = each.port, number
            lengths[key] = max(lengths.get(key, 0), index + 1)
    return lengths


def _filled(paths: Iterable[str], numbers: Iterable[int]) -> tuple[str, ...]:
    rest = iter(numbers)
    made = []
    for path in paths:
        text, old = skeleton(path)
        made.append(filled(text, [next(rest) for _ in old]))
    return tuple(made)
