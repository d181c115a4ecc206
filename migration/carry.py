"""Carrying weights between two live models: by a map, or where their tables have the same paths without one."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..common.wing import name_of
from ..pairs.maps import Map
from ..pairs.modes import ordinary
from ..pairs.wings import load_wing, side_wing


@ordinary()
def carry(source: Any, target: Any, map: Map | None = None, *, keep: Collection[str] = ()) -> Any:
    """The target with the source's weights, whichever frameworks the two belong to; ties stay as the target has them.

    map: from the source to the target, of `align`. Without one the two have the same table, path by path; with one a
        bare pytree is a model too.
    keep: where the source keeps copies of what is one tensor of the target, paths whose values are taken; see
        `Map.carry`.

    Returns the model to go on with: `target` itself, updated in place, or for Linen and a pytree a new one.

    Raises:
        WeightsError: the two tables (or with a map, its shapes and the models') do not fit; nothing was changed.
        UsageError: one of the two is no model of any wing.
    """
    if map is None:
        ours, theirs = (load_wing(name_of(model)) for model in (source, target))
        return theirs.load(target, ours.weights(source))
    one, other = (side_wing(model) for model in (source, target))
    # Constants that are not saved, and counters, no map is about: one that was fitted to a state_dict knows nothing of
    # them.
    weights = {
        path: native.array
        for path, native in one.stored_tensors(source).items()
        if (native.saved and native.is_floating) or path in map.by_reference
    }
    return other.with_stored_tensors(target, map.arrays(weights, keep=keep))
