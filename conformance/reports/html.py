"""A report as one page of HTML, which loads nothing: style and drawings are in it, and it has no script.

The page is XML too, so that it can be read by a strict parser.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from ...common.tables import counted
from ..results import Result, Results
from .drawings import errors, histogram, shares, side, text
from .style import STYLE
from .terminal import statistics, summary, told
from .units import Unit, allowed, both_paths, causes, distinct, effects, measured, number, skipped, title, units

# Failures, histograms and rows of a table that are written out; more are counted.
_FAILURES, _HISTOGRAMS, _ROWS = 6, 60, 5000
_SIGNS = {"pass": "✓", "fail": "✕", "known": "≈", "skip": "○"}
_WORDS = {"pass": "holds", "fail": "fails", "known": "known", "skip": "skipped"}
_SETTINGS = {
    "float32": "strict: no TF32, matrix products of full precision on both sides",
    "tf32": "float32, with matrix products in TF32",
    "bfloat16": "all arrays in bfloat16",
    "float64": "all arrays in float64",
}
# A heading, an anchor, and what stands below.
Section = tuple[str, str, str]


def to_html(report: Results) -> str:
    """The whole page, as UTF-8 text."""
    found = units(report.results)
    sections = [section for section in _sections(report, found) if section[2]]
    links = "".join(f'<li><a href="#{anchor}">{heading}</a></li>' for heading, anchor, _ in sections)
    body = "\n".join(
        f'<section aria-labelledby="{anchor}"><h2 id="{anchor}">{heading}</h2>\n{content}</section>'
        for heading, anchor, content in sections
    )
    name = title(report.results) if report.results else "nothing"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{text(name)}: {'holds' if report.ok else 'does not hold'}</title>\n"
        f"<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>{_head(report, found, name)}\n"
        f'<nav aria-label="Sections"><ul>{links}</ul></nav></header>\n<main>\n{body}\n</main>\n'
        f"<footer>Written by paritree {text(report.environment.get('paritree', ''))}.</footer>\n</body>\n</html>\n"
    )


def _sections(report: Results, found: Sequence[Unit]) -> Iterator[Section]:
    yield "Contracts", "contracts", _contracts(found)
    yield "What fails", "failures", _failures(found)
    yield "Known differences", "known", _known(report.results)
    yield "Skipped", "skipped", _skipped(report.results)
    yield "Initial distributions", "initialization", _initialization(found)
    yield "Gradient errors", "gradients", _gradients(found)
    yield "Tied gradients", "tied", _tied(report.results)
    yield "Statistics", "statistics", _statistics(report)
    yield "Environment", "environment", _environment(report, found)


def _head(report: Results, found: Sequence[Unit], name: str) -> str:
    verdict = "pass" if report.ok else "fail"
    words = (
        "The contracts hold" if report.ok else "The contracts do not hold" if report.failures else "Nothing was shown"
    )
    counts = Counter(unit.status for unit in found if unit.status != "known")
    counts["known"] = sum(result.status == "known" for result in report.results)
    labels = (("pass", "hold"), ("fail", "fail"), ("skip", "skipped"), ("known", "known differences"))
    tiles = "".join(
        f'<div><dt>{label}</dt><dd class="{status if counts[status] else "soft"}">{counts[status]:,}</dd></div>'
        for status, label in labels
    )
    return (
        f"<h1>{text(name)}</h1>"
        f'<p><span class="status {verdict}">{_SIGNS[verdict]} {words}.</span> {text(summary(report))}.</p>'
        f'<dl class="tiles" aria-label="Contracts by result, and known differences">{tiles}</dl>'
    )


def _status(status: str) -> str:
    return f'<span class="status {status}">{_SIGNS[status]} {_WORDS[status]}</span>'


def _code(path: str) -> str:
    return f"<code>{text(path)}</code>" if path else ""


def _table(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]], tall: bool = False) -> str:
    """A table whose first cells head their rows. Cells are HTML; a heading that ends in `#` is one of numbers."""
    classes = [' class="number"' if name.endswith("#") else "" for name in header]
    heads = "".join(
        f'<th scope="col"{kind}>{text(name.removesuffix("#"))}</th>' for name, kind in zip(header, classes, strict=True)
    )
    lines = []
    for row in rows[:_ROWS]:
        first = f'<th scope="row"{classes[0]}>{row[0]}</th>'
        rest = (f"<td{kind}>{cell}</td>" for cell, kind in zip(row[1:], classes[1:], strict=True))
        lines.append(f"<tr>{first}{''.join(rest)}</tr>")
    more = f" The first {_ROWS:,} of {len(rows):,}; the JSON has them all." if len(rows) > _ROWS else ""
    return (
        f'<div class="scroll{" tall" if tall else ""}" role="region" aria-label="{text(caption)}" tabindex="0">\n'
        f"<table><caption>{text(caption + more)}</caption><thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{chr(10).join(lines)}\n</tbody></table></div>\n"
    )


def _folded(summary: str, content: str) -> str:
    return f"<details><summary>{text(summary)}</summary>\n{content}</details>\n"


def _setting(results: Sequence[Unit] | Sequence[Result]) -> Callable[[Unit | Result], list[str]]:
    """The fields that tell one unit of the report from another of the same contract."""
    names = [name for name in ("model", "wing", "device", "precision") if len(distinct(results, name)) > 1]
    return lambda each: [getattr(each, name) for name in names]


# What holds, what does not, and what was not looked at


def _contracts(found: Sequence[Unit]) -> str:
    if not found:
        return ""
    names = [name for name in ("model", "wing", "device", "precision") if len(distinct(found, name)) > 1]
    header = ("contract", *names, "result", "paths#", "worst path", "measured#", "allowed#")
    rows = []
    for unit in found:
        worst = unit.worst
        head = (unit.contract, *(text(getattr(unit, name)) for name in names), _status(unit.status), unit.count)
        rows.append((*head, _code(unit.worst_path), measured(worst), text(allowed(worst))))
    caption = "Each contract with the path that is farthest beyond, or nearest to, what is allowed."
    return _table(caption, header, rows)


def _failures(found: Sequence[Unit]) -> str:
    setting = _setting(found)
    blocks = []
    for unit in found:
        failing = unit.of("fail")
        if not failing:
            continue
        place = ", ".join((unit.contract, *setting(unit)))
        blocks.append(f"<h3>{text(place)}: {counted(len(failing), 'failure')}</h3>\n")
        blocks += [_failure(result) for result in failing[:_FAILURES]]
        if failing[_FAILURES:]:
            left = failing[_FAILURES:]
            rows = [(_code(both_paths(each)), text(each.message), text(each.cause)) for each in left]
            table = _table("The other failures", ("path", "message", "cause"), rows, tall=True)
            blocks.append(_folded(f"{len(left):,} more, by cause: {causes(left)}", table))
    return "".join(blocks)


def _failure(result: Result) -> str:
    lines = "".join(
        f"<dt>{label}</dt><dd>{_code(value) if label in ('path', 'module') else text(value)}</dd>"
        for label, value in told(result)
    )
    message = text(result.message or "the contract does not hold")
    return f"<article><p>{message}</p>" + (f'<dl class="told">{lines}</dl>' if lines else "") + "</article>\n"


def _known(results: Sequence[Result]) -> str:
    """A row for each contract and reason, with all its paths."""
    known = [result for result in results if result.status == "known"]
    setting = _setting(known)
    groups: dict[tuple[str, str], list[Result]] = {}
    for result in known:
        groups.setdefault((", ".join((result.contract, *setting(result))), result.message), []).append(result)
    rows = [(text(place), _paths(each), text(message)) for (place, message), each in groups.items()]
    header = ("contract", "path", "what differs, and why")
    return _table("Failures that were declared, with the reasons.", header, rows) if rows else ""


def _paths(results: Sequence[Result]) -> str:
    """The first in sight, the others on demand."""
    first, *others = (_code(both_paths(result)) for result in results)
    return first + (_folded(f"and {len(others):,} more", "<br/>".join(others)) if others else "")


def _skipped(results: Sequence[Result]) -> str:
    rows = []
    for reason, members in skipped(results).items():
        names = ", ".join(dict.fromkeys(each.contract or "all contracts" for each in members))
        places = ", ".join(dict.fromkeys(f"{each.device} {each.precision}" for each in members))
        rows.append((text(names), text(places), text(reason)))
    return _table("What was not checked, and why.", ("contract", "setting", "reason"), rows) if rows else ""


# Initial distributions


def _initialization(found: Sequence[Unit]) -> str:
    judged = [result for unit in found if unit.contract == "initialization" for result in unit.results]
    judged = [result for result in judged if result.details]
    if not judged:
        return ""
    judged.sort(key=lambda result: ("fail", "known", "pass", "skip").index(result.status))
    groups = [members for members in _alike(judged) if members[0].status == "fail" or histogram(members[0])]
    cards = [_card(members) for members in groups[:_HISTOGRAMS]]
    left = len(judged) - sum(len(members) for members in groups[:_HISTOGRAMS])
    more = f'<p class="soft">{left:,} more, constants among them, in the table.</p>' if left else ""
    return (
        "<p>What was drawn on each side, and the density of the distribution that it is taken for. "
        "Parameters that are alike share one drawing.</p>\n"
        + (f'{_legend()}<div class="cards">\n{"".join(cards)}</div>\n' if cards else "")
        + f"{more}{_drawn(judged)}"
    )


def _legend() -> str:
    signs = (
        ("reference", '<rect class="reference-area" x="0" y="2" width="32" height="12"/>'),
        ("port", '<path class="port-line" d="M0 8 H32"/>'),
        ("density, reference", '<path class="reference-curve" d="M0 8 H32"/>'),
        ("density, port", '<path class="port-curve" d="M0 8 H32"/>'),
    )
    entries = (f'<li><svg viewBox="0 0 32 16" aria-hidden="true">{sign}</svg>{name}</li>' for name, sign in signs)
    return f'<ul class="legend">{"".join(entries)}</ul>\n'


def _alike(results: Iterable[Result]) -> list[list[Result]]:
    """Those of one result, of the same schemes and the same standard deviations to two digits."""
    groups: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        schemes, stds = (
            [side(result.details, name, role) for role in ("reference", "port")] for name in ("schemes", "std")
        )
        known = None not in (*schemes, *stds)
        place = () if known else (result.path, result.port_path)
        key = (result.status, result.device, result.model, *map(str, schemes), *map(_std, stds), *place)
        groups.setdefault(key, []).append(result)
    return list(groups.values())


def _std(value: object) -> str:
    return number(value) if isinstance(value, int | float) else ""


def _card(members: Sequence[Result]) -> str:
    result = members[0]
    others = f" and {len(members) - 1:,} alike" if len(members) > 1 else ""
    drawing = histogram(result) or '<p class="soft">No histogram: both sides are constant.</p>'
    lines = [f"<br/>{role}: {text(words)}" for role in ("reference", "port") if (words := _side_words(result, role))]
    numbers = f"<br/>{text(measured(result))}, allowed {text(allowed(result))}" if result.measured is not None else ""
    kind = ' class="failing"' if result.status == "fail" else ""
    name = f"<b>{_code(result.path or result.port_path)}</b>{others}"
    caption = f"{_status(result.status)}{name}{''.join(lines)}{numbers}"
    return f"<figure{kind}>{drawing}<figcaption>{caption}</figcaption></figure>\n"


def _side_words(result: Result, role: str) -> str:
    scheme, std = side(result.details, "schemes", role), side(result.details, "std", role)
    words = [str(scheme)] if scheme else []
    return ", ".join(words + ([f"measured std {std:.3g}"] if isinstance(std, int | float) else []))


def _drawn(judged: Sequence[Result]) -> str:
    header = ("parameter", "result", "reference", "port", "p#", "level#", "test", "values#", "would have caught")
    rows = []
    for result in judged:
        sides = (text(_side_words(result, role)) for role in ("reference", "port"))
        size = result.details.get("n")
        tested = (text(str(result.details.get("test") or "")), f"{size:,}" if isinstance(size, int) else "")
        numbers = (number(result.measured), number(result.allowed))
        caught = text(str(result.details.get("smallest") or ""))
        rows.append((_code(both_paths(result)), _status(result.status), *sides, *numbers, *tested, caught))
    return _folded(f"All {len(rows):,} in a table", _table("Initial distributions", header, rows, tall=True))


# Gradients


def _gradients(found: Sequence[Unit]) -> str:
    drawn = []
    every = [unit for unit in found if unit.contract == "gradients"]
    setting = _setting(every)
    for unit in every:
        if len(unit.results) < 2 or not any(result.measured is not None for result in unit.results):
            continue
        name = ", ".join(("gradients", *setting(unit)))
        caption = (
            f"{text(name)}: the error of each parameter's gradient, of its norm, in the order of the model. "
            "The dashed line is what is allowed; ✕ is beyond it, and a diamond is a known difference. "
            "What is not finite lies at the upper edge."
        )
        rows = [
            (_code(both_paths(each)), _status(each.status), measured(each), text(allowed(each)), text(each.policy))
            for each in unit.results
        ]
        table = _table(name, ("parameter", "result", "error#", "allowed#", "why that much"), rows, tall=True)
        drawing = errors(unit.results, name)
        drawn.append(f'<figure class="wide">{drawing}<figcaption>{caption}</figcaption></figure>\n')
        drawn.append(_folded(f"All {len(rows):,} in a table", table))
    return "".join(drawn)


def _tied(results: Sequence[Result]) -> str:
    tied = [result for result in results if isinstance(result.details.get("sites"), Mapping)]
    if not tied:
        return ""
    setting = _setting(tied)
    rows = []
    for result in tied:
        sites = {str(name): share for name, share in result.details["sites"].items() if isinstance(share, int | float)}
        words = ", ".join(f"{name} {share:.0%}" for name, share in sites.items())
        where = ", ".join((both_paths(result), *setting(result)))
        rows.append((_code(where), _status(result.status), shares(sites, both_paths(result)), text(words)))
    words = (
        "The gradient of a parameter with several sites is the sum over them. A share is the norm of one, of the norm "
    )
    words += "of the sum: where sites pull in different directions they are more than 100 % together."
    table = _table("Shares of the sites", ("parameter", "result", "shares", "site (operation), share"), rows)
    return f"<p>{words}</p>\n{table}"


# Numbers behind it


def _statistics(report: Results) -> str:
    words = statistics(report)
    if not words:
        return ""
    judged = [result for result in report.results if result.measured is not None]
    rows = [(text(effect), f"{count:,}") for effect, count in effects(judged)]
    header = ("smallest effect", "parameters#")
    table = _table("What the tests of initial values would have caught.", header, rows, tall=True) if rows else ""
    return f"<p>{text(words)}.</p>\n{table}"


def _environment(report: Results, found: Sequence[Unit]) -> str:
    rows = [(text(name), text(value)) for name, value in report.environment.items()]
    if found:
        rows.append(("devices", text(", ".join(distinct(found, "device")))))
    for precision in distinct(found, "precision"):
        rows.append((text(precision), text(_SETTINGS.get(precision, ""))))
    rows += [(text(name), text(_fact(value))) for name, value in report.facts.items()]
    return _table("Versions, devices and settings.", ("what", "which"), rows)


def _fact(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return json.dumps(value, default=str) if isinstance(value, Mapping | list | tuple) else str(value)
