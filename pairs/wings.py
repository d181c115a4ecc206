"""The wings, loaded on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from ..common.errors import DeviceError, UsageError, nearest
from ..common.wing import SelfAnswering, SideWing, Wing, side_name

# Where each wing lives, below the package.
HOMES: dict[str, str] = {"torch": "impl_torch", "linen": "impl_jax.linen", "nnx": "impl_jax.nnx"}
# Where each kind of side of a pair lives that does not answer for itself.
SIDES: dict[str, str] = {**HOMES, "pytree": "impl_jax.pytrees"}


def load_wing(name: str) -> Wing:
    """The wing `torch`, `linen` or `nnx`; its framework is imported now.

    Raises:
        UsageError: no such wing.
    """
    if name not in HOMES:
        raise UsageError(name, "the name of a wing", "none of that name", nearest(name, HOMES))
    return cast(Wing, import_module(f"..{HOMES[name]}", __package__))


def side_wing(model: Any) -> SideWing:
    """The functions for a side of a pair: of its wing, of bare pytrees, or its own.

    Raises:
        UsageError: what is no model of any wing, and no pytree of arrays.
    """
    if isinstance(model, SelfAnswering):
        return model.side_wing
    return cast(SideWing, import_module(f"..{SIDES[side_name(model)]}", __package__))


def absence(device: str, seen: Mapping[str, Sequence[str]]) -> str | None:
    """Why a comparison on `device` is not possible, by what each framework sees; None if each sees it."""
    blind = [f"{name} sees {', '.join(devices)}" for name, devices in seen.items() if device not in devices]
    return f"{device} is not present: {'; '.join(blind)}" if blind else None


def require(device: str, seen: Mapping[str, Sequence[str]]) -> None:
    """Raises DeviceError unless each framework sees the device."""
    reason = absence(device, seen)
    if reason:
        raise DeviceError(
            "", f"the device {device!r} in every wing", reason, "Drop the requirement, or run where it is."
        )
