"""Weights as a magnitude and a direction, and the gradient by their product of those by the two."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from paritree.common.wing import StoredTensor
from paritree.pairs.maps import Factors, epsilon_of, product
from paritree.pairs.normed import Norm

FLAX = "params.WeightNorm_0.Dense_0/kernel/scale"


def normed(magnitude: jax.Array, direction: jax.Array, axes: tuple[int, ...], epsilon: float) -> jax.Array:
    length = jnp.sqrt((direction**2).sum(axes, keepdims=True) + epsilon)
    kept = [1 if axis in axes else size for axis, size in enumerate(direction.shape)]
    return magnitude.reshape(kept) * direction / length


def of(arrays: dict[str, np.ndarray], magnitude: str, framework: str) -> Norm:
    tensors = {path: StoredTensor(path, array, trainable=True) for path, array in arrays.items()}
    return Norm.of(Factors(magnitude, "v"), tensors, framework)


@pytest.mark.parametrize(
    ("magnitude", "direction", "axes", "name"),
    [
        ((4, 1), (4, 3), (1,), "g"),
        ((1, 3), (4, 3), (0,), "g"),
        ((3,), (4, 3), (0,), FLAX),
        ((), (4, 3), (0, 1), "g"),
        ((4, 1, 1), (4, 3, 2), (1, 2), "g"),
        ((2, 1, 5), (2, 4, 5), (1,), "g"),
    ],
)
@pytest.mark.parametrize("size", [1.0, 2.0**-20, 16.0])
def test_parts_make_the_weight_and_their_gradients_its_gradient(
    magnitude: Any, direction: Any, axes: tuple[int, ...], name: str, size: float
) -> None:
    random = np.random.default_rng(0)
    own = {name: random.uniform(0.5, 2, magnitude), "v": random.normal(size=direction).astype(np.float32)}
    norm = of(own, name, "nnx")
    weight, cotangent = (random.normal(size=direction).astype(np.float32) * np.float32(by) for by in (size, 1))
    parts = norm.parts(weight)
    assert parts[name].shape == magnitude
    lengths = [np.sqrt((each.astype(np.float64) ** 2).sum(axes)) for each in (parts["v"], own["v"], weight)]
    assert (np.abs(np.log2(lengths[0] / lengths[1])) <= 1.5).all()
    assert not np.isclose(lengths[0], lengths[2]).any()
    with jax.enable_x64(True):
        wide = [jnp.asarray(parts[each], jnp.float64) for each in (name, "v")]
        made, back = jax.vjp(lambda g, v: normed(g, v, axes, epsilon_of(name)), *wide)
        np.testing.assert_allclose(made, weight, rtol=1e-12)
        by = dict(zip((name, "v"), map(np.asarray, back(jnp.asarray(cotangent, jnp.float64))), strict=True))
    np.testing.assert_allclose(norm.gradient(parts, by), cotangent, rtol=1e-9, atol=1e-12)


def test_a_weight_of_zeros_has_a_magnitude_of_zero() -> None:
    weight = np.array([[0, 0], [3, 4]], np.float32)
    norm = of({"g": np.ones((2, 1)), "v": np.eye(2, dtype=np.float32)}, "g", "torch")
    parts = norm.parts(weight)
    np.testing.assert_array_equal(parts["g"], [[0], [5]])
    np.testing.assert_array_equal(product(parts["g"], parts["v"]), weight)
    found = norm.gradient(parts, {"g": np.ones((2, 1)), "v": np.zeros((2, 2))})
    assert np.isfinite(found).all()
