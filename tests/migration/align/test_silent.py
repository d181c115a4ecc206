"""Tensors of which no gradient tells: frozen ones, constants, and layers that the call does not reach."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx

import paritree
from paritree import AlignmentError, Map, Pair

X = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
WIDE = np.random.default_rng(1).normal(size=(3, 8)).astype(np.float32)
IDS = np.random.default_rng(2).integers(0, 11, (2, 7)).astype(np.int32)


class Fixed(nnx.Variable):
    """What no optimizer is given."""


def frozen(module: torch.nn.Module) -> torch.nn.Module:
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return module


class Unreached(torch.nn.Module):
    """A pooler, a table and a convolution, all square, that the call does not reach."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.pooler = torch.nn.Linear(4, 5), torch.nn.Linear(6, 6)
        self.emb, self.conv = torch.nn.Embedding(7, 7), torch.nn.Conv1d(3, 3, 2)

    def forward(self, x: Any) -> Any:
        return self.used(x)


class NnxUnreached(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.used, self.pooler = nnx.Linear(4, 5, rngs=rngs), nnx.Linear(6, 6, rngs=rngs)
        self.emb, self.conv = nnx.Embed(7, 7, rngs=rngs), nnx.Conv(3, 3, (2,), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.used(x)


class LinenUnreached(linen.Module):
    def setup(self) -> None:
        self.used, self.pooler = linen.Dense(5), linen.Dense(6)
        self.emb, self.conv = linen.Embed(7, 7), linen.Conv(3, (2,))

    def __call__(self, x: Any, everything: bool = False) -> Any:
        if everything:
            self.pooler(jnp.ones(6)), self.emb(jnp.array([1])), self.conv(jnp.ones((1, 4, 3)))
        return self.used(x)


def linen_unreached() -> Any:
    module = LinenUnreached()
    return module, module.init(jax.random.key(0), X, True)


def tree() -> Any:
    """Under names of its own, which only siblings and the other side's layers tell about."""
    return {
        "used": {"w": jnp.ones((4, 5)), "b": jnp.zeros(5)},
        "pooler": {"w": jnp.ones((6, 6)), "b": jnp.zeros(6)},
        "emb": jnp.ones((7, 7)),
        "conv": {"w": jnp.ones((2, 3, 3)), "b": jnp.zeros(3)},
    }


def tree_call(model: Any, inputs: Any) -> Any:
    return inputs[0] @ model["used"]["w"] + model["used"]["b"]


PORTS: dict[str, tuple[Callable[[], Any], Any, tuple[str, str, str]]] = {
    "nnx": (NnxUnreached, None, ("pooler.kernel", "emb.embedding", "conv.kernel")),
    "linen": (linen_unreached, None, ("params.pooler.kernel", "params.emb.embedding", "params.conv.kernel")),
    "pytree": (tree, tree_call, ("pooler.w", "emb", "conv.w")),
}
USUAL = ("a b -> b a", "a b -> a b", "a b c -> c b a")


def layouts(found: Map) -> dict[str, tuple[str, str]]:
    return {row.reference: (row.port, row.layout) for row in found.rows}


@pytest.mark.parametrize("port", PORTS)
def test_a_square_kernel_that_the_call_does_not_reach_has_the_layout_of_its_layer(port: str) -> None:
    made, call, names = PORTS[port]
    found = paritree.align(Pair(Unreached(), made(), (X,), port_call=call))
    rows = layouts(found)
    assert found.verified
    assert found.coverage == 1.0
    for path, name, usual in zip(("pooler.weight", "emb.weight", "conv.weight"), names, USUAL, strict=True):
        assert rows[path] == (name, usual)
    assert {row.evidence for row in found.rows if row.reference == "emb.weight"} == {"layout"}


@pytest.mark.parametrize("port", PORTS)
def test_and_so_it_has_where_the_sides_are_exchanged(port: str) -> None:
    made, call, names = PORTS[port]
    rows = layouts(paritree.align(Pair(made(), Unreached(), (X,), reference_call=call)))
    assert [rows[name][0] for name in names] == ["pooler.weight", "emb.weight", "conv.weight"]
    assert [rows[name][1] for name in names] == list(USUAL)


def test_values_tell_the_order_of_axes_before_the_usual_layout_does() -> None:
    reference, port = Unreached(), NnxUnreached()
    port.pooler.kernel[...] = jnp.asarray(reference.pooler.weight.detach().numpy())
    (row,) = [row for row in paritree.align(Pair(reference, port, (X,))).rows if row.reference == "pooler.weight"]
    assert (row.layout, row.evidence) == ("a b -> a b", "value")


def test_a_rule_for_it_is_obeyed() -> None:
    found = paritree.align(Pair(Unreached(), NnxUnreached(), (X,)), rules={"emb.weight": "emb.embedding"})
    assert layouts(found)["emb.weight"] == ("emb.embedding", "a b -> a b")


def test_where_the_programs_differ_the_likely_map_has_the_usual_layout_too() -> None:
    with pytest.raises(AlignmentError) as caught:
        paritree.align(Pair(Unreached(), NnxUnreached(), (X,), port_call=lambda model, inputs: 1.1 * model(*inputs)))
    assert caught.value.found_map is not None
    assert layouts(caught.value.found_map)["pooler.weight"] == ("pooler.kernel", "a b -> b a")
    assert layouts(caught.value.found_map)["emb.weight"] == ("emb.embedding", "a b -> a b")


class Twin(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)
        self.pos = torch.nn.Parameter(torch.randn(4), requires_grad=False)

    def forward(self, x: Any) -> Any:
        return torch.tanh(self.fc(x) + self.pos)


class NnxTwin(nnx.Module):
    """`more`: with another array of the shape that nothing uses."""

    def __init__(self, more: bool = False) -> None:
        self.fc, self.pos = nnx.Linear(4, 4, rngs=nnx.Rngs(0)), Fixed(jnp.ones(4))
        if more:
            self.more = Fixed(jnp.zeros(4))

    def __call__(self, x: Any) -> Any:
        return jnp.tanh(self.fc(x) + self.pos[...])


@pytest.mark.parametrize("rules", [{}, {"pos": "pos"}])
@pytest.mark.parametrize("more", [False, True])
def test_what_is_frozen_leaves_its_trained_twin_its_partner(rules: dict[str, str], more: bool) -> None:
    found = paritree.align(Pair(Twin(), NnxTwin(more), (X,)), rules=rules)
    assert {row.reference: row.port for row in found.rows} == {
        "fc.weight": "fc.kernel",
        "fc.bias": "fc.bias",
        "pos": "pos",
    }
    turned = paritree.align(Pair(NnxTwin(more), Twin(), (X,)))
    assert {row.reference: row.port for row in turned.rows} == {
        "fc.kernel": "fc.weight",
        "fc.bias": "fc.bias",
        "pos": "pos",
    }


def test_a_rule_that_a_gradient_contradicts_says_so() -> None:
    with pytest.raises(AlignmentError) as caught:
        paritree.align(Pair(Unreached(), NnxUnreached(), (X,)), rules={"used.bias": "pooler.bias"})
    assert str(caught.value).startswith(
        "rules: expected rules that the measurement allows, found used.bias cannot be pooler.bias: their shapes are "
        "(5,) and (6,)."
    )
    with pytest.raises(AlignmentError, match=r"fc\.bias cannot be more: its gradient is that of fc\.bias"):
        paritree.align(Pair(Encoder(), NnxEncoder(more=True), (WIDE,)), rules={"fc.bias": "more"})


class Encoder(torch.nn.Module):
    """Two frozen layers below a trained one, all of one shape."""

    def __init__(self) -> None:
        super().__init__()
        self.enc = frozen(torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.Tanh(), torch.nn.Linear(8, 8)))
        self.fc = torch.nn.Linear(8, 8)

    def forward(self, x: Any) -> Any:
        return self.fc(torch.tanh(self.enc(x)))


class NnxEncoder(nnx.Module):
    """Under names that tell nothing. `stops`: the program stops the gradient, as nothing else is frozen here."""

    def __init__(self, stops: bool = False, more: bool = False) -> None:
        rngs = nnx.Rngs(0)
        self.a, self.b, self.fc = (nnx.Linear(8, 8, rngs=rngs) for _ in range(3))
        self.stops = stops
        if more:
            self.more = nnx.Param(jnp.zeros(8))

    def __call__(self, x: Any) -> Any:
        hidden = self.b(jnp.tanh(self.a(x)))
        return self.fc(jnp.tanh(jax.lax.stop_gradient(hidden) if self.stops else hidden))


class MaskedEncoder(Encoder):
    """With a buffer of the shape of the kernels, which is a constant in the port."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mask", torch.tril(torch.ones(8, 8)))

    def forward(self, x: Any) -> Any:
        return super().forward(x @ self.mask)


class NnxMaskedEncoder(NnxEncoder):
    def __call__(self, x: Any) -> Any:
        return super().__call__(x @ jnp.tril(jnp.ones((8, 8))))


PARTNERS = {"enc.0.weight": "a.kernel", "enc.2.weight": "b.kernel", "fc.weight": "fc.kernel"}


@pytest.mark.parametrize(
    ("reference", "port"),
    [
        (Encoder, NnxEncoder),
        (Encoder, lambda: NnxEncoder(stops=True)),
        (MaskedEncoder, NnxMaskedEncoder),
        (MaskedEncoder, lambda: NnxMaskedEncoder(stops=True)),
    ],
)
def test_a_frozen_encoder_is_matched_by_its_gradients_or_by_the_outputs(reference: Any, port: Any) -> None:
    pair = Pair(reference(), port(), (WIDE,))
    found = paritree.align(pair)
    kernels = {row.reference: row.port for row in found.rows if row.reference in PARTNERS}
    assert kernels == PARTNERS
    assert all(row.layout == "a b -> b a" for row in found.rows if row.reference in PARTNERS)
    assert paritree.check(pair, found, contracts=("forward", "gradients"), devices=("cpu",)).ok


def test_where_one_side_has_no_gradient_of_what_the_other_froze_that_is_said() -> None:
    pair = Pair(NnxEncoder(stops=True), Encoder(), (WIDE,))
    found = paritree.align(pair)
    assert {row.port: row.reference for row in found.rows if row.port in PARTNERS} == PARTNERS
    assert {row.evidence for row in found.rows if row.reference in ("a.kernel", "a.bias")} == {"output"}
    report = paritree.check(pair, found, contracts=("gradients",), devices=("cpu",))
    (said,) = [result.message for result in report.results if result.path == "a.kernel"]
    assert said == "it is frozen in the port, and the reference has no gradient of it: neither trains it"
    assert report.ok


def test_a_trained_parameter_without_a_gradient_in_the_port_still_fails() -> None:
    class Trained(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.enc.requires_grad_(True)

    found = paritree.align(Pair(Trained(), NnxEncoder(), (WIDE,)))
    report = paritree.check(
        Pair(Trained(), NnxEncoder(stops=True), (WIDE,)), found, contracts=("gradients",), devices=("cpu",)
    )
    assert {result.path for result in report.failures} == {"enc.0.weight", "enc.0.bias", "enc.2.weight", "enc.2.bias"}


class Positions(torch.nn.Module):
    """A frozen table of positions of the shape of a trained one."""

    def __init__(self) -> None:
        super().__init__()
        self.tok, self.out = torch.nn.Embedding(11, 8), torch.nn.Linear(8, 11)
        self.sin, self.learned = frozen(torch.nn.Embedding(7, 8)), torch.nn.Embedding(7, 8)

    def forward(self, ids: Any) -> Any:
        index = torch.arange(ids.shape[1])
        return self.out(torch.tanh(self.tok(ids.long()) + self.sin(index) + self.learned(index)))


class LinenPositions(linen.Module):
    @linen.compact
    def __call__(self, ids: Any) -> Any:
        one = self.variable("constants", "one", lambda: jnp.ones((7, 8))).value
        two = self.param("two", linen.initializers.normal(), (7, 8))
        return linen.Dense(11, name="out")(jnp.tanh(linen.Embed(11, 8, name="tok")(ids) + one + two))


def test_a_frozen_table_is_the_others_constant_and_the_trained_one_its_parameter() -> None:
    module = LinenPositions()
    port = (module, module.init(jax.random.key(0), IDS))
    rows = {row.reference: row.port for row in paritree.align(Pair(Positions(), port, (IDS,))).rows}
    assert (rows["sin.weight"], rows["learned.weight"]) == ("constants.one", "params.two")


def test_a_frozen_parameter_and_a_constant_are_of_one_kind_and_a_trained_one_is_not() -> None:
    pair = Pair(Twin(), NnxTwin(), (X,))
    found = paritree.align(pair)
    assert paritree.check(pair, found, contracts=("names", "shapes", "training"), devices=("cpu",)).ok
    pair.reference.pos.requires_grad_(True)
    (failure,) = paritree.check(pair, found, contracts=("shapes",), devices=("cpu",)).failures
    assert failure.message == "pos: is a parameter in the reference and a buffer in the port (pos)"


class Flipped(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.up = torch.nn.Linear(4, 5), torch.nn.ConvTranspose1d(3, 3, 2)

    def forward(self, x: Any) -> Any:
        return self.used(x)


class NnxFlipped(nnx.Module):
    def __init__(self) -> None:
        rngs = nnx.Rngs(0)
        self.used, self.up = nnx.Linear(4, 5, rngs=rngs), nnx.ConvTranspose(3, 3, (2,), rngs=rngs)

    def __call__(self, x: Any) -> Any:
        return self.used(x)


def test_where_no_layout_leads_from_one_layer_to_the_other_none_is_taken() -> None:
    """Without `transpose_kernel` Flax's kernel runs backwards."""
    with pytest.raises(AlignmentError, match=r"up\.weight is up\.kernel, and nothing tells the order of its axes"):
        paritree.align(Pair(Flipped(), NnxFlipped(), (X,)))
    with pytest.raises(AlignmentError, match=r"up\.weight cannot be up\.kernel: nothing tells the order of the axes"):
        paritree.align(Pair(Flipped(), NnxFlipped(), (X,)), rules={"up.weight": "up.kernel"})
