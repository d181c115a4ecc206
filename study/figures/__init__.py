"""Figures of a row: small panels, each drawn from what a run of the row's code gave.

A row declares them in its record, one declaration a panel; `of` draws those of an outcome. A panel is about as wide as
a phone, and those of a row stand side by side where there is room: one for each wing, or one beside its contrast.

    panels      what a row declares: a tree, a histogram, shares, curves, an order, equal draws
    charts      the drawings of numbers; the tree is drawn by common/drawing
    sheets      the panels of a row as one image
"""

from __future__ import annotations

from importlib import import_module

from ...common import initializers as initializers
from ...common.drawing import Figure as Figure
from ..record import Outcome
from .panels import Curves as Curves
from .panels import Equals as Equals
from .panels import Histogram as Histogram
from .panels import Order as Order
from .panels import Shares as Shares
from .panels import Tree as Tree
from .sheets import sheet as sheet


def of(outcome: Outcome) -> tuple[Figure, ...]:
    """The figures that the outcome's row declares, the same to the bit in every run.

    What a figure shows beside the facts is computed now, in the surroundings in which rows run. A row of which a
    function failed has none: its outcome says what went wrong.
    """
    row = outcome.behaviour
    if outcome.failures or not row.figures:
        return ()
    surroundings = import_module("..behaviours.surroundings", __package__)
    with surroundings.the_same_everywhere():
        return tuple(panel.drawn(outcome) for panel in row.figures)
