"""Traps of normalization: what a plain conversion gives, and that the reference's conversion is right.

`plain` is what a port has that carries the weights over and keeps Flax's defaults, or PyTorch's numbers as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn
from torch.nn import functional as F

from paritree.common.errors import ShapeError
from paritree.common.layers import Embedding
from paritree.common.layers import norms as spec
from paritree.common.spec import Block, Layer
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.pairs.closeness import allowed, relative_error

EXACT = allowed(1)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def error(found: Any, expected: Any) -> float:
    """The norm of the difference beside that of what is expected."""
    return relative_error(np.asarray(found), np.asarray(expected))


def weights_of(module: nn.Module) -> dict[str, np.ndarray]:
    return {path: tensor.detach().numpy().copy() for path, tensor in module.state_dict().items()}


def called(layer: Layer, weights: Mapping[str, np.ndarray], x: np.ndarray) -> dict[str, np.ndarray]:
    """Each wing's output in inference mode."""
    wings = {name: load_wing(name) for name in WINGS}
    return {name: wing.call(wing.load(wing.build(layer), weights), (x,)) for name, wing in wings.items()}


def trained(layer: Layer, weights: Mapping[str, np.ndarray], x: np.ndarray) -> dict[str, dict[str, np.ndarray]]:
    """Each wing's weights after a training step, buffers included."""
    found = {}
    for name in WINGS:
        wing = load_wing(name)
        model, _ = wing.step(wing.load(wing.build(layer), weights), (x,), np.zeros_like(x))
        found[name] = wing.weights(model)
    return found


def moved(momentum: float, x: np.ndarray) -> nnx.BatchNorm:
    """NNX's own BatchNorm after one batch in training mode."""
    module = nnx.BatchNorm(x.shape[1], momentum=momentum, rngs=nnx.Rngs(0))
    module(jnp.asarray(x))
    return module


def test_trap_11_the_momentum_of_a_batch_norm_is_one_minus_the_other() -> None:
    """PyTorch's momentum is the share of the new batch, Flax's that of what is kept; the defaults differ, too."""
    x = normal(6, 4) + 3
    stock = nn.BatchNorm1d(4, momentum=0.1)
    weights = weights_of(stock)
    stock(torch.tensor(x))
    expected = weights_of(stock)["running_mean"]

    np.testing.assert_allclose(moved(0.1, x).mean[...], 9 * expected, rtol=1e-6)
    np.testing.assert_allclose(moved(0.99, x).mean[...], 0.1 * expected, rtol=1e-5)
    assert nnx.BatchNorm(4, rngs=nnx.Rngs(0)).momentum == linen.BatchNorm().momentum == 0.99
    assert error(moved(0.9, x).mean[...], expected) < EXACT

    for wing, found in trained(spec.BatchNorm1d(4, momentum=0.1), weights, x).items():
        assert error(found["running_mean"], expected) < EXACT, wing


def test_trap_12_the_running_variance_is_unbiased_in_torch_and_biased_in_flax() -> None:
    """At n = 4 the batch's share of the running variance is 4/3 of Flax's."""
    x = normal(4, 3)
    stock = nn.BatchNorm1d(3)
    weights = weights_of(stock)
    stock(torch.tensor(x))
    expected = weights_of(stock)["running_var"]

    plain = np.asarray(moved(0.9, x).var[...])
    np.testing.assert_allclose((expected - 0.9) / (plain - 0.9), 4 / 3, rtol=1e-4)
    variables = linen.BatchNorm(momentum=0.9).init(jax.random.key(0), jnp.asarray(x), use_running_average=True)
    _, state = linen.BatchNorm(momentum=0.9).apply(
        variables, jnp.asarray(x), use_running_average=False, mutable=["batch_stats"]
    )
    np.testing.assert_allclose(state["batch_stats"]["var"], plain, rtol=1e-6)

    for wing, found in trained(spec.BatchNorm1d(3), weights, x).items():
        assert error(found["running_var"], expected) < EXACT, wing


def test_trap_13_flax_counts_no_batches_and_takes_one_value_per_channel() -> None:
    """The reference counts in all wings, and refuses the batch that PyTorch refuses."""
    one = normal(1, 3)
    stock = nn.BatchNorm1d(3)
    with pytest.raises(ValueError, match="Expected more than 1 value per channel when training"):
        stock(torch.tensor(one))
    plain = nnx.BatchNorm(3, rngs=nnx.Rngs(0))
    np.testing.assert_array_equal(plain(jnp.asarray(one)), np.zeros((1, 3)))
    assert set(nnx.state(plain)) == {"scale", "bias", "mean", "var"}

    layer = spec.BatchNorm1d(3)
    for wing, found in trained(layer, weights_of(nn.BatchNorm1d(3)), normal(4, 3)).items():
        assert found["num_batches_tracked"] == 1, wing
    for name in WINGS:
        wing = load_wing(name)
        with pytest.raises(ValueError, match=r"more than (1|one) value") as caught:
            wing.step(wing.build(layer), (one,), one)
        assert isinstance(caught.value, ShapeError) == (name != "torch")
        # In inference one sample is as good as any.
        assert np.isfinite(wing.call(wing.build(layer), (one,))).all()


EPSILONS: dict[str, tuple[Layer, Callable[[], nn.Module], Callable[[], nnx.Module]]] = {
    "LayerNorm": (spec.LayerNorm(6), lambda: nn.LayerNorm(6), lambda: nnx.LayerNorm(6, rngs=nnx.Rngs(0))),
    "GroupNorm": (spec.GroupNorm(2, 6), lambda: nn.GroupNorm(2, 6), lambda: nnx.GroupNorm(6, 2, rngs=nnx.Rngs(0))),
    "InstanceNorm": (
        spec.InstanceNorm1d(6),
        lambda: nn.InstanceNorm1d(6),
        lambda: nnx.InstanceNorm(6, feature_axes=1, rngs=nnx.Rngs(0)),
    ),
}


@pytest.mark.parametrize("kind", EPSILONS)
def test_trap_14_epsilon_is_ten_times_that_of_flax(kind: str) -> None:
    """On inputs of variance 1e-5, as eps, Flax's output at its own 1e-6 is larger by sqrt(2 / 1.1)."""
    layer, stock, flax = EPSILONS[kind]
    x = normal(5, 6) if kind == "GroupNorm" else normal(5, 6, 6)
    # A mean of 0 and a variance of 1e-5 over the axes that are normalized.
    groups = x.reshape(5, 2, 3) if kind == "GroupNorm" else x
    groups = (groups - groups.mean(-1, keepdims=True)) / groups.std(-1, keepdims=True) * np.float32(1e-5**0.5)
    x = groups.reshape(x.shape)
    expected = stock()(torch.tensor(x)).detach().numpy()

    np.testing.assert_allclose(np.asarray(flax()(jnp.asarray(x))), expected * (2 / 1.1) ** 0.5, rtol=1e-3, atol=1e-6)

    for wing, found in called(layer, weights_of(stock()), x).items():
        assert error(found, expected) < EXACT, wing


def test_trap_14_epsilon_of_a_batch_norm_is_that_of_flax() -> None:
    """The exception: 1e-5 in both."""
    assert nn.BatchNorm1d(3).eps == nnx.BatchNorm(3, rngs=nnx.Rngs(0)).epsilon == linen.BatchNorm().epsilon == 1e-5


def test_trap_15_the_epsilon_of_an_rms_norm_is_the_machine_epsilon() -> None:
    """1.19e-7 against 1e-6, which shows on inputs whose mean square is as small."""
    x = normal(5, 8)
    x *= np.float32(1e-3) / np.sqrt(np.square(x).mean(-1, keepdims=True))
    stock = nn.RMSNorm(8)
    assert stock.eps is None
    expected = stock(torch.tensor(x)).detach().numpy()

    plain = nnx.RMSNorm(8, rngs=nnx.Rngs(0))(jnp.asarray(x))
    assert error(plain, expected) == pytest.approx(1 - ((1 + 0.119) / 2) ** 0.5, rel=1e-2)

    for wing, found in called(spec.RMSNorm(8), weights_of(stock), x).items():
        assert error(found, expected) < EXACT, wing


def test_trap_16_the_fast_variance_of_flax_loses_what_is_small_beside_the_mean() -> None:
    """E[x^2] - E[x]^2 at a mean of 1e4 leaves nothing of a variance of 1; the reference subtracts the mean first."""
    x = normal(16, 64) + np.float32(1e4)
    oracle = F.layer_norm(torch.tensor(x, dtype=torch.float64), (64,)).numpy()
    stock = error(nn.LayerNorm(64)(torch.tensor(x)).detach().numpy(), oracle)

    fast = nnx.LayerNorm(64, epsilon=1e-5, rngs=nnx.Rngs(0))
    assert fast.use_fast_variance
    assert np.abs(np.asarray(fast(jnp.asarray(x))) - oracle).max() > 100

    # The mean itself is rounded to 1e4 eps, in PyTorch as here: no result is closer than that.
    assert stock < 1e4 * EXACT
    for wing, found in called(spec.LayerNorm(64), weights_of(nn.LayerNorm(64)), x).items():
        assert error(found, oracle) < 1e4 * EXACT, wing
    slow = nnx.LayerNorm(64, epsilon=1e-5, use_fast_variance=False, rngs=nnx.Rngs(0))
    assert error(slow(jnp.asarray(x)), oracle) < 1e4 * EXACT


def test_trap_22_the_scale_of_gemma_is_one_plus_its_weight() -> None:
    """The weight is carried over as it is, and 1 is added where it is used; a plain RMSNorm loses x / rms(x)."""
    from transformers.models.gemma.modeling_gemma import GemmaRMSNorm

    x, weight = normal(5, 8), normal(8, seed=1)
    stock = GemmaRMSNorm(8, eps=1e-6)
    assert not stock.weight.any()
    with torch.no_grad():
        stock.weight.copy_(torch.tensor(weight))
    expected = stock(torch.tensor(x)).detach().numpy()

    plain = nnx.RMSNorm(8, epsilon=1e-6, scale_init=lambda *_: jnp.asarray(weight), rngs=nnx.Rngs(0))
    normalized = x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(expected - np.asarray(plain(jnp.asarray(x))), normalized, atol=1e-6)

    for wing, found in called(spec.RMSNorm(8, 1e-6, offset=1), {"weight": weight}, x).items():
        assert error(found, expected) < EXACT, wing


def test_trap_22_an_embedding_is_scaled_by_the_root_of_its_width() -> None:
    """The factor is no parameter, so no conversion of weights can carry it: the spec's forward states it."""
    tokens = np.array([[3, 0, 4], [1, 1, 2]], np.int32)
    weight = normal(5, 8)
    expected = F.embedding(torch.tensor(tokens), torch.tensor(weight)).numpy() * np.float32(8**0.5)

    plain = nnx.Embed(5, 8, embedding_init=lambda *_: jnp.asarray(weight), rngs=nnx.Rngs(0))
    assert error(plain(jnp.asarray(tokens)), expected) == pytest.approx(1 - 8**-0.5, rel=1e-6)

    scaled = Block({"embed": Embedding(5, 8)}, forward=f"def forward(tokens): return embed(tokens) * {8**0.5}")
    for wing, found in called(scaled, {"embed.weight": weight}, tokens).items():
        assert error(found, expected) < EXACT, wing
