"""What each of several processes does with its share of the mutants."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import jax

from paritree.conformance.results import Result

from .catalogue import CLEAN, MUTANTS
from .frame import check


def hastily() -> None:
    """Programs that run once need no optimization."""
    jax.config.update("jax_disable_most_optimizations", True)


def judged(numbers: Sequence[int]) -> list[tuple[int, tuple[Result, ...], float]]:
    """Of mutants of one pair, by their number: the failures, without what a drawing would take, and the seconds."""
    found = []
    for number in numbers:
        started, mutant = time.perf_counter(), MUTANTS[number]
        failures = check(mutant, CLEAN[mutant.clean]).failures
        bare = tuple(replace(failure, details={}) for failure in failures)
        found.append((number, bare, time.perf_counter() - started))
    return found
