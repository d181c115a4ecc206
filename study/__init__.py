"""The study room: behaviours as records that run, and the pages made from a run.

Importing it imports no framework; running a row does, since the rows are framework code by nature.

    catalogue   ids, sections, load, and a run of many rows
    record      what a row is, and what a run of it gives
    notebooks   the rows as notebooks, one a section
    figures     the panels that a row declares, drawn from a run
    pages       the side-by-side page in Markdown, and JSON
    terminal    the same for a terminal
"""

from .catalogue import IDS, SECTIONS, identifiers, load, outcome, outcomes
from .pages import as_json, rosetta
from .record import Absent, Behaviour, Outcome, Raised, Verdict, raised, run

__all__ = [
    "IDS",
    "SECTIONS",
    "Absent",
    "Behaviour",
    "Outcome",
    "Raised",
    "Verdict",
    "as_json",
    "identifiers",
    "load",
    "outcome",
    "outcomes",
    "raised",
    "rosetta",
    "run",
]
