"""Training on every side that JAX runs: a step op by op, and steps and passes that are compiled once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from ..common.wing import (
    Call,
    Cotangents,
    Inputs,
    Optimizer,
    PairError,
    Pass,
    Passer,
    StepFunction,
    Stepper,
    Trainer,
    Training,
    check_structure,
    check_targets,
    reported,
    takes_state,
)
from .core import TRAINING, Arrays, Functional, Mode, Run, floating, given, made_for, squared_error
from .meshes import beside, fetched
from .programs import Program
from .trees import arrays_of, as_stored_tensors, dotted
from .updates import Home, Stepping, read, updated

REMEDY = "Give the pair a reference_train_call or a port_train_call, a call(model, inputs)."


def canonical_step(
    run: Callable[[Arrays], tuple[Any, Any]], params: Arrays, targets: np.ndarray, learning_rate: float
) -> tuple[Arrays, Any, float]:
    """One step of SGD on the mean squared error: the parameters after it, what else the run left, the loss before it.

    run: of the parameters, the output and what else it left, as a tree of arrays.

    Raises:
        NotExpressibleError: the output is not one array; ShapeError: targets of another shape.
    """

    def loss(params: Arrays) -> tuple[jax.Array, Any]:
        output, left = run(params)
        check_targets(targets, output)
        return squared_error([output], [jnp.asarray(targets)]), left

    (value, left), gradients = jax.value_and_grad(loss, has_aux=True)(params)
    rule = _transformation(Optimizer("sgd", learning_rate))
    params, _ = updated(rule, params, gradients, rule.init(params))
    return params, left, value.item()


def compiled_trainer(side: Functional, inputs: Inputs, dtype: str) -> Trainer:
    """`train(weights, targets, optimizer, steps)` for a side.

    The gradients are compiled once, for all weights and optimizers; what an optimizer makes of one once for each shape,
    since neither of the two looks beyond one parameter.
    """
    arguments, own, trained = given(inputs, dtype), _trainable(side, dtype), set(side.parameters)
    forward, differentiated = _differentiated(side, own)

    def train(weights: Mapping[str, Any], targets: Cotangents, optimizer: Optimizer, steps: int) -> Training:
        values = side.filled(own, weights)
        goals = jax.device_put(made_for(forward.shapes(values, arguments)[0], targets))
        params = {path: array for path, array in values.items() if path in trained}
        rest = {path: array for path, array in values.items() if path not in trained}
        rule, update = _compiled(optimizer)
        # Placed as `update` leaves them: for what is placed otherwise it would be compiled again.
        states = {path: beside(rule.init(array), array) for path, array in params.items()}
        losses = []
        for _ in range(steps):
            (value, rest), gradients = differentiated(params, rest, arguments, goals)
            moved = {path: update(array, gradients[path], states[path]) for path, array in params.items()}
            params, states = ({path: each[part] for path, each in moved.items()} for part in (0, 1))
            losses.append(value.item())
        return Training(tuple(losses), as_stored_tensors(side.look(side.made({**rest, **params}))))

    return train


def _differentiated(side: Functional, own: Arrays) -> tuple[Program[..., Any], Program[..., Any]]:
    """The outputs of a pass in training mode, and the loss with its gradients; both also give what the pass left."""
    trained = set(side.parameters)

    def passed(values: Arrays, inputs: Any) -> tuple[tuple[jax.Array, ...], Arrays]:
        output, after = side.run(values, inputs, TRAINING)
        left = side.look(after)
        return tuple(floating(output).values()), {path: left[path].array for path in own if path not in trained}

    forward = Program(passed)

    def loss(params: Arrays, rest: Arrays, inputs: Any, goals: Sequence[jax.Array]) -> tuple[jax.Array, Arrays]:
        outputs, after = forward({**rest, **params}, inputs)
        return squared_error(outputs, goals), after

    return forward, Program(jax.value_and_grad(loss, has_aux=True))


def compiled_stepper(
    side: Functional, inputs: Inputs, dtype: str, home: Home, optimizer: Any, step: StepFunction | None
) -> Stepper:
    """`run(weights, targets, steps)` for a side, by the caller's own optimizer or step function.

    The gradients of a loss of ours are compiled, and a step of the optimizer; a caller's function is called as it is.
    """
    arguments, own, trained = given(inputs, dtype), _trainable(side, dtype), set(side.parameters)
    recipe = None if optimizer is None else read(optimizer, side.made(own), home)
    forward, differentiated = _differentiated(side, own)
    update = Program(functools.partial(updated, recipe.rule)) if recipe else None

    def by_loss(values: Arrays, targets: Cotangents, steps: int) -> tuple[list[float], Any]:
        goals = jax.device_put(made_for(forward.shapes(values, arguments)[0], targets))
        stepping = Stepping(side, home, recipe, update, values) if recipe and update else None
        rest = {path: array for path, array in values.items() if path not in trained}
        losses, params = [], {path: array for path, array in values.items() if path in trained}
        for _ in range(steps):
            (value, rest), gradients = differentiated(params, rest, arguments, goals)
            losses.append(value.item())
            if stepping:
                stepping.step(gradients)
                params = {**params, **stepping.parameters}
        return losses, side.made({**rest, **params})

    runs = object()

    def by_function(values: Arrays, steps: int) -> Any:
        assert step is not None
        model = side.made(values)
        state = (home.started(recipe, optimizer, model),) if recipe and takes_state(step) else ()
        with home.whole(model, runs), reported("", "a step that runs", _CALLED):
            for _ in range(steps):
                model, state = _stepped(step, model, state, arguments, home)
        return model

    def run(weights: Mapping[str, Any], targets: Cotangents, steps: int) -> Training:
        values = side.filled(own, weights)
        losses, model = by_loss(values, targets, steps) if step is None else ([], by_function(values, steps))
        left = side.look(model)
        check_structure(*({path: tuple(each.array.shape) for path, each in of.items()} for of in (side.owned, left)))
        return Training(tuple(losses), as_stored_tensors(left))

    return run


_CALLED = "It is called as step(model, batch) or step(model, state, batch), and gives the new model, and the new state."


def _stepped(step: StepFunction, model: Any, state: tuple[Any, ...], batch: Any, home: Home) -> tuple[Any, Any]:
    """The model and the state that a step leaves: what it gives, or where it gives neither what it has changed."""
    made = step(model, *state, batch)
    first, *others = (made,) if type(made) is not tuple or home.as_model(model, made) is not None else made or (None,)
    found = home.as_model(model, first)
    if found is None:
        if home.is_changed:
            return model, state
        raise PairError("", "a step that gives the new model", type(first).__name__, _CALLED)
    return found, (others[0],) if state and others else state


def compiled_passer(side: Functional, run_in: Callable[[bool], Run], inputs: Inputs, dtype: str) -> Passer:
    """`run(weights, training=...)` for a side.

    run_in: what runs it in the training mode, or in the other. It is asked for once, and outside of JAX's traces, which
        would add to an error's text.

    Compiled once for each mode, for all weights and seeds.
    """
    arguments, own, run_in = given(inputs, dtype), _trainable(side, dtype), functools.cache(run_in)
    buffers = [path for path, each in side.owned.items() if each.role in ("buffer", "statistic")]
    names: dict[bool, list[str]] = {}
    changed: dict[bool, tuple[str, ...]] = {}

    def passed(values: Arrays, inputs: Any, training: bool, dropout: bool, seed: Any) -> tuple[Any, Arrays]:
        output, after = run_in(training)(values, inputs, Mode(training, dropout, seed))
        found, left = floating(output), side.look(after)
        names[training] = list(found)
        # What the call has left alone is the very array that it was given, also where it is traced.
        # The state of random streams moves with every draw, and is none of them.
        parameters = (path for path in values if side.owned[path].role == "parameter" and path in left)
        changed[training] = tuple(path for path in parameters if left[path].array is not values[path])
        return tuple(found.values()), {path: left[path].array for path in buffers}

    forward = Program(passed, static=("training", "dropout"))

    def run(weights: Mapping[str, Any], *, training: bool, dropout: bool = False, seed: int = 0) -> Pass:
        run_in(training)
        values = side.filled(own, weights)
        # Masks are drawn in training mode alone: in the other there is nothing else to compile.
        found = forward(values, arguments, training=training, dropout=training and dropout, seed=np.uint32(seed))
        outputs, after = fetched(found)
        return Pass(dict(zip(names[training], outputs, strict=True)), after, changed[training])

    return run


def flattened(call: Call) -> Call:
    """A call that gives a tree of gradients, as one that gives its arrays by path; of a loss beside it, first."""

    @functools.wraps(call)
    def flat(model: Any, inputs: Any, **mesh: Any) -> Arrays:
        found = call(model, inputs, **mesh)
        loss, tree = found if isinstance(found, tuple) and len(found) == 2 else (None, found)
        arrays = {dotted(keys): array for keys, array in arrays_of(pure(tree))}
        return arrays if loss is None else {"loss": loss, **arrays}

    return flat


def pure(tree: Any) -> Any:
    """Of the state of an NNX module the nested dict of its arrays; any other tree as it is."""
    return nnx.to_pure_dict(tree) if isinstance(tree, nnx.State) else tree


def _trainable(side: Functional, dtype: str) -> Arrays:
    """The side's arrays to be trained with: Flax makes and updates running statistics in no less than float32."""
    finer = jnp.promote_types(dtype, jnp.float32).name
    statistics = {path for path, each in side.owned.items() if each.role == "statistic"}
    own = side.typed(dtype)
    if finer != dtype and statistics:
        own |= {path: array for path, array in side.typed(finer).items() if path in statistics}
    return own


@functools.cache
def _compiled(optimizer: Optimizer) -> tuple[optax.GradientTransformation, Callable[..., tuple[Any, Any]]]:
    rule = _transformation(optimizer)
    return rule, jax.jit(functools.partial(updated, rule))


def _transformation(optimizer: Optimizer) -> optax.GradientTransformation:
    rate = optimizer.learning_rate
    rules = {
        # Without momentum no trace of the gradients is kept.
        "sgd": lambda: optax.sgd(rate, momentum=optimizer.momentum or None),
        "adamw": lambda: optax.adamw(
            rate, *optimizer.betas, eps=optimizer.eps, eps_root=0.0, weight_decay=optimizer.weight_decay
        ),
    }
    return rules[optimizer.name]()
