"""What a row declares as a figure: whose it is, what it shows, and the function that computes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...common.drawing import Figure, tree
from ...common.initializers import Law
from ...common.tables import Table
from ...pairs.wings import load_wing
from ..record import NAMES, Outcome
from . import charts

HUES = {
    "torch": "var(--figure-torch, #d9622b)",
    "linen": "var(--figure-linen, #3d85c6)",
    "nnx": "var(--figure-nnx, #2f9e75)",
}


def _headed(wing: str, title: str) -> str:
    return f"{NAMES[wing]}: {title}"


@dataclass(frozen=True)
class Tree:
    """The parameters of a model as a tree, with its ties, from its table.

    model: makes an `nn.Module`, an `nnx.Module`, or `(linen module, variables)`, with the inputs of one call as a third
        entry where its layers are to be known by their kind.
    noted: of the model, a word for each path of which there is something to say.
    folded: what holds no such path is one line.
    """

    wing: str
    title: str
    model: Callable[[], Any]
    caption: str = ""
    noted: Callable[[Any], Mapping[str, str]] | None = None
    folded: bool = False

    def drawn(self, outcome: Outcome) -> Figure:
        """The figure."""
        model = self.model()
        title, table = _headed(self.wing, self.title), self.table(model)
        noted = {table[path].path: word for path, word in (self.noted(model) if self.noted else {}).items()}
        drawing = tree(table, title, hue=HUES[self.wing], noted=noted, folded=self.folded)
        return Figure(title, drawing, f"{table.summary}. {self.caption}".strip())

    def table(self, model: Any) -> Table:
        """The table of what `model` made."""
        inputs = None
        if isinstance(model, tuple) and len(model) == 3:
            module, variables, inputs = model
            model = module, variables
        return load_wing(self.wing).table(model, inputs)


@dataclass(frozen=True)
class Histogram:
    """Draws, and the law that they are drawn from.

    draws: gives an array of any framework.
    span: the ends of the axis; those of the draws and the law unless given.
    """

    wing: str
    title: str
    draws: Callable[[], Any]
    law: Law
    caption: str
    span: tuple[float, float] | None = None

    def drawn(self, outcome: Outcome) -> Figure:
        """The figure."""
        title, values = _headed(self.wing, self.title), np.asarray(self.draws())
        drawing = charts.histogram(values, self.law, title, HUES[self.wing], self.span)
        return Figure(title, drawing, f"{values.size:,} draws. {self.caption}")


@dataclass(frozen=True)
class Shares:
    """Bars in parts, such as the contributions to a gradient.

    bars: of the outcome, each bar's name and its parts, `(words, value)` each.
    """

    title: str
    bars: Callable[[Outcome], Sequence[tuple[str, Sequence[tuple[str, float]]]]]
    caption: str

    def drawn(self, outcome: Outcome) -> Figure:
        """The figure."""
        return Figure(self.title, charts.shares(self.bars(outcome), self.title), self.caption)


@dataclass(frozen=True)
class Curves:
    """Numbers over steps.

    series: values by name, one for each step.
    marks: of the outcome, points `(step, value)` by the name of a series.
    beside: a second panel's series, with which the scale and the hues are shared.
    logarithmic: whether the scale is; else it is linear from 0.
    """

    title: str
    series: Callable[[], Mapping[str, Sequence[float]]]
    across: str
    caption: str
    marks: Callable[[Outcome], Mapping[str, Sequence[tuple[float, float]]]] | None = None
    beside: Callable[[], Mapping[str, Sequence[float]]] | None = None
    logarithmic: bool = False

    def drawn(self, outcome: Outcome) -> Figure:
        """The figure."""
        marks = self.marks(outcome) if self.marks else None
        series, others = self.series(), self.beside() if self.beside else {}
        values = [value for each in (*series.values(), *others.values()) for value in each]
        drawing = charts.curves(
            series,
            self.title,
            across=self.across,
            names=sorted({*series, *others}),
            least=min(values) if self.logarithmic else None,
            most=max(values),
            marks=marks,
        )
        return Figure(self.title, drawing, self.caption)


@dataclass(frozen=True)
class Order:
    """Two orders of the same names.

    lists: of the wing's facts, the two lists. heads: what each list is.
    """

    wing: str
    title: str
    heads: tuple[str, str]
    lists: Callable[[Mapping[str, Any]], tuple[Sequence[str], Sequence[str]]]
    caption: str

    def drawn(self, outcome: Outcome) -> Figure:
        """The figure."""
        title = _headed(self.wing, self.title)
        before, after = self.lists(outcome.facts[self.wing])
        drawing = charts.slopes(before, after, title, self.heads, HUES[self.wing])
        return Figure(title, drawing, self.caption)


@dataclass(frozen=True)
class Equals:
    """Which arrays are equal, of several models.

    arrays: by the model's name, then by the layer's.
    """

    wing: str
    title: str
    arrays: Callable[[], Mapping[str, Mapping[str, Any]]]
    caption: str

    def drawn(self, outcome: Outcome) -> Figure:
        """The figure."""
        title = _headed(self.wing, self.title)
        columns = {
            model: {name: np.asarray(array) for name, array in layers.items()}
            for model, layers in self.arrays().items()
        }
        return Figure(title, charts.cells(columns, title), self.caption)
