"""Reference models x wings x devices, all fed with one set of neutral weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from paritree.common.models.reference import MODELS, ReferenceModel, neutral_weights
from paritree.common.wing.protocols import Wing
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing


class Case(NamedTuple):
    """A live model of one reference model in one wing on one device, with the neutral weights in it."""

    reference: ReferenceModel
    wing: Wing
    device: str
    model: Any


@pytest.fixture(params=WINGS)
def wing(request: pytest.FixtureRequest) -> Wing:
    return load_wing(request.param)


@pytest.fixture(params=MODELS)
def reference(request: pytest.FixtureRequest) -> ReferenceModel:
    return MODELS[request.param]


@pytest.fixture
def case(reference: ReferenceModel, wing: Wing, device: str) -> Iterator[Case]:
    with wing.running(device):
        model = wing.build(reference.resolved, device=device)
        yield Case(reference, wing, device, wing.load(model, neutral_weights(reference.table())))
