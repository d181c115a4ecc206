"""`paritree check`: the contracts of the reference models, or of a pair of a file."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import coloured, progress

if TYPE_CHECKING:
    from ..conformance.report import Report

HOLD, FAILED = 0, 1
STDOUT = "-"
# Options that are about one kind of target only.
_OF_PAIRS = {
    "precisions": "--precision",
    "map_file": "--map",
    "known_differences": "--known-differences",
    "alpha": "--alpha",
    "loaded": "--loaded",
    "accept": "--accept",
    "reason": "--reason",
}
_OF_MODELS = {"wings": "--wing"}


def _file(option: str, what: str) -> Any:
    return click.option(option, type=click.Path(dir_okay=False), metavar="FILE", help=what)


@click.command()
@click.argument("targets", nargs=-1, metavar="[FILE.py:PAIR | MODEL...]")
@click.option(
    "--json",
    "json_file",
    is_flag=False,
    flag_value=STDOUT,
    metavar="[FILE.json]",
    help="Print the report as JSON and nothing else; or write it to this file, whose name ends in .json.",
)
@_file("--junit", "Write the report to this file as JUnit XML.")
@_file("--html", "Write the report to this file as one HTML page.")
@click.option(
    "--device",
    "devices",
    multiple=True,
    help="Check on this device only: cpu, cuda, cuda:1, tpu or mps, or the reference and the port on two, cpu:cuda; "
    "may be repeated.",
)
@click.option("--require-device", help="Check on this device too, and fail if a side or wing does not see it.")
@click.option("--contracts", multiple=True, help="Check these contracts only, separated by commas; may be repeated.")
@click.option("--wing", "wings", multiple=True, help="Of reference models: this wing only (torch, linen, nnx).")
@click.option(
    "--precision",
    "precisions",
    multiple=True,
    help="Of a pair: float32 (the default), tf32 or bfloat16; may be repeated.",
)
@click.option("--map", "map_file", metavar="FILE", help="Of a pair: its map, a file that `paritree align` has written.")
@click.option("--known-differences", metavar="FILE.toml", help="Of a pair: the failures that are accepted.")
@_file("--accept", "Of a pair: write the differences that the frameworks themselves make into this TOML file.")
@click.option("--reason", help="With --accept: why these are accepted. Without it, a terminal is asked.")
@click.option(
    "--alpha", help="Of a pair: how likely the test of initial values may fail for a right port; 1e-6 by default."
)
@click.option(
    "--loaded",
    is_flag=True,
    default=None,
    help="Of a pair: the port was given the reference's values; fail if it holds none of them.",
)
def check(targets: tuple[str, ...], json_file: str | None, junit: str | None, html: str | None, **options: Any) -> int:
    """Check a pair of models, or the reference models.

    PAIR is a paritree.Pair in a file, or a function that returns one and takes nothing or a seed. Without --map the two
    models are aligned first. Without a target all reference models are checked. A device that is not there is skipped,
    and a row says so.

    A row of the table shows the worst that was measured, and what is allowed. For values it is an error, relative to
    the tensor's norm, against a float64 run. For an initialization it is the smallest p-value, which must stay above
    the level beside it. For names and shapes it is the number of paths that differ.

    Exit codes: 0 all contracts hold, 1 some fail, 2 usage or unreadable input.
    """
    from ..common.files import check_writable, write_whole
    from ..conformance.reports import BEGINNINGS
    from ..pairs.wings import leads

    if json_file not in (None, STDOUT) and not json_file.endswith(".json"):
        # `--json mlp`: the next word is a target.
        targets, json_file = (*targets, json_file), STDOUT
    accepting = _accepting(options["accept"], options["reason"])
    files = {"--json": None if json_file == STDOUT else json_file, "--junit": junit, "--html": html}
    named = {option: file for option, file in files.items() if file is not None}
    begins = dict(zip(files, BEGINNINGS.values(), strict=True))
    for option, file in named.items():
        check_writable(file, option, begins[option])
    report = _report(targets, options)
    if not leads():
        # Each process has the whole report, and one tells it.
        return HOLD if report.ok else FAILED
    report = _accepted(report, *accepting) if accepting else report
    forms = {"--json": report.to_json, "--junit": report.to_junit, "--html": report.to_html}
    # All are made before one is written.
    for option, text in [(option, forms[option]()) for option in named]:
        write_whole(named[option], text, begins[option])
    click.echo(report.to_json() if json_file == STDOUT else coloured(str(report)))
    return HOLD if report.ok else FAILED


def _accepting(file: str | None, reason: str | None) -> tuple[str, str | None] | None:
    """The file for accepted differences and the reason, as far as it is known; None if none are to be accepted.

    Raises:
        UsageError: a file that cannot be written or is none of known differences; no reason, and nobody to ask.
    """
    from ..common.files import check_writable
    from ..conformance.known import load

    if file is None:
        if reason is not None:
            raise click.UsageError("--reason is about --accept FILE.toml.")
        return None
    if reason is None and not sys.stdin.isatty():
        raise click.UsageError("--accept needs a reason, and there is no terminal to ask for one: give --reason TEXT.")
    if reason is not None and not reason.strip():
        raise click.UsageError("--reason is empty: say why the differences are accepted.")
    check_writable(file, "--accept")
    if Path(file).exists():
        load(file)
    return file, reason


def _accepted(report: Report, file: str, reason: str | None) -> Report:
    """The report with what was accepted as known; what is done is told beside it."""
    from ..conformance.consequences import with_consequences
    from ..conformance.known import accept, accepted, load, proposed

    found = proposed(report.results)
    if found and reason is None:
        click.echo("\n".join(f"{each}: {each.reason}" for each in found), err=True)
        reason = click.prompt("Why are these accepted?", err=True)
    new = accept(file, found, reason or "")
    places = {(each.contract, each.path) for each in found}
    declared = [each for each in (load(file) if found else ()) if (each.contract, each.path) in places]
    report = replace(report, results=with_consequences(tuple(accepted(report.results, declared))))
    old = f", {len(declared) - len(new)} were there already" if len(declared) > len(new) else ""
    click.echo(f"{file}: {len(new)} accepted{old}" if found else f"{file}: nothing to accept", err=True)
    for result in report.failures:
        place = f" at {result.path!r}" if result.path else ""
        click.echo(
            f"not accepted: {result.contract}{place}; no difference between the frameworks explains it", err=True
        )
    return report


def _report(targets: tuple[str, ...], options: dict[str, Any]) -> Report:
    from ..targets import is_in_file

    pairs = [target for target in targets if is_in_file(target)]
    given = {name: value for name, value in options.items() if value not in (None, ())}
    _refuse(given, _OF_MODELS if pairs else _OF_PAIRS, "reference models" if pairs else "a pair, FILE.py:PAIR")
    given = {name: value for name, value in given.items() if name not in ("accept", "reason")}
    if given.get("contracts"):
        given["contracts"] = [name.strip() for part in given["contracts"] for name in part.split(",")]
    if "require_device" in given:
        given["required_device"] = given.pop("require_device")
    if not pairs:
        from ..conformance import check_reference_models

        with progress() as told:
            return check_reference_models(targets, progress=told, **given)
    if len(targets) > 1:
        raise click.UsageError(
            f"One pair is checked at a time; there are {len(targets)} targets: {', '.join(targets)}."
        )
    return _of_pair(pairs[0], given)


def _refuse(given: Iterable[str], wrong: dict[str, str], about: str) -> None:
    for name in given:
        if name in wrong:
            raise click.UsageError(f"{wrong[name]} is about {about}.")


def _of_pair(target: str, given: dict[str, Any]) -> Report:
    from ..checking import check as run
    from ..pairs.maps import Map
    from ..suites import checked_alpha
    from ..targets import load_pair

    if "alpha" in given:
        given["alpha"] = checked_alpha(given["alpha"], "--alpha")
    if "map_file" in given:
        given["map"] = Map.load(given.pop("map_file"))
    is_loaded = given.pop("loaded", False)
    with progress() as told:
        told(f"loading {target}")
        pair = load_pair(target)
        pair = replace(pair, loaded=True) if is_loaded else pair
        return run(pair, name=target, progress=told, **given)
