"""Initializers whose entries are random and depend on their index or on each other: orthogonal, sparse, a zero row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InitializerError
from .base import (
    Initializer,
    assign,
    expect_dimensions,
    finite_number,
    first_difference,
    first_index,
    positive_number,
)
from .laws import Continuous, Law, haar_entry, thinned

# A normal draw in float32 is exactly 0 with a probability of about one in 2^23 (a uniform on that grid).
_ZERO_DRAW = 2.0**-22
# The chance that the allowance for such draws is exceeded by a correct initializer.
_ZERO_DRAW_ALARM = 1e-9


@dataclass(frozen=True)
class Orthogonal(Initializer):
    """`gain` times a Haar-distributed (semi-)orthogonal matrix, `(out, in * kernel)` (Saxe et al. 2014).

    The shorter of rows and columns are orthonormal. Haar needs the signs of R's diagonal in the QR
    factorization to be moved into Q (Mezzadri 2007, section 5); without that, Q[0, 0] always has one sign.

    Raises:
        InitializerError: a gain that is no finite number above 0.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        assign(self, gain=positive_number("Orthogonal", "gain", self.gain))

    @property
    def independent(self) -> bool:
        """False: the entries of a row have a fixed norm."""
        return False

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless the shape is at least a matrix, and not empty."""
        if len(shape) < 2 or 0 in shape:
            raise InitializerError(
                path, "a shape of at least 2 dimensions, none of them 0, for Orthogonal", f"shape {tuple(shape)}"
            )

    def law(self, shape: Sequence[int]) -> Law:
        """The law of an entry of a Haar matrix, at any index; raises as `validate` does."""
        self.validate(shape)
        return haar_entry(max(shape[0], math.prod(shape[1:])), self.gain)

    def violation(self, array: np.ndarray[Any, Any]) -> str | None:
        """Rows or columns, of `(out, in * kernel)`, that are not orthogonal and of norm `gain`."""
        return _not_orthogonal(array.reshape(array.shape[0], -1), self.gain)


@dataclass(frozen=True)
class DeltaOrthogonal(Initializer):
    """A convolution `(out, in, *kernel)` that is 0 but at the kernel's middle, and there orthogonal.

    The middle is index (k - 1) // 2, and out >= in (Xiao et al. 2018; `jax.nn.initializers.delta_orthogonal`).

    Raises:
        InitializerError: a gain that is no finite number above 0.
    """

    gain: float = 1.0

    def __post_init__(self) -> None:
        assign(self, gain=positive_number("DeltaOrthogonal", "gain", self.gain))

    @property
    def independent(self) -> bool:
        """False: the entries of a column have a fixed norm."""
        return False

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless it is a convolution's shape, out >= in."""
        expect_dimensions("DeltaOrthogonal", shape, (3, 4, 5), path)
        if shape[0] < shape[1] or 0 in shape:
            raise InitializerError(path, "at least as many outputs as inputs", f"shape {tuple(shape)}")

    def middle(self, shape: Sequence[int]) -> tuple[int, ...]:
        """The kernel position that is not 0, an index for each spatial axis."""
        return tuple((size - 1) // 2 for size in shape[2:])

    def law(self, shape: Sequence[int]) -> Law:
        """The law of an entry at a random index: mostly 0, at the middle a Haar matrix's; raises as `validate` does."""
        self.validate(shape)
        return thinned(haar_entry(shape[0], self.gain), 1 / math.prod(shape[2:]))

    def violation(self, array: np.ndarray[Any, Any]) -> str | None:
        """A value other than 0 off the middle, or a middle that is not orthogonal."""
        middle = (slice(None), slice(None), *self.middle(array.shape))
        rest = np.array(array)
        rest[middle] = 0
        if np.count_nonzero(rest):
            index = first_index(rest)
            return f"entry {index} is {array[index]}, expected 0 off the kernel's middle {middle[2:]}"
        return _not_orthogonal(array[middle], self.gain)


@dataclass(frozen=True)
class Sparse(Initializer):
    """Normal with mean 0, then ceil(sparsity * rows) zeros in every column of a `(rows, columns)` matrix.

    Their rows are chosen at random, column by column (Martens 2010, section 5; PyTorch's `sparse_`).

    Raises:
        InitializerError: a sparsity that is not between 0 and 1, or a std that is no finite number above 0.
    """

    sparsity: float
    std: float = 0.01

    def __post_init__(self) -> None:
        sparsity, std = finite_number("Sparse", "sparsity", self.sparsity), positive_number("Sparse", "std", self.std)
        if not 0 <= sparsity <= 1:
            raise InitializerError("", "sparsity of Sparse between 0 and 1", repr(sparsity))
        assign(self, sparsity=sparsity, std=std)

    @property
    def independent(self) -> bool:
        """False: the number of zeros in a column is fixed."""
        return False

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless the shape has two dimensions, and rows."""
        expect_dimensions("Sparse", shape, (2,), path)
        if 0 in shape:
            raise InitializerError(path, "a shape without 0 for Sparse", f"shape {tuple(shape)}")

    def zeros(self, shape: Sequence[int]) -> int:
        """The number of zeros in each column."""
        return math.ceil(self.sparsity * shape[0])

    def law(self, shape: Sequence[int]) -> Law:
        """The law of an entry at a random index: 0 for the share of zeros in a column; raises as `validate` does."""
        self.validate(shape)
        return thinned(Law(Continuous("norm", (), 0.0, self.std)), 1 - self.zeros(shape) / shape[0])

    def violation(self, array: np.ndarray[Any, Any]) -> str | None:
        """A column with too few zeros, or more zeros beyond them than exact-zero draws explain."""
        from scipy import stats

        expected = self.zeros(array.shape)
        counts = np.count_nonzero(array == 0, axis=0)
        # A draw that happens to be 0 adds to a column; nothing takes away from one.
        spare = int(stats.poisson.isf(_ZERO_DRAW_ALARM, array.size * _ZERO_DRAW))
        if counts.min() >= expected and int((counts - expected).sum()) <= spare:
            return None
        column = int(np.argmax(np.where(counts < expected, array.size, counts - expected)))
        return f"column {column} has {int(counts[column])} zeros, expected {expected} of {array.shape[0]} entries"


@dataclass(frozen=True)
class ZeroRow(Initializer):
    """A draw of `of` in which the row `row`, an index on the first axis, is +0.0: an Embedding's with a padding_idx.

    Raises:
        InitializerError: an `of` whose entries depend on each other or on their index, or a row that is no index.
    """

    of: Initializer
    row: int

    def __post_init__(self) -> None:
        # Where entries depend on each other or on their index, the law of the others would not be that of all.
        if not isinstance(self.of, Initializer) or not (self.of.independent or not self.of.reads_axes):
            raise InitializerError("", "an initializer of independent entries as of of ZeroRow", repr(self.of))
        if isinstance(self.row, bool) or not isinstance(self.row, int) or self.row < 0:
            raise InitializerError("", "a whole number of at least 0 as row of ZeroRow", repr(self.row))

    @property
    def independent(self) -> bool:
        """False: an entry's index decides whether it is random."""
        return False

    @property
    def deterministic(self) -> bool:
        """Whether `of` is."""
        return self.of.deterministic

    def validate(self, shape: Sequence[int], path: str = "") -> None:
        """Raise an InitializerError that names `path` unless the shape has the row, and suits `of`."""
        self.of.validate(shape, path)
        if len(shape) < 1 or self.row >= shape[0]:
            raise InitializerError(path, f"a shape with a row {self.row} for ZeroRow", f"shape {tuple(shape)}")

    def others(self, array: np.ndarray[Any, Any], axis: int = 0) -> np.ndarray[Any, Any]:
        """The rows that are drawn: an array `(vocabulary, ...)` without the row; `axis` is its first one."""
        return np.delete(array, self.row, axis)

    def law(self, shape: Sequence[int]) -> Law:
        """The law of an entry at a random index: 0 for the share of the one row; raises as `validate` does."""
        self.validate(shape)
        return thinned(self.of.law(shape), 1 - 1 / shape[0])

    def violation(self, array: np.ndarray[Any, Any]) -> str | None:
        """An entry of the row that is not +0.0, or what can never happen in the others."""
        wrong = first_difference(array[self.row], np.zeros(array.shape[1:]))
        return f"row {self.row}: {wrong}" if wrong else self.of.violation(self.others(array))


def _not_orthogonal(matrix: np.ndarray[Any, Any], gain: float) -> str | None:
    """Where the Gram matrix of the shorter side, in float64, is not gain^2 times the identity, or None.

    The bound allows what Householder QR loses, eps times the larger side (in practice its square root;
    Higham 2002, theorem 19.4, proves more), and the rounding of each entry when it was cast, which moves an
    entry of the Gram matrix by at most one eps of the stored dtype. No arithmetic is done below float32.
    """
    rows, columns = matrix.shape
    wide = matrix.astype(np.float64)
    gram = wide @ wide.T if rows <= columns else wide.T @ wide
    error = np.abs(gram - gain**2 * np.eye(len(gram)))
    stored = 2.0 ** -(_mantissa_bits(matrix.dtype))
    computed = min(stored, float(np.finfo(np.float32).eps))
    allowed = gain**2 * (2 * stored + 8 * computed * max(rows, columns))
    if error.max() <= allowed:  # False for NaN, too.
        return None
    first, second = (int(index) for index in np.unravel_index(np.argmax(error), error.shape))
    side = "row" if rows <= columns else "column"
    return (
        f"the product of {side}s {first} and {second} is {gram[first, second]:.6g}, "
        f"expected {gain**2 if first == second else 0.0:.6g} within {allowed:.2g}"
    )


def _mantissa_bits(dtype: np.dtype[Any]) -> int:
    """The stored bits of a floating dtype's mantissa; NumPy's finfo does not know bfloat16."""
    return 7 if dtype.name == "bfloat16" else int(np.finfo(dtype).nmant)
