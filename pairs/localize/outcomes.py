"""Outcomes: what came of a module of the port that was run on what the reference's partner was given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .pairing import ModuleCall

Verdict = Literal["agrees", "differs", "raises", "part", "cut", "unknown"]


@dataclass(frozen=True)
class Outcome:
    """What came of one call of the reference.

    port, name: path and class of the port's module.
    verdict: `part` where only parts of it differ, `cut` where something around it agrees, so that the two sides are cut
        into modules otherwise, `unknown` where nothing can be told.
    error: of the output, given the reference's inputs. allowed: how large rounding makes it; is_coarse: in float32.
    own: the error once its parts give what the reference's do; None where that was not measured.
    parts: those that differ, the innermost ones.
    given: a part that it gives other inputs than the reference does, and how far these are apart.
    words: what was raised, what around it agrees, or why nothing can be told.
    """

    reference: ModuleCall
    port: str
    name: str
    verdict: Verdict
    error: float
    allowed: float
    is_coarse: bool = False
    own: float | None = None
    parts: tuple[str, ...] = ()
    given: tuple[str, float] | None = None
    words: str = ""

    @property
    def is_fault(self) -> bool:
        return self.verdict in ("differs", "raises")

    @property
    def port_text(self) -> str:
        return f"{self.port!r} ({self.name})" if self.port else f"the model itself ({self.name})"
