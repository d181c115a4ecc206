"""Known differences: failures that somebody has declared, with a reason, and that must go on to occur."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

from ..common.errors import UsageError, nearest
from ..common.files import write_whole
from ..common.reading import read_text
from .explain import FRAMEWORK
from .results import Result

_NUMBER = re.compile(r"(?<![^.])\d+(?![^.])")
# The cause of the failure that stands for a declared one that is no more.
GONE = "known difference gone"
_KEYS = ("contract", "path", "reason", "device", "precision")


@dataclass(frozen=True)
class KnownDifference:
    """One contract that does not hold at some paths, and why that is accepted.

    path: of the reference, with `*` for any part of it: `h.*.attn.c_proj.weight`; empty for what is about the whole.
    device, precision: `*` for all.

    Raises:
        UsageError: no reason.
    """

    contract: str
    path: str
    reason: str
    device: str = "*"
    precision: str = "*"

    def __post_init__(self) -> None:
        if not self.reason.strip():
            raise UsageError(str(self), "a known difference with a reason", "none", "Say why it is accepted.")

    def __str__(self) -> str:
        return f"{self.contract} at {self.path!r}" if self.path else self.contract

    def covers(self, result: Result) -> bool:
        """Whether a result is at one of its places, be it a failure or not."""
        return self.contract == result.contract and all(
            fnmatchcase(found, pattern)
            for found, pattern in (
                (result.path, self.path),
                (result.device, self.device),
                (result.precision, self.precision),
            )
        )


def as_code(known: KnownDifference) -> str:
    """As it stands in the code of a suite: `KnownDifference("modes", "norm.running_var", "..."),`."""
    told = (known.contract, known.path, known.reason)
    return f"KnownDifference({', '.join(json.dumps(each, ensure_ascii=False) for each in told)}),"


def proposed(results: Iterable[Result]) -> tuple[KnownDifference, ...]:
    """Those failures that are differences of the frameworks themselves, with what was recognized as the reason.

    Layers whose paths differ in a number are one, if nothing else that was measured has such a path.
    """
    found: dict[KnownDifference, None] = {}
    measured = [result for result in results if result.status in ("fail", "pass")]
    for result in measured:
        words = _recognized(result)
        if words:
            own = KnownDifference(result.contract, escape(result.path), words)
            of_all = replace(own, path=_NUMBER.sub("*", own.path))
            alike = {_recognized(each) for each in measured if of_all.covers(each)}
            found[of_all if alike == {words} else own] = None
    return tuple(found)


def _recognized(result: Result) -> str:
    return str(result.details.get(FRAMEWORK, "")) if result.status == "fail" else ""


def accept(file: str | Path, found: Iterable[KnownDifference], reason: str) -> tuple[KnownDifference, ...]:
    """Write differences into a TOML file, with a reason for all of them, behind what is there; those that are new.

    The file appears whole or not at all, and what is there stays as it is.

    Raises:
        UsageError: no reason, or a file that is there and is none of known differences. OSError: it cannot be written.
    """
    path = Path(file)
    there = {(known.contract, known.path) for known in (load(path) if path.exists() else ())}
    new = tuple(replace(known, reason=reason) for known in found if (known.contract, known.path) not in there)
    if new:
        before = read_text(path).rstrip("\n") if path.exists() else ""
        write_whole(path, "\n\n".join((*filter(None, [before]), *map(_table, new))) + "\n", ours=None)
    return new


def _table(known: KnownDifference) -> str:
    fields = {"contract": known.contract, "path": known.path, "reason": known.reason}
    # JSON's texts are TOML's, but for one character that JSON leaves as it is.
    texts = {key: json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") for key, value in fields.items()}
    return "\n".join(("[[known_difference]]", *(f"{key} = {text}" for key, text in texts.items())))


def load(file: str | Path) -> tuple[KnownDifference, ...]:
    """Of a TOML file: tables `[[known_difference]]` with `contract`, `path` and `reason`.

    Raises:
        UsageError: a file that cannot be read, or has anything else in it.
    """
    try:
        found = tomllib.loads(read_text(Path(file)))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(str(file), "a readable TOML file", f"{type(error).__name__}: {error}") from error
    for key in found:
        if key != "known_difference":
            raise UsageError(str(file), "tables [[known_difference]]", repr(key), nearest(key, ["known_difference"]))
    entries = found.get("known_difference", [])
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise UsageError(str(file), "tables [[known_difference]]", type(entries).__name__)
    return tuple(_read(entry, f"{file}, difference {number}") for number, entry in enumerate(entries, 1))


def _read(entry: dict[str, object], place: str) -> KnownDifference:
    for key in entry:
        if key not in _KEYS:
            raise UsageError(place, f"the keys {', '.join(_KEYS)}", repr(key), nearest(key, _KEYS))
    for key, value in entry.items():
        if not isinstance(value, str):
            raise UsageError(place, f"a text as {key}", type(value).__name__)
    for key in ("contract", "reason"):
        if key not in entry:
            raise UsageError(place, f"a {key}", "none")
    return KnownDifference(**{"path": "", **entry})  # type: ignore[arg-type]


def check_contracts(declared: Iterable[KnownDifference], contracts: Sequence[str]) -> None:
    """Raises UsageError for a declared difference of a contract that does not exist."""
    for known in declared:
        if known.contract not in contracts:
            remedy = nearest(known.contract, contracts)
            raise UsageError(str(known), "the name of a contract", "none of that name", remedy)


def accepted(results: Sequence[Result], declared: Sequence[KnownDifference]) -> Iterator[Result]:
    """The results with declared failures marked as known, and a failure for each declared one that is gone.

    One whose contract was not checked at its places is not said to be gone.
    """
    seen: dict[KnownDifference, bool] = {}
    for result in results:
        by = [known for known in declared if known.covers(result)]
        if result.status != "skip":
            seen |= {known: seen.get(known, False) or result.status == "fail" for known in by}
        if result.status == "fail" and by:
            said, newline, lines = result.message.partition("\n")
            yield replace(result, status="known", message=f"{said} (known: {by[0].reason}){newline}{lines}")
        else:
            yield result
    for known, occurs in seen.items():
        if not occurs:
            yield _gone(known, next(result for result in results if known.covers(result) and result.status != "skip"))


def _gone(known: KnownDifference, at: Result) -> Result:
    words = f"the known difference {known} no longer occurs: take it off the list (its reason was: {known.reason})"
    return replace(at, path=known.path, port_path="", status="fail", message=words, cause=GONE)
