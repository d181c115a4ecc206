"""The contract of initialization for live pairs: draws of both factories, brought into one layout by the map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...common.wing import reported
from ...pairs.comparison import Bound
from ...pairs.maps import MapRow, assemble
from ...pairs.side import Side
from ..results import Finding
from ..statistics import gain_of
from .initial_laws import Judged, examine_pair, plan_seeds

# The port draws with other seeds: where both have one generator, equal draws would be no evidence.
_PORT_SEEDS = 1_000_000_000
# How far the seeds of one check are from those of the next.
_STRIDE = 1_000
# A sign that should be random is one coin for each draw of an orthogonal matrix. Of so many pairs of draws half differ
# in it, which is 2^-47 if one side's never changes.
_SIGNS = 96
# A tensor of more entries than this in all its draws takes too long to draw so often.
_MOST_VALUES = 2**22


@dataclass(frozen=True)
class Sampling:
    """How initial values are drawn and judged.

    alpha: the chance of a false alarm among all parameters together.
    target: how many entries of each parameter are wanted. most: how many seeds are drawn at the most for it.
    """

    alpha: float = 1e-6
    target: int = 16384
    most: int = 128


def initialization(bound: Bound, device: str, sampling: Sampling) -> Iterator[Finding]:
    """Each parameter of the port is drawn from the reference's distribution, whatever that is."""
    for side in (bound.reference, bound.port):
        if side.factory is None:
            words = f"the {side.role} is a live model: give a factory, a function of a seed, to have its draws"
            yield Finding("", None, None, None, words)
            return
    ours, theirs = (_draws(side, device, sampling, bound.seed) for side in (bound.reference, bound.port))
    rows = {_key(rows[0]): rows for rows in bound.map.by_port.values() if _is_drawn(bound, rows)}
    reference = {key: _laid_out(each, ours) for key, each in rows.items()}
    port = {key: theirs[each[0].port] for key, each in rows.items()}
    reading = "out in" if bound.port.wing.NAME == "torch" else "in out"
    ties = [(key, alias) for key, each in rows.items() for alias in each[0].reference_aliases or each[0].port_aliases]
    judged = examine_pair(reference, port, alpha=sampling.alpha, ties=ties, fans=dict.fromkeys(rows, reading))
    for each in judged:
        yield _finding(bound, each, rows.get(each.path, ()))


def _draws(side: Side, device: str, sampling: Sampling, seed: int) -> dict[str, np.ndarray]:
    shapes = [native.array.shape for native in side.tensors.values()]
    first = _STRIDE * seed + (_PORT_SEEDS if side.role == "port" else 0)
    count = plan_seeds(shapes, sampling.target, sampling.most)
    with reported(side.role):
        found = side.draws(range(first, first + count), device, sampling.target)
        more = _more_of_orthogonal(found)
        if not more:
            return found
        again = side.draws(range(first, first + _SIGNS), device, more)
    return {path: again[path] if len(again[path]) > len(draws) else draws for path, draws in found.items()}


def _more_of_orthogonal(found: Mapping[str, np.ndarray]) -> int:
    """A target that gives every small orthogonal tensor a draw for each of _SIGNS seeds; 0 where there is none."""
    sizes = [
        draws[0].size
        for draws in found.values()
        if "float" in draws.dtype.name and len(draws) < _SIGNS and gain_of(draws) is not None
    ]
    return _SIGNS * max((size for size in sizes if size * _SIGNS <= _MOST_VALUES), default=0)


def _key(row: MapRow) -> str:
    return f"{row.reference}{row.reference_piece}"


def _is_drawn(bound: Bound, rows: tuple[MapRow, ...]) -> bool:
    present = bound.reference.tensors
    return rows[0].port in bound.port.tensors and all(row.reference in present for row in rows)


def _laid_out(rows: tuple[MapRow, ...], draws: Mapping[str, np.ndarray]) -> np.ndarray:
    """The reference's draws as the port's tensor: (draws, *native shape of the port)."""
    count = min(len(draws[row.reference]) for row in rows)
    return np.stack([assemble(rows, lambda path, i=i: draws[path][i]) for i in range(count)])


def _finding(bound: Bound, judged: Judged, rows: tuple[MapRow, ...]) -> Finding:
    path, port_path = (rows[0].reference, rows[0].port) if rows else (judged.path, "")
    details: dict[str, Any] = {**judged.details, "test": judged.test, "n": judged.n, "smallest": judged.smallest}
    policy = f"p-value of {judged.test}, above the level that Holm leaves it; would have caught {judged.smallest}"
    return Finding(
        path,
        judged.ok,
        judged.measured,
        judged.allowed,
        judged.message,
        port_path,
        policy,
        judged.cause,
        "" if judged.ok or not rows else bound.modules(rows[0]),
        details,
    )
