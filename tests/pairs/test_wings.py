"""Which wing a live model belongs to, told by its classes' names, with classes that only bear the names."""

from __future__ import annotations

import pytest

from paritree.common.errors import UsageError
from paritree.common.wing.recognition import WINGS, name_of
from paritree.pairs.wings import HOMES

from ..common.conftest import refused


def base(module, name="Module"):
    return type(name, (), {"__module__": module})


TORCH = type("Net", (base("torch.nn.modules.module"),), {})
NNX = type("Net", (type("Middle", (base("flax.nnx.module"),), {}),), {})
LINEN = type("Net", (base("flax.linen.module"),), {})
WRAPPER = type("FlaxThing", (), {"module": LINEN(), "params": {}})

EXPECTED = "expected a spec, an nn.Module, an nnx.Module or (linen module, variables), found {}.{}"


def test_every_wing_has_a_home():
    assert WINGS == ("torch", "linen", "nnx")
    assert HOMES == {"torch": "impl_torch", "linen": "impl_jax.linen", "nnx": "impl_jax.nnx"}


@pytest.mark.parametrize(
    ("model", "wing"),
    [
        (TORCH(), "torch"),
        (base("torch.nn.modules.module")(), "torch"),
        (NNX(), "nnx"),
        ((LINEN(), {"params": {}}), "linen"),
    ],
)
def test_a_model_belongs_to_the_wing_of_its_base_class(model, wing):
    assert name_of(model) == wing


@pytest.mark.parametrize(
    ("model", "found", "remedy"),
    [
        (3, "int", ""),
        ({"params": {}}, "dict", ""),
        (base("elsewhere")(), "Module", ""),
        # A class is no model.
        (TORCH, "type", ""),
        ((TORCH(), {}), "tuple", ""),
        ((LINEN(), {}, 0), "tuple", ""),
        # One of the two attributes makes no wrapper.
        (type("Half", (), {"module": 3})(), "Half", ""),
        (LINEN(), "Net", " A Linen module needs its variables: give the tuple (module, variables)."),
        (
            WRAPPER(),
            "FlaxThing",
            ' Of a wrapper around a Linen module give the inside: (model.module, {"params": model.params}).',
        ),
    ],
)
def test_what_is_no_model_is_refused(model, found, remedy):
    with refused(UsageError, EXPECTED.format(found, remedy)):
        name_of(model)
