"""The command line. Each command imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .commands import COMMANDS, progress
from .common import drafts
from .common.files import check_writable, write_whole

if TYPE_CHECKING:
    from .study import Outcome

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
# What ends a process besides an interrupt: `kill`, a batch system's end of time, a terminal that is closed.
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
# A bar of progress hides it.
SHOW_CURSOR = b"\x1b[?25h"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(version("paritree"), prog_name="paritree")
def cli() -> None:
    """One model in PyTorch and in Flax, and the proof that it is the same model.

    Exit codes: 0 all contracts hold, 1 some fail, 2 usage or unreadable input.
    """


for command in COMMANDS:
    cli.add_command(command)


@cli.command()
@click.argument("rows", nargs=-1, metavar="[ROW]...")
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
@click.option("--markdown", type=click.Path(dir_okay=False), help="Write the rows to this file as one Markdown page.")
@click.option(
    "--notebooks",
    type=click.Path(file_okay=False, exists=True),
    help="Run all rows in notebooks, one a section, and write them into this folder, which takes ten minutes.",
)
@click.option("--list", "listed", is_flag=True, help="List the rows that are named; run nothing.")
@click.option("--run", "everything", is_flag=True, help="Without a ROW: run all rows, which takes a minute.")
@click.option("--open", "opened", is_flag=True, help="Write the rows as one HTML page, and open it in the browser.")
def study(
    rows: tuple[str, ...],
    as_json: bool,
    markdown: str | None,
    notebooks: str | None,
    listed: bool,
    everything: bool,
    opened: bool,
) -> int:
    """List or run the study's rows: one behaviour in each framework.

    ROW is the id of a row (W6) or the letter of a section (W): it is executed now and shown. Without a ROW all rows are
    listed, and with --run they are executed. --json, --markdown and --notebooks execute what they write.

    The exit code is 1 if the run does not confirm a row's verdict or a number that it states.
    """
    outputs = {
        "--json": as_json,
        "--markdown": bool(markdown),
        "--notebooks": bool(notebooks),
        "--list": listed,
        "--open": opened,
    }
    given = [option for option, is_given in outputs.items() if is_given]
    if given[1:]:
        raise click.UsageError(f"{' and '.join(given)} are {len(given)} outputs: give one.")
    if notebooks and rows:
        raise click.UsageError("--notebooks writes all rows, whole sections: leave out ROW.")
    if opened and not rows:
        raise click.UsageError("--open is about one row or a few: paritree study W6 --open.")
    if everything and (rows or listed):
        raise click.UsageError("--run is about all rows: leave out ROW and --list.")
    from .study import catalogue, outcomes, pages, terminal

    if markdown:
        check_writable(markdown, "--markdown")
    if notebooks:
        from .study import notebooks as books

        books.check(notebooks)
    if listed or not (rows or given or everything):
        terminal.show(terminal.titles(catalogue.listed(rows)))
        return OK
    with progress() as told:
        found = outcomes(rows, told)
    if as_json:
        import json

        click.echo(json.dumps(pages.as_json(found), indent=1))
    elif markdown:
        _write_page(markdown, pages.rosetta(found))
    elif notebooks:
        from .study import notebooks as books

        with progress() as told:
            books.write(notebooks, found, told)
    elif opened:
        _open_page("-".join(rows), found)
    else:
        terminal.show(*(terminal.page(outcome) for outcome in found) if rows else (terminal.overview(found),))
    problems = [problem for outcome in found for problem in outcome.problems()]
    for problem in problems:
        click.echo(problem, err=True)
    return FAILED if problems else OK


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print all layers as JSON.")
@click.option("--markdown", type=click.Path(dir_okay=False), help="Write all layers to this file as one Markdown page.")
def layers(names: tuple[str, ...], as_json: bool, markdown: str | None) -> int:
    """Look up a layer: its names and settings in each framework.

    The migration table has each layer's classes, the layouts of its arrays, what its settings become, its default
    initializers and the traps on the way. Without a NAME all layers are listed.

    NAME is a layer's, or that of a class of PyTorch or Flax: Conv2d, Dense, nnx.MultiHeadAttention.
    """
    from .study import layers as pages

    return _looked_up(pages, names, as_json, markdown)


@cli.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print all of them as JSON.")
@click.option("--markdown", type=click.Path(dir_okay=False), help="Write all to this file as one Markdown page.")
def optimizers(names: tuple[str, ...], as_json: bool, markdown: str | None) -> int:
    """Look up an optimizer or a schedule: torch.optim beside optax.

    The table has each one's arguments with both defaults, what a step adds, the state, and recipes that are equal or
    differ, with what was measured. Without a NAME all are listed.

    NAME is one of PyTorch's or optax's: AdamW, optax.rmsprop, CosineAnnealingLR, linear_schedule.
    """
    from .study import optimizers as pages

    return _looked_up(pages, names, as_json, markdown)


def _looked_up(pages: Any, names: Sequence[str], as_json: bool, markdown: str | None) -> int:
    """Print what a table of the study has of the names, or all of it, or write its page."""
    if sum(map(bool, (names, as_json, markdown))) > 1:
        raise click.UsageError("NAME, --json and --markdown are three outputs: give one.")
    from .study import terminal

    if as_json:
        import json

        click.echo(json.dumps(pages.as_json(), indent=1))
    elif markdown:
        check_writable(markdown, "--markdown")
        _write_page(markdown, pages.page())
    elif names:
        terminal.show(*(part for name in names for part in pages.shown(name)))
    else:
        terminal.show(pages.overview())
    return OK


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print the settings as JSON.")
def doctor(as_json: bool) -> int:
    """Show versions, devices and the settings of the frameworks."""
    import json

    from .common.wing import WINGS
    from .conformance import load_wing
    from .conformance.results import versions

    found: dict[str, dict[str, str]] = {name: load_wing(name).settings() for name in WINGS}
    if as_json:
        click.echo(json.dumps({"versions": versions(), **found}, indent=1))
        return OK
    sections = {"versions": versions()}
    for settings in found.values():
        # The two Flax wings share one framework, and so its settings.
        sections[", ".join(name for name in WINGS if found[name] == settings)] = settings
    for heading, settings in sections.items():
        click.echo(heading)
        for name, value in settings.items():
            click.echo(f"  {name:<28}  {value}")
    return OK


def _open_page(name: str, outcomes: Sequence[Outcome]) -> None:
    """Write a page into a new temporary folder, say where, and open it where there is a browser."""
    import webbrowser
    from tempfile import mkdtemp

    from .study import row_page

    file = Path(mkdtemp(prefix="paritree-"), f"{name}.html")
    file.write_text(row_page.page(outcomes), encoding="utf-8")
    click.echo(str(file))
    if not webbrowser.open(file.as_uri()):
        click.echo("There is no browser to open it in.", err=True)


def _write_page(file: str, text: str) -> None:
    """Write Markdown, over nothing but a page of the same title."""
    title, _, _ = text.partition("\n")
    write_whole(file, text, re.compile(re.escape(title.encode())))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit with its code."""
    if arguments is None:
        _handle((signal.SIGINT,))
        drafts.while_drafting = _ended_cleanly
    try:
        code = cli.main(arguments, prog_name="paritree", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = USAGE
    except BrokenPipeError:
        # What reads our output has seen enough; nothing is to be flushed at exit.
        sys.stdout = None  # type: ignore[assignment]
        code = OK
    except Exception as error:
        code = _explained(error)
    sys.exit(code)


@contextmanager
def _ended_cleanly() -> Iterator[None]:
    """For the time of a draft we answer these signals too. At other times the system does, also within a framework."""
    before = _handle(ENDING)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _handle(numbers: Iterable[int]) -> dict[int, Any]:
    """Answer those signals that are not ignored, as `nohup` has it, or answered by the user's file; what was before."""
    answers = (signal.SIG_DFL, signal.default_int_handler)
    return {number: signal.signal(number, _end) for number in numbers if signal.getsignal(number) in answers}


def _end(number: int, frame: object) -> None:
    """End at once. An exception could be swallowed by whatever a framework happens to run, and taking the interpreter
    down under its threads can crash."""
    try:
        said = (SHOW_CURSOR if os.isatty(2) else b"") + (b"\ninterrupted\n" if number == signal.SIGINT else b"")
        errors = os.dup(2)
        # A framework's threads would tell that their files are gone, and a bar would be drawn once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        drafts.remove_drafts()
        os.write(errors, said)
    finally:
        if number == signal.SIGINT:
            os._exit(INTERRUPTED)
        # What started us is to see the signal, as if we had not answered it.
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def _explained(error: Exception) -> int:
    """Print one of our own errors in a line; any other is a defect of ours and keeps its traceback."""
    from .common.errors import DeviceError, ParitreeError
    from .common.text import printable

    if not isinstance(error, ParitreeError | OSError):
        raise error
    click.echo(f"paritree: {printable(str(error))}", err=True)
    return FAILED if isinstance(error, DeviceError) else USAGE
