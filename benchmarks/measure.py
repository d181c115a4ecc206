"""How a ratio is measured: the two in turn, A B A B ..., so that a machine whose speed drifts slows both."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from statistics import median

Action = Callable[[], object]


def seconds(action: Action) -> float:
    """Wall-clock seconds of one call; the collector is kept out of it."""
    gc.collect()
    gc.disable()
    start = time.perf_counter()
    action()
    elapsed = time.perf_counter() - start
    gc.enable()
    return elapsed


def ratio(ours: Action, theirs: Action, pairs: int = 15, calls: int = 1) -> str:
    """The median of time(ours) / time(theirs) over interleaved pairs, with the least and the greatest."""

    def repeated(action: Action) -> Action:
        return lambda: [action() for _ in range(calls)]

    ours(), theirs()
    ratios = sorted(seconds(repeated(ours)) / seconds(repeated(theirs)) for _ in range(pairs))
    return f"{median(ratios):.2f}  ({ratios[0]:.2f} to {ratios[-1]:.2f} over {pairs} pairs)"


def row(name: str, value: str) -> None:
    print(f"  {name:<44}  {value}", flush=True)
