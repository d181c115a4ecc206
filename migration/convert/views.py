"""Sources seen otherwise than they are: without some entries, or with rows put to a tensor or taken from it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ...common.errors import UsageError, nearest
from ...common.reading import is_shape
from ...common.safetensors import TensorEntry
from ...common.tables import shape_text
from ...pairs.maps import Map
from .matching import held, is_floating, tied_paths
from .readers import Place, Source

# What new rows may hold besides a number.
MEAN = "mean"
Rows = int | tuple[int, int]


class View:
    """See `Source`. Another one as it is; what is seen otherwise is overridden."""

    def __init__(self, source: Source) -> None:
        self.entries: Mapping[str, TensorEntry] = source.entries
        self.aliases: Mapping[str, str] = source.aliases
        self.others: tuple[str, ...] = source.others
        self.files: tuple[Path, ...] = source.files
        self._source = source

    def array(self, path: str) -> np.ndarray:
        return self._source.array(path)

    def release(self, path: str) -> None:
        self._source.release(path)

    def place(self, path: str) -> Place:
        return self._source.place(path)


class Skipping(View):
    """See `Source`. Another one without the entries that are not to be converted; those are among its `others`."""

    def __init__(self, source: Source, skip: Collection[str]) -> None:
        """skip: paths, or patterns of them with the wildcards of `fnmatch`.

        Raises:
            UsageError: one that matches nothing in the source.
        """
        super().__init__(source)
        paths = [*source.entries, *source.aliases, *source.others]
        found = {pattern: {path for path in paths if _matches(path, pattern)} for pattern in skip}
        for pattern, matched in found.items():
            if not matched:
                raise UsageError(
                    pattern, "a path of the source to skip", "none that it matches", nearest(pattern, paths)
                )
        skipped: set[str] = set().union(*found.values())
        self.entries: Mapping[str, TensorEntry] = {
            path: entry for path, entry in source.entries.items() if path not in skipped
        }
        self.aliases: Mapping[str, str] = {
            alias: path for alias, path in source.aliases.items() if not {alias, path} & skipped
        }
        self.others = (*_in(source.entries, skipped), *_in(source.aliases, skipped), *source.others)


def _matches(path: str, pattern: str) -> bool:
    return path == pattern or fnmatchcase(path, pattern)


def _in(paths: Iterable[str], skipped: set[str]) -> list[str]:
    return [path for path in paths if path in skipped]


class Change(NamedTuple):
    """Of one tensor the axis, and how many rows it had along it and gets."""

    axis: int
    before: int
    after: int


class Resized(View):
    """See `Source`. Tensors with more rows or fewer, as of a vocabulary that one side pads; ties have them alike.

    told: a line for each tensor.
    """

    def __init__(
        self,
        source: Source,
        made: Map,
        pad: Mapping[str, Rows],
        trim: Mapping[str, Rows],
        pad_with: float | str = 0.0,
    ) -> None:
        """pad, trim: how many rows a path's tensor gets: along its first axis, or as (axis, rows) along another.

        pad_with: what new rows hold: a number, or `mean` for the mean of those that are there.

        Raises:
            UsageError: a path that is none of the source's and the map's, no axis, not more rows or not fewer, or what
                rows cannot hold.
        """
        super().__init__(source)
        self._with = pad_with if pad_with == MEAN else _number(pad_with)
        self._changes: dict[str, Change] = {}
        for path, rows in [*pad.items(), *trim.items()]:
            if path in pad and path in trim:
                raise UsageError(path, "a tensor to pad or to trim", "one for both")
            for entry in self._entries_of(path, made):
                self._changes[entry] = self._change(entry, rows, path in pad)
        self.entries: Mapping[str, TensorEntry] = {
            path: self._resized(path, entry) for path, entry in source.entries.items()
        }

    @property
    def told(self) -> tuple[str, ...]:
        return tuple(self._told(path, change) for path, change in self._changes.items())

    def array(self, path: str) -> np.ndarray:
        values = self._source.array(path)
        if path not in self._changes:
            return values
        axis, before, after = self._changes[path]
        if after < before:
            return values[_along(axis, slice(after), values.ndim)]
        new = np.empty(self.entries[path].shape, values.dtype)
        new[_along(axis, slice(before), values.ndim)] = values
        new[_along(axis, slice(before, None), values.ndim)] = self._filling(values, axis)
        return new

    def place(self, path: str) -> Place:
        return None if path in self._changes else self._source.place(path)

    def _filling(self, values: np.ndarray, axis: int) -> np.ndarray:
        if self._with == MEAN:
            return values.mean(axis, dtype=np.float64, keepdims=True).astype(values.dtype)
        return np.asarray(self._with).astype(values.dtype)

    def _check_held(self, path: str, dtype: np.dtype) -> None:
        """Raises UsageError for new rows that are no numbers of the tensor's type."""
        with np.errstate(over="ignore"):
            is_held = self._with == MEAN or np.isinf(self._with) or np.isfinite(np.asarray(self._with).astype(dtype))
        if not is_floating(dtype) or not is_held:
            raise UsageError(
                path, "a tensor whose new rows can hold what they are to", f"{dtype.name} for {self._with}"
            )

    def _entries_of(self, path: str, made: Map) -> Sequence[str]:
        """The source's entries of the tensor that the path is of, on whichever side of the map it is."""
        ties = [names for side in (made, made.inverse()) for names in tied_paths(side).values()]
        own = self._source.aliases.get(path, path)
        found = [names for names in ties if path in names or own in names]
        entries = [entry for names in found for entry in held(names, self._source)]
        if own not in entries:
            known = [entry for names in ties for entry in held(names, self._source)]
            raise UsageError(path, "a tensor of the source that the map has", "none of that name", nearest(path, known))
        return entries

    def _change(self, path: str, rows: Rows, is_padded: bool) -> Change:
        axis, after = rows if isinstance(rows, tuple) else (0, rows)
        shape, dtype = self._source.entries[path]
        if not 0 <= axis < len(shape):
            raise UsageError(path, f"an axis of {shape_text(shape)} to change", f"axis {axis}", "The first one is 0.")
        before = shape[axis]
        if (
            after < 1
            or not is_shape((*shape[:axis], after, *shape[axis + 1 :]))
            or (after <= before if is_padded else after >= before)
        ):
            what = (
                f"more than its {before:,} rows to pad to"
                if is_padded
                else f"fewer than its {before:,} rows to trim to"
            )
            raise UsageError(path, what, f"{after:,}")
        if is_padded:
            self._check_held(path, dtype)
        return Change(axis, before, after)

    def _resized(self, path: str, entry: TensorEntry) -> TensorEntry:
        if path not in self._changes:
            return entry
        axis, _, after = self._changes[path]
        return TensorEntry((*entry.shape[:axis], after, *entry.shape[axis + 1 :]), entry.dtype)

    def _told(self, path: str, change: Change) -> str:
        axis, before, after = change
        rows = f"from {before:,} to {after:,} rows" + (f" along axis {axis}" if axis else "")
        if after > before:
            held = "the mean of the others" if self._with == MEAN else "zeros" if self._with == 0 else f"{self._with:g}"
            return f"padded: {path} {rows}, the new ones {held}"
        gone = self._source.array(path)[_along(axis, slice(after, None), len(self.entries[path].shape))]
        return f"trimmed: {path} {rows}; what went was {'not ' if gone.any() else ''}all zeros"


def _along(axis: int, part: slice, axes: int) -> tuple[slice, ...]:
    return tuple(part if each == axis else slice(None) for each in range(axes))


def _number(value: float | str) -> float:
    try:
        return float(value)
    except ValueError:
        raise UsageError("pad_with", f"a number or {MEAN!r}", repr(value)) from None
