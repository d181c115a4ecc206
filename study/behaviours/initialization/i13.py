"""I13: the sign of the zeros that a mask makes."""

import jax
import jax.numpy as jnp
import torch
from flax import linen, nnx

from ...record import Behaviour, Verdict


def in_torch():
    torch.manual_seed(0)
    weight = torch.empty(256, 256).uniform_(-10, 10)
    keep = weight.abs() >= 5

    def negative_zeros(masked):
        return round(((masked == 0) & masked.signbit()).float().mean().item(), 2)

    four, ends = torch.tensor([-7.0, -3.0, 3.0, 7.0]), torch.tensor([True, False, False, True])
    loop = torch.tensor([[value if abs(value) >= 5 else 0.0 for value in row] for row in weight.tolist()])
    selection = weight.masked_fill(~keep, 0.0)
    return {
        "[-7, -3, 3, 7] times a bool mask": (four * ends).tolist(),
        "share of -0.0: product with a bool mask": negative_zeros(weight * keep),
        "share of -0.0: product with a float mask": negative_zeros(weight * keep.float()),
        "share of -0.0: selection": negative_zeros(selection),
        "share of -0.0: loop": negative_zeros(loop),
        "product == selection": torch.equal(weight * keep, selection),
    }


def in_linen():
    def masked_by(mask):
        def initializer(key, shape, dtype=jnp.float32):
            weight = jax.random.uniform(key, shape, dtype, -10, 10)
            return mask(weight, jnp.abs(weight) >= 5)

        layer = linen.Dense(256, kernel_init=initializer)
        return layer.init(jax.random.key(0), jnp.ones((1, 256)))["params"]["kernel"]

    def element_wise(weight, keep):
        return jnp.array([[value if abs(value) >= 5 else 0.0 for value in row] for row in weight.tolist()])

    def negative_zeros(masked):
        return round(((masked == 0) & jnp.signbit(masked)).mean().item(), 2)

    four, ends = jnp.array([-7.0, -3.0, 3.0, 7.0]), jnp.array([True, False, False, True])
    product = masked_by(lambda weight, keep: weight * keep)
    float_product = masked_by(lambda weight, keep: weight * keep.astype(weight.dtype))
    selection = masked_by(lambda weight, keep: jnp.where(keep, weight, 0.0))
    return {
        "[-7, -3, 3, 7] times a bool mask": (four * ends).tolist(),
        "share of -0.0: product with a bool mask": negative_zeros(product),
        "share of -0.0: product with a float mask": negative_zeros(float_product),
        "share of -0.0: selection": negative_zeros(selection),
        "share of -0.0: loop": negative_zeros(masked_by(element_wise)),
        "product == selection": jnp.array_equal(float_product, selection).item(),
    }


def in_nnx():
    weight = nnx.Param(jax.random.uniform(nnx.Rngs(0).params(), (256, 256), minval=-10, maxval=10))
    keep = jnp.abs(weight[...]) >= 5

    def negative_zeros(masked):
        return round(((masked == 0) & jnp.signbit(masked)).mean().item(), 2)

    four, ends = nnx.Param(jnp.array([-7.0, -3.0, 3.0, 7.0])), jnp.array([True, False, False, True])
    loop = jnp.array([[value if abs(value) >= 5 else 0.0 for value in row] for row in weight[...].tolist()])
    selection = jnp.where(keep, weight[...], 0.0)
    return {
        "[-7, -3, 3, 7] times a bool mask": (four * ends).tolist(),
        "share of -0.0: product with a bool mask": negative_zeros(weight * keep),
        "share of -0.0: product with a float mask": negative_zeros(weight * keep.astype(weight.dtype)),
        "share of -0.0: selection": negative_zeros(selection),
        "share of -0.0: loop": negative_zeros(loop),
        "product == selection": jnp.array_equal(weight * keep.astype(weight.dtype), selection).item(),
    }


RECORD = Behaviour(
    id="I13",
    title="A masked product leaves -0.0 behind, and == cannot see it",
    statement=(
        "The middle half of U(-10, 10) is masked out (I11). In PyTorch a product makes -0.0 of every negative entry in "
        "it, a quarter of all; a loop or a selection makes +0.0. In JAX the product with a bool mask gives +0.0 and "
        "the product with a float mask -0.0."
    ),
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {
            "share of -0.0: product with a bool mask": 0.25,
            "share of -0.0: selection": 0.0,
            "share of -0.0: loop": 0.0,
        },
        "linen": {
            "share of -0.0: product with a bool mask": 0.0,
            "share of -0.0: product with a float mask": 0.25,
        },
        "nnx": {"share of -0.0: product with a bool mask": 0.0, "share of -0.0: product with a float mask": 0.25},
    },
    reason=(
        "IEEE arithmetic says -3 * 0 = -0.0, and PyTorch and an eager JAX product with floats compute just that. Even "
        "an eager `weight * mask` is a small compiled program in JAX, the conversion from bool and the product in one, "
        "and XLA rewrites that pair to a select, which never multiplies."
    ),
    notes=(
        "-0.0 == 0.0 is true, so test the sign with signbit. It shows in a printed weight, in 1/w, and in a comparison "
        "of bytes or hashes between two checkpoints.",
        "What XLA rewrites depends on what it compiles together: under jax.jit, with the conversion inside, the float "
        "mask gives +0.0 too. Where the sign matters, write jnp.where.",
    ),
    sources=("S0", "S1"),
)
