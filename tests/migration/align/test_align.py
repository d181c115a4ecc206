"""Alignment of ports whose names say nothing, and of ports with a planted fault, which are never called verified."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import product
from typing import Any

import jax
import numpy as np
import pytest
import torch

import paritree
from paritree import AlignmentError, Map, MapRow, Pair
from paritree.common.models.architectures.gpt2 import GPT2Config, gpt2
from paritree.common.models.architectures.llama import LlamaConfig, llama
from paritree.common.models.architectures.resnet import ResNetConfig, resnet
from paritree.common.models.reference import MODELS
from paritree.migration.align.proof import prove
from paritree.pairs.comparison import Bound
from paritree.pairs.precision import STRICT
from paritree.pairs.side import sides_of

from . import ports

TOKENS = ports.TOKENS
# One of them has a parameter that is not used; see below.
NAMES = [name for name in MODELS if name != "fancy-mlp"]
WINGS = [("torch", "linen"), ("torch", "nnx")]


@pytest.mark.parametrize(
    ("name", "wings"), [*product(NAMES, WINGS), ("language-model", ("linen", "nnx")), ("mlp", ("nnx", "torch"))]
)
def test_the_reference_models_align_by_fingerprints_alone(name: str, wings: tuple[str, str]) -> None:
    model = MODELS[name]
    pair = Pair(paritree.build(model, wings[0]), paritree.build(model, wings[1], seed=1), model.inputs())
    found = paritree.align(pair)
    assert (found.verified, found.coverage, found.direction) == (True, 1.0, wings)
    assert {row.evidence for row in found.rows} == {"fingerprint"}
    assert carried(found, pair) == paritree.wing(wings[0]).weights(pair.reference)


class Weights(dict[str, np.ndarray]):
    """Weights that are equal when every number is."""

    def __eq__(self, other: object) -> bool:
        assert isinstance(other, dict)
        return set(self) == set(other) and all(np.array_equal(self[path], other[path]) for path in self)

    __hash__ = None  # type: ignore[assignment]


def carried(found: Map, pair: Pair) -> Weights:
    """What the port holds, by canonical paths and in their layout, once it has the reference's weights."""
    source, target = (paritree.wing(name) for name in found.direction)
    values = {path: native.array for path, native in source.stored_tensors(pair.reference).items()}
    return Weights(target.weights(target.with_stored_tensors(pair.port, found.arrays(values))))


def test_what_has_no_gradient_is_matched_by_the_outputs_and_says_so() -> None:
    model = MODELS["fancy-mlp"]
    found = paritree.align(Pair(paritree.build(model, "torch"), paritree.build(model, "nnx", seed=1), model.inputs()))
    assert [row.reference for row in found.rows if row.evidence == "output"] == ["constant.weight"]


@pytest.fixture(scope="module")
def reference() -> ports.LanguageModel:
    torch.manual_seed(0)
    return ports.LanguageModel()


@pytest.fixture(scope="module")
def aligned(reference: ports.LanguageModel) -> Map:
    return paritree.align(Pair(reference, ports.port(), (TOKENS,)))


def test_a_flat_port_aligns_whatever_it_calls_its_parameters(aligned: Map) -> None:
    found = aligned
    assert (found.verified, found.coverage) == (True, 1.0)
    assert {row.evidence for row in found.rows} == {"fingerprint"}
    by_path = {row.reference: (row.port, row.layout) for row in found.rows}
    assert by_path["words.weight"] == ("params.t99", "a b -> a b")
    assert by_path["layers.0.query.weight"] == ("params.t96", "a b -> b a")
    assert by_path["layers.0.value.weight"] == ("params.t94", "a b -> b a")
    assert found.rows[0].reference_aliases == ("head.weight",)


def test_the_carried_port_is_the_reference(reference: ports.LanguageModel, aligned: Map) -> None:
    module, _ = ports.port()
    variables = aligned.carry(reference.state_dict())
    output = module.apply(variables, TOKENS)
    np.testing.assert_allclose(output, paritree.wing("torch").call(reference, (TOKENS,)), rtol=0, atol=2e-5)
    back = aligned.inverse().carry(variables)
    assert set(back) == set(reference.state_dict())
    for path, array in reference.state_dict().items():
        np.testing.assert_array_equal(back[path], array.numpy())


def test_the_inverse_is_what_aligning_the_other_way_finds_and_no_model_is_changed(
    reference: ports.LanguageModel, aligned: Map
) -> None:
    port = ports.port()
    before = jax.tree.map(np.copy, port[1]), paritree.wing("torch").weights(reference)
    back = paritree.align(Pair(port, reference, (TOKENS,)))
    assert sorted(_pairs(back)) == sorted(_pairs(aligned.inverse()))
    jax.tree.map(np.testing.assert_array_equal, port[1], before[0])
    jax.tree.map(np.testing.assert_array_equal, paritree.wing("torch").weights(reference), before[1])


def _pairs(found: Map) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(row.reference, row.port, row.port_shape) for row in found.rows]


ARCHITECTURES: dict[str, Any] = {
    "gpt2": lambda: (gpt2(GPT2Config(32, 9, 8, 1, 2)), np.arange(10, dtype=np.int32).reshape(2, 5)),
    "llama": lambda: (
        llama(LlamaConfig(32, 8, 24, 1, 4, 2)),
        np.arange(10, dtype=np.int32).reshape(2, 5),
    ),
    "resnet": lambda: (
        resnet(ResNetConfig(embedding_size=4, hidden_sizes=(8,), depths=(1,), layer_type="basic", num_labels=3)),
        np.random.default_rng(0).normal(size=(2, 3, 16, 16)).astype(np.float32),
    ),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_scrambled_port_is_put_in_order(name: str) -> None:
    spec, array = ARCHITECTURES[name]()
    reference, plain = paritree.build(spec, "torch"), paritree.build(spec, "linen", seed=1)
    port, names = ports.scrambled(plain)
    found = paritree.align(Pair(reference, port, (array,)))
    assert (found.verified, found.unmatched_reference) == (True, ())
    wing = paritree.wing("linen")
    native = {row.path: row.native_path for row in wing.table(plain)}
    # GPT-2's masking constants are saved in Flax alone.
    parameters = {names[row.native_path] for row in wing.table(plain).parameters}
    assert parameters.isdisjoint(path.partition(".")[2] for path in found.unmatched_port)
    wrong = [row for row in found.rows if row.port.partition(".")[2] != names[native[row.reference]]]
    # Biases of branches that are added may change places; nothing else.
    assert {(row.evidence, row.reference.split(".")[-1]) for row in wrong} <= {("name", "bias")}
    made = wing.with_stored_tensors(port, found.arrays(reference.state_dict()))
    output = paritree.wing("torch").call(reference, (array,))
    np.testing.assert_allclose(wing.call(made, (array,)), output, rtol=0, atol=1e-4 * np.abs(output).max())


def refusal(port: Any, reference: Any = None, dtype: str = "float32") -> str:
    """What an alignment says that finds no map, numbers with an exponent left out."""
    with pytest.raises(AlignmentError) as caught:
        paritree.align(Pair(reference or ports.LanguageModel(), port, (TOKENS,)), dtype=dtype)
    return re.sub(r"\d\.\de-?[+]?\d\d", "E", str(caught.value))


DIFFER = (
    "expected outputs that agree within E when tensors of one shape hold the same numbers, "
    "whatever the map, found a difference in the "
    "output by E. The programs differ."
)


def test_another_activation_is_seen() -> None:
    said = refusal(ports.port(gelu=jax.nn.gelu))
    assert said.startswith(f"{DIFFER} The programs are equal up to ports.py:")
    assert "activation" in said


@pytest.mark.parametrize("place", range(2 * ports.LAYERS + 1))
def test_another_eps_in_one_norm_is_seen(place: int) -> None:
    epsilons = [1e-5] * (2 * ports.LAYERS + 1)
    epsilons[place] = 1e-6
    said = refusal(ports.port(epsilons=tuple(epsilons)))
    assert said.startswith((DIFFER, "expected outputs and gradients that agree within E once distinct values"))


def test_a_lost_tie_is_a_tensor_that_feeds_two() -> None:
    pair = Pair(ports.LanguageModel(), ports.port(tied=False), (TOKENS,))
    found = paritree.align(pair)
    assert found.verified
    assert {row.port for row in found.rows if row.copied} == {"params.t66", "params.t99"}
    (failure,) = paritree.check(pair, found, contracts=("ties",), devices=("cpu",)).failures
    assert (
        "words.weight = head.weight is one parameter in the reference, and the port keeps 2 copies" in failure.message
    )


def test_swapped_kernels_and_a_hidden_transpose_are_undone_by_the_map() -> None:
    found = paritree.align(Pair(ports.LanguageModel(), ports.port(swapped=True, turned=True), (TOKENS,)))
    by_path = {row.reference: (row.port, row.layout) for row in found.rows}
    assert found.verified
    assert by_path["layers.0.query.weight"] == ("params.t93", "a b -> b a")
    assert by_path["layers.0.out.weight"] == ("params.t96", "a b -> b a")
    assert by_path["layers.0.value.weight"] == ("params.t94", "a b -> a b")


def test_what_nothing_tells_apart_is_an_error_with_its_candidates() -> None:
    assert refusal(ports.port(key_bias=True), ports.LanguageModel(key_bias=True)) == (
        "expected a partner for every tensor, found 2 without: layers.0.key.bias may be "
        "params.t73 or params.t89, and nothing measured tells which; layers.1.key.bias may be params.t73 or "
        "params.t89, and nothing measured tells which. Compare the ties, and what these are used for."
    )


def test_outputs_of_another_shape_are_refused() -> None:
    pair = Pair(ports.LanguageModel(), ports.port(), (TOKENS,), port_call=lambda m, i: m[0].apply(m[1], *i)[:, -1])
    with pytest.raises(AlignmentError) as caught:
        paritree.align(pair)
    assert str(caught.value) == (
        "port: expected the reference's outputs (3, 5, 12), found (3, 12). Give the pair calls that return the same."
    )


def test_a_model_without_parameters_is_refused() -> None:
    assert refusal(ports.port(), torch.nn.ReLU()) == (
        "reference: expected a model with trainable tensors, found none of floating-point numbers."
    )


def test_numbers_that_are_not_finite_are_named() -> None:
    pair = Pair(
        ports.LanguageModel(),
        ports.port(),
        (TOKENS,),
        port_call=lambda m, i: m[0].apply(m[1], *i).at[0, 0, 0].set(np.inf),
    )
    with pytest.raises(AlignmentError) as caught:
        paritree.align(pair)
    assert str(caught.value) == (
        "port: expected finite numbers when tensors of one shape hold the same ones, "
        "found others in 1 array: the output. Check the inputs "
        "and masks."
    )


def test_rows_that_change_places_are_seen(reference: ports.LanguageModel, aligned: Map) -> None:
    sides = sides_of(Pair(reference, ports.port(), (TOKENS,)))

    def proved(rows: Sequence[MapRow]) -> None:
        prove(Bound(*sides, Map(tuple(rows), aligned.direction)).comparison(STRICT))

    proved(aligned.rows)
    last: dict[tuple[int, ...], int] = {}
    for two, row in enumerate(aligned.rows):
        one = last.get(row.shape)
        last[row.shape] = two
        if one is not None:
            rows = list(aligned.rows)
            rows[one], rows[two] = replace(rows[one], port=row.port), replace(row, port=rows[one].port)
            with pytest.raises(AlignmentError, match="once distinct values are carried across, found"):
                proved(rows)
    assert len(last) < len(aligned.rows) - 20


def test_float64_is_exact_to_its_own_rounding() -> None:
    assert paritree.align(Pair(ports.LanguageModel(), ports.port(), (TOKENS,)), dtype="float64").verified
    epsilons = (1e-5, 1e-5, 1e-5, 1e-5, 1.0001e-5)
    assert refusal(ports.port(epsilons=epsilons), dtype="float64").startswith(DIFFER)
