"""A module made ready to run, trained and asked for its gradients: in this process, or over all where its pair says so.

In one process it is as `probing.py` and `training.py` have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from ..common.errors import NotExpressibleError
from ..common.wing import (
    Call,
    Cotangents,
    Inputs,
    Optimizer,
    Pass,
    Passer,
    Probe,
    Prober,
    StoredTensor,
    Trainer,
    Training,
)
from . import probing, training
from .access import neutral
from .core import cast_copy, generators_kept, given
from .devices import dtype_of, plan_under_test
from .parts import Parts, Sharded, agreed, gathered, own_dtype, spread_plan, together
from .parts import processes as processes
from .parts import random_state as random_state
from .stored import owned, stored_tensors, with_stored_tensors


def prober(model: nn.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Prober:
    """See `probing.prober`; over all processes where the plan says so."""
    plan = spread_plan()
    if plan is None:
        return probing.prober(model, inputs, call, dtype=dtype)
    parts = Parts(model, inputs, plan, dtype)

    @together()
    def run(weights: Mapping[str, Any], cotangents: Cotangents, *, gradients: bool = True, rounded: int = 0) -> Probe:
        if rounded:
            raise NotExpressibleError("", "a run in one process", "one over several", "")
        own = parts.made(weights, is_free=True)
        parts.tell(own.batch)
        own.model.eval()
        with probing.plain_attention(), torch.set_grad_enabled(gradients):
            outputs = own.outputs(call)
            made = own.globally(cotangents, outputs)
            terms = [
                (output * weight).sum() * (own.batch.count if own.is_cut(output) else 1)
                for output, weight in zip(outputs.values(), made, strict=True)
            ]
            if gradients and terms and any(term.requires_grad for term in terms):
                sum(terms[1:], terms[0]).backward()
        told = own.whole_outputs(outputs)
        return Probe(told, own.gradients() if gradients else {})

    return run


def trainer(
    model: nn.Module,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Trainer:
    """See `training.trainer`; over all processes where the plan says so, each with its part of the batch.

    The loss is the mean over what a process is given, as in any training loop: who reduces gradients takes their mean.
    """
    plan = spread_plan()
    if plan is None:
        return training.trainer(model, inputs, call, dtype=dtype, train_call=train_call)
    parts = Parts(model, inputs, plan, dtype)

    @together()
    def run(weights: Mapping[str, Any], targets: Cotangents, optimizer: Optimizer, steps: int) -> Training:
        own = parts.made(weights)
        parameters = [each for each in own.model.parameters() if each.requires_grad and each.is_floating_point()]
        rule = training.rule_of(optimizer, parameters) if parameters else None
        goals: list[torch.Tensor] | None = None
        losses = []
        with training.running_in(own.model, training=True, dropout=False, seed=0), torch.enable_grad():
            for _ in range(steps):
                outputs = own.outputs(train_call or call)
                goals = goals or own.globally(targets, outputs)
                loss = own.squared_error(outputs, goals)
                if loss.requires_grad:
                    loss.backward()
                for each in parameters:
                    each.grad = torch.zeros_like(each) if each.grad is None else each.grad
                if rule is not None:
                    rule.step()
                    rule.zero_grad()
                losses.append(loss.item())
        return Training(tuple(losses), own.stored_tensors())

    return run


def passer(
    model: nn.Module,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Passer:
    """See `training.passer`; over all processes where the plan says so.

    The masks of dropout are then drawn as the process' own generator stands once the module is sharded: before that it
    stood as when the check began, and the pair's function may seed it. Two that stand alike draw alike.
    """
    plan = spread_plan()
    if plan is None:
        return training.passer(model, inputs, call, dtype=dtype, train_call=train_call)
    parts = Parts(model, inputs, plan, dtype)

    @together()
    def run(weights: Mapping[str, Any], *, training: bool, dropout: bool = False, seed: int = 0) -> Pass:
        own = parts.made(weights)
        with _passing(own, training, dropout, seed), torch.no_grad():
            outputs = own.outputs((train_call or call) if training else call)
        told = own.whole_outputs(outputs)
        after = own.stored_tensors()
        return Pass(told, {path: each.array for path, each in after.items() if not each.trainable})

    return run


@contextmanager
def _passing(own: Sharded, is_training: bool, dropout: bool, seed: int) -> Iterator[None]:
    with generators_kept(own.model):
        torch.set_rng_state(own.random_state)
        drawn = int(torch.randint(2**62, ()).item()) + seed
        with training.running_in(own.model, training=is_training, dropout=dropout, seed=drawn):
            yield


def own_gradients(
    model: nn.Module, inputs: Inputs, call: Call, *, dtype: str = "float32"
) -> Callable[[Mapping[str, Any]], dict[str, np.ndarray]]:
    """See `SideWing`. In one process alone its collectives are among that process alone."""
    plan = plan_under_test()
    of_type = dtype_of(dtype)
    if plan is None or plan.is_alone:

        def alone(weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
            own = with_stored_tensors(cast_copy(model, of_type), weights)
            with training.running_in(own, training=True, dropout=False, seed=0), torch.enable_grad(), _one_process():
                loss, told = _told(call(own, given(own, inputs, of_type)))
            found = told or {path: each.array.grad for path, each in owned(own).items()}
            arrays = {path: neutral(each) for path, each in found.items() if each is not None}
            return arrays if loss is None else {"loss": neutral(loss), **arrays}

        return alone
    parts = Parts(model, inputs, plan, dtype)

    @together()
    def spread(weights: Mapping[str, Any]) -> dict[str, np.ndarray]:
        own = parts.made(weights)
        with training.running_in(own.model, training=True, dropout=False, seed=0), torch.enable_grad():
            loss, told = _told(call(own.model, own.arguments))
        arrays = own.gradients(told)
        return arrays if loss is None else {"loss": agreed(plan, gathered(neutral(loss))), **arrays}

    return spread


def _told(result: Any) -> tuple[torch.Tensor | None, Mapping[str, torch.Tensor] | None]:
    """What a call for gradients gives: the loss, them by name, both, or nothing where they are in `.grad`."""
    loss, told = (
        result if isinstance(result, tuple) else (None, result) if isinstance(result, Mapping) else (result, None)
    )
    return (loss.detach() if isinstance(loss, torch.Tensor) else None), told


@contextmanager
def _one_process() -> Iterator[None]:
    """This process is all there are, for whatever it does with the default group."""
    if not dist.is_initialized():
        yield
        return
    before = dist.group.WORLD
    groups = [dist.new_group([rank]) for rank in range(dist.get_world_size())]
    own = groups[dist.get_rank()]
    switch: Any = dist.distributed_c10d._update_default_pg  # type: ignore[attr-defined]
    switch(own)
    try:
        yield
    finally:
        switch(before)


def sharded_tensors(model: nn.Module, arrays: Mapping[str, Any]) -> dict[str, StoredTensor]:
    """See `SideWing`."""
    plan = spread_plan()
    if plan is None:
        return stored_tensors(with_stored_tensors(cast_copy(model, own_dtype(model)), arrays))
    parts = Parts(model, (), plan, "")
    with together():
        return parts.made(arrays).stored_tensors()
