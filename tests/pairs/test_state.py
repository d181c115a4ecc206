"""The models and the process are after every entrance what they were before, also where a call of the user's ends it.

Each call of the models' own code is counted; in turn each of them raises, exits or is interrupted. The whole walk is
thorough.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from flax.linen import attention as linen_attention
from flax.nnx.nn import attention as nnx_attention
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

import paritree
from paritree import Pair, PairError

INPUTS = (np.linspace(-1, 1, 20, dtype=np.float32).reshape(5, 4),)
# What is watched by exchanging its members.
PATCHED = (
    *(torch, nn.Module, nn.Linear, nn.functional, torch.Tensor, jax, jnp, jax.lax, jax.nn, jax.random, np),
    *(flax, nnx, nnx.Module, nnx.Linear, nnx.Dropout, nnx_attention, linen, linen.Module, linen.Dense, linen_attention),
)


@dataclass
class Calls:
    """Of the models' own code: how many there were, and which of them ends with what."""

    count: int = 0
    last: int = 0
    error: BaseException | None = None

    def __call__(self) -> None:
        self.count += 1
        if self.error is not None and self.count == self.last:
            raise self.error


CALLS = Calls()


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        CALLS()
        self.a, self.n, self.d, self.b = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.3), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        CALLS()
        return self.b(self.d(torch.tanh(self.n(self.a(x)))))


class Flax(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        CALLS()
        self.a, self.b = nnx.Linear(4, 6, rngs=rngs), nnx.Linear(6, 3, rngs=rngs)
        self.n, self.d = nnx.BatchNorm(6, momentum=0.9, rngs=rngs), nnx.Dropout(0.3, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        CALLS()
        return self.b(self.d(jnp.tanh(self.n(self.a(x)))))


class Linen(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        CALLS()
        h = linen.BatchNorm(not train, momentum=0.9, name="n")(linen.Dense(6, name="a")(x))
        return linen.Dense(3, name="b")(linen.Dropout(0.3, deterministic=not train)(jnp.tanh(h)))


def made(seed: int) -> Net:
    for seeded in (torch.manual_seed, np.random.seed, random.seed):
        seeded(seed)
    return Net()


def torch_pair() -> Pair:
    """With all that a user may have set on a model."""
    model = made(0)
    model.a.weight.grad = torch.ones_like(model.a.weight)
    model.b.bias.requires_grad_(False)
    model.n.eval()
    model.a.register_forward_hook(lambda *given: None)
    return Pair(model, made(1), INPUTS)


def nnx_pair() -> Pair:
    return Pair(made(0), Flax(nnx.Rngs(0)), INPUTS)


def linen_pair() -> Pair:
    def train(model: Any, inputs: Any) -> Any:
        rngs = {"dropout": jax.random.key(0)}
        return model[0].apply(model[1], *inputs, train=True, mutable=["batch_stats"], rngs=rngs)

    port = (Linen(), Linen().init(jax.random.key(0), *INPUTS))
    return Pair(made(0), port, INPUTS, port_train_call=train)


def factories() -> Pair:
    return Pair(made, lambda seed: made(seed + 1), INPUTS)


PAIRS = {"torch": torch_pair, "nnx": nnx_pair, "linen": linen_pair, "factories": factories}


def of_torch(model: nn.Module) -> dict[str, Any]:
    tensors = [*model.named_parameters(), *model.named_buffers()]
    found: dict[str, Any] = {
        name: (id(each), each.detach().numpy().tobytes(), each.requires_grad, each._version, each._backward_hooks)
        for name, each in tensors
    }
    found |= {f"grad {name}": None if each.grad is None else each.grad.numpy().tobytes() for name, each in tensors}
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            found[f"{path}.{name}"] = list(value) if isinstance(value, dict) else value
    return found


def of_nnx(model: nnx.Module) -> dict[str, Any]:
    """With the counts of its streams, which are Variables."""
    graph, state = nnx.split(model)
    found = {str(keys): _bits(each[...]) for keys, each in nnx.to_flat_state(state)}
    plain = {
        f"{path}.{name}": value if isinstance(value, bool | int | float | str) else type(value)
        for path, module in nnx.iter_modules(model)
        for name, value in vars(module).items()
    }
    return {**found, **plain, "graph": str(graph)}


def of_linen(model: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(model[1])
    return {"module": repr(model[0]), **{str(keys): (id(each), _bits(each)) for keys, each in leaves}}


def _bits(array: Any) -> bytes:
    is_key = jnp.issubdtype(array.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(array) if is_key else array).tobytes()


def of_model(model: Any) -> dict[str, Any]:
    if isinstance(model, nn.Module):
        return of_torch(model)
    if isinstance(model, nnx.Module):
        return of_nnx(model)
    return of_linen(model) if isinstance(model, tuple) else {}


def of_process() -> dict[str, Any]:
    cudnn, kernels = torch.backends.cudnn, torch.backends.cuda
    signals = [each for each in signal.valid_signals() if each not in (signal.SIGKILL, signal.SIGSTOP)]
    return {
        "generators": (torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()), random.getstate()),
        "defaults": (torch.get_default_dtype(), torch.get_default_device(), torch.get_num_threads()),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.is_anomaly_enabled()),
        "autocast": (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
        "modes": (_get_current_function_mode_stack(), _get_current_dispatch_mode_stack()),
        "precision": (torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark),
        "kernels": (kernels.flash_sdp_enabled(), kernels.math_sdp_enabled(), kernels.mem_efficient_sdp_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "jax": {name: getattr(jax.config, name) for name in jax.config.values if hasattr(jax.config, name)},
        "numpy": (np.geterr(), str(np.get_printoptions())),
        "warnings": (list(warnings.filters), warnings.showwarning),
        "signals": {each: signal.getsignal(each) for each in signals},
        "threads": {each.name for each in threading.enumerate()},
        "place": (os.getcwd(), dict(os.environ), list(sys.path)),
        "hooks": (sys.gettrace(), sys.getprofile(), sys.excepthook, sys.displayhook, sys.stdout, sys.stderr),
        "recursion": sys.getrecursionlimit(),
        **{
            f"{home.__name__}.{name}": id(value)
            for home in PATCHED
            for name, value in list(vars(home).items())
            # Made by `copy` for itself.
            if name != "__slotnames__"
        },
    }


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [key for key in {**before, **after} if before.get(key) != after.get(key)]


@pytest.fixture(autouse=True)
def _no_calls() -> Iterator[None]:
    CALLS.error = None
    yield
    CALLS.error = None


def ended(run: Callable[[], object], last: int, error: BaseException) -> BaseException | None:
    """What comes of a run in which one call, counted from 1, ends with an error."""
    CALLS.count, CALLS.last, CALLS.error = 0, last, error
    try:
        run()
    except BaseException as raised:  # an interrupt is what is looked for
        return raised
    finally:
        CALLS.error = None
    return None


def entrances(pair: Pair, found: paritree.Map) -> dict[str, Callable[[], object]]:
    port, train = pair.port, pair.port_train_call
    return {
        "align": lambda: paritree.align(pair),
        "check": lambda: paritree.check(pair, found, devices=("cpu",)),
        "modules": lambda: paritree.check(pair, found, contracts=("modules",), devices=("cpu",)),
        "record": lambda: paritree.record(port, INPUTS, train_call=train, activations=True),
    }


def walk(name: str, entrance: str, step: int) -> int:
    """Every so manieth call ends the run; gives how many there are."""
    pair = PAIRS[name]()
    run = entrances(pair, paritree.align(pair))[entrance]
    CALLS.count = 0
    run()
    count = CALLS.count
    for last in range(1, count + 1, step):
        for error in (RuntimeError("out of luck"), KeyboardInterrupt(), SystemExit(3)):
            before = [of_model(pair.reference), of_model(pair.port), of_process()]
            raised = ended(run, last, error)
            after = [of_model(pair.reference), of_model(pair.port), of_process()]
            place = f"{entrance} of {name}, call {last} of {count}, {type(error).__name__}"
            assert [changed(*both) for both in zip(before, after, strict=True)] == [[], [], []], place
            assert type(raised) is (KeyboardInterrupt if type(error) is KeyboardInterrupt else PairError), place
    return count


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("entrance", ["align", "check", "modules", "record"])
def test_nothing_is_changed_by_a_run(name: str, entrance: str) -> None:
    pair = PAIRS[name]()
    run = entrances(pair, paritree.align(pair))[entrance]
    # What a framework imports when it is first asked stays: PyTorch's optimizers bring its compiler.
    torch.optim.SGD([torch.ones(1)]).zero_grad()
    before = [of_model(pair.reference), of_model(pair.port), of_process()]
    run()
    after = [of_model(pair.reference), of_model(pair.port), of_process()]
    assert [changed(*both) for both in zip(before, after, strict=True)] == [[], [], []]


def test_every_call_of_an_alignment_may_end_it() -> None:
    assert walk("torch", "align", 1) > 10


@pytest.mark.parametrize("name", ["torch", "factories"])
def test_some_calls_of_a_check_may_end_it(name: str) -> None:
    assert walk(name, "check", 97) > 200


@pytest.mark.parametrize("name", ["nnx", "linen"])
def test_every_third_trace_of_an_alignment_may_end_it(name: str) -> None:
    assert walk(name, "align", 3) > 6


@pytest.mark.thorough
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("entrance", ["align", "check", "modules", "record"])
def test_every_call_may_end_a_run(name: str, entrance: str) -> None:
    walk(name, entrance, 1)


def test_a_table_and_a_carry_leave_what_they_read() -> None:
    for name in ("torch", "nnx", "linen"):
        pair = PAIRS[name]()
        found = paritree.align(pair)
        before = of_model(pair.reference), of_process()
        paritree.table(pair.reference)
        paritree.carry(pair.reference, pair.port, found)
        assert (of_model(pair.reference), of_process()) == before
        read = of_model(pair.port), of_process()
        paritree.table(pair.port)
        assert (of_model(pair.port), of_process()) == read


def test_a_change_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, port = made(0), Flax(nnx.Rngs(0))
    before = of_torch(model), of_nnx(port), of_process()
    model.d.eval()
    port.d(jnp.ones(3))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(nn.Linear, "forward", lambda self, x: x)
    torch.rand(1)
    after = of_torch(model), of_nnx(port), of_process()
    found = [changed(*both) for both in zip(before, after, strict=True)]
    assert found[0] == ["d.training"]
    assert len(found[1]) == 1
    assert found[2] == ["generators", "place", "Linear.forward"]
