"""Faults in what either side is trained with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from paritree.pairs.comparison import Bound

from ..recipes.both import Recipe, by_optax, by_torch
from .fault import Fault
from .sides import network

PLAIN = Recipe("sgd", 0.1, momentum=0.9)


def trained(bound: Bound, ours: Recipe, theirs: Recipe) -> Bound:
    def given(side: Any, made: Recipe) -> Any:
        optimizer = by_torch(made) if side.kind == "torch" else by_optax(made)
        return replace(side, optimizer=optimizer, _ready=dict(side._ready))

    return replace(bound, reference=given(bound.reference, ours), port=given(bound.port, theirs))


def recipe(wing: str) -> list[Fault]:
    bound = network(wing)
    first = next(row.reference for row in bound.map.rows if row.reference == bound.map.by_port[row.port][0].reference)

    def fault(name: str, cause: str, says: str, ours: Recipe = PLAIN, **other: Any) -> Fault:
        theirs = replace(ours, **other)
        return Fault("recipe", name, wing, lambda: trained(bound, ours, theirs), (first,), cause, says)

    return [
        fault("another rate", "learning rate", "0.1 and the port's 0.2: 2 times it at every step", rate=0.2),
        fault("another momentum", "momentum", "0.9 in the reference and 0.8 in the port", momentum=0.8),
        fault("Nesterov's momentum", "Nesterov", "the port looks ahead", nesterov=True),
        fault(
            "a decay",
            "weight decay",
            "the port decays by 0.001 of its value in a step",
            replace(PLAIN, momentum=0.0),
            coupled=0.01,
        ),
        fault("clipped", "clipping", "the reference does not clip, the port clips each value", clip=("value", 0.5)),
    ]
