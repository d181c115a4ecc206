"""One-sample tests: every test that one parameter's draws allow, against its initializer."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...common.errors import DtypeError, ShapeError
from ...common.initializers import DeltaOrthogonal, Initializer, Law, Orthogonal, Sparse, ZeroRow, first_index
from .blocks import blocks
from .evidence import Evidence, constraint, inapplicable
from .orthogonality import corner_sign
from .point_masses import mass_shares, mass_shares_by_row
from .pooled import pooled
from .rounding import eps, unrounded
from .scores import outside, scores

Values = np.ndarray[Any, Any]


def examine(samples: Values, initializer: Initializer, shape: Sequence[int], *, path: str = "") -> list[Evidence]:
    """Hold draws of one parameter against its initializer, test by test.

    samples: `(replicates, *shape)` in the canonical layout and a floating-point dtype; each replicate is one draw with
        a seed of its own (`replicates(shape)` says how many are enough). Of float16 and bfloat16 every value stands for
        the interval that rounds to it, and is spread over that (see `rounding`): draws that had fewer digits still are
        told from it.

    Hand the evidence of all parameters of a run to `judge` together: what is allowed depends on how many tests there
    are.

    Raises:
        ShapeError: samples of another shape.
        DtypeError: samples that are no floating-point numbers.
        InitializerError: the shape does not suit the initializer.
    """
    samples = _checked(samples, shape, path)
    initializer.validate(shape, path)
    if samples.size == 0:
        return [inapplicable(path, "values", "there are none")]
    rows = [constraint(path, "finite", samples.size, _not_finite(samples))]
    if rows[0].p_value == 0:
        return rows
    rows.append(constraint(path, "constraint", samples.size, _violation(samples, initializer)))
    if initializer.deterministic:
        return rows
    rows.append(constraint(path, "seeds", len(samples), _repeated(samples, initializer.law(shape))))
    match initializer:
        case Orthogonal():
            return rows + _haar(samples, initializer.law(shape), path)
        case DeltaOrthogonal():
            middle = samples[(..., *initializer.middle(shape))]
            return rows + _haar(middle, Orthogonal(initializer.gain).law(middle.shape[1:]), path)
        case Sparse():
            return rows + _sparse(samples, initializer.law(shape), path)
        case ZeroRow(of):
            drawn = initializer.others(samples, axis=1)
            return rows + (_independent(drawn, of.law(shape), path) if drawn.size else [])
    if initializer.independent:
        return rows + _independent(samples, initializer.law(shape), path)
    return rows + _independent(_one_each(samples, path), initializer.law(shape), path)


def _checked(samples: Values, shape: Sequence[int], path: str) -> Values:
    samples = np.asarray(samples)
    if samples.ndim == 0 or samples.shape[1:] != tuple(shape):
        raise ShapeError(path, f"samples of shape (replicates, *{tuple(shape)})", f"shape {samples.shape}")
    if not eps(samples.dtype):
        expected = "samples in float64, float32, float16 or bfloat16"
        raise DtypeError(path, expected, str(samples.dtype), "Give them as they were drawn.")
    return samples


def _not_finite(samples: Values) -> str | None:
    wrong = ~np.isfinite(samples)
    if not wrong.any():
        return None
    index = first_index(wrong)
    return f"entry {index[1:]} of replicate {index[0]} is {samples[index]}, expected a finite number"


def _violation(samples: Values, initializer: Initializer) -> str | None:
    for index, draw in enumerate(samples):
        violation = initializer.violation(draw)
        if violation:
            return f"replicate {index}: {violation}" if len(samples) > 1 else violation
    return None


def _repeated(samples: Values, law: Law) -> str | None:
    """Replicates that are all the same draw, because the seed does not reach it.

    Two independent entries agree with probability c, the sum of the squared point masses and a little for
    the grid of the format; what agrees with a probability above 2^-64 in correct draws is not held against them.
    """
    agree = sum(mass**2 for _, mass in law.point_masses) + max(2.0**-22, 2 * eps(samples.dtype))
    pairs = samples[0].size * (len(samples) // 2)
    if pairs * -math.log2(min(agree, 1.0)) < 64 or not (samples == samples[0]).all():
        return None
    return f"all {len(samples)} replicates are the same draw, expected one for each seed"


def _independent(samples: Values, law: Law, path: str) -> list[Evidence]:
    samples = unrounded(samples, law)
    rows = [constraint(path, "support", samples.size, _outside(samples, law))]
    rows += mass_shares(path, samples, law) + mass_shares_by_row(path, samples, law)
    if rows[0].p_value == 0:
        return [*rows, inapplicable(path, "scores", "values outside the spec's support have none")]
    return rows + _continuous(samples, law, path)


def _outside(samples: Values, law: Law) -> str | None:
    found = outside(samples, law)
    if found is None or not 0 < law.std < math.inf:
        return found
    return f"{found}; std is {float(samples.std(dtype=np.float64)) / law.std:.3f} times the spec's"


def _sparse(samples: Values, law: Law, path: str) -> list[Evidence]:
    """The number of zeros in a column is a constraint; their rows and the other entries are random."""
    samples = unrounded(samples, law)
    return mass_shares_by_row(path, samples, law) + _continuous(samples, law, path)


def _continuous(samples: Values, law: Law, path: str) -> list[Evidence]:
    if law.continuous is None:
        return []
    sample = scores(samples, law)
    return pooled(path, sample) + blocks(path, sample)


def _haar(samples: Values, law: Law, path: str) -> list[Evidence]:
    """One entry per draw, since the entries of one draw depend on each other, and the sign of the first.

    Which one is fixed by the path, so that it neither moves between runs nor is the same for all parameters.
    """
    flat = samples.reshape(len(samples), -1)
    chosen = flat[:, zlib.crc32(path.encode()) % flat.shape[1]]
    return [corner_sign(path, flat[:, 0]), *_independent(chosen, law, path)]


def _one_each(samples: Values, path: str) -> Values:
    """One entry of each draw, at an index chosen at random: its law is the one that `law(shape)` promises."""
    flat = samples.reshape(len(samples), -1)
    indices = np.random.default_rng(zlib.crc32(path.encode())).integers(flat.shape[1], size=len(flat))
    return flat[np.arange(len(flat)), indices]
