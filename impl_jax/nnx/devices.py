"""Devices present, and the settings under which a strict comparison runs; JAX's, so both Flax wings have them."""

from __future__ import annotations

from ..devices import devices as devices
from ..devices import running as running
from ..devices import settings as settings
