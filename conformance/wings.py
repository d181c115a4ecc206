"""The wings, loaded on demand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import cast

from ..common.errors import DeviceError, UsageError, nearest
from ..common.wing import HOMES, Wing


def load_wing(name: str) -> Wing:
    """The wing `torch`, `linen` or `nnx`; its framework is imported now.

    Raises:
        UsageError: no such wing.
    """
    if name not in HOMES:
        raise UsageError(name, "the name of a wing", "none of that name", nearest(name, HOMES))
    return cast(Wing, import_module(f"..{HOMES[name]}", __package__))


def missing_device(device: str, wings: dict[str, Wing]) -> str | None:
    """Why a comparison on `device` is not possible; None if every wing sees it."""
    return absence(device, {name: wing.devices() for name, wing in wings.items()})


def absence(device: str, seen: Mapping[str, Sequence[str]]) -> str | None:
    """The same for the devices that each framework sees."""
    blind = [f"{name} sees {', '.join(devices)}" for name, devices in seen.items() if device not in devices]
    return f"{device} is not present: {'; '.join(blind)}" if blind else None


def require_device(device: str, wings: dict[str, Wing]) -> None:
    """Raises DeviceError unless every wing sees the device."""
    require(device, {name: wing.devices() for name, wing in wings.items()})


def require(device: str, seen: Mapping[str, Sequence[str]]) -> None:
    """Raises DeviceError unless each framework sees the device."""
    reason = absence(device, seen)
    if reason:
        raise DeviceError(
            "", f"the device {device!r} in every wing", reason, "Drop the requirement, or run where it is."
        )
