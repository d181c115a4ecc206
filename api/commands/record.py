"""`paritree record`: what one side of a pair tells, in a file, to be held against the other side somewhere else."""

from __future__ import annotations

from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from .output import progress

if TYPE_CHECKING:
    from ..common.wing import Call, Inputs

OK = 0


class _Side(NamedTuple):
    """What is to be recorded: a side of a pair, or a model and what goes with it."""

    model: Any
    inputs: Inputs
    call: Call | None
    train_call: Call | None


@click.command()
@click.argument("target", metavar="FILE.py:MODEL")
@click.option("-o", "--output", required=True, type=click.Path(dir_okay=False), help="The record, a safetensors file.")
@click.option("--side", type=click.Choice(("reference", "port")), help="Of a pair: which; the reference by default.")
@click.option("--inputs", metavar="NAME", help="Of a model: its inputs in FILE.py, by default INPUTS or inputs.")
@click.option("--call", metavar="NAME", help="Of a model: the function call(model, inputs) in FILE.py, if any.")
@click.option("--train-call", metavar="NAME", help="Of a model: the call in training mode, if it is another one.")
@click.option("--contracts", help="Record only what these contracts need, separated by commas.")
@click.option("--precision", "precisions", multiple=True, help="float32 (default), tf32, bfloat16; may be repeated.")
@click.option(
    "--activations",
    is_flag=True,
    help="Keep what each module takes and gives, so that a check can name the module that differs.",
)
@click.option(
    "--activation-limit",
    type=click.IntRange(min=1),
    metavar="MIB",
    help="The most that activations may take; 1024 by default.",
)
def record(
    target: str,
    output: str,
    contracts: str | None,
    precisions: tuple[str, ...],
    activations: bool,
    activation_limit: int | None,
    **of: str | None,
) -> int:
    """Keep one side of a pair in a file, to check against it later.

    The file, of safetensors, holds its table, outputs, gradients and initial values. It can be the reference of a pair
    where the framework is not installed, or after the model has changed: Pair(Record.load(FILE), port, inputs).

    MODEL is a model, a function from a seed to one (its initial values are then recorded too), or a paritree.Pair.

    Exit codes: 0 recorded, 2 usage, a model that cannot be recorded, or unreadable input.
    """
    from ..common.files import check_writable
    from ..pairs.records import BEGINNING
    from ..recording import record as run

    check_writable(output, "-o", BEGINNING)
    side = _side(target, of)
    options: dict[str, Any] = {"precisions": precisions} if precisions else {}
    if activation_limit is not None:
        if not activations:
            raise click.UsageError("--activation-limit is about --activations.")
        options["activation_limit"] = activation_limit * 2**20
    options["activations"] = activations
    if contracts is not None:
        options["contracts"] = [name.strip() for name in contracts.split(",")]
    with progress() as told:
        made = run(
            side.model, side.inputs, output, call=side.call, train_call=side.train_call, progress=told, **options
        )
    click.echo(_summary(made, output))
    return OK


def _side(target: str, of: dict[str, str | None]) -> _Side:
    from ..common.errors import UsageError
    from ..pairs.pair import Pair
    from ..targets import call_of, inputs_of, is_in_file, load_target, names_beside

    found = load_target(target)
    if isinstance(found, Pair):
        if extra := [name for name in ("inputs", "call", "train_call") if of[name] is not None]:
            option = "--" + extra[0].replace("_", "-")
            raise UsageError(option, "a model, which has none", "a pair, which has its own", "Leave the option out.")
        role = of["side"] or "reference"
        return _Side(
            getattr(found, role), found.inputs, getattr(found, f"{role}_call"), getattr(found, f"{role}_train_call")
        )
    if of["side"] is not None:
        raise UsageError("--side", "a pair, which has sides", type(found).__name__, "Leave the option out.")
    if not is_in_file(target):
        raise UsageError(target, "FILE.py:MODEL", "the name of a reference model", "Build it in a file.")
    # A factory is recorded as one.
    given = names_beside(target)[target.rpartition(":")[2]]
    model = given if isinstance(given, FunctionType) else found
    calls = (call_of(target, of[name]) for name in ("call", "train_call"))
    return _Side(model, inputs_of(target, of["inputs"]), *calls)


def _summary(made: Any, output: str) -> str:
    from ..common.text import one_line

    kept = f", of which activations {_size(made.activations_nbytes)}" if made.activations else ""
    lines = [f"{output}: {made}, {_size(made.nbytes)}{kept}"]
    return "\n".join((*lines, *(f"note: {one_line(note)}" for note in made.notes)))


def _size(count: int) -> str:
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count / 2**10:.1f} KiB"
