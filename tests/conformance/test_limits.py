"""How far a contract lets two sides be apart: what is a little less passes, what is a little more fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from paritree.common.wing import Pass, Probe, Training
from paritree.conformance.check import Examination, Wanted
from paritree.conformance.contracts import initial_draws, moves
from paritree.conformance.contracts.training import OPTIMIZERS, STEPS
from paritree.conformance.results import Result
from paritree.conformance.statistics import blocks, power
from paritree.migration.align import matching
from paritree.pairs import precision
from paritree.pairs.comparison import Bound
from paritree.pairs.precision import STRICT

from .faults import runs
from .faults.held import with_array
from .faults.runs import KERNEL, MEAN, TIED
from .faults.sides import holding, lying, network

CLEAN = network("torch")
# 32 eps sqrt(depth), of 7 tensors; of what was carried, 4 eps.
LIMIT, OF_VALUES = 32 * 2.0**-23 * 7**0.5, 4 * 2.0**-23


def wide(array: np.ndarray, factor: float) -> np.ndarray:
    """Scaled in float64, so that the factor is not rounded."""
    return array.astype(np.float64) * factor


def outputs(factor: float) -> Bound:
    return lying(CLEAN, "port", prober=runs.told(lambda array: wide(array, factor)))


def gradient(factor: float) -> Bound:
    return lying(CLEAN, "port", prober=runs.derived(KERNEL, lambda array: wide(array, factor)))


def tied_gradient(factor: float) -> Bound:
    return lying(CLEAN, "port", prober=runs.derived(TIED, lambda array: wide(array, factor)))


def steps(factor: float) -> Bound:
    def lie(found: Training, weights: Any, *_: Any) -> Training:
        held = found.stored_tensors[KERNEL]
        before = np.asarray(weights[KERNEL], held.array.dtype)
        after = before + wide(held.array - before, factor)
        return found._replace(stored_tensors={**found.stored_tensors, KERNEL: replace(held, array=after)})

    return lying(CLEAN, "port", trainer=lie)


def outputs_of_training(factor: float) -> Bound:
    def lie(found: Pass, weights: Any, *, training: bool, **how: Any) -> Pass:
        changed = {name: wide(array, factor) for name, array in found.outputs.items()}
        return found._replace(outputs=changed) if training else found

    return lying(CLEAN, "port", passer=lie)


def buffers_of_training(factor: float) -> Bound:
    def lie(found: Pass, weights: Any, *, training: bool, **how: Any) -> Pass:
        return found._replace(buffers={**found.buffers, MEAN: wide(found.buffers[MEAN], factor)}) if training else found

    return lying(CLEAN, "port", passer=lie)


def values(factor: float) -> Bound:
    return holding(CLEAN, "port", with_array(KERNEL, lambda array: wide(array, factor)))


def judged(bound: Bound, contract: str) -> list[Result]:
    examined = Examination(bound, Wanted((contract,), ("cpu",)))
    return list(examined.results(examined.units[0]))


CASES: dict[str, tuple[str, Callable[[float], Bound], float]] = {
    "outputs": ("forward", outputs, LIMIT),
    "a gradient": ("gradients", gradient, LIMIT),
    "the gradient of a tie": ("tied gradients", tied_gradient, LIMIT),
    "steps": ("training", steps, LIMIT),
    "outputs in training": ("modes", outputs_of_training, LIMIT),
    "buffers in training": ("modes", buffers_of_training, LIMIT),
    "values": ("values", values, OF_VALUES),
}


def test_the_limit_is_that_of_the_setting_and_the_depth() -> None:
    assert CLEAN.depth == 7
    assert STRICT.allowed(7) == CLEAN.comparison(STRICT).limit == pytest.approx(LIMIT)


def test_the_limits_and_the_rates_are_the_ones_that_are_promised() -> None:
    """One that moves is another promise: it belongs into docs/conformance.md, and then here."""
    assert (precision.ROUNDINGS, precision.COARSEST) == (8.0, 0.01)
    assert (power.ALPHA, power.BETA, power.TARGET, power.HAAR_REPLICATES) == (1e-6, 1e-6, 8192, 64)
    assert (initial_draws.ENOUGH, initial_draws.plan_seeds([(1,)]), blocks.LEAST_GROUP) == (16384, 256, 16)
    assert initial_draws.Sampling() == initial_draws.Sampling(1e-6, 16384, 128)
    assert (STEPS, moves.BEYOND) == (3, 32.0)
    sgd, adamw = OPTIMIZERS
    assert (sgd.name, sgd.learning_rate, sgd.momentum, sgd.weight_decay) == ("sgd", 0.05, 0.9, 0.0)
    assert (adamw.name, adamw.learning_rate, adamw.weight_decay) == ("adamw", 1e-3, 0.01)
    assert (adamw.betas, adamw.eps) == ((0.9, 0.999), 1e-8)
    assert (matching.ROUNDS, matching.CLEARLY, matching.MOST_ZERO) == (4, 8.0, 256)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_what_is_near_the_limit_is_told_apart(case: str, sign: int) -> None:
    contract, planted, limit = CASES[case]
    below, above = (judged(planted(1 + sign * share * limit), contract) for share in (0.8, 1.25))
    assert {each.status for each in below} <= {"pass", "skip"}
    failed = [each for each in above if each.status == "fail"]
    assert failed
    assert all(each.measured and each.allowed and each.allowed < each.measured < 2 * limit for each in failed)


def probe_of(bound: Bound) -> Probe:
    return bound.comparison(STRICT).probes[1]


def test_a_gradient_is_zero_beside_the_largest_of_its_own_side() -> None:
    """One that rounding leaves, where the reference has none, is no fault; one that is more is."""
    largest = max(
        float(np.sqrt(np.mean(np.square(array, dtype=np.float64)))) for array in probe_of(CLEAN).gradients.values()
    )
    for share, status in ((0.8, "pass"), (1.25, "fail")):
        size = share * LIMIT * largest
        none = lying(CLEAN, "reference", prober=runs.derived(KERNEL, np.zeros_like))
        some = lying(none, "port", prober=runs.derived(KERNEL, lambda array, size=size: np.full_like(array, size)))
        (result,) = (each for each in judged(some, "gradients") if each.path == KERNEL)
        assert result.status == status


@pytest.mark.parametrize(
    ("of_reference", "of_port", "status"),
    [(1.5, -6.0, "pass"), (1.5, -20.0, "fail"), (0.0, 3.0, "fail"), (1.5e3, -8e3, "fail")],
)
@pytest.mark.parametrize("contract", ["forward", "gradients"])
def test_rounding_of_the_reference_explains_some_times_as_much(
    contract: str, of_reference: float, of_port: float, status: str
) -> None:
    """In limits: how far each side is from the run in float64. A reference that is too far from it explains nothing."""

    def told(times: float) -> Any:
        def lie(probe: Probe, *_: Any, **how: Any) -> Probe:
            if next(iter(probe.outputs.values())).dtype != np.float32 or not probe.gradients:
                return probe
            if contract == "forward":
                return probe._replace(outputs={name: wide(each, factor) for name, each in probe.outputs.items()})
            return probe._replace(gradients={**probe.gradients, KERNEL: wide(probe.gradients[KERNEL], factor)})

        factor = 1 + times * LIMIT
        return lie

    bound = lying(lying(CLEAN, "reference", prober=told(of_reference)), "port", prober=told(of_port))
    found = [each for each in judged(bound, contract) if each.path in ("", KERNEL)]
    assert found[0].status == status, found[0]
    if status == "pass":
        assert found[0].policy.startswith("what rounding makes of the reference, 1.5e-05 against its float64 run, or ")
        assert found[0].allowed == pytest.approx(8 * 1.5 * LIMIT, rel=0.02)


def test_where_rounding_moves_the_reference_far_nothing_can_be_told() -> None:
    def told(factor: float) -> Any:
        def lie(probe: Probe, weights: Any, *_: Any, **how: Any) -> Probe:
            is_exact = next(iter(probe.outputs.values())).dtype != np.float32
            if is_exact or np.abs(weights["norm.weight"]).max() > 1e-3:
                return probe
            return probe._replace(outputs={name: wide(each, factor) for name, each in probe.outputs.items()})

        return lie

    bound = lying(lying(CLEAN, "reference", prober=told(1.02)), "port", prober=told(0.97))
    found = [(each.status, each.message) for each in judged(bound, "forward") if "faint v" in each.message]
    words = "nothing can be told, since rounding alone moves the reference's by 2.0e-02"
    expected = []
    for what in ("vectors", "values"):
        expected += [
            ("skip", f"the output at faint {what}: {words}"),
            ("pass", f"the output at less faint {what} agrees"),
        ]
    assert found == expected
