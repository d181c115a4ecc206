"""Stored tensors: every one of a live module, a module with others in their place, and one saved and loaded again.

A path is the one of `state_dict`. A tensor under several names is listed once, under the first of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from ..common import paths
from ..common.arrays import as_numpy, on_meta
from ..common.errors import ShapeError
from ..common.wing import RoundTrip, StoredTensor, check_fit, has_safetensors, loading, saving, unlike
from .access import tensor


class Owned(NamedTuple):
    """A live tensor with all its names, the owner's first."""

    array: torch.Tensor
    names: tuple[str, ...]
    persistent: bool


def stored_tensors(model: nn.Module) -> dict[str, StoredTensor]:
    """Every parameter and buffer by its path, each once, in the order of `state_dict`.

    The arrays share no memory with the module, which PyTorch writes to in place.

    Raises:
        ShapeError: a lazy parameter that has no values yet.
    """
    return {
        path: StoredTensor(
            path,
            as_numpy(each.array).copy(),
            trainable=isinstance(each.array, nn.Parameter),
            saved=each.persistent,
            aliases=each.names[1:],
            keys=paths.split(path),
            frozen=isinstance(each.array, nn.Parameter) and not each.array.requires_grad,
        )
        for path, each in owned(model).items()
    }


def with_stored_tensors(model: nn.Module, arrays: Mapping[str, Any]) -> nn.Module:
    """The module with some or all of its tensors overwritten, in place and in their own dtypes. Returns `model`.

    arrays: of any framework, by the owners' paths. Ties stay.

    Raises:
        WeightsError: one message for every path that is no owner's and every wrong shape; nothing was changed.
    """
    found = owned(model)
    check_fit({path: tuple(each.array.shape) for path, each in found.items()}, arrays)
    for path, array in arrays.items():
        write(found[path].array, array)
    return model


def copied(model: nn.Module) -> nn.Module:
    """A copy of the module with tensors of its own, tied as the module's are."""
    held = [vars(module) for module in model.modules()]
    # PyTorch refuses to copy a tensor that was computed, such as the weight that `weight_norm` keeps beside its parts.
    computed = [
        each for names in held for each in names.values() if isinstance(each, torch.Tensor) and not each.is_leaf
    ]
    return copy.deepcopy(model, {id(each): each.detach().clone() for each in computed})


def owned(model: nn.Module) -> dict[str, Owned]:
    """The live tensors by their owners' paths.

    Raises:
        ShapeError: a lazy parameter that has no values yet. NotExpressibleError: a tensor on the meta device.
    """
    found = listed(model)
    for path, each in found.items():
        if each.array.is_meta:
            raise on_meta(path)
    return found


def listed(model: nn.Module) -> dict[str, Owned]:
    """The tensors by their owners' paths, those on the meta device among them.

    Raises:
        ShapeError: a lazy parameter that has no values yet.
    """
    names: dict[int, list[str]] = {}
    found: dict[str, Owned] = {}
    for prefix, module in model.named_modules(remove_duplicate=False):
        for name, array in (*module._parameters.items(), *module._buffers.items()):
            if array is None:
                continue
            path = paths.join(prefix, name)
            if isinstance(array, (UninitializedParameter, UninitializedBuffer)):
                raise ShapeError(path, "a shape that is known", "(?,)", "Send an input through the model first.")
            names.setdefault(id(array), []).append(path)
            # Of two names of a buffer one that is saved suffices.
            persistent = name not in module._non_persistent_buffers_set
            owner = names[id(array)][0]
            persistent |= owner in found and found[owner].persistent
            found[owner] = Owned(array, tuple(names[id(array)]), persistent)
    return found


def write(into: torch.Tensor, array: Any) -> None:
    """Overwrite a tensor with an array of any framework, cast to the tensor's dtype."""
    if into.device.type == "cpu":
        # Through NumPy's view of the same memory: one copy, whatever the array's strides and dtype are.
        as_numpy(into)[...] = as_numpy(array)
    else:
        with torch.no_grad():
            into.copy_(tensor(array))


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
        yield RoundTrip(way, stored_tensors(fresh))


def _fresh(model: nn.Module) -> nn.Module:
    """A copy of the module, tied as it is, with other values in all that is saved."""
    before = {name: each.array for each in owned(model).values() for name in each.names}
    fresh = copied(model)
    for path, each in owned(fresh).items():
        if each.persistent:
            # Unlike the module's values, not the copy's: two of its tensors may lie in the same memory.
            write(each.array, unlike(as_numpy(before[path])))
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
