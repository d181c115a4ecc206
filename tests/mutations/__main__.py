"""Small changes of the code that judges: `python -m tests.mutations [--count N] [--seed S] [FILE...]`.

Each is tried in a process of its own, on the tests that are chosen for its file, which stop at the first failure.
Without FILE they are drawn from all files of `targets.py`. What was tried is kept in --results: a run that was stopped
goes on, and one after tests were added tries again what nothing had noticed. JOBS in the environment says how many
processes run at a time. The exit code is 0 if at least nine in ten are noticed.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .changes import Change, changed, changes
from .targets import TARGETS
from .trial import NOT_TRIED, ROOT, finished, start, warm

BAR = 0.9
# Of a process's own time, several times what the longest list of tests takes without a change.
SECONDS = 200.0


@dataclass(frozen=True)
class Trial:
    """What came of a change. how: the first line that says it; empty where no test noticed it."""

    change: Change
    how: str
    seconds: float


def main(arguments: Sequence[str]) -> int:
    asked = _asked(arguments)
    sources = {file: (ROOT / file).read_text() for file in asked.files or TARGETS}
    every = [change for file, source in sources.items() for change in changes(file, source)]
    # By a number of their own: more of them are the same ones and others, also after a change elsewhere.
    every.sort(key=lambda change: hashlib.sha256(f"{asked.seed} {change.file} {change.words}".encode()).digest())
    chosen = every[: asked.count]
    with tempfile.TemporaryDirectory() as folder:
        warm(Path(folder) / "compiled")
        known = _known(asked.results)
        left = [change for change in chosen if not known.get(_key(change, sources), "")]
        print(f"{len(chosen)} of {len(every)} changes; {len(chosen) - len(left)} noticed before", flush=True)
        trials = []
        for trial in _tried(left, sources, Path(folder)):
            trials.append(trial)
            print(_line(trial), flush=True)
            _keep(asked.results, _key(trial.change, sources), trial)
        _check_clean(trials, Path(folder))
    silent = [trial for trial in trials if not trial.how]
    noticed = len(chosen) - len(silent)
    print(
        f"\nnoticed {noticed} of {len(chosen)} changes ({noticed / len(chosen):.1%}), seed {asked.seed}; not noticed:"
    )
    print("\n".join(sorted(f"  {trial.change}" for trial in silent)) or "  none")
    return 0 if noticed >= BAR * len(chosen) else 1


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m tests.mutations")
    parser.add_argument("files", nargs="*", choices=[*TARGETS, []], metavar="FILE")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=Path(tempfile.gettempdir()) / "paritree-mutations.jsonl")
    return parser.parse_args(arguments)


def _key(change: Change, sources: dict[str, str]) -> str:
    return f"{change.number} {hashlib.sha256(sources[change.file].encode()).hexdigest()[:16]} {change}"


def _known(file: Path) -> dict[str, str]:
    """How what was tried before was noticed, by its key; a source that has changed since has other keys."""
    lines = file.read_text().splitlines() if file.exists() else []
    found: dict[str, Any] = {}
    for line in lines:
        entry = json.loads(line)
        found[entry["key"]] = entry["how"]
    return found


def _keep(file: Path, key: str, trial: Trial) -> None:
    with file.open("a") as stream:
        print(json.dumps({"key": key, "how": trial.how, "seconds": round(trial.seconds, 1)}), file=stream)


def _tried(left: Sequence[Change], sources: dict[str, str], folder: Path) -> Iterator[Trial]:
    waiting, running = [*reversed(left)], {}
    while waiting or running:
        while waiting and len(running) < int(os.environ.get("JOBS", "2")):
            change, output = waiting.pop(), folder / f"{len(waiting)}"
            tests, tree = TARGETS[change.file], changed(sources[change.file], change.number)
            running[_forked(tests, output, change.file, tree)] = change, output
        child, code, seconds = finished()
        change, output = running.pop(child)
        if code == NOT_TRIED:
            sys.exit(f"{' '.join(TARGETS[change.file])}: do not import {change.file}, or not as it was changed")
        yield Trial(change, _how(code, output), seconds)


def _check_clean(trials: Sequence[Trial], folder: Path) -> None:
    """Tests that notice every change must pass without one; where one was not noticed, they have.

    Raises:
        SystemExit: they do not.
    """
    silent = [TARGETS[trial.change.file] for trial in trials if not trial.how]
    lists = {tuple(tests): tests for trial in trials if (tests := TARGETS[trial.change.file]) not in silent}
    for tests in lists.values():
        _forked(tests, folder / "clean")
        _, code, _ = finished()
        if code:
            sys.exit(f"without a change {' '.join(tests)}: {(folder / 'clean').read_text()}")


def _forked(tests: Sequence[str], output: Path, file: str = "", tree: ast.Module | None = None) -> int:
    with warnings.catch_warnings():
        # JAX says that a fork is not safe once it runs; here it has been imported and has run nothing.
        warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
        return start(tests, output, SECONDS, file, tree)


def _how(code: int, output: Path) -> str:
    if code == 0:
        return ""
    if code < 0:
        return f"ended by signal {-code}"
    said = [line for line in output.read_text().splitlines() if line.startswith(("FAILED", "ERROR", "E  "))]
    return said[-1].strip() if said else f"exit code {code}"


def _line(trial: Trial) -> str:
    state = "noticed" if trial.how else "SILENT "
    return f"{state} {trial.change}  [{trial.seconds:.1f} s] {trial.how[:100]}".rstrip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
