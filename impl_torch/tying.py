"""Tying: in PyTorch a tie is one Parameter object that several modules hold."""

from __future__ import annotations

import copy

import torch
from torch import nn

from ..common import paths
from ..common.errors import TieError
from ..common.ties import Tie, TieGroup, check_tie
from .access import get_parameter, table


def tie_groups(model: nn.Module) -> tuple[TieGroup, ...]:
    """Every parameter that has more than one path."""
    return table(model).tie_groups


def identical(model: nn.Module, one: str, other: str) -> bool:
    """Whether two paths lead to one Parameter, so that a change of one is a change of the other.

    Raises:
        PathError: no such path.
    """
    return get_parameter(model, one) is get_parameter(model, other)


def equal(model: nn.Module, one: str, other: str) -> bool:
    """Whether two parameters have the same shape and values now, tied or not.

    Raises:
        PathError: no such path.
    """
    return torch.equal(get_parameter(model, one), get_parameter(model, other))


def tie(model: nn.Module, owner: str, alias: str) -> nn.Module:
    """Make `alias` the Parameter at `owner`; its own values are dropped. Returns `model`.

    Raises:
        PathError, TieError: no such path, or unequal shapes, dtypes or kinds. The model is as it was.
    """
    rows = table(model)
    check_tie(Tie(owner, alias), {path: rows[path].shape for path in (owner, alias)})  # type: ignore[misc]
    if rows[owner].dtype != rows[alias].dtype:
        raise TieError(alias, f"the owner's dtype {rows[owner].dtype}", rows[alias].dtype, "Cast one of the two first.")
    if rows[owner].kind != rows[alias].kind:
        raise TieError(alias, f"a {rows[owner].kind}, as its owner {owner!r} is", f"a {rows[alias].kind}")
    if not identical(model, owner, alias):
        _assign(model, alias, get_parameter(model, owner))
    return model


def untie(model: nn.Module, alias: str) -> nn.Module:
    """Give `alias` a Parameter of its own with the values it has now. Returns `model`.

    Raises:
        PathError, TieError: `alias` is not an alias of anything. The model is as it was.
    """
    if table(model)[alias].tie is None:
        raise TieError(alias, "an alias", "a parameter that owns itself", "Name the alias; tie_groups lists them.")
    array = get_parameter(model, alias)
    own = array.detach().clone()
    _assign(model, alias, nn.Parameter(own, array.requires_grad) if isinstance(array, nn.Parameter) else own)
    return model


def _assign(model: nn.Module, path: str, array: torch.Tensor) -> None:
    """Put `array` at `path` alone.

    A module on the way that is reachable under a second path is replaced, on this path, by a shallow copy: the copy
    holds the same Parameters, so every other tie stays.
    """
    *containers, name = paths.split(path)
    times: dict[nn.Module, int] = {}
    for _, module in model.named_modules(remove_duplicate=False):
        times[module] = times.get(module, 0) + 1
    module = model
    for component in containers:
        child = module._modules[component]
        assert child is not None
        if times[child] > 1:
            child = copy.copy(child)
            for registry in ("_modules", "_parameters", "_buffers"):
                child.__dict__[registry] = dict(child.__dict__[registry])
            # An LSTM, GRU or RNN also notes its Parameters in lists, which it writes to when one is set.
            for noted in ("_flat_weights", "_flat_weight_refs"):
                if isinstance(child, nn.RNNBase):
                    child.__dict__[noted] = list(child.__dict__[noted])
            module._modules[component] = child
        module = child
    # By setattr, as some modules (an LSTM) note elsewhere which Parameters they have.
    setattr(module, name, array)
