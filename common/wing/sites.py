"""Sites: the single uses of a parameter in a program, and each one's share of the gradient."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import PathError, nearest
from .runs import Cotangents


@dataclass(frozen=True)
class Site:
    """One operation that consumes a parameter.

    operation: what the framework calls it (`linear`, `dot_general`).
    gradient: its share of the parameter's gradient, a neutral array; the shares add up to the whole.
    """

    operation: str
    gradient: np.ndarray


class SiteProber(Protocol):
    """A side made ready to be asked for the sites of some of its parameters, for any weights.

    weights: native arrays by the paths of `natives`; what is not given keeps the value that it has in the model.
    paths: of the parameters asked for, as `natives` lists them: a tied one under the first of its paths. The others are
        constants, so that few cost little in a big model.

    Gives for each of the paths its sites in the order of the program, with native arrays, whose sum is the gradient of
    <outputs, cotangents> that the side's `prober` gives. A parameter that the outputs do not depend on has none.
    """

    def __call__(
        self, weights: Mapping[str, Any], cotangents: Cotangents, paths: Iterable[str]
    ) -> dict[str, tuple[Site, ...]]: ...


def asked(paths: Iterable[str], parameters: Iterable[str]) -> tuple[str, ...]:
    """The paths asked for, each once.

    parameters: the paths there are.

    Raises:
        PathError: a path that is none of them, and the nearest one.
    """
    known = tuple(parameters)
    wanted = tuple(dict.fromkeys(paths))
    for path in wanted:
        if path not in known:
            expected = "the path of a parameter of floating-point numbers, the first one of a tied parameter"
            raise PathError(path, expected, "none of that name", nearest(path, known))
    return wanted
