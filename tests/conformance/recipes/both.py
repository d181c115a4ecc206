"""One recipe written down once, and what it is in PyTorch and in Optax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

STEPS = 40


@dataclass(frozen=True)
class Recipe:
    """What is trained with.

    decay: decoupled; coupled: in the gradient. matrices: decay only what has more than one axis.
    schedule: `""`, `warmup`, `cosine`, `steps`, `exponential`. clip: its kind and at what. average: of weights.
    slower: the rate of vectors, as a factor.

    Only Optax's: root, eps inside of the root; alone, a decay that the rate does not multiply; after: the clipping of
    what the rule makes; late: steps by which the schedule is late; uncorrected: averages as they are; every: how many
    gradients make a step; inside: of RMSprop's eps.
    """

    rule: str = "adamw"
    rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-8
    momentum: float = 0.0
    nesterov: bool = False
    dampening: float = 0.0
    alpha: float = 0.99
    centered: bool = False
    decay: float = 0.0
    coupled: float = 0.0
    matrices: bool = False
    schedule: str = ""
    clip: tuple[str, float] = ("", 0.0)
    average: float = 0.0
    slower: float = 1.0
    root: float = 0.0
    alone: bool = False
    after: float = 0.0
    late: int = 0
    uncorrected: bool = False
    every: int = 1
    inside: bool = False


FACTORS: dict[str, Callable[[int], float]] = {
    "": lambda step: 1.0,
    "warmup": lambda step: min((step + 1) / 10, 1.0),
    "cosine": lambda step: 0.5 * (1 + np.cos(np.pi * min(step, STEPS) / STEPS)),
    "steps": lambda step: 0.5 ** (step // 20),
    "exponential": lambda step: 0.99**step,
}


def by_torch(recipe: Recipe) -> Callable[[Any], Any]:
    """A function of the model's parameters."""

    def made(parameters: Any) -> Any:
        parameters = list(parameters)
        optimizer = _torch_rule(recipe, _groups(recipe, parameters))
        others: list[Any] = []
        if recipe.schedule:
            others.append(_torch_schedule(recipe, optimizer))
        if recipe.clip[0]:
            others.append(_torch_clip(*recipe.clip))
        return (optimizer, *others) if others else optimizer

    def averaged(model: torch.nn.Module) -> Any:
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.average)
        held = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=average)
        # As a copy of the model at its start, which Optax's average begins with.
        held.n_averaged += 1
        found = made(model.parameters())
        return (*found, held) if isinstance(found, tuple) else (found, held)

    return (lambda model: averaged(model)) if recipe.average else (lambda parameters: made(parameters))


def _groups(recipe: Recipe, parameters: list[Any]) -> Any:
    decay = recipe.decay or recipe.coupled
    if not (recipe.matrices or recipe.slower != 1):
        return [{"params": parameters, "weight_decay": decay}]
    matrices, vectors = ([each for each in parameters if (each.ndim > 1) == is_matrix] for is_matrix in (True, False))
    return [
        {"params": matrices, "weight_decay": decay},
        {"params": vectors, "weight_decay": 0.0 if recipe.matrices else decay, "lr": recipe.rate * recipe.slower},
    ]


def _torch_rule(recipe: Recipe, groups: Any) -> torch.optim.Optimizer:
    of, rate, adam = torch.optim, recipe.rate, {"betas": recipe.betas, "eps": recipe.eps}
    rules: dict[str, Callable[[], torch.optim.Optimizer]] = {
        "sgd": lambda: of.SGD(
            groups, lr=rate, momentum=recipe.momentum, nesterov=recipe.nesterov, dampening=recipe.dampening
        ),
        "adam": lambda: of.Adam(groups, lr=rate, **adam),
        "adamw": lambda: of.AdamW(groups, lr=rate, **adam),
        "adamax": lambda: of.Adamax(groups, lr=rate, **adam),
        "rmsprop": lambda: of.RMSprop(
            groups, lr=rate, alpha=recipe.alpha, eps=recipe.eps, momentum=recipe.momentum, centered=recipe.centered
        ),
        "adagrad": lambda: of.Adagrad(groups, lr=rate, eps=1e-30, initial_accumulator_value=0.1),
        "adadelta": lambda: of.Adadelta(groups, lr=rate, rho=recipe.alpha, eps=recipe.eps),
        "adafactor": lambda: of.Adafactor(groups, lr=rate, eps=(1e-15, 1e-3)),
    }
    return rules[recipe.rule]()


def _torch_schedule(recipe: Recipe, optimizer: torch.optim.Optimizer) -> Any:
    of = torch.optim.lr_scheduler
    if recipe.schedule == "steps":
        return of.StepLR(optimizer, 20, 0.5)
    if recipe.schedule == "exponential":
        return of.ExponentialLR(optimizer, 0.99)
    return of.LambdaLR(optimizer, FACTORS[recipe.schedule])


def _torch_clip(how: str, most: float) -> Callable[[Any], None]:
    def each(parameters: Any, size: Callable[[torch.Tensor], torch.Tensor]) -> None:
        for parameter in parameters:
            parameter.grad /= torch.clamp(size(parameter.grad) / most, min=1.0)

    kinds: dict[str, Callable[[Any], Any]] = {
        "norm": lambda parameters: torch.nn.utils.clip_grad_norm_(parameters, most),
        "value": lambda parameters: torch.nn.utils.clip_grad_value_(parameters, most),
        "root": lambda parameters: each(parameters, lambda gradient: gradient.square().mean().sqrt()),
    }
    return kinds[how]


def by_optax(recipe: Recipe) -> Any:
    """A transformation, or one with an average."""
    if recipe.slower == 1:
        rule = _optax_rule(recipe, recipe.rate)
    else:
        rules = {"m": _optax_rule(recipe, recipe.rate), "v": _optax_rule(recipe, recipe.rate * recipe.slower)}
        rule = optax.multi_transform(rules, lambda tree: jax.tree.map(lambda each: "m" if each.ndim > 1 else "v", tree))
    how, most = recipe.clip
    clips = {"norm": optax.clip_by_global_norm, "value": optax.clip, "root": optax.clip_by_block_rms}
    rule = optax.chain(clips[how](most), rule) if how else rule
    rule = optax.MultiSteps(rule, recipe.every).gradient_transformation() if recipe.every > 1 else rule
    if not recipe.average:
        return rule
    return rule, lambda old, new: optax.incremental_update(new, old, 1 - recipe.average)


def _optax_rule(recipe: Recipe, rate: float) -> optax.GradientTransformation:
    if recipe.rule == "adafactor":
        # PyTorch's rate is no more than 1 / sqrt(step), and every matrix is factored.
        relative = lambda count: jnp.minimum(rate, (count + 1.0) ** -0.5)  # noqa: E731
        return optax.adafactor(relative, min_dim_size_to_factor=1)
    mask = (lambda tree: jax.tree.map(lambda each: each.ndim > 1, tree)) if recipe.matrices else None
    parts = [optax.add_decayed_weights(recipe.coupled, mask)] if recipe.coupled else []
    parts.append(_scaled(recipe))
    if recipe.after:
        parts.append(optax.clip_by_global_norm(recipe.after))
    decay = optax.add_decayed_weights(-recipe.decay if recipe.alone else recipe.decay, mask)
    parts += [decay] if recipe.decay and not recipe.alone else []
    is_scheduled = recipe.schedule or recipe.late
    parts.append(optax.scale_by_learning_rate(_optax_schedule(recipe, rate) if is_scheduled else rate))
    parts += [decay] if recipe.decay and recipe.alone else []
    return optax.chain(*parts)


def _optax_schedule(recipe: Recipe, rate: float) -> Callable[[Any], Any]:
    of = optax
    schedules = {
        "": lambda: of.constant_schedule(rate),
        "warmup": lambda: of.linear_schedule(rate / 10, rate, 9),
        "cosine": lambda: of.cosine_decay_schedule(rate, STEPS),
        "steps": lambda: of.exponential_decay(rate, 20, 0.5, staircase=True),
        "exponential": lambda: of.exponential_decay(rate, 1, 0.99),
    }
    made = schedules[recipe.schedule]()
    return (lambda count: made(count - recipe.late)) if recipe.late else made


def _scaled(recipe: Recipe) -> optax.GradientTransformation:
    """The rule without its rate."""
    if recipe.uncorrected:
        return _uncorrected(recipe)
    of, (first, second), eps = optax, recipe.betas, recipe.eps
    adam = lambda: of.scale_by_adam(first, second, eps, recipe.root, nesterov=recipe.nesterov)  # noqa: E731
    trace = of.trace(recipe.momentum, nesterov=recipe.nesterov)
    rms = of.scale_by_stddev if recipe.centered else of.scale_by_rms
    rules: dict[str, Callable[[], optax.GradientTransformation]] = {
        "sgd": lambda: trace if recipe.momentum else of.identity(),
        "adam": adam,
        "adamw": adam,
        "adamax": lambda: of.scale_by_adamax(first, second, eps),
        "rmsprop": lambda: of.chain(
            rms(recipe.alpha, eps, eps_in_sqrt=recipe.inside), trace if recipe.momentum else of.identity()
        ),
        "adagrad": lambda: of.scale_by_rss(0.1, 0.0),
        "adadelta": lambda: of.scale_by_adadelta(recipe.alpha, eps),
    }
    return rules[recipe.rule]()


def _uncorrected(recipe: Recipe) -> optax.GradientTransformation:
    """Adam whose averages are not corrected for their start at zero."""
    first, second = recipe.betas

    def update(gradients: Any, state: Any, params: Any = None) -> Any:
        mean = jax.tree.map(lambda m, g: first * m + (1 - first) * g, state[0], gradients)
        square = jax.tree.map(lambda v, g: second * v + (1 - second) * g * g, state[1], gradients)
        return jax.tree.map(lambda m, v: m / (jnp.sqrt(v) + recipe.eps), mean, square), (mean, square)

    zeros = lambda params: jax.tree.map(jnp.zeros_like, params)  # noqa: E731
    return optax.GradientTransformation(lambda params: (zeros(params), zeros(params)), update)
