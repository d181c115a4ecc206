"""What is said of the place where two programs part ways."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...common.wing import Trace
from .gap import Cause
from .lines import Stretch


@dataclass(frozen=True)
class Localized:
    """Where two programs part ways.

    reference, port: the innermost calls that correspond, get the same and give something else; None where there are
        none, and the difference is made between modules.
    error, input_error: of the output and of the inputs, beside the norm of the reference's.
    before: inside of them (or before all that differs) the last calls that agree. after: the first whose inputs do not.
    stretches: the lines of both programs between which it arises, one for each difference.
    unseen: why no values were seen that could tell lines.
    module_cause: what the modules' inputs and outputs tell; `cause` may be told by the lines alone.
    """

    reference: Trace | None
    port: Trace | None
    error: float
    input_error: float
    before: tuple[Trace, Trace] | None = None
    after: tuple[Trace, Trace] | None = None
    cause: Cause | None = None
    calls: Cause | None = None
    stretches: tuple[Stretch, ...] = ()
    module_cause: Cause | None = None
    unseen: str = ""

    @property
    def tells(self) -> bool:
        """Whether it says more than that the whole model differs, of which a flat port shows nothing else."""
        is_whole = self.reference is not None and not self.reference.path
        return not is_whole or any((self.before, self.after, self.cause, self.calls, self.stretches))

    def __str__(self) -> str:
        parts = [self._module(), self._between(), self._lines(), f"Likely cause: {self.cause}." if self.cause else ""]
        return " ".join(part for part in parts if part)

    @property
    def excerpts(self) -> str:
        """The lines of both programs that the stretches are about, each on a line of its own."""
        told = dict.fromkeys(text for stretch in self.stretches[:2] for text in stretch.excerpts())
        return "".join(f"\n    {text}" for text in told)

    def _lines(self) -> str:
        is_backward = any(stretch.is_backward for stretch in self.stretches)
        what = "gradients" if is_backward else "programs"
        if len(self.stretches) < 2:
            unseen = f"No lines are told: {self.unseen}" if self.unseen else ""
            return f"The {what} are {self.stretches[0]}." if self.stretches else unseen
        told = [
            f"({number}) {stretch}" + (f": {stretch.cause}" if stretch.cause else "")
            for number, stretch in enumerate(self.stretches, 1)
        ]
        return f"The {what} differ in {len(told)} places: {'; '.join(told)}."

    def _module(self) -> str:
        if self.reference is None or self.port is None or (self.stretches and not self.reference.path):
            return ""
        size = f"by {self.error:.1e} of its output" if np.isfinite(self.error) else "altogether"
        if self.cause and self.cause.name == "shape":
            size = "in its output's shape"
        fed = f"; its inputs agree to {self.input_error:.1e}" if np.isfinite(self.input_error) else ""
        fed = "; its inputs are equal" if self.input_error == 0 else fed
        return f"The first module to differ is {_both(self.reference, self.port)}, {size}{fed}."

    def _between(self) -> str:
        where = "Inside it" if self.reference is not None else "No module differs by itself:"
        if self.before and self.after:
            return (
                f"{where} the difference arises between {_both(*self.before)}, which agrees, and {_both(*self.after)}."
            )
        if self.after:
            return f"{where} the difference arises before {_both(*self.after)}."
        if self.before:
            return f"{where} the difference arises after {_both(*self.before)}, which agrees."
        return ""


def _both(reference: Trace, port: Trace) -> str:
    names = [
        f"{role} {trace}" if trace.path else f"the {role} itself ({trace.name})"
        for role, trace in (("reference", reference), ("port", port))
    ]
    return " = ".join(names)
