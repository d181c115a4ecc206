"""`python -m tests.conformance.recipes [CLEAN]`: faults found and named, and so many clean recipes without an alarm."""

from __future__ import annotations

import sys

from .clean import cleans
from .planted import PLANTED
from .steps import CLEAN_LOSSES, PLANTED_LOSSES


def main(count: int) -> None:
    found = named = 0
    for fault in (*PLANTED, *PLANTED_LOSSES):
        failures = fault.failures()
        is_named = any(each.cause in fault.causes for each in failures)
        found, named = found + bool(failures), named + is_named
        words = ", ".join(dict.fromkeys(each.cause for each in failures)) or "missed"
        print(f"{fault.name:44}{'' if is_named else 'not named: '}{words}", flush=True)
    print(f"{len(PLANTED) + len(PLANTED_LOSSES)} faults: {found} found, {named} named")
    alarms = 0
    for clean in (*CLEAN_LOSSES, *cleans(count)):
        failures = clean.failures()
        alarms += bool(failures)
        if failures:
            print(f"{clean}: {failures[0]}", flush=True)
    print(f"{count + len(CLEAN_LOSSES)} clean recipes: {alarms} false alarms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
