"""A wing loads its own framework and no other one, also after it has worked."""

from __future__ import annotations

import subprocess
import sys

import pytest

# The files that both Flax wings use come with either of them.
FOREIGN = {
    "impl_torch": ("jax", "jaxlib", "flax", "optax", "paritree.impl_jax"),
    "impl_jax.linen": ("torch", "paritree.impl_torch", "paritree.impl_jax.nnx"),
    "impl_jax.nnx": ("torch", "paritree.impl_torch", "paritree.impl_jax.linen"),
}

# Functions import, too: so each wing builds, runs, trains and takes apart a model with a tie before it is asked.
WORK = """
import numpy as np
from paritree.common.initializers import Orthogonal
from paritree.common.layers import Decoder, Dropout, Embedding, Linear
from paritree.common.spec import Block
layers = {"embedding": Embedding(4, 3), "linear": Linear(3, 3, weight_init=Orthogonal()), "dropout": Dropout()}
inputs, ones = (np.zeros((1, 2), np.int32),), np.ones((1, 2, 4), np.float32)
model = wing.build(Block({**layers, "decoder": Decoder("embedding")}))
model = wing.load(model, wing.weights(model))
wing.table(model), wing.call(model, inputs), wing.value_and_gradients(model, inputs, ones)
wing.site_gradients(model, inputs, ones), wing.step(model, inputs, ones), wing.settings()
"""


def loaded(statements: str, names: tuple[str, ...]) -> str:
    """Which of these modules a fresh interpreter has loaded after the statements."""
    program = f"{statements}\nimport sys\nprint([name for name in {names!r} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return run.stdout.strip().splitlines()[-1]


@pytest.mark.parametrize("module", FOREIGN)
def test_only_its_own_framework_is_loaded(module: str) -> None:
    assert loaded(f"import paritree.{module} as wing\n{WORK}", FOREIGN[module]) == "[]"


def test_the_probe_can_fail() -> None:
    statements = "import paritree.impl_torch, paritree.impl_jax.linen"
    assert loaded(statements, FOREIGN["impl_torch"]) == "['jax', 'jaxlib', 'flax', 'optax', 'paritree.impl_jax']"
