"""Models that transformers ships in torch and in Flax: aligned without rules and carried as by its converter."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
import torch
from flax import traverse_util
from transformers.modeling_flax_pytorch_utils import convert_pytorch_state_dict_to_flax

import paritree
from paritree import AlignmentError, Map

from . import documented, twins

Arrays = dict[tuple[str, ...], np.ndarray]

# What the Flax model has no tensor for: a pooler that is not used.
WITHOUT_PARTNER = {
    "big-bird": {"bert.pooler.weight", "bert.pooler.bias"},
    "big-bird-sparse": {"bert.pooler.weight", "bert.pooler.bias"},
}
# The library converts no names of Flax's basic layers of ResNet.
WITHOUT_CONVERTER = {"resnet-basic"}


def slow(names: Any, quick: tuple[str, ...]) -> list[Any]:
    """The names as parameters, those that are not quick behind the marker."""
    return [pytest.param(name, marks=() if name in quick else pytest.mark.thorough) for name in names]


@pytest.mark.parametrize("name", slow(twins.TWINS, twins.QUICK))
def test_a_twin_aligns_and_carries_what_the_converter_of_the_library_does(name: str) -> None:
    built = twins.build(name)
    found = paritree.align(built.pair)
    assert found.verified
    assert (set(found.unmatched_reference), found.unmatched_port) == (WITHOUT_PARTNER.get(name, set()), ())
    assert name in WITHOUT_PARTNER or found.coverage == 1.0
    weights = with_values_of_their_own(built.reference)
    carried = found.carry(weights)
    if name not in WITHOUT_CONVERTER:
        expected = converted(built)
        for path, array in traverse_util.flatten_dict(carried).items():
            np.testing.assert_array_equal(array, expected[path], err_msg=".".join(path))
    check_round_trip(found, weights, carried)


@pytest.mark.parametrize("name", slow(("regnet", "resnet", "resnet-basic"), ()))
@pytest.mark.parametrize("is_reference", [False, True])
def test_the_variables_alone_with_their_running_averages_align_either_way(name: str, is_reference: bool) -> None:
    built = twins.build(name)
    given, (module, tree), call = built.pair, built.pair.port, built.pair.port_call
    assert call is not None

    def called(tree: Any, inputs: Any) -> Any:
        return call((module, tree), inputs)

    if is_reference:
        pair = paritree.Pair(tree, given.reference, given.inputs, called, given.reference_call)
    else:
        pair = paritree.Pair(given.reference, tree, given.inputs, given.reference_call, called)
    assert paritree.align(pair).coverage == 1.0


@pytest.mark.parametrize("name", slow(twins.DIFFERING, ("electra-activation",)))
def test_twins_that_differ_are_refused_with_the_module_and_the_cause(name: str) -> None:
    twin, cause, module = twins.DIFFERING[name]
    with pytest.raises(AlignmentError, match="The programs differ") as caught:
        paritree.align(twins.made(twin).pair)
    place = caught.value.place
    assert place is not None
    assert place.reference is not None
    assert place.reference.path.startswith(module)
    # A mask that is made inside a module's forward is not to be seen from without.
    assert (place.cause.name if place.cause else "mask") == cause


def test_the_smallest_eps_is_seen_too() -> None:
    built = twins.build("bert")
    config = copy.deepcopy(built.wrapper.config)
    assert config.layer_norm_eps == 1e-12
    config.layer_norm_eps = 1e-11
    module = built.wrapper.module.clone(config=config)
    with pytest.raises(AlignmentError, match="at faint v"):
        paritree.align(replace(built.pair, port=(module, built.pair.port[1])))


@pytest.mark.parametrize("name", slow(documented.DOCUMENTED, ("gpt2-heads", "autoencoder")))
def test_a_port_written_as_the_guides_of_flax_do_aligns(name: str) -> None:
    pair = documented.build(name)
    found = paritree.align(pair)
    assert (found.verified, found.coverage) == (True, 1.0)
    weights = with_values_of_their_own(pair.reference)
    if not any(row.summed for row in found.rows):
        check_round_trip(found, weights, found.carry(weights))


def with_values_of_their_own(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """The state of a model after each of its arrays is drawn anew; many are all ones or zeros when they are made."""
    torch.manual_seed(2)
    with torch.no_grad():
        for array in (*model.parameters(), *model.buffers()):
            if array.is_floating_point():
                array.normal_()
    return {path: array.numpy() for path, array in model.state_dict().items()}


def converted(built: twins.Built) -> Arrays:
    """What the library's converter makes of the reference, by collection and path.

    It lists a tied decoder once more, which the Flax model has no place for.
    """
    made = traverse_util.flatten_dict(convert_pytorch_state_dict_to_flax(built.reference.state_dict(), built.wrapper))
    collections = set(twins.variables_of(built.wrapper))
    return {path if path[0] in collections else ("params", *path): array for path, array in made.items()}


def check_round_trip(found: Map, weights: dict[str, np.ndarray], carried: Any) -> None:
    """There and back changes no bit."""
    back = found.inverse().carry(jax.tree.map(np.asarray, carried))
    for path, array in back.items():
        assert array.tobytes() == weights[path].tobytes(), path
