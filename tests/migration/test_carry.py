"""Weights carried between wings: every pair, bit for bit, ties kept; and what does not fit is refused whole."""

from __future__ import annotations

import numpy as np
import pytest

import paritree
from paritree import Linear, ReLU, Sequential, UsageError, WeightsError
from paritree.common.models.reference import MODELS, neutral_weights
from paritree.common.wing.recognition import WINGS


@pytest.mark.parametrize("target", WINGS)
@pytest.mark.parametrize("source", WINGS)
@pytest.mark.parametrize("name", ["shared-layer", "language-model", "fancy-mlp", "nested-spaces"])
def test_every_pair_of_wings(name: str, source: str, target: str) -> None:
    reference = MODELS[name]
    given = paritree.wing(source).load(paritree.build(reference, source), neutral_weights(reference.table()))
    carried = paritree.carry(given, paritree.build(reference, target, seed=1))
    wing = paritree.wing(target)
    found = wing.weights(carried)
    for path, array in neutral_weights(reference.table()).items():
        np.testing.assert_array_equal(found[path], array, err_msg=path, strict=True)
    assert wing.table(carried).ties == reference.table().ties
    output = paritree.wing(source).call(given, reference.inputs())
    np.testing.assert_allclose(wing.call(carried, reference.inputs()), output, rtol=0, atol=1e-5)


@pytest.mark.parametrize("target", WINGS)
def test_what_does_not_fit_is_refused_and_nothing_is_changed(target: str) -> None:
    source = paritree.build(Sequential(Linear(4, 8), ReLU(), Linear(8, 2)), "torch")
    model = paritree.build(Sequential(Linear(4, 8), ReLU(), Linear(8, 1, bias=False)), target)
    before = paritree.wing(target).weights(model)
    with pytest.raises(WeightsError) as caught:
        paritree.carry(source, model)
    assert str(caught.value) == (
        "expected one array for each of 3 owners, in the canonical layout, found 2 that do not fit: 2.weight has shape "
        "(2, 8) and needs (1, 8); 2.bias is not in the model. Nothing was loaded."
    )
    after = paritree.wing(target).weights(model)
    assert all(np.array_equal(before[path], after[path]) for path in before)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        paritree.carry({"weight": np.zeros(3)}, paritree.build(Linear(3, 1), "torch"))
    assert str(caught.value) == "expected a spec, an nn.Module, an nnx.Module or (linen module, variables), found dict."
