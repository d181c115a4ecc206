"""The contract of initialization: every parameter is drawn from the spec's distribution, with known error rates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ...common.spec import table_of
from ...common.tables import Row
from ...common.wing import Wing
from ...pairs.closeness import relative_error
from ..results import Finding
from ..statistics import ALPHA, Evidence, Verdict, across, diagnose, examine, judge, replicates
from .subject import Oracle, Subject

# A build under each of these seeds must give what the wing's `sample` gives, so that testing one tests the other.
LINKED_SEEDS = (0, 1)
Key = tuple[Any, ...]


class Initialization:
    """Gathers the evidence of a whole run, since what is allowed depends on how many tests there are in all."""

    def __init__(self) -> None:
        self.evidence: dict[Key, list[Evidence]] = {}
        self.diagnoses: dict[Key, str | None] = {}
        self.samples: dict[Key, np.ndarray] = {}
        self.keys: dict[int, dict[str, Key]] = {}
        self.links: dict[int, list[Finding]] = {}
        self._verdicts: dict[Key, list[Verdict]] | None = None

    def observe(self, subject: Subject, oracle: Oracle) -> None:
        """Draw every parameter often enough, and hold the draws against the oracle's initializers."""
        drawn = table_of(subject.spec)
        keys: dict[str, Key] = {}
        for row in oracle.table.owners:
            if row.path in drawn:
                keys[row.path] = self._examined(subject.wing, drawn[row.path], row, subject.device)
        together = (subject.wing.sample, tuple(keys.values()))
        if together not in self.evidence:
            initializers = {path: oracle.table[path].drawn_from for path in keys}
            self.evidence[together] = across({path: self.samples[key] for path, key in keys.items()}, initializers)
            self.diagnoses[together] = None
        # Two parameters that repeat each other's draws are a finding on the model, told under the empty path.
        self.keys[id(subject)] = {**keys, "": together}
        self.links[id(subject)] = list(_linked(subject))

    def _examined(self, wing: Wing, drawn: Row, expected: Row, device: str) -> Key:
        # The two Flax wings draw with one function, and many models have rows alike: each is examined once.
        key = (wing.sample, drawn.initializer, expected.initializer, drawn.shape, drawn.path, device)
        if key not in self.evidence:
            with wing.running(device):
                count = replicates(drawn.sizes, initializer=drawn.drawn_from)
                samples = wing.sample(drawn, seeds=range(count), device=device)
            shape, initializer = expected.sizes, expected.drawn_from
            self.samples[key] = samples
            self.evidence[key] = examine(samples, initializer, shape, path=expected.path)
            self.diagnoses[key] = diagnose(samples, shape, initializer) if _suspect(self.evidence[key]) else None
        return key

    def findings(self, subject: Subject) -> Iterator[Finding]:
        """The verdicts on one subject, once every subject of the run has been observed."""
        verdicts = self._judged()
        yield from self.links[id(subject)]
        for path, key in self.keys[id(subject)].items():
            tested = [verdict for verdict in verdicts[key] if verdict.evidence.p_value is not None]
            broken = [verdict for verdict in tested if not verdict.passed]
            for verdict in broken or sorted(tested, key=_margin)[:1]:
                yield self._finding(path or verdict.evidence.path, key, verdict)

    def _finding(self, path: str, key: Key, verdict: Verdict) -> Finding:
        message = verdict.message
        if not verdict.passed and self.diagnoses[key]:
            message += f"; the draws look like {self.diagnoses[key]}"
        allowed = 0.0 if verdict.allowed is None else verdict.allowed
        return Finding(path, verdict.passed, verdict.evidence.p_value, allowed, message)

    def _judged(self) -> dict[Key, list[Verdict]]:
        if self._verdicts is None:
            flat = iter(judge([item for items in self.evidence.values() for item in items]))
            self._verdicts = {key: [next(flat) for _ in items] for key, items in self.evidence.items()}
        return self._verdicts


def _suspect(evidence: list[Evidence]) -> bool:
    # Only Holm's levels decide; this is far above any of them, and spares a diagnosis of what will surely pass.
    return any(item.p_value is not None and item.p_value < ALPHA for item in evidence)


def _margin(verdict: Verdict) -> float:
    p_value = verdict.evidence.p_value
    return 1.0 if p_value is None or verdict.evidence.constraint else p_value


def _linked(subject: Subject) -> Iterator[Finding]:
    """Findings for every parameter that a build does not draw as `sample` does."""
    rows = table_of(subject.spec).owners
    with subject.wing.running(subject.device):
        for seed in LINKED_SEEDS:
            built = subject.wing.weights(subject.wing.build(subject.spec, seed=seed, device=subject.device))
            for row in rows:
                sampled = subject.wing.sample(row, seeds=(seed,), device=subject.device)[0]
                error = relative_error(built[row.path], sampled.astype(np.float64))
                if error > 1e-6:
                    words = f"{row.path}: a build draws other values than `sample` does, by {error:.2g} of their norm"
                    yield Finding(row.path, False, error, 1e-6, words)
