"""The contract of determinism: what is made or run twice is the same, bit for bit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ...common.wing import Probe, model_of
from ...pairs.closeness import relative_error
from ...pairs.comparison import Comparison
from ...pairs.side import Side, Weights
from ..results import Finding


def determinism(comparison: Comparison) -> Iterator[Finding]:
    """A second run of each side tells the same; so does a second model that its factory makes from one seed."""
    bound = comparison.bound
    sides = (bound.reference, bound.port)
    # All runs first: a factory sets the generator that a random program draws from, and would hide that it is random.
    for side, weights, probe in zip(sides, (bound.ours, bound.theirs), comparison.probes, strict=True):
        yield _run_again(comparison, side, weights, probe)
    for side in sides:
        if side.factory is not None:
            yield _made_again(comparison, side)


def _run_again(comparison: Comparison, side: Side, weights: Weights, probe: Probe) -> Finding:
    again = side.probe(weights, comparison.setting)
    apart = _apart(probe.outputs, again.outputs, "the output")
    apart |= {f"the gradient of {path}": size for path, size in _apart(probe.gradients, again.gradients).items()}
    return _finding(side, apart, "two runs at the same values")


def _made_again(comparison: Comparison, side: Side) -> Finding:
    with side.making(comparison.setting):
        # The second of two: what goes before the first may leave a generator as it was when the model was made.
        model_of(side.given, role=side.role)
        made = side.wing.stored_tensors(model_of(side.given, role=side.role))
    arrays = [
        {path: native.array for path, native in stored_tensors.items()}
        for stored_tensors in (side.stored_tensors, made)
    ]
    return _finding(side, _apart(arrays[0], arrays[1]), "two models of one seed")


def _apart(first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray], unnamed: str = "") -> dict[str, float]:
    """The arrays that are not equal bit for bit, with the size of the difference."""
    return {
        name or unnamed: relative_error(second[name].astype(np.float64), array.astype(np.float64))
        for name, array in first.items()
        if name in second and not np.array_equal(second[name], array, equal_nan=array.dtype.kind in "fc")
    }


def _finding(side: Side, apart: Mapping[str, float], what: str) -> Finding:
    words, worst = f"{side.role}: {what} are equal bit for bit", 0.0
    if apart:
        name, worst = max(apart.items(), key=lambda each: each[1])
        words = f"{side.role}: {what} differ in {len(apart)} arrays, most in {name} by {worst:.1e}"
    return Finding("", not apart, worst, 0.0, words, policy="bit for bit", cause="random" if apart else "")
