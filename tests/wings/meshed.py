"""Run by a test in a process of its own, on eight devices of the host: draws in compiled programs, sharded ones too."""

from __future__ import annotations

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import paritree
from paritree.common import draws
from paritree.common import initializers as init
from paritree.common.layers import Embedding, Linear
from paritree.common.layouts import SAME
from paritree.common.spec import Sequential
from paritree.impl_jax import draws as jax_draws
from paritree.impl_jax import integers, linen, nnx

SHAPE = (64, 48)
FORMS = [
    *[init.Uniform(-0.3, 0.3), init.Uniform(-1, 2), init.Normal(0.0, 0.02), init.Normal(1.0, 0.1), init.LeCun()],
    *[init.TruncatedNormal(0.5, 0.02, -1, 3, cut="sigma"), init.Masked(init.Normal(), 0.5)],
    init.ZeroRow(init.Normal(), 3),
]
MESH = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y"))
ON_MESH = NamedSharding(MESH, PartitionSpec("x", "y"))


def entries(initializer: init.Initializer) -> jax.Array:
    recipe = draws.recipe_of(initializer, SHAPE)
    assert recipe is not None
    return integers.entries(recipe, draws.key_of(3, "w"), SHAPE, SAME, "float32")


def hold(found: jax.Array, expected: np.ndarray) -> None:
    assert np.asarray(found).tobytes() == expected.tobytes()


def main() -> None:
    expected = {each: draws.drawn(each, SHAPE, seed=3, path="w") for each in FORMS}
    for each in FORMS:
        hold(entries(each), expected[each])
    print("compiled")
    # One program with all, in which the compiler sees every number.
    together = jax.jit(lambda: [entries(each) for each in FORMS])()
    for each, found in zip(FORMS, together, strict=True):
        hold(found, expected[each])
    print("larger")
    sharded = jax.jit(lambda: [entries(each) for each in FORMS], out_shardings=ON_MESH)
    for each, found in zip(FORMS, sharded(), strict=True):
        assert len({shard.device for shard in found.addressable_shards}) == 8
        hold(found, expected[each])
    # Each device computes its own part alone: nothing is gathered, and no whole array is in the program.
    program = jax.jit(lambda: entries(FORMS[2]), out_shardings=ON_MESH).lower().compile().as_text()
    assert "all-gather" not in program
    assert "f32[64,48]" not in program
    print("sharded")
    for each in FORMS:
        made = jax.make_array_from_callback(
            SHAPE, ON_MESH, lambda box, each=each: linen.draw(each, SHAPE, seed=3, path="w", box=box)
        )
        hold(made, expected[each])
    print("callback")
    spec = Sequential(Embedding(20, 8), Linear(8, 4))
    wanted = linen.weights(linen.build(spec, seed=5))
    jax_draws._ON_DEVICE = 0
    variables = jax.jit(lambda: paritree.build(spec, "linen", seed=5)[1])()
    module, _ = linen.build(spec, seed=5)
    for model, wing in (((module, variables), linen), (nnx.build(spec, seed=5), nnx)):
        for path, array in wing.weights(model).items():
            assert array.tobytes() == wanted[path].tobytes(), path
    print("model")


if __name__ == "__main__":
    main()
