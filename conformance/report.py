"""The report of a check: its results in five forms."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from ..common.errors import ParitreeError
from .reports import folded, from_json, sentence, summary, to_html, to_json, to_junit, to_notebook, to_text
from .results import Results

# The width of the text where there is no terminal to have one.
_WIDTH = 110


class ContractFailure(ParitreeError, AssertionError):
    """Raised by `Report.raise_for_failure`; the text lists every failing contract."""

    has_lines = True


@dataclass(frozen=True)
class Report(Results):
    """The results of a check.

    Two are equal if their results are.
    """

    def raise_for_failure(self) -> None:
        """Raises ContractFailure if a contract does not hold; of a pair with many failures it lists the first."""
        if not self.ok and not self.failures:
            raise ContractFailure("", "at least one contract to be checked", "none", "Look at what was skipped.")
        if self.failures:
            lines = folded(self) if self.is_of_pair else map(sentence, self.failures)
            found = f"{len(self.failures)} that do not:\n" + "\n".join(lines)
            raise ContractFailure("", "all contracts to hold", found)

    def to_json(self) -> str:
        """JSON with a schema version, see docs/reports.md. What is not finite becomes null."""
        return to_json(self)

    @staticmethod
    def from_json(text: str) -> Report:
        """The report that `to_json` has written.

        Raises:
            UsageError: no JSON, no report, or one of another schema version.
        """
        return from_json(text, Report)

    def to_junit(self) -> str:
        """JUnit's XML: a suite for each device and precision, a case for each contract and path."""
        return to_junit(self)

    def to_html(self) -> str:
        """One page with everything in it: it loads nothing and runs no script."""
        return to_html(self)

    def _repr_html_(self) -> str:
        """What it shows of itself in a notebook."""
        return to_notebook(self)

    def __str__(self) -> str:
        """As wide as the terminal."""
        return to_text(self, shutil.get_terminal_size((_WIDTH, 24)).columns)

    @property
    def summary(self) -> str:
        """The last line of the text: how many contracts hold."""
        return summary(self)
