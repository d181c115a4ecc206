"""Activations by the names of transformers' configurations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.activations import ACT2FN

from paritree.common.architectures.activations import ACTIVATIONS, activation
from paritree.common.errors import UsageError
from paritree.conformance import load_wing

# Both sides of every kink, and values at which the forms of GELU differ.
VALUES = np.linspace(-8, 8, 641)[None]


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_name_means_what_it_means_in_transformers(name: str):
    wing = load_wing("torch")
    with wing.running(dtype="float64"):
        found = wing.call(wing.build(activation(name), dtype="float64"), (VALUES,))
    np.testing.assert_allclose(found, ACT2FN[name](torch.from_numpy(VALUES)).numpy(), rtol=1e-12, atol=1e-15)


def test_an_unknown_name_is_refused():
    with pytest.raises(UsageError) as raised:
        activation("rellu")
    assert str(raised.value) == (
        "rellu: expected the name of an activation, found none of that name. Did you mean 'relu'?"
    )
