"""Products: a kernel that one side uses transposed, and an input whose axes one side takes for others."""

from __future__ import annotations

from itertools import islice, permutations

import numpy as np

from ..comparing import apart
from ..gap import Cause, Gap

_LETTERS = "abcdefgh"


def transposed(gap: Gap) -> Cause | None:
    """A dense layer with a square kernel that one of the two uses the other way."""
    held = [(path, array) for path, array in gap.held() if array.ndim == 2 and array.shape[0] == array.shape[1]]
    if gap.pair is None or not gap.known or len(held) != 1:
        return None
    x, (path, kernel) = gap.known[0].array, held[0]
    if x.shape[-1] != kernel.shape[0] or x.shape != gap.reference.shape:
        return None
    biases = [array for _, array in gap.held() if array.shape == (kernel.shape[0],)]
    bias = biases[0] if len(biases) == 1 else 0.0
    for one, other in ((kernel, kernel.T), (kernel.T, kernel)):
        if gap.is_reference(x @ one + bias) and gap.is_port(x @ other + bias):
            return Cause("transposed", f"the port uses {path!r} transposed, against what the map says")
    return None


def moved(gap: Gap) -> Cause | None:
    """What one makes of an array that both have is it in another order of axes of one length."""
    for known in gap.known:
        if known.array.size != gap.reference.size or known.array.ndim > 6:
            continue
        ours = _order(gap, known.array, gap.reference)
        theirs = _order(gap, known.array, gap.port)
        if ours and theirs and ours != theirs:
            return Cause(
                "axis order", f"the reference takes {known.label} with the axes {ours!r}, the port with {theirs!r}"
            )
    return None


def _order(gap: Gap, array: np.ndarray, of: np.ndarray) -> str:
    names = _LETTERS[: array.ndim]
    for order in islice(permutations(range(array.ndim)), 720):
        seen = array.transpose(order)
        if seen.size == of.size and apart(seen.reshape(of.shape), of) <= 4 * gap.limit:
            return f"{' '.join(names)} -> {' '.join(names[axis] for axis in order)}"
    return ""
