"""`paritree align`: the map between two models of a file, found by measurement and proved."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import click

from .output import progress

if TYPE_CHECKING:
    from rich.table import Table

    from ..pairs.maps import Map

FOUND, NOT_PROVED = 0, 1


@click.command()
@click.argument("target", metavar="FILE.py:PAIR")
@click.option("-o", "--output", type=click.Path(dir_okay=False), help="Write the map to this file.")
@click.option("--dtype", default="float32", show_default=True, help="What both sides compute in: float32 or float64.")
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="PATH=PATH",
    help="A path of the reference and its path in the port, where measuring cannot tell; {i} is the same part in both.",
)
def align(target: str, output: str | None, dtype: str, rules: tuple[str, ...]) -> int:
    """Find which tensor of the reference is which of the port.

    The map that is found is proved by runs of both. PAIR is a paritree.Pair, or a function that returns one and takes
    nothing or a seed. Without -o the rows are printed.

    Exit codes: 0 found and proved, 1 not proved, 2 usage or unreadable input.
    """
    from ..common.files import check_writable
    from ..migration import AlignmentError
    from ..migration import align as run
    from ..pairs.maps import BEGINNING
    from ..targets import load_pair

    given = _rules(rules)
    if output is not None:
        check_writable(output, "-o", BEGINNING)
    try:
        with progress() as told:
            told(f"loading {target}")
            found = run(load_pair(target), dtype=dtype, rules=given, progress=told)
    except AlignmentError as error:
        click.echo(f"paritree: {target}: {error}", err=True)
        return NOT_PROVED
    from ..common.text import one_line
    from ..study import terminal

    if output is None:
        click.echo(_rows(found))
    else:
        found.save(output)
    terminal.show(_summary(found))
    for note in found.notes:
        click.echo(f"note: {one_line(note)}")
    for side in ("unmatched_reference", "unmatched_port"):
        for path in getattr(found, side):
            click.echo(f"{side.replace('_', ' ')}: {one_line(path)}")
    return FOUND


def _rules(rules: tuple[str, ...]) -> dict[str, str]:
    from ..common.errors import UsageError

    found = {}
    for rule in rules:
        path, sign, partner = rule.partition("=")
        if not (path and sign and partner):
            raise UsageError("--rule", "PATH=PATH, the reference's and the port's", repr(rule))
        found[path] = partner
    return found


def _rows(found: Map) -> str:
    from ..common.columns import columns
    from ..pairs.maps import cells

    return "\n".join(columns(cells(found))) + "\n"


def _summary(found: Map) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    evidence = Counter(row.evidence for row in found.rows)
    ties = sum(bool(rows[0].reference_aliases) for rows in found.by_reference.values())
    pieces = sum(not row.is_whole for row in found.rows)
    counts = {
        "map": " -> ".join(found.direction),
        "proved": "yes" if found.verified else "no",
        "coverage": f"{found.coverage:.0%}",
        **{f"rows by {name}": str(number) for name, number in evidence.most_common()},
        "rows of pieces": str(pieces),
        "ties": str(ties),
        f"unmatched in {found.direction[0]}": str(len(found.unmatched_reference)),
        f"unmatched in {found.direction[1]}": str(len(found.unmatched_port)),
        "not mapped": str(len(found.aside_reference) + len(found.aside_port)),
    }
    made = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, show_header=False)
    for name, value in counts.items():
        made.add_row(name, value)
    return made
