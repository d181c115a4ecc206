"""The contract of training: what rounding alone moves is no fault, and what one side trains by itself is one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

import paritree
from paritree.conformance.report import Report

X = np.random.default_rng(0).normal(size=(2, 5, 8)).astype(np.float32)
Y = np.random.default_rng(1).normal(size=(2, 4, 8)).astype(np.float32)
ROWS = np.random.default_rng(2).normal(size=(16, 8)).astype(np.float32)


def checked(pair: paritree.Pair, made: Any = None, contracts: tuple[str, ...] = ("training",)) -> Report:
    return paritree.check(pair, made, contracts=contracts, devices=("cpu",))


def said(report: Report) -> list[str]:
    return [f"{each.message} [{each.cause}]" for each in report.failures]


def felt(value: Any, rate: float) -> Any:
    """Zero, with a gradient."""
    return rate * (value - (value.detach() if isinstance(value, torch.Tensor) else jax.lax.stop_gradient(value)))


class Packed(torch.nn.Module):
    """Causal attention whose queries, keys and values are one projection; the middle of its bias has no effect."""

    def __init__(self, felt: float = 0.0, in_float32: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.attn, self.proj, self.felt = torch.nn.Linear(8, 24), torch.nn.Linear(8, 8), felt
        # A product with float64 then raises, so that both sides are trained in float32.
        self.kind = torch.float32 if in_float32 else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (each.unflatten(-1, (2, 4)).transpose(1, 2) for each in self.attn(x).chunk(3, -1))
        mask = torch.ones(x.shape[1], x.shape[1]).tril() == 0
        weights = (q @ k.mT / 2).masked_fill(mask, -torch.inf).softmax(-1, dtype=self.kind)
        return self.proj((weights @ v).transpose(1, 2).flatten(2)) + felt(self.attn.bias[8:16], self.felt)


class PackedPort(nnx.Module):
    """The same with its softmax in float32, in a float64 run too."""

    def __init__(self, felt: float = 0.0, rate: float = 1.0) -> None:
        rngs = nnx.Rngs(0)
        self.attn, self.proj = nnx.Linear(8, 24, rngs=rngs), nnx.Linear(8, 8, rngs=rngs)
        self.felt, self.rate = felt, rate

    def __call__(self, x: jax.Array) -> jax.Array:
        q, k, v = (each.reshape(*x.shape[:2], 2, 4).swapaxes(1, 2) for each in jnp.split(self.attn(x), 3, -1))
        v = v + felt(v, self.rate - 1)
        scores = jnp.where(jnp.tril(jnp.ones((x.shape[1],) * 2)) == 0, -jnp.inf, q @ k.swapaxes(-1, -2) / 2)
        weights = jax.nn.softmax(scores.astype(jnp.float32)).astype(x.dtype)
        return self.proj((weights @ v).swapaxes(1, 2).reshape(x.shape)) + felt(self.attn.bias[8:16], self.felt)


def self_attention(turned: bool = False) -> paritree.Pair:
    torch.manual_seed(0)
    one = torch.nn.MultiheadAttention(8, 2, batch_first=True), lambda model, given: model(*given * 3)[0]
    other = nnx.MultiHeadAttention(2, 8, decode=False, rngs=nnx.Rngs(1)), lambda model, given: model(*given)
    (reference, call), (port, port_call) = (other, one) if turned else (one, other)
    return paritree.Pair(reference, port, (X,), reference_call=call, port_call=port_call)


def cross_attention() -> paritree.Pair:
    torch.manual_seed(0)
    module = linen.MultiHeadDotProductAttention(2)
    port = module, module.init(jax.random.key(0), X, Y)
    return paritree.Pair(
        torch.nn.MultiheadAttention(8, 2, batch_first=True),
        port,
        (X, Y),
        reference_call=lambda model, given: model(given[0], given[1], given[1])[0],
        port_call=lambda given, inputs: given[0].apply(given[1], *inputs),
    )


class Shifted(torch.nn.Module):
    """What comes before a norm: with `batch`, a bias that the batch's mean takes away, otherwise a common shift."""

    def __init__(self, batch: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(8, 6, bias=batch)
        self.norm = torch.nn.BatchNorm1d(6, track_running_stats=False) if batch else torch.nn.LayerNorm(6)
        self.shift, self.last = torch.nn.Parameter(torch.full((1,), 0.3)), torch.nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.fc(x) + self.shift))


class ShiftedPort(nnx.Module):
    def __init__(self, batch: bool, felt: float = 0.0) -> None:
        rngs = nnx.Rngs(0)
        self.fc, self.last = nnx.Linear(8, 6, use_bias=batch, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)
        self.scale, self.bias = nnx.Param(jnp.ones(6)), nnx.Param(jnp.zeros(6))
        self.shift, self.axis, self.felt = nnx.Param(jnp.full((1,), 0.3)), 0 if batch else -1, felt

    def __call__(self, x: jax.Array) -> jax.Array:
        h = (self.fc(x) + self.shift[...]).astype(jnp.float32)
        h = (h - h.mean(self.axis, keepdims=True)) / jnp.sqrt(h.var(self.axis, keepdims=True) + 1e-5)
        out = self.last(h.astype(x.dtype) * self.scale[...] + self.bias[...])
        return out + felt(self.shift[...], self.felt).sum()


RIGHT: dict[str, Callable[[], paritree.Pair]] = {
    "attention": self_attention,
    "attention, exchanged": lambda: self_attention(turned=True),
    "cross attention": cross_attention,
    "packed attention": lambda: paritree.Pair(Packed(), PackedPort(), (X,)),
    "packed attention, exchanged": lambda: paritree.Pair(PackedPort(), Packed(), (X,)),
    "in float32": lambda: paritree.Pair(Packed(in_float32=True), PackedPort(), (X,)),
    "in float32, exchanged": lambda: paritree.Pair(PackedPort(), Packed(in_float32=True), (X,)),
    "a bias before a batch's norm": lambda: paritree.Pair(Shifted(True), ShiftedPort(True), (ROWS,)),
    "a shift before a layer's norm": lambda: paritree.Pair(Shifted(False), ShiftedPort(False), (ROWS,)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_what_has_no_gradient_but_rounding_is_trained_alike(name: str) -> None:
    assert said(checked(RIGHT[name]())) == []


def test_it_is_said_what_has_no_gradient() -> None:
    report = checked(self_attention())
    assert {each.port_path for each in report.results if "zero but for rounding" in each.message} == {"key.bias"}


@pytest.mark.parametrize(
    ("felt", "other", "in_float32"),
    [
        (1e-2, 0.0, False),
        (1e-5, 0.0, False),
        (0.0, 1e-2, False),
        (0.0, 1e-5, False),
        (1e-2, 0.0, True),
        (0, 1e-3, True),
    ],
)
def test_the_third_of_a_packed_bias_that_one_side_alone_trains(felt: float, other: float, in_float32: bool) -> None:
    made = paritree.align(RIGHT["packed attention"]())
    messages = said(checked(paritree.Pair(Packed(felt, in_float32), PackedPort(other), (X,)), made))
    alone, still = ("reference", "port") if felt else ("port", "reference")
    assert len(messages) == 2
    for message, steps in zip(messages, ("sgd", "adamw"), strict=True):
        assert message.startswith(
            f"attn.bias (= attn.bias): after 3 steps of {steps} only the {alone} trains it in 8 of 24 entries, by "
        )
        assert message.endswith(
            f"(root mean square): the {still}'s has no gradient there beyond rounding [only the {alone} trains it]"
        )


class Gated(torch.nn.Module):
    """A branch that has no gradient before its gate has left zero."""

    def __init__(self) -> None:
        super().__init__()
        self.branch, self.last = Packed(), torch.nn.Linear(8, 8)
        self.gate = torch.nn.Parameter(torch.zeros(8))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x + self.gate * self.branch(x))


class GatedPort(nnx.Module):
    def __init__(self, is_stopped: bool = False) -> None:
        self.branch, self.last = PackedPort(), nnx.Linear(8, 8, rngs=nnx.Rngs(0))
        self.gate, self.is_stopped = nnx.Param(jnp.zeros(8)), is_stopped

    def __call__(self, x: jax.Array) -> jax.Array:
        branch = self.branch(x)
        return self.last(x + self.gate[...] * (felt(-branch, 1.0) + branch if self.is_stopped else branch))


def test_a_branch_that_is_trained_from_the_second_step_on() -> None:
    made = paritree.align(paritree.Pair(Gated(), GatedPort(), (X,)))
    assert said(checked(paritree.Pair(Gated(), GatedPort(), (X,)), made)) == []
    messages = said(checked(paritree.Pair(Gated(), GatedPort(is_stopped=True), (X,)), made))
    alone = "branch.attn.weight (= branch.attn.kernel): after 3 steps of adamw only the reference trains it, by 0.00"
    assert any(message.startswith(alone) for message in messages)


def test_a_gradient_of_another_rate() -> None:
    made = paritree.align(RIGHT["packed attention"]())
    messages = said(checked(paritree.Pair(Packed(), PackedPort(rate=1.05), (X,)), made))
    assert messages[0].startswith("attn.weight (= attn.kernel): after 3 steps of sgd it went another way, by 0.04")


def test_a_shift_that_the_port_alone_trains() -> None:
    made = paritree.align(RIGHT["a shift before a layer's norm"]())
    report = checked(paritree.Pair(Shifted(False), ShiftedPort(False, 1e-3), (ROWS,)), made, ("gradients", "training"))
    first, second, third = said(report)
    assert first.startswith("shift (= shift): the gradient is 0.0")
    assert "(root mean square), where the reference's is no more than rounding" in first
    assert "[gradient in the port alone]" in first
    for message, steps in ((second, "sgd"), (third, "adamw")):
        assert message.startswith(f"shift (= shift): after 3 steps of {steps} only the port trains it, by ")


class Offset(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.fc = torch.nn.Linear(4, 4)
        self.register_buffer("offset", torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.fc(x)) + self.offset


class OffsetPort(nnx.Module):
    def __init__(self) -> None:
        self.fc, self.offset = nnx.Linear(4, 4, rngs=nnx.Rngs(0)), nnx.Param(jnp.zeros(4))

    def __call__(self, x: jax.Array) -> jax.Array:
        return jnp.tanh(self.fc(x)) + self.offset[...]


@pytest.mark.parametrize("turned", [False, True])
def test_a_buffer_that_the_other_side_trains(turned: bool) -> None:
    """How far it moved is no multiple of not moving."""
    sides = (OffsetPort(), Offset()) if turned else (Offset(), OffsetPort())
    report = checked(paritree.Pair(*sides, (ROWS[:, :4],)))
    alone, still = ("reference", "port") if turned else ("port", "reference")
    assert {each.path for each in report.failures} == {"offset"}
    words = "adamw: its first step is the reference's, the next follow that of offset"
    assert words in {each.message for each in report.results if each.status == "skip"}
    for each in report.failures:
        assert f"only the {alone} trains it, by 0.0" in each.message
        assert each.message.endswith(f"the {still}'s (a buffer) has no gradient there beyond rounding")
        assert each.cause == f"only the {alone} trains it"
        assert np.isfinite(each.measured or np.inf)


@pytest.mark.parametrize("turned", [False, True])
def test_a_recorded_attention(turned: bool) -> None:
    pair = self_attention(turned)
    made, record = paritree.align(pair), paritree.record(pair.reference, (X,), call=pair.reference_call)
    assert said(checked(paritree.Pair(record, pair.port, (X,), port_call=pair.port_call), made)) == []
