"""Initialization: whether both sides draw each parameter from one distribution, told by their draws alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...common.wing import PairError, reported
from ...pairs.comparison import Bound
from ...pairs.maps import MapRow, assemble
from ...pairs.precision import Setting
from ...pairs.side import Side
from ..explain import FRAMEWORK, default_draws
from ..results import Finding
from ..statistics import ALPHA, BETA, Evidence, Judgement, Scheme, compare, copies, gain_of, judge, likeliest

Values = np.ndarray[Any, Any]

# Entries of each parameter and side that find a factor of 1.1 on one std among a thousand.
ENOUGH = 16384
_BINS = 40
_SHOWN_VALUES = 16384
# Ratios of std that count as equal when a cause is named.
_EQUAL = 0.04
_TWO_SIGMA_STD = 0.8796
_EMBEDDING, _LAYER = ("Embedding's default", "Embed's default"), ("Linear's default", "Dense's default", "Glorot", "He")
_BY_TEST = {"finite": "not finite", "orthogonal": "orthogonal", "sign": "orthogonal", "copies": "reused key"}


@dataclass(frozen=True)
class Judged:
    """What came of one parameter.

    measured: the p-value of the worst test; 0 for a constraint that is broken. allowed: the level at or below which it
        fails, 0 for a constraint.
    message: the path, what was measured, and on a failure what both sides' schemes are.
    cause: one or two words for the nearest known cause: `std`, `fan`, `truncation`; empty if all is well.
    smallest: the smallest effect that the test would have caught, in words. n: how many values it used.
    test: its name.
    details: what a drawing of the two takes, as JSON has it: histograms, and the density of a scheme that is known.
    """

    path: str
    ok: bool
    measured: float
    allowed: float
    message: str
    cause: str
    smallest: str
    n: int
    test: str
    details: dict[str, Any] = field(repr=False)


def plan_seeds(shapes: Iterable[Sequence[int]], target: int = ENOUGH, most: int = 256) -> int:
    """How many seeds give every parameter of these shapes `target` values, within two and `most`."""
    needed = [math.ceil(target / max(1, math.prod(shape))) for shape in shapes]
    return min(max(2, *needed, 2), max(2, most))


def examine_pair(
    reference: Mapping[str, Values],
    port: Mapping[str, Values],
    *,
    alpha: float = ALPHA,
    beta: float = BETA,
    ties: Iterable[tuple[str, str]] = (),
    fans: Mapping[str, str] | None = None,
) -> list[Judged]:
    """Hold every parameter's draws of the port against those of the reference, and judge all together.

    reference, port: by the reference's path, `(draws, *shape)` in one layout; draw i of all of a side is of one seed.
        Of unequal numbers of draws the first are used.
    alpha: the chance of any false alarm in all of it. beta: the miss rate at which the smallest effects are stated.
    ties: paths that are declared to be one parameter, and so may repeat each other's draws.
    fans: by path, `out in` or `in out`: how the shape is read when a scheme is named.

    Raises:
        PairError: the two have not the same paths.
        ShapeError: unequal shapes, or fewer than two draws.
    """
    odd = sorted(set(reference) ^ set(port))
    if odd:
        side = "reference" if odd[0] in reference else "port"
        raise PairError("", "draws of the same parameters of both sides", f"{odd[0]} of the {side} alone")
    ties = list(ties)
    evidence = [row for path in reference for row in compare(reference[path], port[path], path=path)]
    evidence += copies(reference, port, ties)
    by_path: dict[str, list[Judgement]] = {path: [] for path in reference}
    for verdict in judge(evidence, alpha, beta):
        by_path[verdict.evidence.path].append(verdict)
    tied = {path for pair in ties for path in pair}
    return [
        _judged(path, verdicts, reference[path], port[path], (fans or {}).get(path), path in tied)
        for path, verdicts in by_path.items()
    ]


def difference(reference: Values, port: Values, *, fans: str | None = None) -> tuple[str, str]:
    """What the draws of both sides look like, as a sentence without a full stop, and the nearest known cause."""
    ours, theirs = _schemes(reference, port, fans)
    return _sentence(ours, theirs), _cause(ours, theirs)


def _judged(
    path: str, verdicts: Sequence[Judgement], reference: Values, port: Values, fans: str | None, tied: bool
) -> Judged:
    tests = [verdict for verdict in verdicts if verdict.evidence.p_value is not None]
    if not tests:
        reason = verdicts[0].evidence.finding if verdicts else "no test applies"
        return Judged(path, True, 1.0, 0.0, f"{path}: {reason}", "", "nothing", 0, "values", {})
    worst = min(tests, key=_rank)
    ours, theirs = _schemes(reference, port, fans)
    message, cause = worst.message, ""
    if not worst.passed:
        message = f"{message}; {_sentence(ours, theirs)}"
        cause = _cause(ours, theirs, worst.evidence, tied)
    found = worst.evidence
    measured, allowed = float(found.p_value or 0.0), float(worst.allowed or 0.0)
    details = _details(reference, port, ours, theirs)
    return Judged(path, worst.passed, measured, allowed, message, cause, worst.smallest, found.n, found.test, details)


def _rank(verdict: Judgement) -> tuple[bool, float]:
    """The failures first, broken constraints before tests; then the least p-value over its level."""
    p_value = verdict.evidence.p_value or 0.0
    if verdict.allowed is None:
        return verdict.passed, math.inf if verdict.passed else -1.0
    return verdict.passed, p_value / verdict.allowed


def _schemes(reference: Values, port: Values, fans: str | None) -> tuple[Scheme | None, Scheme | None]:
    return likeliest(reference, reference.shape[1:], fans=fans), likeliest(port, port.shape[1:], fans=fans)


def _sentence(ours: Scheme | None, theirs: Scheme | None) -> str:
    words = [scheme.words if scheme else "not finite" for scheme in (ours, theirs)]
    sentence = f"reference: {words[0]}; port: {words[1]}"
    if ours and theirs and ours.std > 0 and theirs.std > 0:
        sentence += f"; ratio of std {theirs.std / ours.std:.3g}"
    return sentence


def _cause(ours: Scheme | None, theirs: Scheme | None, found: Evidence | None = None, tied: bool = False) -> str:
    test = found.test if found else ""
    if test in _BY_TEST:
        return _BY_TEST[test]
    if test.startswith("correlation"):
        return "reused key"
    if ours is None or theirs is None:
        return "not finite"
    families = {ours.family, theirs.family}
    if test.startswith("constant") or "constant" in families or "identity" in families:
        return "constant"
    if "orthogonal" in families:
        return "orthogonal"
    if test == "zeros":
        return "zeros"
    if tied and _is_about_a_tie(ours.words, theirs.words):
        return "tie direction"
    return _cause_of_law(ours, theirs, test)


def _is_about_a_tie(ours: str, theirs: str) -> bool:
    """Whether one side draws the tied parameter as an embedding, the other as a layer of weights."""
    one, other = (any(words in each for words in _EMBEDDING) for each in (ours, theirs))
    layer, another = (any(words in each for words in _LAYER) for each in (ours, theirs))
    return (one and another) or (other and layer)


def _cause_of_law(ours: Scheme, theirs: Scheme, test: str) -> str:
    ratio = theirs.std / ours.std if ours.std else 0.0
    if ours.family != theirs.family:
        # A cut that is not made up for changes the std by 0.88, one that is made up for does not.
        is_cut = any(abs(ratio / each - 1) < _EQUAL for each in (1.0, _TWO_SIGMA_STD, 1 / _TWO_SIGMA_STD))
        if {ours.family, theirs.family} == {"normal", "truncated normal"} and is_cut:
            return "truncation"
        return "initializer family"
    if test.endswith("mean") or (abs(ratio - 1) < _EQUAL and test in ("maximum", "minimum")):
        return "mean"
    fused = "fused" in ours.words or "fused" in theirs.words
    if ours.named and theirs.named and "depth" in (ours.fan, theirs.fan):
        return "depth"
    if ours.named and theirs.named and (fused or (ours.fan != theirs.fan and ours.fan and theirs.fan)):
        return "fan"
    if " blocks " in test:
        return "fan"
    return "std"


def _details(reference: Values, port: Values, ours: Scheme | None, theirs: Scheme | None) -> dict[str, Any]:
    sides = {"reference": _shown(reference), "port": _shown(port)}
    schemes = {"reference": ours, "port": theirs}
    details: dict[str, Any] = {
        "mean": {side: scheme.mean if scheme else None for side, scheme in schemes.items()},
        "std": {side: scheme.std if scheme else None for side, scheme in schemes.items()},
        "schemes": {side: scheme.words if scheme else None for side, scheme in schemes.items()},
    }
    pool = np.concatenate(list(sides.values()))
    pool = pool[np.isfinite(pool)]
    if not pool.size:
        return details
    low, high = float(pool.min()), float(pool.max())
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-30):
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    details["edges"] = edges.tolist()
    for side, values in sides.items():
        details[side] = np.histogram(values, edges, density=True)[0].tolist() if np.isfinite(values).all() else None
    details["curves"] = {side: _curve(scheme, edges) for side, scheme in schemes.items()}
    return details


def _shown(draws: Values) -> Values:
    flat = draws.reshape(-1)
    return flat[:: max(1, flat.size // _SHOWN_VALUES)].astype(np.float64)


def _curve(scheme: Scheme | None, edges: Values) -> list[float] | None:
    if scheme is None or scheme.law is None:
        return None
    return np.exp(scheme.law.logpdf(edges)).tolist()


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


def initialization(bound: Bound, setting: Setting, sampling: Sampling) -> Iterator[Finding]:
    """Each parameter of the port is drawn from the reference's distribution, whatever that is."""
    for side in (bound.reference, bound.port):
        if side.factory is None:
            words = f"the {side.role} is a live model: give a factory, a function of a seed, to have its draws"
            yield Finding("", None, None, None, words)
            return
    ours, theirs = (_draws(side, setting, sampling, bound.seed) for side in (bound.reference, bound.port))
    rows = {_key(rows[0]): rows for rows in bound.map.by_port.values() if _is_drawn(bound, rows)}
    reference = {key: _laid_out(each, ours) for key, each in rows.items()}
    port = {key: theirs[each[0].port] for key, each in rows.items()}
    reading = "out in" if bound.port.wing.NAME == "torch" else "in out"
    ties = [(key, alias) for key, each in rows.items() for alias in each[0].reference_aliases or each[0].port_aliases]
    judged = examine_pair(reference, port, alpha=sampling.alpha, ties=ties, fans=dict.fromkeys(rows, reading))
    for each in judged:
        found = _finding(bound, each, rows.get(each.path, ()))
        if not found.ok and len(rows.get(each.path, ())) == 1:
            (row,) = rows[each.path]
            words = default_draws(bound, row, ours[row.reference], theirs[row.port], setting.device)
            found = replace(found, details={**found.details, FRAMEWORK: words}) if words else found
        yield found


def _draws(side: Side, setting: Setting, sampling: Sampling, seed: int) -> dict[str, np.ndarray]:
    shapes = [native.array.shape for native in side.tensors.values()]
    first = _STRIDE * seed + (_PORT_SEEDS if side.role == "port" else 0)
    count = plan_seeds(shapes, sampling.target, sampling.most)
    with reported(side.role):
        found = side.draws(range(first, first + count), setting, sampling.target)
        more = _more_of_orthogonal(found)
        if not more:
            return found
        again = side.draws(range(first, first + _SIGNS), setting, more)
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
    limit = "with a limit that allows for the number of tests (Holm)"
    policy = f"p-value of {judged.test}, {limit}; would have caught {judged.smallest}"
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
