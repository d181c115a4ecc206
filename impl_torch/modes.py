"""Modes that a caller of PyTorch's may be in and that change what a model computes: put aside, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager

import torch
from torch.overrides import _get_current_function_mode_stack
from torch.utils._device import DeviceContext
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

_AUTOCAST = ("cpu", "cuda")


def hindrance() -> str:
    """What a caller is inside of that cannot be put aside, so that no model can be measured there; empty for nothing.

    A transformation of `torch.func` or a tracer has arrays without values; a mode of the caller's own, as that of fake
    tensors, may make anything of an operation.
    """
    if torch._C._functorch.peek_interpreter_stack() is not None:  # type: ignore[attr-defined]
        return "a transformation of torch.func, as grad or vmap"
    if torch.jit.is_tracing():  # type: ignore[attr-defined]
        return "torch.jit.trace"
    modes = (*_get_current_function_mode_stack(), *_get_current_dispatch_mode_stack())
    return next((type(mode).__name__ for mode in modes if not isinstance(mode, DeviceContext)), "")


@contextmanager
def ordinary(device: str = "cpu") -> Iterator[None]:
    """Operations as PyTorch has them when nobody has said otherwise, with gradients; put back afterwards.

    Neither inference mode nor `no_grad`, autocast or the detection of anomalies, which takes a NaN for an error. New
    tensors are on `device`. Their dtype is the caller's: of what type the models are is for it to say.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.callback(torch.set_default_dtype, dtype)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.autograd.set_detect_anomaly(False))
        for kind in _AUTOCAST:
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        # Without need it would only cost: each function of PyTorch's goes through it.
        if torch.get_default_device() != torch.device(device):
            stack.enter_context(torch.device(device))
        yield


def random_kept() -> AbstractContextManager[None]:
    """PyTorch's generators, which are global, put back afterwards: the CPU's, and those of all GPUs in use."""
    return torch.random.fork_rng(range(torch.cuda.device_count()) if torch.cuda.is_initialized() else [])
