"""Tracing: what each call of each module took and gave, in every wing alike, and the model as it was."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from flax.errors import FlaxError
from torch import nn

from paritree.common.wing.recognition import WINGS
from paritree.common.wing.traces import Trace, arrays_in, named_arguments, order_of_ends, plain
from paritree.conformance import load_wing
from paritree.pairs.wings import HOMES

X = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)


class TorchInner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.dense, self.norm = nn.Linear(4, 4), nn.LayerNorm(4, eps=0.5)

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return self.norm(self.dense(x)) * scale


class TorchOuter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = TorchInner()

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.inner(x, scale=torch.tensor(2.0))
        return {"out": self.inner(x, torch.tensor(3.0)), "count": torch.tensor(1)}


class LinenInner(linen.Module):
    def setup(self) -> None:
        self.dense, self.norm = linen.Dense(4), linen.LayerNorm(epsilon=0.5)

    def __call__(self, x: Any, scale: Any) -> Any:
        return self.norm(self.dense(x)) * scale


class LinenOuter(linen.Module):
    def setup(self) -> None:
        self.inner = LinenInner()

    def __call__(self, x: Any) -> Any:
        x = self.inner(x, scale=jnp.float32(2.0))
        return {"out": self.inner(x, jnp.float32(3.0)), "count": jnp.int32(1)}


class NnxInner(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.dense, self.norm = nnx.Linear(4, 4, rngs=rngs), nnx.LayerNorm(4, epsilon=0.5, rngs=rngs)

    def __call__(self, x: Any, scale: Any) -> Any:
        return self.norm(self.dense(x)) * scale


class NnxOuter(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.inner = NnxInner(rngs)

    def __call__(self, x: Any) -> Any:
        x = self.inner(x, scale=jnp.float32(2.0))
        return {"out": self.inner(x, jnp.float32(3.0)), "count": jnp.int32(1)}


def model_of(wing: str) -> Any:
    if wing == "torch":
        return TorchOuter()
    if wing == "nnx":
        return NnxOuter(nnx.Rngs(0))
    return LinenOuter(), LinenOuter().init(jax.random.key(0), X)


@pytest.fixture(params=WINGS)
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    with load_wing(request.param).running("cpu", "float32"):
        yield request.param


def traces(name: str, model: Any, inputs: Any = (X,), weights: Any = None, **options: Any) -> tuple[Trace, ...]:
    return import_module(f"paritree.{HOMES[name]}.tracing").tracer(model, inputs, **options)(weights or {})


def test_calls_come_in_order_with_their_depth_and_number(name: str) -> None:
    found = traces(name, model_of(name))
    assert [(each.path, each.call, each.depth) for each in found] == [
        ("", 0, 0),
        ("inner", 0, 1),
        ("inner.dense", 0, 2),
        ("inner.norm", 0, 2),
        ("inner", 1, 1),
        ("inner.dense", 1, 2),
        ("inner.norm", 1, 2),
    ]
    assert [found[place].path for place in order_of_ends(found)] == [
        *("inner.dense", "inner.norm", "inner") * 2,
        "",
    ]


def test_inputs_have_the_names_of_arguments_and_outputs_are_floating(name: str) -> None:
    found = traces(name, model_of(name))
    np.testing.assert_array_equal(found[0].inputs["x"], X)
    assert [float(each.inputs["scale"]) for each in found if each.path == "inner"] == [2.0, 3.0]
    assert list(found[0].outputs) == ["out"]
    (first, second) = (each for each in found if each.path == "inner")
    np.testing.assert_array_equal(first.outputs[""], second.inputs["x"])
    np.testing.assert_array_equal(second.outputs[""], found[0].outputs["out"])


def test_a_module_says_what_it_holds_and_how_it_is_set(name: str) -> None:
    found = {each.path: each for each in traces(name, model_of(name))}
    stored_tensors = list(load_wing(name).stored_tensors(model_of(name)))
    assert sorted(found[""].subtree) == sorted(stored_tensors)
    assert found[""].holds == ()
    assert sorted(found["inner.norm"].holds) == sorted(path for path in stored_tensors if ".norm." in path)
    assert 0.5 in found["inner.norm"].settings.values()
    assert str(found["inner.norm"]) == "'inner.norm' (LayerNorm)"
    assert str(found[""]) == f"the model itself ({found[''].name})"


def test_the_weights_and_the_type_are_those_of_the_run_and_the_model_is_as_it_was(name: str) -> None:
    model = model_of(name)
    before = {path: native.array.copy() for path, native in load_wing(name).stored_tensors(model).items()}
    zeros = {path: np.zeros_like(array) for path, array in before.items()}
    with load_wing(name).running("cpu", "float64"):
        found = traces(name, model, weights=zeros, dtype="float64")
    assert not found[0].outputs["out"].any()
    assert found[0].outputs["out"].dtype == np.float64
    after = {path: native.array for path, native in load_wing(name).stored_tensors(model).items()}
    for path, array in before.items():
        np.testing.assert_array_equal(after[path], array)


def test_a_call_of_ones_own_is_traced(name: str) -> None:
    def call(model: Any, inputs: Any) -> Any:
        apply = model if name != "linen" else lambda x: model[0].apply(model[1], x)
        return apply(inputs["given"])["out"]

    assert len(traces(name, model_of(name), {"given": X}, call=call)) == 7


def test_a_pass_that_fails_leaves_no_trace_in_the_model(name: str) -> None:
    model = model_of(name)
    kinds = (nnx.Linear, nnx.LayerNorm, NnxInner, NnxOuter)
    methods = [vars(kind).get("__call__") for kind in kinds]
    with pytest.raises((RuntimeError, TypeError, ValueError, FlaxError)):
        traces(name, model, (X[..., :3],))
    assert [vars(kind).get("__call__") for kind in kinds] == methods
    if name == "torch":
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert len(traces(name, model)) == 7


class Stacked(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        scanned = linen.scan(Step, variable_axes={"params": 0}, split_rngs={"params": True}, length=3)
        x, _ = scanned(name="steps")(x, None)
        words = linen.Embed(5, 4, name="words")
        return words.attend(x) + words(jnp.array([0])).sum()


class Step(linen.Module):
    @linen.compact
    def __call__(self, x: Any, _: Any) -> Any:
        return linen.Dense(4, name="dense")(x), None


def test_linen_shows_each_turn_of_a_scan_and_methods_that_are_called_from_outside() -> None:
    module = Stacked()
    found = traces("linen", (module, module.init(jax.random.key(0), X)))
    listed = [(each.path, each.call) for each in found]
    assert listed == [
        ("", 0),
        *[(path, turn) for turn in range(3) for path in ("steps", "steps.dense")],
        ("words", 0),
        ("words", 1),
    ]
    assert found[1].outputs["0"].shape == X.shape


class Turned(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.steps = nnx.vmap(lambda key: NnxInner(nnx.Rngs(key)))(jax.random.split(rngs(), 3))
        self.words = nnx.Embed(5, 4, rngs=rngs)

    def __call__(self, x: Any) -> Any:
        @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
        def step(x: Any, inner: Any) -> Any:
            return inner(x, jnp.float32(1.0))

        return self.words.attend(nnx.jit(step)(x, self.steps))


def test_nnx_shows_each_turn_of_a_scan_and_methods_that_are_called_from_outside() -> None:
    found = traces("nnx", Turned(nnx.Rngs(0)))
    turns = [("steps", 0), ("steps.dense", 0), ("steps.norm", 0)]
    listed = [(path, turn) for turn in range(3) for path, _ in turns]
    assert [(each.path, each.call) for each in found] == [("", 0), *listed, ("words", 0)]


def test_linen_shows_a_module_below_a_function_that_is_lifted_over_it() -> None:
    module = linen.WeightNorm(linen.Dense(4))
    found = traces("linen", (module, module.init(jax.random.key(0), X)))
    assert [(each.path, each.name) for each in found] == [("", "WeightNorm"), ("layer_instance", "Dense")]
    assert found[1].holds == ("params.layer_instance.bias", "params.layer_instance.kernel")


class Tied(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        kernel = linen.Dense(4, name="first").init(jax.random.key(0), x)
        return linen.Dense(4, name="second")(linen.Dense(4, parent=None).apply(kernel, x))


def test_linen_passes_by_what_is_applied_with_other_variables() -> None:
    found = traces("linen", (Tied(), Tied().init(jax.random.key(0), X)))
    assert [each.path for each in found] == ["", "second"]


def test_structures_and_arguments_are_named() -> None:
    assert [place for place, _ in arrays_in({"a": [X, {"b": X}], "c": object(), "d": None})] == ["a.0", "a.1.b"]

    def method(self: Any, one: Any, *rest: Any, key: int = 0, **more: Any) -> None: ...

    assert named_arguments(method, (1, 2, 3), {"key": 4, "x": 5}) == {"one": 1, "rest": (2, 3), "key": 4, "x": 5}
    assert named_arguments(method, (), {}) == {}


def gelu(x: Any) -> Any:
    return x


def test_settings_are_plain() -> None:
    members = {"eps": 1e-5, "_private": 1, "act": gelu, "size": [3, 3], "array": X, "name": "a", "none": None}
    assert plain(members) == {"eps": 1e-5, "act": "gelu", "size": (3, 3), "name": "a"}
