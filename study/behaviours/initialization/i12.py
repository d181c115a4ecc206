"""I12: an element-wise loop and a mask that disagree at the boundary."""

import jax
import jax.numpy as jnp
import torch
from flax import nnx

from ...record import Behaviour, Verdict


def in_torch():
    def by_loop(weight):
        weight = weight.clone()
        for row in range(weight.shape[0]):
            for column in range(weight.shape[1]):
                if -5 <= weight[row, column] <= 5:
                    weight[row, column] = 0
        return weight

    weight = torch.tensor([[-7.0, -5.0, -3.0], [3.0, 5.0, 7.0]])
    torch.manual_seed(0)
    draws = torch.empty(256, 256).uniform_(-10, 10)
    return {
        "loop, -5 <= w <= 5 to zero": by_loop(weight).tolist(),
        "mask, |w| >= 5 kept": torch.where(weight.abs() >= 5, weight, 0.0).tolist(),
        "they agree on the boundary": torch.equal(by_loop(weight), torch.where(weight.abs() >= 5, weight, 0.0)),
        "draws of 65,536 that lie on it": (draws.abs() == 5).sum().item(),
    }


def in_linen():
    def by_loop(weight):
        rows = [[0.0 if -5 <= value <= 5 else value for value in row] for row in weight.tolist()]
        return jnp.array(rows)

    weight = jnp.array([[-7.0, -5.0, -3.0], [3.0, 5.0, 7.0]])
    mask = jnp.where(jnp.abs(weight) >= 5, weight, 0.0)
    draws = jax.random.uniform(jax.random.key(0), (256, 256), minval=-10, maxval=10)
    return {
        "loop, -5 <= w <= 5 to zero": by_loop(weight).tolist(),
        "mask, |w| >= 5 kept": mask.tolist(),
        "they agree on the boundary": jnp.array_equal(by_loop(weight), mask).item(),
        "draws of 65,536 that lie on it": (jnp.abs(draws) == 5).sum().item(),
    }


def in_nnx():
    def by_loop(weight):  # a Param takes item assignment, as a tensor does
        for row in range(weight.shape[0]):
            for column in range(weight.shape[1]):
                if -5 <= weight[row, column] <= 5:
                    weight[row, column] = 0.0
        return weight[...]

    weight = jnp.array([[-7.0, -5.0, -3.0], [3.0, 5.0, 7.0]])
    loop, mask = by_loop(nnx.Param(weight)), jnp.where(jnp.abs(weight) >= 5, weight, 0.0)
    draws = jax.random.uniform(nnx.Rngs(0).params(), (256, 256), minval=-10, maxval=10)
    return {
        "loop, -5 <= w <= 5 to zero": loop.tolist(),
        "mask, |w| >= 5 kept": mask.tolist(),
        "they agree on the boundary": jnp.array_equal(loop, mask).item(),
        "draws of 65,536 that lie on it": (jnp.abs(draws) == 5).sum().item(),
    }


RECORD = Behaviour(
    id="I12",
    title="The loop drops plus and minus 5, the mask keeps them, and no random test can tell",
    statement=(
        "Notebook S3 writes its initializer (I11) twice: a loop that zeroes -5 <= w <= 5, and a mask that keeps |w| "
        ">= 5. They differ at exactly two values, in every wing; 65,536 draws hit neither of them."
    ),
    verdict=Verdict.SAME,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        wing: {
            "loop, -5 <= w <= 5 to zero": [[-7.0, 0.0, 0.0], [0.0, 0.0, 7.0]],
            "mask, |w| >= 5 kept": [[-7.0, -5.0, 0.0], [0.0, 5.0, 7.0]],
        }
        for wing in ("torch", "linen", "nnx")
    },
    notes=(
        "A boundary must be tested with the boundary's own values: a statistical test of the initializer passes both.",
        "In Linen the loop must build a new array, since a JAX array takes no assignment; the idiom is jnp.where. An "
        "NNX Param takes it, one copy of the array for each assignment.",
    ),
    sources=("S3",),
)
