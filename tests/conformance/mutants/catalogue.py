"""All clean pairs and all mutants of them."""

from __future__ import annotations

from . import convolutions, decoder, encoder, foreign, modes_and_draws, recurrent, stack
from .frame import Clean, Mutant

_FILES = (decoder, encoder, convolutions, recurrent, stack, modes_and_draws, foreign)

CLEAN: dict[str, Clean] = {clean.name: clean for file in _FILES for clean in file.CLEAN}
MUTANTS: list[Mutant] = [mutant for file in _FILES for mutant in file.MUTANTS]
