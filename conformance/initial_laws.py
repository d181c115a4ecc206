"""The contract of initialization of what was built from a spec: every parameter is drawn from the spec's law.

A one-sample test of each parameter and wing, judged over the whole run, since what is allowed depends on how many tests
there are in all. The framework's own stream is tested, by the wing's `sample`, and held to what `build` draws.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np

from ..common.spec import Layer, table_of
from ..common.tables import Row, Table
from ..common.wing import Wing
from ..pairs.closeness import relative_error
from .results import Finding
from .statistics import ALPHA, Evidence, Judgement, across, diagnose, examine, judge, replicates

# A build under each of these seeds must give what the wing's `sample` gives, so that testing one tests the other.
LINKED_SEEDS = (0, 1)
_LINKED = 1e-6
Key = tuple[Any, ...]


class InitialLaws:
    """The evidence of a run, gathered model by model, and then the verdicts on each."""

    def __init__(self) -> None:
        self.evidence: dict[Key, list[Evidence]] = {}
        self.diagnoses: dict[Key, str | None] = {}
        self.samples: dict[Key, np.ndarray] = {}
        self.keys: dict[Hashable, dict[str, Key]] = {}
        self.links: dict[Hashable, list[Finding]] = {}
        self._verdicts: dict[Key, list[Judgement]] | None = None

    def observe(self, subject: Hashable, wing: Wing, device: str, spec: Layer, expected: Table) -> None:
        """Draw every parameter of the spec often enough, and hold the draws against the expected initializers.

        subject: what the findings are asked for by.
        """
        drawn = table_of(spec)
        with wing.running(device):
            keys = {
                row.path: self._examined(wing, drawn[row.path], row, device)
                for row in expected.owners
                if row.path in drawn
            }
            self.links[subject] = list(self._linked(wing, device, spec, keys))
        together = (wing.sample, tuple(keys.values()))
        if together not in self.evidence:
            initializers = {path: expected[path].drawn_from for path in keys}
            self.evidence[together] = across({path: self.samples[key] for path, key in keys.items()}, initializers)
            self.diagnoses[together] = None
        # Two parameters that repeat each other's draws are a finding on the model, told under the empty path.
        self.keys[subject] = {**keys, "": together}

    def _examined(self, wing: Wing, drawn: Row, expected: Row, device: str) -> Key:
        # The two Flax wings draw with one function, and many models have rows alike: each is examined once.
        key = (wing.sample, drawn.initializer, expected.initializer, drawn.shape, drawn.path, device)
        if key not in self.evidence:
            count = max(replicates(drawn.sizes, initializer=drawn.drawn_from), len(LINKED_SEEDS))
            samples = wing.sample(drawn, seeds=range(count), device=device, stream="native")
            shape, initializer = expected.sizes, expected.drawn_from
            self.samples[key] = samples
            self.evidence[key] = examine(samples, initializer, shape, path=expected.path)
            self.diagnoses[key] = diagnose(samples, shape, initializer) if _suspect(self.evidence[key]) else None
        return key

    def _linked(self, wing: Wing, device: str, spec: Layer, keys: dict[str, Key]) -> Iterator[Finding]:
        """A failure for every parameter that a build does not draw as `sample` does."""
        for seed in LINKED_SEEDS:
            built = wing.weights(wing.build(spec, seed=seed, device=device, stream="native"))
            for path, key in keys.items():
                apart = relative_error(built[path].astype(np.float64), self.samples[key][seed].astype(np.float64))
                if apart > _LINKED:
                    words = f"{path}: a build draws other values than `sample` does, by {apart:.2g} of their norm"
                    yield Finding(path, False, apart, _LINKED, words)

    def findings(self, subject: Hashable) -> Iterator[Finding]:
        """The verdicts on one subject, once every subject of the run has been observed."""
        verdicts = self._judged()
        yield from self.links[subject]
        for path, key in self.keys[subject].items():
            tested = [verdict for verdict in verdicts[key] if verdict.evidence.p_value is not None]
            broken = [verdict for verdict in tested if not verdict.passed]
            for verdict in broken or sorted(tested, key=_margin)[:1]:
                yield self._finding(path or verdict.evidence.path, key, verdict)

    def _finding(self, path: str, key: Key, verdict: Judgement) -> Finding:
        message = verdict.message
        if not verdict.passed and self.diagnoses[key]:
            message += f"; the draws look like {self.diagnoses[key]}"
        allowed = 0.0 if verdict.allowed is None else verdict.allowed
        return Finding(path, verdict.passed, verdict.evidence.p_value, allowed, message)

    def _judged(self) -> dict[Key, list[Judgement]]:
        if self._verdicts is None:
            flat = iter(judge([item for items in self.evidence.values() for item in items]))
            self._verdicts = {key: [next(flat) for _ in items] for key, items in self.evidence.items()}
        return self._verdicts


def _suspect(evidence: list[Evidence]) -> bool:
    # Only Holm's levels decide; this is far above any of them, and spares a diagnosis of what will surely pass.
    return any(item.p_value is not None and item.p_value < ALPHA for item in evidence)


def _margin(verdict: Judgement) -> float:
    p_value = verdict.evidence.p_value
    return 1.0 if p_value is None or verdict.evidence.constraint else p_value
