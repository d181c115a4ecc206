"""A model's tensors as its framework stores them: listed, replaced, and probed under their native paths."""

from __future__ import annotations

import copy
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import torch
from flax import linen, nnx

import paritree
from paritree import NotExpressibleError, ShapeError, WeightsError
from paritree import impl_torch as torch_wing
from paritree.common.wing.stored import StoredTensor
from paritree.conformance import load_wing
from paritree.impl_jax import linen as linen_wing
from paritree.impl_jax import nnx as nnx_wing
from paritree.impl_jax.trees import by_path

from .conftest import assert_close, assert_same, exactly, normal
from .foreign import BUFFERS, SHAPES, STRANGERS, TORCH, Stranger, as_stored, gradients, letters, output

X, COTANGENT = normal(5, 3, seed=50), normal(5, 2, seed=51)


def native_path(stranger: Stranger, letter: str) -> str:
    collection = {"linen": "batch_stats." if letter in BUFFERS else "params."}.get(stranger.wing, "")
    return collection + ".".join(map(str, stranger.names[letter].native))


def native_arrays(stranger: Stranger, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The letters' values as the version stores them."""
    turned = {letter: values[letter].T if is_turned(stranger, letter) else values[letter] for letter in values}
    return {native_path(stranger, letter): array for letter, array in turned.items()}


def is_turned(stranger: Stranger, letter: str) -> bool:
    return as_stored(stranger, letter) or (stranger.wing == "nnx" and letter in ("W1", "W2"))


def made(name: str, dtype: str = "float32") -> Any:
    """A model of that version; one of Linen's, which nothing changes, is made once."""
    return linen_made(name, dtype) if STRANGERS[name].wing == "linen" else STRANGERS[name].make(dtype)


@lru_cache
def linen_made(name: str, dtype: str) -> Any:
    return STRANGERS[name].make(dtype)


def ones(shapes: Any) -> list[np.ndarray]:
    return [np.ones(shape) for shape in shapes]


@pytest.mark.parametrize("name", STRANGERS)
def test_every_tensor_is_listed_under_its_native_path(name: str) -> None:
    stranger = STRANGERS[name]
    model, wing = made(name), load_wing(stranger.wing)
    found = wing.stored_tensors(model)
    letter_of = {native_path(stranger, letter): letter for letter in stranger.names}
    assert sorted(found) == sorted(letter_of)
    for path, native in found.items():
        letter = letter_of[path]
        shape = SHAPES.get(letter, ())
        assert native.array.shape == (shape[::-1] if is_turned(stranger, letter) else shape)
        assert native.trainable == (letter not in (*BUFFERS, "batches"))
        assert native.is_floating == (letter != "batches")
        assert native.keys[-len(stranger.names[letter].native) :] == stranger.names[letter].native
        assert (native.path, ".".join(map(str, native.keys))) == (path, path)
        assert (native.saved, native.frozen, native.aliases) == (True, False, ())


@pytest.mark.parametrize("name", STRANGERS)
def test_given_natives_are_what_is_listed_and_what_computes(name: str) -> None:
    stranger = STRANGERS[name]
    wing, values = load_wing(stranger.wing), letters(1, "float64")
    with wing.running("cpu", "float64"):
        model = made(name, "float64")
        before = wing.stored_tensors(model)
        given = native_arrays(stranger, values)
        loaded = wing.with_stored_tensors(model, given)
        found = wing.stored_tensors(loaded)
        assert list(found) == list(before)
        assert_same({path: found[path].array for path in given}, given)
        assert_close({"y": wing.call(loaded, (X.astype("float64"),))}, {"y": output(values, X.astype("float64"))})
    assert (loaded is model) == (stranger.wing != "linen")
    # What was listed before is as it was, and what was given is the caller's.
    assert not np.array_equal(before[native_path(stranger, "W1")].array, found[native_path(stranger, "W1")].array)
    given[native_path(stranger, "b1")][...] = 9
    assert not (wing.stored_tensors(loaded)[native_path(stranger, "b1")].array == 9).any()


@pytest.mark.parametrize("name", STRANGERS)
def test_some_natives_leave_the_others_and_every_dtype(name: str) -> None:
    stranger = STRANGERS[name]
    model, wing = made(name), load_wing(stranger.wing)
    path, other = native_path(stranger, "b1"), native_path(stranger, "b2")
    before = wing.stored_tensors(model)[other].array
    found = wing.stored_tensors(wing.with_stored_tensors(model, {path: torch.arange(4, dtype=torch.float64)}))
    assert_same({path: found[path].array}, {path: np.arange(4, dtype=np.float32)})
    assert_same({other: found[other].array}, {other: before})


@pytest.mark.parametrize("name", STRANGERS)
def test_natives_that_do_not_fit_are_all_named_and_nothing_changes(name: str) -> None:
    stranger = STRANGERS[name]
    model, wing = made(name), load_wing(stranger.wing)
    before = wing.stored_tensors(model)
    paths = [native_path(stranger, letter) for letter in ("b1", "b2", "scale")]
    text = (
        "expected arrays for owners of the model, in their native shapes, found 3 that do not fit: "
        f"{paths[1]} has shape (3,) and needs (2,); {paths[2]} is no array but int; elsewhere is no owner's path. "
        "Nothing was changed."
    )
    given = {paths[0]: np.zeros(4), paths[1]: np.zeros(3), paths[2]: 3, "elsewhere": np.zeros(1)}
    with pytest.raises(WeightsError, match=exactly(text)):
        wing.with_stored_tensors(model, given)
    assert_same(
        *({path: native.array for path, native in each.items()} for each in (wing.stored_tensors(model), before))
    )
    with pytest.raises(WeightsError, match=exactly("expected a mapping from paths to arrays, found list")[:-1]):
        wing.with_stored_tensors(model, [np.zeros(4)])  # type: ignore[arg-type]


class TorchTied(torch.nn.Module):
    """A tie, a frozen parameter, two buffers of which one is not saved, and a layer without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(6, 4)
        self.head = torch.nn.Linear(4, 6, bias=False)
        self.head.weight = self.embed.weight
        self.gain = torch.nn.Parameter(torch.full((4,), 2.0), requires_grad=False)
        self.register_buffer("shift", torch.ones(4))
        self.register_buffer("mask", torch.ones(4), persistent=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.embed(tokens) * self.gain + self.shift * self.mask)


class NnxTied(nnx.Module):
    """The alias comes first in NNX's own order, which is sorted; a bare array, random state, and a tree in a Param."""

    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.words = nnx.Embed(6, 4, rngs=rngs)
        self.again = self.words
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.shift = jnp.ones(4)
        self.gain = nnx.Param({"left": jnp.full(2, 2.0), "right": jnp.full(2, 2.0)})
        self.parts = nnx.data(namedtuple("Parts", "scale")(nnx.Param(jnp.ones(4))))

    def __call__(self, tokens: jax.Array) -> jax.Array:
        gain = self.gain.get_value()
        x = self.words(tokens) * jnp.concatenate([gain["left"], gain["right"]]) * self.parts.scale[...] + self.shift
        return self.again.attend(self.dropout(x))


TOKENS = (np.array([[0, 2, 5], [1, 1, 0]], np.int32),)


def tied_gradient(weight: np.ndarray, gain: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """Of the sum of all scores by the shared matrix: what both of its uses add up to."""
    tokens = TOKENS[0].ravel()
    hidden = weight[tokens] * gain + shift
    by_weight = np.tile(hidden.sum(0), (6, 1))
    np.add.at(by_weight, tokens, np.tile(weight.sum(0) * gain, (tokens.size, 1)))
    return by_weight


def test_torch_says_what_is_tied_frozen_and_not_saved() -> None:
    found = torch_wing.stored_tensors(TorchTied())
    marks = {path: (each.trainable, each.frozen, each.saved, each.aliases) for path, each in found.items()}
    assert marks == {
        "gain": (True, True, True, ()),
        "shift": (False, False, True, ()),
        "mask": (False, False, False, ()),
        "embed.weight": (True, False, True, ("head.weight",)),
    }


def test_nnx_lists_a_tie_where_its_state_has_it() -> None:
    model = NnxTied()
    found = nnx_wing.stored_tensors(model)
    assert {path: (each.trainable, each.aliases, each.keys) for path, each in found.items()} == {
        "again.embedding": (True, ("words.embedding",), ("again", "embedding")),
        "gain.left": (True, (), ("gain", "left")),
        "gain.right": (True, (), ("gain", "right")),
        "parts.scale": (True, (), ("parts", "scale")),
        "shift": (False, (), ("shift",)),
    }
    assert list(found) == ["gain.left", "gain.right", "again.embedding", "parts.scale", "shift"]
    assert ("again", "embedding") in nnx.to_flat_state(nnx.state(model)).paths


@pytest.mark.parametrize(
    ("wing", "make", "owner"),
    [(torch_wing, TorchTied, "embed.weight"), (nnx_wing, NnxTied, "again.embedding")],
    ids=["torch", "nnx"],
)
def test_ties_stay_and_their_gradients_are_sums(wing: Any, make: Callable[[], Any], owner: str) -> None:
    model = make()
    weight = normal(6, 4, seed=3)
    probe = wing.prober(model, TOKENS)({owner: weight}, ones)
    expected = tied_gradient(weight, np.full(4, 2.0), np.ones(4))
    assert_close({owner: probe.gradients[owner]}, {owner: expected}, 1e-6)
    loaded = wing.with_stored_tensors(model, {owner: weight})
    found = wing.stored_tensors(loaded)
    assert found[owner].aliases == wing.stored_tensors(make())[owner].aliases
    np.testing.assert_array_equal(found[owner].array, weight)
    np.testing.assert_array_equal(wing.prober(loaded, TOKENS)({}, ones).outputs[""], probe.outputs[""])


def test_frozen_parameters_have_gradients_and_buffers_none() -> None:
    model = TorchTied()
    probe = torch_wing.prober(model, TOKENS)({}, ones)
    assert list(probe.gradients) == ["gain", "embed.weight"]
    assert np.abs(probe.gradients["gain"]).max() > 0
    assert not model.gain.requires_grad
    assert all(parameter.grad is None for parameter in model.parameters())


def test_trees_and_bare_arrays_in_nnx_are_replaced() -> None:
    model = NnxTied()
    given = {"gain.right": np.array([5.0, 6.0]), "shift": np.arange(4.0), "parts.scale": np.full(4, 3.0)}
    found = nnx_wing.stored_tensors(nnx_wing.with_stored_tensors(model, given))
    for path, array in given.items():
        np.testing.assert_array_equal(found[path].array, array)
    np.testing.assert_array_equal(found["gain.left"].array, [2, 2])
    assert set(nnx_wing.prober(model, TOKENS)({}, ones).gradients) == set(found) - {"shift"}


class Boxed(linen.Module):
    @linen.compact
    def __call__(self, x: Any) -> Any:
        names = linen.with_partitioning(linen.initializers.lecun_normal(), ("in", "out"))
        logical = linen.with_logical_partitioning(linen.initializers.ones, ("hidden",))
        return linen.Dense(4, kernel_init=names, name="d")(x) * self.param("scale", logical, (4,))


def test_a_box_is_no_key_and_stays() -> None:
    module = Boxed()
    model = (module, module.init(jax.random.key(0), X))
    found = linen_wing.stored_tensors(model)
    assert list(found) == ["params.d.kernel", "params.d.bias", "params.scale"]
    kernel = normal(3, 4, seed=4)
    loaded = linen_wing.with_stored_tensors(model, {"params.d.kernel": kernel, "params.scale": np.full(4, 2.0)})
    box = loaded[1]["params"]["d"]["kernel"]
    assert (type(box), box.names) == (linen.Partitioned, ("in", "out"))
    assert type(loaded[1]["params"]["scale"]) is linen.LogicallyPartitioned
    probe = linen_wing.prober(loaded, (X,))({}, ones)
    assert_close({"y": probe.outputs[""]}, {"y": X @ kernel * 2}, 1e-6)
    assert list(probe.gradients) == list(found)


def test_linen_keeps_order_and_lists_every_collection() -> None:
    class Any_(linen.Module):
        def __call__(self, x: Any) -> Any:
            return x

    variables = {
        "params": {"layers_2": {"w": np.ones(2)}, "layers_10": {"w": jnp.ones(2)}, "layers_1": [np.zeros(1)]},
        "cache": {"index": jnp.zeros((), jnp.int32), "key": jax.random.key(0), "none": None},
    }
    found = linen_wing.stored_tensors((Any_(), variables))
    assert {path: (each.trainable, each.is_floating) for path, each in found.items()} == {
        "params.layers_2.w": (True, True),
        "params.layers_10.w": (True, True),
        "params.layers_1.0": (True, True),
        "cache.index": (False, False),
    }
    assert [*found] == ["params.layers_2.w", "params.layers_10.w", "params.layers_1.0", "cache.index"]
    _, loaded = linen_wing.with_stored_tensors((Any_(), variables), {"params.layers_1.0": np.full(1, 7.0)})
    assert [*loaded["params"]] == ["layers_2", "layers_10", "layers_1"]
    assert loaded["params"]["layers_1"][0] == 7


def test_two_keys_that_are_one_path_are_refused() -> None:
    text = (
        "a.b: expected one array under a path, found two, stored under ('a', 'b') and ('a.b',). "
        "Rename one of the two in the model."
    )
    with pytest.raises(paritree.ChildNameError, match=exactly(text)):
        by_path([(("a", "b"), 0), (("a.b",), 1)])


@pytest.mark.parametrize("name", STRANGERS)
def test_bfloat16_keeps_its_type(name: str) -> None:
    stranger = STRANGERS[name]
    model, wing = made(name, "bfloat16"), load_wing(stranger.wing)
    path, given = native_path(stranger, "W1"), normal(4, 3, seed=7).reshape
    given = normal(3, 4, seed=7) if is_turned(stranger, "W1") else normal(4, 3, seed=7)
    native = wing.stored_tensors(model)[path]
    assert native.array.dtype == ml_dtypes.bfloat16
    assert native.is_floating
    found = wing.stored_tensors(wing.with_stored_tensors(model, {path: given}))[path].array
    np.testing.assert_array_equal(found, given.astype(ml_dtypes.bfloat16))
    probe = wing.prober(model, (X,), dtype="bfloat16")({}, ones)
    assert probe.outputs[""].dtype == probe.gradients[path].dtype == ml_dtypes.bfloat16


def test_a_lazy_parameter_has_no_native_yet() -> None:
    model = torch.nn.Sequential(torch.nn.LazyLinear(3))
    text = "0.weight: expected a shape that is known, found (?,). Send an input through the model first."
    with pytest.raises(ShapeError, match=exactly(text)):
        torch_wing.stored_tensors(model)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", STRANGERS)
def test_a_probe_is_what_the_mathematics_says(name: str, dtype: str) -> None:
    stranger = STRANGERS[name]
    wing, values = load_wing(stranger.wing), letters(2, dtype)
    x, cotangent, allowed = X.astype(dtype), COTANGENT.astype(dtype), {"float32": 1e-5, "float64": 1e-12}[dtype]
    with wing.running("cpu", dtype):
        model = made(name)
        before = {path: native.array for path, native in wing.stored_tensors(model).items()}
        run = wing.prober(model, (x,), dtype=dtype)
        probe = run(native_arrays(stranger, values), lambda shapes: [cotangent for _ in shapes])
        assert_same({path: native.array for path, native in wing.stored_tensors(model).items()}, before)
    assert_close(probe.outputs, {"": output(values, x)}, allowed)
    assert_close(probe.gradients, native_arrays(stranger, gradients(values, x, cotangent)), allowed)
    assert {array.dtype.name for array in (*probe.outputs.values(), *probe.gradients.values())} == {dtype}


@pytest.mark.parametrize("name", STRANGERS)
def test_each_run_is_for_its_own_weights_alone(name: str) -> None:
    stranger = STRANGERS[name]
    wing, model = load_wing(stranger.wing), made(name)
    run = wing.prober(model, (X,))
    own = run({}, ones)
    given = native_arrays(stranger, letters(3))
    changed = run(given, ones)
    assert not np.allclose(changed.outputs[""], own.outputs[""])
    only = run({native_path(stranger, "b2"): given[native_path(stranger, "b2")]}, ones)
    np.testing.assert_array_equal(run({}, ones).outputs[""], own.outputs[""])
    difference = given[native_path(stranger, "b2")] - wing.stored_tensors(model)[native_path(stranger, "b2")].array
    np.testing.assert_allclose(only.outputs[""] - own.outputs[""], np.tile(difference, (5, 1)), atol=1e-6)
    with pytest.raises(WeightsError, match="elsewhere is no owner's path"):
        run({"elsewhere": np.zeros(1)}, ones)


@pytest.mark.parametrize("name", STRANGERS)
def test_outputs_alone_need_no_cotangents(name: str) -> None:
    stranger = STRANGERS[name]
    run = load_wing(stranger.wing).prober(made(name), (X,))
    given = native_arrays(stranger, letters(3))

    def never(shapes: Any) -> Any:
        raise AssertionError("cotangents were asked for")

    found = run(given, never, gradients=False)
    assert found.gradients == {}
    assert_close(found.outputs, run(given, ones).outputs, 1e-6)


@pytest.mark.parametrize("name", [name for name in STRANGERS if STRANGERS[name] is not TORCH])
def test_a_flax_side_is_traced_once_for_all_weights(name: str) -> None:
    stranger = STRANGERS[name]
    model, traces = made(name), []

    def call(model: Any, inputs: Any) -> Any:
        traces.append(1)
        return model[0].apply(model[1], *inputs) if stranger.wing == "linen" else model(*inputs)

    run = load_wing(stranger.wing).prober(model, (X,), call)
    given = native_arrays(stranger, letters(3))
    with compilations() as found:
        first = run(given, ones)
    assert found
    with compilations() as found:
        run({}, ones)
        run(dict(list(given.items())[:3]), ones)
        again = run({path: array.astype("float64") for path, array in given.items()}, ones)
    assert found == []
    assert len(traces) == 1
    np.testing.assert_array_equal(first.outputs[""], again.outputs[""])


@contextmanager
def compilations() -> Iterator[list[str]]:
    """What XLA compiles inside."""
    found: list[str] = []

    def listen(event: str, duration: float, **_: Any) -> None:
        if "backend_compile" in event:
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_a_torch_module_with_computed_and_plain_tensors_is_probed() -> None:
    class Odd(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(3, 3)
            self.computed = self.inner.weight * 2
            self.plain = torch.ones(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x) @ torch.diag(self.plain)

    model = Odd()
    probe = torch_wing.prober(model, (X,), dtype="float64")({}, ones)
    assert probe.outputs[""].dtype == np.float64
    assert model.plain.dtype == torch.float32
    expected = model.inner(torch.from_numpy(X)).detach().numpy()
    np.testing.assert_allclose(probe.outputs[""], expected, rtol=1e-5, atol=1e-6)


def test_an_output_that_is_no_array_is_refused_by_every_wing() -> None:
    for name, stranger in STRANGERS.items():
        run = load_wing(stranger.wing).prober(made(name), (X,), lambda model, inputs: {"text": "x"})
        text = (
            "text: expected arrays, or mappings, sequences and dataclasses of arrays, found str. Give the pair a call."
        )
        with pytest.raises(NotExpressibleError) as caught:
            run({}, ones)
        assert str(caught.value) == text


def test_a_native_knows_floating_types_that_numpy_has_from_elsewhere() -> None:
    kinds = {"float32": True, "int32": False, "bool": False}
    assert {name: StoredTensor("p", np.zeros(1, name), True).is_floating for name in kinds} == kinds
    assert StoredTensor("p", np.zeros(1, ml_dtypes.float8_e4m3fn), True).is_floating


def test_a_model_without_values_is_neither_read_nor_written() -> None:
    live, meta = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2, device="meta")
    made = paritree.align(paritree.Pair(live, copy.deepcopy(live), (np.ones((1, 2), np.float32),)))
    expected = (
        "expected a tensor with values, found one on PyTorch's meta device. Make it on a device that holds values, or "
        "load its weights first."
    )
    for call in (lambda: paritree.carry(meta, live, made), lambda: paritree.carry(live, meta, made)):
        with pytest.raises(NotExpressibleError) as caught:
            call()
        assert str(caught.value) == f"weight: {expected}"
    with pytest.raises(NotExpressibleError, match=f"^{expected}$"):
        made.carry(meta.state_dict())
