"""Contracts: one property of a pair each, as functions that yield a finding for each path.

Those of structure and of stored values look at the two sides; those of arithmetic run them at values that the map
carries across, at one setting. Initial values are drawn from the sides' factories.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...pairs.comparison import Bound, Comparison
from ..results import Finding
from .arithmetic import forward, gradients, layout
from .determinism import determinism
from .initial_draws import Sampling as Sampling
from .initial_draws import initialization as initialization
from .modes import modes
from .modules import modules
from .recipe import recipe
from .sharded import sharded
from .stored import round_trips
from .structure import names, shapes, ties
from .tied import tied_gradients
from .training import training
from .values import values

STRUCTURE: dict[str, Callable[[Bound], Iterator[Finding]]] = {"names": names, "shapes": shapes, "ties": ties}
# Those that need both sides to be run at carried values.
ARITHMETIC: dict[str, Callable[[Comparison], Iterator[Finding]]] = {
    "layout": layout,
    "forward": forward,
    "gradients": gradients,
    "tied gradients": tied_gradients,
    "training": training,
    "modes": modes,
    "determinism": determinism,
}
STORED: dict[str, Callable[[Bound], Iterator[Finding]]] = {"values": values, "round trip": round_trips}
# Those that run both sides' own optimizers, in float64 whatever else is asked for.
RECIPES: dict[str, Callable[[Comparison], Iterator[Finding]]] = {"recipe": recipe}
# Both runs are the port's own, in float64 where it has one: it is asked at one setting alone.
SHARDED: dict[str, Callable[[Comparison], Iterator[Finding]]] = {"sharded": sharded}
# For a port that is not finished: of one that is right it tells no more than `forward`, and it runs op by op.
ON_REQUEST: dict[str, Callable[[Comparison], Iterator[Finding]]] = {"modules": modules}
# In the order of a report: a model with other names cannot be given weights, and one without weights computes nothing.
PAIR_CONTRACTS = (*STRUCTURE, *ARITHMETIC, *RECIPES, *SHARDED, *ON_REQUEST, *STORED, "initialization")
DEFAULT_CONTRACTS = tuple(contract for contract in PAIR_CONTRACTS if contract not in ON_REQUEST)
