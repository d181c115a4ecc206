"""Prefixes that a wrapper puts before every name of a model, and that the map does not know."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from ...common.errors import UsageError, nearest
from ...common.safetensors import TensorEntry
from ...pairs.maps import Map
from .matching import is_floating
from .readers import Place, Source
from .views import View

# Of DistributedDataParallel, of torch.compile, of a module that holds the model, and of Flax's collection.
KNOWN = ("module.", "_orig_mod.", "model.", "params.")
# What is put before names, where the parameters were saved without their collection.
COLLECTION = "params."


class Named(NamedTuple):
    """A source under the map's names, and what was taken off and put before its own."""

    source: Source
    taken_off: str = ""
    put_before: str = ""


def named(source: Source, made: Map, prefix: str | None = None) -> Named:
    """The source by the names of the map, if it is a prefix that they differ by.

    Without a prefix that is given one is taken off if it is known, every weight of the source has it, and the map has
    more of the names without it.

    prefix: the one to take off, of those names that have it; "" for none.

    Raises:
        UsageError: no name has it, or without it one name is another's.
    """
    paths = [*source.entries, *source.aliases]
    if prefix == "":
        return Named(source)
    if prefix is not None:
        if not any(path.startswith(prefix) for path in paths):
            remedy = nearest(prefix, {f"{path.partition('.')[0]}." for path in paths if "." in path})
            raise UsageError("prefix", "one that names of the source have", repr(prefix), remedy)
        renamed = Renamed(source, _without(paths, prefix))
        return Named(renamed, prefix)
    weights = [path for path in paths if path in source.aliases or is_floating(source.entries[path].dtype)]
    ways = [({}, "", ""), *_taken_off(paths, weights), ({path: COLLECTION + path for path in paths}, "", COLLECTION)]
    # The first of the best: none is changed for nothing.
    names, taken_off, put_before = max(ways, key=lambda way: _score([way[0].get(path, path) for path in paths], made))
    return Named(Renamed(source, names) if names else source, taken_off, put_before)


def _score(paths: Collection[str], made: Map) -> int:
    """How many of the paths are of the map's, of whichever side has more of them; -1 if two are one."""
    found = set(paths)
    sides = (made.by_reference, made.by_port)
    aliases = (
        {a for row in made.rows for a in (*row.reference_aliases, *row.reference_factors)},
        {a for row in made.rows for a in (*row.port_aliases, *row.port_factors)},
    )
    if len(found) < len(paths):
        return -1
    return max(len(found & {*side, *more}) for side, more in zip(sides, aliases, strict=True))


def _taken_off(paths: Collection[str], weights: Collection[str]) -> Iterator[tuple[dict[str, str], str, str]]:
    """With one known prefix after the other taken off, as long as all weights have it."""
    taken = ""
    while following := _common(weights, taken):
        taken += following
        yield _without(paths, taken), taken, ""


def _common(paths: Iterable[str], taken: str) -> str:
    """The known prefix that all paths have after what was taken off; "" if there is none."""
    found = [prefix for prefix in KNOWN if all(path.startswith(taken + prefix) for path in paths)]
    return found[0] if found and paths else ""


def _without(paths: Iterable[str], prefix: str) -> dict[str, str]:
    return {path: path.removeprefix(prefix) for path in paths if path.startswith(prefix)}


def _are_apart(paths: Iterable[str], renamed: Mapping[str, str]) -> bool:
    after = [renamed.get(path, path) for path in paths]
    return len(set(after)) == len(after)


class Renamed(View):
    """See `Source`. Another one under other names."""

    def __init__(self, source: Source, names: Mapping[str, str]) -> None:
        """names: the new ones by its own; what is not among them keeps its name.

        Raises:
            UsageError: two would have one name.
        """
        super().__init__(source)
        paths = [*source.entries, *source.aliases]
        if not _are_apart(paths, names):
            twice = next(new for old, new in names.items() if new in paths and names.get(new, new) == new)
            raise UsageError(twice, "one entry of each path without the prefix", "two", "Leave one out with --skip.")
        self.entries: Mapping[str, TensorEntry] = {names.get(path, path): each for path, each in source.entries.items()}
        self.aliases: Mapping[str, str] = {
            names.get(alias, alias): names.get(path, path) for alias, path in source.aliases.items()
        }
        self._own = {new: old for old, new in names.items()}

    def array(self, path: str) -> np.ndarray:
        return self._source.array(self._own.get(path, path))

    def release(self, path: str) -> None:
        self._source.release(self._own.get(path, path))

    def place(self, path: str) -> Place:
        return self._source.place(self._own.get(path, path))
