"""What a machine with an accelerator can show, in some minutes: `python -m tests.devices --require-device cuda`.

Without an option for it, on all devices that both frameworks see. One table is printed, `--json FILE` has every result.
The exit code is 0 if all holds. A part whose package is not installed is skipped, and the table says so.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

# Both frameworks share a card, and JAX would take most of its memory at the first call.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from paritree.conformance import load_wing

from .parts import PARTS, Row, rows


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.devices", description=__doc__.partition("\n")[0])
    parser.add_argument("--device", action="append", help="cpu, cuda, cuda:1, tpu, mps; may be repeated")
    parser.add_argument("--require-device", metavar="DEVICE", help="on this device, and fail if a wing does not see it")
    parser.add_argument("--json", metavar="FILE", type=Path, help="every result, with versions and settings")
    parser.add_argument("--part", action="append", choices=list(PARTS), help="these parts alone; may be repeated")
    given = parser.parse_args(arguments)
    seen = {name: load_wing(name).devices() for name in ("torch", "nnx")}
    required = [given.require_device] if given.require_device else []
    devices = list(dict.fromkeys([*(given.device or []), *required])) or [
        device for device in seen["nnx"] if device in seen["torch"]
    ]
    found = []
    print(Row.HEAD)
    for row in rows(devices, given.part or list(PARTS)):
        if row.status == "skip" and row.device in required:
            row = row.failed()
        found.append(row)
        print(row.line(), flush=True)
    failed = sum(row.status == "fail" for row in found)
    print(
        f"{len(found)} lines on {', '.join(devices)}: {failed} failed, {sum(r.status == 'skip' for r in found)} skipped"
    )
    if given.json:
        given.json.parent.mkdir(parents=True, exist_ok=True)
        settings = {name: load_wing(name).settings() for name in ("torch", "nnx")}
        told = {"devices": devices, "settings": settings, "rows": [row.as_dict() for row in found]}
        given.json.write_text(json.dumps(told, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
