"""The table of the mutants: `python -m tests.conformance.mutants [NAME...]`, all contracts on each.

A NAME is a part of a mutant's name or of its clean pair's. The exit code is 0 if every mutant is killed. Two processes
share the pairs; JOBS in the environment says how many otherwise.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from .catalogue import MUTANTS
from .frame import Verdict
from .judging import hastily, judged


def main(names: Sequence[str]) -> int:
    chosen = [each for each in MUTANTS if not names or any(name in f"{each.clean}: {each.name}" for name in names)]
    if not chosen:
        print(f"no mutant has {' or '.join(map(repr, names))} in its name or in its pair's")
        return 2
    groups: dict[str, list[int]] = {}
    for number, mutant in enumerate(MUTANTS):
        if mutant in chosen:
            groups.setdefault(mutant.clean, []).append(number)
    verdicts = []
    # Processes of their own, since neither framework survives a fork.
    with ProcessPoolExecutor(int(os.environ.get("JOBS", "2")), get_context("spawn"), hastily) as pool:
        for found in as_completed([pool.submit(judged, numbers) for numbers in groups.values()]):
            for number, failures, seconds in found.result():
                verdicts.append(Verdict(MUTANTS[number], failures))
                print(_line(verdicts[-1], seconds), flush=True)
    print()
    print("\n".join(_totals(verdicts)))
    return 0 if all(verdict.is_killed for verdict in verdicts) else 1


def _line(verdict: Verdict, seconds: float) -> str:
    mutant = verdict.mutant
    state = "killed" if verdict.is_killed else "ALIVE"
    module = "module" if verdict.names_the_module else "MODULE NOT NAMED"
    causes = sorted({each.cause for each in verdict.failures if each.cause})
    cause = ", ".join(causes) if verdict.names_the_cause else f"CAUSE NOT NAMED ({', '.join(causes) or 'none'})"
    contracts = ", ".join(dict.fromkeys(each.contract for each in verdict.failures))
    return f"{state}  {mutant.clean}: {mutant.name} [{contracts}]; {module}; {cause}; {seconds:.1f} s"


def _totals(verdicts: Sequence[Verdict]) -> list[str]:
    by_contract: Counter[str] = Counter()
    for verdict in verdicts:
        by_contract.update({each.contract for each in verdict.failures})
    lines = ["killed by contract, of all:"]
    lines += [f"  {name:16} {count:4} of {len(verdicts)}" for name, count in by_contract.most_common()]
    lines += ["killed, module named, cause named, by kind of fault:"]
    for trap in sorted({verdict.mutant.trap for verdict in verdicts}):
        lines.append(_rates(trap, [verdict for verdict in verdicts if verdict.mutant.trap == trap]))
    lines.append(_rates("all", verdicts))
    return lines


def _rates(name: str, verdicts: Sequence[Verdict]) -> str:
    asked: tuple[Callable[[Verdict], bool], ...] = (
        lambda each: each.is_killed,
        lambda each: each.names_the_module,
        lambda each: each.names_the_cause,
    )
    counts = [_share(map(each, verdicts), len(verdicts)) for each in asked]
    return f"  {name:16} {'   '.join(counts)}"


def _share(held: Iterable[bool], of: int) -> str:
    count = sum(held)
    return f"{count:3} of {of:3} ({count / of:4.0%})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
