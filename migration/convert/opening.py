"""A source as the map sees it: without what is skipped, under the map's names, weight norms as their products."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...common.safetensors import TensorEntry
from ...common.tables import counted
from ...pairs.maps import Factors, Map, product, weight_norms
from .prefixes import named
from .readers import Place, Source, open_source
from .views import Skipping, View


class Opened(NamedTuple):
    """A source, a line for what became of its tensors, and what was taken off their names and put before them."""

    source: Source
    told: tuple[str, ...]
    taken_off: str
    put_before: str

    @property
    def lines(self) -> tuple[str, ...]:
        """What is seen otherwise than it is in the checkpoint, a line each, names included."""
        names = (("taken off", self.taken_off), ("put before", self.put_before))
        return (*(f"{what}: {text}" for what, text in names if text), *self.told)


def opened(checkpoint: Path, made: Map, skip: Collection[str] = (), prefix: str | None = None) -> Opened:
    """A checkpoint for a map, of either of its sides.

    skip, prefix: as `convert` has them.

    Raises:
        CheckpointError: as `open_source`. UsageError: as `Skipping` and `named`.
    """
    return seen(open_source(checkpoint), made, skip, prefix)


def seen(source: Source, made: Map, skip: Collection[str] = (), prefix: str | None = None) -> Opened:
    """As `opened`, of a source that is open."""
    if skip:
        source = Skipping(source, skip)
    source, taken_off, put_before = named(source, made, prefix)
    return Opened(*with_products(source, made), taken_off, put_before)


def with_products(source: Source, made: Map) -> tuple[Source, tuple[str, ...]]:
    """The source with the products that the map has in the place of their factors, and a line about them if any."""
    norms = weight_norms({path: entry.shape for path, entry in source.entries.items()}, made)
    if not norms:
        return source, ()
    merged = WeightNorms(source, norms)
    return merged, (merged.told,)


def merging(norms: Mapping[str, Factors]) -> str:
    """A line about weight norms that are merged."""
    path, factors = next(iter(norms.items()))
    more = f", and {len(norms) - 1:,} more" if len(norms) > 1 else ""
    what = f"{factors.magnitude} and {factors.direction} as {path}"
    return f"merged: {counted(len(norms), 'weight norm')}: {what}{more}"


class WeightNorms(View):
    """See `Source`. The products of magnitudes and directions in the place of the two.

    told: a line about them.
    """

    def __init__(self, source: Source, norms: Mapping[str, Factors]) -> None:
        """norms: by the product's path its factors, as `weight_norms` finds them."""
        super().__init__(source)
        products = {factors.direction: path for path, factors in norms.items()}
        magnitudes = {factors.magnitude for factors in norms.values()}
        self.entries: Mapping[str, TensorEntry] = {
            products.get(path, path): entry for path, entry in source.entries.items() if path not in magnitudes
        }
        self._norms = norms
        self.told = merging(norms)

    def array(self, path: str) -> np.ndarray:
        if path not in self._norms:
            return self._source.array(path)
        magnitude, direction = map(self._source.array, self._norms[path])
        return product(magnitude, direction)

    def release(self, path: str) -> None:
        for each in self._norms.get(path, (path,)):
            self._source.release(each)

    def place(self, path: str) -> Place:
        return None if path in self._norms else self._source.place(path)
