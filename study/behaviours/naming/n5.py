"""N5: how little the nested net's output depends on its input, at its default initialization."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen, nnx
from torch import nn

from ...record import Behaviour, Verdict
from ._forms import two_digits


def in_torch():
    def block():
        return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU())

    def output(seed):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Sequential(*[block() for _ in range(4)]), nn.Linear(4, 1))
        return net.double()(torch.tensor(X)).detach().numpy()[:, 0]

    X = np.random.default_rng(0).random((101, 4))  # 101 inputs in [0, 1), the first one zero
    X[0] = 0.0
    outputs = np.stack([output(seed) for seed in range(50)])
    at_zero, at_data = outputs[:, 0], outputs[:, 1:]
    spread = at_data.std(axis=1)
    return {
        "first two outputs of seeds 0 and 1": at_data[:2, :2].tolist(),
        "median spread over the inputs": two_digits(np.median(spread)),
        "median size of the output": two_digits(np.median(np.abs(at_data).mean(axis=1))),
        "median size at the zero input": two_digits(np.median(np.abs(at_zero))),
        "seeds of 50 with one output for all inputs": int((spread < 1e-9).sum()),
    }


def in_linen():
    def block():
        return linen.Sequential([linen.Dense(8), linen.relu, linen.Dense(4), linen.relu])

    def output(seed):
        y, _ = net.init_with_output(jax.random.key(seed), jnp.asarray(X, jnp.float32))
        return y[:, 0]

    X = np.random.default_rng(0).random((101, 4))  # 101 inputs in [0, 1), the first one zero
    X[0] = 0.0
    net = linen.Sequential([linen.Sequential([block() for _ in range(4)]), linen.Dense(1)])
    outputs = np.stack([output(seed) for seed in range(50)]).astype(np.float64)
    at_zero, at_data = outputs[:, 0], outputs[:, 1:]
    spread = at_data.std(axis=1)
    return {
        "first two outputs of seeds 0 and 1": at_data[:2, :2].tolist(),
        "median spread over the inputs": two_digits(np.median(spread)),
        "median size of the output": two_digits(np.median(np.abs(at_data).mean(axis=1))),
        "median size at the zero input": two_digits(np.median(np.abs(at_zero))),
        "seeds of 50 with one output for all inputs": int((spread < 1e-9).sum()),
    }


def in_nnx():
    def block(rngs):
        return nnx.Sequential(nnx.Linear(4, 8, rngs=rngs), nnx.relu, nnx.Linear(8, 4, rngs=rngs), nnx.relu)

    def output(seed):
        rngs = nnx.Rngs(seed)
        net = nnx.Sequential(nnx.Sequential(*[block(rngs) for _ in range(4)]), nnx.Linear(4, 1, rngs=rngs))
        return net(jnp.asarray(X, jnp.float32))[:, 0]

    X = np.random.default_rng(0).random((101, 4))  # 101 inputs in [0, 1), the first one zero
    X[0] = 0.0
    outputs = np.stack([output(seed) for seed in range(50)]).astype(np.float64)
    at_zero, at_data = outputs[:, 0], outputs[:, 1:]
    spread = at_data.std(axis=1)
    return {
        "first two outputs of seeds 0 and 1": at_data[:2, :2].tolist(),
        "median spread over the inputs": two_digits(np.median(spread)),
        "median size of the output": two_digits(np.median(np.abs(at_data).mean(axis=1))),
        "median size at the zero input": two_digits(np.median(np.abs(at_zero))),
        "seeds of 50 with one output for all inputs": int((spread < 1e-9).sum()),
    }


RECORD = Behaviour(
    id="N5",
    title="Freshly made, the nested net nearly ignores its input",
    statement="Nine linear layers with ReLUs between them, over 50 seeds. In PyTorch the output varies over the inputs "
    "by about 1 part in 10,000: it is what the net gives at the input zero. In Flax the variation is as large as the "
    "output, and both are close to 0. Some seeds give one output for all inputs.",
    verdict=Verdict.MUST_DIFFER,
    torch=in_torch,
    linen=in_linen,
    nnx=in_nnx,
    expect={
        "torch": {
            "median spread over the inputs": 1.7e-5,
            "seeds of 50 with one output for all inputs": 10,
        },
        "linen": {"median size at the zero input": 0.0},
        "nnx": {"median size at the zero input": 0.0},
    },
    reason="The default initializers differ (I1). PyTorch's weights have a third of the variance of Flax's, so a "
    "signal shrinks faster from layer to layer, and its random biases replace what is lost. Flax starts every bias "
    "at 0, so nothing but the input drives the output.",
    notes=(
        "Figures of 50 seeds are draws themselves: over 5,000 seeds on these inputs the medians are 1.4e-5 and 1.6e-3, "
        "and nine in ten groups of 50 seeds give a Linen median of 0.9e-3 to 3.0e-3 with 1 to 7 such seeds (PyTorch: "
        "0.7e-5 to 2.6e-5 with 5 to 13).",
        "Notebooks S0 and S2 print 0.2672 and 0.2672, and -0.2144 and -0.2143, from nets without a seed; seeds 0 and "
        "1 show the like. Where the two outputs are equal in every digit, some layer's ReLUs are all off, and no "
        "gradient reaches the layers before it.",
        "PyTorch runs in float64 here, since in float32 its spread is near the rounding of its output.",
    ),
    sources=("S0", "S2"),
)
