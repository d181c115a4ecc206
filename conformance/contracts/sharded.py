"""The contract of the sharded port: over its mesh or its processes it is what it is on one device.

The port is held against itself, run on one device, so that a fault of its own is told by the other contracts alone. One
thing is looked at after the other, and what follows from a fault is left out: what it holds, its outputs and gradients,
the gradients of its own training, a pass in training mode, steps, and the masks of dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ...common.errors import NotExpressibleError, nearest
from ...common.wing import StoredTensor
from ...pairs.closeness import is_zero_gradient, largest_gradient, relative_error
from ...pairs.comparison import Bound, Comparison, fine
from ...pairs.records import identity_map
from ...pairs.side import Side
from ...pairs.values import rounded
from ...pairs.weight_norms import norms_of, stored_as_it_is
from ..results import Finding
from .masks import masks
from .moves import OPTIMIZERS, Move, Steps
from .spread import Both, Count, Raised, over_all
from .training import STEPS, still_tied

_HOW = (
    "the pair does not say how the port is sharded: give it mesh=jax.make_mesh(...), or check(..., mesh=...), if JAX "
    "runs it; if PyTorch does, give it port_sharding=, a function that shards the module, and start the check by "
    "torchrun"
)
_NOTHING = (
    "nothing of the port lies in parts, so that each device does what one does. Annotate its parameters, or give the "
    "pair port_sharding= or input_sharding="
)
# Of models with more parameters not each is tried.
_MOST_TRIED = 64


def sharded(comparison: Comparison) -> Iterator[Finding]:
    """Outputs, gradients, a pass in training mode and steps of the sharded port are those of the port on one device."""
    if comparison.port.plan is None:
        yield Finding("", None, None, None, _HOW)
        return
    both = Both.of(_by_itself(comparison) if norms_of(comparison.port) else comparison)
    for stage in (_held, _lying, _outputs, _gradients, _own_gradients, _in_training, _steps, masks):
        try:
            found = list(stage(both))
        except Raised as error:
            found = [Finding("", False, None, None, f"sharded, the port raises: {error}", cause="raises")]
        yield from found
        if stage is _lying and any(finding.ok is None for finding in found):
            return
        if any(finding.ok is False for finding in found):
            if stage is not masks:
                yield Finding("", None, None, None, "what comes after that was not compared: it would follow from it")
            return


def _by_itself(comparison: Comparison) -> Comparison:
    """The port as its own reference, where the map sees tensors of it that it does not store."""
    port, name = stored_as_it_is(comparison.port), comparison.port.wing.NAME
    same = identity_map(port.stored_tensors, port.stored_tensors, (name, name))
    reference = replace(port, role="reference", _ready={})
    return Bound(reference, port, same, seed=comparison.bound.seed).comparison(comparison.setting)


def _held(both: Both) -> Iterator[Finding]:
    """Names, ties, kinds and values are as they were."""
    before = both.alone.stored_tensors
    with over_all():
        after = both.spread.sharded_tensors(both.weights, both.setting)
    owners = {name: each.path for each in after.values() for name in (each.path, *each.aliases)}
    faults = 0
    for each in before.values():
        for finding in _of_tensor(both, each, owners, after):
            faults += 1
            yield finding
    known = {name for each in before.values() for name in (each.path, *each.aliases)}
    for name in owners:
        if name not in known:
            faults += 1
            words = f"{name}: only the sharded port has a tensor of that name. {nearest(name, known)}"
            yield Finding("", False, 1, 0, words, name, cause="new name")
    if not faults:
        yield Finding("", True, 0, 0, f"sharded, all {len(before)} tensors have their names, ties, kinds and values")


def _of_tensor(
    both: Both, each: StoredTensor, owners: Mapping[str, str], after: Mapping[str, StoredTensor]
) -> Iterator[Finding]:
    names = (each.path, *each.aliases)
    for name in names:
        if name not in owners:
            words = f"sharded, the port has no tensor {name!r} any more. {nearest(name, owners)}"
            yield both.finding(each.path, False, 1, 0, words, cause="lost name")
    there = [name for name in names if name in owners]
    lost = [name for name in there if owners[name] != owners[there[0]]]
    if lost:
        words = (
            f"sharded, {', '.join(lost)} is not {there[0]} any more: they are two tensors, and each has a gradient "
            "of its own. Shard the two in one call (fully_shard: of a module that holds both), or tie them again after "
            "it"
        )
        yield both.finding(each.path, False, 1, 0, words, cause="lost tie")
    if not there or lost:
        return
    held = after[owners[there[0]]]
    apart = [what for what in ("trainable", "frozen") if getattr(held, what) != getattr(each, what)]
    if apart:
        words = f"sharded, it is {'' if getattr(held, apart[0]) else 'not '}{apart[0]}, unlike before"
        yield both.finding(each.path, False, 1, 0, words, cause="kind")
    if each.path not in both.weights:
        return
    expected = np.asarray(both.weights[each.path]).astype(held.array.dtype)
    if held.array.shape != expected.shape or not np.array_equal(held.array, expected):
        differs = both.diagnosis(held.array, expected, both.limit)[1].replace(" on one device", " before")
        yield both.finding(each.path, False, 1, 0, f"sharding changes its values: it {differs}", cause="values")


def _lying(both: Both) -> Iterator[Finding]:
    """That anything is in parts at all."""
    # A run tells the plan.
    _ = both.probes
    over = " x ".join(map(str, both.plan.axes.values())) + f" ({', '.join(both.plan.axes)})"
    for words, in_parts in both.plan.told.items():
        if in_parts:
            yield Finding("", True, 0, 0, f"over {over}: {words}")
            continue
        yield Finding("", None, None, None, f"{_NOTHING} ({words})")


def _outputs(both: Both) -> Iterator[Finding]:
    alone, spread = (probe.outputs for probe in both.probes)
    if [*alone] != [*spread]:
        words = (
            f"sharded, the outputs are {', '.join(map(repr, spread))}, and {', '.join(map(repr, alone))} on one device"
        )
        yield Finding("", False, 1, 0, words, cause="outputs")
        return
    for name, array in alone.items():
        label = f"sharded, the output{f' {name!r}' if name else ''}"

        def own(name: str = name, array: np.ndarray = array) -> float:
            return max(relative_error(fine(each.outputs[name]), fine(array)) for each in both.near)

        finding = both.found("", spread[name], array, label, own)
        is_known = finding.ok is not False or finding.cause in ("shape", "not reduced", "not finite", "dtype")
        counted = None if is_known else _counted(both, name)
        yield counted(finding) if counted else finding


def _counted(both: Both, name: str) -> Callable[[Finding], Finding] | None:
    """Which parameters count once for each device of an axis, or as one: so scaled, one device gives the same."""
    found = fine(both.probes[1].outputs[name])
    free = [path for path in both.alone.tensors if both.alone.is_free(path)]
    if not both.alone.is_small or len(free) > _MOST_TRIED:
        return None

    def error(factors: Mapping[str, float]) -> float:
        weights = {**both.weights, **{path: both.weights[path] * np.float32(by) for path, by in factors.items()}}
        return relative_error(fine(both.alone.probe(weights, both.setting, gradients=False).outputs[name]), found)

    for count in both.counts:
        for factor in (float(count.size), 1 / count.size):
            factors: dict[str, float] = {}
            least = error(factors)
            while least > both.limit:
                tries = {path: error({**factors, path: factor}) for path in free if path not in factors}
                best = min(tries, key=tries.__getitem__, default="")
                if not best or tries[best] >= least:
                    break
                factors[best], least = factor, tries[best]
            if least <= both.limit:
                return partial(_told_counted, both, [*factors], count, factor > 1)
    return None


def _told_counted(both: Both, paths: list[str], count: Count, is_more: bool, finding: Finding) -> Finding:
    which, words, devices = ", ".join(paths), finding.message, f"the {count.size} {count.devices}"
    if is_more:
        words += (
            f". With {count.size} times {which} one device gives the same: it is added on each of {devices}, before "
            "the sum over them. Add it after the sum"
        )
    else:
        words += f". With 1/{count.size} of {which} one device gives the same: "
        words += f"the mean over {devices} is in the place of a sum"
    told = both.finding(paths[0], False, finding.measured or 0.0, finding.allowed or 0.0, "", finding.policy)
    return replace(told, message=words, cause="added on each" if is_more else "averaged")


def _is_reduced_by_itself(both: Both) -> bool:
    """Whether nobody but the pair's own call for gradients reduces them over PyTorch's processes."""
    return both.alone.gradients_call is not None and both.alone.wing.NAME == "torch"


_OWN = "the port's own training reduces its gradients: those that port_gradients gives are compared"


def _gradients(both: Both) -> Iterator[Finding]:
    if _is_reduced_by_itself(both):
        yield Finding("", None, None, None, _OWN)
        return
    alone, spread = (probe.gradients for probe in both.probes)
    largest = largest_gradient(alone), largest_gradient(spread)
    for path, array in alone.items():
        if path not in spread:
            yield both.finding(path, False, 1, 0, "sharded, it has no gradient", cause="no gradient")
            continue
        each = spread[path]
        if all(is_zero_gradient(one, most, both.limit) for one, most in zip((array, each), largest, strict=True)):
            yield both.finding(path, True, 0, both.limit, "")
            continue

        def own(path: str = path, array: np.ndarray = array) -> float:
            return max(relative_error(fine(near.gradients[path]), fine(array)) for near in both.near)

        yield both.found(path, each, array, f"sharded, the gradient{_of_tie(both, path)}", own)


def _of_tie(both: Both, path: str) -> str:
    aliases = both.alone.stored_tensors[path].aliases if path in both.alone.stored_tensors else ()
    return f", the sum over the sites of {' and '.join((path, *aliases))}," if aliases else ""


def _own_gradients(both: Both) -> Iterator[Finding]:
    """What the port's own training takes."""
    if both.alone.gradients_call is None:
        return
    ours = both.alone.own_gradients(both.weights, both.setting)
    with over_all():
        theirs = both.spread.own_gradients(both.weights, both.setting)
    if [*ours] != [*theirs]:
        words = f"sharded, port_gradients gives {', '.join(theirs)}, and {', '.join(ours)} on one device"
        yield Finding("", False, 1, 0, words, cause="outputs")
        return
    largest = largest_gradient(ours), largest_gradient(theirs)
    for name, array in ours.items():
        path, each = "" if name == "loss" else _path_of(both, name), theirs[name]
        label = f"sharded, the {'loss' if name == 'loss' else 'gradient'} of port_gradients"
        label += f" {name!r}" if not path and name != "loss" else ""
        if all(is_zero_gradient(one, most, both.limit) for one, most in zip((array, each), largest, strict=True)):
            yield both.finding(path, True, 0, both.limit, "")
            continue

        def own(name: str = name, array: np.ndarray = array) -> float:
            nudged = rounded(both.weights, both.alone.is_free)
            near = (both.alone.own_gradients(each, both.setting)[name] for each in nudged)
            return max(relative_error(fine(each), fine(array)) for each in near)

        finding = both.found(path, each, array, label, own)
        if finding.ok is False and not finding.cause:
            finding = _as_mean(both, finding, each, name)
        yield finding


def _as_mean(both: Both, finding: Finding, found: np.ndarray, name: str) -> Finding:
    """A finding whose array is the mean over the parts of the batch, which need not be that over the batch."""

    def of(side: Side) -> np.ndarray:
        return side.own_gradients(both.weights, both.setting)[name]

    count = both.is_mean_of_parts(found, of)
    if not count:
        return finding
    words = (
        f"{finding.message}. It is the mean over {count} parts of the batch of what each part gives by itself: each "
        "divides by its own count. Divide by the count of all of them, summed over the mesh"
    )
    return replace(finding, message=words, cause="mean of means")


def _path_of(both: Both, name: str) -> str:
    """The port's path that a name in a tree of gradients is of; empty where it is of none."""
    fits = [path for path in both.alone.tensors if f".{name}".endswith(f".{path}") or f".{path}".endswith(f".{name}")]
    return max(fits, key=len, default="")


def _in_training(both: Both) -> Iterator[Finding]:
    """Outputs and buffers of one pass in training mode, dropout switched off."""
    try:
        alone = both.alone.passed(both.weights, both.setting, training=True)
        with over_all():
            spread = both.spread.passed(both.weights, both.setting, training=True)
    except NotExpressibleError as refused:
        yield Finding("", None, None, None, str(refused))
        return
    near: list[Any] = []

    def own(of: Callable[[Any], np.ndarray], array: np.ndarray) -> float:
        if not near:
            nudged = rounded(both.weights, both.alone.is_free)
            near.extend(both.alone.passed(each, both.setting, training=True) for each in nudged)
        return max(relative_error(fine(of(each)), fine(array)) for each in near)

    for path, array in alone.buffers.items():
        if path in spread.buffers and np.issubdtype(array.dtype, np.floating):
            label = "after one pass of the sharded port in training mode this buffer"
            noise = lambda path=path, array=array: own(lambda each: each.buffers[path], array)  # noqa: E731
            finding = both.found(path, spread.buffers[path], array, label, noise)
            yield _as_statistic(both, finding, spread.buffers[path]) if finding.ok is False else finding
    for name, array in alone.outputs.items():
        label = f"sharded, in training mode, the output{f' {name!r}' if name else ''}"
        noise = lambda name=name, array=array: own(lambda each: each.outputs[name], array)  # noqa: E731
        yield both.found("", spread.outputs[name], array, label, noise)


def _as_statistic(both: Both, finding: Finding, found: np.ndarray) -> Finding:
    """A buffer that devices have made of their own parts of the batch."""
    path = finding.port_path

    def of(side: Side) -> np.ndarray:
        return side.passed(both.weights, both.setting, training=True).buffers[path]

    apart = finding.cause == "not reduced"
    count = 0 if apart else both.is_mean_of_parts(found, of)
    if not apart and not count:
        return finding
    made = "each device has made its own" if apart else f"it is the mean of what {count} parts of the batch make of it"
    words = (
        f"{finding.message}. {made[0].upper()}{made[1:]}: the statistic is that of a shard and not of the batch. Make "
        "it of the whole batch (axis_name= of Flax's norm, SyncBatchNorm in PyTorch)"
    )
    return replace(finding, message=words, cause="statistic of a shard")


def _steps(both: Both) -> Iterator[Finding]:
    """A few steps of both optimizers lead all tensors where they lead on one device, and ties are still ties."""
    if _is_reduced_by_itself(both):
        yield Finding("", None, None, None, f"no steps were made: {_OWN}")
        return
    for optimizer in OPTIMIZERS:
        steps = Steps(both.comparison, both.setting, optimizer, STEPS)
        start = steps.start
        try:
            ours = steps.trained(both.alone, start)
            with over_all():
                theirs = steps.trained(both.spread, start)
        except NotExpressibleError as refused:
            yield Finding("", None, None, None, str(refused))
            return
        one, other = (steps.moves(both.alone, start, each) for each in (ours, theirs))
        largest = largest_gradient(one), largest_gradient(other)
        noise: dict[str, np.ndarray] = {}
        for path, move in one.items():
            if path not in other:
                yield both.finding(
                    path, False, 1, 0, f"after {steps} the sharded port has it no more", cause="lost name"
                )
                continue
            found = other[path]
            if all(
                is_zero_gradient(each, most, steps.limit) for each, most in zip((move, found), largest, strict=True)
            ):
                yield both.finding(path, True, 0, steps.limit, "")
                continue
            if relative_error(found, move) > steps.limit and not noise:
                noise = steps.noise_of(both.alone, one)
            near = Move(move, found).beyond(Move(noise[path], noise[path])).theirs if noise else found
            measured = relative_error(near, move)
            ok = bool(measured <= steps.limit)
            cause, words = ("", "") if ok else both.diagnosis(found, move, steps.limit)
            words = f"after {steps} of the sharded port the way that it went {words}" if words else ""
            yield both.finding(
                path, ok, measured, steps.limit, words, steps.policy, cause or ("" if ok else "training")
            )
        yield from still_tied(both.comparison, both.spread, theirs.stored_tensors, steps)
