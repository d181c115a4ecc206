"""A source without the entries that are not to be converted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase

import numpy as np

from ...common.errors import UsageError, nearest
from .headers import Entry
from .readers import Source


class Skipping:
    """See `Source`. What is skipped is among its `others`."""

    def __init__(self, source: Source, skip: Collection[str]) -> None:
        """skip: paths, or patterns of them with the wildcards of `fnmatch`.

        Raises:
            UsageError: one that matches nothing in the source.
        """
        paths = [*source.entries, *source.aliases, *source.others]
        found = {pattern: {path for path in paths if _matches(path, pattern)} for pattern in skip}
        for pattern, matched in found.items():
            if not matched:
                raise UsageError(
                    pattern, "a path of the source to skip", "none that it matches", nearest(pattern, paths)
                )
        skipped: set[str] = set().union(*found.values())
        self._source = source
        self.entries: Mapping[str, Entry] = {
            path: entry for path, entry in source.entries.items() if path not in skipped
        }
        self.aliases: Mapping[str, str] = {
            alias: path for alias, path in source.aliases.items() if not {alias, path} & skipped
        }
        self.others: tuple[str, ...] = (*_in(source.entries, skipped), *_in(source.aliases, skipped), *source.others)

    def array(self, path: str) -> np.ndarray:
        return self._source.array(path)

    def release(self, path: str) -> None:
        self._source.release(path)


def _matches(path: str, pattern: str) -> bool:
    return path == pattern or fnmatchcase(path, pattern)


def _in(paths: Iterable[str], skipped: set[str]) -> list[str]:
    return [path for path in paths if path in skipped]
