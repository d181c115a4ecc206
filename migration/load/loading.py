"""The steps of loading: look at the model, open the source, fit the map, hold all of them together, and fill."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from typing import Any

from ...common.errors import CheckpointError, TieError, WeightsError, unfit
from ...common.safetensors import TensorEntry
from ...common.tables import counted, shape_text
from ...common.text import one_line
from ...common.wing import Loader, Target
from ...pairs.maps import Map, check_way, digest
from ...pairs.modes import ordinary
from ...pairs.wings import loader_of
from ..convert import FilePath, Progress, Source, fitted, is_port, local_path, opened, scheme_of
from ..meeting import Meeting
from .filling import Filling, total
from .reading import Reader


@ordinary()
def load(
    source: FilePath,
    map: Map | FilePath,
    like: Any,
    *,
    shardings: Any = None,
    keep: Collection[str] = (),
    skip: Collection[str] = (),
    prefix: str | None = None,
    on_progress: Progress | None = None,
    on_note: Callable[[str], None] | None = None,
) -> Any:
    """A model filled from a checkpoint of the other side of a map, every process reading what its own devices need.

    source: a .safetensors file, an index with shards (`*.index.json`) or their folder, of which parts are read; or
        what else `convert` reads on this machine, of which whole tensors are. Which side of the map it is follows from
        its paths.
    map: a Map or its file. One of another size of the model is fitted to the source's shapes and the model's.
    like: the model, abstract or live. An NNX module (of `nnx.eval_shape`) or its state, `(linen module, variables)`, a
        pytree of `jax.ShapeDtypeStruct` or arrays: each array comes to lie as its sharding says, that of the abstract
        array, or of its annotations over the mesh of `jax.set_mesh`. A torch module with parameters on `meta`, on any
        other device, or sharded as DTensor (`fully_shard`, `distribute_tensor`). Nothing of a tensor
        is sent between processes; all that hold parts of the model call this alike, and go on when all have loaded.
    shardings: for JAX, where arrays are to lie instead: one sharding, a tree of them, or a mapping from paths.
    keep: for a tie of which the source has two different values, the path whose value is kept.
    skip: entries of the source that are left out, each a path or a pattern with the wildcards of `fnmatch`.
    prefix: what is taken off the source's names that have it, "" for nothing. Without one a known prefix, such as
        `module.`, is taken off if all names have it and the map's do not.
    on_progress: called with the bytes that this process has read, and those that it needs.
    on_note: called, before anything is read, with each line of what is seen otherwise than it is in the source: weight
        norms that are merged, a prefix that is taken off. `plan` tells the same lines.

    Returns the model to go on with: a torch or NNX module itself, or for a state, Linen and a pytree a new one. Arrays
    have the dtypes of `like`. What the map has no row for stays as it is, and so does an NNX model's random state,
    which `nnx.reseed` makes of an abstract one.

    Raises:
        WeightsError: source, map and model do not fit, all faults in one message; or a tie has two values.
        TieError: the model has two tensors where the map has one.
        ShapeError: a sharding that does not divide a tensor.
        DeviceError: annotations name a mesh, and there is none.
        CheckpointError: a source that cannot be read, or is written to in the meantime.
        DtypeError: a value that the model's dtype cannot hold.
        MapError: a file that is no map, one of a model of no such size, or one whose other side has a weight norm, to
            which no way leads.
        UsageError: a `like` that is no model, a path to keep or to skip that there is not.
        MapError, UsageError: another process of those that hold the model has another map, or loads something else.
        ProcessError: another one failed or is not heard of any more.

    Before the first byte of a tensor is read all but the values is held together, and up to then nothing was changed.
    JAX's arrays are put into the model when all are there; PyTorch's tensors are written one by one.
    """
    check_here(source)
    loader = loader_of(like)
    targets = loader.targets(like, shardings)
    with Meeting(loader.processes(targets)) as meeting:
        made = Map.of(map)
        seen = opened(local_path(source), made, skip, prefix)
        meeting.agree(_asked(made, seen.source, targets, keep))
        filling, owners = bound(seen.source, made, targets, keep)
        if on_note is not None:
            for line in seen.lines:
                on_note(one_line(line))
        arrays = _placed(loader, filling, owners, meeting, on_progress)
        # No process goes on with a model of which another one has no part.
        meeting.exchange("loaded")
        return loader.with_placed(like, targets, arrays)


def _asked(made: Map, source: Source, targets: Mapping[str, Target], keep: Collection[str]) -> dict[str, str]:
    """What all processes must have been asked, of whatever paths."""
    model = [(path, each.shape, each.dtype, each.aliases) for path, each in targets.items()]
    entries = sorted((path, entry) for path, entry in source.entries.items())
    return {"map": digest(made), "source": repr(entries), "model": repr(model), "keep": repr(sorted(keep))}


def _placed(
    loader: Loader, filling: Filling, owners: Mapping[str, Target], meeting: Meeting, on_progress: Progress | None
) -> dict[str, Any]:
    """The framework's arrays by the paths of the model, read as the source is best read."""
    order = filling.order()
    needed = total(filling, {path: owners[path].boxes for path in order}) if on_progress else 0
    uses = Counter(entry for path in order for entry in filling.needed(path))
    arrays = {}
    with Reader(filling.source) as reader:
        for path in order:
            arrays[owners[path].path] = loader.placed(owners[path], partial(filling.fill, reader, path))
            meeting.check()
            if on_progress is not None:
                on_progress(reader.nbytes, needed)
            for entry in filling.needed(path):
                uses[entry] -= 1
                if not uses[entry]:
                    reader.release(entry)
        reader.check()
    return arrays


def check_here(source: FilePath) -> None:
    """Raises CheckpointError for a source elsewhere, of which every process would fetch all."""
    scheme = scheme_of(source)
    if scheme:
        remedy = "Copy it to a disk that every process sees, and give its path."
        raise CheckpointError(os.fspath(source), "a source on this machine", f"one at {scheme}://", remedy)


def bound(
    source: Source, made: Map, targets: Mapping[str, Target], keep: Collection[str]
) -> tuple[Filling, dict[str, Target]]:
    """Source, map and model held together: how to fill the model's tensors, and which are the map's.

    Raises:
        WeightsError, TieError, MapError, UsageError: as `load`.
    """
    directed = _fitted(source, made, targets)
    owners = _owners(directed, targets)
    return Filling.of(source, directed, keep), owners


def _fitted(source: Source, made: Map, targets: Mapping[str, Target]) -> Map:
    """The map from the source's side to the model's, of their size.

    Raises:
        WeightsError, MapError: there is none.
    """
    directed = made.inverse() if is_port(source, made) else made
    check_way(directed)
    entries = {
        name: TensorEntry(target.shape, target.dtype)
        for path, target in targets.items()
        for name in (path, *target.aliases)
        # No map is about constants that are not saved.
        if target.saved or name in directed.by_port
    }
    fits = all(path in entries and entries[path].shape == rows[0].port_shape for path, rows in directed.by_port.items())
    return fitted(source, directed, None if fits else entries)


def _owners(made: Map, targets: Mapping[str, Target]) -> dict[str, Target]:
    """For each of the map's port tensors the model's.

    Raises:
        WeightsError: all that the two do not have in common. TieError: what is one in the map is two in the model.
    """
    names = {name: target for path, target in targets.items() for name in (path, *target.aliases)}
    _check_tied(made, names)
    faults = list(_faults(made, names))
    found = {path: names[path] for path in made.by_port if path in names}
    filled = {target.path for target in found.values()}
    empty = [path for path, each in targets.items() if path not in filled and not each.has_values]
    faults += [f"{path} has no row in the map, and no values" for path in empty]
    if faults:
        raise WeightsError(
            "",
            f"a model with the {counted(len(made.by_port), 'tensor')} of the map's {made.direction[1]} side",
            unfit(faults),
            "What no checkpoint holds must have its values: make it on a device. Nothing was loaded.",
        )
    return found


def _faults(made: Map, names: Mapping[str, Target]) -> Iterator[str]:
    seen: dict[str, str] = {}
    for path, rows in made.by_port.items():
        if path not in names:
            yield f"{path} is missing"
            continue
        if names[path].shape != rows[0].port_shape:
            yield f"{path} has shape {shape_text(names[path].shape)} and needs {shape_text(rows[0].port_shape)}"
        other = seen.setdefault(names[path].path, path)
        if other != path:
            yield f"{other} and {path} are one tensor of the model and two of the map"


def _check_tied(made: Map, names: Mapping[str, Target]) -> None:
    """Raises TieError: what is one in the map is two in the model."""
    for path, rows in made.by_port.items():
        for alias in rows[0].port_aliases:
            if path in names and alias in names and names[alias].path != names[path].path:
                remedy = (
                    "Tie them in the model, before it is sharded; `fully_shard` keeps a tie if the first call that "
                    "shards one of the two is for a module that holds both. Nothing was loaded."
                )
                raise TieError(alias, f"the same tensor as {path}, to which the map ties it", "another one", remedy)
