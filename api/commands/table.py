"""`paritree table`: a model's parameters, and with inputs its modules too."""

from __future__ import annotations

import json

import click

OK = 0


@click.command()
@click.argument("target", required=False, metavar="[FILE.py:MODEL]")
@click.option(
    "--inputs", metavar="NAME", help="Call the model with these inputs of FILE.py, a tuple or dict of arrays."
)
@click.option("--call", metavar="NAME", help="With --inputs: the function call(model, inputs) in FILE.py, if any.")
@click.option(
    "--depth", type=click.IntRange(min=0), metavar="N", help="With --inputs: show modules down to this depth."
)
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON.")
def table(target: str | None, inputs: str | None, call: str | None, depth: int | None, as_json: bool) -> int:
    """Show a model's parameters: names, shapes, initializers and ties.

    MODEL is a spec, an nn.Module, an nnx.Module, a tuple (linen module, variables), a pytree of arrays, or a function
    from a seed to one of these. The name alone is that of a reference model or architecture; without a target they are
    listed.

    With --inputs the model is called once, and the modules are shown as a tree: the class of each, the shape of what it
    returns, and how many numbers its parameters have. NAME may be a paritree.Pair, whose inputs are taken.
    """
    from ..common.columns import terminal_width
    from ..front import table as table_of
    from ..targets import call_of, inputs_of, is_in_file, load_target

    if inputs is None and (call is not None or depth is not None):
        raise click.UsageError(f"{'--call' if depth is None else '--depth'} is about --inputs NAME.")
    if target is None:
        click.echo(_known_models())
        return OK
    if inputs is not None and not is_in_file(target):
        raise click.UsageError("--inputs is about a model of a file, FILE.py:MODEL.")
    model = load_target(target)
    if inputs is None:
        found = table_of(model)
    else:
        found = table_of(model, inputs_of(target, inputs), call=call_of(target, call))
    if as_json:
        rows = found.to_json()
        click.echo(json.dumps({"modules": found.modules_json(), "rows": rows} if found.modules else rows, indent=1))
    else:
        click.echo(found.text(terminal_width(), depth))
    return OK


def _known_models() -> str:
    from ..common.columns import columns
    from ..common.models import MODELS
    from ..common.models.architectures import ARCHITECTURES

    return "\n".join(columns([(name, each.title) for name, each in {**MODELS, **ARCHITECTURES}.items()]))
