"""What training has in common on every side that JAX runs: the optimizer, the loss, no dropout, and trees' steps."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..common.wing import Cotangents, Native, Optimizer, Pass, Passer, Trainer, Training, check_fit, named_arrays
from .probing import Arrays
from .trees import placed

# jax.jit keeps what a function of the model's own was traced to. That depends on what we switch off and on the seed,
# so it must not be found again by another trace of ours.
_trace = jax.make_user_context(None)


class Mode(NamedTuple):
    """How a side is run. seed: of the masks of dropout, where there are any."""

    training: bool
    dropout: bool = False
    seed: Any = 0


# run(arrays, inputs, mode): the output, and all the side's arrays after it.
Run = Callable[[Arrays, Any, Mode], tuple[Any, Arrays]]
TRAINING = Mode(training=True)
REMEDY = "Give the pair a reference_train_call or a port_train_call, a call(model, inputs)."


def tree_trainer(
    run: Run,
    own: Arrays,
    trainable: Iterable[str],
    arguments: Any,
    told: Callable[[Arrays], dict[str, Native]],
) -> Trainer:
    """`train(weights, targets, optimizer, steps)` for a side that is a tree of arrays and a function of it.

    own: the side's arrays, and arguments: its inputs, both as it is to run with them.
    trainable: the paths of those to train, if they are floating.
    told: the natives of the side with these arrays.

    The gradients are compiled once, for all weights and optimizers.
    """
    trained = {path for path in trainable if jnp.issubdtype(own[path].dtype, jnp.floating)}

    @jax.jit
    def forward(values: Arrays, inputs: Any) -> tuple[tuple[jax.Array, ...], Arrays]:
        output, after = run(values, inputs, TRAINING)
        return tuple(floating(output).values()), {path: after[path] for path in own if path not in trained}

    def loss(params: Arrays, rest: Arrays, inputs: Any, goals: Sequence[jax.Array]) -> tuple[jax.Array, Arrays]:
        outputs, after = forward({**rest, **params}, inputs)
        return squared_error(outputs, goals), after

    differentiated = jax.jit(jax.value_and_grad(loss, has_aux=True))

    def train(weights: Mapping[str, Any], targets: Cotangents, optimizer: Optimizer, steps: int) -> Training:
        values = _filled(own, weights)
        goals = goals_of(targets, jax.eval_shape(forward, values, arguments)[0])
        params = {path: array for path, array in values.items() if path in trained}
        rest = {path: array for path, array in values.items() if path not in trained}
        move, losses = moving(optimizer), []
        for _ in range(steps):
            (value, rest), gradients = differentiated(params, rest, arguments, goals)
            params = move(params, gradients)
            losses.append(value.item())
        return Training(tuple(losses), told({**rest, **params}))

    return train


def moving(optimizer: Optimizer) -> Callable[[Any, Any], Any]:
    """`move(params, gradients)`: a tree of parameters one step further. What the optimizer remembers is kept.

    It is compiled once for each shape, whatever the tree, since neither optimizer looks beyond one parameter.
    """
    rule, update = _updating(optimizer)
    states: list[Any] = []

    def move(params: Any, gradients: Any) -> Any:
        leaves, tree = jax.tree.flatten(params)
        # Placed as the parameter is, as `update` leaves it: it would be compiled again for one that is not.
        states[:] = states or [jax.device_put(rule.init(leaf), leaf.sharding) for leaf in leaves]
        moved = [update(*each) for each in zip(leaves, jax.tree.leaves(gradients), states, strict=True)]
        states[:] = [state for _, state in moved]
        return jax.tree.unflatten(tree, [leaf for leaf, _ in moved])

    return move


@functools.cache
def _updating(optimizer: Optimizer) -> tuple[optax.GradientTransformation, Callable[..., Any]]:
    rate = optimizer.learning_rate
    rules = {
        "sgd": lambda: optax.sgd(rate, momentum=optimizer.momentum),
        "adamw": lambda: optax.adamw(
            rate, *optimizer.betas, eps=optimizer.eps, eps_root=0.0, weight_decay=optimizer.weight_decay
        ),
    }
    rule = rules[optimizer.name]()

    @jax.jit
    def update(leaf: Any, gradient: Any, state: Any) -> tuple[Any, Any]:
        updates, state = rule.update(gradient, state, leaf)
        return optax.apply_updates(leaf, updates), state

    return rule, update


def tree_passer(run_in: Callable[[bool], Run], own: Arrays, trainable: Iterable[str], arguments: Any) -> Passer:
    """`run(weights, training=...)` for a side that is a tree of arrays and a function of it. As for `tree_trainer`.

    run_in: the function for the training mode, or for the other. It is asked for once, and outside of JAX's traces,
        which would add to an error's text.

    Compiled once for each mode, for all weights and seeds.
    """
    buffers = own.keys() - set(trainable)
    run_in = functools.cache(run_in)
    names: dict[bool, list[str]] = {}

    @functools.partial(jax.jit, static_argnames=("training", "dropout"))
    def forward(values: Arrays, inputs: Any, training: bool, dropout: bool, seed: Any) -> tuple[Any, Arrays]:
        output, after = run_in(training)(values, inputs, Mode(training, dropout, seed))
        found = floating(output)
        names[training] = list(found)
        return tuple(found.values()), {path: after[path] for path in buffers}

    def run(weights: Mapping[str, Any], *, training: bool, dropout: bool = False, seed: int = 0) -> Pass:
        run_in(training)
        values = _filled(own, weights)
        # Masks are drawn in training mode alone: in the other there is nothing else to compile.
        found = forward(values, arguments, training=training, dropout=training and dropout, seed=np.uint32(seed))
        outputs, after = jax.device_get(found)
        return Pass(dict(zip(names[training], outputs, strict=True)), after)

    return run


def _filled(own: Arrays, weights: Mapping[str, Any]) -> Arrays:
    """The side's own arrays, with the weights in their places and their dtypes.

    Raises:
        WeightsError
    """
    check_fit({path: tuple(array.shape) for path, array in own.items()}, weights)
    return {**own, **{path: placed(array, own[path]) for path, array in weights.items()}}


def statistics_dtype(dtype: str) -> str:
    """What running statistics are in: Flax makes and updates them in no less than float32."""
    return jnp.promote_types(dtype, jnp.float32).name


def floating(output: Any) -> Arrays:
    """The floating-point outputs by their place. A dict's order is lost where JAX compiles a function that gives it."""
    return {name: array for name, array in named_arrays(output).items() if jnp.issubdtype(array.dtype, jnp.floating)}


def goals_of(targets: Cotangents, outputs: Sequence[Any]) -> list[jax.Array]:
    """The targets for outputs of which the shapes are known."""
    return [jnp.asarray(each) for each in targets([tuple(output.shape) for output in outputs])]


def squared_error(outputs: Sequence[jax.Array], goals: Sequence[jax.Array]) -> jax.Array:
    """The sum over the outputs of the mean squared error."""
    pairs = zip(outputs, goals, strict=True)
    return sum((jnp.mean((output - goal.astype(output.dtype)) ** 2) for output, goal in pairs), jnp.zeros(()))


@contextmanager
def tracing() -> Iterator[None]:
    """For the trace of a run: a function that the model's own code compiles is traced anew in it."""
    with _trace(object()):
        yield


@contextmanager
def whole_attention(home: ModuleType) -> Iterator[None]:
    """Flax's attention functions without dropout of the attention weights, while they are traced.

    home: Flax's module of them. A model may call one with the rate as an argument, as transformers' models do, so no
    setting of a layer reaches it. They multiply the weights by mask / (1 - rate). For the mask they get 1 - rate.
    """
    before = home.random  # type: ignore[attr-defined]
    home.random = SimpleNamespace(bernoulli=lambda key, p, shape: np.float64(p))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        home.random = before  # type: ignore[attr-defined]
