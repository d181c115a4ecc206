"""A port on one device and over all of its devices or processes, and what an array of the one is beside the other's."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from math import prod
from typing import Any, NamedTuple

import numpy as np

from ...common.tables import shape_text
from ...common.wing import PROCESSES, PairError, Plan, Probe
from ...pairs.closeness import relative_error, root_mean_square
from ...pairs.comparison import Comparison, fine
from ...pairs.precision import COARSEST, ROUNDINGS, Setting
from ...pairs.side import Side, Weights
from ...pairs.values import rounded
from ..results import Finding


class Raised(Exception):
    """What the port raises over all devices, and not on one."""


@contextmanager
def over_all() -> Iterator[None]:
    try:
        yield
    except PairError as error:
        raise Raised(str(error)) from error


class Count(NamedTuple):
    """So many devices: what they are, and what the number is."""

    size: int
    devices: str
    number: str

    def diagnosis(self, is_more: bool) -> tuple[str, str]:
        """A cause, and what an array is that is so many times too large, or such a part of what it is to be."""
        if is_more:
            words = f"is {self.size} times that of one device, {self.number}"
            return "summed too often", f"{words}: it is summed over these once too often, or not averaged"
        words = f"is 1/{self.size} of that of one device, {self.number}: it is averaged where it is to be summed"
        return "averaged", words


@dataclass(frozen=True, eq=False)
class Both:
    """The port on one device and on all of them, at one setting: in float64, where little is left to rounding."""

    comparison: Comparison
    setting: Setting
    alone: Side
    spread: Side
    _parts: dict[int, list[Side]] = field(default_factory=dict, init=False, repr=False)

    @staticmethod
    def of(comparison: Comparison) -> Both:
        """Raises PairError for a port that one device does not run."""
        alone, device = comparison.port, comparison.setting.device
        weights, finer = comparison.bound.theirs, Setting(device, "float64")
        try:
            alone.probe(weights, finer)
        except PairError:
            finer = Setting(device)
            alone.probe(weights, finer)
        return Both(comparison, finer, alone, alone.spread())

    @property
    def plan(self) -> Plan:
        assert self.spread.plan is not None
        return self.spread.plan

    @property
    def weights(self) -> Weights:
        return self.comparison.bound.theirs

    @property
    def limit(self) -> float:
        return self.comparison.limit

    @cached_property
    def probes(self) -> tuple[Probe, Probe]:
        alone = self.alone.probe(self.weights, self.setting)
        with over_all():
            return alone, self.spread.probe(self.weights, self.setting)

    @cached_property
    def near(self) -> list[Probe]:
        """The port on one device, its parameters as far away as rounding to float32 takes them."""
        return [self.alone.probe(each, self.setting) for each in rounded(self.weights, self.alone.is_free)]

    def found(
        self, path: str, found: np.ndarray, alone: np.ndarray, name: str, own: Callable[[], float], **told: Any
    ) -> Finding:
        """Of one array. path: the port's, if it is a tensor's. name: of what it is. own: what rounding makes of it."""
        apart, policy = self.plan.difference(found), f"{self.comparison.policy}, against the port on one device"
        measured, allowed = relative_error(fine(found), fine(alone)), self.limit
        if np.isfinite(measured) and measured > allowed:
            noise = ROUNDINGS * own()
            if noise > allowed and noise <= ROUNDINGS * COARSEST:
                allowed, policy = noise, f"{ROUNDINGS:g} times what rounding makes of the port on one device"
        ok = bool(measured <= allowed and apart <= allowed)
        cause, words = ("", "") if ok else self.diagnosis(found, alone, max(allowed, self.limit))
        return self.finding(path, ok, max(measured, apart), allowed, f"{name} {words}" if words else "", policy, cause)

    def finding(
        self, path: str, ok: bool, measured: float, allowed: float, words: str, policy: str = "", cause: str = ""
    ) -> Finding:
        """Of a tensor of the port by its path, or of the whole."""
        bound = self.comparison.bound
        reference, port = bound.partners(self.alone, path) if path else ("", "")
        row = next(iter(bound.map.by_port.get(path, ())), None)
        module = bound.modules(row) if row is not None and not ok else ""
        label = f"{reference or port} (= {port}): " if path and words else ""
        return Finding(reference, ok, float(measured), allowed, f"{label}{words}", port, policy, cause, module)

    def diagnosis(self, found: np.ndarray, alone: np.ndarray, allowed: float) -> tuple[str, str]:
        """A cause, and what the array is beside that of one device."""
        if found.shape != alone.shape:
            return "shape", f"has shape {shape_text(found.shape)}, and {shape_text(alone.shape)} on one device"
        apart = self.plan.difference(found)
        if apart > allowed:
            words = "is not one: what devices hold of it, and take for the same, differs by"
            return "not reduced", f"{words} {apart:.2g} of its norm, so that it was never summed over them"
        if not np.isfinite(found.astype(np.float64)).all():
            return "not finite", "is not finite"
        one, other = fine(alone).astype(np.float64), fine(found).astype(np.float64)
        if not one.any():
            return "", f"is {root_mean_square(other):.2g} (root mean square), and zero on one device"
        ratio = float(np.vdot(one, other)) / float(np.vdot(one, one))
        for count in self.counts:
            for factor in (float(count.size), 1 / count.size):
                if relative_error(other, factor * one) <= allowed * max(1.0, 1 / factor):
                    return count.diagnosis(factor > 1)
        if not other.any():
            return "zero", "is zero, and not on one device"
        if one.size > 1 and relative_error(other, ratio * one) <= allowed:
            return "scale", f"is {ratio:.4g} times that of one device"
        differs = f"differs by {relative_error(other, one):.2g} of its norm from that of one device"
        if found.dtype.itemsize < alone.dtype.itemsize:
            return "dtype", f"is {found.dtype.name}, and {alone.dtype.name} on one device, and {differs}"
        return "", differs

    @property
    def counts(self) -> list[Count]:
        """How many devices an axis of the mesh has, or several together, or some of all processes."""
        axes = [(name, size) for name, size in self.plan.axes.items() if size > 1]
        if [name for name, _ in axes] == [PROCESSES]:
            ((_, total),) = axes
            some = [size for size in range(2, total + 1) if total % size == 0]
            number = "as many as there are processes"
            return [Count(size, "processes", number if size == total else f"of {total} processes") for size in some]
        found: dict[int, Count] = {}
        for group in (group for length in range(1, len(axes) + 1) for group in combinations(axes, length)):
            size, names = prod(size for _, size in group), " and ".join(repr(name) for name, _ in group)
            found.setdefault(size, Count(size, f"devices of {names}", f"the size of {names}"))
        return sorted(found.values())

    def parts(self, count: int) -> list[Side]:
        """The port on one device, given an equal part of the batch each; none where it cannot be cut so."""
        if count not in self._parts:
            self._parts[count] = list(self._cut(count))
        return self._parts[count]

    def _cut(self, count: int) -> Iterator[Side]:
        inputs, arrays = self.alone.inputs, named(self.alone.inputs)
        batch = next((len(array) for array in arrays.values() if array.ndim), 0)
        if batch == 0 or batch % count:
            return
        for number in range(count):
            part = slice(number * batch // count, (number + 1) * batch // count)
            cut = {name: array[part] if array.shape[:1] == (batch,) else array for name, array in arrays.items()}
            yield self.alone.given_others(cut if isinstance(inputs, Mapping) else tuple(cut.values()))

    def is_mean_of_parts(self, found: np.ndarray, of: Callable[[Side], np.ndarray]) -> int:
        """How many parts of the batch an array is the mean over, of what the port gives for each; 0 for none."""
        for size in (count.size for count in self.counts):
            try:
                each = [of(side) for side in self.parts(size)]
            except PairError:
                continue
            if each and relative_error(fine(found), np.mean(each, axis=0)) <= self.limit:
                return size
        return 0


def named(inputs: Any) -> dict[Any, np.ndarray]:
    return dict(inputs) if isinstance(inputs, Mapping) else dict(enumerate(inputs))
