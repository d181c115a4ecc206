"""The laws against the frameworks' own initializers, in the canonical layout: each must pass, its neighbour fail."""

from __future__ import annotations

import math

import numpy as np
import pytest

from paritree.common.initializers import (
    DeltaOrthogonal,
    Dirac,
    Eye,
    Kaiming,
    LeCun,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    VarianceScaling,
    Xavier,
)
from paritree.conformance.statistics import examine, judge, replicates

MATRIX, KERNEL, ORTHOGONAL = (48, 32), (12, 8, 3, 3), (12, 8)

# name and arguments in torch.nn.init -> shape, initializer, a neighbour that must fail
TORCH = {
    ("uniform_",): (MATRIX, Uniform(), Uniform(0, 0.01)),
    ("normal_",): (MATRIX, Normal(), Normal(std=0.01)),
    ("trunc_normal_", 0.0, 0.02): (MATRIX, TruncatedNormal(std=0.02), TruncatedNormal(std=0.02, cut="sigma")),
    ("trunc_normal_", 0.0, 1.5): (MATRIX, TruncatedNormal(std=1.5), Normal(std=1.5)),
    ("xavier_uniform_", 2.0): (KERNEL, Xavier(gain=2.0), Xavier()),
    ("xavier_normal_",): (KERNEL, Xavier("normal"), Xavier("truncated_normal")),
    ("kaiming_uniform_", math.sqrt(5)): (KERNEL, Kaiming(a=math.sqrt(5)), Kaiming()),
    ("kaiming_normal_", 0, "fan_out", "relu"): (
        KERNEL,
        Kaiming("normal", mode="fan_out", nonlinearity="relu"),
        Kaiming("normal", nonlinearity="relu"),
    ),
    ("orthogonal_", 2.0): (ORTHOGONAL, Orthogonal(2.0), Orthogonal()),
    ("sparse_", 0.3): (MATRIX, Sparse(0.3), Sparse(0.35)),
    ("eye_",): (MATRIX, Eye(), Normal()),
    ("dirac_", 2): (KERNEL, Dirac(groups=2), Dirac()),
}

# name and arguments in jax.nn.initializers -> shape, initializer, a neighbour that must fail
JAX = {
    ("uniform",): (MATRIX, Uniform(0, 0.01), Uniform()),
    ("normal",): (MATRIX, Normal(std=0.01), Normal()),
    ("truncated_normal", 0.02): (MATRIX, TruncatedNormal(std=0.02, cut="sigma"), TruncatedNormal(std=0.02)),
    ("lecun_normal",): (KERNEL, LeCun(), LeCun("normal")),
    ("he_normal",): (KERNEL, Kaiming("truncated_normal"), Kaiming("normal")),
    ("glorot_uniform",): (KERNEL, Xavier(), Kaiming()),
    ("glorot_normal",): (KERNEL, Xavier("truncated_normal"), Xavier("normal")),
    ("variance_scaling", 1 / 3, "fan_in", "uniform"): (KERNEL, Kaiming(a=math.sqrt(5)), LeCun("uniform")),
    ("variance_scaling", 1.0, "fan_geo_avg", "normal"): (
        MATRIX,
        VarianceScaling(1.0, "fan_geo_avg", "normal"),
        VarianceScaling(1.0, "fan_in", "normal"),
    ),
    ("orthogonal", 2.0): (ORTHOGONAL, Orthogonal(2.0), Orthogonal()),
    ("delta_orthogonal",): (KERNEL, DeltaOrthogonal(), DeltaOrthogonal(1.1)),
}


def verdicts(samples, initializer, shape):
    return [verdict.message for verdict in judge(examine(samples, initializer, shape, path="w")) if not verdict.passed]


@pytest.mark.parametrize("call", TORCH, ids=str)
def test_draws_of_torch(call):
    torch = pytest.importorskip("torch")
    shape, initializer, neighbour = TORCH[call]
    name, *arguments = call
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(0)
    count = replicates(shape, initializer=initializer)
    samples = torch.stack([getattr(torch.nn.init, name)(torch.empty(shape), *arguments) for _ in range(count)]).numpy()
    torch.random.set_rng_state(generator_state)
    assert verdicts(samples, initializer, shape) == []
    assert verdicts(samples, neighbour, shape) != []


@pytest.mark.parametrize("call", JAX, ids=str)
def test_draws_of_jax(call):
    jax = pytest.importorskip("jax")
    shape, initializer, neighbour = JAX[call]
    name, *arguments = call
    native = (*shape[2:], shape[1], shape[0])
    draw = getattr(jax.nn.initializers, name)(*arguments)
    keys = jax.random.split(jax.random.key(0), replicates(shape, initializer=initializer))
    drawn = np.stack([np.asarray(draw(key, native, np.float32)) for key in keys])
    samples = np.moveaxis(drawn, (-1, -2), (1, 2))
    assert samples.shape[1:] == shape
    assert verdicts(samples, initializer, shape) == []
    assert verdicts(samples, neighbour, shape) != []
