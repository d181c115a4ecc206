"""An optimizer's state carried: training goes on as if it had never changed frameworks; and all that is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx, serialization
from flax.training.train_state import TrainState

from paritree import Map, NotExpressibleError, UsageError, WeightsError

from .trained import PAIRS, FlaxResidual, Trained, row

STEPS = 3
# In float64; optax's count of Adafactor and PyTorch's steps are float32.
ALLOWED = 1e-7


@dataclass(frozen=True)
class Recipe:
    """An optimizer in both frameworks."""

    torch: Callable[[Any], torch.optim.Optimizer]
    optax: Callable[[], Any]
    pairs: tuple[str, ...] = ("gpt2", "resnet", "language")


RECIPES: dict[str, Recipe] = {
    "sgd": Recipe(lambda p: torch.optim.SGD(p, lr=0.1), lambda: optax.sgd(0.1)),
    "momentum": Recipe(lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), lambda: optax.sgd(0.1, momentum=0.9)),
    "nesterov with decay": Recipe(
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda: optax.chain(optax.add_decayed_weights(0.01), optax.sgd(0.1, momentum=0.9, nesterov=True)),
    ),
    "adam": Recipe(lambda p: torch.optim.Adam(p, lr=0.01), lambda: optax.adam(0.01)),
    "adamw": Recipe(
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1), lambda: optax.adamw(0.01, weight_decay=0.1)
    ),
    "clipped adamw": Recipe(
        lambda p: torch.optim.AdamW(p, lr=0.01),
        lambda: optax.chain(optax.clip_by_global_norm(1e9), optax.adamw(0.01, weight_decay=0.01)),
    ),
    "injected": Recipe(
        lambda p: torch.optim.AdamW(p, lr=0.01), lambda: optax.inject_hyperparams(optax.adamw)(0.01, weight_decay=0.01)
    ),
    "accumulating": Recipe(lambda p: torch.optim.Adam(p, lr=0.01), lambda: optax.MultiSteps(optax.adam(0.01), 1)),
    "adamax": Recipe(lambda p: torch.optim.Adamax(p, lr=0.01), lambda: optax.adamax(0.01)),
    "radam": Recipe(
        lambda p: torch.optim.RAdam(p, lr=0.01, eps=1e-14),
        lambda: optax.radam(0.01, eps=1e-14),
    ),
    "rmsprop": Recipe(
        lambda p: torch.optim.RMSprop(p, lr=0.01), lambda: optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False)
    ),
    "centered rmsprop with momentum": Recipe(
        lambda p: torch.optim.RMSprop(p, lr=0.01, centered=True, momentum=0.9),
        lambda: optax.rmsprop(0.01, decay=0.99, eps_in_sqrt=False, centered=True, momentum=0.9),
    ),
    "rmsprop with momentum before the rate": Recipe(
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.9),
        lambda: optax.chain(
            optax.scale_by_rms(0.99, eps_in_sqrt=False), optax.trace(0.9), optax.scale_by_learning_rate(0.01)
        ),
    ),
    "adagrad": Recipe(
        lambda p: torch.optim.Adagrad(p, lr=0.05, initial_accumulator_value=0.1, eps=0.0),
        lambda: optax.adagrad(0.05, eps=0.0),
    ),
    "adagrad with a decay of the rate": Recipe(
        lambda p: torch.optim.Adagrad(p, lr=0.05, lr_decay=0.1, initial_accumulator_value=0.1, eps=0.0),
        lambda: optax.adagrad(lambda count: 0.05 / (1 + 0.1 * count), eps=0.0),
    ),
    "adadelta": Recipe(lambda p: torch.optim.Adadelta(p, lr=1.0), lambda: optax.adadelta(1.0)),
    "adafactor": Recipe(
        lambda p: torch.optim.Adafactor(p, lr=0.01, eps=(1e-15, 1e-3)),
        lambda: optax.adafactor(0.01, min_dim_size_to_factor=1),
        ("gpt2 in lists", "narrow resnet", "language"),
    ),
}
# Each recipe with one of the pairs, in turn; the others behind the marker.
EACH = [
    pytest.param(recipe, pair, marks=[] if n == number % len(each.pairs) else pytest.mark.thorough)
    for number, (recipe, each) in enumerate(RECIPES.items())
    for n, pair in enumerate(each.pairs)
]


def weights(model: torch.nn.Module) -> dict[str, np.ndarray]:
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def apart(pair: Trained, one: Any, other: Any, first: Any) -> float:
    """How far two sets of the port's parameters are apart, as a share of how far they have moved."""
    leaves = zip(*(map(np.asarray, pair.seen(each)) for each in (one, other, first)), strict=True)
    found = [(np.abs(a - b).max(), np.abs(a - c).max()) for a, b, c in leaves]
    return max(a for a, _ in found) / max(b for _, b in found)


@pytest.fixture(autouse=True)
def wide() -> Any:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize(("recipe", "name"), EACH)
def test_what_torch_began_jax_goes_on_with(recipe: str, name: str) -> None:
    pair, made = PAIRS[name], RECIPES[recipe]
    model = pair.made()
    first = pair.params(weights(model))
    optimizer = made.torch(model.parameters())
    for _ in range(STEPS):
        pair.step(model, optimizer)
    begun = pair.params(weights(model))
    rule = made.optax()
    step = None if optimizer.state_dict()["state"].get(0, {}).get("step") is not None else STEPS

    state = pair.map.carry_optimizer(optimizer, rule.init(begun), reference_model=model, step=step)

    ended, _ = pair.train(begun, rule, state, STEPS)
    for _ in range(STEPS):
        pair.step(model, optimizer)
    assert apart(pair, pair.params(weights(model)), ended, first) < ALLOWED


def begun_in_jax(pair: Trained, rule: Any) -> tuple[torch.nn.Module, Any, Any, Any, Map]:
    """PyTorch's model after some steps of JAX's; the parameters before and after them, the state, the way back."""
    model = pair.made()
    first = pair.params(weights(model))
    begun, state = pair.train(first, rule, rule.init(first), STEPS)
    back = pair.map.inverse()
    model.load_state_dict({n: torch.tensor(a) for n, a in back.carry(begun).items()}, strict=False)
    return model, first, begun, state, back


@pytest.mark.parametrize(("recipe", "name"), EACH)
def test_what_jax_began_torch_goes_on_with(recipe: str, name: str) -> None:
    pair, made = PAIRS[name], RECIPES[recipe]
    rule = made.optax()
    model, first, begun, state, back = begun_in_jax(pair, rule)

    optimizer = back.carry_optimizer(state, made.torch(model.parameters()), port_model=model, step=STEPS)

    for _ in range(STEPS):
        pair.step(model, optimizer)
    ended, _ = pair.train(begun, rule, state, STEPS)
    assert apart(pair, pair.params(weights(model)), ended, first) < ALLOWED


LANGUAGE = PAIRS["language"]


def begun(make: Callable[[Any], torch.optim.Optimizer], pair: Trained = LANGUAGE) -> tuple[Any, Any, Any]:
    """A model after some steps, its optimizer, and the port's parameters."""
    model = pair.made()
    optimizer = make(model)
    for _ in range(STEPS):
        pair.step(model, optimizer)
    return model, optimizer, pair.params(weights(model))


def adamw(model: torch.nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=0.01)


def grouped(model: torch.nn.Module) -> torch.optim.Optimizer:
    """Matrices and vectors with settings of their own."""
    named = list(model.named_parameters())
    matrices = {"params": [(n, p) for n, p in named if p.ndim > 1], "weight_decay": 0.1}
    vectors = {"params": [(n, p) for n, p in named if p.ndim < 2], "weight_decay": 0.0, "lr": 0.02}
    return torch.optim.AdamW([matrices, vectors], lr=0.01)


def partitioned(params: Any) -> Any:
    labels = jax.tree.map(lambda each: "matrix" if each.ndim > 1 else "vector", params)
    inner = {
        "matrix": optax.inject_hyperparams(optax.adamw)(0.5, weight_decay=0.1),
        "vector": optax.inject_hyperparams(optax.adam)(0.5),
    }
    return optax.partition(inner, labels)


def test_groups_become_a_partition_with_their_rates_and_back() -> None:
    model, optimizer, params = begun(grouped)
    rule = partitioned(params)

    state = LANGUAGE.map.carry_optimizer(optimizer.state_dict(), rule.init(params))

    rates = {name: each.inner_state.hyperparams["learning_rate"] for name, each in state.inner_states.items()}
    assert {name: float(rate) for name, rate in rates.items()} == {"matrix": 0.01, "vector": 0.02}
    ended, after = LANGUAGE.train(params, rule, state, STEPS)
    other = grouped(model)
    for group in other.param_groups:
        group |= {"lr": 0.3, "weight_decay": 0.5, "betas": (0.5, 0.999)}
    back = LANGUAGE.map.inverse().carry_optimizer(after, other, port_model=model)
    assert [group["lr"] for group in back.param_groups] == [0.01, 0.02]
    assert [group["betas"] for group in back.param_groups] == [(0.9, 0.999)] * 2
    # optax.adam has no decay, and so none to tell.
    assert [group["weight_decay"] for group in back.param_groups] == [0.1, 0.5]
    for _ in range(STEPS):
        LANGUAGE.step(model, optimizer)
    assert apart(LANGUAGE, LANGUAGE.params(weights(model)), ended, params) < ALLOWED
    for one, other in zip(optimizer.state_dict()["state"].values(), back.state_dict()["state"].values(), strict=True):
        assert one["step"] == other["step"] == 2 * STEPS
        torch.testing.assert_close(one["exp_avg_sq"], other["exp_avg_sq"])


def test_a_setting_of_a_part_of_a_group_is_refused() -> None:
    model, optimizer, params = begun(grouped)
    state = LANGUAGE.map.carry_optimizer(optimizer, partitioned(params).init(params))
    text = f"{STATE_OF} weight_decay=0.1 for some of a group's parameters, and none for 2 of 4. Make a group of each"
    state.inner_states["vector"].inner_state.hyperparams["learning_rate"] = jnp.asarray(0.01)
    refused(NotExpressibleError, text, state, adamw(model), map=LANGUAGE.map.inverse(), port_model=model)


def test_settings_that_are_injected_are_those_of_the_group() -> None:
    rule = optax.inject_hyperparams(optax.adamw)(0.5)
    model, optimizer, params = begun(lambda each: torch.optim.AdamW(each.parameters(), lr=0.01, betas=(0.8, 0.95)))

    state = LANGUAGE.map.carry_optimizer(optimizer, rule.init(params), reference_model=model)

    found = {name: float(value) for name, value in state.hyperparams.items()}
    assert found == {"learning_rate": 0.01, "b1": 0.8, "b2": 0.95, "eps": 1e-8, "eps_root": 0.0, "weight_decay": 0.01}
    ended, _ = LANGUAGE.train(params, rule, state, STEPS)
    for _ in range(STEPS):
        LANGUAGE.step(model, optimizer)
    assert apart(LANGUAGE, LANGUAGE.params(weights(model)), ended, params) < ALLOWED


def test_the_rate_of_an_optimizer_that_keeps_nothing_goes_both_ways() -> None:
    rule = optax.inject_hyperparams(optax.sgd)(0.5)
    model, optimizer, params = begun(lambda each: torch.optim.SGD(each.named_parameters(), lr=0.1))
    state = LANGUAGE.map.carry_optimizer(optimizer, rule.init(params), step=STEPS)
    assert (float(state.hyperparams["learning_rate"]), int(state.count)) == (0.1, STEPS)
    back = LANGUAGE.map.inverse().carry_optimizer(state, torch.optim.SGD(model.named_parameters(), lr=0.7))
    assert back.param_groups[0]["lr"] == 0.1


def test_settings_in_float32_stay_what_they_were() -> None:
    model, optimizer, params = begun(adamw)
    narrow = jax.tree.map(lambda each: np.asarray(each, np.float32), params)
    with jax.enable_x64(False):
        state = optax.inject_hyperparams(optax.adamw)(0.01, weight_decay=0.01).init(narrow)
        carried = LANGUAGE.map.carry_optimizer(optimizer, state, reference_model=model)
    back = LANGUAGE.map.inverse().carry_optimizer(carried, adamw(model), port_model=model)
    assert back.param_groups[0]["lr"] == 0.01
    assert back.param_groups[0]["betas"] == (0.9, 0.999)


def test_a_state_dict_of_torch_distributed_has_its_names() -> None:
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    model, optimizer, params = begun(adamw)
    like = optax.adamw(0.01).init(params)
    named = get_optimizer_state_dict(model, optimizer)

    state = LANGUAGE.map.carry_optimizer(named, like)

    expected = LANGUAGE.map.carry_optimizer(optimizer, like, reference_model=model)
    jax.tree.map(np.testing.assert_array_equal, state, expected)
    back = LANGUAGE.map.inverse().carry_optimizer(state, named)
    torch.testing.assert_close(back["state"], named["state"], rtol=0, atol=0)


@pytest.mark.parametrize("before", ["module.", "_orig_mod.module.", "trainer.model."])
def test_the_name_of_a_wrapper_is_none_of_the_parameters(before: str) -> None:
    model, optimizer, params = begun(adamw)
    like = optax.adamw(0.01).init(params)
    expected = LANGUAGE.map.carry_optimizer(optimizer, like, reference_model=model)
    wrapped = [before + name.replace("hidden.", "hidden._orig_mod.") for name, _ in model.named_parameters()]
    found = LANGUAGE.map.carry_optimizer(optimizer, like, reference_model=wrapped)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_names_that_the_map_does_not_know_are_told_as_they_are() -> None:
    _, optimizer, params = begun(adamw)
    for names in (["a.b.c", "a.b.d", "a.e", "a.f"], ["a", "b", "c", "d"]):
        text = f"4 that do not fit: {names[0]} is in no row of the map; {names[1]} is"
        refused(WeightsError, text, optimizer, optax.adamw(0.01).init(params), reference_model=names)


def test_an_optimizer_of_nnx_is_written_to_in_place() -> None:
    pair = PAIRS["resnet"]
    model, optimizer, _ = begun(adamw, pair)
    port = nnx.Optimizer(FlaxResidual(nnx.Rngs(0)), optax.adamw(0.01), wrt=nnx.Param)

    assert pair.map.carry_optimizer(optimizer, port, reference_model=model) is port

    assert port.step.get_value() == STEPS
    moment = port.opt_state[0].nu["conv1"]["kernel"].get_value()
    expected = optimizer.state[model.conv1.weight]["exp_avg_sq"].numpy().transpose(2, 3, 1, 0)
    np.testing.assert_array_equal(np.asarray(moment), expected)
    fresh = adamw(model)
    assert pair.map.inverse().carry_optimizer(port, fresh, port_model=model) is fresh
    torch.testing.assert_close(fresh.state_dict()["state"], optimizer.state_dict()["state"], rtol=0, atol=0)


def test_a_train_state_is_a_new_one_and_an_abstract_state_is_filled() -> None:
    model, optimizer, params = begun(adamw)
    rule = optax.adamw(optax.linear_schedule(0.1, 0.0, 9))
    before = TrainState.create(apply_fn=None, params=params["params"], tx=rule)

    after = LANGUAGE.map.carry_optimizer(optimizer, before, reference_model=model)

    assert (after.step, before.step) == (STEPS, 0)
    assert [int(part.count) for part in after.opt_state if "count" in getattr(part, "_fields", ())] == [STEPS, STEPS]
    abstract = jax.eval_shape(rule.init, params)
    filled = LANGUAGE.map.carry_optimizer(optimizer, abstract, reference_model=model)
    jax.tree.map(np.testing.assert_array_equal, filled[0].mu["params"], after.opt_state[0].mu)


def test_a_schedule_goes_on_in_step() -> None:
    pair, rate = LANGUAGE, 0.02
    schedule = optax.linear_schedule(rate, 0.0, 8)
    for rule in (optax.sgd(schedule, momentum=0.9), optax.inject_hyperparams(optax.sgd)(schedule, momentum=0.9)):
        model = pair.made()
        optimizer = torch.optim.SGD(model.named_parameters(), lr=rate, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-9, 8)
        for _ in range(STEPS):
            pair.step(model, optimizer)
            scheduler.step()
        params = pair.params(weights(model))
        state = pair.map.carry_optimizer(optimizer, rule.init(params), step=STEPS)
        ended, _ = pair.train(params, rule, state, STEPS)
        for _ in range(STEPS):
            pair.step(model, optimizer)
            scheduler.step()
        assert apart(pair, pair.params(weights(model)), ended, params) < ALLOWED


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
def test_a_scheduler_of_torch_is_stepped_as_often_as_there_were_updates() -> None:
    pair, rate = LANGUAGE, 0.02
    rule = optax.adam(optax.linear_schedule(rate, 0.0, 8))
    model, first, begun, state, back = begun_in_jax(pair, rule)
    optimizer = torch.optim.Adam(model.named_parameters(), lr=rate)
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-9, 8)
    for _ in range(STEPS):
        scheduler.step()
    back.carry_optimizer(state, optimizer)
    for _ in range(STEPS):
        pair.step(model, optimizer)
        scheduler.step()
    ended, _ = pair.train(begun, rule, state, STEPS)
    assert apart(pair, pair.params(weights(model)), ended, first) < ALLOWED


@pytest.mark.filterwarnings("ignore:Detected call of:UserWarning")
@pytest.mark.parametrize("is_carried_first", [True, False])
def test_an_injected_rate_with_a_schedule_is_the_scheduler_s_own(is_carried_first: bool) -> None:
    pair, rate = LANGUAGE, 0.02
    rule = optax.inject_hyperparams(optax.adamw)(optax.linear_schedule(rate, 0.0, 8), weight_decay=0.05)
    model, first, begun, state, back = begun_in_jax(pair, rule)
    optimizer = torch.optim.AdamW(model.named_parameters(), lr=rate)
    if is_carried_first:
        back.carry_optimizer(state, optimizer)
        assert optimizer.param_groups[0]["lr"] == rate
    scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 1e-9, 8)
    for _ in range(STEPS):
        scheduler.step()
    if not is_carried_first:
        back.carry_optimizer(state, optimizer)
    assert optimizer.param_groups[0]["weight_decay"] == 0.05
    for _ in range(STEPS):
        pair.step(model, optimizer)
        scheduler.step()
    ended, _ = pair.train(begun, rule, state, STEPS)
    assert apart(pair, pair.params(weights(model)), ended, first) < ALLOWED


def test_nothing_of_the_state_that_is_written_to_waits_or_is_abstract() -> None:
    model, optimizer, params = begun(adamw)
    rule = optax.MultiSteps(optax.adamw(0.01), 4)
    _, waiting = rule.update(params, rule.init(params), params)
    for like in (waiting, jax.eval_shape(rule.init, params)):
        found = LANGUAGE.map.carry_optimizer(optimizer, like, reference_model=model)
        assert (int(found.mini_step), int(found.gradient_step)) == (0, STEPS)
        assert all(np.all(np.asarray(each) == 0) for each in jax.tree.leaves(found.acc_grads))
    injected = jax.eval_shape(optax.inject_hyperparams(optax.adamw)(0.01).init, params)
    text = "hyperparams.eps_root: expected a live state for the optimizer that is to go on, found an abstract one. Of"
    refused(UsageError, text, optimizer, injected, reference_model=model)


def test_a_moment_that_its_place_cannot_hold_is_refused() -> None:
    made = Map((row("a", "a", (3,), (3,), "a -> a"),), ("torch", "pytree"))

    def kept(gradient: float, dtype: Any) -> Any:
        parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
        optimizer = torch.optim.Adam([("a", parameter)])
        parameter.grad = torch.full((3,), gradient, dtype=torch.float64)
        optimizer.step()
        return optimizer, optax.adam(0.1).init({"a": jnp.ones(3, dtype)})

    refused(WeightsError, "the mu of a, of up to 1e+06, is too large for float16", *kept(1e7, jnp.float16), map=made)
    refused(WeightsError, "the nu of a, of up to 1e-11, is too small for float16", *kept(1e-4, jnp.float16), map=made)
    assert made.carry_optimizer(*kept(1e-4, jnp.bfloat16))[0].nu["a"].dtype == jnp.bfloat16
    # A gradient that is rounding alone: float32 has no such squares.
    assert not made.carry_optimizer(*kept(1e-30, jnp.float32))[0].nu["a"].any()
    wide = made.carry_optimizer(*kept(1e7, jnp.float64))
    narrow = torch.optim.Adam([("a", torch.nn.Parameter(torch.ones(3, dtype=torch.float16)))])
    refused(WeightsError, "the mu of a, of up to 1e+06, is too large for float16", wide, narrow, map=made.inverse())
    assert not narrow.state


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam, torch.optim.Adafactor])
def test_what_one_side_alone_has_and_no_gradient_has_reached_stays_as_it_is(make: Any) -> None:
    own = row("a", "a", (3, 2), (3, 2), "a b -> a b")
    made = Map((own,), ("torch", "pytree"), unmatched_reference=("unused",), unmatched_port=("pool",))
    parameters = {name: torch.nn.Parameter(torch.ones(3, 2, dtype=torch.float64)) for name in ("a", "unused")}
    optimizer = make(parameters.items(), lr=0.1)
    parameters["a"].grad = torch.ones(3, 2, dtype=torch.float64)
    optimizer.step()
    kinds = {
        "SGD": optax.sgd(0.1),
        "Adam": optax.adam(0.1),
        "Adafactor": optax.adafactor(0.1, min_dim_size_to_factor=1),
    }
    like = kinds[make.__name__].init({"a": jnp.ones((3, 2)), "pool": jnp.ones((4, 4))})
    state = made.carry_optimizer(optimizer, like)
    fresh = made.inverse().carry_optimizer(state, make(parameters.items(), lr=0.1))
    assert all(parameter is parameters["a"] for parameter in fresh.state)
    if make is torch.optim.Adam:
        assert not state[0].nu["pool"].any()
        moved = (state[0]._replace(mu={**state[0].mu, "pool": jnp.ones((4, 4))}), *state[1:])
        text = "found 1 that does not fit: pool is in no row of the map."
        refused(WeightsError, text, moved, optimizer, map=made.inverse())


def test_moments_in_bfloat16_go_there_and_back() -> None:
    made = Map((row("a", "a", (3, 2), (2, 3), "o i -> i o"),), ("torch", "pytree"))
    parameter = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.bfloat16))
    optimizer = torch.optim.Adam([("a", parameter)])
    parameter.grad = torch.arange(1, 7, dtype=torch.bfloat16).reshape(3, 2)
    optimizer.step()
    state = made.carry_optimizer(optimizer, optax.adam(0.1).init({"a": jnp.ones((2, 3), jnp.bfloat16)}))
    assert state[0].mu["a"].dtype == state[0].nu["a"].dtype == jnp.bfloat16
    for like in (torch.optim.Adam([("a", parameter)]), optimizer.state_dict()):
        back = made.inverse().carry_optimizer(state, like)
        found = (back if isinstance(back, dict) else back.state_dict())["state"]
        torch.testing.assert_close(found, optimizer.state_dict()["state"], rtol=0, atol=0)


def test_moments_of_sparse_gradients_are_carried_whole() -> None:
    made = Map((row("weight", "a", (4, 2), (4, 2), "a b -> a b"),), ("torch", "pytree"))
    embedding = torch.nn.Embedding(4, 2, sparse=True)
    optimizer = torch.optim.SGD(embedding.named_parameters(), lr=0.1, momentum=0.9)
    embedding(torch.tensor([1, 1])).sum().backward()
    optimizer.step()
    found = made.carry_optimizer(optimizer, optax.sgd(0.1, momentum=0.9).init({"a": jnp.ones((4, 2))}))
    np.testing.assert_array_equal(found[0].trace["a"], [[0, 0], [2, 2], [0, 0], [0, 0]])


def test_a_checkpoint_that_gets_a_state_becomes_a_state_dict() -> None:
    model, optimizer, params = begun(adamw)
    state = LANGUAGE.map.carry_optimizer(optimizer, optax.adamw(0.01).init(params), reference_model=model)
    whole = {"model": model.state_dict(), "optimizer": adamw(model).state_dict()}
    back = LANGUAGE.map.inverse().carry_optimizer(state, whole, port_model=model)
    assert set(back) == {"state", "param_groups"}


@pytest.mark.parametrize("negated", [True, False])
def test_a_value_of_the_other_sign_has_first_moments_of_the_other_sign(negated: bool) -> None:
    made = Map((row("a", "a", (3,), (3,), "a -> a", transform="x * -1" if negated else ""),), ("torch", "pytree"))
    parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    optimizer = torch.optim.Adam([("a", parameter)])
    parameter.grad = torch.tensor([1.0, 2.0, -3.0], dtype=torch.float64)
    optimizer.step()

    found = made.carry_optimizer(optimizer, optax.adam(0.1).init({"a": jnp.ones(3)}))[0]

    sign = -1 if negated else 1
    np.testing.assert_array_equal(found.mu["a"], sign * optimizer.state[parameter]["exp_avg"].numpy())
    np.testing.assert_array_equal(found.nu["a"], optimizer.state[parameter]["exp_avg_sq"].numpy())


def refused(error: type[Exception], text: str, *arguments: Any, map: Map = LANGUAGE.map, **more: Any) -> None:
    with pytest.raises(error) as caught:
        map.carry_optimizer(*arguments, **more)
    assert text in str(caught.value)


STATE_OF = "expected an optimizer's state that the other framework has, too, found"


@pytest.mark.parametrize(
    ("make", "rule", "text"),
    [
        (
            lambda p: torch.optim.Adam(p, amsgrad=True),
            optax.amsgrad(0.1),
            f"encoder.weight: {STATE_OF} AMSGrad. PyTorch takes the maximum before the bias correction and optax after",
        ),
        (torch.optim.Adam, optax.amsgrad(0.1), f"0: {STATE_OF} AMSGrad. PyTorch takes the maximum before"),
        (torch.optim.NAdam, optax.nadam(0.1), "NAdam. optax.nadam does not decay its momentum as PyTorch's does."),
        (torch.optim.Rprop, optax.rprop(0.1), "Rprop. optax.rprop takes each step one update later."),
        (torch.optim.ASGD, optax.sgd(0.1), "found ASGD. See `paritree optimizers`."),
        (
            lambda p: torch.optim.SGD(p, momentum=0.9, dampening=0.5),
            optax.sgd(0.1, momentum=0.9),
            "SGD with dampening=0.5. optax's trace has no dampening",
        ),
        (torch.optim.Adam, optax.lion(0.1), f"0: {STATE_OF} ScaleByLionState. PyTorch keeps nothing like it."),
        (torch.optim.Adam, optax.adabelief(0.1), f"0: {STATE_OF} ScaleByBeliefState. PyTorch keeps nothing like it."),
        (torch.optim.RMSprop, optax.sm3(0.1), f"0: {STATE_OF} ScaleBySM3State."),
        (
            torch.optim.RMSprop,
            optax.rmsprop(0.1, bias_correction=True),
            "RMSprop with a bias correction. PyTorch's RMSprop has none.",
        ),
        (
            lambda p: torch.optim.RMSprop(p, momentum=0.9),
            optax.rmsprop(optax.linear_schedule(0.1, 0.0, 9), momentum=0.9),
            "a trace of updates whose learning rate has a schedule. PyTorch's momentum is of the rates of now;",
        ),
        (
            lambda p: torch.optim.RMSprop(p, momentum=0.9),
            optax.inject_hyperparams(optax.rmsprop)(optax.linear_schedule(0.1, 0.0, 9), momentum=0.9),
            "a trace of updates whose learning rate has a schedule.",
        ),
        (
            lambda p: torch.optim.SGD(p, momentum=0.9),
            optax.chain(optax.scale_by_learning_rate(0.1), optax.trace(0.9)),
            f"1: {STATE_OF} a trace of which it is not clear",
        ),
        (
            torch.optim.Adafactor,
            optax.adafactor(0.1),
            "factored moments, of which optax keeps the whole. Make optax's with min_dim_size_to_factor=1",
        ),
    ],
)
def test_what_the_other_framework_has_not_is_refused_with_the_reason(make: Any, rule: Any, text: str) -> None:
    _, optimizer, params = begun(lambda model: make(model.named_parameters()))
    refused(NotExpressibleError, text, optimizer, rule.init(params))


@pytest.mark.parametrize(
    ("make", "rule", "found", "wanted"),
    [
        (
            lambda p: torch.optim.SGD(p, momentum=0.9),
            optax.adam(0.1),
            "SGD with momentum",
            "Adam, AdamW, Adamax or RAdam",
        ),
        (torch.optim.SGD, optax.adam(0.1), "SGD without momentum", "Adam, AdamW, Adamax or RAdam"),
        (torch.optim.Adam, optax.sgd(0.1, momentum=0.9), "Adam, AdamW, Adamax or RAdam", "SGD with momentum"),
        (torch.optim.RMSprop, optax.rmsprop(0.1, centered=True), "RMSprop", "RMSprop, centered"),
        (torch.optim.Adadelta, optax.adagrad(0.1), "Adadelta", "Adagrad"),
    ],
)
def test_the_state_of_another_optimizer_is_refused(make: Any, rule: Any, found: str, wanted: str) -> None:
    _, optimizer, params = begun(lambda model: make(model.named_parameters()))
    text = f"expected the state of {wanted}, as the optimizer keeps it, found that of {found}. Nothing was carried."
    refused(WeightsError, text, optimizer, rule.init(params), step=STEPS)


def test_the_state_of_another_optimizer_is_refused_on_the_way_back() -> None:
    model, optimizer, params = begun(adamw)
    state = LANGUAGE.map.carry_optimizer(optimizer, optax.adamw(0.1).init(params), reference_model=model)
    text = "expected the state of SGD, as the optimizer keeps it, found that of Adam, AdamW, Adamax or RAdam."
    other = torch.optim.SGD(model.parameters(), momentum=0.9)
    refused(WeightsError, text, state, other, map=LANGUAGE.map.inverse(), port_model=model)
    assert not other.state


def test_a_checkpoint_with_faults_is_refused_with_all_of_them() -> None:
    model, optimizer, params = begun(adamw)
    like = optax.adamw(0.1).init(params)

    def broken(**entries: Any) -> dict[str, Any]:
        content = optimizer.state_dict()
        content["state"] = {n: {**each, **(entries if n == 0 else {})} for n, each in content["state"].items()}
        return content

    bad = torch.full((11, 8), float("nan"))
    text = "the mu of encoder.weight is not finite; the nu of encoder.weight is not finite. Nothing was carried."
    refused(WeightsError, text, broken(exp_avg=bad, exp_avg_sq=bad), like, reference_model=model)
    text = "encoder.weight has a mu of shape (2, 8) and needs (11, 8)"
    refused(WeightsError, text, broken(exp_avg=torch.zeros(2, 8)), like, reference_model=model)
    text = "the nu of encoder.weight has negative entries"
    refused(WeightsError, text, broken(exp_avg_sq=-torch.ones(11, 8)), like, reference_model=model)
    refused(NotExpressibleError, "counts of updates of 3 and 9", broken(step=9), like, reference_model=model)
    refused(NotExpressibleError, "'kalman' in the state of Adam", broken(kalman=bad), like, reference_model=model)
    missing = optimizer.state_dict()
    del missing["state"][1]
    text = "params.hidden.kernel has no state. PyTorch keeps nothing for a parameter that has had no gradient: keep"
    refused(WeightsError, text, missing, like, reference_model=model)


def test_an_optimizer_of_another_model_or_of_a_part_of_it_is_refused() -> None:
    model, optimizer, params = begun(adamw)
    like = optax.adamw(0.1).init(params)
    refused(UsageError, "an optimizer that knows its parameters' names, found one that does not", optimizer, like)
    text = "expected an optimizer over the model's own parameters, found 4 that are not: of shape (11, 8), (8, 8)"
    refused(UsageError, text, optimizer, like, reference_model=LANGUAGE.made())
    names = ["encoder.weight", "hidden.weight"]
    refused(UsageError, "found 2 names for 4 parameters", optimizer, like, reference_model=names)
    for wrong, kind in ((3, "int"), ([3, 4], "list"), (params, "dict"), (optax.adam(0.1), "GradientTransformation")):
        text = f"expected an nn.Module, or a list of the names of the optimizer's parameters, found {kind}"
        refused(UsageError, text, optimizer, like, reference_model=wrong)
    without = grouped(model).state_dict()
    without["param_groups"] = [{k: v for k, v in g.items() if k != "param_names"} for g in without["param_groups"]]
    refused(
        UsageError, "the names of the parameters of each group, found 2 groups", without, like, reference_model=model
    )
    _, part, _ = begun(lambda each: torch.optim.AdamW([(n, p) for n, p in each.named_parameters() if p.ndim > 1]))
    refused(WeightsError, "params.decoder_bias has no state; params.hidden.bias has no state", part, like)
    masked = optax.masked(optax.adamw(0.1), jax.tree.map(lambda each: each.ndim > 1, params))
    assert int(LANGUAGE.map.carry_optimizer(part, masked.init(params)).inner_state[0].count) == STEPS
    text = "the optimizer keeps nothing for params.hidden.bias"
    refused(WeightsError, text, optimizer, masked.init(params), reference_model=model)


def test_what_is_no_state_is_refused() -> None:
    model, optimizer, params = begun(adamw)
    refused(UsageError, "a torch.optim.Optimizer or its state_dict", model, params)
    text = "a state of optax's, such as `optimizer.init(params)`, an nnx.Optimizer or a TrainState"
    refused(UsageError, text, optimizer, optax.adam(0.1), reference_model=model)
    refused(
        WeightsError,
        "moments of the map's tensors, found strange",
        optimizer,
        optax.adam(0.1).init({"strange": jnp.ones(2)}),
        reference_model=model,
    )
    sgd = torch.optim.SGD(model.named_parameters())
    like = optax.sgd(optax.linear_schedule(0.1, 0.0, 9)).init(params)
    refused(UsageError, "step: expected the number of updates, which the optimizer counts, found none", sgd, like)
    for wrong in (-3, 2.5):
        refused(WeightsError, f"step: expected a number of updates, found {wrong}.", sgd, like, step=wrong)
    refused(
        WeightsError,
        "3 updates, as the state counts them, found 4",
        optimizer,
        optax.adam(0.1).init(params),
        step=4,
        reference_model=model,
    )


def test_gradients_that_wait_to_be_used_are_refused() -> None:
    model, _, params = begun(adamw)
    rule = optax.MultiSteps(optax.adam(0.1), 4)
    _, state = rule.update(params, rule.init(params), params)
    text = "mini_step: expected an optimizer's state that the other framework has, too, found 1 gradients accumulated."
    refused(NotExpressibleError, text, state, adamw(model), map=LANGUAGE.map.inverse(), port_model=model)


@pytest.mark.parametrize(
    ("rows", "make", "text"),
    [
        (
            (row("a", "p", (3,), (3,), "a -> a", summed=True), row("b", "p", (3,), (3,), "a -> a", summed=True)),
            torch.optim.Adam,
            f"a -> p: {STATE_OF} a tensor of one side that is "
            "a sum of the other's. Each of the terms is moved by as much as the sum",
        ),
        (
            (row("a", "p", (3,), (3,), "a -> a", copied=True), row("b", "p", (3,), (3,), "a -> a", copied=True)),
            torch.optim.Adam,
            "found a tensor of one side of which the other keeps copies. Each copy has its own part of the gradient",
        ),
        (
            (row("a", "p", (3,), (3,), "a -> a", transform="x / 8.0"), row("b", "q", (3,), (3,), "a -> a")),
            torch.optim.Adam,
            "found the transform x / 8.0. The port's gradient is the reference's over 0.125",
        ),
        (
            (row("a", "p", (3,), (3,), "a -> a", transform="x + 1"), row("b", "q", (3,), (3,), "a -> a")),
            torch.optim.AdamW,
            "found the transform x + 1. Weight decay goes by the value, which is another.",
        ),
    ],
)
def test_a_row_that_trains_apart_is_refused(rows: Any, make: Any, text: str) -> None:
    made = Map(rows, ("torch", "pytree"))
    parameters = {name: torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for name in "ab"}
    optimizer = make(parameters.items())
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    like = optax.adam(0.1).init({each.port: jnp.ones(3) for each in rows})
    refused(NotExpressibleError, text, optimizer, like, map=made)


def test_a_shifted_value_with_decay_is_refused_on_the_way_back() -> None:
    made = Map((row("a", "a", (3,), (3,), "a -> a", transform="x + 1"),), ("pytree", "torch"))
    parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    state = optax.adam(0.1).init({"a": jnp.ones(3)})
    assert made.carry_optimizer(state, torch.optim.Adam([("a", parameter)])).state
    refused(NotExpressibleError, "Weight decay goes by", state, torch.optim.AdamW([("a", parameter)]), map=made)


def test_adafactor_goes_with_whole_tensors_and_the_same_factored_axes() -> None:
    for name, text in (
        (
            "gpt2",
            f"h.q.kernel: {STATE_OF} a tensor that is packed",
        ),
        (
            "resnet",
            f"conv1.kernel: {STATE_OF} moments factored",
        ),
    ):
        _, optimizer, params = begun(lambda model: torch.optim.Adafactor(model.named_parameters()), PAIRS[name])
        like = optax.adafactor(0.1, min_dim_size_to_factor=1).init(params)
        refused(NotExpressibleError, text, optimizer, like, map=PAIRS[name].map)


@pytest.mark.parametrize("shape", [(1, 1, 4), (1, 3, 4)])
def test_adafactor_goes_on_with_a_tensor_that_lies_as_it_did(shape: tuple[int, ...]) -> None:
    layout = "1 1 a -> 1 1 a" if shape[1] == 1 else "1 a b -> 1 a b"
    made = Map((row("a", "a", shape, shape, layout),), ("torch", "pytree"))
    parameter = torch.nn.Parameter(torch.ones(shape, dtype=torch.float64))
    optimizer = torch.optim.Adafactor([("a", parameter)], lr=0.01, eps=(1e-15, 1e-3))
    gradients = np.random.default_rng(0).normal(size=(4, *shape))
    rule = optax.adafactor(0.01, min_dim_size_to_factor=1)
    for number, gradient in enumerate(gradients):
        if number == 2:
            params = {"a": jnp.asarray(parameter.detach().numpy().copy())}
            state = made.carry_optimizer(optimizer, rule.init(params))
            back = made.inverse().carry_optimizer(state, torch.optim.Adafactor([("a", parameter)]))
            torch.testing.assert_close(back.state_dict()["state"], optimizer.state_dict()["state"])
        if number >= 2:
            updates, state = rule.update({"a": jnp.asarray(gradient)}, state, params)
            params = optax.apply_updates(params, updates)
        parameter.grad = torch.tensor(gradient)
        optimizer.step()
    np.testing.assert_allclose(params["a"], parameter.detach().numpy(), rtol=0, atol=1e-8)


def test_a_frozen_parameter_needs_no_state() -> None:
    model = LANGUAGE.made()
    for parameter in model.parameters():
        parameter.requires_grad_(parameter.ndim > 1)
    params = LANGUAGE.params(weights(model))
    labels = jax.tree.map(lambda each: "trained" if each.ndim > 1 else "frozen", params)
    rule = optax.partition({"trained": optax.adamw(0.01), "frozen": optax.set_to_zero()}, labels)
    optimizer = adamw(model)
    LANGUAGE.step(model, optimizer)

    state = LANGUAGE.map.carry_optimizer(optimizer, rule.init(params), reference_model=model)

    assert int(state.inner_states["trained"].inner_state[0].count) == 1
    back = LANGUAGE.map.inverse().carry_optimizer(state, adamw(model), port_model=model)
    torch.testing.assert_close(back.state_dict()["state"], optimizer.state_dict()["state"], rtol=0, atol=0)


def test_a_part_that_is_there_twice_is_refused_on_either_side() -> None:
    model, optimizer, params = begun(adamw)
    twice = optax.chain(optax.scale_by_adam(), optax.adam(0.1)).init(params)
    text = "found two parts with a mu of it. PyTorch keeps one for each tensor."
    refused(NotExpressibleError, text, optimizer, twice, reference_model=model)
    refused(NotExpressibleError, text, twice, adamw(model), map=LANGUAGE.map.inverse(), port_model=model)
    mixed = optax.chain(optax.scale_by_adam(), optax.trace(0.9), optax.scale(-0.1)).init(params)
    text = "expected the state of an optimizer with mu and nu and trace, as the optimizer keeps it, found that of Adam"
    refused(WeightsError, text, optimizer, mixed, reference_model=model)


def test_an_optimizer_of_another_library_or_without_values_is_refused() -> None:
    class Lion(torch.optim.Optimizer):
        def __init__(self, parameters: Any) -> None:
            super().__init__(parameters, {"lr": 0.1, "betas": (0.9, 0.99), "weight_decay": 0.0})

    model, _, params = begun(adamw)
    like = optax.adam(0.1).init(params)
    text = "Lion. Its formulas are not those of torch.optim's; of one that wraps another give that one."
    refused(NotExpressibleError, text, Lion(model.parameters()), like, reference_model=model)
    sparse = torch.optim.SparseAdam(model.parameters())
    text = "a group of an unknown optimizer, with lr, betas, eps, maximize. Carry it by hand."
    refused(NotExpressibleError, text, sparse, like, reference_model=model)
    abstract = jax.eval_shape(optax.adam(0.1).init, params)
    text = "expected a state with values, found an abstract one."
    refused(UsageError, text, abstract, adamw(model), map=LANGUAGE.map.inverse(), port_model=model)


@pytest.mark.parametrize(
    ("content", "error", "text"),
    [
        ({"state": 3, "param_groups": []}, UsageError, "expected a state_dict whose 'state' is a mapping for each"),
        ({"state": {0: 3}, "param_groups": []}, UsageError, "a state_dict whose 'state' is a mapping"),
        ({"state": {}, "param_groups": [{"lr": 0.1, "amsgrad": False}]}, UsageError, "groups have 'params' and 'lr'"),
        (
            {
                "state": {},
                "param_groups": [{"params": [0], "amsgrad": False, "lr": "x", "betas": (0.9, 0.99), "eps": 0.0}],
            },
            UsageError,
            "have 'params' and",
        ),
        ({"state": {}, "param_groups": [{"params": [[0]], "amsgrad": False}]}, UsageError, "have 'params' and"),
        ({"state": {}, "param_groups": [{"params": [0], "param_names": [3]}]}, UsageError, "have 'params' and"),
        (
            {"state": {}, "param_groups": [{"params": [0], "amsgrad": torch.zeros(2), "betas": 3}]},
            UsageError,
            "have 'params' and",
        ),
        ({"step": "x"}, WeightsError, "encoder.weight: expected a number of updates, found 'x'. Nothing was carried."),
        ({"step": torch.tensor(float("nan"))}, WeightsError, "a number of updates, found tensor(nan)"),
        ({"step": torch.tensor(-3.0)}, WeightsError, "a number of updates, found tensor(-3.)"),
        ({"step": 2.5}, WeightsError, "a number of updates, found 2.5"),
        ({"exp_avg": "x"}, WeightsError, "encoder.weight has a mu of shape () and needs (11, 8)"),
        (
            {"exp_avg": np.full((11, 8), "x")},
            WeightsError,
            "the mu of encoder.weight is no array of numbers but of str",
        ),
    ],
)
def test_a_state_dict_of_another_form_is_refused(content: Any, error: type[Exception], text: str) -> None:
    model, optimizer, params = begun(adamw)
    whole = optimizer.state_dict()
    if "state" not in content:
        whole["state"][0] = {**whole["state"][0], **content}
    refused(error, text, content if "state" in content else whole, optax.adam(0.1).init(params), reference_model=model)


@pytest.mark.parametrize("settings", [{"betas": (0.9, 0.99)}, {"eps": (1e-30, 1e-3), "relative_step": False}])
def test_a_state_dict_of_another_library_is_refused(settings: dict[str, Any]) -> None:
    model, optimizer, params = begun(adamw)
    group = {"params": [0, 1, 2, 3], "lr": 0.1, "weight_decay": 0.0, **settings}
    text = f"found a group of an unknown optimizer, with lr, weight_decay, {', '.join(settings)}. Carry it by hand."
    content = {"state": optimizer.state_dict()["state"], "param_groups": [group]}
    refused(NotExpressibleError, text, content, optax.adam(0.1).init(params), reference_model=model)


def test_the_state_in_a_checkpoint_is_found_and_two_are_refused() -> None:
    model, optimizer, params = begun(adamw)
    like = optax.adamw(0.01).init(params)
    content = optimizer.state_dict()
    expected = LANGUAGE.map.carry_optimizer(optimizer, like, reference_model=model)
    as_text = {**content, "state": {str(number): each for number, each in content["state"].items()}}
    lightning = {"state_dict": model.state_dict(), "optimizer_states": [content], "lr_schedulers": []}
    for checkpoint in (lightning, {"trainer": {"optim": as_text}}):
        found = LANGUAGE.map.carry_optimizer(checkpoint, like, reference_model=model)
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    text = "expected the state of one optimizer, found 2: optimizer.one, optimizer.two. Give the one that is meant"
    refused(UsageError, text, {"optimizer": {"one": content, "two": content}}, like, reference_model=model)
    back = LANGUAGE.map.inverse()
    for checkpoint in ({"model": params, "optimizer": {"opt_state": expected, "step": 3}}, {"opt_state": expected}):
        fresh = back.carry_optimizer(checkpoint, adamw(model), port_model=model)
        torch.testing.assert_close(fresh.state_dict()["state"], content["state"], rtol=0, atol=0)
    text = "found 2: one, two. Give the one"
    both = {"one": {"opt_state": expected}, "two": {"opt_state": expected}}
    refused(UsageError, text, both, adamw(model), map=back, port_model=model)


def test_a_tie_that_was_lost_is_refused() -> None:
    model = LANGUAGE.made()
    model.decoder.weight = torch.nn.Parameter(model.encoder.weight.detach().clone())
    for make in (torch.optim.AdamW, torch.optim.SGD):
        optimizer = make(model.named_parameters(), lr=0.1)
        LANGUAGE.step(model, optimizer)
        text = f"encoder.weight: {STATE_OF} two parameters that are one in the map. Each has only its own part of the"
        params = LANGUAGE.params(weights(LANGUAGE.made()))
        like = optax.adamw(0.1).init(params)
        refused(NotExpressibleError, text, optimizer, like)
        refused(NotExpressibleError, text, optimizer.state_dict(), like)
    state = optax.adamw(0.1).init(params)
    text = "encoder.weight has no state."
    refused(WeightsError, text, state, torch.optim.AdamW(model.named_parameters()), map=LANGUAGE.map.inverse())


def test_names_that_were_saved_are_taken_beside_a_model() -> None:
    model, optimizer, params = begun(grouped)
    like = partitioned(params).init(params)
    expected = LANGUAGE.map.carry_optimizer(optimizer, like)
    found = LANGUAGE.map.carry_optimizer(optimizer.state_dict(), like, reference_model=model)
    jax.tree.map(np.testing.assert_array_equal, found, expected)
    # Of one group, whatever the order in which it has them.
    turned = torch.optim.SGD([*model.named_parameters()][::-1], lr=0.1, momentum=0.9)
    LANGUAGE.step(model, turned)
    like = optax.sgd(0.1, momentum=0.9).init(params)
    expected = LANGUAGE.map.carry_optimizer(turned, like)
    found = LANGUAGE.map.carry_optimizer(turned.state_dict(), like, reference_model=model)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_an_optimizer_of_the_other_side_is_told_the_way_back() -> None:
    model, optimizer, params = begun(adamw)
    state = optax.adamw(0.01).init(params)
    text = "found tuple. The other way is that of `map.inverse()`."
    refused(UsageError, text, state, optimizer, port_model=model)
    back = LANGUAGE.map.inverse()
    for one, kind in ((optimizer, "AdamW"), (optimizer.state_dict(), "dict")):
        text = f"found {kind}. The other way is that of `map.inverse()`."
        refused(UsageError, text, one, state, map=back, reference_model=model)


def test_a_part_of_a_file_that_is_not_known_is_refused() -> None:
    model, _, params = begun(adamw)
    back = LANGUAGE.map.inverse()

    def as_dict(state: Any) -> Any:
        """As files have it: without classes."""
        return serialization.to_state_dict(state)

    rules = (optax.contrib.reduce_on_plateau(), optax.zero_nans(), optax.apply_every(2))
    plateau = "a reduction on plateaus. PyTorch's is a scheduler, with a state of its own: carry the rest of the chain."
    names = (plateau, "a part with found_nan", "a part with count, grad_acc")
    for rule, name in zip(rules, names, strict=True):
        state = as_dict(optax.chain(optax.adamw(0.1), rule).init(params))
        refused(NotExpressibleError, f"1: {STATE_OF} {name}", state, adamw(model), map=back, port_model=model)
    wrapped = as_dict(optax.contrib.schedule_free_adamw(0.1).init(params))
    refused(NotExpressibleError, "base_optimizer_state", wrapped, adamw(model), map=back, port_model=model)
    text = "found arrays that none has: params.decoder_bias; "
    refused(UsageError, text, as_dict(params), adamw(model), map=back, port_model=model)
    lion = as_dict(optax.lion(0.1).init(params))
    refused(UsageError, "found arrays that none has: 0.count; 0.mu", lion, adamw(model), map=back, port_model=model)


def test_a_count_that_is_missing_is_asked_for() -> None:
    model, optimizer, params = begun(adamw)
    carried = LANGUAGE.map.carry_optimizer(optimizer, optax.adamw(0.1).init(params), reference_model=model)
    state = serialization.to_state_dict(carried)
    state["0"]["count"] = 3  # no array, and so nobody's
    back = LANGUAGE.map.inverse()
    text = "step: expected the number of updates, which Adam goes by, found none in the state. Give step= or --step."
    refused(UsageError, text, state, adamw(model), map=back, port_model=model)
    fresh = back.carry_optimizer(state, adamw(model), port_model=model, step=3)
    torch.testing.assert_close(fresh.state_dict()["state"], optimizer.state_dict()["state"], rtol=0, atol=0)


def test_the_state_of_one_of_two_alike_is_refused() -> None:
    rows = (row("a", "online.w", (3,), (3,), "a -> a"), row("b", "target.w", (3,), (3,), "a -> a"))
    made = Map(rows, ("torch", "pytree"))
    state = optax.adam(0.1).init({"w": jnp.ones(3)})
    own = torch.optim.Adam([("b", torch.nn.Parameter(torch.ones(3)))])
    text = "expected moments by the paths of the map, found 'w', which is below online, target. Make the optimizer's"
    refused(UsageError, text, state, own, map=made.inverse())


def test_a_weight_norm_of_one_side_is_refused_both_ways() -> None:
    factors = ("a.original0", "a.original1")
    made = Map((row("a", "a", (3, 2), (3, 2), "a b -> a b", reference_factors=factors),), ("torch", "pytree"))
    parameters = {factors[0]: torch.ones(3, 1), factors[1]: torch.ones(3, 2)}
    own = {name: torch.nn.Parameter(tensor) for name, tensor in parameters.items()}
    optimizer = torch.optim.Adam(own.items())
    for parameter in own.values():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    state = optax.adam(0.1).init({"a": jnp.ones((3, 2))})
    text = f"a -> a: {STATE_OF} a weight norm on one side alone. A magnitude and a direction have their own gradients"
    refused(NotExpressibleError, text, optimizer, state, map=made)
    refused(NotExpressibleError, text, state, optimizer, map=made.inverse())


def test_counts_that_no_formula_goes_by_may_differ() -> None:
    rows = [row(name, "w", (3,), (2, 3), "a -> a", port_piece=f"[{n}]") for n, name in enumerate("ab")]
    made = Map(tuple(rows), ("torch", "pytree"))

    def stepped(make: Any, **more: Any) -> Any:
        own = {name: torch.nn.Parameter(torch.ones(3, dtype=torch.float64)) for name in "ab"}
        optimizer = make(own.items(), lr=0.1, **more)
        for names in ("ab", "a"):
            for name, parameter in own.items():
                parameter.grad = torch.ones_like(parameter) if name in names else None
            optimizer.step()
        return optimizer

    like = {"w": jnp.ones((2, 3))}
    found = made.carry_optimizer(stepped(torch.optim.Adagrad), optax.adagrad(0.1).init(like))
    np.testing.assert_array_equal(found[0].sum_of_squares["w"], [[2] * 3, [1] * 3])
    made.carry_optimizer(stepped(torch.optim.RMSprop), optax.rmsprop(0.1).init(like))
    text = "w: expected an optimizer's state that the other framework has, too, found counts of updates of 1 and 2."
    refused(NotExpressibleError, text, stepped(torch.optim.Adam), optax.adam(0.1).init(like), map=made)
    decayed = stepped(torch.optim.Adagrad, lr_decay=0.1)
    refused(NotExpressibleError, text, decayed, optax.adagrad(0.1).init(like), map=made)


def test_a_state_of_optax_of_another_form_is_refused() -> None:
    model = LANGUAGE.made()
    moments = {"params": {"hidden": {"bias": np.zeros(8)}}}
    content = {"0": {"count": np.zeros(3), "mu": moments, "nu": moments}}
    text = "0.count: expected a number of updates, found array([0., 0., 0.])."
    back = LANGUAGE.map.inverse()
    refused(WeightsError, text, content, adamw(model), map=back, port_model=model)
    refused(UsageError, "a chain of at most 1000 parts", {"9999999": {}}, adamw(model), map=back, port_model=model)
    refused(UsageError, "a state of optax's, such as", "state.msgpack", adamw(model), map=back, port_model=model)
