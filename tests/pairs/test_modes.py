"""Whatever mode a caller is in, an entrance of the interface says what it says outside of it, or refuses by name."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

import paritree
from paritree import Map, Pair, UsageError

INPUTS = (np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4),)
CONTRACTS = ("forward", "gradients", "training", "modes", "determinism")


class Reference(nn.Module):
    def __init__(self, is_cut: bool = False) -> None:
        super().__init__()
        self.a, self.b, self.is_cut = nn.Linear(4, 5), nn.Linear(5, 2), is_cut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.tanh(self.a(x)) + torch.zeros(5)
        return self.b(h.detach() if self.is_cut else h)


class Port(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, is_cut: bool = False) -> None:
        self.a, self.b = nnx.Linear(4, 5, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)
        self.is_cut = is_cut

    def __call__(self, x: jax.Array) -> jax.Array:
        h = jnp.tanh(self.a(x)) + jnp.zeros(5)
        return self.b(jax.lax.stop_gradient(h) if self.is_cut else h)


def reference(seed: int = 0) -> Reference:
    torch.manual_seed(seed)
    return Reference()


@contextmanager
def _default_dtype() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def _default_device() -> Iterator[None]:
    torch.set_default_device("meta")
    try:
        yield
    finally:
        torch.set_default_device(None)


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "default dtype": _default_dtype,
    "default device": _default_device,
    "a device around": lambda: torch.device("meta"),
    "disable_jit": jax.disable_jit,
    "enable_x64": lambda: jax.enable_x64(True),
    "debug_nans": lambda: jax.debug_nans(True),
    "debug_key_reuse": lambda: jax.debug_key_reuse(True),
    "transfer_guard": lambda: jax.transfer_guard("disallow"),
    "strict promotion": lambda: jax.numpy_dtype_promotion("strict"),
    "matmul precision": lambda: jax.default_matmul_precision("bfloat16"),
    "NumPy's errors": lambda: np.errstate(all="raise"),
}


def failing(pair: Pair, found: Map | None) -> set[str]:
    report = paritree.check(pair, found, contracts=CONTRACTS, devices=("cpu",))
    return {result.contract for result in report.failures}


@pytest.mark.parametrize("mode", MODES)
def test_a_right_port_holds_in_every_mode(mode: str) -> None:
    pair = Pair(reference(), Port(nnx.Rngs(0)), INPUTS)
    with MODES[mode]():
        found = paritree.align(pair)
        assert failing(pair, found) == set()
    assert found == paritree.align(pair)


@pytest.mark.parametrize("mode", MODES)
def test_a_port_whose_gradient_is_cut_off_fails_in_every_mode(mode: str) -> None:
    found = paritree.align(Pair(reference(), reference(1), INPUTS))
    pair = Pair(reference(), Reference(is_cut=True), INPUTS)
    with MODES[mode]():
        assert failing(pair, found) == {"gradients", "training"}


def test_a_port_in_jax_whose_gradient_is_cut_off_fails_in_inference_mode() -> None:
    found = paritree.align(Pair(reference(), Port(nnx.Rngs(0)), INPUTS))
    with torch.inference_mode():
        assert failing(Pair(reference(), Port(nnx.Rngs(0), is_cut=True), INPUTS), found) == {"gradients", "training"}


@pytest.mark.parametrize("mode", ["inference_mode", "default device", "a device around", "autocast"])
def test_a_factory_is_called_in_no_mode(mode: str) -> None:
    pair = Pair(reference, lambda seed: reference(seed + 1), INPUTS)
    with MODES[mode]():
        report = paritree.check(pair, contracts=("values", "initialization", "determinism"), devices=("cpu",))
        assert report.ok
        spec = paritree.Linear(2, 3)
        assert np.isfinite(paritree.build(spec, "torch").weight.detach().numpy()).all()
        assert not paritree.build(spec, "torch").weight.is_inference()


@pytest.mark.parametrize("mode", MODES)
def test_a_record_and_a_table_are_the_same_in_every_mode(mode: str, tmp_path: Path) -> None:
    model = reference()
    contracts, files = ("forward", "gradients"), (tmp_path / "one", tmp_path / "other")
    table = paritree.table(model)
    paritree.record(model, INPUTS, files[0], contracts=contracts)
    with MODES[mode]():
        paritree.record(model, INPUTS, files[1], contracts=contracts)
        assert paritree.table(model) == table
    assert files[0].read_bytes() == files[1].read_bytes()


def test_types_of_64_bits_are_those_of_the_models() -> None:
    with _default_dtype(), jax.enable_x64(True):

        class Wide(nnx.Module):
            def __init__(self, rngs: nnx.Rngs) -> None:
                self.a = nnx.Linear(4, 5, rngs=rngs, param_dtype=jnp.float64)
                self.order = nnx.Variable(jnp.arange(5))

            def __call__(self, x: jax.Array) -> jax.Array:
                start = self.a(x)
                return jax.lax.fori_loop(0, 2, lambda _, h: jnp.tanh(h) + jnp.zeros(5), start)[:, self.order[...]]

        class WideReference(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.a = nn.Linear(4, 5)

            def forward(self, x: torch.Tensor) -> torch.Tensor:
                return torch.tanh(torch.tanh(self.a(x)))

        pair = Pair(WideReference(), lambda seed: Wide(nnx.Rngs(seed)), INPUTS)
        contracts = ("shapes", *CONTRACTS)
        report = paritree.check(pair, contracts=contracts, devices=("cpu",))
        assert report.failures == (), str(report)


class _Own(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


def _in_jit(run: Callable[[], object]) -> None:
    jax.jit(lambda x: (run(), x)[1])(1.0)


def _in_torch_grad(run: Callable[[], object]) -> None:
    torch.func.grad(lambda x: (run(), x.sum())[1])(torch.ones(2))


def _in_torch_trace(run: Callable[[], object]) -> None:
    torch.jit.trace(lambda x: (run(), x)[1], torch.ones(2))


def _in_fake(run: Callable[[], object]) -> None:
    with FakeTensorMode():
        run()


def _in_own(run: Callable[[], object]) -> None:
    with _Own():
        run()


REFUSED = {
    "jax.jit or another function that JAX traces": _in_jit,
    "a transformation of torch.func, as grad or vmap": _in_torch_grad,
    "torch.jit.trace": _in_torch_trace,
    "FakeTensorMode": _in_fake,
    "_Own": _in_own,
}


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.trace:DeprecationWarning",
    "ignore:.torch.jit.trace:FutureWarning",
    "ignore::torch.jit.TracerWarning",
)
@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_put_aside_is_refused_by_name(name: str) -> None:
    model, port = reference(), reference(1)
    pair = Pair(model, port, INPUTS)
    for run in (lambda: paritree.align(pair), lambda: paritree.check(pair), lambda: paritree.record(model, INPUTS)):
        with pytest.raises(UsageError) as raised:
            REFUSED[name](run)
        assert str(raised.value) == (
            "expected a call from where arrays have values and operations are the framework's own, found one from "
            f"inside of {name}. Call it outside of that."
        )


def test_what_jax_differentiates_in_values_can_be_measured() -> None:
    pair = Pair(reference(), Port(nnx.Rngs(0)), INPUTS)
    found = []

    def value(x: jax.Array) -> jax.Array:
        found.append(paritree.align(pair))
        return x

    assert jax.grad(value)(1.0) == 1.0
    assert found == [paritree.align(pair)]


def test_generators_are_as_they_were() -> None:
    def seeded(seed: int) -> Reference:
        random.seed(seed)
        np.random.seed(seed)
        return reference(seed)

    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[union-attr]
    paritree.check(Pair(seeded, seeded, INPUTS), devices=("cpu",))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]  # type: ignore[union-attr]


def test_what_a_call_leaves_switched_off_is_no_agreement_and_is_switched_on_again() -> None:
    def call(model: nn.Module, inputs: Any) -> torch.Tensor:
        output = model(*inputs)
        torch.set_grad_enabled(False)
        torch.set_default_dtype(torch.float64)
        return output

    pair = Pair(reference(), Reference(is_cut=True), INPUTS, call, call)
    found = paritree.align(Pair(reference(), reference(1), INPUTS))
    assert failing(pair, found) == {"gradients"}
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32


# Two zeros agree, whatever the port does.


def _without(model: Any, inputs: Any) -> Any:
    with torch.no_grad():
        return model(*inputs)


def test_no_gradient_anywhere_is_no_agreement() -> None:
    found = paritree.align(Pair(reference(), reference(1), INPUTS))
    pair = Pair(reference(), Reference(is_cut=True), INPUTS, _without, _without)
    report = paritree.check(pair, found, devices=("cpu",))
    (failure,) = report.failures
    assert (failure.contract, failure.cause) == ("gradients", "no gradient")
    assert failure.message == (
        "no gradient was compared: those of all 4 parameters are zero on both sides. Take what stops them (no_grad, "
        "detach, stop_gradient) out of the calls, or give inputs that reach the parameters. Two programs that are "
        "never trained are to be checked without this contract, or with it as a known difference"
    )
    status = {result.contract: result.status for result in report.results if result.device == "cpu"}
    assert [status[each] for each in ("layout", "tied gradients", "training")] == ["skip"] * 3
    assert status["forward"] == "pass"


def test_no_gradient_in_training_alone_is_no_agreement() -> None:
    found = paritree.align(Pair(reference(), reference(1), INPUTS))
    port = Reference(is_cut=True)
    pair = Pair(reference(), port, INPUTS, None, None, _without, _without)
    report = paritree.check(pair, found, contracts=("training",), devices=("cpu",))
    whole = [each for each in report.failures if not each.path]
    assert [(each.cause, each.message) for each in whole] == [
        (
            "no gradient",
            "training was not compared: no gradient moves any of 4 parameters on either side. Take what stops them "
            "(no_grad, detach, stop_gradient) out of the calls in training mode, or give inputs that reach the "
            "parameters",
        )
    ]


def test_what_is_frozen_on_both_sides_need_not_move() -> None:
    ours, theirs = reference().requires_grad_(False), reference(1).requires_grad_(False)
    found = paritree.align(Pair(reference(), reference(1), INPUTS))
    assert failing(Pair(ours, theirs, INPUTS), found) == set()


# The wing's own functions have gradients, too.


def test_the_wings_functions_have_gradients_in_every_mode_of_pytorchs() -> None:
    model = paritree.build(paritree.Sequential(paritree.Linear(4, 3)), "torch")
    wing, cotangent = paritree.wing("torch"), np.ones((3, 3), np.float32)
    plain = wing.value_and_gradients(model, INPUTS, cotangent)[1]
    for mode in ("inference_mode", "no_grad"):
        with MODES[mode]():
            found = wing.value_and_gradients(model, INPUTS, cotangent)[1]
            sites = wing.site_gradients(model, INPUTS, cotangent)
        assert all(np.array_equal(found[path], array) and array.any() for path, array in plain.items())
        assert all(np.allclose(sites[path][0].gradient, array) for path, array in plain.items())
    before = wing.weights(model)
    with torch.no_grad():
        after = wing.weights(wing.step(model, INPUTS, np.ones((3, 3), np.float32))[0])
    assert all(not np.array_equal(before[path], after[path]) for path in before)
