"""Run by a test in a process of its own: a second CPU device of JAX's stands for an accelerator.

Its arrays do not mix with those of the first. While a model is measured there nothing may pass from one to the other,
be it asked for or not: values come from the host, and go to it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=2"

import jax
import numpy as np
import torch
from flax import nnx
from torch import nn

import paritree
from paritree import Pair
from paritree.common.errors import ParitreeError
from paritree.conformance import check_reference_models
from paritree.conformance.contracts import DEFAULT_CONTRACTS
from paritree.impl_jax import devices as placing

X = (np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32),)
_ordinary = placing.ordinary


@contextmanager
def guarded(guard: str) -> Iterator[None]:
    """Operations as they are, but that what passes between devices is an error."""
    with _ordinary(), jax.transfer_guard_device_to_device(guard):
        yield


def reference(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    nn.init.zeros_(model[0].bias), nn.init.zeros_(model[2].bias)
    return model


# Where new arrays came to lie as the port was called.
seen: set[int] = set()


class Port(nnx.Module):
    def __init__(self, seed: int) -> None:
        draws = nnx.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
        self.first = nnx.Linear(4, 8, kernel_init=draws, rngs=nnx.Rngs(seed))
        self.second = nnx.Linear(8, 2, kernel_init=draws, rngs=nnx.Rngs(seed + 1))

    def __call__(self, x: jax.Array) -> jax.Array:
        seen.add(placing.setting("jax_default_device").id)
        return self.second(jax.nn.relu(self.first(x)))


def reference_models(names: Sequence[str]) -> None:
    """Ports of both wings on the second device, alone and with the reference named."""
    report = check_reference_models(names, wings=("linen", "nnx"), devices=("cpu:1", "cpu:cpu:1"))
    assert report.ok, str(report)
    assert {result.device for result in report.results} == {"cpu:1", "cpu:cpu:1"}
    print(f"{len(report.results)} contracts of reference models")


def pairs() -> None:
    """A pair from PyTorch to NNX, whose port is a factory, and one of NNX with itself on two devices."""
    wanted = tuple(name for name in DEFAULT_CONTRACTS if name != "values")
    for pair, device in (
        (Pair(reference, lambda seed: Port(seed), X), "cpu:cpu:1"),
        (Pair(lambda seed: Port(seed), lambda seed: Port(seed), X), "cpu:1:cpu:1"),
    ):
        map = paritree.align(pair)
        seen.clear()
        report = paritree.check(pair, map, contracts=wanted, devices=(device,))
        assert seen == {1}, seen
        assert report.ok, str(report)
        print(f"{report.results[0].wing} on {report.results[0].device}")


def absent() -> None:
    """PyTorch has one CPU device, and the reason says so."""
    (result,) = paritree.check(Pair(reference, lambda seed: Port(seed), X), devices=("cpu:1:cpu",)).results
    print(result.status, result.message)


def elsewhere() -> None:
    """A model that brings an array of another device along cannot be run."""
    there = jax.device_put(np.zeros(2, np.float32), jax.devices()[0])

    def call(model: Port, inputs: tuple[jax.Array]) -> jax.Array:
        # What jax.jit can trace has such an array as a constant, and runs.
        return model(*inputs) + there * bool(np.asarray(inputs[0]).any())

    pair = Pair(Port(0), Port(1), X, port_call=call)
    map = paritree.align(pair)
    try:
        paritree.check(pair, map, devices=("cpu:1",))
    except ParitreeError as error:
        print(type(error).__name__, error)


if __name__ == "__main__":
    # The reference models are built there; a pair's live models are copied, by name, to where they are measured.
    placing.ordinary = partial(guarded, "disallow_explicit")  # type: ignore[assignment]
    reference_models(sys.argv[1:])
    placing.ordinary = partial(guarded, "disallow")  # type: ignore[assignment]
    for told in (pairs, absent, elsewhere):
        told()
