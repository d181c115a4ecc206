"""Run by a test in a process of its own, on eight devices of the host: whole models drawn in compiled programs.

Every model of `streamed`, in Linen and NNX, compiled as users have it, and with each array parted over a 4 x 2 mesh.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import nnx as flax_nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from paritree.common.spec import Layer
from paritree.conformance import load_wing
from paritree.impl_jax import draws, linen, nnx

from .streamed import SPECS

MESH = Mesh(np.array(jax.devices()).reshape(4, 2), ("x", "y"))


# How many arrays of each program are parted.
PARTED: list[int] = []


def parted(shape: tuple[int, ...]) -> NamedSharding:
    """The first axis that four devices divide over them, and another one over the other two."""
    names: list[str | None] = [None] * len(shape)
    for name, count in (("x", 4), ("y", 2)):
        free = [axis for axis, size in enumerate(shape) if names[axis] is None and size % count == 0 and size]
        if free:
            names[free[0]] = name
    return NamedSharding(MESH, PartitionSpec(*names))


def hold(wing: Any, model: Any, expected: dict[str, np.ndarray], name: str) -> None:
    for path, array in wing.weights(model).items():
        assert array.tobytes() == expected[path].astype(array.dtype).tobytes(), f"{name}: {path} in {wing.NAME}"


def compiled(make: Callable[[], Any]) -> tuple[Any, Any]:
    """What a program gives whole, and what it gives parted."""
    shardings = jax.tree.map(lambda each: parted(each.shape), jax.eval_shape(make))
    PARTED.append(sum(not sharding.is_fully_replicated for sharding in jax.tree.leaves(shardings)))
    return jax.jit(make)(), jax.jit(make, out_shardings=shardings)()


def held(name: str, spec: Layer) -> None:
    expected = load_wing("torch").weights(load_wing("torch").build(spec, seed=11))
    hold(linen, linen.build(spec, seed=11), expected, name)
    hold(nnx, nnx.build(spec, seed=11), expected, name)
    module, _ = linen.build(spec, seed=11)
    for variables in compiled(lambda: linen.build(spec, seed=11)[1]):
        hold(linen, (module, variables), expected, name)
    definition = flax_nnx.graphdef(nnx.build(spec, seed=11))
    for state in compiled(lambda: flax_nnx.state(nnx.build(spec, seed=11))):
        hold(nnx, flax_nnx.merge(definition, state), expected, name)


if __name__ == "__main__":
    # However small, by the program itself and not by the host.
    draws._ON_DEVICE = 0
    for name in sys.argv[1:]:
        held(name, SPECS[name])
        print(name, *PARTED, flush=True)
        PARTED.clear()
