"""Tracing: what each call of each module took and gave, in one forward pass. The model is never written to.

To be made and used inside `running(device, dtype)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import nn

from ..common.wing import Call, CallRecorder, Inputs, Trace, Traced, Tracer, named_arguments, plain
from .access import neutral
from .core import called, cast_copy, given, inference
from .devices import dtype_of
from .stored import owned, with_stored_tensors


def tracer(model: nn.Module, inputs: Inputs, call: Call | None = None, *, dtype: str = "float32") -> Tracer:
    """The model made ready to be traced: `run(weights)` gives the calls of its modules in the order of their start.

    Each run works on a copy of the model, whose modules have hooks. A module whose `forward` is called directly, or
    whose tensors another one uses, is not seen.

    Arguments and errors: see `SideWing`.
    """
    of_type = dtype_of(dtype)

    def run(weights: Mapping[str, np.ndarray]) -> tuple[Trace, ...]:
        own = with_stored_tensors(cast_copy(model, of_type), weights)
        # With gradients to be taken, as when it is probed: without, some layers go another way, around their modules.
        for parameter in own.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        recorder = CallRecorder(_neutral)
        with ExitStack() as stack:
            stack.enter_context(inference(own))
            stack.enter_context(torch.enable_grad())
            for module, known in _traced(own).items():
                _hook(module, known, recorder, stack)
            called(own, given(own, inputs, of_type), call)
        return recorder.traces()

    return run


def _traced(model: nn.Module) -> dict[nn.Module, Traced]:
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


def _hook(module: nn.Module, known: Traced, recorder: CallRecorder, stack: ExitStack) -> None:
    def before(module: nn.Module, arguments: Any, named: Any) -> None:
        recorder.begin(known, named_arguments(type(module).forward, arguments, named))

    def after(module: nn.Module, arguments: Any, named: Any, output: Any) -> None:
        recorder.end(output)

    # The first before the call sees what the caller gave, and the last after it what the caller gets.
    stack.callback(module.register_forward_pre_hook(before, prepend=True, with_kwargs=True).remove)
    stack.callback(module.register_forward_hook(after, with_kwargs=True).remove)


def _neutral(array: Any) -> np.ndarray | None:
    return neutral(array) if isinstance(array, torch.Tensor) else np.array(array)
