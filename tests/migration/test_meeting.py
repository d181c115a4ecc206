"""Processes that do one thing together, here as threads: what each is told of the others, and how long it waits."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from paritree import MapError, ProcessError, UsageError
from paritree.common.wing import Processes
from paritree.migration import meeting
from paritree.migration.meeting import Meeting

from .processes import pauses

GONE = (
    "process 1: expected a word of it within 1.5 seconds, found none. It has ended, hangs, or did not come to the same "
    "call: look at what it said. Where one may come later than others, let them wait for each other before the call."
)


class Held(dict[str, str]):
    """A store of threads."""

    def set(self, key: str, text: str) -> None:
        self[key] = text


class Lost:
    def set(self, key: str, text: str) -> None:
        raise RuntimeError("connection closed by the peer\nand more")

    def get(self, key: str) -> str | None:
        raise RuntimeError("connection closed by the peer\nand more")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meeting, "BEAT", 0.05)
    monkeypatch.setattr(meeting, "PATIENCE", 1.5)


def together(*calls: Callable[[Meeting], object], numbers: tuple[int, ...] = ()) -> list[object]:
    """What each of several gives, or the error that it raises."""
    store, who = Held(), numbers or tuple(range(len(calls)))
    made = [Meeting(Processes(number, who, store)) for number in who[: len(calls)]]
    for each in made:
        # Processes count by themselves how often they have met.
        each._about = made[0]._about

    def run(each: Meeting, call: Callable[[Meeting], object]) -> object:
        try:
            with each:
                return call(each)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(calls)) as pool:
        return [*pool.map(run, made, calls)]


def test_all_come_to_a_point() -> None:
    def call(each: Meeting) -> object:
        each.agree({"map": "the same", "dtype": "None"})
        return each.leads, each.exchange("point", f"from {each.number}")

    assert together(call, call) == [(True, {1: "from 1"}), (False, {0: "from 0"})]


@pytest.mark.parametrize(("about", "kind"), [("map", MapError), ("dtype", UsageError)])
def test_what_differs_is_told_to_all(about: str, kind: type[Exception]) -> None:
    given = {"map": "a", "dtype": "a"}
    found = together(
        lambda each: each.agree(given), lambda each: each.agree(given), lambda each: each.agree({**given, about: "b"})
    )
    assert all(type(each) is kind for each in found)
    assert [str(each) for each in found] == [
        f"{about}: expected the {about} of process {number} in every process, found another one in {others}. Give all "
        "processes the same. Nothing was read or written."
        for number, others in ((0, "process 2"), (1, "process 2"), (2, "the processes 0, 1"))
    ]


def test_what_one_fails_of_is_told_to_all() -> None:
    def fails(each: Meeting) -> None:
        raise ValueError("no such file.")

    said = (
        "process 1: expected its part of what all do together, found ValueError: no such file. This process has "
        "stopped, too. Mend that, and start again in all of them."
    )
    first, second, third = together(lambda each: each.exchange("point"), fails, lambda each: each.exchange("point"))
    assert [str(first), str(third)] == [said, said]
    assert type(first) is ProcessError
    assert type(second) is ValueError


def test_one_that_does_not_come_is_not_waited_for() -> None:
    with pauses() as waited:
        (found,) = together(lambda each: each.exchange("point"), numbers=(0, 1))
    assert (type(found), str(found)) == (ProcessError, GONE)
    assert 0 < sum(waited) < 10


def test_one_that_works_long_is_waited_for() -> None:
    def late(each: Meeting) -> object:
        time.sleep(2.5)
        return each.exchange("point", "late")

    assert together(lambda each: each.exchange("point", "soon"), late) == [{1: "late"}, {0: "soon"}]


def test_one_that_falls_silent_is_seen_at_work() -> None:
    def works(each: Meeting) -> None:
        each.exchange("point")
        while True:
            each.check()
            time.sleep(0.01)

    first, _ = together(works, lambda each: each.exchange("point"))
    assert str(first) == GONE


def test_the_first_ends_last() -> None:
    order: list[int] = []

    def call(each: Meeting) -> None:
        try:
            with each.held_by_first():
                if each.leads:
                    raise ValueError("a full disk")
                time.sleep(0.3)
                order.append(each.number)
                each.exchange("never")
        finally:
            order.append(-each.number)

    first, second = together(call, call)
    assert (type(first), type(second)) == (ValueError, ProcessError)
    assert order == [1, 0, -1] or order == [1, -1, 0]


def test_a_store_that_is_lost() -> None:
    with pytest.raises(ProcessError) as caught, Meeting(Processes(0, (0, 1), Lost())) as each:
        each.exchange("point")
    assert str(caught.value) == (
        "expected an answer of the store that the processes share, found connection closed by the peer. The process "
        "that keeps it has ended: look at what that said."
    )


def test_one_that_holds_nothing() -> None:
    with pytest.raises(UsageError) as caught:
        Meeting(Processes(2, (0, 1), Held()))
    assert str(caught.value) == (
        "model: expected a process that holds parts of it, which the processes 0, 1 do, found process 2. Call it in "
        "those alone."
    )


def test_one_alone() -> None:
    with Meeting(None) as each:
        each.agree({"map": "a"})
        assert each.leads
        assert each.exchange("point") == {}
        each.check()
