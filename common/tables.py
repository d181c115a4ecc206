"""Tables: the ordered list of a model's parameters and buffers.

A row stands for one path. A tied parameter has one row for its owner and one for each alias, so
the paths of a table are what PyTorch's `state_dict` lists and its owners what `named_parameters`
lists. Shapes are in the canonical layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol, TypeVar

import numpy as np

from . import table_text
from .columns import columns as columns
from .columns import terminal_width
from .errors import ChildNameError, DtypeError, PathError, ShapeError, WeightsError, nearest, unfit
from .markup import Prose, Sheet, of_object
from .rows import Kind as Kind
from .rows import ModuleRow as ModuleRow
from .rows import Row as Row
from .rows import Shape as Shape
from .rows import native_text as native_text
from .rows import shape_text as shape_text
from .table_text import modules_in_order as modules_in_order
from .text import counted as counted
from .ties import Tie, TieGroup, group


@dataclass(frozen=True)
class Table:
    """The rows of a model, in the order in which PyTorch registers them.

    modules: those that a forward pass called, each behind the one that it lies in; none where there was no pass.

    Two are equal if their rows are.
    """

    rows: tuple[Row, ...]
    modules: tuple[ModuleRow, ...] = field(default=(), compare=False)
    _by_path: Mapping[str, Row] = field(init=False, repr=False, compare=False, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_path", {row.path: row for row in once(self.rows)})

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __contains__(self, path: object) -> bool:
        return path in self._by_path

    def __getitem__(self, path: str) -> Row:
        """The row of a path.

        Raises:
            PathError: no such path; the message names the nearest one.
        """
        row = self._by_path.get(path)
        if row is None:
            raise PathError(path, "a path of the model", "none of that name", nearest(path, self._by_path))
        return row

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths of all rows, aliases included, in order."""
        return tuple(self._by_path)

    @property
    def owners(self) -> tuple[Row, ...]:
        """The rows that are not aliases."""
        return tuple(row for row in self.rows if row.tie is None)

    @property
    def parameters(self) -> tuple[Row, ...]:
        """The trained arrays, each once: what PyTorch's `named_parameters` lists."""
        return tuple(row for row in self.owners if row.kind == "parameter")

    @property
    def buffers(self) -> tuple[Row, ...]:
        """The state that is not trained, each once: what PyTorch's `named_buffers` lists."""
        return tuple(row for row in self.owners if row.kind == "buffer")

    @property
    def ties(self) -> tuple[Tie, ...]:
        """A tie for each alias, in order."""
        return tuple(row.tie for row in self.rows if row.tie is not None)

    @property
    def tie_groups(self) -> tuple[TieGroup, ...]:
        """The ties gathered by owner."""
        return group(self.ties)

    @property
    def scalars(self) -> int:
        """How many numbers the parameters hold, a tied one counted once."""
        return sum(row.size for row in self.parameters)

    def owner(self, path: str) -> str:
        """The path that owns `path`: itself unless it is an alias.

        Raises:
            PathError: no such path; the message names the nearest one.
        """
        tie = self[path].tie
        return tie.owner if tie else path

    def check(self, path: str, array: Any) -> Row:
        """The row of `path`, if `array` (any framework's, in the canonical layout) fits it.

        Raises:
            PathError: no such path; the message names the nearest one.
            ShapeError: another shape; the message says whether it is the transposed one.
            DtypeError: no array, or one that the row's dtype cannot hold.
        """
        row = self[path]
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            raise DtypeError(path, f"an array of {row.dtype}", type(array).__name__, "Make it one: np.asarray(...).")
        if tuple(array.shape) != row.shape:
            found = f"shape {tuple(array.shape)}"
            raise ShapeError(path, f"shape {shape_text(row.shape)}", found, _shape_remedy(row, array.shape))
        if not fits_dtype(array, row.dtype):
            raise DtypeError(path, row.dtype, dtype_name(array), f"Cast it first: array.astype({row.dtype!r}).")
        return row

    def check_weights(self, weights: Mapping[str, Any]) -> None:
        """Refuse weights, arrays in the canonical layout by path, that do not give every owner one that fits it.

        Raises:
            WeightsError: one message for all missing, extra and misshapen entries.
        """
        if not isinstance(weights, Mapping):
            raise WeightsError("", "a mapping from paths to arrays", type(weights).__name__)
        wanted = {row.path: row for row in self.owners}
        faults = [f"{path} is missing" for path in wanted if path not in weights]
        for path, array in weights.items():
            row = wanted.get(path)
            if row is None:
                alias = path in self and self[path].tie
                faults.append(f"{path} is an alias of {alias.owner}" if alias else f"{path} is not in the model")
            elif not hasattr(array, "shape") or not hasattr(array, "dtype"):
                faults.append(f"{path} is no array but {type(array).__name__}")
            elif tuple(array.shape) != row.shape:
                faults.append(f"{path} has shape {tuple(array.shape)} and needs {shape_text(row.shape)}")
            elif not fits_dtype(array, row.dtype):
                faults.append(f"{path} is {dtype_name(array)} and needs {row.dtype}")
        if faults:
            raise WeightsError(
                "",
                f"one array for each of {counted(len(wanted), 'owner')}, in the canonical layout",
                unfit(faults),
                "Nothing was loaded.",
            )

    def to_json(self) -> list[dict[str, Any]]:
        """The rows as plain data, in order."""
        return [
            {
                "path": row.path,
                "shape": list(row.shape),
                "dtype": row.dtype,
                "kind": row.kind,
                "layer": row.layer,
                "initializer": None if row.initializer is None else repr(row.initializer),
                # An alias is its owner as it stands, which readers of a table are told.
                "tie": None if row.tie is None else {**asdict(row.tie), "transform": "identity"},
                "native_path": list(row.native_path),
                "layout": row.layout.pattern,
            }
            for row in self.rows
        ]

    def modules_json(self) -> list[dict[str, Any]]:
        """The modules as plain data, in order."""
        return [{**asdict(each), "outputs": [list(shape) for shape in each.outputs]} for each in self.modules]

    def __str__(self) -> str:
        """As wide as the terminal; see `text`."""
        return self.text(terminal_width())

    def text(self, width: int | None = None, depth: int | None = None) -> str:
        """Plain text with the totals below it: one path a line, or the modules as a tree where there are any.

        width: of a line; where one path a line is wider, the rows stand layer by layer. None for as wide as it is.
        depth: of the deepest modules that are shown, 0 for the model itself; all of them unless it is given.
        """
        rows = self.rows
        found = table_text.as_tree(rows, self.modules, width, depth) if self.modules else table_text.listed(rows, width)
        return "\n".join((*found, "", self.summary))

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        header, *cells = table_text.tree(self.rows, self.modules) if self.modules else table_text.cells(self.rows)
        codes = {"path", "initializer", "native path", "layout", "tie", "module or parameter"}
        sheet = Sheet(header, cells, codes, {"scalars"})
        return of_object("Table", [Prose(self.summary), sheet])

    @property
    def summary(self) -> str:
        """How many parameters, scalars, aliases and buffers there are, in words."""
        parts = [counted(len(self.parameters), "parameter"), counted(self.scalars, "scalar")]
        if self.ties:
            parts.append(counted(len(self.ties), "alias", "aliases"))
        if self.buffers:
            parts.append(counted(len(self.buffers), "buffer"))
        return ", ".join(parts)


Named = TypeVar("Named", bound="HasPath")


class HasPath(Protocol):
    """What `once` needs of a row, or of a wing's leaf."""

    @property
    def path(self) -> str: ...
    @property
    def native_path(self) -> tuple[str | int, ...]: ...


def once(rows: Iterable[Named]) -> Iterator[Named]:
    """The rows as they come, each path once.

    Raises:
        ChildNameError: two arrays whose names lead to one path, such as a `weight` beside a `kernel`.
    """
    seen: dict[str, tuple[str | int, ...]] = {}
    for row in rows:
        if row.path in seen:
            both = f"two, stored as {native_text(seen[row.path])!r} and {native_text(row.native_path)!r}"
            raise ChildNameError(row.path, "one array under a path", both, "Rename one of the two in the model.")
        seen[row.path] = row.native_path
        yield row


def dtype_name(array: Any) -> str:
    """`float32` for a NumPy, jax or torch array alike."""
    return str(array.dtype).removeprefix("torch.")


def alike(one: str, other: str) -> bool:
    """Whether two dtypes are one for a comparison: JAX holds a whole number in 32 bits where PyTorch takes 64."""
    return one == other or {one, other} == {"int32", "int64"}


def fits_dtype(array: Any, dtype: str) -> bool:
    """Whether an array can be stored as `dtype` with nothing lost: its own type, or whole numbers in range."""
    found = dtype_name(array)
    if found == dtype or not alike(found, dtype):
        return found == dtype
    limits = np.iinfo(dtype)
    return not array.size or (int(array.min()) >= limits.min and int(array.max()) <= limits.max)


def _shape_remedy(row: Row, found: tuple[int, ...]) -> str:
    if None in row.shape:
        return "An axis is not known yet: send an input through the model first."
    if not row.layout.is_known:
        return "Give the array as it is stored: the layer is not known, and so its layout is not either."
    if tuple(found) == row.shape[::-1]:
        return "It is transposed: give arrays in the canonical layout, PyTorch's."
    return "Give the array in the canonical layout, PyTorch's."
