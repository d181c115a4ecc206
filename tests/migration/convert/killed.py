"""Conversions that are killed and conversions that race, many of them: `python -m tests.migration.convert.killed`.

Each is the command line in a process of its own, forked from this one, which has imported everything. After each the
destination must be what it was or what it was to be, and whole; no draft may stay of a process that could clean up; and
nothing may be said but our own errors. `--kills N`, `--races N`, `--seed N`; `--walk N` kills a conversion at every Nth
line of the code that makes drafts and publishes, one after the other. Prints what was met; exits 1 if one is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any, NamedTuple

import numpy as np

import paritree.impl_jax.files
import paritree.migration.convert.execute  # noqa: F401  it is to be imported before the forks
from paritree import cli
from paritree.common import drafts
from paritree.common.drafts import drafts_of
from paritree.migration.convert.readers import open_source

from .checkpoints import example, saved, weights

FILE, FOLDER = "m.safetensors", "m"
# Names that the drafts of the first could be taken for.
BESIDE = {FILE: "m.safetensors.v2.safetensors", FOLDER: "m.v2"}
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
# An interrupt has an exit code of its own; before there is a draft, or a handler, the system ends the process.
CODES = {**{number: (-number, 0) for number in ENDING}, signal.SIGINT: (-signal.SIGINT, 130, 0)}
WATCHED = ("/common/drafts.py", "/migration/convert/publish.py", "/migration/convert/writers.py", "/api/cli.py")


class Ended(NamedTuple):
    """How a process ended: its status, negative for a signal, and what it said."""

    code: int
    said: str


def forked(work: Callable[[], object], log: Path) -> int:
    """The number of a process that does the work and ends, as a fresh interpreter would; what it says is in the log."""
    # It may be killed before it opens the log, which is not to be an earlier one's.
    log.write_text("")
    number = os.fork()
    if number:
        return number
    code: Any = 1
    try:
        opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, 1)
        os.dup2(opened, 2)
        work()
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code or 0)


def converting(arguments: list[str], setup: Callable[[], object] = lambda: None) -> Callable[[], None]:
    def work() -> None:
        sys.argv = ["paritree", "convert", "--map", "map.json", *arguments]
        setup()
        cli.main()

    return work


def ended(number: int, log: Path) -> Ended:
    _, status = os.waitpid(number, 0)
    return Ended(os.waitstatus_to_exitcode(status), log.read_text())


class Ground:
    """A folder with two sources and a map, and what is known of the destinations in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder.with_name(f"{folder.name}.log")
        example().save(folder / "map.json")
        self.arrays = [example().arrays(weights(seed)) for seed in (0, 1)]
        self.bytes = []
        for seed in (0, 1):
            saved(folder / f"source{seed}.safetensors", weights(seed))
            assert self.run([f"source{seed}.safetensors", FILE]).code == 0
            self.bytes.append((folder / FILE).read_bytes())
            (folder / FILE).unlink()
        self.wrong: list[str] = []

    def run(self, arguments: list[str]) -> Ended:
        return ended(forked(converting(arguments), self.log), self.log)

    def expect(self, is_right: bool, *about: object) -> None:
        if not is_right:
            self.wrong.append(" ".join(map(str, about)))

    def drafts(self) -> set[str]:
        return {name for name in os.listdir(self.folder) if drafts.PART in name}

    def remove(self, name: str) -> None:
        place = self.folder / name
        if place.is_dir():
            shutil.rmtree(place)
        else:
            place.unlink(missing_ok=True)

    def content(self, name: str) -> int | None:
        """The source that the destination is made from; None if it is not there, -1 if it is neither or half of one."""
        place = self.folder / name
        if not place.exists():
            return None
        if place.is_file():
            found = place.read_bytes()
            return self.bytes.index(found) if found in self.bytes else -1
        # In a process of its own: what JAX begins must not be forked.
        reading = ended(forked(lambda: sys.exit(2 + self.read(place)), self.log), self.log)
        return reading.code - 2 if reading.code in (2, 3) else -1

    def read(self, place: Path) -> int:
        source = open_source(place)
        found = {path: source.array(path) for path in source.entries}
        same = [
            found.keys() == arrays.keys() and all(np.array_equal(found[path], arrays[path]) for path in arrays)
            for arrays in self.arrays
        ]
        return same.index(True)

    def seconds(self, name: str) -> float:
        """The usual time of one conversion."""
        times = []
        for _ in range(5):
            start = time.perf_counter()
            assert self.run(["source0.safetensors", name, "--overwrite"]).code == 0
            times.append(time.perf_counter() - start)
        self.remove(name)
        return median(times)

    def judge(self, done: Ended, number: int, name: str, contents: tuple[int | None, ...], drafts: set[str]) -> None:
        """A conversion that got a signal.

        contents: what the destination may hold. drafts: those that were there before.
        """
        about = (name, f"signal {number}", done)
        self.expect(done.code in CODES.get(number, (-number, 0)), "status", *about)
        self.expect(is_ours(done), "said", *about)
        found = self.content(name)
        self.expect(found in contents, "destination", found, "of", contents, *about)
        new = self.drafts() - drafts
        self.expect(len(new) <= (1 if number == signal.SIGKILL else 0), "drafts", new, *about)
        if done.code == 0:
            own = drafts_of(self.folder / name)
            self.expect(not own, "drafts after success", own, *about)


def is_ours(done: Ended) -> bool:
    """Whether it says nothing that is not our own: the result, one line of an error, or that it was interrupted."""
    if done.code == 0:
        return done.said.startswith("torch -> linen: ")
    if done.code == 2:
        return done.said.startswith("paritree: ") and done.said.count("\n") == 1
    # The signal may come after the result.
    return done.said.removeprefix("\ninterrupted\n") == "" or done.said.startswith("torch -> linen: ")


def kills(ground: Ground, count: int, chance: random.Random) -> Iterator[str]:
    """Conversions with a signal at a random instant of their usual time."""
    usual = {name: ground.seconds(name) for name in (FILE, FOLDER)}
    met: Counter[str] = Counter()
    holds: dict[str, int | None] = {FILE: None, FOLDER: None}
    for step in range(count):
        name = (FILE, FOLDER)[step % 2]
        if chance.random() < 0.3:
            ground.remove(name)
            holds[name] = None
        before = holds[name]
        new = 1 - before if before is not None else chance.randrange(2)
        number = signal.SIGKILL if chance.random() < 0.5 else chance.choice(ENDING)
        there = ground.drafts()
        started = forked(converting([f"source{new}.safetensors", name, "--overwrite"]), ground.log)
        time.sleep(chance.uniform(0, 1.1 * usual[name]))
        os.kill(started, number)
        done = ended(started, ground.log)
        ground.judge(done, number, name, (before, new), there)
        left = bool(ground.drafts() - there)
        holds[name] = ground.content(name)
        kind = "file" if name == FILE else "folder"
        state = (
            "finished first"
            if done.code == 0
            else "new"
            if holds[name] == new
            else "old"
            if before is not None
            else "absent"
        )
        met[f"{kind}, {signal.Signals(number).name}, {state}{', draft left' if left else ''}"] += 1
    for name in (FILE, FOLDER):
        ground.expect(ground.run(["source0.safetensors", name, "--overwrite"]).code == 0, "the last", name)
        ground.remove(name)
    ground.expect(not ground.drafts(), "drafts at the end", ground.drafts())
    times = ", ".join(f"{name} {1000 * each:.0f} ms" for name, each in usual.items())
    yield f"{count} killed conversions; the usual time: {times}"
    yield from (f"  {number:5} {what}" for what, number in sorted(met.items()))


def races(ground: Ground, count: int, chance: random.Random) -> Iterator[str]:
    """Two or three conversions at once, to one place or to names of which one begins the other; some get a signal."""
    met: Counter[str] = Counter()
    for step in range(count):
        name = (FILE, FOLDER)[step % 2]
        names = [name, chance.choice((name, BESIDE[name])), *([name] if chance.random() < 0.3 else [])]
        overwrite = chance.random() < 0.5
        sources = [chance.randrange(2) for _ in names]
        # Of processes that were killed: all take them for their own to remove.
        stale = {f".{each}.{step:08}{drafts.PART}" for each in sorted({*names}) if chance.random() < 0.5}
        for each in stale:
            (ground.folder / each).mkdir()
        killed = chance.randrange(len(names)) if chance.random() < 0.2 else None
        number = chance.choice((signal.SIGKILL, *ENDING))
        done = raced(ground, names, sources, overwrite, killed, number, chance)
        judge_race(ground, names, sources, overwrite, killed, number, done, stale)
        ways = "overwriting" if overwrite else "new"
        what = "one place" if len(set(names)) == 1 else "two names"
        codes = " ".join(sorted(str(each.code) for each in done))
        kind = "file" if name == FILE else "folder"
        met[f"{kind}, {what}, {ways}{'' if killed is None else ', one killed'}, codes {codes}"] += 1
        for each in {*names}:
            ground.remove(each)
        for each in ground.drafts():
            ground.remove(each)
    yield f"{count} races"
    yield from (f"  {number:5} {what}" for what, number in sorted(met.items()))


def raced(
    ground: Ground,
    names: list[str],
    sources: list[int],
    overwrite: bool,
    killed: int | None,
    number: int,
    chance: random.Random,
) -> list[Ended]:
    """Started together, by the end of a pipe that all wait for."""
    waiting, go = os.pipe()

    def setup() -> None:
        os.close(go)
        os.read(waiting, 1)

    logs = [ground.log.with_suffix(f".{index}") for index in range(len(names))]
    running = []
    for name, source, log in zip(names, sources, logs, strict=True):
        arguments = [f"source{source}.safetensors", name, *(["--overwrite"] if overwrite else [])]
        running.append(forked(converting(arguments, setup), log))
    os.close(waiting)
    os.close(go)
    if killed is not None:
        time.sleep(chance.uniform(0, 0.05 if names[0] == FILE else 0.5))
        os.kill(running[killed], number)
    return [ended(process, log) for process, log in zip(running, logs, strict=True)]


def judge_race(
    ground: Ground,
    names: list[str],
    sources: list[int],
    overwrite: bool,
    killed: int | None,
    number: int,
    done: list[Ended],
    stale: set[str],
) -> None:
    about = (names, "overwriting" if overwrite else "new", killed, number, done)
    for index, each in enumerate(done):
        ground.expect(is_ours(each), "said", each, *about)
        if index == killed:
            ground.expect(each.code in (*CODES.get(number, (-number, 0)), 2), "status", each, *about)
        elif each.code == 2:
            # Only a place that another one took first is refused.
            is_taken = "expected a destination that is not there yet, found a f" in each.said
            ground.expect(not overwrite and is_taken, "refused", each, *about)
        else:
            ground.expect(each.code == 0, "status", each, *about)
    for name in {*names}:
        own = [index for index, each in enumerate(names) if each == name]
        held = {sources[index] for index in own if done[index].code != 2}
        allowed = held if any(done[index].code == 0 for index in own if index != killed) else {*held, None}
        ground.expect(ground.content(name) in allowed, "destination", name, ground.content(name), "of", allowed, *about)
        if not overwrite:
            ground.expect(sum(done[index].code == 0 for index in own) <= 1, "two were first", name, *about)
    # What is stale may be left by a process that was killed before it could remove it, and was the only one to do so.
    left = ground.drafts() - (set() if killed is None else stale)
    ground.expect(len(left) <= (killed is not None and number == signal.SIGKILL), "drafts", left, *about)


def walk(ground: Ground, stride: int, names: tuple[str, ...] = (FILE, FOLDER)) -> Iterator[str]:
    """A signal at one line after the other, of the code that makes drafts and publishes, with and without old ones."""
    for name in names:
        for number in (signal.SIGTERM, signal.SIGKILL):
            for before in (None, 0):
                for has_renames in (True, False):
                    steps = walked(ground, stride, name, number, before, has_renames)
                    way = "" if has_renames else ", without renames of Linux's own"
                    old = "absent" if before is None else "old"
                    yield f"{steps:5} lines, {name}, {old}, {signal.Signals(number).name}{way}"


def walked(ground: Ground, stride: int, name: str, number: int, before: int | None, has_renames: bool) -> int:
    for step in range(0, 100_000, stride):
        ground.remove(name)
        if before is not None:
            ground.expect(ground.run([f"source{before}.safetensors", name]).code == 0, "the old one")
        there = ground.drafts()

        def setup(step: int = step) -> None:
            if not has_renames:
                drafts._renamed = lambda *_: False  # type: ignore[assignment]
            at_line(step, number)

        work = converting(["source1.safetensors", name, "--overwrite"], setup)
        done = ended(forked(work, ground.log), ground.log)
        if not has_renames and number == signal.SIGKILL and ground.content(name) is None:
            # Killed between two steps: the next conversion has the old one again.
            again = ground.run(["source1.safetensors", name])
            ground.expect(before is None or again.code == 2, "what was aside", step, again)
        ground.judge(done, number, name, (before, 1), there)
        for each in ground.drafts():
            ground.remove(each)
        if done.code == 0:
            ground.remove(name)
            return step
    raise AssertionError("it never ends")


def at_line(step: int, number: int) -> None:
    """Have this process send itself the signal when it comes to a line of those that are watched, counted from 0."""
    left = step

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == "line":
            if left == 0:
                left -= 1
                os.kill(os.getpid(), number)
            left -= 1
        return trace

    sys.settrace(trace)


def main() -> None:
    options = argparse.ArgumentParser()
    for name in ("kills", "races", "walk", "seed"):
        options.add_argument(f"--{name}", type=int, default=0)
    given = options.parse_args()
    chance = random.Random(given.seed)
    # As the processes that are forked begin with it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "ground")
        folder.mkdir()
        os.chdir(folder)
        ground = Ground(folder)
        for lines in (
            kills(ground, given.kills, chance) if given.kills else (),
            races(ground, given.races, chance) if given.races else (),
            walk(ground, given.walk) if given.walk else (),
        ):
            for line in lines:
                print(line, flush=True)
        print(f"{len(ground.wrong)} wrong")
        print("\n".join(each[:1000] for each in ground.wrong[:20]))
        os.chdir("/")
    sys.exit(bool(ground.wrong))


if __name__ == "__main__":
    main()
