"""The contract of recipes: what differs is named with both numbers, and what is the same passes in every form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from flax.training.train_state import TrainState

import paritree
from paritree import PairError

from ..recipes.both import Recipe, by_optax, by_torch
from ..recipes.clean import Clean, cleans
from ..recipes.models import mapped
from ..recipes.planted import PLANTED
from ..recipes.steps import (
    CLEAN_LOSSES,
    PLAIN,
    PLANTED_LOSSES,
    Loss,
    PlantedLoss,
    jax_step,
    jax_step_of_parts,
    torch_step,
)

ADAMW, RATE = Recipe(decay=0.01), 1e-3


def adamw(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=RATE)


def said(by_torch: Any, by_jax: Any, model: str = "net", turned: bool = False) -> list[str]:
    found = mapped(model).checked(by_torch, by_jax, turned)
    return [f"[{each.cause}] {each.message}" for each in found.failures]


# One for each kind of fault, and what is said of it; `python -m tests.conformance.recipes` plants all.
SHOWN = {
    "decay of SGD": "0.0001 in the gradient in the reference and 0.0005 in the gradient in the port",
    "decay in the gradient for decoupled": "the port adds it to the gradient, the reference decays the values by them",
    "decay without the rate of SGD": "the reference decays by 0.001 of its value in a step",
    "clipped after SGD": "the reference clips each value of gradients at 0.1, the port clips the global norm of gradie",
    "eps of RMSprop inside of the root": "the port adds 1e-08 inside of the root, the reference 1e-08 outside of it",
    "second beta 0.99": "(0.9, 0.999) in the reference and (0.9, 0.99) in the port",
    "no bias correction": "the reference corrects its averages for their start at zero, the port does not",
    "dampening": "0.1 in the reference and 0 in the port",
    "no schedule": "at step 21 the reference's rate is 0.05 and the port's 0.1",
    "a step of every 4 gradients": "the reference makes a step of each gradient, the port of every 4 gradients",
    "average of weights 0.99 for 0.9": "at step 2 the reference keeps 0.9 of its average and the port 0.99",
    "another optimizer": "the reference moves as SGD with momentum 0.9, the port as Adam with betas (0.9, 0.999)",
}


@pytest.mark.parametrize("fault", [each for each in PLANTED if each.name in SHOWN], ids=lambda fault: fault.name)
def test_a_planted_fault_is_found_and_named(fault: Any) -> None:
    (failure,) = fault.failures()
    assert failure.cause == fault.causes[0]
    assert failure.message.startswith(SHOWN[fault.name])


@pytest.mark.thorough
@pytest.mark.parametrize("fault", PLANTED, ids=lambda fault: fault.name)
def test_every_planted_fault_is_found_and_named(fault: Any) -> None:
    assert {each.cause for each in fault.failures()} & set(fault.causes)


def test_there_are_enough_faults() -> None:
    assert len({fault.name for fault in PLANTED}) == len(PLANTED) >= 60
    assert {fault.model for fault in PLANTED} == {"net", "language model", "block"}
    assert len(set(SHOWN) & {fault.name for fault in PLANTED}) == len(SHOWN)


@pytest.mark.parametrize("clean", list(cleans(4)), ids=lambda clean: clean.recipe.rule)
def test_a_clean_recipe_passes(clean: Any) -> None:
    assert clean.failures() == []


def test_steps_that_make_more_of_their_rounding_are_not_taken_for_other_ones() -> None:
    """Far beyond the warmup, with a rate at which the values go to and fro."""
    recipe = Recipe("adam", 0.1, betas=(0.8, 0.99), eps=1e-6, coupled=0.1, schedule="warmup")
    assert Clean("language model", recipe, False).failures() == []


@pytest.mark.thorough
def test_no_clean_recipe_fails() -> None:
    assert [clean for clean in cleans(100) if clean.failures()] == []


WORDS = {
    "of all": "(all 6 parameters; at zero gradients by 0.99 of a step)",
    "of some": "4 of 6 parameters: 0.bias, 1.weight, 1.bias, 3.bias; at zero gradients by 1 of a step",
}


def test_both_numbers_and_the_parameters_are_said() -> None:
    decay = "the reference decays by 1e-05 of its value in a step (0.01 times its rate), the port "
    assert said(adamw, optax.adamw(RATE)) == [
        f"[weight decay] {decay}by 1e-07 of its value in a step (0.0001 times its rate) {WORDS['of all']}"
    ]
    masked = optax.adamw(RATE, weight_decay=0.01, mask=lambda tree: jax.tree.map(lambda each: each.ndim > 1, tree))
    assert said(adamw, masked) == [f"[weight decay mask] {decay}not ({WORDS['of some']})"]


OTHERS = {
    "the port goes by the signs alone, whatever the gradients, the reference does not": optax.lion(RATE),
    "the port makes steps of each tensor that are as long, whatever the gradients, the reference does not": optax.lamb(
        RATE
    ),
    "the reference makes a step of each gradient, the port of every 4 gradients": optax.MultiSteps(optax.sgd(RATE), 4),
}


@pytest.mark.parametrize("words", OTHERS)
def test_what_another_optimizer_does_is_said(words: str) -> None:
    (failure,) = said(adamw, OTHERS[words])
    assert failure.partition("] ")[2].startswith(words)


def test_what_passes_has_a_row_for_each_parameter() -> None:
    report = mapped("net").checked(by_torch(ADAMW), by_optax(ADAMW))
    report.raise_for_failure()
    *rows, losses = report.results
    assert sorted(each.path for each in rows) == [*("0.bias", "0.weight", "1.bias", "1.weight", "3.bias", "3.weight")]
    assert losses.message == "after 3 steps of its own recipe all parameters are alike"
    assert all(each.measured is not None and each.measured < each.allowed for each in report.results)


def clipped(parameters: Any) -> Any:
    optimizer = adamw(parameters)

    def clip(*_: Any) -> None:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)

    optimizer.register_step_pre_hook(clip)
    return optimizer


def scheduled(model: torch.nn.Module) -> Any:
    optimizer = torch.optim.AdamW([{"params": [each]} for _, each in model.named_parameters()], lr=RATE)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / 10, 1.0))


OPTAX = optax.adamw(RATE, weight_decay=0.01)
CLIPPED = optax.chain(optax.clip_by_global_norm(1.0), OPTAX)
WARM = optax.adamw(optax.linear_schedule(RATE / 10, RATE, 9), weight_decay=0.01)
FORMS: dict[str, tuple[Any, Any]] = {
    "a class": (torch.optim.SGD, optax.sgd(1e-3)),
    "named parameters": (lambda named_parameters: adamw([each for _, each in named_parameters]), OPTAX),
    "groups of the model": (scheduled, WARM),
    "a hook that clips": (clipped, CLIPPED),
    "a function that clips": (
        lambda parameters: (adamw(parameters), lambda each: torch.nn.utils.clip_grad_norm_(each, 1.0)),
        CLIPPED,
    ),
    "an nnx.Optimizer": (adamw, lambda model: nnx.Optimizer(model, OPTAX, wrt=nnx.Param)),
    "a TrainState": (adamw, lambda params: TrainState.create(apply_fn=None, params=params, tx=OPTAX)),
    "injected numbers": (adamw, optax.inject_hyperparams(optax.adamw)(RATE, weight_decay=0.01)),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_optimizer_may_be_given_in_many_forms(form: str) -> None:
    assert said(*FORMS[form]) == []


def dropping(*steps: int) -> Any:
    """PyTorch's SGD whose rate is divided by ten after some steps."""

    def made(parameters: Any) -> Any:
        optimizer = torch.optim.SGD(parameters, lr=0.1, momentum=0.9)
        return optimizer, torch.optim.lr_scheduler.MultiStepLR(optimizer, list(steps), 0.1)

    return made


def dropping_port(*steps: int) -> Any:
    return optax.sgd(optax.piecewise_constant_schedule(0.1, dict.fromkeys(steps, 0.1)), momentum=0.9)


LATE: dict[str, tuple[Any, Any, str]] = {
    "a step late": (
        dropping(30, 60),
        dropping_port(31, 61),
        "at step 31 the reference's rate is 0.01 and the port's 0.1",
    ),
    "two drops near each other": (
        dropping(3000, 3500),
        dropping_port(3000, 3501),
        "at step 3501 the reference's rate is 0.001 and the port's 0.01",
    ),
    "a step early, at the end": (
        dropping_port(50_000),
        dropping(49_999),
        "at step 50000 the reference's rate is 0.1 and the port's 0.01",
    ),
}


@pytest.mark.parametrize("late", LATE)
def test_a_rate_that_changes_at_once_is_looked_at_where_it_does(late: str) -> None:
    ours, theirs, words = LATE[late]
    is_turned = not callable(ours)
    (failure,) = said(theirs if is_turned else ours, ours if is_turned else theirs, turned=is_turned)
    hint = "if a training ends before, say so: Pair(..., training_steps=)"
    assert failure.startswith(f"[schedule] {words}; {hint} (all 6 parameters")


def test_the_same_drops_pass() -> None:
    assert said(dropping(3000, 3500), dropping_port(3000, 3500)) == []


def test_a_curve_that_is_stretched_is_no_other_rate() -> None:
    warm = lambda step: min((step + 1) / 1000, 1.0)  # noqa: E731
    longer = lambda count: RATE * jnp.minimum((count + 1) / 1001, 1)  # noqa: E731
    by_torch = lambda parameters: with_schedule(adamw(parameters), warm)  # noqa: E731
    (failure,) = said(by_torch, optax.adamw(longer, weight_decay=0.01))
    assert failure.startswith("[schedule] at step 1 the reference's rate is 1e-06 and the port's 9.99e-07 (all 6")


def test_a_clipping_of_what_is_hardly_reached_is_seen() -> None:
    clip = lambda parameters: torch.nn.utils.clip_grad_norm_(parameters, 1000.0)  # noqa: E731
    (failure,) = said(lambda parameters: (adamw(parameters), clip), OPTAX)
    assert failure.startswith("[clipping] the reference clips the global norm of gradients at 1000, the port does not")


class Counting(torch.optim.Optimizer):
    """Adam's first averages, with the number of steps in its groups, where some optimizers' own have it."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": RATE, "layer": 2})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            group["step"] = group.get("step", 0) + 1
            for parameter in (each for each in group["params"] if each.grad is not None):
                mean = self.state[parameter].setdefault("exp_avg", torch.zeros_like(parameter))
                mean.lerp_(parameter.grad, 0.1)
                parameter -= group["lr"] * mean / (1 - 0.9 ** group["step"]) / group["step"] ** 0.5


def counting() -> optax.GradientTransformation:
    """The same with a state of its own, a tuple."""

    def update(gradients: Any, state: Any, params: Any = None) -> Any:
        count, mean = state[0] + 1, jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state[1], gradients)
        scale = RATE / (1 - 0.9**count) / jnp.sqrt(jnp.asarray(count, float))
        return jax.tree.map(lambda each: -scale * each, mean), (count, mean)

    return optax.GradientTransformation(
        lambda params: (jnp.zeros([], jnp.int32), jax.tree.map(jnp.zeros_like, params)), update
    )


def test_counts_of_ones_own_are_set_on() -> None:
    report = mapped("net").checked(Counting, counting())
    assert {each.status for each in report.results} == {"pass"}, str(report)


class Lamb(torch.optim.Optimizer):
    """Adam's step, as long as the values are."""

    def __init__(self, parameters: Any, lr: float = RATE, eps: float = 1e-6) -> None:
        super().__init__(parameters, {"lr": lr, "eps": eps})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in (each for each in group["params"] if each.grad is not None):
                state = self.state[parameter]
                step = state["step"] = state.get("step", 0) + 1
                mean = state.setdefault("exp_avg", torch.zeros_like(parameter)).lerp_(parameter.grad, 0.1)
                square = state.setdefault("exp_avg_sq", torch.zeros_like(parameter)).lerp_(parameter.grad**2, 0.001)
                made = mean / (1 - 0.9**step) / ((square / (1 - 0.999**step)).sqrt() + group["eps"])
                ratio = parameter.norm() / made.norm() if parameter.norm() and made.norm() else 1.0
                parameter -= group["lr"] * ratio * made


def cycled(rule: Any, **given: Any) -> Any:
    """PyTorch's OneCycleLR, which cycles the momentum, too, unless it is told not to."""

    def made(parameters: Any) -> Any:
        optimizer = rule(parameters, lr=RATE, **given)
        return optimizer, torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.01, total_steps=100, pct_start=0.25)

    return made


ONE_CYCLE = optax.cosine_onecycle_schedule(99, 0.01, pct_start=24 / 99)
UNFITTED: dict[str, tuple[Any, Any, str]] = {
    "Adamax's betas": (
        lambda parameters: torch.optim.Adamax(parameters, lr=RATE, betas=(0.9, 0.99)),
        optax.adamax(RATE),
        "[betas] (0.9, 0.99) in the reference and (0.9, 0.999) in the port",
    ),
    "Adamax for Adam": (
        lambda parameters: torch.optim.Adam(parameters, lr=RATE),
        optax.adamax(RATE),
        "[optimizer] the reference moves as Adam with betas (0.9, 0.999), the port as Adamax with betas (0.9, 0.999)",
    ),
    "the rate of a rule that is not known": (
        lambda parameters: torch.optim.Adadelta(parameters, lr=1.0),
        optax.adadelta(0.5),
        "[learning rate] the port goes 0.5 times as far as the reference at every step",
    ),
    "the schedule of a rule that is not known": (
        lambda parameters: with_schedule(torch.optim.Adadelta(parameters, lr=1.0), lambda step: 0.5 ** (step // 3)),
        optax.adadelta(1.0),
        "[schedule] at step 4 the port goes 2 times as far as the reference",
    ),
    "the eps of relative steps": (Lamb, optax.lamb(RATE, eps=1e-8), "[eps] 1e-06 in the reference and 1e-08 in the"),
    "the rate of relative steps": (Lamb, optax.lamb(2 * RATE), "[learning rate] the port goes 2 times as far as the"),
    "a decay in relative steps": (
        Lamb,
        optax.lamb(RATE, weight_decay=0.01),
        "[weight decay] the port decays by",
    ),
    "a momentum that cycles": (
        cycled(torch.optim.SGD, momentum=0.9),
        optax.sgd(ONE_CYCLE, momentum=0.9),
        "[momentum] the reference's momentum changes with the steps, from 0.9496 at step 2 to 0.9354 at step 7; the ",
    ),
    "a beta that cycles": (
        cycled(torch.optim.AdamW),
        optax.adamw(ONE_CYCLE, weight_decay=0.01),
        "[betas] the reference's first beta changes with the steps, the port's is 0.9 (all 6 parameters",
    ),
    "an eps inside of the root beside the other": (
        adamw,
        optax.adamw(RATE, eps_root=1e-10, weight_decay=0.01),
        "[eps inside of the root] the port adds 1e-10 inside of the root, the reference 1e-08 outside of it (all 6",
    ),
    "what moves without a gradient": (
        lambda parameters: torch.optim.Adam(parameters, eps=1e-3),
        optax.yogi(1e-3),
        "[optimizer] the port moves without a gradient, and not by a share of the values, the reference not (all 6",
    ),
}


@pytest.mark.parametrize("recipe", UNFITTED)
def test_what_no_simple_rule_explains_is_named_by_what_it_shares(recipe: str) -> None:
    ours, theirs, words = UNFITTED[recipe]
    (failure,) = said(ours, theirs)
    assert failure.startswith(words)


def test_relative_steps_pass() -> None:
    assert said(Lamb, optax.lamb(RATE)) == []


@pytest.mark.parametrize("steps", [2000, pytest.param(100_000, marks=pytest.mark.thorough)])
def test_a_long_warmup_from_zero_passes(steps: int) -> None:
    """Of int32 counts Optax's first rates have float32's rounding of the last rate."""
    warm = lambda step: min(step / steps, 1.0)  # noqa: E731
    by_torch = lambda parameters: with_schedule(adamw(parameters), warm)  # noqa: E731
    assert said(by_torch, optax.adamw(optax.linear_schedule(0.0, RATE, steps), weight_decay=0.01)) == []


def with_schedule(optimizer: Any, factor: Callable[[int], float]) -> Any:
    return optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def test_what_is_frozen_and_decays_is_said() -> None:
    pair = mapped("net").pair
    reference = torch.nn.Sequential(*pair.reference)
    for frozen in reference[0].parameters():
        frozen.requires_grad_(False)
    try:
        frozen = paritree.Pair(reference, pair.port, pair.inputs, reference_optimizer=adamw, port_optimizer=OPTAX)
        report = paritree.check(frozen, mapped("net").map, contracts=("recipe",), devices=("cpu",))
    finally:
        for each in reference[0].parameters():
            each.requires_grad_(True)
    (failure,) = report.failures
    assert failure.cause == "frozen parameters decay"
    assert "the port decays by 1e-05 of its value in a step what the reference leaves alone (2 of 6" in failure.message


def plateau(parameters: Any) -> Any:
    optimizer = adamw(parameters)
    return optimizer, torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)


BAD: dict[str, tuple[Any, Any, str]] = {
    "of another model": (
        lambda parameters: adamw(torch.nn.Linear(4, 8).parameters()),
        OPTAX,
        "reference: expected an optimizer over the model's parameters, found one of shape (8, 4) that is none of them",
    ),
    "of a part": (
        lambda model: adamw(model[0].parameters()),
        OPTAX,
        "found none of its groups has 1.weight, 1.bias, 3.weight, 3.bias. Give it these too, or freeze them by ",
    ),
    "a scheduler of another": (
        lambda parameters: (adamw(parameters), with_schedule(adamw(parameters), lambda step: 1.0)[1]),
        OPTAX,
        "reference: expected a scheduler of the optimizer that is given, found one of another. Make one optimizer, the",
    ),
    "a metric": (plateau, OPTAX, "found ReduceLROnPlateau, which needs a metric. Give whole step functions"),
    "a metric of Optax": (
        adamw,
        optax.chain(OPTAX, optax.contrib.reduce_on_plateau()),
        "port: expected an optimizer that makes a step of gradients and parameters alone, found TypeError",
    ),
    "a closure": (torch.optim.LBFGS, OPTAX, "reference: expected an optimizer that makes a step of gradients alone"),
    "an optimizer": (
        adamw([torch.nn.Parameter(torch.ones(2))]),
        OPTAX,
        "reference: expected a function of the model's parameters that makes an optimizer, found AdamW",
    ),
    "no optimizer": (lambda parameters: None, OPTAX, "expected a function that gives an optimizer, found NoneType"),
    "no transformation": (adamw, 1e-3, "port: expected an Optax transformation, found float"),
    "what raises": (lambda parameters: parameters.nothing, OPTAX, "found AttributeError: 'list' object has no"),
}


@pytest.mark.parametrize("wrong", BAD)
def test_what_is_no_optimizer_of_the_model_is_refused(wrong: str) -> None:
    by_torch, by_jax, words = BAD[wrong]
    with pytest.raises(PairError) as raised:
        mapped("net").checked(by_torch, by_jax)
    assert words in str(raised.value)


def test_without_an_optimizer_it_says_what_to_give() -> None:
    pair = replace(mapped("net").pair, port_optimizer=OPTAX)
    (only,) = paritree.check(pair, mapped("net").map, contracts=("recipe",), devices=("cpu",)).results
    assert (only.status, only.message) == (
        "skip",
        "the pair has no reference_optimizer: give both, and their steps are compared",
    )


def test_counts_that_cannot_be_set_on_are_said() -> None:
    averaged: Callable[[Any], Any] = lambda parameters: torch.optim.ASGD(parameters, RATE, 0.0, 0.0)  # noqa: E731
    report = mapped("net").checked(averaged, optax.sgd(RATE))
    assert not report.failures
    (skipped,) = (each for each in report.results if each.status == "skip")
    assert skipped.message == (
        "the schedule was seen in part alone, since counts cannot be set on: reference: 'eta' in that of ASGD"
    )


def test_moments_that_are_no_numbers_on_both_sides_are_alike_and_a_loss_that_makes_them_is_said() -> None:
    """Without an eps a zero gradient makes 0 / 0, in both."""
    none = lambda parameters: torch.optim.AdamW(parameters, lr=RATE, eps=0.0)  # noqa: E731
    report = mapped("net").checked(none, optax.adamw(RATE, eps=0.0, weight_decay=0.01))
    assert len([each for each in report.results if each.status == "pass"]) == 6
    (failure,) = report.failures
    assert failure.cause == "not finite"
    assert "after 3 steps of its own recipe it is not finite in the reference" in failure.message


LOSSES = {
    "the mean over the batch": "the port's gradients are 4 times the reference's in every parameter: one has the mean",
    "labels smoothed more, under AdamW": "labels are smoothed by 0.1 in the reference and by 0.2 in the port",
    "own labels smoothed": "labels are smoothed by 0.1 in the reference and by 0.2 in the port",
}


@pytest.mark.parametrize(
    "fault", [each for each in PLANTED_LOSSES if each.name in LOSSES], ids=lambda fault: fault.name
)
def test_another_loss_is_found_and_named(fault: PlantedLoss) -> None:
    (failure,) = fault.failures()
    assert failure.cause == fault.causes[0]
    assert failure.message.startswith(LOSSES[fault.name])


@pytest.mark.thorough
@pytest.mark.parametrize("fault", PLANTED_LOSSES, ids=lambda fault: fault.name)
def test_every_other_loss_is_found_and_named(fault: PlantedLoss) -> None:
    assert {each.cause for each in fault.failures()} & set(fault.causes)


@pytest.mark.parametrize(
    "clean", [CLEAN_LOSSES[0], *(pytest.param(c, marks=pytest.mark.thorough) for c in CLEAN_LOSSES[1:])]
)
def test_the_same_loss_passes(clean: PlantedLoss) -> None:
    report = clean.report()
    report.raise_for_failure()
    assert [each.message for each in report.results if each.message] == [
        "after 3 steps of its own recipe all parameters are alike"
    ]


def stepped(by_torch: Any, step: Any, by_jax: Any, port_step: Any) -> paritree.Report:
    found = mapped("language model")
    pair = found.trained(by_torch, by_jax, reference_step=step, port_step=port_step)
    return paritree.check(pair, found.map, contracts=("recipe",), devices=("cpu",))


def test_a_clipping_of_more_than_the_gradients_are_is_seen_from_larger_values() -> None:
    (failure,) = stepped(adamw, torch_step(Loss(clip=10.0)), OPTAX, jax_step(PLAIN, OPTAX)).failures
    assert failure.cause == "clipping"
    assert "alike, and from 8 times these not: the port's gradients are 2.689 times the reference's" in failure.message


def test_beside_a_variance_that_is_kept_otherwise_steps_are_compared_to_the_last() -> None:
    """Adam's first step is as long whatever is clipped, and what BatchNorm keeps differs between the frameworks."""

    def own(model: Any, optimizer: Any, batch: Any) -> None:
        optimizer.zero_grad()
        model(*batch).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    def theirs(model: Any, optimizer: Any, batch: Any) -> None:
        optimizer.update(model, nnx.grad(lambda model: (model(*batch) ** 2).mean())(model))

    found = mapped("block")
    rule = lambda model: nnx.Optimizer(model, OPTAX, wrt=nnx.Param)  # noqa: E731
    pair = found.trained(adamw, rule, reference_step=own, port_step=theirs)
    failures = paritree.check(pair, found.map, contracts=("recipe",), devices=("cpu",)).failures
    assert [each.cause for each in failures] == ["clipping"]


def test_a_clipping_is_told_from_a_mean() -> None:
    plain = Recipe("sgd", 0.1)
    (failure,) = stepped(
        by_torch(plain), torch_step(Loss(clip=1.0)), by_optax(plain), jax_step(PLAIN, by_optax(plain))
    ).failures
    assert failure.cause == "clipping"
    assert "the reference's are 1 long, as they are from 8 times these values" in failure.message


def test_what_one_side_clips_in_its_step_and_the_other_in_its_optimizer_passes() -> None:
    rule = optax.chain(optax.clip_by_global_norm(1.0), OPTAX)
    report = stepped(adamw, torch_step(Loss(clip=1.0)), rule, jax_step(PLAIN, rule))
    assert report.ok, str(report)
    (skipped,) = (each for each in report.results if each.status == "skip")
    clips = "the reference does not clip, the port clips the global norm of gradients at 1 (all 5"
    assert skipped.message.startswith(f"the optimizers alone are not alike: {clips}")
    assert skipped.message.endswith("Whole steps are, from larger values, too")


def test_parts_that_one_side_adds_up_in_its_step_and_the_other_in_its_optimizer_pass() -> None:
    rule = optax.MultiSteps(OPTAX, 2).gradient_transformation()
    report = stepped(adamw, torch_step(Loss(parts=2)), rule, jax_step_of_parts(rule, 2))
    assert {each.status for each in report.results} == {"pass"}, str(report)


def test_what_follows_of_another_optimizer_has_no_cause_of_its_own() -> None:
    rule = optax.adamw(RATE)
    report = stepped(adamw, torch_step(PLAIN), rule, jax_step(PLAIN, rule))
    assert [each.cause for each in report.failures] == ["weight decay"]
    assert any(
        each.message.endswith("what the optimizers do otherwise makes it so")
        for each in report.results
        if each.status == "skip"
    )


def test_a_step_of_more_gradients_than_are_given_at_first_is_seen() -> None:
    (failure,) = said(adamw, optax.MultiSteps(OPTAX, 16))
    assert failure.startswith(
        "[accumulation] the reference makes a step of each gradient, the port of every 16 gradients"
    )


_kept: dict[str, Any] = {}


def keeping(model: Any, batch: Any) -> None:
    """Makes its optimizer in the first call, for whichever model that is."""
    optimizer = _kept.setdefault("optimizer", torch.optim.SGD(model.parameters(), lr=0.1))
    torch_step(PLAIN)(model, optimizer, batch)


def growing(model: Any, batch: Any) -> None:
    model.more = torch.nn.Linear(2, 2)


def raising(model: Any, batch: Any) -> None:
    raise ValueError("no such batch")


def plain(model: Any, batch: Any) -> None:
    torch_step(PLAIN)(model, torch.optim.SGD(model.parameters(), lr=0.1), batch)


def port_plain(model: Any, batch: Any) -> Any:
    rule = optax.sgd(0.1)
    return jax_step(PLAIN, rule)(model, rule.init(model[1]["params"]), batch)[0]


STEPS: dict[str, tuple[Any, Any, str]] = {
    "what is kept": (
        keeping,
        port_plain,
        "reference_step: expected a step that does the same again from the same model",
    ),
    "structure": (
        growing,
        port_plain,
        "reference: expected a step that leaves the model's structure as it is, found more.weight with shape none "
        "before and (2, 2) after it, and 1 more",
    ),
    "what raises": (raising, port_plain, "reference: expected a step that runs, found ValueError: no such batch"),
    "no model": (plain, lambda model, batch: 1.0, "port: expected a step that gives the new model, found float"),
}


@pytest.mark.parametrize("wrong", STEPS)
def test_a_step_that_is_none_is_refused(wrong: str) -> None:
    ours, theirs, words = STEPS[wrong]
    found = mapped("language model")
    pair = replace(found.pair, reference_step=ours, port_step=theirs)
    with pytest.raises(PairError) as raised:
        paritree.check(pair, found.map, contracts=("recipe",), devices=("cpu",))
    assert words in str(raised.value)


def test_a_step_of_one_side_alone_is_not_compared() -> None:
    found = mapped("language model")
    pair = replace(found.pair, reference_step=plain)
    (only,) = paritree.check(pair, found.map, contracts=("recipe",), devices=("cpu",)).results
    assert only.message == "the pair has reference_step and no port_step: give both, and their steps are compared"


def test_steps_that_are_no_numbers_are_said() -> None:
    def broken(model: Any, batch: Any) -> None:
        for parameter in model.parameters():
            parameter.data *= float("nan")

    found = mapped("language model")
    pair = replace(found.pair, reference_step=broken, port_step=port_plain)
    failures = paritree.check(pair, found.map, contracts=("recipe",), devices=("cpu",)).failures
    assert {each.cause for each in failures} == {"not finite"}
    assert "it is not finite in the reference" in failures[0].message


class Unused(torch.nn.Module):
    """Has a layer that no output depends on."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.used, self.unused = torch.nn.Linear(4, 3), torch.nn.Linear(3, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.used(x)


class UnusedPort(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.used, self.unused = nnx.Linear(4, 3, rngs=rngs), nnx.Linear(3, 3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.used(x)


def test_what_has_no_gradient_and_decays_on_one_side_is_said() -> None:
    inputs = (np.random.default_rng(0).normal(size=(2, 4)).astype(np.float32),)
    pair = paritree.Pair(Unused(), UnusedPort(), inputs, reference_optimizer=adamw, port_optimizer=OPTAX)
    (failure,) = paritree.check(pair, contracts=("recipe",), devices=("cpu",)).failures
    assert (failure.cause, failure.path) == ("frozen parameters decay", "unused.weight")
    assert failure.message.endswith(
        "it is decayed without a gradient, and PyTorch's optimizers leave alone what has none: mask it, or freeze it; "
        "as do unused.bias"
    )


def test_a_step_that_compiles_itself_is_compiled_once_for_all_runs() -> None:
    traced, called = [], []

    @nnx.jit
    def moved(model: nnx.Module, optimizer: nnx.Optimizer, x: jax.Array) -> None:
        traced.append(x.dtype)
        optimizer.update(model, nnx.grad(lambda model: (model(x) ** 2).mean())(model))

    def own(model: Any, optimizer: Any, batch: Any) -> None:
        optimizer.zero_grad()
        (model(batch[0]) ** 2).mean().backward()
        optimizer.step()

    found = mapped("net")
    steps = {
        "reference_step": own,
        "port_step": lambda model, optimizer, batch: called.append(moved(model, optimizer, batch[0])),
    }
    rule = optax.sgd(0.1)
    optimizer = lambda model: nnx.Optimizer(model, rule, wrt=nnx.Param)  # noqa: E731
    pair = found.trained(lambda parameters: torch.optim.SGD(parameters, lr=0.1), optimizer, **steps)
    paritree.check(pair, found.map, contracts=("recipe",), devices=("cpu",)).raise_for_failure()
    assert (len(called), len(traced)) == (9, 1)  # three runs of three steps


def scheduled_to(steps: int | None, by_torch: Any, schedule: Any) -> list[str]:
    found = mapped("net")
    made = lambda parameters: (optimizer := adamw(parameters), by_torch(optimizer))  # noqa: E731
    pair = found.trained(made, optax.adamw(schedule, weight_decay=0.01), training_steps=steps)
    report = paritree.check(pair, found.map, contracts=("recipe",), devices=("cpu",))
    return [f"[{each.cause}] {each.message}" for each in report.failures]


def test_what_a_schedule_does_after_a_training_is_not_compared() -> None:
    cosine = lambda optimizer: torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 200)  # noqa: E731
    assert scheduled_to(200, cosine, optax.cosine_decay_schedule(RATE, 200)) == []
    (failure,) = scheduled_to(None, cosine, optax.cosine_decay_schedule(RATE, 200))
    assert failure.startswith(
        "[schedule] at step 202 the reference's rate is 6.168e-08 and the port's 0; if a training"
    )
    assert "; if a training ends before, say so: Pair(..., training_steps=) (all 6 parameters; at the sched" in failure


def test_what_a_schedule_does_before_the_end_of_a_training_is_compared() -> None:
    drop = lambda optimizer: torch.optim.lr_scheduler.MultiStepLR(optimizer, [150])  # noqa: E731
    assert scheduled_to(150, drop, RATE) == []
    (failure,) = scheduled_to(151, drop, RATE)
    assert failure.startswith("[schedule] at step 151 the reference's rate is 0.0001 and the port's 0.001 (all 6")


@pytest.mark.parametrize("steps", [0, True, 2.5])
def test_what_is_no_length_of_a_training_is_refused(steps: Any) -> None:
    with pytest.raises(PairError) as raised:
        replace(mapped("net").pair, training_steps=steps)
    text = f"training_steps: expected how many steps a training has, 1 or more, found {steps!r}. Leave it out"
    assert text in str(raised.value)
