"""Clean runs: how often a check says that something is wrong with a pair that is right.

Each run is of one pair, at one precision, with values and draws of its own: `python -m
tests.conformance.mutants.clean_runs [--runs N] [NAME...]` makes more than a thousand, prints what they said, and leaves
with exit code 1 if there is a false alarm among them. N is how many are made of each pair and precision, a NAME a part
of a pair's name.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from paritree.conformance.check import Examination, Unit, Wanted
from paritree.conformance.contracts.initial_draws import Sampling
from paritree.conformance.results import Result
from paritree.pairs.comparison import Bound
from paritree.pairs.side import sides_of

from . import catalogue
from .frame import Clean, map_of

# What a seed changes: the values that both sides are given.
EACH_RUN = ("layout", "forward", "gradients", "tied gradients", "determinism")
# The same, at the cost of many runs.
NOW_AND_THEN = ("modes", "initialization")
# What no seed changes.
ONCE = ("names", "shapes", "ties", "training", "values", "round trip")
PRECISIONS = ("float32", "bfloat16")
# Between two runs that have what is made now and then.
INTERVAL = 10
# As many runs of each pair and precision as make more than a thousand of all.
FIRST_SEED, RUNS = 1, 50


@dataclass(frozen=True)
class Tally:
    """What the runs of one pair at one precision said."""

    name: str
    precision: str
    seeds: range
    checked: dict[str, int]
    alarms: tuple[tuple[int, Result], ...]
    seconds: float

    def __str__(self) -> str:
        told = ", ".join(f"{contract} {count}" for contract, count in self.checked.items() if count)
        lines = [
            f"{self.name} [{self.precision}]: {len(self.seeds)} runs, seeds {self.seeds[0]} to {self.seeds[-1]}, "
            f"{len(self.alarms)} false alarms, {self.seconds:.0f} s ({told})"
        ]
        lines += [f"    seed {seed}: {each.contract} {each.path}: {each.message}" for seed, each in self.alarms]
        return "\n".join(lines)


def tallies(clean: Clean, seeds: range, precisions: Sequence[str] = PRECISIONS) -> Iterator[Tally]:
    """The runs of a pair at each precision; what has none is run at the first of them."""
    whole = Wanted(
        devices=("cpu",),
        precisions=precisions,
        known_differences=clean.declared,
        sampling=Sampling(target=4096, most=64),
    )
    examination = Examination(Bound(*sides_of(clean.pair()), map_of(clean)), whole, name=clean.name)
    for precision in precisions:
        start = time.perf_counter()
        checked: dict[str, int] = {}
        alarms: list[tuple[int, Result]] = []
        for number, seed in enumerate(seeds):
            run = examination.again(seed)
            for unit in _of_run(run.units, precision, number):
                if unit.contract == "initialization" and not clean.is_drawn_alike:
                    continue
                results = run.results(unit)
                checked[unit.contract] = checked.get(unit.contract, 0) + any(each.status == "pass" for each in results)
                alarms += [(seed, each) for each in results if each.status == "fail"]
        seconds = time.perf_counter() - start
        yield Tally(clean.name, precision, seeds, checked, tuple(alarms), seconds)


def _of_run(units: Iterable[Unit], precision: str, number: int) -> Iterator[Unit]:
    for unit in units:
        due = (
            unit.contract in EACH_RUN
            or (unit.contract in NOW_AND_THEN and number % INTERVAL == 0)
            or (unit.contract in ONCE and number == 0)
        )
        if due and unit.setting.precision == precision:
            yield unit


def main(arguments: Sequence[str]) -> int:
    asked = _asked(arguments)
    chosen = [clean for name, clean in catalogue.CLEAN.items() if any(part in name for part in asked.names)]
    found = []
    for clean in chosen:
        for tally in tallies(clean, range(FIRST_SEED, FIRST_SEED + asked.runs)):
            print(tally, flush=True)
            found.append(tally)
    runs, alarms = sum(len(each.seeds) for each in found), sum(len(each.alarms) for each in found)
    print(f"{runs:,} clean runs of {len(chosen)} pairs, {alarms} false alarms")
    return 1 if alarms else 0


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.conformance.mutants.clean_runs")
    parser.add_argument("names", nargs="*", default=[""], metavar="NAME")
    parser.add_argument("--runs", type=int, default=RUNS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
