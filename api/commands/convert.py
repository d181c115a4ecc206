"""`paritree convert`: a checkpoint of one framework as one of the other."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

# The width of the numbers beside the bar, so that it stays in one line of a narrow terminal.
NUMBERS = 36


@click.command()
@click.argument("source", type=click.Path())
@click.argument("destination", type=click.Path())
@click.option("--map", "map_file", required=True, type=click.Path(), help="The map, a file of `paritree align`.")
@click.option(
    "--dtype", help="Cast floating-point arrays to float32, bfloat16 or float16; without it their types stay."
)
@click.option(
    "--inverse",
    is_flag=True,
    help="SOURCE is of the map's port. Without it, the paths in SOURCE tell which side it is.",
)
@click.option(
    "--like",
    metavar="FILE|FILE.py:MODEL",
    help="A checkpoint or a model of the destination's side, whose shapes are those to make.",
)
@click.option(
    "--keep",
    multiple=True,
    metavar="PATH",
    help="Where SOURCE has two values for tied paths: take the one of this path.",
)
@click.option("--skip", multiple=True, metavar="PATH", help="Leave out this entry of SOURCE; * stands for any text.")
@click.option(
    "--prefix",
    metavar="TEXT",
    help="Take this off the names in SOURCE, '' for nothing; without it, `module.` and its like are found.",
)
@click.option(
    "--pad",
    multiple=True,
    metavar="PATH=ROWS",
    help="Give this tensor of SOURCE so many rows, new ones zeros; PATH=AXIS:ROWS along an axis that is not the first.",
)
@click.option("--trim", multiple=True, metavar="PATH=ROWS", help="Leave this tensor of SOURCE so many rows; as --pad.")
@click.option("--pad-with", default="0", metavar="NUMBER|mean", help="What new rows hold: zeros without it.")
@click.option("--merge-lora", metavar="FOLDER", help="Add a LoRA adapter, as peft saves it, to SOURCE.")
@click.option(
    "--max-shard-size",
    metavar="SIZE",
    help="Make DESTINATION a folder of safetensors files of at most this size, such as 5GB, and their index.",
)
@click.option(
    "--optimizer",
    is_flag=True,
    help="SOURCE is an optimizer's state; --like FILE.py:NAME is the optimizer that is to have it.",
)
@click.option(
    "--model",
    metavar="NAME",
    help="With --optimizer: the PyTorch model that has its parameters, or a list of their names in the order of its "
    "groups, in the file of --like.",
)
@click.option("--step", type=int, help="With --optimizer: the number of updates made, where SOURCE counts none.")
@click.option("--overwrite", is_flag=True, help="Replace a file, or a folder with a checkpoint and nothing else.")
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the shards that were finished before; leave those of this one, if it stops.",
)
@click.option("--dry-run", is_flag=True, help="Print what would be read and written, and write nothing.")
def convert(
    source: str,
    destination: str,
    map_file: str,
    dtype: str | None,
    inverse: bool,
    like: str | None,
    keep: tuple[str, ...],
    skip: tuple[str, ...],
    prefix: str | None,
    pad: tuple[str, ...],
    trim: tuple[str, ...],
    pad_with: str,
    merge_lora: str | None,
    max_shard_size: str | None,
    optimizer: bool,
    model: str | None,
    step: int | None,
    overwrite: bool,
    resume: bool,
    dry_run: bool,
) -> int:
    """Carry a checkpoint file over to the other framework, by a map.

    SOURCE is a checkpoint of one side of the map, and DESTINATION becomes one of the other side.

    SOURCE is a .safetensors file, a torch checkpoint (.pt, .pth, .bin, .ckpt), an index with shards (*.index.json),
    NumPy's .npz, Flax's .msgpack, a folder with one of these as transformers names it, or a folder of Orbax or DCP.
    DESTINATION is a file that ends in .safetensors, or a folder's name: with --max-shard-size for shards, that ends in
    .dcp for DCP, or for Orbax. It appears whole or not at all. What SOURCE holds and DESTINATION does not is listed.

    MODEL is an nn.Module, an nnx.Module, a tuple (linen module, variables), a pytree of arrays, or a function from a
    seed to one of these.

    With --optimizer SOURCE is what torch.save wrote of an optimizer's state_dict, or a state of optax's in a folder of
    Orbax or a .msgpack file, alone or in a checkpoint. DESTINATION is a .pt file, or a .msgpack file or a folder for
    Orbax. NAME is a torch.optim.Optimizer, a state of optax's `init`, an nnx.Optimizer or a TrainState.
    """
    from ..migration import convert as run

    if optimizer:
        of_weights = [dtype, *keep, *skip, prefix, *pad, *trim, merge_lora, max_shard_size, resume, dry_run]
        click.echo(_optimizer(source, destination, map_file, like, model, step, inverse, overwrite, of_weights))
        return 0
    if model is not None or step is not None:
        raise click.UsageError("--model and --step are for --optimizer.")

    shapes = None if like is None else _like(like)
    with _bar() as on_progress:
        done = run(
            source,
            destination,
            map_file,
            dtype=dtype,
            inverse=inverse,
            like=shapes,
            keep=keep,
            skip=skip,
            prefix=prefix,
            pad=_rows("--pad", pad),
            trim=_rows("--trim", trim),
            pad_with=pad_with,
            merge_lora=merge_lora,
            max_shard_size=max_shard_size,
            overwrite=overwrite,
            resume=resume,
            dry_run=dry_run,
            on_progress=on_progress,
        )
    click.echo(str(done))
    return 0


def _optimizer(
    source: str,
    destination: str,
    map_file: str,
    like: str | None,
    model: str | None,
    step: int | None,
    inverse: bool,
    overwrite: bool,
    of_weights: Sequence[Any],
) -> str:
    """Convert an optimizer's state; what there is to say of it."""
    from ..common.errors import UsageError, nearest
    from ..migration import convert_optimizer
    from ..targets import is_in_file, load_target, names_beside

    if like is None or not is_in_file(like):
        raise click.UsageError("--optimizer needs --like FILE.py:NAME, the optimizer that is to have the state.")
    if any(of_weights):
        raise click.UsageError("--optimizer goes with --map, --like, --model, --step, --inverse and --overwrite alone.")
    port, names = load_target(like), names_beside(like)
    if model is not None and model not in names:
        known = [each for each in names if not each.startswith("_")]
        raise UsageError("--model", f"the name {model!r} in the file of --like", "none", nearest(model, known))
    named = None if model is None else names[model]
    return str(
        convert_optimizer(
            source, destination, map_file, port, model=named, step=step, inverse=inverse, overwrite=overwrite
        )
    )


def _rows(option: str, texts: tuple[str, ...]) -> dict[str, int | tuple[int, int]]:
    """The paths with their rows, or with an axis and its rows."""
    from ..common.errors import UsageError

    found: dict[str, int | tuple[int, int]] = {}
    for text in texts:
        path, _, rows = text.rpartition("=")
        matched = re.fullmatch(r"(?:(\d{1,2}):)?(\d{1,15})", rows, re.ASCII)
        if not path or matched is None or path in found:
            raise UsageError(option, "PATH=ROWS, or PATH=AXIS:ROWS, once for each path", repr(text))
        found[path] = int(matched[2]) if matched[1] is None else (int(matched[1]), int(matched[2]))
    return found


def _like(text: str) -> Any:
    """A live model of a Python file, or the path of a checkpoint."""
    from ..targets import load_target

    return load_target(text) if text.rpartition(":")[0].endswith(".py") else text


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None] | None]:
    """A bar of bytes on the terminal; nothing in a pipe."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    bar = BarColumn(min(40, max(console.width - NUMBERS, 4)))
    columns = (bar, DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("converting", total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)
