"""Rules that a person gives for what measurement cannot assign, as of two biases without a gradient."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ...common.errors import nearest
from ...pairs.side import Side
from .candidates import Candidates
from .errors import AlignmentError, listed

# A reference's path to the port's. `{name}` in both stands for a part of a path that is the same in both.
Rules = Mapping[str, str]


def paths_by(rules: Rules, reference: Side, port: Side) -> dict[str, str]:
    """The port's path that the rules give for each of the reference's.

    Raises:
        AlignmentError: a rule that fits no path of the reference or leads to none of the port, or two that disagree.
    """
    found: dict[str, str] = {}
    for rule, target in rules.items():
        matches = [match for path in reference.tensors if (match := _expression(rule).fullmatch(path))]
        if not matches:
            raise _refused(rule, "a path of the reference", rule, reference.tensors)
        for match in matches:
            partner = _filled(rule, target, match)
            if partner not in port.tensors:
                raise _refused(rule, "a path of the port", partner, port.tensors)
            if found.setdefault(match[0], partner) != partner:
                two = f"{found[match[0]]} and {partner}"
                raise AlignmentError(f"rules: {rule}", f"one partner for {match[0]}", two, "Drop one of the rules.")
    return found


def assign_by_rule(candidates: Candidates, rules: Mapping[str, str]) -> None:
    """Assign what a rule names, if the measurement left it open.

    Raises:
        AlignmentError: a rule that the measurement contradicts.
    """
    faults = []
    open_keys, assigned = _by_path(candidates, candidates.options), _by_path(candidates, candidates.matches)
    for path, partner in rules.items():
        for key in open_keys.get(path, []):
            candidates.options[key] = {
                other: orders
                for other, orders in candidates.options[key].items()
                if _path(candidates, other) == partner
            }
            if len(candidates.options[key]) == 1 and candidates.assign(
                key, next(iter(candidates.options[key])), "rule"
            ):
                assigned.setdefault(path, []).append(key)
        found = {_path(candidates, candidates.matches[key].key) for key in assigned.get(path, [])}
        if partner not in found:
            faults.append(f"{path} is {' and '.join(sorted(found))}" if found else f"{path} cannot be {partner}")
    if faults:
        raise AlignmentError("rules", "rules that the measurement allows", listed(faults), "Drop or mend these rules.")


def _by_path(candidates: Candidates, keys: Iterable[str]) -> dict[str, list[str]]:
    """The keys of the reference's parts by the tensors' paths."""
    found: dict[str, list[str]] = {}
    for key in keys:
        found.setdefault(candidates.parts[0][key].path, []).append(key)
    return found


def _path(candidates: Candidates, key: str) -> str:
    return candidates.parts[1][key].path


def _expression(rule: str) -> re.Pattern[str]:
    """The rule with every `{name}` as some text without a dot, the same wherever the name is."""
    seen: set[str] = set()
    pieces = []
    for text, name in re.findall(r"([^{]*)(?:\{(\w+)\})?", rule):
        pieces.append(re.escape(text))
        if name:
            pieces.append(f"(?P={name})" if name in seen else f"(?P<{name}>[^.]+?)")
            seen.add(name)
    return re.compile("".join(pieces))


def _filled(rule: str, target: str, match: re.Match[str]) -> str:
    """The right side with what the left one's names stand for."""
    known = match.groupdict()
    for name in re.findall(r"\{(\w+)\}", target):
        if name not in known:
            expected = f"names that the left side has ({', '.join(known) or 'none'})"
            raise AlignmentError(f"rules: {rule}", expected, f"{{{name}}}")
    return re.sub(r"\{(\w+)\}", lambda name: known[name[1]], target)


def _refused(rule: str, expected: str, found: str, known: Iterable[str]) -> AlignmentError:
    return AlignmentError(f"rules: {rule}", expected, f"none of the name {found!r}", nearest(found, known))
