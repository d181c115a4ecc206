"""What does not fit when a map is to serve another size of its model: in words, and what can be done about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from ....common.errors import MapError

# Of rows with one reason so many are named.
NAMED = 3


@dataclass
class Faults:
    """Everything that keeps a map from serving a model.

    entries: what is missing or misshapen, each in words.
    rows: by reason, the rows that have it.
    extra, port_extra: paths of the reference and of the port that no row is about.
    """

    entries: list[str] = field(default_factory=list)
    rows: dict[str, list[str]] = field(default_factory=dict)
    extra: list[str] = field(default_factory=list)
    port_extra: list[str] = field(default_factory=list)
    is_open: bool = False

    def add_row(self, row: str, reason: str) -> None:
        self.rows.setdefault(reason, []).append(row)

    def add_open(self, row: str, lengths: list[str]) -> None:
        """A row of which nothing tells these lengths."""
        self.is_open = True
        self.add_row(row, f"nothing tells {', '.join(lengths)}")

    def __len__(self) -> int:
        rows = {row for named in self.rows.values() for row in named}
        return len(set(self.entries)) + len(rows) + len(self.extra) + len(self.port_extra)

    def __str__(self) -> str:
        parts = [
            *dict.fromkeys(self.entries),
            *(f"{_listed(list(dict.fromkeys(rows)))}: {reason}" for reason, rows in self.rows.items()),
            *(f"{path} is not in the map" for path in self.extra),
            *(f"the port's {path} is not in the map" for path in self.port_extra),
        ]
        return f"{len(self)} that {'does' if len(self) == 1 else 'do'} not fit: {'; '.join(parts)}"

    def error(self, remedy: str) -> MapError:
        return MapError("", "the shapes of the same model in another size", str(self), remedy)


def _listed(rows: list[str]) -> str:
    if len(rows) == 1:
        return rows[0]
    named = ", ".join(rows[:NAMED])
    return f"{len(rows)} rows ({named}{', ...' if len(rows) > NAMED else ''})"
