"""Round trips: a module saved and loaded again in each of the ways of PyTorch's users."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import nn

from ..common.arrays import as_numpy
from ..common.wing import RoundTrip, has_safetensors, loading, saving, unlike
from .natives import copied, natives, owned, write


def round_trips(model: nn.Module) -> Iterator[RoundTrip]:
    """Save the module and load it, in turn by `state_dict`, `torch.save` and, where it is installed, `safetensors`.

    Each time it is loaded into a copy of the module in which all that PyTorch saves was overwritten with other values;
    a buffer that is not persistent keeps the module's own, as one that the constructor makes. Nothing stays on disk.

    Raises:
        NotExpressibleError: PyTorch or safetensors refuses to save the module; its path is the way.
        WeightsError: what was saved does not load into the copy; its path is the way.
        ShapeError: a lazy parameter that has no values yet.
    """
    ways: dict[str, Callable[[nn.Module, nn.Module], None]] = {"state_dict": _by_state_dict, "torch.save": _by_torch}
    if has_safetensors():
        ways["safetensors"] = _by_safetensors
    for way, through in ways.items():
        fresh = _fresh(model)
        through(model, fresh)
        yield RoundTrip(way, natives(fresh))


def _fresh(model: nn.Module) -> nn.Module:
    """A copy of the module, tied as it is, with other values in all that is saved."""
    before = {name: each.tensor for each in owned(model).values() for name in each.names}
    fresh = copied(model)
    for path, each in owned(fresh).items():
        if each.persistent:
            # Unlike the module's values, not the copy's: two of its tensors may lie in the same memory.
            write(each.tensor, unlike(as_numpy(before[path])))
    return fresh


def _by_state_dict(model: nn.Module, fresh: nn.Module) -> None:
    with saving("state_dict"):
        state = model.state_dict()
    with loading("state_dict"):
        fresh.load_state_dict(state)


def _by_torch(model: nn.Module, fresh: nn.Module) -> None:
    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.pt"
        with saving("torch.save"):
            torch.save(model.state_dict(), file)
        with loading("torch.save"):
            fresh.load_state_dict(torch.load(file, weights_only=True))


def _by_safetensors(model: nn.Module, fresh: nn.Module) -> None:
    from safetensors.torch import load_model, save_model

    with TemporaryDirectory() as folder:
        file = Path(folder) / "model.safetensors"
        with saving("safetensors"):
            save_model(model, str(file))
        with loading("safetensors"):
            load_model(fresh, file)
