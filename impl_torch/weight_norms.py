"""Weight norms: a module whose weights are a magnitude and a direction, made one with the weights themselves."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.utils.weight_norm import WeightNorm

from ..common import paths
from .stored import copied


def without_weight_norms(model: nn.Module) -> tuple[nn.Module, dict[str, tuple[str, str]]]:
    """A copy of the module with the products in the place of weight norms, and by their paths those of the two factors.

    Of `torch.nn.utils.weight_norm`, and of the parametrization of that name in a module that has no other one.
    """
    made = copied(model)
    found: dict[str, tuple[str, str]] = {}
    for prefix, module in [*made.named_modules()]:
        for hook in [each for each in module._forward_pre_hooks.values() if isinstance(each, WeightNorm)]:
            path = paths.join(prefix, hook.name)
            found[path] = f"{path}_g", f"{path}_v"
            nn.utils.remove_weight_norm(module, hook.name)
        names = _parametrized(module)
        for name, tensor in {name: getattr(module, name).detach().clone() for name in names}.items():
            if names[0] == name:
                # PyTorch's own way back takes the property from the class, which the module that was copied has too.
                module.__class__ = type(module).__bases__[0]
                del module.parametrizations
            module.register_parameter(name, nn.Parameter(tensor))
            own = paths.join(prefix, "parametrizations", name)
            found[paths.join(prefix, name)] = f"{own}.original0", f"{own}.original1"
    return made, found


def _parametrized(module: Any) -> list[str]:
    """The tensors of a module that are weight norms, if all that it has parametrized are."""
    lists = module._modules.get("parametrizations")
    if not isinstance(lists, nn.ModuleDict) or not type(module).__name__.startswith("Parametrized"):
        return []
    kinds = {name: [type(each).__name__ for each in own.children()] for name, own in lists.items()}
    return [*kinds] if all(each == ["_WeightNorm"] for each in kinds.values()) else []
