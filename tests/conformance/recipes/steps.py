"""Whole step functions of the tied language model in both frameworks, and faults planted in these."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch

import paritree

from .both import Recipe, by_optax, by_torch
from .models import mapped

MODEL, CLASSES = "language model", 16


@dataclass(frozen=True)
class Loss:
    """The cross entropy of the next token, or of the token itself (`own`).

    over: what its mean is over, `tokens`, `batch` or nothing (`sum`).
    smoothing: of the labels. parts: into how many the batch is cut, and whether these are added up (`summed`).
    clip: of the global norm, in the step function; only PyTorch's.
    """

    over: str = "tokens"
    smoothing: float = 0.0
    parts: int = 1
    summed: bool = False
    clip: float = 0.0
    own: bool = False

    def parted(self, logits: Any, tokens: Any) -> tuple[Any, Any]:
        """What tells of which labels, in either framework."""
        return (logits, tokens) if self.own else (logits[:, :-1], tokens[:, 1:])


def torch_step(loss: Loss) -> Callable[..., None]:
    def step(model: Any, optimizer: Any, batch: Any) -> None:
        (tokens,) = batch
        optimizer.zero_grad()
        for part in tokens.chunk(loss.parts):
            logits, labels = (each.flatten(0, 1) for each in loss.parted(model(part), part))
            whole = torch.nn.functional.cross_entropy(
                logits, labels, label_smoothing=loss.smoothing, reduction="mean" if loss.over == "tokens" else "sum"
            )
            value = whole / len(part) if loss.over == "batch" else whole
            (value if loss.summed else value / loss.parts).backward()
        if loss.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), loss.clip)
        optimizer.step()

    return step


def jax_step(loss: Loss, rule: Any) -> Callable[..., Any]:
    @partial(jax.jit, static_argnums=0)
    def moved(module: Any, params: Any, state: Any, tokens: jax.Array) -> tuple[Any, Any]:
        def value(params: Any) -> jax.Array:
            logits, labels = loss.parted(module.apply({"params": params}, tokens), tokens)
            goals = optax.smooth_labels(jax.nn.one_hot(labels, CLASSES), loss.smoothing)
            each = optax.softmax_cross_entropy(logits, goals)
            return {"tokens": each.mean(), "batch": each.sum() / len(tokens), "sum": each.sum()}[loss.over]

        updates, state = rule.update(jax.grad(value)(params), state, params)
        return optax.apply_updates(params, updates), state

    def step(model: Any, state: Any, batch: Any) -> Any:
        module, variables = model
        params, state = moved(module, variables["params"], state, *batch)
        return (module, {"params": params}), state

    return step


def jax_step_of_parts(rule: Any, parts: int) -> Callable[..., Any]:
    """A step of `optax.MultiSteps`, which is given the gradient of each part of the batch."""
    of_part = jax_step(Loss(), rule)

    def step(model: Any, state: Any, batch: Any) -> Any:
        for part in jnp.split(batch[0], parts):
            model, state = of_part(model, state, (part,))
        return model, state

    return step


@dataclass(frozen=True)
class PlantedLoss:
    """Step functions with equal optimizers and other losses, and the causes one of which must be named."""

    name: str
    recipe: Recipe
    by_torch: Loss
    by_jax: Loss
    causes: tuple[str, ...]

    def report(self) -> paritree.Report:
        rule = by_optax(self.recipe)
        steps = {"reference_step": torch_step(self.by_torch), "port_step": jax_step(self.by_jax, rule)}
        found = mapped(MODEL)
        pair = found.trained(by_torch(self.recipe), rule, **steps)
        return paritree.check(pair, found.map, contracts=("recipe",), devices=("cpu",))

    def failures(self) -> list[Any]:
        return list(self.report().failures)


SGD, ADAMW, PLAIN = Recipe("sgd", 0.1, momentum=0.9), Recipe(decay=0.01), Loss()
PLANTED_LOSSES = (
    PlantedLoss("the mean over the batch", SGD, PLAIN, Loss("batch"), ("loss mean",)),
    PlantedLoss("the mean over the batch, under AdamW", ADAMW, PLAIN, Loss("batch"), ("loss mean",)),
    PlantedLoss("no mean", SGD, PLAIN, Loss("sum"), ("loss mean",)),
    PlantedLoss("labels smoothed", SGD, Loss(smoothing=0.1), PLAIN, ("label smoothing",)),
    PlantedLoss(
        "labels smoothed more, under AdamW", ADAMW, Loss(smoothing=0.1), Loss(smoothing=0.2), ("label smoothing",)
    ),
    PlantedLoss(
        "own labels smoothed", SGD, Loss(smoothing=0.1, own=True), Loss(smoothing=0.2, own=True), ("label smoothing",)
    ),
    # Two parts of the batch of two: by its gradients a sum over parts is one over the batch.
    PlantedLoss("clipped", SGD, Loss(clip=1.0), PLAIN, ("clipping",)),
    # More than the gradients are from the values themselves.
    PlantedLoss("clipped at 10, under AdamW", ADAMW, Loss(clip=10.0), PLAIN, ("clipping",)),
    PlantedLoss("parts added up", SGD, Loss(parts=2, summed=True), PLAIN, ("accumulation", "loss mean")),
    PlantedLoss("parts added up, under AdamW", ADAMW, Loss(parts=2, summed=True), PLAIN, ("accumulation", "loss mean")),
)
CLEAN_LOSSES = tuple(
    PlantedLoss("clean", recipe, loss, replace(loss, parts=1), ())
    for recipe, loss in ((SGD, PLAIN), (ADAMW, Loss(smoothing=0.1)), (SGD, Loss("batch")), (ADAMW, Loss(parts=2)))
)
