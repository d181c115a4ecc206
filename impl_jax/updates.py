"""Updates on every side that JAX runs: what a caller's own optimizer makes of given gradients, compiled once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from ..common.wing import STEPS, Advance, Gradients, PairError, Updated, Updater, first_argument, members, reported
from .core import Arrays, Functional
from .programs import Program

# The names that Optax gives to the number of steps in a state, and to what goes round or counts something else.
_COUNTS = ("count", "gradient_step")
_ROUND = ("mini_step", "steps_since_sync")
_REMEDY = "Give an Optax transformation, such as optax.adamw(1e-3), or a function of the parameters that makes one."


def _nothing(model: Any, runs: object) -> AbstractContextManager[None]:
    return nullcontext()


class Home(NamedTuple):
    """What a wing knows of the tree that its models' optimizers are over, and of its steps.

    trained: of a model, the tree as `init` gets it. wrt: an `nnx.Optimizer`'s filter, or None.
    pure: a tree with arrays in the place of all that holds them.
    as_model: of a model and what a step gave, the model after it; None of anything else. is_changed: whether a step may
        have changed the model that it was given. whole: surrounds steps of a model, which do not drop anything; the
        second argument is `traced_anew`'s.
    """

    trained: Callable[[Any, Any], Any]
    pure: Callable[[Any], Any] = lambda tree: tree
    as_model: Callable[[Any, Any], Any] = lambda model, given: None
    is_changed: bool = False
    whole: Callable[[Any, object], AbstractContextManager[None]] = _nothing

    def started(self, recipe: Recipe, given: Any, model: Any) -> Any:
        """What a step function has as its state: what holds a transformation, made anew, or the transformation's."""
        made, _ = _made(given, model, self)
        return made if hasattr(made, "tx") else _wide(recipe.rule.init(self.trained(model, recipe.wrt)))


class Recipe(NamedTuple):
    """A caller's optimizer: a transformation, an average of the parameters if there is one, and what is trained."""

    rule: Any
    average: Any = None
    wrt: Any = None


def updated(rule: optax.GradientTransformation, params: Any, gradients: Any, state: Any) -> tuple[Any, Any]:
    """The parameters, one or a tree of them, and the optimizer's state after one step."""
    updates, state = rule.update(gradients, state, params)
    after: Any = optax.apply_updates(params, updates)
    return after, state


class Stepping:
    """A caller's optimizer over a side's parameters, with its state. update: `updated` of its rule, compiled."""

    def __init__(self, side: Functional, home: Home, recipe: Recipe, update: Program[..., Any], values: Arrays) -> None:
        self._update = update
        tree = home.trained(side.made(values), recipe.wrt)
        self.params = home.pure(tree)
        known = {id(array): path for path, array in values.items()}
        # What a model is made of is in it as it was given.
        self.paths = [known[id(leaf)] for leaf in jax.tree.leaves(self.params)]
        with reported("", "an optimizer over the model's parameters", _REMEDY):
            self._state = _wide(home.pure(recipe.rule.init(tree)))
        self._counters, self._made = _Counters(self._state), 0
        self.averages = _Averages(recipe.average, self.params) if recipe.average is not None else None

    def step(self, gradients: Mapping[str, Any], ahead: int = 0) -> None:
        """One step, with zeros for what has no gradient."""
        self._state = self._counters.ahead(self._state, ahead, self._made)
        self._made += 1
        leaves, structure = jax.tree.flatten(self.params)
        held = [
            jnp.asarray(gradients[path] if path in gradients else np.zeros(leaf.shape), leaf.dtype)
            for path, leaf in zip(self.paths, leaves, strict=True)
        ]
        with reported("", "an optimizer that makes a step of gradients and parameters alone", STEPS):
            self.params, self._state = self._update(self.params, jax.tree.unflatten(structure, held), self._state)
            if self.averages:
                self.averages.take(self.params)

    @property
    def parameters(self) -> Arrays:
        return dict(zip(self.paths, jax.tree.leaves(self.params), strict=True))

    @property
    def averaged(self) -> Arrays:
        """By path; empty where nothing is averaged."""
        return dict(zip(self.paths, jax.tree.leaves(self.averages.now), strict=True)) if self.averages else {}


def updater_of(side: Functional, home: Home, optimizer: Any, dtype: str) -> Updater:
    """`run(weights)` for a side, which gives a function that makes a step. One step is compiled, once."""
    own, trained = side.typed(dtype), side.parameters
    recipe = read(optimizer, side.made(own), home)
    update = Program(functools.partial(updated, recipe.rule))

    def run(weights: Mapping[str, Any]) -> Advance:
        values = side.filled(own, weights)
        # What is no parameter of the optimizer's stays as it is.
        still = {path: values[path] for path in trained}
        stepping = Stepping(side, home, recipe, update, values)

        def advance(given: Gradients) -> Updated:
            stepping.step(given.arrays, given.ahead)
            return Updated(*jax.device_get(({**still, **stepping.parameters}, stepping.averaged)))

        return advance

    return run


class _Averages:
    """An average of the parameters: a transformation that takes them for updates, or `average(old, new)`."""

    def __init__(self, average: Any, params: Any) -> None:
        self._average, self._is_rule = average, hasattr(average, "update")
        self.now, self._state = params, average.init(params) if self._is_rule else None

    def take(self, params: Any) -> None:
        """What the average is with new parameters."""
        if self._is_rule:
            self.now, self._state = self._average.update(params, self._state)
        else:
            self.now = self._average(self.now, params)


def _made(given: Any, model: Any, home: Home) -> tuple[Any, ...]:
    """What a caller gave, or what a function of the model or of its parameters makes: the optimizer, and others."""
    if callable(given) and not _is_rule(given) and not hasattr(given, "tx"):
        argument = model if first_argument(given) in ("model", "module") else home.trained(model, None)
        with reported("", "a function of the parameters that makes an optimizer", _REMEDY):
            given = given(argument)
    rule, *others = members(given)
    return rule, others


def read(given: Any, model: Any, home: Home) -> Recipe:
    """The optimizer that a caller gave for a model.

    Raises:
        PairError: what is none.
    """
    rule, others = _made(given, model, home)
    if hasattr(rule, "tx"):
        recipe = Recipe(rule.tx, wrt=getattr(rule, "wrt", None))
    elif _is_rule(rule):
        recipe = Recipe(rule)
    else:
        raise PairError("", "an Optax transformation", type(rule).__name__, _REMEDY)
    wrong = next((each for each in others[1:] or others if not (_is_rule(each) or callable(each))), None)
    if wrong is not None or len(others) > 1:
        found = f"{len(others)} more, of which one is a {type(others[-1]).__name__}"
        raise PairError("", "an optimizer, or one with an average of the parameters", found, _REMEDY)
    return recipe._replace(average=others[0]) if others else recipe


def _is_rule(given: Any) -> bool:
    return hasattr(given, "init") and hasattr(given, "update")


def _wide(state: Any) -> Any:
    """The state with all of its step's numbers in 64 bits where floats have as many.

    A quotient of an int32 has 32 bits in any mode: a warmup from zero is off by 1e-4 of its first rates then.
    """
    wide = jax.dtypes.canonicalize_dtype(jnp.int64)
    return jax.tree_util.tree_map_with_path(
        lambda keys, leaf: jnp.asarray(leaf, wide) if _is_whole(leaf) and _name(keys) in _COUNTS else leaf, state
    )


class _Counters:
    """What in a state counts the steps: by its name or, in a state of the caller's own, by what it has done so far."""

    def __init__(self, state: Any) -> None:
        self._first = dict(_wholes(state))
        self._held: Any = None
        self._counting: set[Any] = set()

    def ahead(self, state: Any, count: int, made: int) -> Any:
        """The state with its counts set forward, and what else it held when they first were. made: steps so far."""
        if not count:
            return state
        if self._held is None:
            self._held = state
            rose = {keys: int(leaf) - int(self._first[keys]) for keys, leaf in _wholes(state)}
            own = {keys for keys, steps in rose.items() if steps == made and _name(keys) not in _ROUND}
            self._counting = own | {keys for keys in rose if _name(keys) in _COUNTS}
        return jax.tree_util.tree_map_with_path(
            lambda keys, now, held: now + jnp.asarray(count, now.dtype) if keys in self._counting else held,
            state,
            self._held,
        )


def _wholes(state: Any) -> Iterator[tuple[Any, Any]]:
    """The whole numbers of a state, each alone, by their keys."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return ((keys, leaf) for keys, leaf in leaves if _is_whole(leaf))


def _is_whole(leaf: Any) -> bool:
    return not np.shape(leaf) and jnp.issubdtype(jnp.result_type(leaf), jnp.integer)


def _name(keys: tuple[Any, ...]) -> str:
    """What the last key is called; empty where it is a place."""
    return str(getattr(keys[-1], "name", getattr(keys[-1], "key", ""))) if keys else ""
