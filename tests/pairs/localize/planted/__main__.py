"""What is said of the faults in plain code: `python -m tests.pairs.localize.planted [NAME ...] [--json]`.

A NAME is a program or `PROGRAM-FAULT`, and may hold `*`; without one all are tried. For each fault a line says whether
the marked line of either file lies within the bound, how many lines that has, and whether the cause is named; the last
line counts.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict

# As in the suite: nearly every program here runs once, and takes longer to compile than to run.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")

from . import Planted, planted
from .measuring import Measured, measured, row, shares


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.pairs.localize.planted", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="a JSON list with all that was said")
    asked = parser.parse_args(words)
    warnings.simplefilter("ignore")
    rows: list[Measured] = []
    for each in planted():
        if not asked.names or any(_is_named(each, name) for name in asked.names):
            rows.append(measured(each))
            if not asked.json:
                print(row(rows[-1]), flush=True)
    print(json.dumps([asdict(each) for each in rows], indent=1) if asked.json else shares(rows))
    return 0 if rows and all(each.found for each in rows) else 1


def _is_named(each: Planted, name: str) -> bool:
    return fnmatch.fnmatch(str(each), name) or each.program == name


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
