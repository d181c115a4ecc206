"""The contract of the tied gradient: it is the sum over the sites, each of which has its share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...common.wing import PairError, Site
from ...pairs.closeness import is_zero_gradient, relative_error
from ...pairs.comparison import Comparison
from ...pairs.kept import PADDING, kept_rows, words_of
from ...pairs.maps import MapRow, siblings
from ...pairs.precision import COARSEST, ROUNDINGS, Setting
from ...pairs.side import Side, Weights
from ..results import Finding

# An operation that uses a parameter, and its share of the gradient in the port's axes.
Share = tuple[str, np.ndarray]


def tied_gradients(comparison: Comparison) -> Iterator[Finding]:
    """The port's gradient of a parameter with several sites is the sum of the reference's shares, made in float64."""
    rows = {row.reference: row for row in comparison.bound.rows if row.is_whole and not row.summed}
    paths = [path for path in rows if comparison.reference.is_free(path) and _is_asked(comparison, rows[path])]
    found = _shares(comparison.reference, comparison.bound.ours, comparison.setting, paths)
    # Copies that are one tensor of the port are told of together, under the first.
    tied: dict[MapRow, list[Share]] = {}
    for path, sites in found.items():
        first = siblings(comparison.map, rows[path])[1][0]
        tied.setdefault(first, []).extend((site.operation, _laid_out(rows[path], site.gradient)) for site in sites)
    tied = {row: shares for row, shares in tied.items() if len(shares) > 1}
    if not tied:
        yield Finding("", None, None, None, "no parameter has more than one site")
        return
    if not comparison.has_gradients:
        yield Finding("", None, None, None, "no parameter has a gradient on either side: there is no sum to compare")
        return
    for row, shares in tied.items():
        yield _finding(comparison, row, shares)


def _is_asked(comparison: Comparison, row: MapRow) -> bool:
    """Of large models only the sites of parameters under several paths are told apart."""
    return comparison.reference.is_small or bool(row.reference_aliases or row.port_aliases or row.copied)


def _shares(side: Side, weights: Weights, setting: Setting, paths: list[str]) -> dict[str, tuple[Site, ...]]:
    for precision in ("float64", "float32"):
        try:
            return side.sites(weights, Setting(setting.device, precision), paths)
        except PairError:
            if precision == "float32":
                raise
    return {}


def _finding(comparison: Comparison, row: MapRow, shares: list[Share]) -> Finding:
    exact = [share for _, share in shares]
    total = np.sum(exact, axis=0)
    both = comparison.bound.gradients(row, *(probe.gradients for probe in comparison.probes))
    if both is None:
        return Finding(row.reference, None, None, None, "one of the sides has no gradient for it", row.port)
    one, found = (np.asarray(array, np.float64) for array in both)
    largest, limit = comparison.largest, comparison.limit
    if all(is_zero_gradient(each, largest[side], limit) for each, side in ((one, 0), (found, 1), (total, 0))):
        words = f"{row.reference}: the sum over {len(shares)} sites is zero, as the gradient is on both sides"
        return Finding(row.reference, True, 0.0, limit, words, row.port, comparison.policy)
    measured, own = relative_error(found, total), relative_error(one, _exact(comparison, row, total))
    allowed = max(comparison.limit, ROUNDINGS * own if own <= COARSEST else 0.0)
    size = float(np.linalg.norm(total)) or 1.0
    parts = {
        f"{n} ({operation})": float(np.linalg.norm(share)) / size for n, (operation, share) in enumerate(shares, 1)
    }
    diagnosis = ", ".join(f"{name} {part:.0%}" for name, part in parts.items())
    words, cause = f"{row.reference}: the sum over {len(shares)} sites, of its norm: {diagnosis}", ""
    ok = bool(measured <= allowed)
    if not ok:
        lost = _missing(found, exact, allowed)
        apart = f"differs by {measured:.2g} of its norm" if total.any() else "is not zero, as that sum is"
        words = (
            f"{row.reference} (= {row.port}): the gradient is not the sum over its {len(shares)} sites ({diagnosis}): "
        )
        words += f"it {apart}" if lost is None else f"the share of site {lost} is missing"
        cause = "missing site" if lost is not None else ""
        kept = kept_rows(comparison, row, comparison.bound.ordinary, *both, allowed)
        if kept:
            words, cause = f"{words}, {words_of(kept)}", PADDING
    policy = f"{comparison.policy}, against the sum of the shares in float64"
    details = {"sites": parts}
    return Finding(row.reference, ok, measured, allowed, words, row.port, policy, cause, details=details)


def _exact(comparison: Comparison, row: MapRow, total: np.ndarray) -> np.ndarray:
    """The reference's gradient in float64; the sum of its shares where it has no such run."""
    exact = comparison.rounding.exact
    return total if exact is None else np.asarray(comparison.bound.own_gradient(row, exact.gradients), np.float64)


def _missing(found: np.ndarray, shares: list[np.ndarray], allowed: float) -> str | None:
    """Without which share, or with which alone, the sum is what was found."""
    total = np.sum(shares, axis=0)
    for number, share in enumerate(shares, 1):
        if relative_error(found, total - share) <= 4 * allowed:
            return str(number)
    for number, share in enumerate(shares, 1):
        if relative_error(found, share) <= 4 * allowed:
            return "all but " + str(number)
    return None


def _laid_out(row: MapRow, gradient: np.ndarray) -> np.ndarray:
    return np.asarray(row.laid_out(gradient), np.float64)
