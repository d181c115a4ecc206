"""The sites of a parameter in a PyTorch program, and each one's share of the gradient.

While a model runs, every argument of an operation that is a parameter is replaced by a leaf of its own that shares its
values, so that one backward pass yields one share a site.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.overrides import TorchFunctionMode, resolve_name
from torch.utils._pytree import tree_map

from ..common.wing import Site
from .access import neutral
from .core import derivatives

# What the mode is not shown: an `autograd.Function` of somebody's own is handed the parameter itself.
UNSEEN = "unseen"


class SplitUses(TorchFunctionMode):
    """Replaces each use of a parameter by a leaf with its values, and remembers which.

    owners: the parameters by path; those of no floating-point numbers have no sites.
    """

    def __init__(self, owners: Mapping[str, torch.Tensor]) -> None:
        super().__init__()
        self._owners = dict(owners)
        self._paths = {id(array): path for path, array in owners.items() if array.is_floating_point()}
        self._found: list[tuple[str, str, torch.Tensor]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        operation = _name_of(func)
        split = lambda value: self._split(value, operation)  # noqa: E731
        return func(*tree_map(split, args), **tree_map(split, dict(kwargs or {})))

    def _split(self, value: Any, operation: str) -> Any:
        path = self._paths.get(id(value)) if isinstance(value, torch.Tensor) else None
        if path is None:
            return value
        # In the same memory: many of the operations only ask for a shape, and what writes to it is to reach it.
        leaf = value.detach().requires_grad_()
        self._found.append((path, operation, leaf))
        return leaf

    def shares(self, value: torch.Tensor) -> dict[str, tuple[Site, ...]]:
        """The sites of each owner, in the order of the program, with their shares of the gradient of `value`."""
        # By the parameter itself too: that is left of its gradient which no leaf has taken.
        whole = [(path, UNSEEN, array) for path, array in self._owners.items() if array.requires_grad]
        uses = [*self._found, *whole]
        found = derivatives(value, [array for _, _, array in uses])
        sites: dict[str, list[Site]] = {path: [] for path in self._owners}
        for (path, operation, _), share in zip(uses, found, strict=True):
            # A use that no gradient reaches (a read of the shape, say) has no share and is not a site.
            if share is not None:
                sites[path].append(Site(operation, neutral(share)))
        return {path: tuple(members) for path, members in sites.items()}


def _name_of(func: Callable[..., Any]) -> str:
    """`linear` for `torch.nn.functional.linear`, and for an attribute such as `weight.T` its name."""
    name = resolve_name(func) or getattr(func, "__name__", "operation")
    return name.removesuffix(".__get__").rpartition(".")[2]
