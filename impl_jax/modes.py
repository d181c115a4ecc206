"""Modes that a caller of JAX's may be in and that change what a model computes: put aside, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import jax
import jax.numpy as jnp
from jax.core import Tracer


def hindrance() -> str:
    """What a caller is inside of that cannot be put aside, so that no model can be measured there; empty for nothing.

    In a function that JAX traces no array has values, not even a new one.
    """
    return "jax.jit or another function that JAX traces" if isinstance(jnp.zeros(()) + 1, Tracer) else ""


@contextmanager
def ordinary() -> Iterator[None]:
    """Operations as JAX has them when nobody has said otherwise; put back afterwards.

    Compiled where that is asked for, and without what only looks for mistakes: `debug_nans` takes for an error what a
    model may well give at the values that it is asked at; the guards of transfers, promotions and keys are about the
    caller's code and not about ours. The width of types is the caller's: of what type the models are is for it to say.
    """
    with ExitStack() as stack:
        for setting in (
            jax.disable_jit(False),
            jax.debug_nans(False),
            jax.debug_infs(False),
            jax.debug_key_reuse(False),
            jax.check_tracer_leaks(False),
            jax.transfer_guard("allow"),
            jax.numpy_rank_promotion("allow"),
            jax.numpy_dtype_promotion("standard"),
        ):
            stack.enter_context(setting)
        yield


def random_kept() -> AbstractContextManager[None]:
    """Nothing, since JAX has no generators but its keys."""
    return nullcontext()
