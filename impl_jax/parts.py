"""One canonical array as the native arrays that hold it: one, or several that lie along the native leading axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..common.layouts import Layout


def joined(layout: Layout, arrays: Sequence[Any]) -> np.ndarray:
    """A NumPy copy, in the canonical layout, of what the native `arrays` hold."""
    native = np.asarray(arrays[0]) if len(arrays) == 1 else np.stack([np.asarray(array) for array in arrays])
    return np.array(layout.to_canonical(native), order="C")


def parted(layout: Layout, value: Any, count: int) -> tuple[Any, ...]:
    """The `count` native arrays that hold a canonical one."""
    return split_native(layout.to_native(value), count)


def split_native(native: Any, count: int) -> tuple[Any, ...]:
    """An array in the native layout as the `count` arrays that Flax stores."""
    return (native,) if count == 1 else tuple(native[number] for number in range(count))


def native_shape(layout: Layout, arrays: Sequence[Any]) -> tuple[int, ...]:
    """The shape in the native layout of what `arrays` hold together."""
    own = tuple(arrays[0].shape)
    return own if len(arrays) == 1 else (len(arrays), *own)


def native_text(paths: Sequence[tuple[str | int, ...]]) -> tuple[str | int, ...]:
    """Several native paths as one: `('query|key|value', 'kernel')`."""
    if len(paths) == 1:
        return paths[0]
    columns = zip(*paths, strict=True)
    return tuple(each[0] if len(set(each)) == 1 else "|".join(map(str, each)) for each in columns)
