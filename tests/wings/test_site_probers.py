"""Sites of chosen parameters for any weights: each use's share, in every kind of side, and the shares are the whole."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn

from paritree import PathError, WeightsError, impl_torch
from paritree.common.wing.protocols import SideWing
from paritree.common.wing.runs import Call
from paritree.common.wing.stored import StoredTensor
from paritree.impl_jax import linen as impl_linen
from paritree.impl_jax import nnx as impl_nnx
from paritree.impl_jax import pytrees

from ..migration import twins
from .conftest import assert_close, exactly, normal
from .test_sites import LANGUAGE, LinenLanguage


@dataclass(frozen=True)
class Case:
    """A side of one kind, and the path of the parameter asked for."""

    side: SideWing
    make: Callable[[], Any]
    path: str
    call: Call | None = None


def weighting(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    return [normal(*shape, seed=7 + place, dtype="float64") for place, shape in enumerate(shapes)]


def shares_and_whole(
    case: Case, inputs: tuple[np.ndarray, ...], weights: Any = None, dtype: str = "float64"
) -> tuple[tuple[Any, ...], np.ndarray]:
    """The sites of the case's parameter, and its whole gradient by the prober."""
    with case.side.running(dtype=dtype):
        model = case.make()
        given = weights or {}
        sites = case.side.site_prober(model, inputs, case.call, dtype=dtype)(given, weighting, [case.path])
        whole = case.side.prober(model, inputs, case.call, dtype=dtype)(given, weighting).gradients[case.path]
    assert list(sites) == [case.path]
    return sites[case.path], whole


def assert_whole(sites: tuple[Any, ...], whole: np.ndarray) -> None:
    assert_close({"": sum((site.gradient for site in sites), np.zeros_like(whole))}, {"": whole})
    assert {site.gradient.dtype for site in sites} <= {whole.dtype}


def read_and_decode(tree: Any, inputs: Any) -> Any:
    return jnp.tanh(tree["embedding"][inputs[0]]) @ tree["embedding"].T


def linen_language() -> Any:
    return LinenLanguage(), {"params": {"embedding": {"embedding": np.zeros((5, 3))}}}


TIED = {
    "torch": Case(impl_torch, LANGUAGE["torch"][1], "embedding.weight"),
    "linen": Case(impl_linen, linen_language, "params.embedding.embedding"),
    "nnx": Case(impl_nnx, LANGUAGE["nnx"][1], "embedding.embedding"),
    "pytree": Case(pytrees, lambda: {"embedding": np.zeros((5, 3))}, "embedding", read_and_decode),
}


@pytest.mark.parametrize("name", TIED)
def test_a_tied_embedding_has_a_share_for_reading_and_one_for_decoding(name: str) -> None:
    case, tokens = TIED[name], np.array([1, 3, 1], np.int32)
    table = normal(5, 3, seed=3, dtype="float64")
    sites, whole = shares_and_whole(case, (tokens,), {case.path: table})
    (cotangent,) = weighting([(3, 5)])
    hidden = np.tanh(table[tokens])
    read = np.zeros_like(table)
    np.add.at(read, tokens, (cotangent @ table) * (1 - hidden**2))
    assert len(sites) == 2
    assert_close(
        {"read": sites[0].gradient, "decode": sites[1].gradient}, {"read": read, "decode": cotangent.T @ hidden}
    )
    assert_whole(sites, whole)


class TorchThrice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.last = nn.Linear(3, 3), nn.Linear(3, 2)
        self.layer.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for _ in range(3):
            x = torch.tanh(self.layer(x))
        return self.last(x)


class LinenThrice(linen.Module):
    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        layer = linen.Dense(3, name="layer")
        for _ in range(3):
            x = jnp.tanh(layer(x))
        return linen.Dense(2, name="last")(x)


class NnxThrice(nnx.Module):
    def __init__(self) -> None:
        self.layer, self.last = nnx.Linear(3, 3, rngs=nnx.Rngs(0)), nnx.Linear(3, 2, rngs=nnx.Rngs(1))

    def __call__(self, x: jax.Array) -> jax.Array:
        for _ in range(3):
            x = jnp.tanh(self.layer(x))
        return self.last(x)


def thrice(tree: Any, inputs: Any) -> Any:
    (x,) = inputs
    for _ in range(3):
        x = jnp.tanh(x @ tree["layer"])
    return x @ tree["last"]


def scanned(tree: Any, inputs: Any) -> Any:
    x, _ = jax.lax.scan(lambda x, _: (jnp.tanh(x @ tree["layer"]), None), inputs[0], length=3)
    return x @ tree["last"]


def linen_thrice() -> Any:
    layers = {"layer": {"kernel": normal(3, 3), "bias": normal(3)}, "last": {"kernel": normal(3, 2), "bias": normal(2)}}
    return LinenThrice(), {"params": layers}


def small_tree() -> Any:
    return {"layer": normal(3, 3), "last": normal(3, 2), "unused": normal(2), "steps": np.arange(2)}


THRICE = {
    "torch": Case(impl_torch, TorchThrice, "layer.weight"),
    "linen": Case(impl_linen, linen_thrice, "params.layer.kernel"),
    "nnx": Case(impl_nnx, NnxThrice, "layer.kernel"),
    "pytree": Case(pytrees, small_tree, "layer", thrice),
}
X = normal(4, 3, seed=1)


@pytest.mark.parametrize("name", THRICE)
def test_what_is_called_three_times_has_three_sites(name: str) -> None:
    sites, whole = shares_and_whole(THRICE[name], (X,))
    assert len(sites) == 3
    assert len({site.gradient.tobytes() for site in sites}) == 3
    assert_whole(sites, whole)


ONCE = {
    "torch": Case(impl_torch, TorchThrice, "last.weight"),
    "linen": Case(impl_linen, linen_thrice, "params.last.kernel"),
    "nnx": Case(impl_nnx, NnxThrice, "last.kernel"),
    "pytree": Case(pytrees, small_tree, "last", thrice),
}


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, "float64") for name in ONCE), ("torch", "bfloat16"), ("pytree", "bfloat16")]
)
def test_what_is_used_once_has_one_site(name: str, dtype: str) -> None:
    sites, whole = shares_and_whole(ONCE[name], (X,), dtype=dtype)
    assert [site.operation for site in sites] == ["linear" if name == "torch" else "dot_general"]
    assert sites[0].gradient.dtype == whole.dtype == jnp.dtype(dtype)
    if dtype == "float64":
        assert_whole(sites, whole)


def test_a_loop_of_jaxs_is_one_site() -> None:
    sites, whole = shares_and_whole(Case(pytrees, small_tree, "layer", scanned), (X,))
    assert [site.operation for site in sites] == ["scan"]
    assert_whole(sites, whole)
    assert_close({"": whole}, {"": shares_and_whole(THRICE["pytree"], (X,))[1]})


@pytest.mark.parametrize("name", THRICE)
def test_the_paths_may_change_from_run_to_run_and_the_model_never_does(name: str) -> None:
    case, other = THRICE[name], ONCE[name].path
    with case.side.running(dtype="float64"):
        model = case.make()
        before = {path: native.array.copy() for path, native in case.side.stored_tensors(model).items()}
        run = case.side.site_prober(model, (X,), case.call, dtype="float64")
        both = run({}, weighting, [other, case.path])
        zeros = run({other: np.zeros_like(before[other])}, weighting, iter([case.path, case.path]))
        again = run({}, weighting, (case.path,))
        nothing = run({}, weighting, ())
        after = {path: native.array for path, native in case.side.stored_tensors(model).items()}
    assert {path: len(sites) for path, sites in both.items()} == {other: 1, case.path: 3}
    assert [np.abs(site.gradient).max() for site in zeros[case.path]] == [0, 0, 0]
    for one, two in zip(again[case.path], both[case.path], strict=True):
        assert_close({"": one.gradient}, {"": two.gradient})
    assert nothing == {}
    assert list(after) == list(before)
    assert all(np.array_equal(after[path], before[path]) for path in before)


class TorchNone(nn.Module):
    """A parameter that is read and computed with, and that no gradient reaches."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.read = nn.Parameter(torch.ones(3)), nn.Parameter(torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.read * 2
        return x * self.used * self.read.detach().sum() * (self.read > 0) / self.read.shape[0]


def read_only(tree: Any, inputs: Any) -> Any:
    tree["read"] * 2
    stopped = jax.lax.stop_gradient(tree["read"]).sum()
    return inputs[0] * tree["used"] * stopped * (tree["read"] > 0) / tree["read"].shape[0]


NONE = {
    "torch": Case(impl_torch, TorchNone, "read"),
    "pytree": Case(pytrees, lambda: {"used": np.ones(3), "read": np.ones(3)}, "read", read_only),
}


@pytest.mark.parametrize("name", NONE)
def test_what_no_gradient_reaches_has_no_site(name: str) -> None:
    sites, whole = shares_and_whole(NONE[name], (X,))
    assert sites == ()
    assert not whole.any()


class Own(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x, weight = context.saved_tensors
        return gradients[0] * weight, gradients[0] * x


class TorchUnseen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(normal(4, 3)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return Own.apply(x, self.weight) @ self.weight.T + Own.apply(x, self.weight).sum()


def test_what_pytorch_shows_nobody_is_one_site_together() -> None:
    sites, whole = shares_and_whole(Case(impl_torch, TorchUnseen, "weight"), (X,))
    assert [site.operation for site in sites] == ["T", "unseen"]
    assert_whole(sites, whole)


def test_a_row_that_pads_has_no_share() -> None:
    class Padded(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(5, 3, padding_idx=0)

        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return self.embedding(tokens)

    sites, whole = shares_and_whole(Case(impl_torch, Padded, "embedding.weight"), (np.array([0, 2]),))
    assert [site.operation for site in sites] == ["embedding"]
    assert not sites[0].gradient[0].any()
    assert sites[0].gradient[2].all()
    assert_whole(sites, whole)


EXPECTED = "expected the path of a parameter of floating-point numbers, the first one of a tied parameter"


@pytest.mark.parametrize("name", THRICE)
def test_a_path_of_no_parameter_is_refused(name: str) -> None:
    case = THRICE[name]
    run = case.side.site_prober(case.make(), (X,), case.call)
    text = f"{case.path}s: {EXPECTED}, found none of that name. Did you mean {case.path!r}?"
    with pytest.raises(PathError, match=exactly(text)):
        run({}, weighting, [case.path, f"{case.path}s"])
    with pytest.raises(WeightsError, match=r"has shape \(1,\) and needs \(3, 3\)"):
        run({case.path: np.zeros(1)}, weighting, [case.path])


def test_what_is_no_parameter_and_what_is_an_alias_are_refused_too() -> None:
    run = pytrees.site_prober(small_tree(), (X,), thrice)
    with pytest.raises(
        PathError, match=exactly(f"steps: {EXPECTED}, found none of that name. There are 'layer', 'last', 'unused'.")
    ):
        run({}, weighting, ["steps"])
    model = TorchThrice()
    model.last = model.layer
    with pytest.raises(PathError, match=r"^last\.weight: expected"):
        impl_torch.site_prober(model, (X,))({}, weighting, ["last.weight"])


def by_hand(stored_tensors: Mapping[str, StoredTensor]) -> dict[str, np.ndarray]:
    """The torch GPT-2's arrays as Flax has them, which keeps the kernels of its `Conv1D` transposed."""
    carried = {}
    for path, native in stored_tensors.items():
        holder, _, name = path.rpartition(".")
        if native.trainable:
            norm = ".ln_" in holder
            kernel = native.array.ndim == 2 and "wte" not in holder and "wpe" not in holder
            leaf = {"weight": "scale" if norm else "kernel" if kernel else "embedding"}.get(name, name)
            carried[f"params.{holder}.{leaf}"] = native.array.T if kernel else native.array
    return carried


def test_gpt2s_tied_table_has_the_same_two_shares_in_both_frameworks() -> None:
    pair = twins.build("gpt2").pair
    weights = impl_torch.stored_tensors(pair.reference)
    reference, port = "transformer.wte.weight", "params.transformer.wte.embedding"
    with impl_torch.running():
        run = impl_torch.site_prober(pair.reference, pair.inputs, pair.reference_call)
        theirs = run({}, weighting, [reference])[reference]
        whole = impl_torch.prober(pair.reference, pair.inputs, pair.reference_call)({}, weighting)
    with impl_linen.running():
        ours = impl_linen.site_prober(pair.port, pair.inputs, pair.port_call)(by_hand(weights), weighting, [port])[port]
    assert [site.operation for site in theirs] == ["embedding", "linear"]
    assert len(ours) == 2
    for one, other in zip(theirs, ours, strict=True):
        assert_close({"": other.gradient}, {"": one.gradient}, 1e-5)
    assert_close({"": theirs[0].gradient + theirs[1].gradient}, {"": whole.gradients[reference]}, 1e-6)


def test_an_nnx_embed_that_was_told_no_dtype_computes_in_the_runs() -> None:
    """An Embed keeps the dtype of its parameter for its own; in float32 it would round what a float64 run is for."""
    embed, told = (nnx.Embed(5, 3, dtype=dtype, rngs=nnx.Rngs(0)) for dtype in (None, jnp.float16))
    tokens, exact = np.array([0, 2, 2]), normal(3, 3, seed=2, dtype="float64") * (1 + 2.0**-40)
    with impl_nnx.running(dtype="float64"):
        probes = [
            impl_nnx.prober(each, (tokens,), dtype="float64")({}, lambda shapes: [exact]) for each in (embed, told)
        ]
    np.testing.assert_array_equal(probes[0].gradients["embedding"][2], exact[1] + exact[2])
    assert [probe.outputs[""].dtype.name for probe in probes] == ["float64", "float16"]
    assert embed.dtype == jnp.float32
