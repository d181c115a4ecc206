"""The contracts of arithmetic: forward, gradients, tied gradients and a training step, against a float64 run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ...pairs.closeness import allowed, relative_error
from ..diagnosis import Weights, explain, intervene, missing_site
from ..results import Finding
from .subject import LEARNING_RATE, Oracle, Subject


def forward(subject: Subject, oracle: Oracle) -> Iterator[Finding]:
    """With the oracle's weights the output is the oracle's."""
    limit = allowed(oracle.depth)

    def error(weights: Weights) -> float:
        model = subject.wing.load(subject.model, weights)
        return relative_error(subject.wing.call(model, oracle.inputs), oracle.output)

    measured = error(oracle.weights)
    if measured <= limit:
        yield Finding("", True, measured, limit)
        return
    cause = intervene(oracle.weights, lambda weights: error(weights) <= limit)
    subject.wing.load(subject.model, oracle.weights)
    path = cause.split(" ")[0] if cause else ""
    yield Finding(path, False, measured, limit, cause or f"the output differs by {measured:.2g} of its norm")


def gradients(subject: Subject, oracle: Oracle) -> Iterator[Finding]:
    """The gradient of <output, cotangent> by every parameter is the oracle's, in the canonical layout."""
    yield from _compared(_gradients(subject, oracle), oracle.gradients, allowed(oracle.depth), "the gradient")


def tied_gradients(subject: Subject, oracle: Oracle) -> Iterator[Finding]:
    """The gradient of a parameter with several sites is the sum of the sites' shares, computed in float64."""
    limit = allowed(oracle.depth)
    found = _gradients(subject, oracle)
    tied = {path: sites for path, sites in oracle.sites.items() if len(sites) > 1}
    for path, sites in tied.items():
        shares = [site.gradient for site in sites]
        measured = relative_error(found[path], np.sum(shares, axis=0)) if path in found else float("inf")
        if measured <= limit:
            yield Finding(path, True, measured, limit)
            continue
        lost = missing_site(found[path], shares, limit) if path in found else None
        if lost is None:
            words = f"the gradient differs from the sum over its {len(shares)} sites by {measured:.2g} of its norm"
        else:
            words = f"the gradient lacks the share of site {lost + 1} of {len(shares)} ({sites[lost].operation})"
        yield Finding(path, False, measured, limit, f"{path}: {words}")


def training(subject: Subject, oracle: Oracle) -> Iterator[Finding]:
    """After one step of SGD every parameter is the oracle's, and every tie still holds."""
    model = subject.wing.load(subject.model, oracle.weights)
    model, _ = subject.wing.step(model, oracle.inputs, oracle.targets, learning_rate=LEARNING_RATE)
    yield from _compared(subject.wing.weights(model), oracle.trained, allowed(oracle.depth), "after one step the value")
    present = subject.wing.table(model)
    for tie in oracle.table.ties:
        if tie.alias in present and not subject.wing.identical(model, tie.owner, tie.alias):
            yield Finding(tie.alias, False, None, 0.0, f"{tie.alias}: after one step it is not {tie.owner} any more")


def _gradients(subject: Subject, oracle: Oracle) -> dict[str, np.ndarray]:
    model = subject.wing.load(subject.model, oracle.weights)
    return subject.wing.value_and_gradients(model, oracle.inputs, oracle.cotangent)[1]


def _compared(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray], limit: float, what: str
) -> Iterator[Finding]:
    for path, exact in expected.items():
        if path not in found:
            yield Finding(path, False, None, limit, f"{path}: {what} is missing")
            continue
        measured = relative_error(found[path], exact)
        ok = measured <= limit
        words = "" if ok else f"{path}: {what} {explain(path, found[path], expected, limit)}"
        yield Finding(path, ok, measured, limit, words)
