"""Random specs with sharing at every depth: what must hold for any spec, in all wings at once."""

from __future__ import annotations

import random
from collections.abc import Iterator

import jax
import numpy as np
import pytest
from flax import traverse_util

from paritree.common.errors import ParitreeError
from paritree.common.layers import FixedLinear, Linear, Tanh
from paritree.common.models.reference import neutral_weights
from paritree.common.paths import join, parent
from paritree.common.spec import Block, Layer, Sequential, Shared, expansion
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.impl_jax import linen

from .conftest import normal
from .specs import evaluate

NAMES = ("a", "b", "x y", "0", "layers_0", "z")


class Growing:
    """A random spec of width 3. A Shared names any layer that is complete; which one it means, scoping decides."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.complete: list[str] = []

    def layer(self, depth: int, path: str = "") -> Layer:
        if depth == 0 or self.random.random() < 0.4:
            return self._leaf()
        names = [str(index) for index in range(self.random.randint(1, 4))]
        sequential = self.random.random() < 0.5
        if not sequential:
            names = self.random.sample(NAMES, len(names))
        children = []
        for name in names:
            children.append((name, self.layer(depth - 1, join(path, name))))
            self.complete.append(join(path, name))
        return Sequential(*(child for _, child in children)) if sequential else Block(children, self._calls(names))

    def _leaf(self) -> Layer:
        if self.complete and self.random.random() < 0.45:
            return Shared(self.random.choice(self.complete))
        return self.random.choice([Linear(3, 3), Linear(3, 3, bias=False), FixedLinear(3, 3, shift=0.5), Tanh()])

    def _calls(self, names: list[str]) -> list[str] | None:
        """In order, or at random: some children several times, some never."""
        return None if self.random.random() < 0.5 else self.random.choices(names, k=self.random.randint(1, 5))


def specs(count: int) -> Iterator[tuple[int, Layer]]:
    """The first specs that hold together and have an alias."""
    seed = 0
    while count:
        seed += 1
        try:
            spec = Growing(seed).layer(3)
            tied = expansion.table_of(spec).ties
        except ParitreeError:
            continue
        if tied:
            count -= 1
            yield seed, spec


X = (normal(2, 3),)
SPECS = dict(specs(30))


@pytest.mark.parametrize("seed", SPECS)
def test_the_wings_agree_with_the_spec(seed: int) -> None:
    spec = SPECS[seed]
    expected = expansion.table_of(spec)
    weights = neutral_weights(expected)
    alias = expected.ties[seed % len(expected.ties)].alias
    for wing in map(load_wing, WINGS):
        model = wing.load(wing.build(spec), weights)
        table = wing.table(model)
        assert [(row.path, row.shape, row.kind, row.tie) for row in table] == [
            (row.path, row.shape, row.kind, row.tie) for row in expected
        ]
        output = wing.call(model, X)
        np.testing.assert_allclose(output, evaluate(spec, weights, *X), rtol=1e-4, atol=1e-5)
        apart = wing.untie(model, alias)
        np.testing.assert_allclose(wing.call(apart, X), output, rtol=1e-5)
        freed = wing.table(apart)
        assert freed[alias].tie is None
        others = [path for path in table.paths if parent(path) != parent(alias)]
        assert [freed.owner(path) == freed.owner(other) for path in others for other in others] == [
            table.owner(path) == table.owner(other) for path in others for other in others
        ]


@pytest.mark.parametrize("seed", SPECS)
def test_linen_would_name_the_variables_as_they_are_named(seed: int) -> None:
    module, variables = linen.build(SPECS[seed])
    made = jax.eval_shape(module.init, jax.random.key(0), *X)
    # What no call reaches has variables here, so that it can be listed, and none in Linen.
    assert set(traverse_util.flatten_dict(made)) <= set(traverse_util.flatten_dict(variables))
