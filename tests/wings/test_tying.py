"""Tying, untying, and the difference between being one parameter and having equal values."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import nnx as flax_nnx

from paritree import impl_torch
from paritree.common.errors import NotExpressibleError, ParitreeError, PathError, TieError
from paritree.common.layers import Decoder, Embedding, FixedLinear, Linear, Tanh
from paritree.common.spec import Block, Layer, Sequential, Shared
from paritree.common.spec.expansion import untied
from paritree.common.ties import Tie, TieGroup
from paritree.impl_jax import nnx

from .conftest import assert_close, assert_same, exactly, normal
from .specs import SPECS, inputs_of

BARE = {"bias": False}
X, ONES = (normal(2, 3),), np.ones((2, 3), np.float32)


def groups(wing: Any, model: Any) -> list[tuple[str, ...]]:
    return [group.paths for group in wing.tie_groups(model)]


def test_the_groups_are_the_tables(wing: Any) -> None:
    model = wing.build(SPECS["two decoders and a shared one"])
    assert wing.tie_groups(model) == (
        TieGroup(
            "embedding.weight",
            tuple(Tie("embedding.weight", f"{alias}.weight") for alias in ("one", "two", "again")),
        ),
        TieGroup("one.bias", (Tie("one.bias", "again.bias"),)),
    )
    assert wing.tie_groups(wing.build(untied(SPECS["two decoders and a shared one"]))) == ()


def test_identical_is_not_equal(wing: Any) -> None:
    model = wing.build(Sequential(Linear(3, 3), Linear(3, 3), Shared("0")))
    assert wing.identical(model, "0.weight", "2.weight")
    assert not wing.identical(model, "0.weight", "1.weight")
    assert not wing.equal(model, "0.weight", "1.weight")
    model = wing.set_parameter(model, "1.weight", wing.weights(model)["0.weight"])
    assert wing.equal(model, "0.weight", "1.weight")
    assert not wing.identical(model, "0.weight", "1.weight")
    # A change through an alias is a change of the owner, and of nothing that was merely equal.
    model = wing.set_parameter(model, "2.weight", np.zeros((3, 3), np.float32))
    assert not wing.weights(model)["0.weight"].any()
    assert wing.weights(model)["1.weight"].any()


def test_equal_compares_in_the_canonical_layout(wing: Any) -> None:
    spec = Block({"table": Embedding(3, 3), "linear": Linear(3, 3, **BARE)}, calls=("table",))
    value = normal(3, 3, seed=1)
    model = wing.build(spec)
    model = wing.set_parameter(wing.set_parameter(model, "table.weight", value), "linear.weight", value)
    assert wing.equal(model, "table.weight", "linear.weight")
    assert not wing.equal(wing.set_parameter(model, "linear.weight", value.T), "table.weight", "linear.weight")
    other = wing.build(Sequential(Linear(3, 2), Linear(2, 3)))
    assert not wing.equal(other, "0.weight", "1.weight")


@pytest.mark.parametrize(("owner", "alias"), [("0.weight", "2.weight"), ("2.weight", "0.weight")])
def test_a_tie_keeps_the_owners_values(wing: Any, owner: str, alias: str) -> None:
    model = wing.build(Sequential(Linear(3, 3, **BARE), Tanh(), Linear(3, 3, **BARE)))
    before = wing.weights(model)
    tied = wing.tie(model, owner, alias)
    # The first path in order of registration is the owner's from now on.
    assert groups(wing, tied) == [("0.weight", "2.weight")]
    assert_same(wing.weights(tied), {"0.weight": before[owner]})
    kernel = before[owner].T
    np.testing.assert_allclose(wing.call(tied, X), np.tanh(X[0] @ kernel) @ kernel, rtol=1e-5)
    again = wing.tie(tied, owner, alias)
    assert_same(wing.weights(again), wing.weights(tied))
    if wing.NAME == "linen":
        assert_same(wing.weights(model), before)


def test_a_tie_adds_to_a_group(wing: Any) -> None:
    model = wing.build(Sequential(Linear(3, 3, **BARE), Shared("0"), Block({"a": Linear(3, 3, **BARE)}), Shared("2.a")))
    tied = wing.tie(model, "1.weight", "2.a.weight")
    # Only that path joins: what it was tied to keeps the values and stays out.
    assert groups(wing, tied) == [("0.weight", "1.weight", "2.a.weight")]
    assert list(wing.weights(tied)) == ["0.weight", "3.weight"]
    assert groups(wing, wing.tie(tied, "0.weight", "3.weight")) == [("0.weight", "1.weight", "2.a.weight", "3.weight")]


UNTIED = {
    "shared-layer": "4.weight",
    "shared-block": "3.linear_shared.bias",
    "ones": "1.weight",
    "a layer shared out of another container": "1.again.weight",
    "a shared container with a layer shared inside it": "2.b.weight",
    "called in another order than registered": "late.y.weight",
    "names that look like Linen's own": "layers_1.weight",
    "buffers, shared": "2.weight",
    "two decoders and a shared one": "again.bias",
}


@pytest.mark.parametrize("name", UNTIED)
def test_untying_frees_one_path_and_changes_no_value(wing: Any, name: str) -> None:
    alias, inputs = UNTIED[name], inputs_of(name)
    model = wing.build(SPECS[name], seed=2)
    table, before, output = wing.table(model), wing.weights(model), wing.call(model, inputs)
    apart = wing.untie(model, alias)
    found = wing.table(apart)
    freed = {alias}
    if wing.NAME == "linen":
        # What Linen shares is a layer, so all of its parameters come apart that were the same layer's.
        layer = alias.rpartition(".")[0]
        freed = {path for path in table.paths if path.rpartition(".")[0] == layer and found[path].tie is None}
        assert alias in freed
    assert found.paths == table.paths
    assert {row.path: row.kind for row in found} == {row.path: row.kind for row in table}
    stayed = [path for path in table.paths if path not in freed]
    assert ties_among(found, stayed) == ties_among(table, stayed)
    after = wing.weights(apart)
    for path in table.paths:
        np.testing.assert_array_equal(after[found.owner(path)], before[table.owner(path)], err_msg=path)
    np.testing.assert_allclose(wing.call(apart, inputs), output, rtol=1e-6)
    # Really apart: a change of the one is no change of the other.
    changed = wing.weights(wing.set_parameter(apart, alias, after[alias] + 1))
    assert_same(changed, {**after, alias: after[alias] + 1})


def ties_among(table: Any, paths: list[str]) -> set[frozenset[str]]:
    """Which of the paths stand for one parameter."""
    owners = {table.owner(path) for path in paths}
    return {frozenset(path for path in paths if table.owner(path) == owner) for owner in owners}


def test_gradients_split_when_a_tie_is_cut(wing: Any) -> None:
    spec = Sequential(Linear(3, 3, **BARE), Tanh(), Shared("0"))
    with wing.running(dtype="float64"):
        model = wing.build(spec, dtype="float64")
        x, ones = (X[0].astype("f8"),), ONES.astype("f8")
        whole = wing.value_and_gradients(model, x, ones)[1]
        apart = wing.untie(model, "2.weight")
        parts = wing.value_and_gradients(apart, x, ones)[1]
        assert list(parts) == ["0.weight", "2.weight"]
        assert_close({"0.weight": parts["0.weight"] + parts["2.weight"]}, whole)
        assert_close(wing.value_and_gradients(wing.tie(apart, "0.weight", "2.weight"), x, ones)[1], whole)


MIXED = Sequential(
    *(Linear(3, 3), FixedLinear(3, 3), FixedLinear(3, 3, shift=1.0), Linear(3, 2, **BARE), Linear(2, 3)),
    Block({"table": Embedding(3, 3), "linear": Linear(3, 3, **BARE), "wide": Linear(3, 3)}, calls=("linear",)),
)
BESIDE = "the only parameter of its layer, since Linen shares modules and not arrays"
SHARE = "Share the whole layer in the spec, or tie in the torch or nnx wing."
FAULTS: list[tuple[str, str, dict[str, tuple[type[ParitreeError], str]]]] = [
    (
        *("0.weight", "0.wait"),
        {"": (PathError, "0.wait: expected a path of the model, found none of that name. Did you mean '0.weight'?")},
    ),
    (
        *("0.weight", "0.weight"),
        {
            "": (
                TieError,
                "0.weight: expected another path as the owner, found the alias itself. Name two different paths.",
            )
        },
    ),
    (
        *("3.weight", "4.weight"),
        {
            "": (
                TieError,
                "4.weight: expected the shape (2, 3) of its owner '3.weight', found (3, 2). "
                "Only parameters of one shape can be tied.",
            )
        },
    ),
    (
        *("1.weight", "0.weight"),
        {"": (TieError, "0.weight: expected a buffer, as its owner '1.weight' is, found a parameter.")},
    ),
    (
        *("0.weight", "5.wide.weight"),
        {
            "linen": (
                NotExpressibleError,
                f"5.wide.weight: expected {BESIDE}, found 0.bias, 5.wide.bias beside it. {SHARE}",
            )
        },
    ),
    (
        *("0.weight", "5.linear.weight"),
        {"linen": (NotExpressibleError, f"5.linear.weight: expected {BESIDE}, found 0.bias beside it. {SHARE}")},
    ),
    (
        *("1.weight", "2.weight"),
        {
            "linen": (
                NotExpressibleError,
                "2.weight: expected two layers alike but for their values, since Linen shares modules, "
                f"found other settings. {SHARE}",
            )
        },
    ),
    (
        *("5.table.weight", "5.linear.weight"),
        {
            "linen": (
                NotExpressibleError,
                "5.linear.weight: expected two layers of one kind, since Linen shares modules, "
                f"found Embedding and Linear. {SHARE}",
            ),
            "nnx": (
                TieError,
                "5.linear.weight: expected the owner's layout '... -> ...', since a Variable has one, "
                "found 'o i -> i o'. An NNX model cannot share a transposed array: use a Decoder in the spec.",
            ),
        },
    ),
]


@pytest.mark.parametrize(("owner", "alias", "faults"), FAULTS, ids=[f"{owner} {alias}" for owner, alias, _ in FAULTS])
def test_a_tie_that_cannot_be(wing: Any, owner: str, alias: str, faults: dict[str, Any]) -> None:
    model = wing.build(MIXED)
    before = wing.weights(model)
    if not {"", wing.NAME} & set(faults):
        # Another wing's framework refuses it; this one's does not.
        assert wing.identical(wing.tie(model, owner, alias), owner, alias)
        return
    error, text = faults.get("", faults.get(wing.NAME))
    with pytest.raises(error, match=exactly(text)):
        wing.tie(model, owner, alias)
    assert_same(wing.weights(model), before)
    assert wing.table(model).ties == ()


def test_a_tie_of_two_dtypes(wing: Any) -> None:
    with wing.running(dtype="float64"):
        model = wing.build(Sequential(Linear(3, 3, **BARE), Linear(3, 3, **BARE)))
        model = _recast(wing, model, "1")
        text = "1.weight: expected the owner's dtype float32, found float64. Cast one of the two first."
        with pytest.raises(TieError, match=exactly(text)):
            wing.tie(model, "0.weight", "1.weight")


def _recast(wing: Any, model: Any, path: str) -> Any:
    """The model with the layer at `path` in float64, by the framework's own means."""
    if wing.NAME == "torch":
        model[int(path)].double()
    elif wing.NAME == "nnx":
        kernel = model.layers[int(path)].kernel
        kernel.set_value(kernel[...].astype("float64"))
    else:
        model[1]["params"][f"layers_{path}"] = jax.tree.map(
            lambda array: array.astype("float64"), model[1]["params"][f"layers_{path}"]
        )
    return model


def test_untying_what_is_no_alias(wing: Any) -> None:
    model = wing.build(Sequential(Linear(3, 3), Shared("0")))
    text = "0.weight: expected an alias, found a parameter that owns itself. Name the alias; tie_groups lists them."
    with pytest.raises(TieError, match=exactly(text)):
        wing.untie(model, "0.weight")
    with pytest.raises(
        PathError,
        match=exactly("2.weight: expected a path of the model, found none of that name. Did you mean '1.weight'?"),
    ):
        wing.untie(model, "2.weight")
    assert groups(wing, model) == [("0.weight", "1.weight"), ("0.bias", "1.bias")]


@pytest.mark.parametrize("alias", ["one.weight", "again.weight"])
def test_a_decoder_is_untied_where_it_can_have_an_array_of_its_own(wing: Any, alias: str) -> None:
    name = "two decoders and a shared one"
    model = wing.build(SPECS[name])
    if wing.NAME == "linen":
        text = (
            f"{alias}: expected a layer that stands in two places, found one that reads its owner's array. "
            "Build the untied spec."
        )
        with pytest.raises(NotExpressibleError, match=exactly(text)):
            wing.untie(model, alias)
        return
    output = wing.call(model, inputs_of(name))
    apart = wing.untie(model, alias)
    assert wing.table(apart)[alias].tie is None
    np.testing.assert_array_equal(wing.call(apart, inputs_of(name)), output)


def test_a_layer_that_a_decoder_reads_is_tied_where_the_decoder_can_let_it_go(wing: Any) -> None:
    spec = Block({"a": Embedding(4, 3), "b": Embedding(4, 3), "out": Decoder("b")}, calls=("b", "out"))
    model = wing.build(spec)
    if wing.NAME == "linen":
        text = (
            "b.weight: expected a layer that no other one reads, since Linen shares modules, "
            "found out, which reads its array. Tie in the spec, or in the torch or nnx wing."
        )
        with pytest.raises(NotExpressibleError, match=exactly(text)):
            wing.tie(model, "a.weight", "b.weight")
        return
    before = wing.weights(model)
    tied = wing.tie(model, "a.weight", "b.weight")
    assert_same(wing.weights(tied), {"a.weight": before["a.weight"], "out.weight": before["b.weight"]})


def test_a_torch_module_that_notes_its_parameters_elsewhere_is_told() -> None:
    class Recurrent(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = torch.nn.LSTM(3, 3), torch.nn.LSTM(3, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x)[0])[0]

    model = impl_torch.tie(Recurrent(), "a.weight_ih_l0", "b.weight_ih_l0")
    sites = impl_torch.site_gradients(model, X, ONES)
    assert [site.operation for site in sites["a.weight_ih_l0"]] == ["lstm", "lstm"]
    model = impl_torch.untie(model, "b.weight_ih_l0")
    assert len(impl_torch.site_gradients(model, X, ONES)["a.weight_ih_l0"]) == 1


KEEPING: dict[str, Any] = {
    "split and merge": lambda model: flax_nnx.merge(*flax_nnx.split(model)),
    "clone": flax_nnx.clone,
    "jit": lambda model: (flax_nnx.jit(lambda module, x: module(x))(model, X[0]), model)[1],
    "a module that comes out of jit": flax_nnx.jit(lambda module: module),
    "a step": lambda model: nnx.step(model, X, ONES)[0],
}
ORDERED: Layer = Block(
    {
        "z": Linear(3, 3),
        "a": Sequential(Shared("z"), Linear(3, 3)),
        "Block": Block({"y": Shared("a.1"), "b": Shared("z")}),
    }
)


@pytest.mark.parametrize("way", KEEPING)
def test_an_nnx_models_table_keeps_its_order_and_its_ties(way: str) -> None:
    model = nnx.build(ORDERED)
    before = nnx.table(model)
    assert len(before.ties) == 6
    after = KEEPING[way](model)
    assert nnx.table(after) == before
    assert nnx.identical(after, "z.weight", "Block.b.weight")


def test_an_nnx_variable_keeps_its_metadata_when_it_is_untied() -> None:
    class Twice(flax_nnx.Module):
        def __init__(self) -> None:
            self.a = flax_nnx.Param(np.ones(3), note="kept")
            self.b = self.a

    model = nnx.untie(Twice(), "b")
    assert model.b is not model.a
    assert model.b.note == "kept"
