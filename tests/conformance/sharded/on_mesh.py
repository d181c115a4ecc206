"""Run by a test in a process of its own, on eight devices of the host: ports by their names, a line of JSON each."""

from __future__ import annotations

import sys

from . import flax_models, models
from .telling import tell

if __name__ == "__main__":
    tell(sys.argv[1:], models, flax_models)
