"""Whose shapes a destination shall have, where the map does not tell: a checkpoint's or a live model's."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ...common.errors import UsageError
from ...common.wing import SideWing
from ...pairs.wings import side_wing
from .headers import Entry
from .sources import opened


def entries_like(like: Any) -> dict[str, Entry]:
    """The tensors of a checkpoint by their paths there, or of a live model by their native paths.

    Raises:
        CheckpointError: as `opened`.
        UsageError: neither a path nor a model, or a model without arrays.
    """
    if isinstance(like, str | os.PathLike):
        return dict(opened(Path(like)).entries)
    wing = _wing_of(like)
    try:
        found = {path: Entry(each.array.shape, each.array.dtype) for path, each in wing.natives(like).items()}
    except NotImplementedError:
        # What PyTorch says to a look at a tensor on its meta device.
        found = {}
    if not found:
        raise UsageError("like", "a model with arrays", f"{type(like).__name__} without", "Give one with its weights.")
    return found


def _wing_of(model: Any) -> SideWing:
    try:
        return side_wing(model)
    except UsageError as error:
        remedy = error.remedy or "Give an nn.Module, an nnx.Module, (linen module, variables) or a pytree of arrays."
        raise UsageError("like", "a live model of the destination's side", error.found, remedy) from None
