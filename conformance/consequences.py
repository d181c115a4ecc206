"""Consequences: which failures of a check only follow from another one, whose cause is the one to mend.

It is decided by what was measured and by what a contract runs, never by likeness alone, and in doubt a failure is one
of its own:

- Where an output is wrong at the values at which gradients are taken, a gradient follows, and so does the output in
  training mode, unless it has a cause that no wrong forward pass makes (no gradient, rows that are kept, another
  tensor's), or is far more wrong than the output. Where some of several outputs agree, it follows only if it is right
  through those.
- Where the outputs agree, the gradients before the last module with a wrong one follow from that; and of gradients that
  are zero those before the last such module, wherever they are.
- Training follows from the wrong gradient, tie, kind or statistic of the same tensor, and from outputs that differ
  before the first step.
- One tensor's failure in several contracts, and one place with one cause at several values, outputs, devices or
  precisions, is one.

Names, shapes, ties, values, round trips, initial values and dropout follow from nothing but themselves elsewhere.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from .explain import FRAMEWORK
from .known import GONE
from .results import WHY, Result

# How many times an output's error that of what follows may be: of wrong ports of transformers, convolutions and
# recurrent nets 5 for gradients and 25 for the steps of AdamW were seen.
_GRADIENTS, _STEPS = 16.0, 64.0
# What a wrong forward pass makes of gradients, of training and of the two modes; other causes are of their own.
_FOLLOWING = {
    "gradients": ("", "shift", "not finite"),
    "training": ("training", "buffer", "not finite"),
    "modes": ("mode", "buffer", "not finite"),
}
# A failure of the first may be that of the same tensor in the second.
_OF_TENSORS = {
    "tied gradients": ("ties", "gradients"),
    "gradients": ("layout", "tied gradients"),
    "training": ("shapes", "ties", "tied gradients", "gradients", "modes"),
}
# From which contracts the failures of another one may follow, at one setting.
LEADING = {
    "layout": ("forward",),
    "gradients": ("layout", "forward", "ties", "tied gradients"),
    "tied gradients": ("layout", "forward", "ties", "gradients"),
    "training": ("shapes", "ties", "layout", "forward", "gradients", "tied gradients", "modes"),
    "modes": ("forward",),
    "determinism": ("forward",),
    "modules": ("forward",),
}
_NUMBER = re.compile(r"(?<=\s)[\d.][\d.,e+-]*(?=[\s,;:)]|$)")
_QUOTED = re.compile(r"'([^']*)'")


@dataclass(frozen=True)
class Fault:
    """A failure that follows from no other one, with those that follow from it.

    result: may be a declared difference, where others that are not declared follow from it.
    """

    result: Result
    followers: tuple[Result, ...] = ()


def with_consequences(results: Sequence[Result]) -> tuple[Result, ...]:
    """The results, each failure that follows from another one with the name of that as `follows_from`."""
    found = _Failing(results)
    return tuple(
        replace(each, follows_from=name_of(root, each)) if (root := found.root(each)) is not None else each
        for each in results
    )


def faults(results: Sequence[Result]) -> tuple[Fault, ...]:
    """The failures by what they follow from, in the order of the results.

    results: with their `follows_from`. One that names nothing that is there follows from nothing.
    """
    at_fault = [each for each in results if each.status in ("fail", "known") and not each.follows_from]
    named = defaultdict[tuple[str, str, str], list[Result]](list)
    for each in at_fault:
        named[each.model, each.wing, each.contract].append(each)
    followers = defaultdict[int, list[Result]](list)
    alone = {id(each) for each in at_fault if each.status == "fail"}
    for each in results:
        if each.status == "fail" and each.follows_from:
            roots = named[each.model, each.wing, _contract(each.follows_from)]
            root = next((one for one in roots if name_of(one, each) == each.follows_from), None)
            if root is None:
                alone.add(id(each))
            else:
                followers[id(root)].append(each)
    roots = (each for each in results if id(each) in alone or id(each) in followers)
    return tuple(Fault(each, tuple(followers[id(each)])) for each in roots)


def name_of(root: Result, of: Result) -> str:
    """A failure as another one names it: `forward`, `gradients at 'head.weight' [cuda, float32]`."""
    path = root.path or root.port_path
    here, there = ((each.device, each.precision) for each in (root, of))
    return root.contract + (f" at {path!r}" if path else "") + ("" if here == there else f" [{', '.join(here)}]")


def _contract(name: str) -> str:
    return re.split(r" at ['\"]| \[", name, maxsplit=1)[0]


def place_of(result: Result) -> str:
    """The cause and where it is, of a failure that has either: `eps in 'norm'`."""
    modules = list(dict.fromkeys(_QUOTED.findall(result.module)))
    where = f"'{modules[0]}'" if len(modules) == 1 else result.module
    return " in ".join(part for part in (result.cause, where) if part)


def headline(result: Result) -> str:
    """A failure in a line that begins with its cause: `eps in 'norm': it is 1e-05 in the reference and ...`."""
    words = str(result.details.get(WHY) or "") or first_sentence(result.message)
    return ": ".join(part for part in (place_of(result), words) if part) or f"{result.contract} does not hold"


def first_sentence(text: str) -> str:
    return text.partition("\n")[0].partition(". ")[0].removesuffix(".")


class _Failing:
    """What fails, known differences among it, by what a rule looks for."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._all = defaultdict[tuple[str, ...], list[Result]](list)
        self._at_path = defaultdict[tuple[str, ...], list[Result]](list)
        self._alike = dict[tuple[object, ...], Result]()
        for each in results:
            self._all[*_setting(each), each.contract].append(each)
            if each.status in ("fail", "known") and each.cause != GONE:
                self._at_path[*_setting(each), each.contract, each.path, each.port_path].append(each)
                self._alike.setdefault(_likeness(each), each)

    def root(self, result: Result) -> Result | None:
        """What a failure follows from in the end; None for one that follows from nothing."""
        if result.status != "fail":
            return None
        seen, one = [result], self._leader(result)
        while one is not None and all(one is not each for each in seen):
            seen.append(one)
            one = self._leader(one)
        return seen[-1] if seen[1:] else None

    def _leader(self, result: Result) -> Result | None:
        if result.cause == GONE or FRAMEWORK in result.details:
            return None
        candidates = (
            self._elsewhere(result),
            self._of_tensor(result),
            self._of_forward(result),
            self._of_last(result),
            self._of_word(result),
            self._of_module(result),
        )
        return next((each for each in candidates if each is not None), None)

    def _failing(self, result: Result, contract: str) -> list[Result]:
        """Of another contract at the same setting."""
        found = self._all[*_setting(result), contract]
        return [each for each in found if each.status in ("fail", "known") and each.cause != GONE]

    def _elsewhere(self, result: Result) -> Result | None:
        """The same at another setting, at other values or in another output: one search found place and cause."""
        first = self._alike.get(_likeness(result))
        if first is None or first is result or not (result.cause or result.module):
            return None
        is_search = result.contract in ("forward", "training") or result.measured is None
        return first if is_search or _setting(first) != _setting(result) else None

    def _of_tensor(self, result: Result) -> Result | None:
        """The failure of the same tensor in a contract that the other one's is made of."""
        for contract in _OF_TENSORS.get(result.contract, ()):
            at_path = self._at_path[*_setting(result), contract, result.path, result.port_path] if result.path else []
            found = next((each for each in at_path if _makes(each, result)), None)
            if found is not None:
                return found
        return None

    def _of_forward(self, result: Result) -> Result | None:
        """The wrong output, where the failure is one that it makes."""
        if result.contract not in _FOLLOWING:
            return None
        outputs = [each for each in self._all[*_setting(result), "forward"] if "values" not in each.details]
        wrong = [each for each in self._failing(result, "forward") if "values" not in each.details]
        if not wrong:
            return self._of_outer_values(result)
        largest = result.details.get("start", max(map(_size, wrong)))
        is_mixed, own = len(wrong) < len(outputs), result.details.get("output")
        if own is not None:
            wrong = [each for each in wrong if each.details.get("output") == own]
        elif is_mixed and not result.details.get("right_elsewhere"):
            return None
        is_made = any(_is_of_a_kind(result, each) for each in wrong)
        return wrong[0] if wrong and is_made and _size(result) <= _most(result) * largest else None

    def _of_outer_values(self, result: Result) -> Result | None:
        """The output that is wrong only at small or large values, where the same is seen of it at these."""
        for one in self._failing(result, "forward"):
            at_start = result.details.get("start")
            if result.contract == "gradients" and (result.module, result.cause) == (one.module, one.cause) != ("", ""):
                # The outputs agree within what is allowed.
                return one if _size(result) <= _GRADIENTS * (one.allowed or 0.0) else None
            if isinstance(at_start, float) and result.cause in _FOLLOWING["training"]:
                return one if _size(result) <= _STEPS * at_start else None
        return None

    def _of_last(self, result: Result) -> Result | None:
        """Of gradients that are wrong where outputs agree that of the module that is called last.

        Where a place was found for all of them, since beyond rounding the outputs differ too, the first.
        """
        if result.contract != "gradients" or "called_last" not in result.details:
            return None
        placed = [each for each in self._failing(result, "gradients") if "called_last" in each.details]
        last = [each for each in placed if each.details["called_last"]]
        last = last or [each for each in placed if (each.module, each.cause) == (result.module, result.cause)]
        if result is last[0]:
            return None
        return (
            last[0] if _is_of_a_kind(result, last[0]) and _size(result) <= _GRADIENTS * max(map(_size, last)) else None
        )

    def _of_word(self, result: Result) -> Result | None:
        """The output that differs since a side is random, or since a weight is used transposed, which it names."""
        for one in self._failing(result, "forward"):
            if (result.contract, result.cause, one.cause) == ("determinism", "random", "randomness"):
                return one
            named = [path for path in (result.path, result.port_path) if path and path in one.message]
            if (result.contract, result.cause, one.cause) == ("layout", "transposed", "transposed") and named:
                return one
        return None

    def _of_module(self, result: Result) -> Result | None:
        """The output whose wrong module this is."""
        if result.contract != "modules" or not result.path:
            return None
        places = ((each, _QUOTED.findall(each.module)) for each in self._failing(result, "forward"))
        return next((each for each, place in places if place and place[0] == result.path), None)


def _setting(result: Result) -> tuple[str, ...]:
    return result.model, result.wing, result.device, result.precision


def _likeness(result: Result) -> tuple[object, ...]:
    """What two results have in common that are one; those of errors have their words alone."""
    model = result.model, result.wing
    if result.measured is None and result.cause.endswith("Error"):
        return (*model, result.message)
    if result.contract == "forward":
        return (*model, "forward", result.cause, result.module)
    # Of one path several ties may be lost; what the optimizers make of it is one.
    words = "" if result.contract == "training" and result.cause != "lost tie" else _NUMBER.sub("", result.message)
    return (*model, result.contract, result.path, result.port_path, result.cause, result.module, words)


def _makes(one: Result, result: Result) -> bool:
    """Whether the failure of a tensor in one contract is what makes it fail in the other one."""
    if one.contract == "shapes":
        return one.cause in ("kind", "frozen") and result.cause.startswith("only the ")
    if one.contract == "ties":
        return one.cause == "lost tie" and result.cause in ("lost tie", "missing site")
    if (one.contract, result.contract) == ("tied gradients", "gradients"):
        return bool(one.cause)
    if (one.contract, result.contract) == ("gradients", "tied gradients"):
        return not result.cause
    if one.contract == "modes":
        return result.cause == "buffer"
    if one.contract == "layout":
        return one.cause == result.cause
    if result.cause.startswith("only the "):
        return one.cause in ("no gradient", "gradient in the port alone")
    is_step = result.cause == "training" and _size(result) <= _STEPS * _size(one)
    return is_step or (bool(one.cause) and one.cause == result.cause)


def _is_of_a_kind(result: Result, one: Result) -> bool:
    """Whether a failure has the cause of the one before it, or one that any such makes; a scale makes another scale."""
    if result.cause == "gradient scale":
        return one.cause in ("scale", "gradient scale")
    return result.cause in (*_FOLLOWING[result.contract], one.cause)


def _size(result: Result) -> float:
    """The error; without end where there is no number."""
    measured = result.measured
    return math.inf if measured is None or math.isnan(measured) else measured


def _most(result: Result) -> float:
    return _STEPS if result.contract == "training" else _GRADIENTS
