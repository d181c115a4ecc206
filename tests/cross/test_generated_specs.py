"""Whatever the spec: the wings agree on its table, its forward pass and its gradients, in float64 and as code."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from paritree.common import layers, spec
from paritree.common.initializers import *  # noqa: F403 - a spec's code names them
from paritree.common.layers import *  # noqa: F403
from paritree.common.models.reference import neutral_weights
from paritree.common.spec import *  # noqa: F403
from paritree.common.spec import expansion
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing

from .generated import ANY, VOCABULARY, Generated, specs

# In float64 what is left is rounding, which a badly conditioned spec may blow up; a wrong formula is off by far more.
CLOSE = 1e-7
QUICK = settings(max_examples=12, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
THOROUGH = settings(QUICK, max_examples=400)


def arrays(generated: Generated) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(0)
    shape = (3, *generated.shape)
    if generated.tokens:
        return (random.integers(0, VOCABULARY, shape, np.int32),)
    return (random.normal(size=shape),)


def close(found: np.ndarray, expected: np.ndarray, scale: float) -> bool:
    return found.shape == expected.shape and bool(np.linalg.norm(found - expected) <= CLOSE * scale)


def runs(generated: Generated) -> dict[str, Any]:
    """Each wing's table, output and gradients."""
    inputs = arrays(generated)
    resolved, _ = spec.flow(generated.spec, generated.shape)
    table = expansion.table_of(resolved, "float64")
    weights = neutral_weights(table, dtype="float64")
    found = {}
    for name in WINGS:
        wing = load_wing(name)
        with wing.running(dtype="float64"):
            model = wing.load(wing.build(resolved, dtype="float64"), weights)
            output = wing.call(model, inputs)
            cotangent = np.random.default_rng(1).normal(size=output.shape)
            gradients = wing.value_and_gradients(model, inputs, cotangent)[1]
            rows = [(row.path, row.shape, row.kind, row.layer, row.tie) for row in wing.table(model)]
        found[name] = (rows, output, gradients)
    found["spec"] = [(row.path, row.shape, row.kind, row.layer, row.tie) for row in table]
    return found


def agree(generated: Generated) -> None:
    found = runs(generated)
    _, output, gradients = found["torch"]
    assert np.isfinite(output).all()
    largest = max((float(np.linalg.norm(each)) for each in gradients.values()), default=0.0)
    for name in WINGS:
        rows, own, by = found[name]
        assert rows == found["spec"]
        assert close(own, output, max(1.0, float(np.linalg.norm(output)))), name
        assert list(by) == list(gradients)
        for path, gradient in gradients.items():
            assert close(by[path], gradient, max(1.0, largest)), (name, path)


@given(specs())
@QUICK
def test_the_wings_agree_on_any_spec(generated: Generated) -> None:
    agree(generated)


@pytest.mark.thorough
@given(specs())
@THOROUGH
def test_the_wings_agree_on_many_specs(generated: Generated) -> None:
    agree(generated)


@given(specs())
@settings(QUICK, max_examples=60)
def test_a_spec_is_printed_as_the_code_that_builds_it(generated: Generated) -> None:
    assert eval(repr(generated.spec)) == generated.spec


def test_every_layer_type_is_drawn() -> None:
    seen: set[str] = {each.kind for each in ANY}

    @given(specs())
    @settings(QUICK, max_examples=3000, database=None)
    def look(generated: Generated) -> None:
        seen.update(layer.kind for layer in spec.index(generated.spec).values())

    look()
    exported = {each for each in vars(layers).values() if isinstance(each, type) and issubclass(each, spec.Layer)}
    # A class that others derive from says what they have in common, and makes no layer.
    bases = {base for each in exported for base in each.__mro__[1:]}
    known = {each.__name__ for each in exported - bases}
    by_architectures = {"AttentionWeights", "WeightedValues", "Prefix", "Rotary", "RotaryAngles", "RelativeBuckets"}
    scalar = {"Sum", "Concatenate"}
    assert known - seen <= by_architectures | scalar, sorted(known - seen)
