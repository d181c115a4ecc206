"""Initialization: the distributions that the frameworks draw from under one name, and what a draw depends on.

What is drawn is held against exact laws with one-sample tests, at a rate of false alarms of 1e-6 a call; the seeds are
fixed. That it tells the two laws of a trap apart is asserted each time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import linen, nnx
from torch import nn

from paritree.common import initializers as init
from paritree.common.errors import InitializerError
from paritree.common.initializers import Initializer
from paritree.common.layers import Decoder, Embedding, LayerNorm, Linear
from paritree.common.spec import Block, Layer, Sequential, expansion
from paritree.common.spec.rules import Rule
from paritree.common.tables import Row
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.conformance.statistics import examine, judge, replicates

OUT, IN = 64, 256


def misfits(samples: np.ndarray, law: Initializer) -> list[str]:
    """What one-sample tests say against draws of one parameter, stacked along the first axis; nothing if they fit."""
    return [verdict.message for verdict in judge(examine(samples, law, samples.shape[1:])) if not verdict.passed]


def in_torch(draw: Callable[[], torch.Tensor], count: int = 2) -> np.ndarray:
    """Draws of PyTorch's own under `count` seeds."""
    with torch.random.fork_rng(devices=[]):
        return np.stack([(torch.manual_seed(seed), draw())[1].detach().numpy() for seed in range(count)])


def in_jax(draw: Callable[[jax.Array], Any], count: int = 2) -> np.ndarray:
    """Draws of Flax's or JAX's own under `count` keys."""
    return np.stack([np.asarray(draw(jax.random.key(seed))) for seed in range(count)])


def in_wing(name: str, layer: Layer, parameter: str = "weight") -> tuple[np.ndarray, Initializer]:
    """What a wing draws for a parameter of the layer, and what the table says that it is drawn from."""
    row = expansion.table_of(Sequential(layer))[f"0.{parameter}"]
    count = replicates(row.sizes, initializer=row.drawn_from)
    return load_wing(name).sample(row, seeds=range(count), stream="native"), row.drawn_from


def as_in_flax(layer: Linear | Embedding) -> Layer:
    """The layer with the initializers that Flax's own class has, as the spec knows them."""
    own = {f"{parameter.name}_init": layer.natives[parameter.name].default(layer) for parameter in layer.parameters()}
    return replace(layer, **own)


def assert_told_apart(ours: np.ndarray, theirs: np.ndarray, our_law: Initializer, their_law: Initializer) -> None:
    """Each framework draws from its own law and not from the other's."""
    assert misfits(ours, our_law) == []
    assert misfits(theirs, their_law) == []
    assert misfits(ours, their_law)
    assert misfits(theirs, our_law)


# 23: Linear

LINEAR = Linear(IN, OUT)


def flax_linear(key: jax.Array) -> nnx.Linear:
    return nnx.Linear(IN, OUT, rngs=nnx.Rngs(key))


def linen_kernel(key: jax.Array) -> jax.Array:
    return linen.Dense(OUT).init(key, jnp.ones((1, IN)))["params"]["kernel"].T


def test_trap_23_linear_defaults_differ_by_sqrt_3() -> None:
    """0.0361 against 0.0625, uniform against a truncated normal; and the bias is drawn in PyTorch, zero in Flax."""
    ours, theirs = in_torch(lambda: nn.Linear(IN, OUT).weight), in_jax(lambda key: flax_linear(key).kernel[...].T)
    assert ours.std() == pytest.approx(0.0361, rel=0.02)
    assert theirs.std() == pytest.approx(0.0625, rel=0.02)
    assert theirs.std() / ours.std() == pytest.approx(math.sqrt(3), rel=0.02)
    laws = [layer.parameters()[0].initializer for layer in (LINEAR, as_in_flax(LINEAR))]
    assert_told_apart(ours, theirs, *laws)
    assert misfits(in_jax(linen_kernel), laws[1]) == []


def test_trap_23_the_bias_is_drawn_too() -> None:
    ours = in_torch(lambda: nn.Linear(IN, OUT).bias, count=128)
    theirs = in_jax(lambda key: flax_linear(key).bias[...])
    assert ours.std() == pytest.approx(0.0361, rel=0.02)
    laws = [layer.parameters()[1].initializer for layer in (LINEAR, as_in_flax(LINEAR))]
    assert laws == [init.Uniform(-1 / 16, 1 / 16), init.Zeros()]
    assert_told_apart(ours, theirs, *laws)


@pytest.mark.parametrize("name", WINGS)
def test_trap_23_every_wing_draws_either_default(name: str) -> None:
    for layer in (LINEAR, as_in_flax(LINEAR)):
        for parameter in ("weight", "bias"):
            assert misfits(*in_wing(name, layer, parameter)) == []


# 24: Embedding

EMBEDDING = Embedding(IN, OUT)


def linen_embedding(key: jax.Array) -> jax.Array:
    return linen.Embed(IN, OUT).init(key, jnp.zeros(1, jnp.int32))["params"]["embedding"]


def test_trap_24_an_embedding_is_drawn_without_a_scale_or_with_the_widths() -> None:
    ours = in_torch(lambda: nn.Embedding(IN, OUT).weight)
    theirs = in_jax(lambda key: nnx.Embed(IN, OUT, rngs=nnx.Rngs(key)).embedding[...])
    assert ours.std() == pytest.approx(1.0, rel=0.02)
    assert theirs.std() == pytest.approx(1 / math.sqrt(OUT), rel=0.02)
    laws = [layer.parameters()[0].initializer for layer in (EMBEDDING, as_in_flax(EMBEDDING))]
    assert_told_apart(ours, theirs, *laws)
    assert misfits(in_jax(linen_embedding), laws[1]) == []


@pytest.mark.parametrize("name", WINGS)
def test_trap_24_every_wing_draws_either_default(name: str) -> None:
    for layer in (EMBEDDING, as_in_flax(EMBEDDING)):
        assert misfits(*in_wing(name, layer)) == []


# 28, 29, 30: initializers of one name

SHAPE = (OUT, IN)


def assert_every_wing_draws(*laws: Initializer) -> None:
    for law in laws:
        for name in WINGS:
            assert misfits(*in_wing(name, replace(LINEAR, weight_init=law))) == [], (name, law)


def test_trap_28_a_truncated_normal_is_cut_at_values_or_at_sigmas() -> None:
    """At std 0.02 PyTorch's bounds of +-2 are 100 sigmas away and cut nothing; JAX's leave a std of 0.0176."""
    ours = in_torch(lambda: nn.init.trunc_normal_(torch.empty(SHAPE), std=0.02))
    theirs = in_jax(lambda key: jax.nn.initializers.truncated_normal(0.02)(key, SHAPE))
    assert ours.std() == pytest.approx(0.0200, rel=0.02)
    assert theirs.std() == pytest.approx(0.0176, rel=0.02)
    assert np.abs(ours).max() > 0.07
    assert np.abs(theirs).max() <= 0.04
    laws = init.TruncatedNormal(std=0.02), init.TruncatedNormal(std=0.02, cut="sigma")
    assert_told_apart(ours, theirs, *laws)
    assert_every_wing_draws(*laws)


def test_trap_29_kaiming_normal_has_tails_and_he_normal_has_none() -> None:
    """Both have the std sqrt(2 / fan); at a fan of 500 none of the latter's entries is above 0.144."""
    shape = (OUT, 500)
    ours = in_torch(lambda: nn.init.kaiming_normal_(torch.empty(shape)))
    theirs = in_jax(lambda key: jax.nn.initializers.he_normal()(key, shape[::-1]).T)
    assert ours.std() == pytest.approx(theirs.std(), rel=0.02)
    assert np.abs(ours).max() > 0.23
    assert np.abs(theirs).max() == pytest.approx(0.144, abs=0.001)
    laws = init.Kaiming("normal", nonlinearity="relu"), init.Kaiming("truncated_normal", nonlinearity="relu")
    assert_told_apart(ours, theirs, *laws)
    assert_every_wing_draws(*laws)


def test_trap_30_uniform_starts_at_zero_and_normal_has_a_std_of_a_hundredth() -> None:
    uniform = in_jax(lambda key: jax.nn.initializers.uniform(0.1)(key, SHAPE))
    assert uniform.min() == pytest.approx(0.0, abs=1e-4)
    assert uniform.mean() == pytest.approx(0.05, rel=0.02)
    symmetric = in_torch(lambda: nn.init.uniform_(torch.empty(SHAPE), -0.1, 0.1))
    assert_told_apart(symmetric, uniform, init.Uniform(-0.1, 0.1), init.Uniform(0.0, 0.1))
    ours = in_torch(lambda: nn.init.normal_(torch.empty(SHAPE)))
    theirs = in_jax(lambda key: jax.nn.initializers.normal()(key, SHAPE))
    assert_told_apart(ours, theirs, init.Normal(), init.Normal(0.0, 0.01))
    assert init.Normal() == init.Normal(0.0, 1.0)
    assert_every_wing_draws(init.Uniform(0.0, 0.1), init.Normal(), init.Normal(0.0, 0.01))


# 31: a stack of kernels

DEPTH, WIDTH = 12, 64


def test_trap_31_a_stack_is_taken_for_a_convolution() -> None:
    """A leading axis is a receptive field, which multiplies the fan; batch_axis, or vmap, takes it out."""
    stack = (DEPTH, WIDTH, WIDTH)
    wrong = in_jax(lambda key: jax.nn.initializers.lecun_normal()(key, stack), count=1)
    right = in_jax(lambda key: jax.nn.initializers.lecun_normal(batch_axis=0)(key, stack), count=1)
    assert wrong.std() == pytest.approx(0.036, rel=0.02)
    assert right.std() == pytest.approx(0.125, rel=0.02)
    # One layer is a slice of the stack, and as such has the law of a kernel or not.
    assert misfits(right.reshape(-1, WIDTH, WIDTH), init.LeCun()) == []
    assert misfits(wrong.reshape(-1, WIDTH, WIDTH), init.LeCun())


def stacked() -> nnx.Linear:
    """Twelve layers in one, as one scans over them."""
    make = nnx.vmap(lambda key: nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=nnx.Rngs(key)))
    return make(jax.random.split(jax.random.key(0), DEPTH))


@pytest.mark.parametrize("name", WINGS)
def test_trap_31_each_layer_of_a_spec_has_its_own_fan(name: str) -> None:
    wing = load_wing(name)
    layer = Linear(WIDTH, WIDTH, bias=False, weight_init=init.LeCun())
    weights = np.stack(list(wing.weights(wing.build(Sequential(*[layer] * DEPTH))).values()))
    assert weights.std() == pytest.approx(0.125, rel=0.02)
    assert misfits(weights, init.LeCun()) == []


def test_trap_31_a_rule_that_needs_a_fan_is_refused_for_a_stack() -> None:
    """Cannot be expressed: nothing says which axis of a stacked array is which."""
    wing: Any = load_wing("nnx")
    model = nnx.Dict(layers=stacked())
    before = model.layers.kernel[...]
    assert before.std() == pytest.approx(0.125, rel=0.02)
    with pytest.raises(InitializerError) as refused:
        wing.initialize(model, Rule(init.LeCun()))
    assert str(refused.value) == (
        "layers.kernel: expected a layer whose layout is known, for LeCun(distribution='truncated_normal'), "
        "found an array (12, 64, 64) of Linear, kept as it is stored. Give the std itself (Normal, Uniform, "
        "TruncatedNormal), or for a Linen module `shown(model, inputs)`."
    )
    assert (model.layers.kernel[...] == before).all()


# 32: what a draw depends on

ORDERS = (("a", "b"), ("b", "a"))


class InSetup(linen.Module):
    names: tuple[str, ...]

    def setup(self) -> None:
        for name in self.names:
            setattr(self, name, linen.Dense(8))

    def __call__(self, x: jax.Array) -> jax.Array:
        for name in self.names:
            x = getattr(self, name)(x)
        return x


def test_trap_32_draws_follow_the_order_of_construction_in_nnx_and_the_name_in_linen() -> None:
    def of_nnx(names: tuple[str, ...]) -> jax.Array:
        rngs = nnx.Rngs(0)
        return {name: nnx.Linear(8, 8, rngs=rngs) for name in names}["a"].kernel[...]

    def of_linen(names: tuple[str, ...]) -> jax.Array:
        return InSetup(names).init(jax.random.key(0), jnp.ones((1, 8)))["params"]["a"]["kernel"]

    def of_torch(names: tuple[str, ...]) -> torch.Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return {name: nn.Linear(8, 8) for name in names}["a"].weight.detach()

    same = {draw.__name__: bool((draw(ORDERS[0]) == draw(ORDERS[1])).all()) for draw in (of_nnx, of_linen, of_torch)}
    assert same == {"of_nnx": False, "of_linen": True, "of_torch": False}


def test_trap_32_one_key_used_twice_gives_clones() -> None:
    first, second = (nnx.Linear(8, 8, rngs=nnx.Rngs(0)).kernel[...] for _ in range(2))
    assert (first == second).all()
    dense, x = linen.Dense(8), jnp.ones((1, 8))
    one, other = (dense.init(jax.random.key(0), x)["params"]["kernel"] for _ in range(2))
    assert (one == other).all()


@pytest.mark.parametrize("name", WINGS)
def test_trap_32_each_wing_draws_by_path_and_nothing_else(name: str) -> None:
    """Neither the order of the layers nor a new one moves a draw, and no two paths share one."""
    wing, layer = load_wing(name), Linear(8, 8)
    specs = [{each: layer for each in names} for names in (*ORDERS, ("new", "a", "b"))]
    drawn = [wing.weights(wing.build(Block(children), seed=3)) for children in specs]
    for other in drawn[1:]:
        for path, array in drawn[0].items():
            np.testing.assert_array_equal(other[path], array)
    assert not np.isin(drawn[2]["new.weight"], drawn[2]["a.weight"]).any()
    assert not np.isin(drawn[2]["a.weight"], drawn[2]["b.weight"]).any()


# 33: the direction of a tie

VOCABULARY, WIDE = 1000, 256
TOKENS, TARGETS = np.random.default_rng(0).integers(0, VOCABULARY, (2, 4, 32), np.int32)
AS_THE_HEAD = init.VarianceScaling(1 / 3, "fan_in", "uniform")


class LanguageModel(nn.Module):
    """An embedding, a normalization and a decoder, with one weight: the embedding's or the decoder's."""

    def __init__(self, owner: str) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, WIDE)
        self.norm = nn.LayerNorm(WIDE)
        self.head = nn.Linear(WIDE, VOCABULARY, bias=False)
        if owner == "embedding":
            self.head.weight = self.embedding.weight
        else:
            self.embedding.weight = self.head.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.embedding(tokens)))


def cross_entropy(logits: Any) -> float:
    return float(optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(logits), TARGETS).mean())


@pytest.mark.parametrize(("owner", "std", "loss"), [("embedding", 1.0, 255.7), ("head", 0.0361, 9.3)])
def test_trap_33_the_direction_of_a_tie_sets_the_initializer(owner: str, std: float, loss: float) -> None:
    """The logit of the token itself is the norm of its row squared, 256; a model that knows nothing has ln V = 6.9."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = LanguageModel(owner)
        logits = model(torch.from_numpy(TOKENS))
    assert model.head.weight.std().item() == pytest.approx(std, rel=0.02)
    assert cross_entropy(logits.numpy()) == pytest.approx(loss, rel=0.02)


def spec(weight_init: Initializer | None) -> Block:
    embedding = Embedding(VOCABULARY, WIDE, weight_init=weight_init)
    return Block({"embedding": embedding, "norm": LayerNorm(WIDE), "head": Decoder("embedding")})


@pytest.mark.parametrize("name", WINGS)
@pytest.mark.parametrize(
    ("weight_init", "loss"),
    [(None, 255.7), (AS_THE_HEAD, 9.3), (EMBEDDING.natives["weight"].initializer, 16.0)],
    ids=["embedding", "head", "Flax"],
)
def test_trap_33_the_spec_says_what_a_tie_is_drawn_from(name: str, weight_init: Any, loss: float) -> None:
    """The owner's row of the table has the initializer, and every wing draws from it, Flax's own default included."""
    wing, model = load_wing(name), spec(weight_init)
    rows: list[Row] = [row for row in expansion.table_of(model) if row.path in ("embedding.weight", "head.weight")]
    assert [row.initializer for row in rows] == [weight_init or init.Normal()] * 2
    assert rows[1].tie is not None
    with wing.running():
        logits = wing.call(wing.build(model), (TOKENS,))
    assert cross_entropy(logits) == pytest.approx(loss, rel=0.02)


def test_trap_33_a_tie_made_afterwards_keeps_the_values_of_the_owner_that_it_names() -> None:
    wing: Any = load_wing("torch")
    children = {"embedding": Embedding(VOCABULARY, WIDE), "norm": LayerNorm(WIDE), "head": Linear(WIDE, VOCABULARY)}
    for owner, alias, std in (
        ("embedding.weight", "head.weight", 1.0),
        ("head.weight", "embedding.weight", 0.0361),
    ):
        model = wing.tie(wing.build(Block(children)), owner, alias)
        assert wing.weights(model)["embedding.weight"].std() == pytest.approx(std, rel=0.02)
        assert wing.table(model).ties[0].alias == "head.weight"
