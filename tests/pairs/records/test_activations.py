"""Activations in a record: a check against it has a place, and what is none of them is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import linen, nnx

import paritree
from paritree import Pair, Record, RecordError, record
from paritree.conformance.consequences import faults, headline
from paritree.impl_torch import tracer
from paritree.pairs.records import files as recordfiles
from paritree.pairs.values import distinct

from ...common.conftest import refused

TOKENS = np.random.default_rng(0).integers(0, 7, size=(2, 4))
ANEW = "Record again, or use the release that wrote it."
UNSEEN = (
    "In which module is not to be seen in a record without activations: record it with them "
    "(paritree.record(..., activations=True), or paritree record --activations)."
)
UNTRIED = (
    "the reference: it is a record, which has no runs for other readings of axes and orders, so that these were not "
    "tried: if the port is right, give a map that was made where both models are"
)


class Net(torch.nn.Module):
    def __init__(self, eps: float = 1e-5, approximate: str = "none") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.norm = torch.nn.Embedding(7, 6), torch.nn.LayerNorm(6, eps)
        self.up, self.down = torch.nn.Linear(6, 8), torch.nn.Linear(8, 5)
        self.approximate = approximate

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        hidden = self.up(self.norm(self.words(tokens)))
        return self.down(torch.nn.functional.gelu(hidden, approximate=self.approximate))


class NnxNet(nnx.Module):
    def __init__(self, eps: float = 1e-5, approximate: bool = False) -> None:
        rngs = nnx.Rngs(0)
        self.words, self.norm = nnx.Embed(7, 6, rngs=rngs), nnx.LayerNorm(6, epsilon=eps, rngs=rngs)
        self.up, self.down = nnx.Linear(6, 8, rngs=rngs), nnx.Linear(8, 5, rngs=rngs)
        self.approximate = approximate

    def __call__(self, tokens: jax.Array) -> jax.Array:
        return self.down(nnx.gelu(self.up(self.norm(self.words(tokens))), approximate=self.approximate))


class LinenNet(linen.Module):
    eps: float = 1e-5
    approximate: bool = False

    @linen.compact
    def __call__(self, tokens: jax.Array) -> jax.Array:
        hidden = linen.LayerNorm(epsilon=self.eps, name="norm")(linen.Embed(7, 6, name="words")(tokens))
        hidden = linen.gelu(linen.Dense(8, name="up")(hidden), approximate=self.approximate)
        return linen.Dense(5, name="down")(hidden)


def in_linen(**given: Any) -> tuple[linen.Module, Any]:
    model = LinenNet(**given)
    return model, model.init(jax.random.key(0), TOKENS)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("activations") / "r.safetensors"
    record(Net(), (TOKENS,), path, contracts=("names", "forward", "gradients"), activations=True)
    return path


@pytest.fixture(scope="module")
def made(file: Path) -> Record:
    return Record.load(file)


def test_they_are_the_live_models_at_the_values_of_the_record(made: Record) -> None:
    assert made.activations >= 6
    weights = {path: distinct(path, each.array, False) for path, each in made.stored_tensors().items()}
    live = tracer(Net(), (TOKENS,), None, dtype="float64")(weights)
    kept = made.tracer((TOKENS,), None, "float64")(weights)
    assert [(each.path, each.call, each.name, each.depth) for each in kept] == [
        (each.path, each.call, each.name, each.depth) for each in live
    ]
    for one, other in zip(kept, live, strict=True):
        assert (one.settings, one.holds, one.subtree) == (dict(other.settings), other.holds, other.subtree)
        for ours, theirs in ((one.inputs, other.inputs), (one.outputs, other.outputs)):
            assert {name: (each.dtype, each.tobytes()) for name, each in ours.items()} == {
                name: (each.dtype, each.tobytes()) for name, each in theirs.items()
            }
    coarse = made.tracer((TOKENS,), None, "float32")(weights)
    assert {each.dtype.name for trace in coarse for each in trace.outputs.values()} == {"float32"}
    assert made.tracer((TOKENS,), None, "bfloat16")(weights) == ()
    # At values that were not recorded, and for what would watch the calls in another way, there are none.
    assert made.tracer((TOKENS,), None, "float64")({**weights, "up.bias": weights["up.bias"] + 1}) == ()
    assert made.tracer((TOKENS,), None, "float64")(weights, lambda convert, restored: None) == ()  # type: ignore[arg-type, return-value]


def test_an_array_that_is_passed_on_is_kept_once(file: Path, made: Record) -> None:
    plain = file.parent / "plain.safetensors"
    record(Net(), (TOKENS,), plain, contracts=("names", "forward", "gradients"))
    without = Record.load(plain)
    assert (without.activations, without.activations_nbytes) == (0, 0)
    # Words, norm, up, its GELU, which down is given, and down, in float64; what two passes have is there once, too.
    numbers = TOKENS.size * (6 + 6 + 8 + 8 + 5)
    assert 0.9 < made.activations_nbytes / (made.activations * numbers * 8) < 1
    assert made.nbytes - without.nbytes <= made.activations_nbytes
    assert str(made) == f"{without}, with the activations of {made.activations}"


@pytest.mark.parametrize("port", [Net, NnxNet, in_linen])
@pytest.mark.parametrize(
    ("given", "cause"),
    [
        (
            {"approximate": True},
            "the reference takes the exact GELU and the port GELU's tanh approximation",
        ),
        ({"eps": 1e-2}, "eps is 1e-05 in the reference and 1e-02 in the port"),
    ],
)
def test_a_port_that_differs_from_a_record_has_a_place(
    made: Record, port: Callable[..., Any], given: dict[str, Any], cause: str
) -> None:
    given = {**given, "approximate": "tanh"} if port is Net and "approximate" in given else given
    with pytest.raises(paritree.ParitreeError) as caught:
        paritree.align(Pair(made, port(**given), (TOKENS,)))
    assert cause in str(caught.value)
    assert UNTRIED.partition(": ")[2] in str(caught.value)
    assert "whatever the map is" not in str(caught.value)
    report = paritree.check(
        Pair(made, port(**given), (TOKENS,)), devices=("cpu",), contracts=("names", "forward", "gradients")
    )
    (fault,) = faults(report.results)
    assert headline(fault.result).endswith(cause)
    assert fault.followers


def test_without_them_it_is_said_how_to_get_a_place(made: Record) -> None:
    plain = record(Net(), (TOKENS,), contracts=("names", "forward"))
    pair = Pair(plain, NnxNet(approximate=True), (TOKENS,))
    report = paritree.check(pair, devices=("cpu",), contracts=("names", "forward"))
    (failure,) = report.failures
    assert failure.message.endswith(f"of its norm. {UNSEEN}")
    assert (failure.cause, failure.module) == ("", "")
    assert report.facts["notes"] == [UNTRIED]
    with pytest.raises(paritree.ParitreeError) as caught:
        paritree.align(pair)
    assert UNSEEN in str(caught.value)


def test_the_modules_of_a_port_are_run_on_what_is_kept(made: Record) -> None:
    right, wrong = (Pair(made, NnxNet(eps=eps), (TOKENS,)) for eps in (1e-5, 1e-2))
    map = paritree.align(right)
    assert paritree.check(right, map, devices=("cpu",), contracts=("modules", "forward")).ok
    failures = paritree.check(wrong, map, devices=("cpu",), contracts=("modules", "forward")).failures
    assert [(each.contract, each.path, each.follows_from) for each in failures] == [
        ("forward", "", ""),
        ("modules", "norm", "forward"),
    ]


def test_more_than_is_allowed_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    message = (
        "activations: expected no more than 0.0 MiB of activations, found 0.0 MiB after 1 of the passes, of which "
        "there are about ten. Give smaller inputs, or a larger activation_limit (--activation-limit, in MiB)."
    )
    with refused(RecordError, message):
        record(Net(), (TOKENS,), tmp_path / "r", contracts=("forward",), activations=True, activation_limit=1000)
    assert not list(tmp_path.iterdir())


def test_a_program_without_modules_has_none_and_says_so() -> None:
    tree = {"kernel": np.ones((3, 2), np.float32)}
    made = record(
        tree,
        (np.ones((2, 3), np.float32),),
        call=lambda tree, inputs: inputs[0] @ tree["kernel"],
        contracts=("forward",),
        activations=True,
    )
    assert made.notes[-1] == (
        "it has no activations: its program has no modules, or cannot be run while their calls are watched"
    )


# Bad input


def test_a_file_that_is_cut_short_is_refused(file: Path, tmp_path: Path) -> None:
    raw = file.read_bytes()
    (tmp_path / "r").write_bytes(raw[:-8])
    remedy = "It is cut short or damaged: copy it again, or record again."
    message = (
        f"{tmp_path / 'r'}: expected a file of {len(raw):,} bytes, as its header says, found {len(raw) - 8:,}. {remedy}"
    )
    with refused(RecordError, message):
        Record.load(tmp_path / "r")


def first_pass(content: dict[str, Any]) -> list[dict[str, Any]]:
    return next(iter(content["activations"]["passes"].values()))


def test_an_array_of_another_shape_is_refused(file: Path, tmp_path: Path) -> None:
    content, arrays = recordfiles.load(file)
    key = next(iter(first_pass(content)[1]["outputs"].values()))
    recordfiles.save(content, {**arrays, key: arrays[key].T}, tmp_path / "r")
    remedy = "It is cut short or damaged: copy it again, or record again."
    message = f"{tmp_path / 'r'}: expected arrays with the digests they are named by, found 1 others. {remedy}"
    with refused(RecordError, message):
        Record.load(tmp_path / "r")


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda content: content.update(activations=[]), "activations: expected an object, found []"),
        (lambda content: content["activations"].pop("modules"), "activations: expected an entry 'modules', found none"),
        (lambda content: first_pass(content)[0].pop("depth"), "[0]: expected an entry 'depth', found none"),
        (
            lambda content: first_pass(content)[0].update(module=99),
            "[0].module: expected the number of one of 5 modules, found 99",
        ),
        (
            lambda content: first_pass(content)[0].update(outputs={"": "0123"}),
            "[0].outputs.: expected the digest of one of the record's arrays, found '0123'",
        ),
    ],
)
def test_what_are_no_activations_is_refused(
    file: Path, tmp_path: Path, change: Callable[[dict[str, Any]], Any], found: str
) -> None:
    content, arrays = recordfiles.load(file)
    change(content)
    recordfiles.save(content, arrays, tmp_path / "r")
    with pytest.raises(RecordError) as caught:
        Record.load(tmp_path / "r")
    assert str(caught.value).startswith(f"{tmp_path / 'r'}: activations")
    assert str(caught.value).endswith(f"{found}. {ANEW}")


def test_a_record_of_before_is_read_and_one_without_them_is_written_as_before(file: Path, tmp_path: Path) -> None:
    content, arrays = recordfiles.load(file)
    passed_over = content.pop("activations")
    recordfiles.save(content, arrays, tmp_path / "old")
    old = Record.load(tmp_path / "old")
    assert passed_over["passes"]
    assert (old.activations, old.tracer((TOKENS,), None, "float64")({})) == (0, ())
    assert paritree.check(Pair(old, NnxNet(), (TOKENS,)), devices=("cpu",), contracts=("forward",)).ok
    record(Net(), (TOKENS,), tmp_path / "new", contracts=("names",))
    assert "activations" not in recordfiles.load(tmp_path / "new")[0]
