"""Updates on every side that JAX runs: what a caller's own optimizer makes of given gradients, compiled once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from ..common.wing import STEPS, Advance, Gradients, PairError, Updated, Updater, first_argument, members, reported
from .core import Functional
from .programs import Program
from .training import updated

# The names that Optax gives to the number of steps in a state.
_COUNTS = ("count", "gradient_step")
_REMEDY = "Give an Optax transformation, such as optax.adamw(1e-3), or a function of the parameters that makes one."


class Home(NamedTuple):
    """What a wing knows of the tree that its models' optimizers are over.

    trained: of a model, the tree as `init` gets it. wrt: an `nnx.Optimizer`'s filter, or None.
    pure: a tree with arrays in the place of all that holds them.
    """

    trained: Callable[[Any, Any], Any]
    pure: Callable[[Any], Any] = lambda tree: tree


class Recipe(NamedTuple):
    """A caller's optimizer: a transformation, an average of the parameters if there is one, and what is trained."""

    rule: Any
    average: Any = None
    wrt: Any = None


def updater_of(side: Functional, home: Home, optimizer: Any, dtype: str) -> Updater:
    """`run(weights)` for a side, which gives a function that makes a step. One step is compiled, once."""
    own, trained = side.typed(dtype), side.parameters
    recipe = _read(optimizer, side.made(own), home)
    update = Program(functools.partial(updated, recipe.rule))

    def run(weights: Mapping[str, Any]) -> Advance:
        values = side.filled(own, weights)
        tree = home.trained(side.made(values), recipe.wrt)
        params = home.pure(tree)
        # What is no parameter of the optimizer's stays as it is.
        still = jax.device_get({path: values[path] for path in trained})
        paths, structure = _paths(values, params), jax.tree.structure(params)
        with reported("", "an optimizer over the model's parameters", _REMEDY):
            state = home.pure(recipe.rule.init(tree))
        averages = _Averages(recipe.average, params) if recipe.average is not None else None

        def advance(given: Gradients) -> Updated:
            nonlocal params, state
            state = _ahead(state, given.ahead)
            held = [
                jnp.asarray(given.arrays.get(path, np.zeros(leaf.shape)), leaf.dtype)
                for path, leaf in zip(paths, jax.tree.leaves(params), strict=True)
            ]
            with reported("", "an optimizer that makes a step of gradients and parameters alone", STEPS):
                params, state = update(params, jax.tree.unflatten(structure, held), state)
                found = averages.after(params) if averages else ()
            return Updated({**still, **_by_path(paths, params)}, _by_path(paths, found) if averages else {})

        return advance

    return run


def _by_path(paths: Sequence[str], tree: Any) -> dict[str, np.ndarray]:
    return dict(zip(paths, jax.device_get(jax.tree.leaves(tree)), strict=True))


def _paths(values: Mapping[str, Any], tree: Any) -> list[str]:
    """Of each leaf the path of the array that it is: what a model is made of is in it as it was given."""
    known = {id(array): path for path, array in values.items()}
    return [known[id(leaf)] for leaf in jax.tree.leaves(tree)]


class _Averages:
    """An average of the parameters: a transformation that takes them for updates, or `average(old, new)`."""

    def __init__(self, average: Any, params: Any) -> None:
        self._average, self._is_rule = average, hasattr(average, "update")
        self._held = average.init(params) if self._is_rule else params

    def after(self, params: Any) -> Any:
        if not self._is_rule:
            self._held = self._average(self._held, params)
            return self._held
        found, self._held = self._average.update(params, self._held)
        return found


def _read(given: Any, model: Any, home: Home) -> Recipe:
    """What a caller gave, or what a function of the model or of its parameters makes."""
    if callable(given) and not _is_rule(given) and not hasattr(given, "tx"):
        argument = model if first_argument(given) in ("model", "module") else home.trained(model, None)
        with reported("", "a function of the parameters that makes an optimizer", _REMEDY):
            given = given(argument)
    rule, *others = members(given)
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


def _ahead(state: Any, count: int) -> Any:
    """The state with all of its step's numbers set forward."""
    if not count:
        return state

    def moved(keys: tuple[Any, ...], leaf: Any) -> Any:
        names = {getattr(key, "name", None) for key in keys[-1:]}
        is_count = names & set(_COUNTS) and jnp.issubdtype(leaf.dtype, jnp.integer)
        return leaf + jnp.asarray(count, leaf.dtype) if is_count else leaf

    return jax.tree_util.tree_map_with_path(moved, state)
