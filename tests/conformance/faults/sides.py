"""Small pairs without a fault, each compiled once, and sides of them that answer otherwise than they ran."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

import paritree
from paritree.common.wing import RoundTrip, SideWing, StoredTensor
from paritree.pairs.comparison import Bound
from paritree.pairs.maps import Map
from paritree.pairs.side import Side

from ..mutants import modes
from . import axes

Tensors = dict[str, StoredTensor]
# Given what a side answers and what it was asked, what it answers instead.
Lie = Callable[..., Any]
# Initial values by path: `(draws, *native shape)`.
Drawn = dict[str, np.ndarray]
# What makes a side ready to run. It takes long, so that all sides of one model share it.
_RUNS = ("prober", "tracer", "site_prober", "trainer", "passer")
_NETWORKS = {"torch": modes.in_torch, "nnx": modes.in_nnx, "linen": modes.in_linen}


def fresh(wing: str) -> Any:
    """Another model of the network's port, with values of its own."""
    return {"torch": modes.Network, "nnx": modes.nnx_network, "linen": modes.linen_network}[wing]()


@cache
def network(wing: str) -> Bound:
    """The small network with a tie, running statistics and dropout, live, the port with the reference's weights."""
    given = _NETWORKS[wing]()
    made = paritree.align(given)
    return _live(given, made)


@cache
def arrays(wing: str) -> Bound:
    """The arrays whose axes have equal lengths, live, the port with the reference's weights."""
    given = axes.pair(wing)
    return _live(given, Map(axes.rows(wing), ("torch", wing)))


def _live(given: paritree.Pair, made: Map) -> Bound:
    reference, port = Side.of(given, "reference"), Side.of(given, "port")
    carried = made.arrays({path: native.array for path, native in reference.tensors.items()})
    model = port.wing.with_stored_tensors(port.model, carried)
    port = replace(port, given=model, model=model, _ready={})
    return Bound(_sharing(replace(reference, given=reference.model)), _sharing(port), made)


def _sharing(side: Side) -> Side:
    """The side, whose runs are made ready once for all that follow from it, and asked each thing once."""
    made: dict[tuple[str, str], Any] = {}
    told: dict[bytes, Any] = {}

    def once(name: str) -> Callable[..., Any]:
        def make(*given: Any, dtype: str = "float32", **named: Any) -> Any:
            if (name, dtype) not in made:
                made[name, dtype] = getattr(side.wing, name)(*given, dtype=dtype, **named)

            def answer(*asked: Any, **how: Any) -> Any:
                try:
                    question = pickle.dumps((name, dtype, asked, how))
                except (AttributeError, pickle.PicklingError):
                    # A recorder of the one who asks: what it takes down is the answer.
                    return made[name, dtype](*asked, **how)
                if question not in told:
                    told[question] = made[name, dtype](*asked, **how)
                return told[question]

            return answer

        return make

    return with_functions(side, **{name: once(name) for name in _RUNS})


def with_functions(side: Side, **functions: Any) -> Side:
    """The side with some of its wing's functions replaced."""
    wing = cast(SideWing, SimpleNamespace(**{**vars(side.wing), **functions}))
    return replace(side, wing=wing, _ready={})


def lying(bound: Bound, role: str, **lies: Lie) -> Bound:
    """The pair, of which one side's runs answer otherwise: `prober=lambda probe, weights, *_: ...`.

    role: `reference`, `port` or `both`.
    """
    for each in ("reference", "port") if role == "both" else (role,):
        side = getattr(bound, each)
        functions = {name: _lied(getattr(side.wing, name), lie) for name, lie in lies.items()}
        bound = replace(bound, **{each: with_functions(side, **functions)})
    return bound


def _lied(make: Callable[..., Any], lie: Lie) -> Callable[..., Any]:
    def made(*given: Any, **named: Any) -> Any:
        run = make(*given, **named)

        def answer(*asked: Any, **how: Any) -> Any:
            return lie(run(*asked, **how), *asked, **how)

        return answer

    return made


def holding(bound: Bound, role: str, change: Callable[[Tensors], Tensors]) -> Bound:
    """The pair, of which one side holds something else, which is also what comes back when it is saved and loaded."""
    side: Side = getattr(bound, role)
    stored = side.wing.stored_tensors
    bound = saving(bound, role, change)
    changed = with_functions(getattr(bound, role), stored_tensors=lambda model: change(dict(stored(model))))
    return replace(bound, **{role: changed})


def saving(bound: Bound, role: str, change: Callable[[Tensors], Tensors]) -> Bound:
    """The pair, of which one side comes back otherwise when it is saved and loaded, in each of its ways."""
    side: Side = getattr(bound, role)

    def trips(model: Any) -> Iterator[RoundTrip]:
        for trip in side.wing.round_trips(model):
            yield trip._replace(stored_tensors=change(dict(trip.stored_tensors)))

    return replace(bound, **{role: with_functions(side, round_trips=trips)})


@cache
def _draws(first: int, count: int) -> Drawn:
    return network("torch").reference.wing.draws(modes.reference, range(first, first + count))


def drawing(
    bound: Bound,
    role: str = "port",
    change: Callable[[Drawn], Drawn] = dict,
    made: Callable[[int], Any] | None = None,
) -> Bound:
    """The pair as factories, both of which draw from the reference's law, but for a change on one side.

    made: the port's factory; otherwise both make one model for all seeds, and only say that they draw.
    """

    def of(side: Side, given: Callable[[int], Any]) -> Side:
        def draws(factory: Any, seeds: Sequence[int], **_: Any) -> Drawn:
            ours = _draws(seeds[0], len(seeds))
            found = dict(ours)
            if side.role == "port":
                each = [bound.map.arrays({path: array[n] for path, array in ours.items()}) for n in range(len(seeds))]
                found = {path: np.stack([arrays[path] for arrays in each]) for path in each[0]}
            return change(found) if side.role == role else found

        return replace(with_functions(side, draws=draws), given=given)

    reference, port = bound.reference, bound.port
    return replace(
        bound,
        reference=of(reference, lambda seed: reference.model),
        port=of(port, made or (lambda seed: port.model)),
    )
