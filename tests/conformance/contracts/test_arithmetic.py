"""The contracts of arithmetic where nothing is near: what is zero, what is no number, and what a coarse run leaves."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

from paritree.common.wing import Probe
from paritree.conformance.check import Examination, Wanted
from paritree.conformance.results import Result
from paritree.pairs.comparison import Bound
from paritree.pairs.precision import Setting

from ..faults import runs
from ..faults.runs import KERNEL
from ..faults.sides import lying, network

CLEAN = network("torch")


def judged(bound: Bound, contract: str, precision: str = "float32") -> list[Result]:
    examined = Examination(bound, Wanted((contract,), ("cpu",), precisions=(precision,)))
    return list(examined.results(examined.units[0]))


def test_a_gradient_that_is_no_number_is_told_as_that_where_the_reference_has_none() -> None:
    none = lying(CLEAN, "reference", prober=runs.derived(KERNEL, np.zeros_like))
    wrong = lying(none, "port", prober=runs.derived(runs.port_path(CLEAN, KERNEL), runs.no_number))
    (found,) = (each for each in judged(wrong, "gradients") if each.status == "fail")
    assert (found.path, found.cause) == (KERNEL, "not finite")
    assert ": the gradient is not finite; " in found.message


@pytest.mark.parametrize("error", [0.01, 0.3, 0.6, 5.0])
def test_outputs_that_are_zero_never_pass_however_coarse_the_reference_is(error: float) -> None:
    """In bfloat16, where the reference's own error is what the port's may be some times as large as."""

    def coarse(probe: Probe, *_: Any, **how: Any) -> Probe:
        (output,) = probe.outputs.values()
        factor = 1.0 if output.dtype == np.float64 else 1 + error
        return probe._replace(outputs={name: factor * array for name, array in probe.outputs.items()})

    rough = lying(CLEAN, "reference", prober=coarse)
    assert judged(rough, "forward", "bfloat16")[0].status == "pass"
    nothing = lying(rough, "port", prober=runs.told(np.zeros_like))
    assert judged(nothing, "forward", "bfloat16")[0].status == "fail"


@pytest.mark.parametrize("contract", ["forward", "gradients"])
def test_in_a_coarse_precision_some_roundings_pass_and_a_tenth_does_not(contract: str) -> None:
    """Not even though the limit by the depth of the model is more than a half there."""
    assert Setting("cpu", "bfloat16").allowed(CLEAN.depth) > 0.5
    lies = {"forward": runs.told, "gradients": partial(runs.derived, runs.port_path(CLEAN, KERNEL))}
    for factor, status in ((1.01, "pass"), (1.15, "fail"), (0.85, "fail")):
        wrong = lying(CLEAN, "port", prober=lies[contract](lambda array, factor=factor: factor * array))
        found = [each for each in judged(wrong, contract, "bfloat16") if each.path in ("", KERNEL)]
        assert [each.status for each in found] == [status]


def test_outputs_of_another_shape_have_no_gradients_to_compare() -> None:
    wrong = lying(CLEAN, "port", prober=runs.told(lambda array: array[:, 0]))
    words = "the outputs have other shapes, so that there is no one number to differentiate on both sides"
    assert [(each.status, each.message) for each in judged(wrong, "gradients")] == [("skip", words)]
