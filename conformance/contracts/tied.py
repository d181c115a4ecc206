"""The contract of the tied gradient: it is the sum over the sites, each of which has its share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ...common.layouts import Layout
from ...common.wing import PairError, Site
from ...pairs.closeness import relative_error
from ...pairs.comparison import Comparison
from ...pairs.maps import MapRow
from ...pairs.precision import COARSEST, ROUNDINGS, Setting
from ...pairs.side import Side, Weights
from ..results import Finding


def tied_gradients(comparison: Comparison) -> Iterator[Finding]:
    """The port's gradient of a parameter with several sites is the sum of the reference's shares, made in float64."""
    rows = {row.reference: row for row in comparison.bound.rows if row.is_whole and not row.summed}
    paths = [path for path in rows if comparison.reference.is_free(path) and _is_asked(comparison, rows[path])]
    shares = _shares(comparison.reference, comparison.bound.ours, comparison.setting, paths)
    tied = {path: sites for path, sites in shares.items() if len(sites) > 1}
    if not tied:
        yield Finding("", None, None, None, "no parameter has more than one site")
        return
    for path, sites in tied.items():
        yield _finding(comparison, rows[path], sites)


def _is_asked(comparison: Comparison, row: MapRow) -> bool:
    """Of large models only the sites of parameters under several paths are told apart."""
    return comparison.reference.is_small or bool(row.reference_aliases or row.port_aliases)


def _shares(side: Side, weights: Weights, setting: Setting, paths: list[str]) -> dict[str, tuple[Site, ...]]:
    for precision in ("float64", "float32"):
        try:
            return side.sites(weights, Setting(setting.device, precision), paths)
        except PairError:
            if precision == "float32":
                raise
    return {}


def _finding(comparison: Comparison, row: MapRow, sites: tuple[Site, ...]) -> Finding:
    exact = [_laid_out(row, site.gradient) for site in sites]
    total = np.sum(exact, axis=0)
    ours, theirs = (probe.gradients for probe in comparison.probes)
    found = np.asarray(theirs[row.port], np.float64) * row.slope
    measured = relative_error(found, total)
    own = relative_error(_laid_out(row, ours[row.reference]), total)
    allowed = max(comparison.limit, ROUNDINGS * own if own <= COARSEST else 0.0)
    size = float(np.linalg.norm(total)) or 1.0
    parts = {
        f"{n} ({site.operation})": float(np.linalg.norm(share)) / size
        for n, (site, share) in enumerate(zip(sites, exact, strict=True), 1)
    }
    diagnosis = ", ".join(f"{name} {part:.0%}" for name, part in parts.items())
    words, cause = f"{row.reference}: the sum over {len(sites)} sites, of its norm: {diagnosis}", ""
    ok = bool(measured <= allowed)
    if not ok:
        lost = _missing(found, exact, allowed)
        words = (
            f"{row.reference} (= {row.port}): the gradient is not the sum over its {len(sites)} sites ({diagnosis}): "
        )
        words += f"it differs by {measured:.2g} of its norm" if lost is None else f"the share of site {lost} is missing"
        cause = "missing site" if lost is not None else ""
    policy = f"{comparison.policy}, against the sum of the shares in float64"
    details = {"sites": parts}
    return Finding(row.reference, ok, measured, allowed, words, row.port, policy, cause, details=details)


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
    return np.asarray(Layout(row.layout, row.sizes).to_native(gradient), np.float64)
