"""What a side's own code raises once, or exits with, is said: no run in another type hides it, and no exit is ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

import paritree
from paritree import Map, Pair, PairError

INPUTS = (np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),)


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(4, 5), nn.Linear(5, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.b(torch.tanh(self.a(x)))


class Flax(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.a, self.b = nnx.Linear(4, 5, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.b(jnp.tanh(self.a(x)))


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.Dense(2, name="b")(jnp.tanh(linen.Dense(5, name="a")(x)))


def torch_side() -> tuple[Any, Callable[..., Any]]:
    return Net(), lambda model, inputs: model(*inputs)


def nnx_side() -> tuple[Any, Callable[..., Any]]:
    return Flax(nnx.Rngs(0)), lambda model, inputs: model(*inputs)


def linen_side() -> tuple[Any, Callable[..., Any]]:
    return (Linen(), Linen().init(jax.random.key(0), *INPUTS)), lambda model, inputs: model[0].apply(model[1], *inputs)


def pytree_side() -> tuple[Any, Callable[..., Any]]:
    made = Linen().init(jax.random.key(0), *INPUTS)
    return made, lambda model, inputs: Linen().apply(model, *inputs)


SIDES = {"torch": torch_side, "nnx": nnx_side, "linen": linen_side, "pytree": pytree_side}


class Raising:
    """A call that raises in runs of one type: so many times, or always."""

    def __init__(self, call: Callable[..., Any], times: float, error: BaseException, dtype: str = "float64") -> None:
        self.call, self.times, self.error, self.dtype, self.raised = call, times, error, dtype, 0

    def __call__(self, model: Any, inputs: Any) -> Any:
        if str(inputs[0].dtype).endswith(self.dtype) and self.raised < self.times:
            self.raised += 1
            raise self.error
        return self.call(model, inputs)


def to_itself(model: Any, call: Callable[..., Any]) -> Map:
    return paritree.align(Pair(Net(), model, INPUTS, None, call))


ONCE = (
    "port: expected code that runs alike each time, found RuntimeError: out of luck; the same run did not raise it "
    "again. Look for what it depends on besides its arguments."
)


@pytest.mark.parametrize("side", SIDES)
def test_what_is_raised_once_in_float64_is_not_hidden_by_float32(side: str) -> None:
    model, call = SIDES[side]()
    found = to_itself(model, call)
    raising = Raising(call, 1, RuntimeError("out of luck"))
    with pytest.raises(PairError) as raised:
        paritree.check(Pair(Net(), model, INPUTS, None, raising, None, raising), found, devices=("cpu",))
    assert str(raised.value) == ONCE
    assert str(raised.value.__cause__) == "out of luck"


@pytest.mark.parametrize(
    ("contract", "role"),
    [("training", "reference"), ("training", "port"), ("tied gradients", "reference"), ("modules", "port")],
)
def test_it_is_said_whatever_contract_runs_in_float64(contract: str, role: str) -> None:
    model, call = torch_side()
    found = to_itself(model, call)
    calls: dict[str, Any] = {f"{role}_call": Raising(call, 1, RuntimeError("out of luck"))}
    with pytest.raises(PairError) as raised:
        paritree.check(Pair(model, Net(), INPUTS, **calls), found, contracts=(contract,), devices=("cpu",))
    assert str(raised.value) == ONCE.replace("port", role)


@pytest.mark.parametrize("side", SIDES)
def test_a_program_that_never_runs_in_float64_is_right_in_float32(side: str) -> None:
    model, call = SIDES[side]()
    found = to_itself(model, call)
    raising = Raising(call, np.inf, TypeError("float32 is expected"))
    report = paritree.check(
        Pair(Net(), model, INPUTS, None, raising, None, raising),
        found,
        contracts=("forward", "gradients", "tied gradients", "training", "modes"),
        devices=("cpu",),
    )
    assert report.ok, str(report)
    assert raising.raised > 1


def test_a_recording_hides_nothing() -> None:
    model, call = torch_side()
    for activations in (False, True):
        with pytest.raises(PairError) as raised:
            paritree.record(model, INPUTS, call=Raising(call, 1, RuntimeError("out of luck")), activations=activations)
        assert str(raised.value) == ONCE.replace("port", "model")


def test_a_factory_that_raises_once_while_jax_traces_it_is_said() -> None:
    def factory(seed: Any) -> Flax:
        if isinstance(seed, jax.core.Tracer) and not raised:
            raised.append(seed)
            raise ValueError("out of luck")
        return Flax(nnx.Rngs(jax.random.key(seed)))

    raised: list[Any] = []
    pair = Pair(factory, factory, INPUTS)
    with pytest.raises(PairError, match=r"^reference: .* found ValueError: out of luck; the same run did not raise it"):
        paritree.check(pair, contracts=("initialization",), devices=("cpu",))


# An exit


EXITS = {
    "a number": (SystemExit(3), "it exits with code 3"),
    "none": (SystemExit(), "it exits with code 0"),
    "a text": (SystemExit("usage: train.py\n --steps N"), "it exits with code 1 (usage: train.py)"),
}


@pytest.mark.parametrize("kind", EXITS)
@pytest.mark.parametrize("entrance", ["align", "check", "record"])
def test_a_call_that_exits_is_an_error_of_its_side(entrance: str, kind: str) -> None:
    model, call = torch_side()
    error, words = EXITS[kind]
    raising = Raising(call, np.inf, error, "float32")
    pair = Pair(Net(), model, INPUTS, None, raising)
    runs: dict[str, Callable[[], object]] = {
        "align": lambda: paritree.align(pair),
        "check": lambda: paritree.check(pair, devices=("cpu",)),
        "record": lambda: paritree.record(model, INPUTS, call=raising),
    }
    with pytest.raises(PairError) as raised:
        runs[entrance]()
    role = "model" if entrance == "record" else "port"
    assert str(raised.value) == (
        f"{role}: expected code that returns, found SystemExit: {words}. Leave the exit to who runs it as a program."
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_exit_in_one_type_is_not_hidden_by_another(dtype: str) -> None:
    model, call = torch_side()
    found = to_itself(*torch_side())
    raising = Raising(call, 1, SystemExit(2), dtype)
    with pytest.raises(PairError, match="it exits with code 2"):
        paritree.check(Pair(Net(), model, INPUTS, None, raising), found, devices=("cpu",))


def test_a_factory_that_exits_is_an_error_of_its_side() -> None:
    def factory(seed: int) -> Net:
        raise SystemExit(seed)

    with pytest.raises(PairError) as raised:
        paritree.align(Pair(factory, Net(), INPUTS))
    assert str(raised.value) == (
        "reference: expected a factory that makes a model, found SystemExit: it exits with code 0. A factory is a "
        "function of a seed."
    )


def test_a_module_that_exits_where_modules_are_run_by_themselves_is_said() -> None:
    class Exiting(Net):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise SystemExit(4)

    found = to_itself(*torch_side())
    with pytest.raises(PairError, match=r"^port: .* it exits with code 4"):
        paritree.check(Pair(Net(), Exiting(), INPUTS), found, contracts=("modules",), devices=("cpu",))


@pytest.mark.parametrize("entrance", ["align", "check", "record"])
def test_an_interrupt_stays_what_it_is(entrance: str) -> None:
    model, call = torch_side()
    raising = Raising(call, 1, KeyboardInterrupt(), "float32")
    pair = Pair(Net(), model, INPUTS, None, raising)
    runs: dict[str, Callable[[], object]] = {
        "align": lambda: paritree.align(pair),
        "check": lambda: paritree.check(pair),
        "record": lambda: paritree.record(model, INPUTS, call=raising),
    }
    with pytest.raises(KeyboardInterrupt):
        runs[entrance]()
