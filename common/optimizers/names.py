"""Entries by the names of either framework."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from ..errors import UsageError, nearest
from .catalogue import OPTAX_ALONE, OPTIMIZERS
from .entry import Entry
from .schedules import OPTAX_SCHEDULES_ALONE, SCHEDULES

_ALONE = OPTAX_ALONE | OPTAX_SCHEDULES_ALONE


def named(name: str) -> tuple[Entry, ...]:
    """The optimizers and schedules that a name means: `AdamW`, `adamw`, `optax.adamw`, `lr_scheduler.StepLR`; of what
    optax alone has, what is told of it as the entry's note.

    Raises:
        UsageError: there is none of that name; the message has the nearest one.
    """
    module, _, last = name.lower().rpartition(".")
    alone = (Entry(word, "", f"optax.{word}", note=what) for word, what in _ALONE.items())
    entries = (*OPTIMIZERS.values(), *SCHEDULES.values(), *alone)
    found = tuple(each for each in entries if any(_is(home, word, module, last) for home, word in _names(each)))
    if found:
        return found
    known: dict[str, str] = {}
    for each in entries:
        for _, word in _names(each):
            known.setdefault(word.lower(), word)
    close = difflib.get_close_matches(last, known, n=1, cutoff=0.5)
    remedy = nearest(known[close[0]] if close else name, known.values())
    raise UsageError(name, "the name of an optimizer or schedule of PyTorch or optax", "none of that name", remedy)


def _names(each: Entry) -> Iterator[tuple[str, str]]:
    """The names that mean it, each with the modules before it."""
    yield "", each.name
    for full in filter(None, (each.torch, each.optax)):
        home, _, word = full.rpartition(".")
        yield home, word


def _is(home: str, word: str, module: str, last: str) -> bool:
    """Whether a name is the one that was asked for, with all, some or none of its modules."""
    return word.lower() == last and f".{home}".endswith(f".{module}" if module else "")
