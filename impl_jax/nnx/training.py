"""Training: one step in place, and a model made ready to be trained or run in either mode, on copies of it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from flax.nnx.nn import attention

from ...common.wing import Call, Cotangents, Inputs, Optimizer, Pass, Passer, Trainer, Training, check_targets
from ..devices import check_dtype
from ..probing import called, given
from ..training import floating, goals_of, moving, squared_error, statistics_dtype, tracing, whole_attention
from ..trees import is_array
from .access import arrays, in_mode
from .natives import natives, value_of, with_natives


def step(
    model: nnx.Module, inputs: Sequence[np.ndarray], targets: np.ndarray, *, learning_rate: float = 0.1, seed: int = 0
) -> tuple[nnx.Module, float]:
    """One step of SGD on the mean squared error, in training mode; the model after it and the loss before it.

    seed: of the dropout masks, if the model draws any. Returns `model` itself, updated in place, each submodule in the
    mode that it had.

    Raises:
        ShapeError: targets of another shape than the output's; NotExpressibleError: the output is not one array.
    """
    nnx.reseed(model, dropout=seed)
    optimizer = nnx.Optimizer(model, optax.sgd(learning_rate), wrt=nnx.Param)

    def loss(module: nnx.Module) -> jax.Array:
        output = module(*arrays(inputs))  # type: ignore[operator]
        check_targets(targets, output)
        return jnp.mean((output - jnp.asarray(targets)) ** 2)

    with in_mode(model, training=True):
        value, gradients = nnx.value_and_grad(loss)(model)
    optimizer.update(model, gradients)
    return model, value.item()


def trainer(
    model: nnx.Module,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Trainer:
    """The model made ready to be trained: `run(weights, targets, optimizer, steps)` gives a Training.

    inputs: neutral arrays by position or by name; what is floating in them and in the model becomes `dtype`.
    call: `call(model, inputs)`; without it the model is called with the inputs.
    train_call: the call in training mode, which is `call` unless given. What it returns is the output.
    weights: native arrays for any of the model's owners; the others keep the values they have.

    The module and all its submodules are in training mode. Trained is every `nnx.Param` of floating-point numbers.
    Dropout is off: `nnx.Dropout` and Flax's attention, also where the call switches them on. The gradients are compiled
    once, for all weights and optimizers. Each run trains a new copy of the model.

    Raises:
        DtypeError: no floating-point type of that name, or float64 where it is not enabled.
        WeightsError: from the run, weights for no owner or of another shape.
        NotExpressibleError: from the run, an output that is no structure of arrays.
    """
    check_dtype(dtype)
    arguments, train = given(inputs, dtype), train_call or call

    def outputs(own: nnx.Module, inputs: Any) -> tuple[jax.Array, ...]:
        with tracing(), whole_attention(attention):
            return tuple(floating(called(own, inputs, train, own)).values())  # type: ignore[arg-type]

    @functools.cache
    def shapes() -> tuple[Any, ...]:
        graph, state = nnx.split(_in_training(_copied(model, dtype)))
        return jax.eval_shape(lambda state, inputs: outputs(nnx.merge(graph, state), inputs), state, arguments)

    def loss(own: nnx.Module, inputs: Any, goals: Sequence[jax.Array]) -> jax.Array:
        return squared_error(outputs(own, inputs), goals)

    differentiated = nnx.jit(nnx.value_and_grad(loss, argnums=nnx.DiffState(0, _is_trained)))

    def run(weights: Mapping[str, Any], targets: Cotangents, optimizer: Optimizer, steps: int) -> Training:
        own = _in_training(with_natives(_copied(model, dtype), weights))
        goals, losses = goals_of(targets, shapes()), []
        move = moving(optimizer)
        for _ in range(steps):
            value, gradients = differentiated(own, arguments, goals)
            nnx.update(own, move(nnx.state(own, _is_trained), gradients))
            losses.append(value.item())
        return Training(tuple(losses), natives(own))

    return run


def passer(
    model: nnx.Module,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Passer:
    """The model made ready to be run in either mode: `run(weights, training=...)` gives a Pass.

    The arguments are those of `trainer`; in inference mode the call is `call`. All random streams of the copy are set
    to `seed`. Compiled once for each mode, for all weights and seeds.

    Raises:
        DtypeError: no floating-point type of that name, or float64 where it is not enabled.
        WeightsError: from the run, weights for no owner or of another shape.
        NotExpressibleError: from the run, an output that is no structure of arrays.
    """
    check_dtype(dtype)
    arguments = given(inputs, dtype)
    names: dict[bool, list[str]] = {}

    @functools.partial(nnx.jit, static_argnames=("training", "dropout"))
    def forward(own: nnx.Module, inputs: Any, training: bool, dropout: bool) -> tuple[jax.Array, ...]:
        chosen = (train_call or call) if training else call
        with tracing(), whole_attention(attention) if training and not dropout else nullcontext():
            found = floating(called(own, inputs, chosen, own))  # type: ignore[arg-type]
        names[training] = list(found)
        return tuple(found.values())

    def run(weights: Mapping[str, Any], *, training: bool, dropout: bool = False, seed: int = 0) -> Pass:
        own = with_natives(_copied(model, dtype), weights)
        if training:
            _in_training(own, dropout)
        else:
            own.eval()
        streams = [each for _, each in nnx.iter_graph(own) if isinstance(each, nnx.RngStream)]
        keys: dict[str, Any] = {stream.key.tag: seed for stream in streams}
        nnx.reseed(own, policy="match_shape", **keys)
        found = jax.device_get(forward(own, arguments, training=training, dropout=training and dropout))
        outputs = dict(zip(names[training], found, strict=True))
        return Pass(outputs, {path: each.array for path, each in natives(own).items() if not each.trainable})

    return run


def _copied(model: nnx.Module, dtype: str) -> nnx.Module:
    """A copy with Variables of its own, tied as the model's are: on the device under test, floating ones in `dtype`."""
    own = nnx.clone(model)
    for _, module in nnx.iter_modules(own):
        # This layer alone, told no dtype to compute in, keeps the one that its parameter had when it was made.
        if isinstance(module, nnx.Embed) and module.dtype == module.embedding.dtype:
            module.dtype = jnp.dtype(dtype)
    graph, state = nnx.split(own)
    flat = nnx.to_flat_state(state)
    held = [(keys, _typed(entry, dtype)) for keys, entry in zip(flat.paths, flat.leaves, strict=True)]
    return nnx.merge(graph, nnx.from_flat_state(held))


def _typed(entry: Any, dtype: str) -> Any:
    """What the state lists, a Variable or a bare array, with floating arrays in `dtype`."""
    own = statistics_dtype(dtype) if isinstance(entry, nnx.BatchStat) else dtype
    arrays = jax.tree.map(lambda leaf: given((leaf,), own)[0] if is_array(leaf) else leaf, value_of(entry))
    return entry.replace(arrays) if isinstance(entry, nnx.Variable) else arrays


def _in_training(model: nnx.Module, dropout: bool = False) -> nnx.Module:
    """The module, which is our own, in training mode. Without dropout the layers that drop have none to drop."""
    model.train()
    for _, module in nnx.iter_modules(model) if not dropout else ():
        if isinstance(module, nnx.Dropout):
            module.rate = 0.0
        elif isinstance(module, nnx.MultiHeadAttention):
            module.deterministic = True
    return model


def _is_trained(path: Any, value: Any) -> bool:
    """Whether it is a parameter of floating-point numbers, for NNX's filters."""
    if not isinstance(value, nnx.Param):
        return False
    return all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(value_of(value)))
