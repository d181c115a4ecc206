"""Devices present, and the settings under which a strict comparison runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

from ..common.devices import numbered, one_device
from ..common.errors import DeviceError, DtypeError
from ..common.wing import Plan
from .modes import ordinary

# The device under test, where one is.
_UNDER_TEST: ContextVar[str | None] = ContextVar("device under test", default=None)
# How a module is sharded, where its pair says so.
_PLAN: ContextVar[Plan | None] = ContextVar("plan of the port", default=None)


def devices() -> tuple[str, ...]:
    """The devices that PyTorch can use here: always `cpu`, and all of its accelerator where there is one."""
    accelerator = torch.accelerator
    if not accelerator.is_available():
        return ("cpu",)
    kind = accelerator.current_accelerator()
    return ("cpu", *numbered(kind.type, accelerator.device_count())) if kind else ("cpu",)


def device_of(name: str) -> torch.device:
    """PyTorch's device for our name of it.

    Raises:
        DeviceError: PyTorch does not see the device. UsageError: no name of one device.
    """
    name = one_device(name)
    if name not in devices():
        raise DeviceError("", f"the device {name!r} in PyTorch", " and ".join(devices()), "Run where it is present.")
    return torch.device(name)


def dtype_of(name: str) -> torch.dtype:
    """PyTorch's floating-point type of that name.

    Raises:
        DtypeError: there is none.
    """
    dtype = getattr(torch, name, None)
    if not isinstance(dtype, torch.dtype) or not dtype.is_floating_point:
        raise DtypeError("", "the name of a floating-point type", repr(name), "Use 'float32' or 'float64'.")
    return dtype


def under_test() -> torch.device | None:
    """The device that `running` was entered with; None outside of it."""
    name = _UNDER_TEST.get()
    return None if name is None else torch.device(name)


def plan_under_test() -> Plan | None:
    """The plan that `running` was entered with; None outside of it, and where there is none."""
    return _PLAN.get()


@contextmanager
def running(
    device: str = "cpu", dtype: str | None = "float32", tf32: bool = False, plan: Plan | None = None
) -> Iterator[None]:
    """Strict arithmetic in `dtype` on `device`: deterministic, without TF32 unless asked for, put back afterwards.

    In no mode of the caller's. What a program makes of numbers alone is in float64 where `dtype` is, and in float32
    where it is another; None leaves that to the caller.

    plan: of a port that is sharded over processes.

    Raises:
        DeviceError: PyTorch does not see the device.
    """
    device_of(device)
    entered, plans = _UNDER_TEST.set(device), _PLAN.set(plan)
    precision = torch.get_float32_matmul_precision()
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark
    torch.set_float32_matmul_precision("high" if tf32 else "highest")
    cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = tf32, True, False
    try:
        with ordinary(device):
            if dtype is not None:
                torch.set_default_dtype(torch.float64 if dtype == "float64" else torch.float32)
            yield
    finally:
        _UNDER_TEST.reset(entered)
        _PLAN.reset(plans)
        torch.set_float32_matmul_precision(precision)
        cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark = before


def settings() -> dict[str, str]:
    """What bears on a comparison here: devices, precision and determinism, as text."""
    return {
        "version": torch.__version__,
        "devices": ", ".join(devices()),
        "CUDA device": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "float32 matmul precision": torch.get_float32_matmul_precision(),
        "cuDNN TF32": str(torch.backends.cudnn.allow_tf32),
        "deterministic algorithms": str(torch.are_deterministic_algorithms_enabled()),
        "cuDNN benchmark": str(torch.backends.cudnn.benchmark),
        "threads": str(torch.get_num_threads()),
        "default dtype": str(torch.get_default_dtype()).removeprefix("torch."),
    }
