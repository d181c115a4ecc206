"""Every benchmark, or those named: `python -m benchmarks scaling`."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = ("scaling", "speed", "drawing")

for name in sys.argv[1:] or NAMES:
    if name not in NAMES:
        sys.exit(f"no benchmark {name!r}; there are {', '.join(NAMES)}")
    import_module(f".{name}", __package__).main()
