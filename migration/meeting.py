"""Processes that load or save one model together: all do the same or none does anything, and none waits for a dead one.

They tell each other short texts in the store that their framework started them with: what each is about to do, before
anything is read or written, when it has come to a point where all must be, and what it failed of.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ..common.errors import MapError, ProcessError, UsageError, listed
from ..common.wing import Processes

# A process tells so often that it is there. After so many seconds without a word from it, it is taken for dead.
BEAT, PATIENCE = 1.0, 45.0
# What waits looks for what it waits for again after these seconds, and after more and more up to the second.
SOONEST, LATEST = 0.005, 0.25
# How often this process has met those that it meets, which is as often as they have met it.
_met: Counter[tuple[int, ...]] = Counter()


class Meeting:
    """One of several processes that do one thing together.

    leads: whether it is the first of them.
    """

    def __init__(self, processes: Processes | None) -> None:
        """All others must come within `PATIENCE`, and be heard of as often from then on. None for one process alone.

        Raises:
            UsageError: this process is none of them.
        """
        self.number, self.numbers, self._store = processes or ALONE
        if self.number not in self.numbers:
            expected = f"a process that holds parts of it, which {_named(self.numbers)} do"
            raise UsageError("model", expected, _named([self.number]), "Call it in those alone.")
        self.leads = self.number == self.numbers[0]
        _met[self.numbers] += 1
        self._about = f"paritree/{'-'.join(map(str, self.numbers))}/{_met[self.numbers]}"
        self._others = {number: _Other() for number in self.numbers if number != self.number}
        self._ended = threading.Event()
        self._beating = threading.Thread(target=self._beat, name="paritree-meeting", daemon=True)

    def __enter__(self) -> Meeting:
        if self._others:
            self._beating.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        try:
            if error is not None:
                self.fail(error)
        finally:
            self._ended.set()
            if self._others:
                self._beating.join()

    def agree(self, said: Mapping[str, str]) -> None:
        """Hold what this process is about to do against what the others are.

        said: texts of any length, by what they are about; `map` is the map.

        Raises:
            MapError: another one has another map. UsageError: another one does something else.
            ProcessError: as `exchange`.
        """
        own = {about: _digest(text) for about, text in said.items()}
        told = self.exchange("agree", " ".join(f"{about}={digest}" for about, digest in own.items()))
        differing: dict[str, list[int]] = {}
        for number, text in told.items():
            theirs = dict(each.split("=") for each in text.split())
            for about in (each for each in {*own, *theirs} if own.get(each) != theirs.get(each)):
                differing.setdefault(about, []).append(number)
        if not differing:
            return
        about = min(differing, key=lambda each: (each != "map", each))
        others = f"another one in {_named(differing[about])}"
        remedy = "Give all processes the same. Nothing was read or written."
        if about == "map":
            raise MapError("map", f"the map of {_named([self.number])} in every process", others, remedy)
        raise UsageError(about, f"the {about} of {_named([self.number])} in every process", others, remedy)

    def exchange(self, point: str, text: str = "") -> dict[int, str]:
        """Come to a point, and wait until all others are there. Returns what they say, by their numbers.

        Raises:
            ProcessError: one has failed, or does not come.
        """
        self._set(f"{point}/{self.number}", text)
        missing, told = {*self._others}, {}
        for _ in self._waiting():
            for number in [*missing]:
                found = self._get(f"{point}/{number}")
                if found is not None:
                    told[number] = found
                    missing.discard(number)
            if not missing:
                break
        return told

    def check(self) -> None:
        """Raises ProcessError: another process has failed, or is not heard of any more."""
        for number, other in self._others.items():
            if other.failed:
                raise _failed(number, other.failed)
            if time.monotonic() - other.heard > PATIENCE:
                raise _silent(number)

    def fail(self, error: BaseException) -> None:
        """Tell the others, so that they need not wait."""
        self._tell(f"failed/{self.number}", f"{type(error).__name__}: {error}")

    @contextmanager
    def held_by_first(self) -> Iterator[None]:
        """What only the first process may end, when all others have stopped to work on it."""
        try:
            yield
        except BaseException as error:
            self.fail(error)
            if self.leads:
                self._wait_for_ends()
            raise
        finally:
            self._tell(f"end/{self.number}", "")

    def _wait_for_ends(self) -> None:
        left = {*self._others}
        while left:
            left -= {number for number in left if self._is_over(number)}
            time.sleep(SOONEST)

    def _is_over(self, number: int) -> bool:
        try:
            if self._store.get(f"{self._about}/end/{number}") is not None:
                return True
        except RuntimeError:
            return True
        return time.monotonic() - self._others[number].heard > PATIENCE

    def _waiting(self) -> Iterator[None]:
        pause = SOONEST
        while True:
            yield
            self.check()
            time.sleep(pause)
            pause = min(2 * pause, LATEST)

    def _beat(self) -> None:
        """Be heard of, and listen."""
        count = 0
        while not self._ended.wait(BEAT if count else 0):
            count += 1
            self._tell(f"beat/{self.number}", str(count))
            for number, other in self._others.items():
                try:
                    other.hear(self._store.get(f"{self._about}/beat/{number}"))
                    other.failed = self._store.get(f"{self._about}/failed/{number}") or ""
                except RuntimeError:
                    # Told where this process waits for the store, or by the silence.
                    return

    def _tell(self, key: str, text: str) -> None:
        """What nobody may be left to hear."""
        try:
            self._store.set(f"{self._about}/{key}", text)
        except RuntimeError:
            return

    def _set(self, key: str, text: str) -> None:
        try:
            self._store.set(f"{self._about}/{key}", text)
        except RuntimeError as error:
            raise _lost(error) from None

    def _get(self, key: str) -> str | None:
        try:
            return self._store.get(f"{self._about}/{key}")
        except RuntimeError as error:
            raise _lost(error) from None


class _Other:
    """What is known of another process: when it was heard of, and what it has failed of."""

    def __init__(self) -> None:
        self.heard = time.monotonic()
        self.failed = ""
        self._beat: str | None = None

    def hear(self, beat: str | None) -> None:
        # By another word than the last one, and no clock but this process's own.
        if beat != self._beat:
            self._beat, self.heard = beat, time.monotonic()


class _Alone:
    """See `Store`: that of one process."""

    def set(self, key: str, text: str) -> None: ...
    def get(self, key: str) -> str | None: ...


ALONE = Processes(0, (0,), _Alone())


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _named(numbers: Sequence[int]) -> str:
    which = listed([str(each) for each in sorted(numbers)], separator=", ")
    return f"process {which}" if len(numbers) == 1 else f"the processes {which}"


def _failed(number: int, what: str) -> ProcessError:
    remedy = "This process has stopped, too. Mend that, and start again in all of them."
    return ProcessError(f"process {number}", "its part of what all do together", what.rstrip("."), remedy)


def _silent(number: int) -> ProcessError:
    remedy = (
        "It has ended, hangs, or did not come to the same call: look at what it said. Where one may come later than "
        "others, let them wait for each other before the call."
    )
    return ProcessError(f"process {number}", f"a word of it within {PATIENCE:g} seconds", "none", remedy)


def _lost(error: RuntimeError) -> ProcessError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    remedy = "The process that keeps it has ended: look at what that said."
    return ProcessError("", "an answer of the store that the processes share", reason, remedy)
