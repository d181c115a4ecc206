"""Values to compare models at: each tensor its own, of a size at which every part of a model shows.

All of it is float32, so that a run in float64 sees the very same numbers. Matrices have mean 0 and the standard
deviation (m n)^(-1/4), that of neither direction of use: up in one layer and down in the next, activations keep their
size. Vectors are positive, since one of them may be a variance.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from ..common.seeding import generator

ShapeClass = tuple[int, ...]
# The sizes of faint, of less faint and of large values beside ordinary ones.
FAINT, LESS_FAINT, LARGE = 2.0**-20, 2.0**-10, 16.0


def shape_class(shape: tuple[int, ...], periods: Mapping[int, int] = MappingProxyType({})) -> ShapeClass:
    """The class of a shape; along an axis with a period only that counts."""
    return tuple(sorted(periods.get(length, length) for length in shape if length != 1))


def distinct(path: str, own: np.ndarray, quiet: bool) -> np.ndarray:
    """Fresh values for one tensor, that no other one has.

    Matrices as at the symmetric point, vectors near the values `own` that the tensor has. There gains are large and
    biases small, and what positions of a sequence have in common does not drown in which they differ.

    quiet: all of it small. What is added to a variance shows where the variance is small, and nonlinearities elsewhere.
    """
    of = shape_class(own.shape)
    random = generator(1 + quiet, path)
    if len(of) > 1:
        made = drawn(of, random).reshape(own.shape)
        return made * np.float32(0.25) if quiet else made
    return (_near(own.astype(np.float64), random) * (0.0625 if quiet else 1.0)).astype(np.float32)


def _near(own: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each value by a factor of its own; what is zero a little more, so that a variance stays positive."""
    factors, above = random.uniform(0.75, 1.25, own.shape), random.uniform(0.01, 0.2, own.shape)
    return np.where(np.isfinite(own) & (own != 0), own * factors, above)


def drawn(of: ShapeClass, random: np.random.Generator) -> np.ndarray:
    """Fresh numbers of a class's sorted shape."""
    if len(of) < 2:
        return random.uniform(0.25, 1.25, of)
    *others, rows, columns = of
    size = math.sqrt(math.prod(others) * math.sqrt(rows * columns))
    return random.standard_normal(of, np.float32) / np.float32(size)


def outer_points(
    ordinary: Mapping[str, np.ndarray],
    shifted: Container[str],
    is_free: Callable[[str], bool],
    faint: float = FAINT,
    directions: Container[str] = (),
) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """Points at which only outputs are compared, with a name for each.

    Faint vectors, of which norms in a row see little; all of it faint, for what only matrices feed: even the least that
    is added to a variance shows. Large values of either sign, for bounds and lost signs.

    shifted: paths whose values stay, since one side holds them with something added.
    is_free: whether a path is a parameter; a buffer may be a variance, and keeps its sign.
    faint: the size of what is faint.
    directions: paths of what is divided by its length, and no fainter than LESS_FAINT: Flax's weight norm adds 1e-12 to
        the square of a length and PyTorch's nothing, which no model's own directions show.
    """

    def scaled(vectors: float, matrices: float, is_signed: bool) -> dict[str, np.ndarray]:
        found = {}
        for path, value in ordinary.items():
            factor = np.float32(1 if path in shifted else matrices if value.ndim > 1 else vectors)
            factor = max(factor, np.float32(LESS_FAINT)) if path in directions else factor
            found[path] = value if factor == 1 else value * factor
            if is_signed and value.ndim < 2 and is_free(path):
                signs = generator(0, f"sign {path}").choice(np.array([-1, 1], np.float32), value.shape)
                found[path] = found[path] * signs
        return found

    yield "faint vectors", scaled(faint, 1.0, False)
    yield "faint values", scaled(faint, faint, False)
    yield "large values of either sign", scaled(LARGE, LARGE, True)


def nudged(
    weights: Mapping[str, np.ndarray], is_nudged: Callable[[str], bool], eps: float, number: int
) -> dict[str, np.ndarray]:
    """The weights, some of them up or down by as much as rounding to a precision of this `eps` may move them.

    number: of the nudge; each goes other ways. They are in float32 at least, so that there is room for it.
    """
    found = dict(weights)
    for path in filter(is_nudged, weights):
        array = weights[path]
        signs = generator(number, f"nudge {path}").choice((-1.0, 1.0), array.shape)
        found[path] = (array * (1 + eps / 2 * signs)).astype(np.promote_types(array.dtype, np.float32))
    return found


def rounded(weights: Mapping[str, np.ndarray], is_free: Callable[[str], bool]) -> Iterator[dict[str, np.ndarray]]:
    """The weights, with all parameters that training moves as far away as rounding to float32 takes them."""
    for number in range(3):
        yield nudged(weights, is_free, float(np.finfo(np.float32).eps), number)


def cotangents(shapes: Sequence[tuple[int, ...]]) -> list[np.ndarray]:
    """Fixed normal weights for the outputs, the same on both sides."""
    return [generator(0, f"cotangent {number}").normal(size=shape) for number, shape in enumerate(shapes)]
