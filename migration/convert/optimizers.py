"""An optimizer's state from file to file: read, carried by a map, and written as the other framework keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from math import prod
from pathlib import Path
from typing import Any

from ...common.errors import CheckpointError
from ...common.trees import is_array, members, walk
from ...common.wing import whole
from ...pairs.maps import Map
from ...pairs.wings import optimizer_states
from .conversion import Conversion, FilePath
from .destinations import DCP, FILE, OTHER
from .publish import check_free, draft
from .readers import DCP_FILE, FLAX, TORCH, orbax_checkpoint, readable
from .remote import check_here, here, local_path

_KINDS = {
    True: f"a file of torch.save ({', '.join(TORCH)})",
    False: f"a {FLAX} file of Flax's, or a folder of Orbax",
}


def convert_optimizer(
    source: FilePath,
    destination: FilePath,
    map: Map | FilePath,
    like: Any,
    *,
    model: Any = None,
    step: int | None = None,
    inverse: bool = False,
    overwrite: bool = False,
) -> Conversion:
    """Write the state of one side's optimizer as that of the other side's, as `Map.carry_optimizer` makes it.

    source: what `torch.save(optimizer.state_dict(), file)` wrote, alone or anywhere in a checkpoint that has no other
        one, as Lightning's; or a folder of Orbax or a .msgpack of Flax's with a state of optax's, alone or beside
        the parameters under `opt_state`.
    destination: for PyTorch a file that ends as a torch checkpoint does, for JAX one that ends in .msgpack, or a folder
        for Orbax. It appears whole or not at all. It holds the optimizer's state and, of an nnx.Optimizer and a
        TrainState, the number of steps; no parameters.
    map: a Map or its file, of the models' own size. Which of its sides the source is follows from its kind; where both
        sides are JAX's, or PyTorch's, `inverse` says that it is the port's.
    like: the optimizer of the destination's side, live; see `Map.carry_optimizer`. PyTorch's and nnx.Optimizer are
        written to.
    model: the module that has the parameters of PyTorch's optimizer, or their names.
    step: the number of updates made, where the source counts none and the destination needs it.
    overwrite: replace a file or an Orbax checkpoint that is there.

    Raises:
        CheckpointError: a source or destination that cannot be read or written, or that is of the wrong kind.
        NotExpressibleError, WeightsError, UsageError: as `Map.carry_optimizer`.
        MapError: a file that is no map.
    """
    check_here(destination)
    target = local_path(destination)
    made = Map.of(map)
    with here(source, target) as place:
        made = _directed(made, place, inverse)
        is_torch = made.direction[1] == "torch"
        _check_destination(target, is_torch)
        inputs = [place, *([] if isinstance(map, Map) else [Path(map)])]
        check_free(target, overwrite, inputs)
        models = {"reference_model" if made.direction[0] == "torch" else "port_model": model}
        carried = made.carry_optimizer(_read(place), like, **models, step=step)
        content = optimizer_states(made.direction[1]).content(carried)
        with draft(target, overwrite, inputs) as file:
            _write(file, content, is_torch)
    arrays = [leaf for _, leaf in walk(content, members) if is_array(leaf)]
    nbytes = sum(array.dtype.itemsize * prod(array.shape) for array in arrays)
    return Conversion(target, made.direction, len(arrays), nbytes)


def _directed(made: Map, source: Path, inverse: bool) -> Map:
    """The map from the source's side.

    Raises:
        CheckpointError: none of its sides keeps a state in such a file.
    """
    is_torch = source.suffix in TORCH
    if not is_torch and source.suffix != FLAX and not source.is_dir():
        found = f"a file that ends in {source.suffix!r}" if source.exists() else "nothing there"
        raise CheckpointError(str(source), f"{_KINDS[True]}, {_KINDS[False]}", found)
    if source.is_dir():
        _check_folder(source)
    sides = [side == "torch" for side in made.direction]
    if is_torch not in sides:
        found = f"{source.name!r}, which is {_KINDS[is_torch]}"
        raise CheckpointError(str(source), f"{_KINDS[not is_torch]}, as both sides of the map keep one", found)
    is_port = inverse if sides[0] == sides[1] else sides[1] == is_torch
    return made.inverse() if is_port else made


def _check_folder(source: Path) -> None:
    """Raises CheckpointError for a folder that is none of Orbax."""
    if (source / DCP_FILE).is_file():
        remedy = "Make a file of it first: torch.distributed.checkpoint.format_utils.dcp_to_torch_save(folder, file)."
        found = "a folder of torch.distributed.checkpoint"
        raise CheckpointError(str(source), f"{_KINDS[True]}, {_KINDS[False]}", found, remedy)
    with readable(source):
        orbax_checkpoint(source)


def _check_destination(target: Path, is_torch: bool) -> None:
    """Raises CheckpointError for a name of another kind than the side's own."""
    ending = target.suffix.lower()
    fits = target.suffix in TORCH if is_torch else target.suffix == FLAX or ending not in (*OTHER, FILE, DCP)
    if not fits:
        found = f"one that ends in {target.suffix!r}" if target.suffix else "one without an ending"
        raise CheckpointError(str(target), f"a destination that is {_KINDS[is_torch]}", found)


def _read(source: Path) -> Any:
    """The tree that a checkpoint holds, its arrays NumPy's.

    Raises:
        CheckpointError: it cannot be read, is cut short or damaged.
    """
    with readable(source):
        if source.suffix in TORCH:
            return _filled(import_module("...impl_torch.files", __package__).read(source), lambda each: each.read())
        files = import_module("...impl_jax.files", __package__)
        if source.suffix == FLAX:
            return files.read_msgpack(source)
        return _filled(files.listed(orbax_checkpoint(source)), lambda each: each.read(whole(each.shape)))


def _filled(node: Any, read: Any) -> Any:
    """The tree with the values of what is stored."""
    if isinstance(node, Mapping):
        return {key: _filled(each, read) for key, each in node.items()}
    if isinstance(node, list | tuple):
        return [_filled(each, read) for each in node]
    return read(node) if hasattr(node, "read") and is_array(node) else node


def _write(file: Path, content: Any, is_torch: bool) -> None:
    if is_torch:
        import_module("...impl_torch.files", __package__).write(file, content)
        return
    files = import_module("...impl_jax.files", __package__)
    (files.write_msgpack if file.suffix == FLAX else files.write)(file, content)
