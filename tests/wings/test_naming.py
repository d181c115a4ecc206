"""Paths and native paths: each leads back to the other, for every parameter of every model."""

from __future__ import annotations

from typing import Any

import pytest

from paritree.common.errors import PathError
from paritree.common.layers import Linear
from paritree.common.spec import Sequential
from paritree.conformance import load_wing

from .conftest import exactly
from .foreign import STRANGERS
from .specs import SPECS


def assert_inverse(wing: Any, model: Any) -> None:
    table = wing.table(model)
    for row in table:
        assert wing.native_path(model, row.path) == row.native_path
        # An alias has a native path of its own but in Linen, where it has its owner's.
        path = table.owner(row.path) if wing.NAME == "linen" else row.path
        assert wing.path_of(model, row.native_path) == path
    assert len({row.native_path for row in table.owners}) == len(table.owners)


@pytest.mark.parametrize("name", SPECS)
def test_built_models(wing: Any, name: str) -> None:
    assert_inverse(wing, wing.build(SPECS[name]))


@pytest.mark.parametrize("name", STRANGERS)
def test_models_that_were_not_built_here(name: str) -> None:
    assert_inverse(load_wing(STRANGERS[name].wing), STRANGERS[name].make("float32"))


NATIVE = {
    "torch": {"0.weight": ("0", "weight"), "1.0.bias": ("1", "0", "bias")},
    "linen": {"0.weight": ("layers_0", "kernel"), "1.0.bias": ("layers_1", "layers_0", "bias")},
    "nnx": {"0.weight": ("layers", 0, "kernel"), "1.0.bias": ("layers", 1, "layers", 0, "bias")},
}
SPEC = Sequential(Linear(2, 2), Sequential(Linear(2, 2)))


def test_the_native_paths_are_as_each_framework_spells_them(wing: Any) -> None:
    model = wing.build(SPEC)
    assert {path: wing.native_path(model, path) for path in NATIVE[wing.NAME]} == NATIVE[wing.NAME]


def test_a_path_that_is_not_there(wing: Any) -> None:
    model = wing.build(SPEC)
    text = "0.wieght: expected a path of the model, found none of that name. Did you mean '0.weight'?"
    for ask in (wing.native_path, wing.get_parameter):
        with pytest.raises(PathError, match=exactly(text)) as caught:
            ask(model, "0.wieght")
        assert caught.value.path == "0.wieght"


ABSENT = {
    "torch": (("0", "wieght"), "0.wieght", "a path", "0.weight"),
    "linen": (("layers_0", "kernle"), "layers_0/kernle", "a native path", "layers_0/kernel"),
    "nnx": (("layers", 0, "kernle"), "layers/0/kernle", "a native path", "layers/0/kernel"),
}


def test_a_native_path_that_is_not_there(wing: Any) -> None:
    native, path, expected, nearest = ABSENT[wing.NAME]
    text = f"{path}: expected {expected} of the model, found none of that name. Did you mean {nearest!r}?"
    with pytest.raises(PathError, match=exactly(text)):
        wing.path_of(wing.build(SPEC), native)
