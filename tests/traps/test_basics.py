"""Layout and forward: dense kernels, GELU, indices out of range, resized images, the precision of a product."""

from __future__ import annotations

import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from flax.errors import ScopeParamShapeError
from scipy import special
from torch import nn
from torch.nn import functional as F

from paritree.common.errors import WeightsError
from paritree.common.layers import GELU, Embedding, Linear
from paritree.common.spec import Sequential
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.pairs.closeness import allowed, relative_error


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def difference(one: Any, other: Any) -> float:
    """The largest absolute difference of two arrays of any framework."""
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


# 1: (out, in) against (in, out)


def linen_product(kernel: np.ndarray, x: np.ndarray) -> jax.Array:
    return linen.Dense(kernel.shape[-1], use_bias=False).apply({"params": {"kernel": jnp.asarray(kernel)}}, x)


def nnx_product(kernel: np.ndarray, x: np.ndarray) -> jax.Array:
    layer = nnx.Linear(x.shape[-1], kernel.shape[-1], use_bias=False, rngs=nnx.Rngs(0))
    layer.kernel = nnx.Param(jnp.asarray(kernel))
    return layer(jnp.asarray(x))


@pytest.mark.parametrize("product", [linen_product, nnx_product])
def test_trap_01_a_square_weight_is_taken_untransposed(product: Any) -> None:
    """No shape tells the two layouts apart, and the output is off by more than its own norm."""
    weight, x = normal(8, 8), normal(5, 8, seed=1)
    exact = F.linear(torch.from_numpy(x), torch.from_numpy(weight)).numpy()
    assert relative_error(np.asarray(product(weight, x)), exact) > 1
    assert relative_error(np.asarray(product(weight.T, x)), exact) <= allowed(1)
    with pytest.raises((ScopeParamShapeError, TypeError)):
        product(normal(8, 4), normal(5, 4))


@pytest.mark.parametrize("name", WINGS)
def test_trap_01_weights_are_loaded_as_torch_has_them(name: str) -> None:
    wing, weights, x = load_wing(name), {"0.weight": normal(8, 8), "0.bias": normal(8)}, normal(5, 8, seed=1)
    model = wing.load(wing.build(Sequential(Linear(8, 8))), weights)
    with wing.running():
        found = wing.call(model, (x,))
    assert relative_error(found, x @ weights["0.weight"].T + weights["0.bias"]) <= allowed(1)
    for path, array in wing.weights(model).items():
        np.testing.assert_array_equal(array, weights[path])
    assert str(wing.table(model)["0.weight"].layout.pattern) == ("... -> ..." if name == "torch" else "o i -> i o")


@pytest.mark.parametrize("name", WINGS)
def test_trap_01_a_transposed_weight_is_refused_where_a_shape_can_tell(name: str) -> None:
    wing = load_wing(name)
    model = wing.build(Sequential(Linear(8, 4, bias=False)))
    with pytest.raises(WeightsError) as refused:
        wing.load(model, {"0.weight": normal(8, 4)})
    assert str(refused.value) == (
        "expected one array for each of 1 owner, in the canonical layout, found 1 that does not fit: "
        "0.weight has shape (8, 4) and needs (4, 8). Nothing was loaded."
    )


# 17: GELU by erf, or by tanh

X = np.linspace(-6, 6, 20_001, dtype=np.float32)[None]


def test_trap_17_the_default_gelu_is_another_function() -> None:
    ours = torch.from_numpy(X)
    for flax in (linen.gelu, nnx.gelu):
        assert 4e-4 < difference(F.gelu(ours), flax(X)) < 5e-4
        assert difference(F.gelu(ours), flax(X, approximate=False)) < 2e-6
        assert difference(F.gelu(ours, approximate="tanh"), flax(X)) < 2e-6


@pytest.mark.parametrize("name", WINGS)
@pytest.mark.parametrize("form", ["none", "tanh"])
def test_trap_17_the_spec_says_which_gelu(name: str, form: Literal["none", "tanh"]) -> None:
    x = X.astype(np.float64)
    inner = math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    exact = {"none": x * special.ndtr(x), "tanh": x * (1 + np.tanh(inner)) / 2}
    wing = load_wing(name)
    assert GELU() == GELU("none")
    found = wing.call(wing.build(Sequential(GELU(form))), (X,))
    assert relative_error(found, exact[form]) <= allowed(1)
    other = exact["tanh" if form == "none" else "none"]
    assert relative_error(found, other) > 10 * allowed(1)


# 19: an index out of range

LAST = 3


def test_trap_19_an_index_out_of_range_raises_or_is_nan_or_wraps() -> None:
    layer = nn.Embedding(4, 3)
    for index in (4, -1):
        with pytest.raises(IndexError, match="index out of range in self"):
            layer(torch.tensor([index]))
    embed = nnx.Embed(4, 3, rngs=nnx.Rngs(0))
    bound = linen.Embed(4, 3).bind({"params": {"embedding": embed.embedding[...]}})
    for lookup in (embed, bound):
        rows = lookup(jnp.array([4, -5, -1, LAST]))
        assert jnp.isnan(rows[:2]).all()
        assert jnp.isfinite(rows[2:]).all()
        np.testing.assert_array_equal(rows[2], rows[3])


@pytest.mark.parametrize("name", WINGS)
def test_trap_19_a_bad_token_ends_a_run_in_torch_only(name: str) -> None:
    """Must differ: a traced program cannot raise on a value, so that no Flax wing can check its tokens.

    A token past the end shows itself as NaN; -1 is the last row, and its gradient goes there.
    """
    wing = load_wing(name)
    model = wing.load(wing.build(Sequential(Embedding(4, 3))), {"0.weight": normal(4, 3)})

    def call(*tokens: int) -> np.ndarray:
        return wing.call(model, (np.array([tokens], np.int32),))

    np.testing.assert_array_equal(call(0, LAST)[0], normal(4, 3)[[0, LAST]])
    if name == "torch":
        for token in (4, -1):
            with pytest.raises(IndexError, match="index out of range in self"):
                call(token)
        return
    assert np.isnan(call(4)).all()
    np.testing.assert_array_equal(call(-1), call(LAST))
    minus_one = (np.array([[-1]], np.int32),)
    _, gradients = wing.value_and_gradients(model, minus_one, np.ones((1, 1, 3), np.float32))
    np.testing.assert_array_equal(gradients["0.weight"], np.eye(4, dtype=np.float32)[:, [LAST]].repeat(3, axis=1))


# 20: resizing an image

IMAGE = np.random.default_rng(0).random((1, 3, 32, 32)).astype(np.float32)
SMALLER, LARGER = 13, 64
SIZES = (SMALLER, LARGER)


def in_torch(size: int, mode: str, **flags: Any) -> np.ndarray:
    return F.interpolate(torch.from_numpy(IMAGE), size=(size, size), mode=mode, **flags).numpy()


def in_jax(size: int, method: str, **flags: Any) -> jax.Array:
    return jax.image.resize(jnp.asarray(IMAGE), (1, 3, size, size), method, **flags)


@pytest.mark.parametrize("size", SIZES)
def test_trap_20_bilinear_agrees_once_both_antialias_or_neither_does(size: int) -> None:
    """The defaults agree when enlarging, where there is nothing to antialias."""
    assert (difference(in_torch(size, "bilinear"), in_jax(size, "bilinear")) > 0.1) == (size == SMALLER)
    for antialias in (True, False):
        ours = in_torch(size, "bilinear", antialias=antialias)
        assert difference(ours, in_jax(size, "bilinear", antialias=antialias)) < 2e-6


@pytest.mark.parametrize("size", SIZES)
def test_trap_20_bicubic_agrees_with_antialiasing_alone(size: int) -> None:
    """Cannot be expressed without it: PyTorch's kernel has a = -0.75 then, and -0.5, JAX's only one, with it."""
    assert difference(in_torch(size, "bicubic", antialias=True), in_jax(size, "bicubic")) < 2e-6
    assert 0.03 < difference(in_torch(size, "bicubic"), in_jax(size, "bicubic", antialias=False)) < 0.2
    assert difference(in_torch(size, "bicubic"), in_jax(size, "bicubic")) > 0.03


@pytest.mark.parametrize("size", SIZES)
def test_trap_20_nearest_is_nearest_exact(size: int) -> None:
    """PyTorch's "nearest" takes the floor of i / scale, which no method of JAX's does; enlarging twofold they meet."""
    assert difference(in_torch(size, "nearest-exact"), in_jax(size, "nearest")) == 0
    assert (difference(in_torch(size, "nearest"), in_jax(size, "nearest")) == 0) == (size == LARGER)
    rows = np.arange(size) * 32 // size
    assert difference(in_torch(size, "nearest"), IMAGE[:, :, rows][..., rows]) == 0


def test_trap_20_aligned_corners_are_a_scale_and_a_translation() -> None:
    """`resize` has no such flag."""
    scale, shape = jnp.full(2, (SMALLER - 1) / (32 - 1)), (1, 3, SMALLER, SMALLER)
    move = (1 - scale) / 2
    found = jax.image.scale_and_translate(IMAGE, shape, (2, 3), scale, move, "linear", antialias=False)
    ours = in_torch(SMALLER, "bilinear", align_corners=True)
    assert difference(ours, found) < 2e-5
    assert difference(ours, in_jax(SMALLER, "linear", antialias=False)) > 0.1


# 21: the precision of a float32 product


def rounded_to_tf32(array: np.ndarray) -> np.ndarray:
    """A float32 array with the 10 bits of mantissa that a TF32 product reads, rounded to nearest."""
    return ((array.view(np.uint32) + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)


def asked_of_jax() -> str:
    """What a product asks of the backend: `HIGHEST`, or `DEFAULT`, which is TF32 on recent GPUs."""
    text = jax.jit(lambda x: x @ x).lower(jnp.ones((2, 2))).as_text()
    return next((word for word in ("HIGHEST", "HIGH", "DEFAULT") if word in text), "DEFAULT")


def torch_settings() -> tuple[Any, ...]:
    cudnn = torch.backends.cudnn
    return torch.get_float32_matmul_precision(), cudnn.allow_tf32, cudnn.deterministic, cudnn.benchmark


def test_trap_21_the_defaults_ask_for_different_products() -> None:
    """JAX leaves it to the backend, PyTorch asks for full float32; TF32 is off by over 50 times our tolerance."""
    assert torch.get_float32_matmul_precision() == "highest"
    assert asked_of_jax() == "DEFAULT"
    one, other = normal(256, 256), normal(256, 256, seed=1)
    exact = one.astype(np.float64) @ other
    assert relative_error(one @ other, exact) <= allowed(1)
    assert relative_error(rounded_to_tf32(one) @ rounded_to_tf32(other), exact) > 50 * allowed(1)


@pytest.mark.parametrize("name", WINGS)
def test_trap_21_running_asks_for_full_precision_and_puts_it_back(name: str) -> None:
    wing = load_wing(name)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with jax.default_matmul_precision("tensorfloat32"):
            outside = torch_settings(), jax.config.jax_default_matmul_precision
            with wing.running():
                if name == "torch":
                    assert torch_settings() == ("highest", False, True, False)
                else:
                    assert asked_of_jax() == "HIGHEST"
            assert (torch_settings(), jax.config.jax_default_matmul_precision) == outside
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("name", WINGS)
def test_trap_21_running_multiplies_in_full_precision(name: str, device: str) -> None:
    wing, weight, x = load_wing(name), normal(256, 256), normal(64, 256, seed=1)
    with wing.running(device):
        model = wing.build(Sequential(Linear(256, 256, bias=False)), device=device)
        found = wing.call(wing.load(model, {"0.weight": weight}), (x,))
    assert relative_error(found, x.astype(np.float64) @ weight.T) <= allowed(1)
