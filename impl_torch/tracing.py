"""Tracing: what each call of each module took and gave, in one forward pass. The model is never written to.

To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from ..common.wing import Call, CallRecorder, Inputs, Trace, Traced, Tracer, WatchedCall, plain
from .access import neutral, tensor
from .core import called, cast_copy, given, inference
from .devices import dtype_of, under_test
from .stored import owned, with_stored_tensors


def tracer(model: nn.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Tracer:
    """The model made ready to be traced: `run(weights)` gives the calls of its modules in the order of their start.

    Each run works on a copy of the model, whose modules have calls that are watched. A module whose `forward` is called
    directly, or whose tensors another one uses, is not seen.

    Arguments and errors: see `SideWing`.
    """
    of_type = dtype_of(dtype)

    def run(
        weights: Mapping[str, np.ndarray], recorder: Callable[..., CallRecorder] = CallRecorder
    ) -> tuple[Trace, ...]:
        own = with_stored_tensors(cast_copy(model, of_type), weights)
        # With gradients to be taken, as when it is probed: without, some layers go another way, around their modules.
        for parameter in own.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        made = recorder(_neutral, _restored)
        made.find = dict(own.named_modules()).get
        for module, known in traced_modules(own).items():
            watch(module, known, made)
        with inference(own), torch.enable_grad(), made.passing():
            called(own, given(own, inputs, of_type), call)
        return made.traces()

    return run


def traced_modules(model: nn.Module) -> dict[nn.Module, Traced]:
    """What is known of each module, each under the first of its paths."""
    owners = {id(each.array): path for path, each in owned(model).items()}
    return {
        module: Traced(
            path,
            type(module).__name__,
            plain(vars(module)),
            tuple(owners[id(each)] for each in _tensors(module, recurse=False)),
            tuple(owners[id(each)] for each in _tensors(module, recurse=True)),
        )
        for path, module in model.named_modules()
    }


def _tensors(module: nn.Module, recurse: bool) -> list[torch.Tensor]:
    return [*module.parameters(recurse), *module.buffers(recurse)]


def watch(module: nn.Module, known: Traced, recorder: CallRecorder) -> None:
    """The module's calls through a recorder: around all hooks, so that it sees what the caller gives and gets."""
    run, forward = module._call_impl, type(module).forward

    def watched(*arguments: Any, **named: Any) -> Any:
        return recorder.around(WatchedCall(known, forward, run, arguments, named))

    vars(module)["_call_impl"] = watched


def _neutral(array: Any) -> np.ndarray | None:
    return neutral(array) if isinstance(array, torch.Tensor) else np.array(array)


def _restored(array: np.ndarray, like: torch.Tensor | None) -> torch.Tensor:
    made = tensor(array)
    return made.to(under_test()) if like is None else made.to(like.device, like.dtype)
