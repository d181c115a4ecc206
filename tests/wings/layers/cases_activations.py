"""Cases of the activations, with entries on every kink and beyond every threshold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from flax import linen, nnx
from torch import nn

from paritree.common.layers import activations as spec
from paritree.common.layers.dense import Linear
from paritree.common.spec import Sequential
from paritree.common.spec.layer import Layer

from .case import Case

KINKS = (-30.0, -6.0, -3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 6.0, 21.0, 30.0)


def entries() -> np.ndarray:
    """(batch, channels, length): the kinks, and N(0, 4) for the rest."""
    drawn = np.random.default_rng(0).normal(scale=2, size=(3, 4, 6))
    drawn.flat[: len(KINKS)] = KINKS
    return drawn.astype(np.float32)


X = entries()


def case(name: str, layer: Layer, stock: Callable[[], nn.Module], **flax: Any) -> Case:
    return Case(name, layer, (X,), stock, **flax)


CASES = (
    case("Identity", spec.Identity(), nn.Identity),
    case("ReLU", spec.ReLU(), nn.ReLU),
    case("ReLU6", spec.ReLU6(), nn.ReLU6),
    case("LeakyReLU", spec.LeakyReLU(), nn.LeakyReLU),
    case("LeakyReLU-slope", spec.LeakyReLU(0.2), lambda: nn.LeakyReLU(0.2)),
    case("PReLU", spec.PReLU(), nn.PReLU, linen=linen.PReLU, nnx=lambda rngs: nnx.PReLU()),
    case("PReLU-channels", spec.PReLU(4), lambda: nn.PReLU(4)),
    Case("PReLU-features", spec.PReLU(6), (X[:, 0],), lambda: nn.PReLU(6)),
    Case(
        "PReLU-behind-ReLU",
        Sequential(Linear(6, 6), spec.ReLU(), spec.PReLU(), Linear(6, 2)),
        (X,),
        lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.PReLU(), nn.Linear(6, 2)),
    ),
    Case(
        "LeakyReLU-behind-ReLU",
        Sequential(Linear(6, 6), spec.ReLU(), spec.LeakyReLU(0.5), Linear(6, 2)),
        (X,),
        lambda: nn.Sequential(nn.Linear(6, 6), nn.ReLU(), nn.LeakyReLU(0.5), nn.Linear(6, 2)),
    ),
    case("ELU", spec.ELU(), nn.ELU),
    case("ELU-alpha", spec.ELU(1.5), lambda: nn.ELU(1.5)),
    case("SELU", spec.SELU(), nn.SELU),
    case("CELU", spec.CELU(), nn.CELU),
    case("CELU-alpha", spec.CELU(2.0), lambda: nn.CELU(2.0)),
    case("SiLU", spec.SiLU(), nn.SiLU),
    case("GELU", spec.GELU(), nn.GELU),
    case("GELU-tanh", spec.GELU("tanh"), lambda: nn.GELU("tanh")),
    case("Mish", spec.Mish(), nn.Mish),
    case("Hardswish", spec.Hardswish(), nn.Hardswish),
    case("Hardsigmoid", spec.Hardsigmoid(), nn.Hardsigmoid),
    case("Hardtanh", spec.Hardtanh(), nn.Hardtanh),
    case("Hardtanh-bounds", spec.Hardtanh(-0.5, 3.0), lambda: nn.Hardtanh(-0.5, 3.0)),
    case("Tanh", spec.Tanh(), nn.Tanh),
    case("Sigmoid", spec.Sigmoid(), nn.Sigmoid),
    case("LogSigmoid", spec.LogSigmoid(), nn.LogSigmoid),
    case("Softsign", spec.Softsign(), nn.Softsign),
    case("Softplus", spec.Softplus(), nn.Softplus),
    case("Softplus-settings", spec.Softplus(2.0, 1.0), lambda: nn.Softplus(2.0, 1.0)),
    case("Softmax", spec.Softmax(), lambda: nn.Softmax(-1)),
    case("Softmax-axis", spec.Softmax(1), lambda: nn.Softmax(1)),
    case("LogSoftmax", spec.LogSoftmax(), lambda: nn.LogSoftmax(-1)),
    case("LogSoftmax-axis", spec.LogSoftmax(-2), lambda: nn.LogSoftmax(-2)),
    case("GLU", spec.GLU(), nn.GLU),
    case("GLU-axis", spec.GLU(1), lambda: nn.GLU(1)),
    case("Dropout-none", spec.Dropout(0.0), lambda: nn.Dropout(0.0)),
)
