"""Clean recipes: the same one in PyTorch and in Optax, drawn from all that is equal in both."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from .both import FACTORS, Recipe, by_optax, by_torch
from .models import PAIRS, mapped

RULES = (
    *("sgd", "sgd", "adam", "adamw", "adamw", "adamax", "rmsprop", "rmsprop", "adagrad", "adadelta"),
    *("adafactor",),
)
# What takes a decay in its gradients.
_COUPLED = ("sgd", "adam", "adamax", "rmsprop", "adagrad", "adadelta")


class Clean(NamedTuple):
    """A recipe of one pair. turned: Flax's side is the reference."""

    model: str
    recipe: Recipe
    turned: bool

    def failures(self) -> list[str]:
        pair = mapped(self.model)
        report = pair.checked(by_torch(self.recipe), by_optax(self.recipe), self.turned)
        return [f"[{each.cause}] {each.message}" for each in report.failures] or ([] if report.ok else ["no result"])


def cleans(count: int) -> Iterator[Clean]:
    """So many, the first of them always the same."""
    random = np.random.default_rng(0)
    for _ in range(count):
        recipe = _drawn(random)
        # Of a convolution's kernel PyTorch factors other axes than Optax.
        models = [name for name in PAIRS if name != "block" or recipe.rule != "adafactor"]
        yield Clean(str(random.choice(models)), recipe, bool(random.random() < 0.3))


def _drawn(random: np.random.Generator) -> Recipe:
    of = lambda *values: values[random.integers(len(values))]  # noqa: E731
    rule = of(*RULES)
    rate = of(1e-4, 1e-3, 0.01, 0.1)
    made = Recipe(rule, rate, schedule=of("", "", *FACTORS), average=of(0.0, 0.0, 0.0, 0.99))
    made = replace(made, clip=of(("", 0.0), ("", 0.0), ("norm", 1.0), ("norm", 5.0), ("value", 0.5), ("root", 1.0)))
    made = replace(made, betas=of((0.9, 0.999), (0.9, 0.95), (0.8, 0.99)), eps=of(1e-8, 1e-6, 1e-10, 1e-3))
    if rule == "sgd":
        made = replace(made, momentum=of(0.0, 0.9, 0.5))
        made = replace(made, nesterov=bool(made.momentum and random.random() < 0.4))
    if rule == "rmsprop":
        made = replace(made, momentum=of(0.0, 0.0, 0.9), centered=of(False, True), alpha=of(0.99, 0.9))
    if rule == "adadelta":
        made = replace(made, alpha=of(0.9, 0.95), eps=of(1e-6, 1e-8))
    decay = of(0.0, 0.0, 1e-4, 0.01, 0.1)
    if rule == "adamw":
        made = replace(made, decay=decay)
    if rule in _COUPLED:
        made = replace(made, coupled=decay)
    if rule == "adafactor":
        return replace(made, schedule="")
    return replace(made, matrices=of(False, True), slower=of(1.0, 1.0, 0.1))
