"""One seed, the same bits in every wing: whole models, ties, any order, dtypes, integers of each framework, compiled
programs as users have them, shards on eight devices."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import ml_dtypes
import numpy as np
import pytest
import torch

import paritree
from paritree import Block, Linear, Rule, Sequential, Shared
from paritree.common import draws
from paritree.common import initializers as init
from paritree.common.errors import InitializerError, UsageError
from paritree.common.initializers import Initializer
from paritree.common.layouts import SAME, Layout
from paritree.common.wing import WINGS
from paritree.conformance import load_wing
from paritree.impl_jax import draws as jax_draws
from paritree.impl_jax import integers as jax_integers
from paritree.impl_jax import linen, nnx
from paritree.impl_torch import initialization as torch_draws
from paritree.impl_torch import integers as torch_integers

from .conftest import assert_same, exactly
from .streamed import GOLDEN, SPECS, digest

SHAPE = (37, 20)
RANDOM: list[Initializer] = [
    *[init.Uniform(-0.3, 0.3), init.Uniform(), init.Uniform(-1, 2), init.Normal(), init.Normal(0.0, 0.02)],
    *[init.Normal(1.0, 0.1), init.Normal(-100.0, 0.5), init.TruncatedNormal(std=0.02, low=-0.03, high=0.05)],
    *[init.TruncatedNormal(0.5, 0.02, -1, 3, cut="sigma"), init.TruncatedNormal(low=-9.0, high=1.0)],
    *[init.Xavier("truncated_normal"), init.Kaiming("normal"), init.LeCun(), init.VarianceScaling(2.0, "fan_avg")],
    *[init.Masked(init.Normal(), 0.5), init.Masked(init.Uniform(-1, 2), 0.5), init.ZeroRow(init.Normal(), 3)],
]
WHOLE: list[Initializer] = [init.Orthogonal(2.0), init.Sparse(0.3), init.Constant(0.1), init.Eye()]


def recipe_of(initializer: Initializer, shape: tuple[int, ...] = SHAPE) -> draws.Recipe:
    found = draws.recipe_of(initializer, shape)
    assert found is not None
    return found


@pytest.mark.parametrize("initializer", RANDOM, ids=repr)
def test_the_integers_of_each_framework_make_the_same_bits(initializer: Initializer) -> None:
    recipe, key = recipe_of(initializer), draws.key_of(3, "w")
    expected = draws.drawn(initializer, SHAPE, seed=3, path="w").tobytes()
    made = torch_integers.entries(recipe, key, SHAPE, torch.device("cpu"))
    assert made.numpy().tobytes() == expected
    compiled = jax_integers.entries(recipe, key, SHAPE, SAME, "float32")
    assert np.asarray(compiled).tobytes() == expected
    with jax.disable_jit():
        assert np.asarray(jax_integers.entries(recipe, key, SHAPE, SAME, "float32")).tobytes() == expected
    with linen.running(dtype="float64"):
        assert np.asarray(jax_integers.entries(recipe, key, SHAPE, SAME, "float32")).tobytes() == expected


def test_pytorch_makes_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_integers, "_BLOCK", 128)
    made = torch_integers.entries(recipe_of(init.Normal()), draws.key_of(3, "w"), SHAPE, torch.device("cpu"))
    np.testing.assert_array_equal(made.numpy(), draws.drawn(init.Normal(), SHAPE, seed=3, path="w"))


def test_jax_draws_into_any_layout() -> None:
    shape, layout = (6, 4, 5), Layout("(h d) i k -> k i h d", (("h", 2),))
    made = jax_integers.entries(recipe_of(init.Normal(), shape), draws.key_of(3, "w"), shape, layout, "float32")
    np.testing.assert_array_equal(made, layout.to_native(draws.drawn(init.Normal(), shape, seed=3, path="w")))


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("initializer", [*RANDOM[4:8], *WHOLE], ids=repr)
def test_every_dtype_has_the_same_bits_rounded_once(initializer: Initializer, dtype: str) -> None:
    expected = draws.drawn(initializer, SHAPE, seed=3, path="w", wide=dtype == "float64")
    expected = expected.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    for wing in (load_wing("torch"), linen):
        with wing.running(dtype=dtype):
            made = wing.draw(initializer, SHAPE, seed=3, path="w", dtype=dtype)
            part = wing.draw(initializer, SHAPE, seed=3, path="w", dtype=dtype, box=(slice(3, 9), slice(0, 20)))
        for found, wanted in ((made, expected), (part, expected[3:9])):
            stored = torch_draws.neutral(found) if wing.NAME == "torch" else np.asarray(found)
            assert stored.tobytes() == np.ascontiguousarray(wanted).tobytes()


@pytest.mark.parametrize("large", [False, True], ids=["by NumPy", "on the device"])
@pytest.mark.parametrize("initializer", [init.Normal(0.0, 0.02), init.Orthogonal()], ids=repr)
def test_a_large_array_is_what_a_small_one_is(
    initializer: Initializer, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax_draws, "_ON_DEVICE", 0 if large else 2**40)
    spec = Linear(12, 7, weight_init=initializer)
    expected = draws.drawn(initializer, (7, 12), seed=4, path="weight")
    for wing in (linen, nnx):
        np.testing.assert_array_equal(wing.weights(wing.build(spec, seed=4))["weight"], expected)


# Models


@pytest.mark.parametrize("name", SPECS)
def test_one_seed_builds_the_same_bits_in_every_wing(name: str) -> None:
    built = {each: load_wing(each).build(SPECS[name], seed=11) for each in WINGS}
    weights = {each: load_wing(each).weights(model) for each, model in built.items()}
    for each in WINGS[1:]:
        # JAX keeps what counts in 32 bits.
        held = {path: array.astype(weights[each][path].dtype) for path, array in weights["torch"].items()}
        assert_same(weights[each], held)
    # The definition, by each owner's path.
    for row in paritree.table(SPECS[name]).owners:
        expected = draws.drawn(row.drawn_from, row.sizes, seed=11, path=row.path).astype(
            weights["torch"][row.path].dtype
        )
        np.testing.assert_array_equal(weights["torch"][row.path], expected, err_msg=row.path)
    # No release of a framework may change them.
    assert digest(weights["torch"]) == GOLDEN[name]


def test_the_frameworks_own_streams_share_nothing_but_their_laws() -> None:
    spec = Linear(8, 8)
    weights = [load_wing(each).weights(paritree.build(spec, each, stream="native"))["weight"] for each in WINGS]
    portable = load_wing("torch").weights(paritree.build(spec, "torch"))["weight"]
    assert not any(np.isin(each, portable).any() for each in weights)
    assert not np.isin(weights[0], weights[1]).any()


def test_adding_a_layer_or_an_alias_leaves_the_others_as_they_were(wing: Any) -> None:
    front, back = Linear(4, 4), Linear(4, 4)
    one = wing.weights(wing.build(Block({"front": front, "back": back}), seed=1))
    other = wing.weights(wing.build(Block({"new": Linear(4, 4), "back": back, "front": front}), seed=1))
    assert_same({path: other[path] for path in one}, one)
    tied = wing.weights(wing.build(Sequential(front, Shared("0")), seed=1))
    alone = wing.weights(wing.build(Sequential(front), seed=1))
    np.testing.assert_array_equal(tied["0.weight"], alone["0.weight"])


def test_rules_draw_the_same_bits_in_every_wing() -> None:
    spec = Sequential(Linear(4, 6), Linear(6, 2))
    rules = [Rule(init.Kaiming("normal"), name="weight"), Rule(init.Normal(1.0, 0.1), name="bias")]
    found = {}
    for each in WINGS:
        model = paritree.initialize(paritree.build(spec, each, seed=WINGS.index(each)), rules, seed=9)
        found[each] = load_wing(each).weights(model)
    assert_same(found["linen"], found["torch"])
    assert_same(found["nnx"], found["torch"])
    expected = draws.drawn(init.Normal(1.0, 0.1), (2,), seed=9, path="1.bias")
    np.testing.assert_array_equal(found["torch"]["1.bias"], expected)


def test_a_lazy_model_is_materialized_with_the_same_bits() -> None:
    spec, inputs = Sequential(Linear(None, 6), Linear(6, 2)), (np.zeros((3, 5), np.float32),)
    found = {}
    for each in WINGS:
        wing = load_wing(each)
        lazy = None if each == "nnx" else wing.build(spec, seed=2)
        found[each] = wing.weights(wing.materialize(lazy, spec, inputs, seed=2))
    assert_same(found["linen"], found["torch"])
    assert_same(found["nnx"], found["torch"])


def test_the_order_of_draws_does_not_matter(wing: Any) -> None:
    paths = ["a", "b", "c"]
    one = {path: np.asarray(wing.draw(init.Normal(), (5,), path=path)) for path in paths}
    torch.manual_seed(3)
    for path in reversed(paths):
        np.testing.assert_array_equal(np.asarray(wing.draw(init.Normal(), (5,), path=path)), one[path])


# On devices of PyTorch's other than the CPU


@pytest.mark.parametrize("large", [False, True], ids=["by NumPy", "on the device"])
def test_a_model_without_memory_is_built(large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_draws, "_ON_DEVICE", 0 if large else 2**40)
    tensor = torch.empty(SHAPE, device="meta")
    assert torch_draws.fill(tensor, init.Normal(), 0, "w") is tensor


def test_every_device_draws_the_same_bits(device: str) -> None:
    # Large enough to be made on the device itself.
    shape = (1030, 1024)
    for initializer in (RANDOM[2], RANDOM[5], RANDOM[7], RANDOM[14], RANDOM[16]):
        expected = draws.drawn(initializer, shape, seed=3, path="w")
        for wing in (load_wing("torch"), linen):
            made = wing.draw(initializer, shape, seed=3, path="w", device=device)
            stored = made.cpu().numpy() if isinstance(made, torch.Tensor) else np.asarray(made)
            assert stored.tobytes() == expected.tobytes()


# As users run it: with all of the compiler's optimizations, and on a mesh of eight devices of the host.

ROOT = Path(__file__).parents[2]


def ran(program: str, *arguments: str) -> list[str]:
    """What the program says, line by line."""
    plain = {key: value for key, value in os.environ.items() if key != "JAX_DISABLE_MOST_OPTIMIZATIONS"}
    environment = {**plain, "XLA_FLAGS": "--xla_force_host_platform_device_count=8"}
    command = [sys.executable, "-m", f"tests.wings.{program}", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1200, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_compiled_programs_and_shards_have_the_same_bits() -> None:
    assert ran("meshed") == ["compiled", "larger", "sharded", "callback", "model"]


def test_whole_models_have_the_same_bits_in_compiled_programs_and_on_a_mesh() -> None:
    # Of each, how many arrays are parted in Linen's program and in NNX's.
    assert ran("models_on_mesh", "language-model", "resnet") == ["language-model 4 4", "resnet 32 32"]


@pytest.mark.thorough
def test_all_models_have_the_same_bits_in_compiled_programs_and_on_a_mesh() -> None:
    assert [line.split()[0] for line in ran("models_on_mesh", *SPECS)] == list(SPECS)


# Refusals


@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
def test_one_initializer_that_cannot_be_portable_and_nothing_is_drawn(wing: Any) -> None:
    model = wing.build(Sequential(Linear(4, 4)))
    before = wing.weights(model)
    tail = init.TruncatedNormal(low=5.0, high=6.0)
    rules = [Rule(init.Zeros(), name="bias"), Rule(tail, name="weight")]
    text = (
        "0.weight: expected bounds with a probability of at least 2^-16, for the same bits in every framework, found "
        f'{tail!r}. Use stream="native", which draws with the framework\'s own generator.'
    )
    with pytest.raises(InitializerError, match=exactly(text)):
        wing.initialize(model, rules)
    assert_same(wing.weights(model), before)
    with pytest.raises(InitializerError, match=exactly(text)):
        wing.build(Sequential(replace(Linear(4, 4), weight_init=tail)))
    drawn = wing.weights(wing.initialize(model, rules, stream="native"))["0.weight"]
    assert (drawn >= 5).all()


SEED = (
    "seed: expected an integer from -2^63 to 2^64 - 1, found 0.5, a float. "
    "Any integer of 64 bits, with a sign or without, is a seed."
)
STREAM = "stream: expected one of portable, native, found 'nativ'. Did you mean 'native'?"


@pytest.mark.parametrize("stream", draws.STREAMS)
@pytest.mark.parametrize("wing", WINGS)
def test_what_is_no_seed_is_refused(wing: str, stream: draws.Stream) -> None:
    seed: Any = 0.5
    with pytest.raises(UsageError, match=exactly(SEED)):
        paritree.build(Linear(2, 2), wing, seed=seed, stream=stream)
    with pytest.raises(UsageError, match=exactly(SEED)):
        paritree.initialize(paritree.build(Linear(2, 2), wing), Rule(init.Zeros()), seed=seed, stream=stream)


def test_a_stream_that_does_not_exist_is_refused(wing: Any) -> None:
    stream: Any = "nativ"
    model = wing.build(Linear(2, 2))
    row = wing.table(model)["weight"]
    for attempt in (
        lambda: paritree.build(Linear(2, 2), wing.NAME, stream=stream),
        lambda: wing.build(Linear(2, 2), stream=stream),
        lambda: wing.initialize(model, Rule(init.Zeros()), stream=stream),
        lambda: wing.draw(init.Normal(), (2,), stream=stream),
        lambda: wing.sample(replace(row, initializer=init.Normal()), seeds=[0], stream=stream),
    ):
        with pytest.raises(UsageError, match=exactly(STREAM)):
            attempt()
