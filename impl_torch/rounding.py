"""Rounding: a run in which every operation rounds otherwise, to see what rounding alone does to the outputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ..common.arrays import as_numpy, rerounded
from ..common.seeding import generator
from .access import tensor


class Rerounded(TorchDispatchMode):
    """As long as it lasts each operation's results are moved by one rounding, other ways for each draw."""

    def __init__(self, draw: int) -> None:
        super().__init__()
        self._random = generator(draw, "rerounded")

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        # Copied before the call, which may write to them. Numbers in the code are exact.
        given = [_numbers(each) for each in tree_leaves((args, kwargs or {})) if _is_floating(each)]
        output = func(*args, **(kwargs or {}))
        for made in tree_leaves(output):
            if isinstance(made, torch.Tensor) and made.is_floating_point():
                before = as_numpy(made)
                after = rerounded(before, given, self._random)
                if after is not before:
                    made.copy_(tensor(after).to(made.device))
        return output


def _is_floating(value: Any) -> bool:
    return isinstance(value, float) or (isinstance(value, torch.Tensor) and value.is_floating_point())


def _numbers(value: Any) -> np.ndarray:
    return np.array(as_numpy(value) if isinstance(value, torch.Tensor) else value)
