"""The core of the wing: a module as a function of its arrays, run in a mode.

A module is taken apart and put together around each run: a tied Variable is one entry of the state, used at all its
sites, so its gradient is the sum over them, which jax.grad of the module itself would not give.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import contextmanager, nullcontext
from typing import Any

import jax
from flax import nnx
from flax.nnx.nn import attention

from ...common.wing import Call
from .. import core
from ..core import Arrays, Functional, Mode, traced_anew, whole_attention
from ..trees import filled
from .sharding import places, sharded
from .stored import owned, value_of


def functional(model: nnx.Module, call: Call | None = None) -> Functional:
    """The module as a function of its arrays; `call(model, inputs)`, or without one the module itself is called.

    Raises:
        ChildNameError: two arrays whose names lead to one path.
    """
    model = sharded(model)
    stored = owned(model)
    # An Embed alone, told no dtype to compute in, keeps the one that its parameter had when it was made.
    following = {
        path
        for path, module in nnx.iter_modules(model)
        if isinstance(module, nnx.Embed) and module.dtype == module.embedding.dtype
    }
    with inference(model):
        graph, state = nnx.split(model)
    flat = nnx.to_flat_state(state)

    def made(arrays: Arrays) -> nnx.Module:
        new = {stored[path].keys: array for path, array in arrays.items()}
        held = []
        for keys, entry in zip(flat.paths, flat.leaves, strict=True):
            value = filled(value_of(entry), new, tuple(keys))  # type: ignore[arg-type]
            held.append((keys, entry.replace(value) if isinstance(entry, nnx.Variable) else value))
        own: Any = nnx.merge(graph, nnx.from_flat_state(held))
        for embed in _at(own, following):
            embed.dtype = embed.embedding.dtype
        return own

    def run(arrays: Arrays, inputs: Any, mode: Mode) -> tuple[Any, nnx.Module]:
        own = made(arrays)
        if mode.training:
            own.train()
        if mode.seed is not None:
            _reseed(own, mode.seed)
        with without_dropout(own) if mode.training and not mode.dropout else nullcontext():
            return called(own, inputs, call), own

    return Functional(stored, owned, made, run, lambda: places(model))


def _at(model: nnx.Module, places: Set[Any]) -> list[Any]:
    return [module for path, module in nnx.iter_modules(model) if path in places] if places else []


def called(model: Any, arguments: Any, call: Call | None = None) -> Any:
    """The output of `call(model, arguments)`, or without one of the module itself."""
    return core.called(model, arguments, call, model)


@contextmanager
def inference(model: nnx.Module) -> Iterator[None]:
    """The module in inference mode; what each submodule was set to is put back afterwards."""
    switches = ("deterministic", "use_running_average")
    before = [
        (module, name, getattr(module, name))
        for _, module in nnx.iter_modules(model)
        for name in switches
        if name in vars(module)
    ]
    model.eval()
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)


@contextmanager
def without_dropout(own: nnx.Module, runs: object = None) -> Iterator[None]:
    """No dropout: the module's layers that drop have none to drop, and Flax's attention keeps all its weights.

    runs: see `traced_anew`.
    """
    for _, module in nnx.iter_modules(own):
        if isinstance(module, nnx.Dropout):
            module.rate = 0.0
        elif isinstance(module, nnx.MultiHeadAttention):
            module.deterministic = True
    with traced_anew(runs), whole_attention(attention):
        yield


def _reseed(own: nnx.Module, seed: Any) -> None:
    """Set all random streams of the module to a seed."""
    tags = {stream.key.tag for _, stream in nnx.iter_graph(own) if isinstance(stream, nnx.RngStream)}
    keys: dict[str, Any] = {tag: jax.random.key(seed) for tag in tags}
    nnx.reseed(own, policy="match_shape", **keys)
