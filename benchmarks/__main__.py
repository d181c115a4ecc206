"""Every benchmark, or those named: `python -m benchmarks scaling`. `--full` has those that know it take longer."""

from __future__ import annotations

import sys
from importlib import import_module

NAMES = ("scaling", "speed", "drawing", "conversion", "plan", "alignment", "initialization", "conformance")

for name in [each for each in sys.argv[1:] if each != "--full"] or NAMES:
    if name not in NAMES:
        sys.exit(f"no benchmark {name!r}; there are {', '.join(NAMES)}")
    import_module(f".{name}", __package__).main()
