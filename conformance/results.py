"""Results: what contracts found, and all of a check together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ..pairs.records import versions_of

Status = Literal["pass", "fail", "skip", "known"]
# The key in a finding's details for the likeliest cause in words.
WHY = "why"
# The key in a report's facts for the reference's tensors.
TENSORS = "tensors"
DISTRIBUTIONS = ("paritree", "torch", "jax", "flax", "numpy", "scipy")


@dataclass(frozen=True)
class Finding:
    """What one contract found at one path.

    path: the reference's native path; empty for what is about the whole model.
    ok: whether the contract holds there; None where it does not apply, with the reason as `message`.
    measured, allowed: above it is a failure, unless the contract says else. policy: why that much is allowed.
    message: what is wrong, or what was seen, in words that lead to the fix.
    port_path: of the same parameter in the port.
    cause: the likeliest cause in a word or two: `transposed`, `eps`, `missing site`. Empty where none is known.
    module: the module to look at, in both namings.
    details: what a report may show besides, of what JSON has: shares of sites, histograms of draws.
    """

    path: str
    ok: bool | None
    measured: float | None
    allowed: float | None
    message: str = ""
    port_path: str = ""
    policy: str = ""
    cause: str = ""
    module: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """One contract at one path of one model, on one device and at one precision.

    model: the name of the reference model, or of the pair.
    wing: of the model, or both of a pair: `torch -> nnx`.
    status: `known` is a failure that was declared, with its reason in `message`.
    measured, allowed: errors relative to the tensor's norm; for an initialization the smallest p-value and the level
        it must stay above; for a structure the number of paths that differ. None for what was skipped.
    follows_from: the failure that this one only follows from, see `consequences.py`; empty for any other result.

    The others are those of Finding.
    """

    model: str
    wing: str
    device: str
    contract: str
    path: str
    status: Status
    measured: float | None
    allowed: float | None
    message: str = ""
    precision: str = "float32"
    port_path: str = ""
    policy: str = ""
    cause: str = ""
    module: str = ""
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)
    follows_from: str = ""


def versions() -> dict[str, str]:
    """The installed versions of what a result depends on."""
    return versions_of(DISTRIBUTIONS)


@dataclass(frozen=True)
class Results:
    """The results of a check.

    facts: what holds for all of them, by a word for it: `alpha`, the chance of a false alarm.
    environment: the versions of the packages that were there.

    Two are equal if their results are.
    """

    results: tuple[Result, ...]
    facts: Mapping[str, Any] = field(default_factory=dict, compare=False)
    environment: Mapping[str, str] = field(default_factory=versions, compare=False)

    @property
    def ok(self) -> bool:
        """Whether every contract holds that could be checked, and one could."""
        return not self.failures and any(result.status == "pass" for result in self.results)

    @property
    def failures(self) -> tuple[Result, ...]:
        return tuple(result for result in self.results if result.status == "fail")

    @property
    def is_of_pair(self) -> bool:
        """Whether it is about pairs, and not about models that were built from a spec."""
        return any(" -> " in result.wing for result in self.results)
