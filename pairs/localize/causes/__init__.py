"""The causes that can be told by measurement, each sought in turn; the first that explains both sides is it."""

from __future__ import annotations

from ..gap import Cause, Gap
from .activations import activation
from .attention import attention
from .convolutions import convolution
from .norms import norm
from .patterns import border, constant, mask, rounded, scale
from .patterns import coarser as coarser
from .products import moved, transposed
from .randomness import dropout
from .randomness import random_calls as random_calls
from .windows import pooling
from .wiring import factors

# What computes both sides anew comes before what only looks at where they differ.
SOUGHT = (
    norm,
    activation,
    dropout,
    factors,
    constant,
    attention,
    pooling,
    convolution,
    transposed,
    moved,
    scale,
    rounded,
    mask,
    border,
)


def cause_of(gap: Gap) -> Cause | None:
    """The first cause that explains a gap; None where none does, for a cause is never guessed."""
    if gap.reference.shape != gap.port.shape or not gap.reference.size:
        return None
    return next((cause for sought in SOUGHT if (cause := sought(gap)) is not None), None)
