"""Ties: what keeps one parameter one, what silently makes it two, and who is told."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import config, linen, nnx
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from paritree.common.errors import NotExpressibleError, TieError, WeightsError
from paritree.common.layers import Decoder, Embedding, Linear, Tanh
from paritree.common.spec import Block, Sequential, Shared
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.pairs.closeness import allowed, relative_error

WIDTH = 8
TIED = Sequential(Linear(WIDTH, WIDTH, bias=False), Shared("0"))
LANGUAGE_MODEL = Block({"embedding": Embedding(WIDTH, WIDTH), "tanh": Tanh(), "head": Decoder("embedding")})
TOKENS = np.array([[1, 2, 2, 7]], np.int32)


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def positive(*shape: int, seed: int = 0) -> np.ndarray:
    return np.abs(normal(*shape, seed=seed))


KERNEL, X, ONES = 0.29 * positive(WIDTH, WIDTH), positive(WIDTH, WIDTH, seed=1), np.ones((WIDTH, WIDTH), np.float32)


# 34: what keeps a tie in PyTorch


def tied_torch() -> nn.Sequential:
    embedding, head = nn.Embedding(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH, bias=False)
    head.weight = embedding.weight
    return nn.Sequential(embedding, head)


def loaded(assign: bool) -> nn.Sequential:
    model = tied_torch()
    model.load_state_dict({name: array.clone() for name, array in model.state_dict().items()}, assign=assign)
    return model


def on_meta() -> nn.Sequential:
    with torch.device("meta"):
        return tied_torch()


def normalized() -> nn.Sequential:
    model = tied_torch()
    weight_norm(model[1])
    return model


WAYS: dict[str, tuple[Callable[[], nn.Sequential], bool]] = {
    "to(float64)": (lambda: tied_torch().to(torch.float64), True),
    "deepcopy": (lambda: copy.deepcopy(tied_torch()), True),
    "load_state_dict": (lambda: loaded(assign=False), True),
    "built on meta": (on_meta, True),
    "to_empty where it is": (lambda: tied_torch().to_empty(device="cpu"), True),
    "to_empty from meta": (lambda: on_meta().to_empty(device="cpu"), False),
    "to(meta)": (lambda: tied_torch().to("meta"), False),
    "load_state_dict(assign=True)": (lambda: loaded(assign=True), False),
    "weight_norm": (normalized, False),
}


@pytest.mark.parametrize("way", WAYS)
def test_trap_34_torch_loses_a_tie_where_a_parameter_is_replaced(way: str) -> None:
    """`to_empty` replaces it only where the device's kind changes, as from meta. The table says what is left."""
    make, kept = WAYS[way]
    model = make()
    assert (model[0].weight is model[1].weight) == kept
    assert bool(load_wing("torch").table(model).ties) == kept


def test_trap_34_loading_keeps_a_tie_and_a_lost_one_can_be_put_back() -> None:
    wing: Any = load_wing("torch")
    model = wing.load(tied_torch(), {"0.weight": KERNEL})
    assert wing.identical(model, "0.weight", "1.weight")
    for lost in (loaded(assign=True), on_meta().to_empty(device="cpu")):
        model = wing.load(wing.tie(lost, "0.weight", "1.weight"), {"0.weight": KERNEL})
        assert model[1].weight is model[0].weight
        np.testing.assert_array_equal(wing.weights(model)["0.weight"], KERNEL)


def test_trap_34_the_old_weight_norm_loses_a_tie_too() -> None:
    model = tied_torch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.nn.utils.weight_norm(model[1])
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "1.weight_g", "1.weight_v"]
    assert load_wing("torch").table(model).ties == ()


# 35: two values for one parameter


def test_trap_35_torch_takes_the_last_of_two_values_and_says_that_all_keys_matched() -> None:
    model, one, other = tied_torch(), torch.zeros(WIDTH, WIDTH), torch.ones(WIDTH, WIDTH)
    assert str(model.load_state_dict({"0.weight": one, "1.weight": other})) == "<All keys matched successfully>"
    assert torch.equal(model[0].weight, other)
    with pytest.raises(RuntimeError, match=r'Missing key\(s\) in state_dict: "1.weight"'):
        model.load_state_dict({"0.weight": one})


@pytest.mark.parametrize("name", WINGS)
def test_trap_35_every_wing_takes_the_owner_alone_and_refuses_the_rest_at_once(name: str) -> None:
    """An alias is refused with a value of its own or the owner's: who wrote it should know that it is one."""
    wing = load_wing(name)
    model = wing.build(Sequential(Linear(3, 3), Shared("0"), Linear(3, 3)))
    before = wing.weights(model)
    faulty = {**before, "0.weight": normal(2, 3), "1.weight": normal(3, 3), "1.bias": before["0.bias"], "3": normal(1)}
    del faulty["2.bias"]
    with pytest.raises(WeightsError) as refused:
        wing.load(model, faulty)
    assert str(refused.value) == (
        "expected one array for each of 4 owners, in the canonical layout, found 5 that do not fit: "
        "2.bias is missing; 0.weight has shape (2, 3) and needs (3, 3); 1.weight is an alias of 0.weight; "
        "1.bias is an alias of 0.bias; 3 is not in the model. Nothing was loaded."
    )
    for path, array in wing.weights(model).items():
        np.testing.assert_array_equal(array, before[path])
    after = wing.load(model, {path: array + 1 for path, array in before.items()})
    np.testing.assert_array_equal(wing.weights(after)["0.weight"], before["0.weight"] + 1)
    assert wing.identical(after, "0.weight", "1.weight")


# 36: what keeps a tie in NNX


class Tied(nnx.Module):
    """Two layers that hold one Variable."""

    def __init__(self) -> None:
        self.first, self.second = (nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=nnx.Rngs(0)) for _ in range(2))
        self.first.kernel = self.second.kernel = nnx.Param(jnp.asarray(KERNEL))

    def __call__(self, x: Any) -> jax.Array:
        return self.second(self.first(x))


class Once(nnx.Module):
    """The same function with one layer that is called twice."""

    def __init__(self) -> None:
        self.layer = nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=nnx.Rngs(0))
        self.layer.kernel = nnx.Param(jnp.asarray(KERNEL))

    def __call__(self, x: Any) -> jax.Array:
        return self.layer(self.layer(x))


def total(model: Any) -> jax.Array:
    return model(jnp.asarray(X)).sum()


def norm(variable: nnx.Param[jax.Array]) -> float:
    return float(jnp.linalg.norm(variable[...]))


def stepped(model: Tied) -> Tied:
    optimizer = nnx.Optimizer(model, optax.sgd(0.1), wrt=nnx.Param)
    optimizer.update(model, nnx.grad(total)(model))
    return model


PASSAGES: dict[str, tuple[Callable[[Tied], Tied], bool]] = {
    "split, merge": (lambda model: nnx.merge(*nnx.split(model)), True),
    "clone": (nnx.clone, True),
    "eval_shape": (lambda model: nnx.eval_shape(Tied), True),
    "Optimizer": (stepped, True),
    "nnx.jit": (lambda model: nnx.jit(lambda inside: inside)(model), True),
    "jax.jit": (lambda model: jax.jit(lambda inside: inside)(model), False),
    "jax.tree.map": (lambda model: jax.tree.map(lambda array: array, model), False),
    "jax.grad": (jax.grad(total), False),
}


@pytest.mark.parametrize("way", PASSAGES)
def test_trap_36_nnx_loses_a_tie_where_jax_sees_the_module_as_a_tree(way: str) -> None:
    go, kept = PASSAGES[way]
    model = go(Tied())
    assert (model.first.kernel is model.second.kernel) == kept
    assert bool(load_wing("nnx").table(model).ties) == kept


def test_trap_36_each_copy_gets_the_gradient_of_its_own_site_and_goes_its_own_way() -> None:
    """Here 78 and 75 against 151, and 2.8 apart after one step of 0.1; the copies began as one array."""
    model = Tied()
    parts, whole = jax.grad(total)(model), nnx.grad(total)(model)
    one, other = norm(parts.first.kernel), norm(parts.second.kernel)
    (summed,) = map(np.asarray, jax.tree.leaves(whole))
    assert 60 < other < one < 90
    assert np.linalg.norm(summed) == pytest.approx(one + other, rel=0.02)
    assert relative_error(np.asarray(parts.first.kernel[...] + parts.second.kernel[...]), summed) <= allowed(2)
    after = jax.tree.map(lambda value, gradient: value - 0.1 * gradient, model, parts)
    assert 0.5 < jnp.linalg.norm(after.first.kernel[...] - after.second.kernel[...]) < 5


@pytest.mark.parametrize("name", WINGS)
def test_trap_36_every_wing_gives_the_sum_and_its_parts_and_keeps_the_tie(name: str) -> None:
    wing = load_wing(name)
    with wing.running():
        model = wing.load(wing.build(TIED), {"0.weight": KERNEL.T})
        _, gradients = wing.value_and_gradients(model, (X,), ONES)
        sites = wing.site_gradients(model, (X,), ONES)["0.weight"]
        after, _ = wing.step(model, (X,), ONES)
    parts = jax.grad(total)(Tied())
    assert len(sites) == 2
    for site, part in zip(sites, (parts.first, parts.second), strict=True):
        assert relative_error(site.gradient, np.asarray(part.kernel[...]).T) <= allowed(2)
    assert relative_error(gradients["0.weight"], sum(site.gradient for site in sites)) <= allowed(2)
    assert wing.identical(after, "0.weight", "1.weight")


# 37: NNX without graphs


@pytest.fixture(params=["set_graph_mode", "nnx_graph_mode"])
def as_a_tree(request: pytest.FixtureRequest) -> Iterator[None]:
    """NNX in tree mode: by its context, or by the flag of which it is proposed to make False the default."""
    if request.param == "set_graph_mode":
        with nnx.set_graph_mode(False):
            yield
        return
    before = config.nnx_graph_mode
    config.update("nnx_graph_mode", False)
    try:
        yield
    finally:
        config.update("nnx_graph_mode", before)


TRANSFORMS: dict[str, Callable[[Any], Any]] = {
    "split": nnx.split,
    "state": nnx.state,
    "clone": nnx.clone,
    "jit": lambda model: nnx.jit(total)(model),
    "grad": lambda model: nnx.grad(total)(model),
    "Optimizer": stepped,
}
NO_SHARING = r"(?s)^Duplicate Param\(.* does not support (shared references|Variable aliasing)"
CALLED = Block({"layer": Linear(WIDTH, WIDTH, bias=False)}, calls=("layer", "layer"))


@pytest.mark.parametrize("way", TRANSFORMS)
def test_trap_37_with_graphs_every_transform_takes_a_tie(way: str) -> None:
    for model in (Tied(), Once()):
        TRANSFORMS[way](model)


@pytest.mark.parametrize("way", TRANSFORMS)
@pytest.mark.usefixtures("as_a_tree")
def test_trap_37_without_graphs_none_does_unless_the_layer_is_owned_once(way: str) -> None:
    with pytest.raises(ValueError, match=NO_SHARING):
        TRANSFORMS[way](Tied())
    TRANSFORMS[way](Once())


@pytest.mark.usefixtures("as_a_tree")
def test_trap_37_an_embedding_is_owned_once_and_attends() -> None:
    class LanguageModel(nnx.Module):
        def __init__(self) -> None:
            self.embedding = nnx.Embed(WIDTH, WIDTH, rngs=nnx.Rngs(0))

        def __call__(self, tokens: Any) -> jax.Array:
            return self.embedding.attend(jnp.tanh(self.embedding(tokens)))

    wing = load_wing("torch")
    model = LanguageModel()
    # Without graphs the gradient is a module, and not a State.
    found = nnx.grad(lambda model: model(TOKENS).sum())(model).embedding.embedding[...]
    twin = wing.load(wing.build(LANGUAGE_MODEL), {"embedding.weight": np.asarray(model.embedding.embedding[...])})
    _, gradients = wing.value_and_gradients(twin, (TOKENS,), np.ones((1, 4, WIDTH), np.float32))
    assert relative_error(np.asarray(found), gradients["embedding.weight"]) <= allowed(3)


@pytest.mark.usefixtures("as_a_tree")
def test_trap_37_a_spec_that_calls_a_layer_twice_needs_no_graph() -> None:
    """The answer: `calls=("layer", "layer")` is the function of `Shared` with one path and nothing to lose."""
    wing, oracle = load_wing("nnx"), load_wing("torch")
    with wing.running():
        model = wing.load(wing.build(CALLED), {"layer.weight": KERNEL.T})
        _, gradients = wing.value_and_gradients(model, (X,), ONES)
        parts = wing.site_gradients(model, (X,), ONES)["layer.weight"]
        after, _ = wing.step(model, (X,), ONES)
        output = wing.call(model, (X,))
    shared = oracle.load(oracle.build(TIED), {"0.weight": KERNEL.T})
    _, exact = oracle.value_and_gradients(shared, (X,), ONES)
    shared, _ = oracle.step(shared, (X,), ONES)
    assert wing.table(model).paths == ("layer.weight",)
    assert len(parts) == 2
    assert relative_error(gradients["layer.weight"], exact["0.weight"]) <= allowed(2)
    assert relative_error(wing.weights(after)["layer.weight"], oracle.weights(shared)["0.weight"]) <= allowed(2)
    assert relative_error(output, oracle.call(shared, (X,))) <= allowed(2)


@pytest.mark.usefixtures("as_a_tree")
def test_trap_37_a_spec_with_a_tie_cannot_be_built_without_graphs() -> None:
    for spec in (TIED, LANGUAGE_MODEL):
        with pytest.raises(ValueError, match=NO_SHARING):
            load_wing("nnx").build(spec)


# 38: the name of a tie

LATE_NAME = Block({"z": Linear(3, 3), "a": Shared("z")})


def test_trap_38_a_tie_has_its_first_name_in_torch_and_the_least_in_nnx() -> None:
    layer, other = nn.Linear(3, 3), nnx.Linear(3, 3, rngs=nnx.Rngs(0))
    assert [name for name, _ in nn.ModuleDict({"z": layer, "a": layer}).named_parameters()] == ["z.weight", "z.bias"]
    paths = nnx.to_flat_state(nnx.state(nnx.Dict(z=other, a=other))).paths
    assert paths == (("a", "bias"), ("a", "kernel"))


@pytest.mark.parametrize("name", WINGS)
def test_trap_38_every_wing_names_a_tie_by_its_first_path(name: str) -> None:
    wing = load_wing(name)
    model = wing.build(LATE_NAME)
    models = [model, nnx.merge(*nnx.split(model)), nnx.clone(model)] if name == "nnx" else [model]
    for each in models:
        assert list(wing.weights(each)) == ["z.weight", "z.bias"]
        assert [(tie.owner, tie.alias) for tie in wing.table(each).ties] == [
            ("z.weight", "a.weight"),
            ("z.bias", "a.bias"),
        ]


# 39: a tie through a transpose


def test_trap_39_nnx_shares_an_array_as_it_lies() -> None:
    """A square table passes as a kernel and decodes by E where E^T is meant; a transposed one is a copy."""
    embed = nnx.Embed(WIDTH, WIDTH, rngs=nnx.Rngs(0))
    head = nnx.Linear(WIDTH, WIDTH, use_bias=False, rngs=nnx.Rngs(0))
    exact = np.asarray(X @ embed.embedding[...].T)
    head.kernel = embed.embedding
    assert relative_error(np.asarray(head(X)), exact) > 0.5
    assert relative_error(np.asarray(embed.attend(X)), exact) <= allowed(1)
    head.kernel = nnx.Param(embed.embedding[...].T)
    assert relative_error(np.asarray(head(X)), exact) <= allowed(1)
    embed.embedding[...] = jnp.zeros((WIDTH, WIDTH))
    assert head(X).any()
    assert not embed.attend(X).any()


REFUSALS: dict[str, tuple[type[Exception], str] | None] = {
    "torch": None,
    "linen": (
        NotExpressibleError,
        "head.weight: expected two layers of one kind, since Linen shares modules, found Embedding and Linear. "
        "Share the whole layer in the spec, or tie in the torch or nnx wing.",
    ),
    "nnx": (
        TieError,
        "head.weight: expected the owner's layout '... -> ...', since a Variable has one, found 'o i -> i o'. "
        "An NNX model cannot share a transposed array: use a Decoder in the spec.",
    ),
}


@pytest.mark.parametrize("name", WINGS)
def test_trap_39_a_linear_tied_to_a_table_is_refused_and_a_decoder_is_right(name: str) -> None:
    """Cannot be expressed in Flax with two layers; the Decoder reads the table as it lies, in all wings alike."""
    wing: Any = load_wing(name)
    two = Block({"embedding": Embedding(WIDTH, WIDTH), "head": Linear(WIDTH, WIDTH, bias=False)})
    refusal = REFUSALS[name]
    if refusal is None:
        assert wing.identical(
            wing.tie(wing.build(two), "embedding.weight", "head.weight"), "embedding.weight", "head.weight"
        )
    else:
        with pytest.raises(refusal[0]) as refused:
            wing.tie(wing.build(two), "embedding.weight", "head.weight")
        assert str(refused.value) == refusal[1]
    with wing.running():
        model = wing.load(wing.build(LANGUAGE_MODEL), {"embedding.weight": KERNEL})
        found = wing.call(model, (TOKENS,))
    assert relative_error(found, np.tanh(KERNEL[TOKENS].astype(np.float64)) @ KERNEL.T) <= allowed(3)
    assert wing.identical(model, "embedding.weight", "head.weight")


# 40: where the fact of a tie is kept


def test_trap_40_in_nnx_the_graph_knows_of_a_tie_and_the_arrays_do_not() -> None:
    """`to_pure_dict` has one array for two paths; a twin whose graph is untied takes it, and is half loaded."""
    model = Tied()
    graph, state = nnx.split(model)
    merged = nnx.merge(graph, state)
    assert merged.first.kernel is merged.second.kernel
    pure = nnx.to_pure_dict(state)
    assert list(pure) == ["first"]
    twin = Tied()
    twin.second.kernel = nnx.Param(jnp.zeros((WIDTH, WIDTH)))
    twin_graph, twin_state = nnx.split(twin)
    nnx.replace_by_pure_dict(twin_state, pure)
    loaded_twin = nnx.merge(twin_graph, twin_state)
    np.testing.assert_array_equal(loaded_twin.first.kernel[...], KERNEL)
    assert not loaded_twin.second.kernel[...].any()


def test_trap_40_in_linen_there_is_one_array_and_the_program_knows() -> None:
    layer = linen.Dense(WIDTH, use_bias=False)
    variables = linen.Sequential([layer, layer]).init(jax.random.key(0), X)
    assert list(variables["params"]) == ["layers_0"]


def test_trap_40_safetensors_refuses_a_tie_notes_it_or_writes_it_twice(tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors")
    for_torch, for_flax = pytest.importorskip("safetensors.torch"), pytest.importorskip("safetensors.flax")
    model, file = tied_torch(), str(tmp_path / "model")
    with pytest.raises(RuntimeError, match="Some tensors share memory"):
        for_torch.save_file(model.state_dict(), file)
    for_torch.save_model(model, file)
    with safetensors.safe_open(file, "np") as saved:
        assert (list(saved.keys()), saved.metadata()) == (["0.weight"], {"1.weight": "0.weight"})
    array = jnp.asarray(normal(100, 100))
    for_flax.save_file({"one": array, "other": array}, file)
    assert Path(file).stat().st_size > 2 * array.nbytes
    assert list(for_flax.load_file(file)) == ["one", "other"]


@pytest.mark.parametrize("source", WINGS)
def test_trap_40_our_weights_hold_a_tied_array_once_and_the_table_tells_the_tie(source: str, tmp_path: Path) -> None:
    """The table's ties are the metadata that `save_model` writes, and a file of the owners is enough for every wing."""
    for_numpy = pytest.importorskip("safetensors.numpy")
    wing, file = load_wing(source), tmp_path / "owners"
    model = wing.load(wing.build(LANGUAGE_MODEL), {"embedding.weight": normal(WIDTH, WIDTH)})
    assert {tie.alias: tie.owner for tie in wing.table(model).ties} == {"head.weight": "embedding.weight"}
    for_numpy.save_file(wing.weights(model), file)
    read = for_numpy.load_file(file)
    assert list(read) == ["embedding.weight"]
    for name in WINGS:
        target = load_wing(name)
        ported = target.load(target.build(LANGUAGE_MODEL, seed=1), read)
        assert target.identical(ported, "embedding.weight", "head.weight")
        assert relative_error(target.call(ported, (TOKENS,)), wing.call(model, (TOKENS,))) <= allowed(3)
