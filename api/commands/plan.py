"""`paritree plan`: what loading a checkpoint into a sharded model would read, process by process."""

from __future__ import annotations

import re

import click


@click.command()
@click.argument("source", metavar="SOURCE|FILE.py:MODEL")
@click.argument("like", metavar="FILE.py:MODEL")
@click.option("--map", "map_file", required=True, type=click.Path(), help="The map, a file of `paritree align`.")
@click.option("--mesh", metavar="AXIS=N,...", help="The mesh that annotations are about: its axes with their lengths.")
@click.option(
    "--processes", type=click.IntRange(1), help="How many there are, each with as many consecutive devices of the mesh."
)
@click.option("--skip", multiple=True, metavar="PATH", help="Leave out this entry of SOURCE; * stands for any text.")
@click.option("--prefix", metavar="TEXT", help="Take this off the names in SOURCE, '' for nothing.")
def plan(
    source: str,
    like: str,
    map_file: str,
    mesh: str | None,
    processes: int | None,
    skip: tuple[str, ...],
    prefix: str | None,
) -> int:
    """Print what each process would read to load a checkpoint into a sharded model.

    SOURCE is a checkpoint, or a model that stands for one: on PyTorch's meta device, abstract or live. MODEL is the
    model to be filled, which need have no values: of nnx.eval_shape, a tuple (linen module, variables), a pytree of
    jax.ShapeDtypeStruct, an nn.Module, or a function from a seed to one of these. No value is read, and there need be
    no device.
    """
    from ..migration import plan as run
    from ..targets import is_in_file, load_target

    found = load_target(source) if is_in_file(source) else source
    click.echo(
        str(run(found, map_file, load_target(like), processes=processes, mesh=_axes(mesh), skip=skip, prefix=prefix))
    )
    return 0


def _axes(text: str | None) -> dict[str, int] | None:
    """The lengths of a mesh's axes by their names."""
    from ..common.errors import UsageError

    if text is None:
        return None
    found: dict[str, int] = {}
    for part in text.split(","):
        matched = re.fullmatch(r"([^=\s]+)=([1-9]\d{0,8})", part.strip(), re.ASCII)
        if matched is None or matched[1] in found:
            raise UsageError("--mesh", "the axes of a mesh, such as data=64,model=8", repr(text))
        found[matched[1]] = int(matched[2])
    return found
