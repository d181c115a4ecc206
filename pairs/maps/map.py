"""Maps: which tensor of a reference is which of its port, and with which axes.

A map is about native tensors, each under its owner's path as its framework spells it, dotted. A row may be about a
piece of a tensor, so that what one side packs the other may split.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...common.columns import terminal_width
from ...common.markup import Mark, Prose, Sheet, of_object
from ..wings import optimizer_states
from . import files, forms
from .correspondence import Correspondence
from .optimizers import carry_state, owners
from .products import check_way, weight_norms
from .resize import fitted
from .shared import check_kept, without_copies
from .weights import assemble, given_arrays, nested, with_aliases

# The directions whose weights are a tree; a `state_dict` and the leaves of a bare pytree are flat.
TREES = ("linen", "nnx")


@dataclass(frozen=True)
class Map(Correspondence):
    """The correspondence between the two sides of a pair.

    direction: what the two sides are, such as `("torch", "linen")`.
    unmatched_reference, unmatched_port: owners' paths without a row.
    aside_reference, aside_port: owners that no map is about, buffers of whole numbers and those that are not saved with
        the model: counters and constants, which each side has of its own.
    verified: whether distinct values, carried across by the rows, gave equal outputs and gradients.
    notes: what is to be known of the runs that found it, such as that a side was not compiled; no file has them.

    Raises:
        MapError: a path twice, a tensor of which an entry is in no row or in two, or rows that do not agree on a shape.
    """

    def carry(self, weights: Any, *, keep: Collection[str] = ()) -> dict[str, Any]:
        """The reference's weights as the port's tree.

        weights: path -> array, or nested mappings and lists of arrays, of any framework. An alias may be given with
            its owner, to which it must be equal, or for it. What is unmatched or aside may be given and is left out.
            A weight norm's magnitude and direction may be given for their product.
        keep: where the reference keeps copies of what is one tensor of the port, paths whose values are taken; without
            one the copies must be equal.

        Nested dicts for a Linen or NNX port (`module.apply(made.carry(model.state_dict()), x)`; an NNX list's keys are
        whole numbers), flat with every alias for PyTorch and a bare pytree. The arrays are NumPy's: views of the given
        ones where a row is whole and its axes are only permuted.

        Raises:
            WeightsError: one message for all missing, extra and misshapen entries and ties of two values.
            UsageError: a path to keep that is none of a tie or a copy.
            MapError: the port has a weight norm in a tensor's place, to whose factors no way leads.
        """
        carried = self.arrays(weights, keep=keep)
        if self.direction[1] in TREES:
            return nested(carried, with_numbers=self.direction[1] == "nnx")
        return with_aliases(carried, self.by_port)

    def arrays(self, weights: Any, *, keep: Collection[str] = ()) -> dict[str, np.ndarray]:
        """As `carry`, but flat and the port's owners only: what a wing's `with_stored_tensors` takes.

        Raises:
            WeightsError, UsageError, MapError: as `carry`.
        """
        check_way(self)
        check_kept(self, keep)
        given = given_arrays(self, weights, keep)
        return {path: assemble(without_copies(rows, keep), given.__getitem__) for path, rows in self.by_port.items()}

    def carry_optimizer(
        self,
        optimizer: Any,
        like: Any,
        *,
        reference_model: Any = None,
        port_model: Any = None,
        step: int | None = None,
    ) -> Any:
        """The state of the reference's optimizer as that of the port's, to go on with where the other one stopped.

        optimizer: a `torch.optim.Optimizer` or its state_dict, of which the names of the parameters must be known; or a
            state of optax's, an `nnx.Optimizer` or a TrainState.
        like: the port's optimizer, of the same recipe: one of the same kinds. Of optax's a state of `init`, live or
            from `jax.eval_shape`. It says what is to be kept, in which types and where.
        reference_model, port_model: the module that has a PyTorch optimizer's parameters, or their names in the order
            of its groups; unnecessary where it was made with `named_parameters()`.
        step: the number of updates made, where a schedule of the port needs it and the reference counts none.

        Returns what `like` is: PyTorch's optimizer and nnx.Optimizer themselves, written to in place, and otherwise a
        new state_dict, state or TrainState. Settings, such as the learning rate, are carried where optax has them
        injected; schedules go by the count of updates, of which PyTorch's schedulers have one of their own.

        Raises:
            NotExpressibleError: what the other framework has not, with the path and the reason.
            WeightsError: one message for all states that are missing, extra, misshapen or not finite.
            UsageError: no optimizer, no names of its parameters, or a number of updates that is not known.
        """
        ours, theirs = (optimizer_states(name) for name in self.direction)
        found = ours.read(optimizer, owners(self, "reference"), reference_model)
        carried = carry_state(self, found, step)
        return theirs.write(like, carried, owners(self, "port"), port_model)

    def inverse(self) -> Map:
        """The way back."""
        return Map(
            tuple(row.inverse() for row in self.rows),
            (self.direction[1], self.direction[0]),
            self.unmatched_port,
            self.unmatched_reference,
            self.aside_port,
            self.aside_reference,
            self.verified,
        )

    def fit(
        self,
        reference_shapes: Mapping[str, Sequence[int]],
        port_shapes: Mapping[str, Sequence[int]] | None = None,
    ) -> Map:
        """The same map for another size of the model: one found on a tiny configuration, for the full-size one.

        reference_shapes, port_shapes: the new models' shapes by native path, owners or all.

        Rows that differ only in numbers of their paths (`h.3.` and `h_3.`) or in places of a stack (`[3]`) are one
        template where the port's numbers follow from the reference's along a line; it is used for every number that
        the new reference has. A number that never varied, since the tiny model has one layer, is taken to be the one
        that is the same in both paths; if there is none it stays what it was. A new path that several templates could
        be about takes those of the known path of its rank with most numbers in common. Lengths follow from the shapes
        on both ends of a row: `[8:16]` of 24 beside a kernel of 8 is `[768:1536]` of 2304 beside one of 768. Without
        the port's shapes, spans of one length stay so, unless another axis that was as long as one tells that they are
        not, and the factors of a split axis must follow from the reference; where they do not, an error says so.

        The result is verified only if it is this map.

        Raises:
            MapError: all that is missing, extra or misshapen on either side, and all lengths that do not follow.
        """
        shapes = {path: tuple(shape) for path, shape in reference_shapes.items()}
        for path, (magnitude, direction) in weight_norms(shapes, self).items():
            shapes[path] = shapes.pop(direction)
            del shapes[magnitude]
        port = None if port_shapes is None else {path: tuple(shape) for path, shape in port_shapes.items()}
        return fitted(self, shapes, port)

    def __str__(self) -> str:
        """Its rows in columns, as wide as the terminal, and below them how far it goes."""
        return forms.to_text(self, terminal_width())

    def _repr_html_(self) -> str:
        """The same in a notebook."""
        header, *cells = forms.cells(self)
        mark = Mark("proved", "pass") if self.verified else Mark("not proved", "skip")
        words = [Prose(line) for line in (forms.summary(self), *forms.besides(self))]
        return of_object("Map", [*words, Sheet(header, cells, header[:3])], mark)

    def save(self, file: str | Path) -> None:
        """Write the map as JSON, one row a line. The file appears whole or not at all; a map that is there is replaced.

        Raises:
            UsageError: something else is there.
            OSError: the file cannot be written.
        """
        files.save(self, Path(file))

    @staticmethod
    def load(file: str | Path) -> Map:
        """Read a map. One whose rows were edited since it was verified is verified no more.

        Raises:
            MapError: the file is not there, is no map, is one of another version, or does not hold together.
        """
        return files.load(Path(file), Map)

    @staticmethod
    def of(given: Map | str | os.PathLike[str]) -> Map:
        """A map as it is, or read of its file.

        Raises:
            MapError: as `load`.
        """
        return given if isinstance(given, Map) else Map.load(Path(given))
