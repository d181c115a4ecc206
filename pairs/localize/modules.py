"""Modules: the outcomes of all modules of a port, in float64 if both sides can be run in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...common.errors import NotExpressibleError
from ...common.wing import PairError, Trace, raised_once
from ..comparison import Comparison
from ..precision import Setting
from ..side import Side
from .coarseness import noise_of_calls
from .outcomes import Outcome
from .partners import Partners
from .steering import Steered


@dataclass(frozen=True)
class ModuleOutcomes:
    """What came of the modules of a port.

    traces: the reference's calls. partners: with what is known of them. outcomes: of those that have a partner.
    precision: that of the pass. stopped: what the port raised outside of all modules, if it did.
    """

    traces: tuple[Trace, ...]
    partners: Partners
    outcomes: tuple[Outcome, ...]
    precision: str
    stopped: str = ""

    @property
    def raised(self) -> str:
        """What was raised, in a module or around them all; empty for nothing."""
        return next((each.words for each in self.outcomes if each.verdict == "raises"), self.stopped)


def module_outcomes(comparison: Comparison) -> ModuleOutcomes:
    """Each module of the port, run on what the reference's partner was given.

    A program that is not for float64 is run in float32: so one that raises in the one and not in the other.

    Raises:
        PairError: the reference does not take the inputs.
    """
    fine, plain = (Setting(comparison.setting.device, precision) for precision in ("float64", "float32"))
    try:
        traces = comparison.reference.traced(comparison.bound.ours, fine)
    except PairError:
        return _outcomes(comparison, plain, comparison.reference.traced(comparison.bound.ours, plain))
    found = _outcomes(comparison, fine, traces)
    if not found.raised:
        return found
    other = _outcomes(comparison, plain, comparison.reference.traced(comparison.bound.ours, plain))
    if not other.raised and not _outcomes(comparison, fine, traces).raised:
        raise raised_once("port", found.raised)
    return found if other.raised else other


def _outcomes(comparison: Comparison, setting: Setting, traces: tuple[Trace, ...]) -> ModuleOutcomes:
    bound, precision = comparison.bound, setting.precision
    alone = _alone(bound.reference, bound.map.by_reference), _alone(bound.port, bound.map.by_port)
    partners = Partners(traces, bound.map, setting.allowed(1), alone)
    if not traces:
        return ModuleOutcomes((), partners, (), precision)
    paths = partners.by_rows({path: comparison.port.module(path) for path in comparison.port.stored_tensors})

    def steered(noise: Mapping[int, float] | None) -> Steered | None:
        made: list[Steered] = []

        def recorder(convert: Callable[..., Any], restored: Callable[..., Any]) -> Steered:
            more = Steered(convert, restored, partners=partners, eps=setting.eps, noise=noise, paths=paths)
            made.append(more)
            return more

        comparison.port.traced(bound.theirs, setting, recorder)
        return made[-1] if made else None

    found = steered(None)
    if found is not None and found.doubtful:
        found = steered(_noise(comparison, setting, partners, found.doubtful))
    if found is None:
        return ModuleOutcomes(traces, partners, (), precision)
    return ModuleOutcomes(traces, partners, tuple(found.outcomes), precision, found.stopped)


def _alone(side: Side, known: Mapping[str, object]) -> frozenset[str]:
    return frozenset(path for path in side.tensors if path not in known and side.is_free(path))


def _noise(comparison: Comparison, setting: Setting, partners: Partners, doubtful: set[int]) -> dict[int, float]:
    """How large the rounding of some calls of the reference is."""
    places = {(call.trace.path, call.trace.call): call.index for call in partners.calls if call.index in doubtful}
    found = noise_of_calls(comparison.reference, comparison.bound.ours, setting, places)
    if found is None:
        expected = "a live model, whose rounding is to be seen"
        raise NotExpressibleError("reference", expected, "a record", "Check the contract where the model itself is.")
    return {places[place]: size for place, size in found.items()}
