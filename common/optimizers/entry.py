"""What the catalogue tells of an optimizer or a schedule."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

# Of an argument that has no default.
REQUIRED = "required"
Verdict = Literal["equal", "equal for some arguments", "differ", "absent from optax", "absent from PyTorch"]


class Argument(NamedTuple):
    """An argument of PyTorch's class and what it is in optax.

    torch, optax: their names; empty where one of the two has none.
    torch_default, optax_default: as Python writes them, or `required`.
    how: what becomes of the value, empty where it stays; what to do instead where a side has no such argument.
    """

    torch: str
    torch_default: str
    optax: str
    optax_default: str
    how: str = ""


class Recipe(NamedTuple):
    """The same training in both frameworks, or what one would take for the same.

    torch, optax: code that makes the optimizer, or the scheduler and the schedule.
    gap: the largest difference after twelve steps, as a share of how far the parameters moved; of schedules the largest
        difference of the rates, as a share of the largest rate. 0 where it is rounding.
    why: of a gap, what it comes from.
    """

    torch: str
    optax: str
    gap: float = 0.0
    why: str = ""


class Moment(NamedTuple):
    """An array, or the count, of an optimizer's state.

    torch: the key of `optimizer.state[parameter]`. optax: the class of the state and its field.
    order: the power of the gradient that it is of; 0 of a count.
    """

    torch: str
    optax: str
    order: int


@dataclass(frozen=True)
class Entry:
    """One row of the catalogue.

    name: PyTorch's, or that of a variant of one of its optimizers.
    torch, optax: the class and the function, each with its modules; empty where there is none.
    update: what a step adds to a parameter, as code: `g` the gradient, `p` the parameter, `t` the step, from 1 on.
    note: what a reader should know besides, what differs above all.
    """

    name: str
    torch: str
    optax: str
    arguments: tuple[Argument, ...] = ()
    recipes: tuple[Recipe, ...] = ()
    state: tuple[Moment, ...] = ()
    update: tuple[str, str] = ("", "")
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """Whether the two can be the same, as the recipes tell."""
        if not self.torch:
            return "absent from PyTorch"
        gaps = [bool(recipe.gap) for recipe in self.recipes]
        if not self.optax or not gaps:
            return "absent from optax"
        if all(gaps):
            return "differ"
        return "equal for some arguments" if any(gaps) else "equal"
