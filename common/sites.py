"""Sites: the single uses of a parameter in a program, and each one's share of the gradient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Site:
    """One operation that consumes a parameter.

    operation: what the framework calls it (`linear`, `dot_general`).
    gradient: its share of the parameter's gradient, a neutral array; the shares add up to the whole.
    """

    operation: str
    gradient: np.ndarray
