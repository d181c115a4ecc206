"""Faults planted in recipes: what one side does otherwise, and the words for the cause."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .both import Recipe, by_optax, by_torch
from .models import mapped


@dataclass(frozen=True)
class Planted:
    """A fault in one pair: the two recipes, and the causes one of which must be named.

    turned: Flax's side is the reference.
    """

    name: str
    model: str
    by_torch: Recipe
    by_jax: Recipe
    causes: tuple[str, ...]
    turned: bool = False

    def failures(self) -> list[Any]:
        report = mapped(self.model).checked(by_torch(self.by_torch), by_optax(self.by_jax), self.turned)
        return list(report.failures)


ADAMW = Recipe(decay=0.01)
SGD = Recipe("sgd", 0.1, momentum=0.9)
RMS = Recipe("rmsprop", alpha=0.99)
_NET, _TIED, _BLOCK = "net", "language model", "block"


def _pair(
    name: str, model: str, base: Recipe, causes: str | tuple[str, ...], turned: bool = False, **other: Any
) -> Planted:
    named = (causes,) if isinstance(causes, str) else causes
    return Planted(name, model, base, replace(base, **other), named, turned)


PLANTED = (
    _pair("decay 1e-4 for 0.01", _NET, ADAMW, "weight decay", decay=1e-4),
    _pair("decay 0.1 for 0.01", _TIED, ADAMW, "weight decay", decay=0.1),
    _pair("decay 0.011 for 0.01", _BLOCK, ADAMW, "weight decay", decay=0.011),
    _pair("no decay", _TIED, ADAMW, "weight decay", True, decay=0.0),
    _pair("decay where there is none", _BLOCK, Recipe(), "weight decay", decay=0.01),
    _pair("another decay under a warmup", _NET, replace(ADAMW, schedule="warmup"), "weight decay", decay=0.02),
    _pair("decay of SGD", _BLOCK, replace(SGD, coupled=1e-4), "weight decay", coupled=5e-4),
    _pair("decay of Adam in the gradient", _NET, Recipe("adam", coupled=0.01), "weight decay", coupled=0.1),
    _pair("decay in the gradient for decoupled", _NET, ADAMW, "weight decay in the gradient", decay=0.0, coupled=0.01),
    _pair(
        "decoupled for in the gradient",
        _TIED,
        Recipe("adam", coupled=0.01),
        "weight decay in the gradient",
        coupled=0.0,
        decay=0.01,
    ),
    _pair(
        "decoupled for in the gradient of SGD",
        _BLOCK,
        replace(SGD, coupled=0.01),
        "weight decay in the gradient",
        coupled=0.0,
        decay=0.01,
    ),
    _pair("decay without the rate", _NET, ADAMW, "weight decay without the rate", alone=True),
    _pair(
        "decay without the rate of SGD",
        _TIED,
        Recipe("sgd", 0.1, decay=0.01, coupled=0.0),
        "weight decay without the rate",
        alone=True,
    ),
    _pair(
        "decay without the rate in a schedule",
        _BLOCK,
        replace(ADAMW, schedule="warmup"),
        "weight decay without the rate",
        alone=True,
    ),
    _pair("decay of vectors too", _NET, replace(ADAMW, matrices=True), "weight decay mask", matrices=False),
    _pair("no decay of vectors", _TIED, ADAMW, "weight decay mask", matrices=True),
    _pair("mask under a warmup", _BLOCK, replace(ADAMW, schedule="warmup"), "weight decay mask", True, matrices=True),
    _pair("eps 1e-6 for 1e-8", _NET, ADAMW, "eps", eps=1e-6),
    _pair("eps 1e-7 for 1e-8", _TIED, ADAMW, "eps", True, eps=1e-7),
    _pair("eps 1e-15 for 1e-8", _BLOCK, ADAMW, "eps", eps=1e-15),
    _pair("eps 1e-3 for 1e-8", _TIED, ADAMW, "eps", eps=1e-3),
    _pair("eps of RMSprop", _NET, RMS, "eps", eps=1e-5),
    _pair("eps inside of the root", _NET, ADAMW, "eps inside of the root", eps=0.0, root=1e-8),
    _pair("eps inside of the root, squared", _TIED, ADAMW, "eps inside of the root", eps=0.0, root=1e-16),
    _pair("eps of RMSprop inside of the root", _BLOCK, RMS, "eps inside of the root", inside=True),
    _pair("second beta 0.99", _NET, ADAMW, "betas", betas=(0.9, 0.99)),
    _pair("second beta 0.95", _TIED, ADAMW, "betas", betas=(0.9, 0.95)),
    _pair("first beta 0.95", _BLOCK, ADAMW, "betas", betas=(0.95, 0.999)),
    _pair("second beta 0.9999", _NET, ADAMW, "betas", True, betas=(0.9, 0.9999)),
    _pair("no first beta", _TIED, ADAMW, "betas", betas=(0.0, 0.999)),
    _pair("alpha of RMSprop", _BLOCK, RMS, "betas", alpha=0.9),
    _pair("no bias correction", _NET, ADAMW, "bias correction", uncorrected=True),
    _pair(
        "no bias correction in a schedule",
        _TIED,
        replace(ADAMW, schedule="cosine"),
        "bias correction",
        uncorrected=True,
    ),
    _pair("no bias correction of a large eps", _BLOCK, replace(ADAMW, eps=1e-6), "bias correction", uncorrected=True),
    _pair("Nesterov", _NET, SGD, "Nesterov", nesterov=True),
    _pair("no Nesterov", _TIED, replace(SGD, nesterov=True), "Nesterov", nesterov=False),
    _pair("Nesterov of Adam", _BLOCK, ADAMW, "Nesterov", nesterov=True),
    _pair("momentum 0.99", _BLOCK, SGD, "momentum", momentum=0.99),
    _pair("no momentum", _NET, SGD, "momentum", momentum=0.0),
    _pair("momentum of RMSprop", _TIED, replace(RMS, momentum=0.9), "momentum", momentum=0.0),
    _pair("dampening", _TIED, replace(SGD, dampening=0.1), "dampening", dampening=0.0),
    _pair("dampening as large as the momentum", _BLOCK, replace(SGD, dampening=0.9), "dampening", dampening=0.0),
    _pair("clipped at 5 for 1", _NET, replace(ADAMW, clip=("norm", 1.0)), "clipping", clip=("norm", 5.0)),
    _pair("values for the norm", _TIED, replace(ADAMW, clip=("norm", 1.0)), "clipping", clip=("value", 1.0)),
    _pair("tensors for the norm", _BLOCK, replace(SGD, clip=("norm", 1.0)), "clipping", clip=("root", 1.0)),
    _pair("not clipped", _NET, replace(SGD, clip=("norm", 1.0)), "clipping", clip=("", 0.0)),
    _pair("clipped where the other is not", _TIED, ADAMW, "clipping", True, clip=("value", 0.5)),
    _pair(
        "clipped after the rule", _BLOCK, replace(ADAMW, clip=("norm", 1.0)), ("clipping",), clip=("", 0.0), after=1.0
    ),
    _pair("clipped after SGD", _NET, replace(Recipe("sgd", 0.1), clip=("value", 0.1)), "clipping", clip=("norm", 0.1)),
    _pair("rate", _TIED, SGD, "learning rate", rate=0.01),
    _pair("rate of vectors", _NET, ADAMW, "learning rate", slower=0.1),
    _pair("rate by 0.1 percent", _BLOCK, ADAMW, "learning rate", rate=1.001e-3),
    _pair("a step late", _NET, replace(ADAMW, schedule="warmup"), "schedule", late=1),
    _pair("a step early", _TIED, replace(ADAMW, schedule="warmup"), "schedule", late=-1),
    _pair("a step late in a cosine", _BLOCK, replace(SGD, schedule="cosine"), "schedule", True, late=1),
    _pair(
        "another schedule after a warmup", _NET, replace(ADAMW, schedule="exponential"), "schedule", schedule="cosine"
    ),
    _pair("no schedule", _TIED, replace(SGD, schedule="steps"), "schedule", schedule=""),
    _pair("average of weights 0.99 for 0.9", _NET, replace(ADAMW, average=0.9), "average of weights", average=0.99),
    _pair("no average of weights", _BLOCK, replace(SGD, average=0.99), "average of weights", average=0.0),
    _pair("another optimizer", _TIED, SGD, "optimizer", rule="adamw"),
    _pair("a rule of another kind", _BLOCK, RMS, "optimizer", rule="adagrad"),
    _pair("a step of every 4 gradients", _NET, SGD, "accumulation", every=4),
    _pair("a step of every 2 gradients", _BLOCK, ADAMW, "accumulation", True, every=2),
)
