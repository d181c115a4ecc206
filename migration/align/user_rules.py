"""Rules that a person gives for what measurement cannot assign, as of two biases without a gradient."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from math import prod

from ...common.errors import listed, nearest
from ...common.tables import shape_text
from ...pairs.side import Side
from .errors import AlignmentError
from .matching import Matching, offer_if_silent

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


def assign_by_rule(found: Matching, rules: Mapping[str, str]) -> None:
    """Assign what a rule names, or where the order of its axes is still to be told, keep the partner for it."""
    candidates = found.candidates
    for path, partner in rules.items():
        theirs = [part.key for part in candidates.open_parts(1) if part.path == partner]
        for key in [part.key for part in candidates.open_parts(0) if part.path == path]:
            for other in theirs:
                if other not in candidates.options.get(key, {}):
                    offer_if_silent(found, key, other)
            options = {other: candidates.options.get(key, {}).get(other) for other in theirs}
            candidates.options[key] = {other: orders for other, orders in options.items() if orders}
            if len(candidates.options[key]) == 1:
                (only,) = candidates.options[key]
                candidates.keep(key, only)
                candidates.assign(key, only, "rule")


def check_rules(found: Matching, rules: Mapping[str, str]) -> None:
    """Assign what is left of the rules: of tensors in no layer that is known the axes are as they are stored.

    Raises:
        AlignmentError: a rule that shapes or a measurement contradict, and which.
    """
    candidates = found.candidates
    for key, options in list(candidates.options.items()):
        for other, possible in list(options.items()):
            is_ruled = rules.get(candidates.path(0, key)) == candidates.path(1, other)
            if is_ruled and not candidates.is_in_known_layer(key, other):
                candidates.match(key, other, possible[0], "rule")
    partners: dict[str, dict[str, str]] = {}
    for key, match in candidates.matches.items():
        partners.setdefault(candidates.path(0, key), {})[candidates.path(1, match.key)] = match.evidence
    faults = [
        _contradiction(found, path, partner, partners)
        for path, partner in rules.items()
        if partner not in partners.get(path, {})
    ]
    if faults:
        raise AlignmentError("rules", "rules that the measurement allows", listed(faults), "Drop or mend these rules.")


def _contradiction(found: Matching, path: str, partner: str, partners: Mapping[str, Mapping[str, str]]) -> str:
    """What speaks against a rule."""
    candidates = found.candidates
    refused = f"{path} cannot be {partner}"
    shapes = candidates.sides[0].shape(path), candidates.sides[1].shape(partner)
    if prod(shapes[0]) != prod(shapes[1]):
        return f"{refused}: their shapes are {shape_text(shapes[0])} and {shape_text(shapes[1])}"
    measured = [other for other, evidence in partners.get(path, {}).items() if evidence == "fingerprint"]
    if measured:
        return f"{refused}: its gradient is that of {' and '.join(sorted(measured))}"
    takers = [(own, each[partner]) for own, each in partners.items() if partner in each]
    if takers:
        by = "whose gradient it has" if takers[0][1] == "fingerprint" else f"by {takers[0][1]}"
        return f"{refused}: that is {takers[0][0]}, {by}"
    nonzero = [
        any(candidates.path(side, key) == each for key in found.nonzero[side])
        for side, each in enumerate((path, partner))
    ]
    if nonzero[0] != nonzero[1]:
        return f"{refused}: {path if nonzero[0] else partner} has a gradient and {partner if nonzero[0] else path} none"
    if all(nonzero):
        return f"{refused}: their gradients differ when tensors of one shape hold the same numbers"
    return f"{refused}: nothing tells the order of the axes of {shape_text(shapes[0])} and {shape_text(shapes[1])}"


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
