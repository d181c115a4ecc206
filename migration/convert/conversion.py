"""The steps of a conversion: open the source, plan, make a draft of the destination, publish it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ...common.errors import UsageError
from ...common.tables import counted
from ...common.text import one_line
from ...pairs.maps import Map, digest
from ..meeting import Meeting
from .changes import States, check_unchanged, states
from .destinations import check_kind, layout, open_destination
from .execute import Progress, execute
from .joint import write_together
from .live import LiveModel
from .lora import Merged
from .matching import target_entries
from .opening import opened, with_products
from .planning import Plan, aliases_of, cast_to, check_values, planned
from .publish import check_free, draft, other_drafts
from .readers import Source
from .remote import check_here, here, local_path
from .shards import shard_size
from .together import Shards, Share, shared_draft
from .views import Resized, Rows

FilePath = str | os.PathLike[str]


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    direction: the side that was read and the side that was written.
    tensors, nbytes: how many were written, and their size.
    written: how many bytes of them this process wrote: not all, where others did their part or some were there already.
    aliases: the paths that share the tensor of another path.
    left_out: what the source held and the destination does not: what the map has no row for, what was skipped, and what
        is no weight.
    absent: the destination's tensors that the map has no row for; the model keeps its own.
    other_drafts: drafts for the same place that lie beside it, which other users or processes have or left.
    taken_off, put_before: what every name of the source had before the map's, or the map's before the source's.
    changed: what became of the source's tensors before they were carried, a line each.
    planned: of a dry run what it would read, and write to each file or folder: what, the number of tensors, their size.
    """

    destination: Path
    direction: tuple[str, str]
    tensors: int
    nbytes: int
    aliases: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    other_drafts: tuple[str, ...] = ()
    taken_off: str = ""
    put_before: str = ""
    changed: tuple[str, ...] = ()
    planned: tuple[tuple[str, int, int], ...] = ()
    written: int = 0

    def __str__(self) -> str:
        ties = f", {counted(len(self.aliases), 'alias', 'aliases')}" if self.aliases else ""
        lines = [f"{self.direction[0]} -> {self.direction[1]}: {_amount(self.tensors, self.nbytes)}{ties}"]
        lines += [f"would {one_line(what)}: {_amount(*amount)}" for what, *amount in self.planned]
        lines += [f"taken off: {one_line(self.taken_off)}"] if self.taken_off else []
        lines += [f"put before: {one_line(self.put_before)}"] if self.put_before else []
        lines += [one_line(each) for each in self.changed]
        lines += _told("left out", self.left_out)
        lines += _told("not written, as the map has no row for it", self.absent)
        lines += _told("left alone, another's draft, at work or killed", self.other_drafts)
        return "\n".join(lines)


def _amount(tensors: int, nbytes: int) -> str:
    return f"{counted(tensors, 'tensor')}, {nbytes:,} bytes"


def _told(what: str, paths: Sequence[str], most: int = 50) -> list[str]:
    """A line for each path, and one for how many more there are."""
    more = [f"and {len(paths) - most:,} more"] if len(paths) > most else []
    return [f"{what}: {one_line(each)}" for each in (*paths[:most], *more)]


def convert(
    source: FilePath,
    destination: FilePath,
    map: Map | FilePath,
    *,
    dtype: str | None = None,
    inverse: bool = False,
    like: Any = None,
    keep: Collection[str] = (),
    skip: Collection[str] = (),
    prefix: str | None = None,
    pad: Mapping[str, Rows] | None = None,
    trim: Mapping[str, Rows] | None = None,
    pad_with: float | str = 0.0,
    merge_lora: FilePath | None = None,
    max_shard_size: int | str | None = None,
    overwrite: bool = False,
    resume: bool = False,
    dry_run: bool = False,
    on_progress: Progress | None = None,
) -> Conversion:
    """Write a checkpoint of one side of a map as a checkpoint of the other.

    source: a .safetensors file, a torch checkpoint, an index with shards (`*.index.json`), NumPy's .npz, Flax's
        .msgpack, a folder with one of these as transformers names it, a folder of Orbax or DCP.
    destination: a file that ends in .safetensors, or a folder: with shards, for DCP if it ends in .dcp, or for Orbax.
        It appears whole or not at all.
    map: a Map or its file. Which of its sides the source is follows from the paths; `inverse` says that it is the
        port's. A map of another size of the model is fitted to the source's shapes (see `Map.fit`).
    dtype: `float32`, `bfloat16` or `float16` for all floating-point tensors; without it each keeps its own.
    like: a checkpoint of the destination's side, or a live model of it, whose shapes the new one's shall be, where the
        map does not tell.
    keep: for a tie of which the source has two different values, the path whose value is kept.
    skip: entries of the source that are left out, each a path or a pattern with the wildcards of `fnmatch`.
    prefix: what is taken off the source's names that have it, "" for nothing. Without one a known prefix, such as
        `module.`, is taken off if all names have it and the map's do not.
    pad, trim: by the source's paths how many rows a tensor gets, along its first axis, or as (axis, rows) along
        another: a vocabulary that one side pads. All paths of a tie get them.
    pad_with: what new rows hold: a number, or `mean` for the mean of those that are there.
    merge_lora: a folder of peft with a LoRA adapter of the source's side, which is added to it.
    max_shard_size: makes the destination a folder in Hugging Face's layout, in shards of at most so many bytes, or a
        text such as `5GB`.
    overwrite: replace what a conversion to that name could have written: a file, or a folder that is a checkpoint of
        Orbax or in shards and nothing else; never a link, nor what the destination is made from.
    resume: go on with the shards that a conversion of the same to the same place has finished before it was stopped,
        and leave them if this one is.
    dry_run: say what would be read and written, and write nothing.
    on_progress: called with the bytes that are done and the bytes in all, in the caller's thread.

    Raises:
        CheckpointError: a source or destination that cannot be read or written.
        WeightsError: the source does not fit the map, all faults in one message, or a tie has two values.
        MapError: a file that is no map, or one whose other side has a weight norm, to which no way leads.
        DtypeError: a dtype that is not cast to, or a value that it cannot hold.
        UsageError: a path to keep that is none of a tie's, one to skip that is none of the source's, a prefix that none
            of its names has, rows that a tensor cannot have, a `like` that is no model, or a size that is none.
    """
    order = _ordered(destination, dtype, max_shard_size, overwrite, resume, dry_run, on_progress)
    made = Map.of(map)
    shapes = None if like is None else target_entries(like)
    with here(source, order.target) as place:
        weights, told, taken_off, put_before = opened(place, made, skip, prefix)
        changed = [*told]
        if merge_lora is not None:
            weights = Merged(weights, Path(merge_lora), taken_off)
            changed.append(weights.told)
        if pad or trim:
            weights = Resized(weights, made, pad or {}, trim or {}, pad_with)
            changed += weights.told
        inputs = [Path(each) for each in (place, map, like) if isinstance(each, str | os.PathLike)]
        plan = planned(weights, made, order.cast, inverse, shapes, keep)
        check_values(weights, plan)
        done = _done(plan, weights, order, inputs, changed, os.fspath(source))
    return replace(done, taken_off=taken_off, put_before=put_before)


def save(
    model: Any,
    map: Map | FilePath,
    destination: FilePath,
    *,
    dtype: str | None = None,
    inverse: bool = False,
    keep: Collection[str] = (),
    max_shard_size: int | str | None = None,
    overwrite: bool = False,
    on_progress: Progress | None = None,
) -> Conversion:
    """Write a live model of one side of a map as a checkpoint of the other.

    model: an `nn.Module`, an `nnx.Module`, `(linen module, variables)` or a pytree of arrays; it is not changed. What
        is sharded is written shard by shard. Where its shards lie in several processes, of a mesh of `jax.distributed`
        or a process group of PyTorch, all of these call this alike, with a destination that all of them see; each
        writes what is made of its own shards, and the first one publishes the whole when all have.
    map, destination and the others: as `convert` has them. on_progress: the bytes are those of this process.

    Raises:
        NotExpressibleError: a tensor without values, two that are to be added up in unlike shards, or a weight norm
            whose lengths lie in several processes.
        CheckpointError, WeightsError, MapError, DtypeError: as `convert`.
        UsageError: what is no model, and as `convert`.
        MapError, UsageError: another process has another map, or is to do something else. Nothing was written.
        ProcessError: another process failed or is not heard of any more. Nothing was published.
    """
    shards = Shards.of(model)
    with nullcontext() if shards is None else Meeting(shards.processes) as meeting:
        order = _ordered(destination, dtype, max_shard_size, overwrite, False, False, on_progress)
        made = Map.of(map)
        inputs = [] if isinstance(map, Map) else [Path(map)]
        known = None if shards is None else shards.known_to(made)
        if meeting is None or known is None:
            weights, changed = with_products(LiveModel(model, made), made)
            plan = planned(weights, made, order.cast, inverse, None, keep)
            check_values(weights, plan)
            return _done(plan, weights, order, inputs, changed, "")
        plan = planned(known, made, order.cast, inverse, None, keep)
        asked = {"destination": order.target.name, "dtype": repr(dtype), "keep": repr(sorted(keep))}
        asked |= {"max_shard_size": repr(order.most), "overwrite": repr(overwrite)}
        return _together(plan, known, order, inputs, meeting, {"map": digest(made), **asked})


def _together(
    plan: Plan, shards: Shards, order: _Order, inputs: Sequence[Path], meeting: Meeting, asked: Mapping[str, str]
) -> Conversion:
    """The plan carried out by all processes of a meeting. asked: what all of them must have been asked."""
    meeting.agree({**asked, "model": repr((shards.entries, shards.holders))})
    share = Share(plan, shards, meeting)
    share.check_values()
    meeting.exchange("checked")
    with shared_draft(meeting, order.target, order.overwrite, inputs) as file:
        write_together(share, file, order.most, meeting, order.on_progress)
    return replace(_conversion(plan, order.target, shards.told), written=share.nbytes)


class _Order(NamedTuple):
    """What is asked for of a destination."""

    target: Path
    cast: np.dtype | None
    most: int | None
    overwrite: bool
    resume: bool
    dry_run: bool
    on_progress: Progress | None


def _ordered(
    destination: FilePath,
    dtype: str | None,
    max_shard_size: int | str | None,
    overwrite: bool,
    resume: bool,
    dry_run: bool,
    on_progress: Progress | None,
) -> _Order:
    """Raises UsageError, DtypeError or CheckpointError for what cannot be had, before anything is read."""
    check_here(destination)
    target = local_path(destination)
    cast = None if dtype is None else cast_to(dtype)
    most = None if max_shard_size is None else shard_size(max_shard_size)
    check_kind(target, most is not None)
    if resume and most is None:
        raise UsageError("resume", "a destination in shards", "none", "Give max_shard_size (--max-shard-size), too.")
    check_free(target, overwrite)
    return _Order(target, cast, most, overwrite, resume, dry_run, on_progress)


def _done(
    plan: Plan, weights: Source, order: _Order, inputs: Sequence[Path], changed: Sequence[str], source: str
) -> Conversion:
    """The plan carried out, or what it would do. source: how what is read is called."""
    target, files = order.target, [*inputs, *weights.files]
    told: list[tuple[str, int, int]] = []
    written_before: Collection[str] = ()
    if order.dry_run:
        check_free(target, order.overwrite, files)
        told = [*_planned(plan, weights, source, target, order.most)]
    else:
        before = states(weights.files)
        fingerprint = _fingerprint(before, plan, changed)
        with draft(target, order.overwrite, files, order.resume) as file:
            written_before = _write(plan, weights, file, order.most, fingerprint, order.on_progress)
            check_unchanged(before, weights.files)
    there = sum(plan.entries[path].nbytes for path in written_before)
    changed = [*changed, *([f"there already: {_amount(len(written_before), there)}"] if written_before else [])]
    done = _conversion(plan, target, changed)
    return replace(done, planned=tuple(told), written=0 if order.dry_run else done.nbytes - there)


def _conversion(plan: Plan, target: Path, changed: Sequence[str]) -> Conversion:
    return Conversion(
        target,
        plan.map.direction,
        len(plan.entries),
        sum(entry.nbytes for entry in plan.entries.values()),
        tuple(aliases_of(plan)),
        plan.left_out,
        plan.absent,
        other_drafts(target),
        changed=tuple(changed),
    )


def _planned(
    plan: Plan, weights: Source, source: str, target: Path, most: int | None
) -> Iterator[tuple[str, int, int]]:
    """What is read, and what is written to each file.

    Raises:
        CheckpointError: the destination cannot hold it.
    """
    read = {name for path in plan.entries for name in plan.needed(path)}
    yield f"read {source}", len(read), sum(weights.entries[name].nbytes for name in read)
    for file, part in layout(target, plan.entries, aliases_of(plan), most).items():
        yield f"write {file}", len(part), sum(entry.nbytes for entry in part.values())


def _write(
    plan: Plan, source: Source, file: Path, most: int | None, fingerprint: str, on_progress: Progress | None
) -> Collection[str]:
    """Returns the destination's tensors that were there already."""
    made = open_destination(file, plan.entries, aliases_of(plan), plan.map.direction[1], most, fingerprint)
    try:
        execute(plan.without(made.there), source, made, on_progress)
        made.finish()
    finally:
        made.close()
    return made.there


def _fingerprint(files: States, plan: Plan, changed: Sequence[str]) -> str:
    """Of all that the destination's bytes follow from; of a file its size and when it was last written to."""
    found = hashlib.sha256()
    for path, state in files.items():
        found.update(repr((str(path.absolute()), *state)).encode())
    rows = ([(path, plan.entries[path], plan.rows(path)) for path in plan.entries], plan.names, changed)
    found.update(repr(rows).encode("utf-8", "surrogatepass"))
    return found.hexdigest()
