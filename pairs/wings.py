"""The wings, loaded on demand."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import Any, cast

from ..common.devices import sides_devices
from ..common.errors import DeviceError, UsageError, nearest
from ..common.optimizers import OptimizerStates
from ..common.wing import Loader, Plan, SelfAnswering, SideWing, Wing, is_nnx_state, side_name

# Where each wing lives, below the package.
HOMES: dict[str, str] = {"torch": "impl_torch", "linen": "impl_jax.linen", "nnx": "impl_jax.nnx"}
# Where each kind of side of a pair lives that does not answer for itself.
SIDES: dict[str, str] = {**HOMES, "pytree": "impl_jax.pytrees"}


def load_wing(name: str) -> Wing:
    """The wing `torch`, `linen` or `nnx`; its framework is imported now.

    Raises:
        UsageError: no such wing.
    """
    if name not in HOMES:
        raise UsageError(name, "the name of a wing", "none of that name", nearest(name, HOMES))
    return cast(Wing, import_module(f"..{HOMES[name]}", __package__))


def side_wing(model: Any) -> SideWing:
    """The functions for a side of a pair: of its wing, of bare pytrees, or its own.

    Raises:
        UsageError: what is no model of any wing, and no pytree of arrays.
    """
    if isinstance(model, SelfAnswering):
        return model.side_wing
    return cast(SideWing, import_module(f"..{SIDES[side_name(model)]}", __package__))


def loader_of(model: Any) -> Loader:
    """The functions that fill a model of any wing, live or abstract, a bare pytree, or the state of an NNX module.

    Raises:
        UsageError: none of these.
    """
    if isinstance(model, SelfAnswering):
        raise UsageError("like", "a model to be filled", "a record", "Give the model that was recorded.")
    name = "nnx" if is_nnx_state(model) else ""
    try:
        home = SIDES[name or side_name(model)]
    except UsageError as error:
        expected = "an nn.Module, an nnx.Module, (linen module, variables) or a pytree of arrays, live or abstract"
        raise UsageError("like", expected, error.found, error.remedy) from None
    return cast(Loader, import_module(f"..{home}", __package__))


def optimizer_states(name: str) -> OptimizerStates:
    """The functions for the optimizers of a side of that kind: `torch`, `linen`, `nnx` or `pytree`."""
    room = "impl_torch" if name == "torch" else "impl_jax"
    return cast(OptimizerStates, import_module(f"..{room}.optimizer_states", __package__))


@contextmanager
def mesh_set(plan: Plan | None) -> Iterator[None]:
    """The mesh of a plan set, if it is one of JAX's, while a factory makes a model whose places name its axes."""
    if plan is None or type(plan.mesh).__module__.partition(".")[0] not in ("jax", "jaxlib"):
        yield
        return
    with import_module("..impl_jax.meshes", __package__).laid_out(plan.spread):
        yield


def planned(plan: Plan | None) -> Plan | None:
    """A plan with what PyTorch's processes are now, where somebody has imported it."""
    if plan is None or "torch" not in sys.modules:
        return plan
    home = import_module("..impl_torch.distributed", __package__)
    return replace(plan, processes=home.processes(), random_state=home.random_state())


def leads() -> bool:
    """Whether this process is the one that tells: the only one, or PyTorch's first."""
    dist: Any = sys.modules.get("torch.distributed")
    return dist is None or not dist.is_available() or not dist.is_initialized() or dist.get_rank() == 0


def absence(device: str, seen: Mapping[str, Sequence[str]]) -> str | None:
    """Why a comparison on `device` is not possible, by what each framework sees; None if each sees it.

    What sees none at all needs none.
    """
    blind = [f"{name} sees {', '.join(found)}" for name, found in seen.items() if found and device not in found]
    return f"{device} is not present: {'; '.join(blind)}" if blind else None


def pair_absence(device: str, reference: Mapping[str, Sequence[str]], port: Mapping[str, Sequence[str]]) -> str | None:
    """The same for two sides, where `device` may be the reference's and the port's."""
    wanted = sides_devices(device)
    if wanted.reference == wanted.port:
        return absence(wanted.port, {**reference, **port})
    reasons = filter(None, (absence(wanted.reference, reference), absence(wanted.port, port)))
    told = "; ".join(dict.fromkeys(reasons))
    return f"{device}, the reference on {wanted.reference} and the port on {wanted.port}: {told}" if told else None


def require(device: str, reason: str | None) -> None:
    """Raises DeviceError if there is a reason why it cannot be used."""
    if reason:
        raise DeviceError(
            "", f"the device {device!r} in every wing", reason, "Drop the requirement, or run where it is."
        )
