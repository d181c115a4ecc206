"""Loading onto a mesh of eight host devices, looked at from within: `run_alone` of `..processes` starts it.

Prints a line for each thing that holds; what does not hold ends the program with an error.
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import torch
from flax import nnx
from flax.core import meta
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import paritree
from paritree import Map

from ..meshes import check_equal, mesh, share, state_of, tree_of
from .models import (
    LARGE,
    LLAMA,
    SMALL,
    StackedGpt2,
    arrays,
    gpt2,
    gpt2_map,
    llama,
    llama_map,
    llama_port,
    on_meta,
    row,
    saved,
)


def reading(source: Any, map: Any, like: Any, **others: Any) -> tuple[Any, int]:
    """The loaded model, and the bytes that were read, which are those that were needed."""
    seen: list[tuple[int, int]] = []
    made = paritree.load(source, map, like, on_progress=lambda *each: seen.append(each), **others)
    read, needed = seen[-1]
    assert read == needed, seen[-1]
    return made, read


def abstract() -> StackedGpt2:
    return nnx.eval_shape(lambda: StackedGpt2(LARGE))


def load_gpt2(folder: Path) -> None:
    reference = gpt2(LARGE)
    expected = gpt2_map(LARGE).arrays(arrays(reference))
    index = saved(reference, folder / "gpt2")
    with jax.set_mesh(mesh()):
        like = abstract()
        made, read = reading(index, gpt2_map(LARGE), like)
    assert made is like
    held = state_of(made)
    check_equal(held, expected)
    assert made.head.kernel is made.words
    assert made.layers.query[...].sharding.shard_shape(made.layers.query.shape) == (4, 12, 4, 6)
    assert made.layers.down[...].sharding.shard_shape(made.layers.down.shape) == (4, 12, 48)
    assert read == share(held)
    print("GPT-2 as an NNX module")
    with jax.set_mesh(mesh()):
        state = nnx.state(abstract(), nnx.Param)
        made, read = reading(index, gpt2_map(SMALL), state)
    held = {".".join(map(str, keys)): each.get_raw_value() for keys, each in nnx.to_flat_state(made)}
    check_equal(held, expected)
    assert read == share(held)
    print("GPT-2 as a state, by a map of another size")
    with jax.set_mesh(mesh()):
        live = nnx.merge(nnx.graphdef(abstract()), nnx.state(made_of_ones(abstract())))
    before = {path: array.sharding for path, array in state_of(live).items()}
    made, _ = reading(index, gpt2_map(LARGE), live)
    assert made is live
    check_equal(state_of(made), expected)
    assert before == {path: array.sharding for path, array in state_of(made).items()}
    print("GPT-2 as a live module")


def made_of_ones(model: nnx.Module) -> nnx.Module:
    """The abstract module with ones where its shardings say."""
    state = nnx.state(model)
    shardings = nnx.get_named_sharding(state, mesh())

    def ones(array: Any, sharding: Any) -> Any:
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        return jax.device_put(np.ones(array.shape, array.dtype), sharding)

    nnx.update(model, jax.tree.map(ones, state, shardings))
    return model


def load_llama(folder: Path) -> None:
    reference = llama(LARGE)
    expected = llama_map(LARGE).arrays(arrays(reference))
    index = saved(reference, folder / "llama")
    with jax.set_mesh(mesh()):
        like = llama_port(LARGE)
        (module, variables), read = reading(index, llama_map(SMALL), like)
    assert module is like[0]
    assert isinstance(variables["params"]["head"], meta.Partitioned)
    assert isinstance(like[1]["params"]["head"].value, jax.ShapeDtypeStruct)
    held = tree_of(variables)
    check_equal(held, expected)
    assert read == share(held)
    assert held["params.head"].sharding == NamedSharding(mesh(), P("data", "model"))
    print("Llama as Linen variables, by a map of another size")
    shardings = {f"params.{path}": NamedSharding(mesh(), spec) for path, (_, spec) in LLAMA.items()}
    bare = llama_port(LARGE, boxed=False)
    (_, variables), read = reading(index, llama_map(LARGE), bare, shardings=shardings)
    check_equal(tree_of(variables), expected)
    assert read == share(tree_of(variables))
    tree = jax.tree.map(lambda each, sharding: each.update(sharding=sharding), bare[1], nested(shardings))
    made, read = reading(index, llama_map(LARGE), tree)
    check_equal(tree_of(made), expected)
    assert read == share(tree_of(made)) == share(tree_of(variables))
    print("Llama as a pytree")
    half = jax.tree.map(lambda each: each.update(dtype=jnp.bfloat16), tree)
    made, _ = reading(index, llama_map(LARGE), half)
    check_equal(tree_of(made), {path: array.astype(jnp.bfloat16) for path, array in expected.items()})
    print("Llama in bfloat16")


def nested(shardings: dict[str, Any]) -> dict[str, Any]:
    return paritree.pairs.maps.nested(shardings, with_numbers=False)


def load_chunks(folder: Path) -> None:
    """A checkpoint that was written by shard is read by shard, and comes back on the torch side bit for bit."""
    reference, made = llama(LARGE), llama_map(LARGE)
    shardings = {f"params.{path}": NamedSharding(mesh(), spec) for path, (_, spec) in LLAMA.items()}
    held = {path: jax.device_put(array, shardings[path]) for path, array in made.arrays(arrays(reference)).items()}
    for kind in ({}, {"use_zarr3": True}, {"use_ocdbt": False}):
        source = folder / f"orbax {kind}"
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler(**kind)) as checkpointer:
            checkpointer.save(source, nested(held))
        like = on_meta(reference)
        paritree.load(source, made, like)
        for path, parameter in reference.state_dict().items():
            assert torch.equal(like.state_dict()[path], parameter), path
    alike = Map(
        tuple(row(path, path, each.shape, each.shape, "... -> ...") for path, each in held.items()), ("linen",) * 2
    )
    one = mesh().devices.flat[0]
    part = {path: NamedSharding(Mesh([[one]], ("data", "model")), P()) for path in held}
    seen: list[int] = []
    tree = jax.tree.map(lambda each: jax.ShapeDtypeStruct(each.shape, each.dtype), nested(held))
    for lying in (shardings, part):
        loaded = paritree.load(source, alike, tree, shardings=lying, on_progress=lambda read, _: seen.append(read))
        check_equal(tree_of(loaded), {path: np.asarray(array) for path, array in held.items()})
        assert seen[-1] == share(tree_of(loaded)), (seen[-1], share(tree_of(loaded)))
    print("Orbax by chunks")


def refuse(folder: Path) -> None:
    """Every error names a path, and says what was found and what to do."""
    index, made = folder / "llama" / "model.safetensors.index.json", llama_map(LARGE)
    bare, boxed = llama_port(LARGE, boxed=False), llama_port(LARGE)
    uneven = NamedSharding(jax.make_mesh((5,), ("five",), devices=jax.devices()[:5]), P("five"))
    other = jax.make_mesh((8,), ("rows",), axis_types=(AxisType.Auto,))
    remedy = "Load within `with jax.set_mesh(mesh):`, or give shardings=... Nothing was loaded."
    cases = [
        (
            lambda: paritree.load(index, made, bare, shardings={"params.words": uneven}),
            "params.words: expected a shape that P('five',) over {'five': 5} divides, found (64, 48). "
            "Shard it along another axis, or over fewer devices. Nothing was loaded.",
        ),
        (
            lambda: paritree.load(index, made, boxed),
            f"params.layers.query: expected a mesh with the axes data, model, found none that is set. {remedy}",
        ),
        (
            lambda: paritree.load(index, made, bare, shardings={"params.word": uneven}),
            "shardings: params.word: expected a path of the model, found none of that name. "
            "Did you mean 'params.words'?",
        ),
        (
            lambda: paritree.load(index, made, bare, shardings={"params.words": "data"}),
            "shardings: params.words: expected a jax.sharding.Sharding, or a tree of them, found str. "
            "Give NamedSharding(mesh, spec).",
        ),
    ]
    for call, expected in cases:
        check_refused(call, expected)
    with warnings.catch_warnings():
        # The way before `jax.set_mesh`, which JAX warns of.
        warnings.simplefilter("ignore")
        with mesh():
            check_refused(*cases[1])
    with jax.sharding.use_abstract_mesh(mesh().abstract_mesh):
        said = cases[1][1].replace("none that is set", "an abstract one, without devices")
        check_refused(cases[1][0], said)
    with jax.set_mesh(other):
        found = (
            f"params.layers.query: expected a mesh with the axes data, model, found one with the axes rows. {remedy}"
        )
        check_refused(lambda: paritree.load(index, made, boxed), found)
    print("what does not fit is refused")


def check_refused(call: Any, expected: str) -> None:
    with pytest.raises(paritree.ParitreeError) as caught:
        call()
    assert str(caught.value) == expected, str(caught.value)


if __name__ == "__main__":
    for run in (load_gpt2, load_llama, load_chunks, refuse):
        run(Path(sys.argv[1]))
