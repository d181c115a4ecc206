"""Devices present, and the settings under which a strict comparison runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..common.errors import DeviceError


def devices() -> tuple[str, ...]:
    """The devices that PyTorch can use here: always `cpu`, and `cuda` where it is."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


@contextmanager
def running(device: str = "cpu", dtype: str = "float32") -> Iterator[None]:
    """Strict arithmetic in `dtype` on `device`: no TF32, deterministic, put back afterwards.

    Raises:
        DeviceError: PyTorch does not see the device.
    """
    if device not in devices():
        raise DeviceError("", f"the device {device!r} in PyTorch", " and ".join(devices()), "Run where it is present.")
    precision = torch.get_float32_matmul_precision()
    tf32 = torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(precision)
        torch.backends.cudnn.allow_tf32 = tf32


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
