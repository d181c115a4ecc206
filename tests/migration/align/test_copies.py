"""Ties that one side alone has: the map says that one tensor feeds several, and everything but the tie is judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from safetensors.numpy import load_file, save_file

import paritree
from paritree import Pair, WeightsError

V, D = 11, 8
IDS = np.random.default_rng(0).integers(0, V, size=(2, 5)).astype(np.int32)


class Torch(torch.nn.Module):
    """A table, a layer and a head; of three uses the third is a second table that is read beside the first."""

    def __init__(self, tied: bool, width: int = V, uses: int = 2) -> None:
        super().__init__()
        self.embed, self.body = torch.nn.Embedding(width, D), torch.nn.Linear(D, D)
        self.head = torch.nn.Linear(D, width, bias=False)
        if uses == 3:
            self.gate = torch.nn.Embedding(width, D)
        if tied:
            self.head.weight = self.embed.weight
            if uses == 3:
                self.gate.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.body(self.embed(ids)))
        if hasattr(self, "gate"):
            x = x * torch.sigmoid(self.gate(ids))
        return self.head(x)


class Nnx(nnx.Module):
    def __init__(self, rngs: nnx.Rngs, tied: bool, width: int = V, uses: int = 2) -> None:
        self.embed, self.body = nnx.Embed(width, D, rngs=rngs), nnx.Linear(D, D, rngs=rngs)
        if uses == 3:
            self.gate = nnx.Embed(width, D, rngs=rngs)
        self.head = None if tied else nnx.Linear(D, width, use_bias=False, rngs=rngs)

    def __call__(self, ids: jax.Array) -> jax.Array:
        x = jnp.tanh(self.body(self.embed(ids)))
        if hasattr(self, "gate"):
            x = x * jax.nn.sigmoid(self.gate(ids))
        return self.embed.attend(x) if self.head is None else self.head(x)


class Linen(linen.Module):
    tied: bool

    @linen.compact
    def __call__(self, ids: jax.Array) -> jax.Array:
        table = linen.Embed(V, D, name="table")
        x = jnp.tanh(linen.Dense(D, name="body")(table(ids)))
        return table.attend(x) if self.tied else linen.Dense(V, use_bias=False, name="decoder")(x)


def _linen(tied: bool) -> Any:
    module = Linen(tied)
    return module, module.init(jax.random.key(0), IDS)


def _bare(tied: bool) -> tuple[Any, Callable[[Any, Any], Any]]:
    tree = dict(_linen(tied)[1])
    return tree, lambda tree, inputs: Linen(tied).apply(tree, inputs[0])


def _torch(tied: bool, **sizes: int) -> Torch:
    torch.manual_seed(0)
    return Torch(tied, **sizes)


def _pair(name: str) -> Pair:
    if name == "torch to nnx":
        return Pair(_torch(True), Nnx(nnx.Rngs(0), False), (IDS,))
    if name == "torch to nnx, square":
        return Pair(_torch(True, width=D), Nnx(nnx.Rngs(0), False, width=D), (IDS % D,))
    if name == "torch to nnx, three uses":
        return Pair(_torch(True, uses=3), Nnx(nnx.Rngs(0), False, uses=3), (IDS,))
    if name == "torch to linen":
        return Pair(_torch(True), _linen(False), (IDS,))
    if name == "torch to a bare tree":
        tree, call = _bare(False)
        return Pair(_torch(True), tree, (IDS,), port_call=call)
    if name == "nnx to torch":
        return Pair(Nnx(nnx.Rngs(0), True), _torch(False), (IDS,))
    if name == "port ties, nnx":
        return Pair(_torch(False), Nnx(nnx.Rngs(0), True), (IDS,))
    if name == "port ties, linen":
        return Pair(_torch(False), _linen(True), (IDS,))
    return Pair(Nnx(nnx.Rngs(0), False), _torch(True), (IDS,))


ONE_TO_SEVERAL = (
    "torch to nnx",
    "torch to nnx, square",
    "torch to nnx, three uses",
    "torch to linen",
    "torch to a bare tree",
    "nnx to torch",
)
SEVERAL_TO_ONE = ("port ties, nnx", "port ties, linen", "port ties, torch")


@pytest.mark.parametrize("name", ONE_TO_SEVERAL + SEVERAL_TO_ONE)
def test_the_lost_tie_fails_and_all_else_holds(name: str) -> None:
    pair = _pair(name)
    found = paritree.align(pair)
    assert found.verified
    assert sum(row.copied for row in found.rows) == (3 if "three" in name else 2)
    report = paritree.check(pair, found, devices=("cpu",))
    failed = {result.contract for result in report.failures}
    assert failed - {"initialization", "round trip"} == {"ties"}
    held = {result.contract for result in report.results if result.status == "pass"}
    # A bare tree cannot be trained.
    expected = {"names", "forward", "gradients", "training", "layout", "tied gradients"} - (
        {"training"} if "bare" in name else set()
    )
    assert expected <= held


@pytest.mark.parametrize("name", ONE_TO_SEVERAL)
def test_all_copies_are_filled_and_the_way_back_is_open(name: str) -> None:
    pair = _pair(name)
    found = paritree.align(pair)
    outputs = [_outputs(pair, model, 0) for model in (pair.reference,)]
    port = paritree.carry(pair.reference, pair.port, found)
    np.testing.assert_allclose(_outputs(pair, port, 1), outputs[0], rtol=0, atol=1e-5)
    back = paritree.carry(port, pair.reference, found.inverse())
    np.testing.assert_allclose(_outputs(pair, back, 0), outputs[0], rtol=0, atol=1e-6)


def _outputs(pair: Pair, model: Any, side: int) -> np.ndarray:
    call = pair.port_call if side else pair.reference_call
    if call is not None:
        return np.asarray(call(model, pair.inputs))
    if isinstance(model, torch.nn.Module):
        return model(torch.tensor(pair.inputs[0])).detach().numpy()
    if isinstance(model, tuple):
        return np.asarray(model[0].apply(model[1], *pair.inputs))
    return np.asarray(model(*pair.inputs))


def test_copies_of_two_values_need_a_choice() -> None:
    pair = _pair("port ties, nnx")
    found = paritree.align(pair)
    with pytest.raises(WeightsError) as raised:
        paritree.carry(pair.reference, pair.port, found)
    text = str(raised.value)
    assert "embed.weight and head.weight are one tensor of the port, embed.embedding, and have two values" in text
    assert "choose one by keep=['embed.weight'] or keep=['head.weight']" in text
    for path in ("embed.weight", "head.weight"):
        port = paritree.carry(pair.reference, pair.port, found, keep=[path])
        weight = pair.reference.get_parameter(path).detach().numpy()
        np.testing.assert_array_equal(port.embed.embedding[...], weight)
    with pytest.raises(paritree.UsageError, match="a path of a tie to keep"):
        paritree.carry(pair.reference, pair.port, found, keep=["body.weight"])


def test_the_failure_names_the_tensor_and_its_copies() -> None:
    report = paritree.check(_pair("torch to nnx, three uses"), contracts=("ties",), devices=("cpu",))
    (failure,) = report.failures
    assert failure.message.startswith(
        "embed.weight = head.weight = gate.weight is one parameter in the reference, and the port keeps 3 copies: "
    )
    assert all(name in failure.message for name in ("embed.embedding", "head.kernel", "gate.embedding"))
    assert failure.cause == "lost tie"


def test_a_file_is_converted_both_ways(tmp_path: Path) -> None:
    pair = _pair("torch to nnx")
    found = paritree.align(pair)
    save_file({"embed.weight": _weights(pair)["embed.weight"], **_body(pair)}, tmp_path / "torch.safetensors")
    paritree.convert(tmp_path / "torch.safetensors", tmp_path / "port.safetensors", found)
    made = load_file(tmp_path / "port.safetensors")
    np.testing.assert_array_equal(made["head.kernel"], made["embed.embedding"].T)
    paritree.convert(tmp_path / "port.safetensors", tmp_path / "back.safetensors", found, inverse=True)
    np.testing.assert_array_equal(load_file(tmp_path / "back.safetensors")["embed.weight"], made["embed.embedding"])
    save_file({**made, "head.kernel": made["head.kernel"] + 1}, tmp_path / "trained.safetensors")
    with pytest.raises(WeightsError, match=r"one value of embed\.embedding and head\.kernel.*two that differ"):
        paritree.convert(tmp_path / "trained.safetensors", tmp_path / "no.safetensors", found, inverse=True)
    assert not (tmp_path / "no.safetensors").exists()
    kept = {"inverse": True, "keep": ["head.kernel"]}
    paritree.convert(tmp_path / "trained.safetensors", tmp_path / "kept.safetensors", found, **kept)
    np.testing.assert_array_equal(load_file(tmp_path / "kept.safetensors")["embed.weight"], made["embed.embedding"] + 1)


def _weights(pair: Pair) -> dict[str, np.ndarray]:
    return {name: tensor.numpy() for name, tensor in pair.reference.state_dict().items()}


def _body(pair: Pair) -> dict[str, np.ndarray]:
    return {name: array for name, array in _weights(pair).items() if name.startswith("body")}
