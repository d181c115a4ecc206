"""Devices present, and the settings under which a strict comparison runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import flax
import jax
import jax.numpy as jnp

from ..common.devices import KINDS, numbered, one_device
from ..common.errors import DeviceError, DtypeError
from ..common.wing import Plan
from .meshes import laid_out
from .modes import ordinary


def devices() -> tuple[str, ...]:
    """The devices of this process that JAX can use here: `cpu` first, and all of each other kind that there is."""
    return tuple(name for kind in KINDS for name, _ in _named(kind))


def _named(kind: str) -> Iterator[tuple[str, Any]]:
    found = next(filter(None, map(_local, _PLATFORMS.get(kind, (kind,)))), [])
    return zip(numbered(kind, len(found)), found, strict=True)


# What the plugins for Apple's GPUs call themselves.
_PLATFORMS = {"mps": ("mps", "METAL")}


def _local(platform: str) -> list[Any]:
    try:
        return jax.local_devices(backend=platform)
    except RuntimeError:  # JAX's way to say that it has no such backend
        return []


def device_of(name: str) -> Any:
    """JAX's device for our name of it.

    Raises:
        DeviceError: JAX does not see the device. UsageError: no name of one device.
    """
    name = one_device(name)
    # Of its kind alone: a search for the others would be made anew for every run.
    found = dict(_named(name.partition(":")[0])).get(name)
    if found is None:
        raise DeviceError("", f"the device {name!r} in JAX", " and ".join(devices()), "Run where it is present.")
    return found


@contextmanager
def running(
    device: str = "cpu", dtype: str | None = "float32", tf32: bool = False, plan: Plan | None = None
) -> Iterator[None]:
    """Strict arithmetic in `dtype` on `device`: full matmul precision unless TF32 is asked for, put back afterwards.

    In no mode of the caller's. 64-bit types are enabled where `dtype` is float64 and only there; None leaves that to
    the caller.

    plan: of a port with a mesh, which is set.

    Raises:
        DeviceError: JAX does not see the device. UsageError, NotExpressibleError: no mesh of JAX's, or one of other
            devices.
    """
    with ExitStack() as stack:
        stack.enter_context(ordinary())
        stack.enter_context(jax.default_device(device_of(device)))
        stack.enter_context(jax.default_matmul_precision("tensorfloat32" if tf32 else "highest"))
        if dtype is not None:
            stack.enter_context(jax.enable_x64(dtype == "float64"))
        stack.enter_context(laid_out(plan))
        yield


def setting(name: str) -> Any:
    """One of JAX's settings by its name; they are made at import, so a type checker cannot see them."""
    return getattr(jax.config, name)


def check_dtype(dtype: str) -> None:
    """Refuse what is no floating-point type, and float64 where JAX would silently make it float32.

    Raises:
        DtypeError: no such type, or float64 where 64-bit types are not enabled.
    """
    known = getattr(jnp, dtype, None)
    if not isinstance(known, type) or not jnp.issubdtype(known, jnp.floating):
        raise DtypeError("", "the name of a floating-point type", repr(dtype), "Use 'float32' or 'float64'.")
    if dtype == "float64" and not setting("jax_enable_x64"):
        raise DtypeError(
            "", "float64 enabled in JAX", "float32 in its place", "Build and run inside running(dtype='float64')."
        )


def native_dtype(dtype: str) -> str:
    """What JAX holds in the place of `dtype`: whole numbers have 32 bits unless 64-bit types are enabled."""
    return "int32" if dtype == "int64" and not setting("jax_enable_x64") else dtype


def settings() -> dict[str, str]:
    """What bears on a comparison here: devices, precision and determinism, as text."""
    return {
        "version": jax.__version__,
        "flax version": flax.__version__,
        "devices": ", ".join(devices()),
        "CUDA device": next((device.device_kind for _, device in _named("cuda")), "none"),
        "matmul precision": str(setting("jax_default_matmul_precision") or "the backend's default"),
        "64-bit types": str(setting("jax_enable_x64")),
        "random bits": str(setting("jax_default_prng_impl")),
        "partitionable threefry": str(setting("jax_threefry_partitionable")),
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", "not set"),
    }
