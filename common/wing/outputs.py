"""What the wings ask of a model's output: that it is one array, and of targets that they have its shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import NotExpressibleError, ShapeError


def one_array(output: Any) -> Any:
    """A model's output, if it is one array: what has no shape has no norm and no cotangent.

    Raises:
        NotExpressibleError: it is a tuple, or an object of the model's own.
    """
    if not hasattr(output, "shape") or not hasattr(output, "dtype"):
        raise NotExpressibleError(
            "",
            "a model whose output is one array",
            type(output).__name__,
            "Wrap the model in one that returns it.",
        )
    return output


def check_targets(targets: np.ndarray, output: Any) -> None:
    """Refuse targets of another shape than the output's, which would be broadcast without a word.

    Raises:
        ShapeError
    """
    if np.shape(targets) != tuple(one_array(output).shape):
        raise ShapeError("", f"targets of the output's shape {tuple(output.shape)}", f"shape {np.shape(targets)}")
