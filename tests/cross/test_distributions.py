"""One spec, one set of distributions: what each wing draws is held against the spec's exact law.

The method is the one-sample tests of paritree.conformance.statistics: all tests of this file together alarm falsely
with a probability of at most 1e-6 over all seeds, and the seeds are fixed.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from paritree.common import initializers as init
from paritree.common.draws import STREAMS, Stream
from paritree.common.models.reference import MODELS
from paritree.common.tables import Row
from paritree.common.wing.protocols import Wing
from paritree.common.wing.recognition import WINGS
from paritree.conformance import load_wing
from paritree.conformance.reference_models import Port, Reference, check_ports
from paritree.conformance.statistics import examine, judge, replicates

FAMILIES: tuple[tuple[init.Initializer, tuple[int, ...]], ...] = (
    (init.Uniform(-0.3, 0.2), (24, 16)),
    (init.Normal(0.5, 0.02), (24, 16)),
    (init.TruncatedNormal(std=0.02), (24, 16)),
    (init.TruncatedNormal(std=1.0, low=-1.0, high=2.0), (24, 16)),
    (init.TruncatedNormal(mean=0.1, std=0.02, cut="sigma"), (24, 16)),
    (init.VarianceScaling(1 / 3, "fan_in", "uniform"), (24, 16)),
    (init.VarianceScaling(2.0, "fan_out", "normal"), (24, 16)),
    (init.VarianceScaling(1.0, "fan_geo_avg", "truncated_normal"), (24, 16)),
    (init.Xavier("uniform"), (24, 16)),
    (init.Xavier("normal", gain=2.0), (24, 16, 3, 3)),
    (init.Xavier("truncated_normal"), (24, 16)),
    (init.Kaiming("uniform", a=math.sqrt(5)), (24, 16)),
    (init.Kaiming("normal", mode="fan_out", nonlinearity="relu"), (24, 16, 3)),
    (init.Kaiming("truncated_normal", nonlinearity="relu"), (24, 16)),
    (init.LeCun(), (24, 16)),
    (init.Masked(init.Uniform(-10, 10), below=5.0), (24, 16)),
    (init.Sparse(0.25, std=0.1), (24, 16)),
    (init.Orthogonal(gain=2.0), (6, 4)),
    (init.Orthogonal(), (4, 9)),
    (init.DeltaOrthogonal(), (6, 4, 3)),
    (init.Constant(42.0), (4, 3)),
    (init.Zeros(), (3,)),
    (init.Ones(), (3,)),
    (init.Eye(), (5, 3)),
    (init.Dirac(groups=2), (4, 2, 3)),
)


def family_row(initializer: init.Initializer, shape: tuple[int, ...]) -> Row:
    return Row(path=f"{initializer!r}{shape}", shape=shape, dtype="float32", initializer=initializer)


def draws(wing: Wing, row: Row, device: str, stream: Stream = "native") -> np.ndarray:
    count = replicates(row.shape, initializer=row.initializer)
    with wing.running(device):
        return wing.sample(row, seeds=range(count), device=device, stream=stream)


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("wing", WINGS)
def test_every_family_has_its_law(wing: str, stream: Stream, device: str) -> None:
    evidence = []
    for initializer, shape in FAMILIES:
        row = family_row(initializer, shape)
        evidence += examine(draws(load_wing(wing), row, device, stream), initializer, shape, path=row.path)
    assert [verdict.message for verdict in judge(evidence) if not verdict.passed] == []


def test_every_parameter_of_every_reference_model_has_its_law(device: str) -> None:
    ports = [Port.build(Reference(model), load_wing(wing), device) for model in MODELS.values() for wing in WINGS]
    results = check_ports(ports, ["initialization"])
    assert {(result.model, result.wing) for result in results} == {(model, wing) for model in MODELS for wing in WINGS}
    assert [result.message for result in results if result.status != "pass"] == []


@pytest.mark.parametrize("wing", WINGS)
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_an_error_of_a_tenth_is_seen(wing: str, factor: float) -> None:
    """The check can fail: the same draws scaled by a tenth do, for every scaled family."""
    for initializer, shape in FAMILIES[5:15]:
        row = family_row(initializer, shape)
        samples = draws(load_wing(wing), row, "cpu") * np.float32(factor)
        failed = [
            verdict for verdict in judge(examine(samples, initializer, shape, path=row.path)) if not verdict.passed
        ]
        assert failed, row.path
        assert all(verdict.message.startswith(f"{row.path}: ") for verdict in failed)


def test_two_seeds_and_two_paths_draw_differently() -> None:
    row = family_row(init.Normal(), (50,))
    for name in WINGS:
        wing = load_wing(name)
        first, second = wing.sample(row, seeds=(0, 1))
        (other,) = wing.sample(replace(row, path="other"), seeds=(0,))
        assert not np.isin(first, second).any()
        assert not np.isin(first, other).any()
