"""Bare pytrees as sides of a pair, and what else a side may be: a model, a factory of one, and nothing more."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

import paritree
from paritree import PairError, UsageError, WeightsError
from paritree.common.wing.recognition import is_factory, model_of, side_name
from paritree.impl_jax import pytrees
from paritree.pairs.wings import HOMES, SIDES

from .conftest import assert_close, assert_same, exactly, normal


class Affine(NamedTuple):
    weight: Any
    bias: Any


@jax.tree_util.register_dataclass
@dataclass
class Scale:
    gain: Any
    steps: Any


class Node:
    """A node of somebody's own, with keys that are only counted."""

    def __init__(self, array: Any, name: str = "inner") -> None:
        self.array, self.name = array, name


jax.tree_util.register_pytree_node(Node, lambda node: ((node.array,), node.name), lambda name, held: Node(*held, name))

X = normal(5, 3, seed=1)


def tree(dtype: str = "float32") -> Any:
    return {
        "second.layer": Affine(normal(4, 2, seed=2, dtype=dtype), jnp.zeros(2, dtype)),
        "first": [Affine(jnp.asarray(normal(3, 4, seed=3, dtype=dtype)), np.ones(4, dtype))],
        "scale": Scale(jnp.full(4, 0.5, dtype), jnp.arange(2)),
        "node": Node(np.full(2, 2.0, dtype)),
        "none": None,
        "rate": 0.1,
    }


def call(tree: Any, inputs: Any) -> Any:
    (x,) = inputs
    first, second = tree["first"][0], tree["second.layer"]
    hidden = (x @ first.weight + first.bias) * tree["scale"].gain
    return (hidden @ second.weight + second.bias) * tree["node"].array


def ones(shapes: Any) -> list[np.ndarray]:
    return [np.ones(shape) for shape in shapes]


PATHS = {
    "second.layer.weight": (4, 2),
    "second.layer.bias": (2,),
    "first.0.weight": (3, 4),
    "first.0.bias": (4,),
    "scale.gain": (4,),
    "scale.steps": (2,),
    "node.0": (2,),
}


def test_the_paths_of_a_tree_are_its_keys() -> None:
    found = pytrees.stored_tensors(tree())
    assert {path: native.array.shape for path, native in found.items()} == PATHS
    assert list(found) == list(PATHS)
    assert [path for path, native in found.items() if not native.trainable] == ["scale.steps"]
    assert found["second.layer.weight"].keys == ("second.layer", "weight")
    assert found["first.0.bias"].keys == ("first", 0, "bias")


def test_given_arrays_make_a_new_tree_of_the_same_nodes() -> None:
    old = tree()
    given = {"first.0.weight": normal(3, 4, seed=9, dtype="float64"), "node.0": np.array([3.0, 4.0])}
    new = pytrees.with_stored_tensors(old, given)
    assert jax.tree.structure(new) == jax.tree.structure(old)
    assert (type(new["first"][0]), type(new["scale"]), new["node"].name, new["rate"]) == (Affine, Scale, "inner", 0.1)
    found = {path: native.array for path, native in pytrees.stored_tensors(new).items()}
    before = {path: native.array for path, native in pytrees.stored_tensors(tree()).items()}
    assert_same(found, {**before, **{path: array.astype("float32") for path, array in given.items()}})
    assert_same({path: native.array for path, native in pytrees.stored_tensors(old).items()}, before)
    text = (
        "expected arrays for owners of the model, in their native shapes, found 1 that does not fit: "
        "node.0 has shape (3,) and needs (2,). Nothing was changed."
    )
    with pytest.raises(WeightsError, match=exactly(text)):
        pytrees.with_stored_tensors(old, {"node.0": np.zeros(3)})


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_tree_is_probed_through_its_call(dtype: str) -> None:
    with pytrees.running("cpu", dtype):
        old = tree("float32")
        seen: list[Any] = []

        def watched(tree: Any, inputs: Any) -> Any:
            leaves = jax.tree.leaves((tree, inputs))
            seen.append([leaf for leaf in leaves if not isinstance(leaf, jax.Array)])
            return call(tree, inputs)

        run = pytrees.prober(old, (X,), watched, dtype=dtype)
        bias = np.array([1.0, -1.0])
        probe = run({"second.layer.bias": bias}, ones)
        again = run({}, ones)
    assert seen == [[0.1]]
    assert list(probe.gradients) == [path for path in PATHS if path != "scale.steps"]
    values = {path: native.array.astype(dtype) for path, native in pytrees.stored_tensors(old).items()}
    hidden = (X.astype(dtype) @ values["first.0.weight"] + values["first.0.bias"]) * 0.5
    allowed = {"float32": 1e-6, "float64": 1e-14}[dtype]
    assert_close(probe.outputs, {"": (hidden @ values["second.layer.weight"] + bias) * 2}, allowed)
    assert_close(again.outputs, {"": hidden @ values["second.layer.weight"] * 2}, allowed)
    expected = {"second.layer.bias": np.full(2, 10.0), "second.layer.weight": np.tile(hidden.sum(0)[:, None] * 2, 2)}
    assert_close({path: probe.gradients[path] for path in expected}, expected, allowed)
    assert {array.dtype.name for array in (*probe.outputs.values(), *probe.gradients.values())} == {dtype}


def test_a_tree_without_a_call_is_refused() -> None:
    text = (
        "expected a call(tree, inputs) for a pytree, which cannot be called itself, found none. "
        "Give the pair a reference_call or a port_call."
    )
    with pytest.raises(PairError, match=exactly(text)):
        pytrees.prober(tree(), (X,))


def test_a_tree_without_an_array_is_refused() -> None:
    with pytest.raises(UsageError, match=exactly("expected a pytree with arrays of JAX's or NumPy's, found dict.")):
        pytrees.stored_tensors({"a": 1.0})


def test_a_table_lists_the_nodes_that_jax_knows() -> None:
    listed = {key: value for key, value in tree().items() if key != "rate"}
    rows = {row.path: row.shape for row in paritree.table(listed).rows}
    assert rows == PATHS
    assert [row.path for row in paritree.table(listed["scale"]).rows] == ["gain", "steps"]


class Callable_:
    """A module of a library that makes its modules pytrees, which can be called."""

    def __init__(self, weight: Any) -> None:
        self.weight = weight

    def __call__(self, x: Any) -> Any:
        return x @ self.weight


jax.tree_util.register_pytree_node(Callable_, lambda node: ((node.weight,), None), lambda _, held: Callable_(*held))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        (torch.nn.Linear(1, 1), "torch"),
        (nnx.Linear(1, 1, rngs=nnx.Rngs(0)), "nnx"),
        ((linen.Dense(1), {"params": {"kernel": np.ones((1, 1))}}), "linen"),
        (tree(), "pytree"),
        ({"params": {"kernel": np.ones((1, 1))}}, "pytree"),
        ([np.ones(1)], "pytree"),
        (Scale(jnp.ones(1), 0), "pytree"),
        (Callable_(jnp.ones(1)), "pytree"),
    ],
)
def test_each_kind_of_side_is_known_and_no_factory(model: Any, name: str) -> None:
    assert side_name(model) == name
    assert not is_factory(model)
    assert model_of(model) is model


class Wrapper:
    def __init__(self) -> None:
        self.module, self.params = linen.Dense(1), {"kernel": np.ones((1, 1))}

    def __call__(self, x: Any) -> Any:
        return x


EXPECTED = "expected a spec, an nn.Module, an nnx.Module or (linen module, variables), found "


@pytest.mark.parametrize(
    ("side", "found"),
    [
        (3, "int."),
        (None, "NoneType."),
        (np.ones(3), "ndarray."),
        ({"weight": torch.ones(1)}, "dict."),
        ({}, "dict."),
        (torch.nn.Linear, "type."),
        (linen.Dense(1), "Dense. A Linen module needs its variables: give the tuple (module, variables)."),
        (
            Wrapper(),
            'Wrapper. Of a wrapper around a Linen module give the inside: (model.module, {"params": model.params}).',
        ),
    ],
)
def test_what_is_neither_a_model_nor_a_factory_is_refused(side: Any, found: str) -> None:
    for refused in (side, lambda seed: side):
        with pytest.raises(UsageError, match=exactly(EXPECTED + found)):
            model_of(refused)


def test_a_factory_is_called_with_the_seed() -> None:
    def make(seed: int) -> Any:
        return {"w": jnp.full(2, seed)}

    for factory in (make, functools.partial(make), jax.jit(make), SimpleNamespace(make=make).make):
        assert is_factory(factory)
        np.testing.assert_array_equal(model_of(factory, 3)["w"], [3, 3])
    assert model_of(make)["w"][0] == 0


def no_seed() -> Any: ...


def broken(seed: int) -> Any:
    raise RuntimeError("out of luck.\nand more")


@pytest.mark.parametrize(
    ("factory", "found"),
    [
        (broken, "RuntimeError: out of luck"),
        (no_seed, "TypeError: no_seed() takes 0 positional arguments but 1 was given"),
    ],
)
def test_a_factory_that_fails_is_reported_with_its_side(factory: Callable[..., Any], found: str) -> None:
    text = f"port: expected a factory that makes a model, found {found}. A factory is a function of a seed."
    with pytest.raises(PairError, match=exactly(text)) as caught:
        model_of(factory, role="port")
    assert isinstance(caught.value.__cause__, Exception)


def test_a_tree_of_numpy_is_known_where_jax_is_not_loaded() -> None:
    program = (
        "import sys, numpy as np\nfrom paritree.common.wing.recognition import side_name\n"
        "print(side_name({'a': [np.ones(1)]}), 'jax' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == "pytree False\n"


def test_sides_are_the_wings_and_the_pytree() -> None:
    assert {*SIDES} == {*HOMES, "pytree"}
