"""Packed, split, stacked and merged tensors, and changed values: the pairs are what they claim, and align finds it."""

from __future__ import annotations

from functools import cache

import jax
import numpy as np
import pytest
import torch

import paritree
from paritree import AlignmentError

from .packed import FAULTS, LOST_TIES, PAIRS, QUICK, Packed, wrong_scale
from .packed.case import Weights, flat, native, output


@cache
def built(name: str) -> Packed:
    return (PAIRS | FAULTS)[name]()


def weights_of(case: Packed, dtype: torch.dtype = torch.float32) -> Weights:
    """The reference's floating-point arrays by the names of its state dict, aliases included."""
    state = case.reference.state_dict().items()
    return {path: array.to(dtype).numpy() for path, array in state if array.is_floating_point()}


def apart(case: Packed) -> float:
    """How far the carried port's output is from the reference's in float64, beside its norm."""
    call = case.calls[0] or (lambda model, given: model(*given))
    floating = (torch.from_numpy(each) for each in case.inputs)
    given = tuple(each.double() if each.is_floating_point() else each for each in floating)
    try:
        with torch.no_grad():
            expected = call(case.reference.double(), given).numpy()
    finally:
        case.reference.float()
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        found = output(case, case.carried(weights_of(case, torch.float64)))
    assert (found.dtype, found.shape) == (np.float64, expected.shape)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("name", PAIRS)
def test_a_pair_is_one_model_under_its_truth(name: str) -> None:
    case = built(name)
    arrays = case.carried(weights_of(case))
    assert {path: (array.shape, array.dtype) for path, array in arrays.items()} == {
        path: (array.shape, array.dtype) for path, array in native(case.port).items()
    }
    assert apart(case) < (1e-6 if case.coarse else 1e-12)


@pytest.mark.parametrize("name", [name for name in FAULTS if name not in LOST_TIES])
def test_a_faulty_port_is_another_model(name: str) -> None:
    assert apart(built(name)) > 1e-3


def test_the_quick_ones_are_pairs() -> None:
    assert set(QUICK) <= set(PAIRS)


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.thorough) for name in PAIRS]
)
def test_align_finds_the_truth_and_the_way_back(name: str) -> None:
    case = built(name)
    found = paritree.align(case.pair)
    assert (found.verified, found.coverage) == (True, 1.0)
    weights = weights_of(case)
    arrays = case.carried(weights)
    check_equal(flat(found.carry(case.reference.state_dict())), arrays, case.rounded)
    back = flat(found.inverse().carry(arrays))
    assert set(back) == set(weights)
    if any(row.summed for row in found.rows):
        # What was added is not known any more; that it leads to the same port is all there is to ask.
        check_equal(flat(found.carry(back)), arrays, case.rounded)
    else:
        check_equal(back, weights, case.rounded)


def check_equal(found: Weights, expected: Weights, rounded: bool) -> None:
    assert set(found) == set(expected)
    for path, array in expected.items():
        if rounded:
            np.testing.assert_allclose(found[path], array, rtol=1e-6, err_msg=path)
        else:
            np.testing.assert_array_equal(found[path], array, err_msg=path, strict=True)


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_never_called_verified(name: str) -> None:
    case = built(name)
    if name in LOST_TIES:
        # The outputs are right while the copies are: the map says which tensor feeds several, and the tie fails.
        found = paritree.align(case.pair)
        assert any(row.copied for row in found.rows)
        report = paritree.check(case.pair, found, contracts=("ties",), devices=("cpu",))
        assert {failure.cause for failure in report.failures} == {"lost tie"}
        return
    with pytest.raises(AlignmentError):
        paritree.align(case.pair)


def test_a_scale_of_the_scores_is_made_up_for_or_refused() -> None:
    """Larger queries make up for smaller scores: a map that says so is right, and none is too."""
    case = wrong_scale()
    assert apart(case) > 1e-3
    try:
        found = paritree.align(case.pair)
    except AlignmentError:
        return
    carried = {path: np.asarray(array) for path, array in flat(found.carry(case.reference.state_dict())).items()}
    assert found.verified
    assert apart(case._replace(carried=lambda weights: carried)) < 1e-6
