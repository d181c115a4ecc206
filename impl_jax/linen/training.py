"""Training: one step as a function, and a model made ready to be trained or run in either mode, on copies of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen
from flax.core.scope import LazyRng, Scope
from flax.linen import attention

from ...common.errors import NotExpressibleError
from ...common.wing import Call, Inputs, Native, Passer, Trainer, check_targets
from ..devices import check_dtype
from ..probing import Arrays, called, given
from ..training import REMEDY, Mode, Run, statistics_dtype, tracing, tree_passer, tree_trainer, whole_attention
from ..trees import arrays_of, by_path, filled
from .access import arrays
from .naming import Model, like, stored_kind
from .natives import natives


def step(
    model: Model, inputs: Sequence[np.ndarray], targets: np.ndarray, *, learning_rate: float = 0.1, seed: int = 0
) -> tuple[Model, float]:
    """One step of SGD on the mean squared error, in training mode; the model after it and the loss before it.

    In training mode means with a dropout key and with `batch_stats` to be updated: a Linen module that takes an
    argument for it, or that updates another collection, wants a step of its own.

    seed: of the dropout masks, if the model draws any. `model` is as it was.

    Raises:
        ShapeError: targets of another shape than the output's; NotExpressibleError: the output is not one array.
    """
    module, variables = model
    rest = {name: values for name, values in variables.items() if name != "params"}
    optimizer = optax.sgd(learning_rate)

    def loss(params: dict) -> tuple[jax.Array, Any]:
        given, rngs = {"params": params, **rest}, {"dropout": jax.random.key(seed)}
        output, updated = module.apply(given, *arrays(inputs), rngs=rngs, mutable=["batch_stats"])
        check_targets(targets, output)
        return jnp.mean((output - jnp.asarray(targets)) ** 2), updated

    params = variables.get("params", {})
    (value, updated), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    updates, _ = optimizer.update(gradients, optimizer.init(params))
    return like(model, module, {"params": optax.apply_updates(params, updates), **rest, **updated}), value.item()


def trainer(
    model: Model,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Trainer:
    """The model made ready to be trained: `run(weights, targets, optimizer, steps)` gives a Training.

    inputs: neutral arrays by position or by name; what is floating in them and in the model becomes `dtype`.
    call: `call(model, inputs)`; without it `module.apply(variables, *inputs)`.
    train_call: the call in training mode. It returns the outputs, or what `module.apply(..., mutable=[...])` returns,
        `(outputs, updated)`: what is in `updated`, collections of the variables, is in them at the next step. A model
        without modes needs none: one that has parameters alone, and no dropout in the inference call.
    weights: native arrays for any of the model's owners; the others keep the values they have.

    Trained is every parameter of floating-point numbers. Dropout is off: `linen.Dropout` and Flax's attention
    functions, also where the call switches them on. The gradients are compiled once, for all weights and optimizers.

    Raises:
        DtypeError: no floating-point type of that name, or float64 where it is not enabled.
        NotExpressibleError: no train_call, and the model has modes.
        WeightsError: from the run, weights for no owner or of another shape.
        NotExpressibleError: from the run, an output that is no structure of arrays.
    """
    check_dtype(dtype)
    train_call = train_call or _without_modes(model, inputs, call, dtype)

    def told(arrays: Arrays) -> dict[str, Native]:
        return natives(_with(model, arrays))

    run = _run(model, call, train_call)
    return tree_trainer(run, _typed(model, dtype), _trainable(model), given(inputs, dtype), told)


def passer(
    model: Model,
    inputs: Inputs,
    call: Call | None = None,
    *,
    dtype: str = "float32",
    train_call: Call | None = None,
) -> Passer:
    """The model made ready to be run in either mode: `run(weights, training=...)` gives a Pass.

    The arguments are those of `trainer`; in inference mode the call is `call`. With dropout, `seed` is folded into
    every random stream that the train_call gives to `apply`, and makes the stream `dropout` if it gives none. A key
    that it hands to a layer by itself is used as it is. Compiled once for each mode, for all weights and seeds.

    Raises:
        DtypeError: no floating-point type of that name, or float64 where it is not enabled.
        NotExpressibleError: from the run in training mode, no train_call, and the model has modes; or an output that
            is no structure of arrays.
        WeightsError: from the run, weights for no owner or of another shape.
    """
    check_dtype(dtype)

    def run_in(training: bool) -> Run:
        return _run(model, call, (train_call or _without_modes(model, inputs, call, dtype)) if training else None)

    return tree_passer(run_in, _typed(model, dtype), _trainable(model), given(inputs, dtype))


def _stored(model: Model) -> dict[str, Any]:
    return {path: array for path, (_, array) in by_path(arrays_of(model[1])).items()}


def _typed(model: Model, dtype: str) -> Arrays:
    """The arrays by path, floating ones in `dtype`."""
    stored = _stored(model)
    statistics = {path: array for path, array in stored.items() if path.startswith("batch_stats.")}
    return {**given(stored, dtype), **given(statistics, statistics_dtype(dtype))}


def _trainable(model: Model) -> list[str]:
    stored = by_path(arrays_of(model[1]))
    return [path for path, (keys, _) in stored.items() if stored_kind(str(keys[0])) == "parameter"]


def _with(model: Model, arrays: Arrays) -> Model:
    """The model with these arrays in the place of its own."""
    module, variables = model
    keys = {path: keys for path, (keys, _) in by_path(arrays_of(variables)).items()}
    return like(model, module, filled(variables, {keys[path]: array for path, array in arrays.items()}))


def _run(model: Model, call: Call | None, train_call: Call | None) -> Run:
    def run(arrays: Arrays, arguments: Any, mode: Mode) -> tuple[Any, Arrays]:
        own = _with(model, arrays)
        if not mode.training:
            return _called(own, arguments, call), arrays
        with tracing(), _dropping(mode.seed) if mode.dropout else _whole():
            output, updated = _parted(_called(own, arguments, train_call), own[1])
        return output, {**arrays, **_stored((own[0], {**own[1], **updated}))}

    return run


def _called(model: Model, arguments: Any, call: Call | None) -> Any:
    module, variables = model
    return called(model, arguments, call, lambda *a, **k: module.apply(variables, *a, **k))


def _parted(result: Any, variables: Mapping[str, Any]) -> tuple[Any, Mapping[str, Any]]:
    """The outputs, and the collections that were updated, if `apply` was told that any may be."""
    if (
        type(result) is tuple
        and len(result) == 2
        and isinstance(result[1], Mapping)
        and set(result[1]) <= set(variables)
    ):
        return result
    return result, {}


def _without_modes(model: Model, inputs: Inputs, call: Call | None, dtype: str) -> Call:
    """The inference call as the one to train with, for a model that has no modes.

    Raises:
        NotExpressibleError: it has.
    """
    others = [name for name in model[1] if stored_kind(name) != "parameter"]
    rates: list[float] = []

    def noted(run: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        layer = context.module
        rates.append(layer.rate if isinstance(layer, linen.Dropout) else getattr(layer, "dropout_rate", 0.0))
        return run(*args, **kwargs)

    if not others:
        with tracing(), linen.intercept_methods(noted):
            run = lambda arrays, arguments: _called(_with(model, arrays), arguments, call)  # noqa: E731
            jax.eval_shape(run, _stored(model), given(inputs, dtype))
    if others or any(rates):
        found = f"none, and a model with {', '.join(others) if others else 'dropout'}"
        raise NotExpressibleError(
            "", "a call in training mode, since a Linen module has arguments for it", found, REMEDY
        )
    return call or (lambda own, arguments: _called(own, arguments, None))


@contextmanager
def _whole() -> Iterator[None]:
    """No dropout: its layers pass on what they get, and Flax's attention keeps all its weights."""

    def passing(run: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, linen.Dropout) and context.method_name == "__call__":
            return args[0] if args else kwargs["inputs"]
        return run(*args, **kwargs)

    with linen.intercept_methods(passing), whole_attention(attention):
        yield


@contextmanager
def _dropping(seed: Any) -> Iterator[None]:
    """Every random stream of a call with the seed in it.

    A module has its streams from the one around it when it is bound, before any of its methods is run, so each module
    is met in time. That a stream has the seed in it several times does no harm.
    """
    met: dict[int, Scope] = {}

    def seeded(run: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        scope = context.module.scope
        if scope is not None and id(scope) not in met:
            # Kept, so that no other scope gets its id.
            met[id(scope)] = scope
            own = {"dropout": LazyRng.create(jax.random.key(0), *map(str, scope.path)), **scope.rngs}
            scope.rngs = {name: LazyRng.create(jax.random.fold_in(rng.as_jax_rng(), seed)) for name, rng in own.items()}
            for name in own:
                scope.rng_counters.setdefault(name, 0)
        return run(*args, **kwargs)

    with linen.intercept_methods(seeded):
        yield
