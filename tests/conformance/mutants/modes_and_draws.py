"""The clean pairs and mutants of initialization, training, modes, converted values and storing, gathered."""

from __future__ import annotations

from . import draws, modes, stored

CLEAN = [*draws.CLEAN, *modes.CLEAN, *stored.CLEAN]
MUTANTS = [*draws.MUTANTS, *modes.MUTANTS, *stored.MUTANTS]
