"""What every row finds around it, so that its facts depend on nothing but its own code."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax
import torch


@contextmanager
def the_same_everywhere() -> Iterator[None]:
    """JAX on the CPU, where PyTorch is by default, and PyTorch's generator on a fixed seed.

    The generator is put back as it was, since rows seed it as they please. JAX has none.
    """
    with jax.default_device(jax.devices("cpu")[0]), torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        yield
