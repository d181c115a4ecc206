"""What every layer of a spec is: what it holds, how Flax spells that, and what it does to the shape that flows by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from numbers import Integral
from typing import Any, ClassVar, Literal

from ..errors import SpecError
from ..initializers import Initializer
from ..layouts import SAME, Layout
from .program import Program

# The shape of what flows between two layers, without the batch axis. None stands for a length that is not known, an
# Ellipsis in front for axes of which nothing is: (..., 8) is "any number of axes, the last of width 8".
Features = tuple[Any, ...]
UNKNOWN: Features = (Ellipsis,)


@dataclass(frozen=True)
class Native:
    """How the two Flax wings spell and store a parameter of a layer.

    names: what Flax calls it within its layer, dotted where a layer holds layers (`kernel` for PyTorch's `weight`).
        Several names are several arrays, which the canonical one holds in one: they lie along the leading axis of
        the native layout.
    layout: from the canonical layout to Flax's.
    initializer: what Flax's own class draws it from by default, of the canonical shape, or a function of the layer
        that gives it; None where Flax has no class of its own.
    collection: Linen's, where it is neither `params` nor, for a buffer, `buffers`.
    """

    names: str | tuple[str, ...]
    layout: Layout = SAME
    initializer: Initializer | Callable[[Any], Initializer | None] | None = None
    collection: str = ""

    @property
    def parts(self) -> tuple[str, ...]:
        """The names, also of a single one."""
        return (self.names,) if isinstance(self.names, str) else self.names

    def default(self, layer: Layer) -> Initializer | None:
        """What Flax's own class draws this parameter of `layer` from."""
        if self.initializer is None or isinstance(self.initializer, Initializer):
            return self.initializer
        return self.initializer(layer)


@dataclass(frozen=True)
class ParameterSpec:
    """One parameter or buffer of a layer.

    name: PyTorch's, dotted where PyTorch's layer holds layers (`out_proj.weight`); empty for a bare array.
    shape: canonical, with None for an unknown axis.
    initializer: what PyTorch's class draws it from; None while it depends on an unknown axis.
    dtype: its own, where it does not follow the model's (the integers of a counter).
    persistent: whether PyTorch's `state_dict` lists it.
    axes: lengths of axes that the native layout tells apart and the canonical shape does not.
    """

    name: str
    shape: tuple[int | None, ...]
    initializer: Initializer | None
    kind: Literal["parameter", "buffer"] = "parameter"
    dtype: str | None = None
    persistent: bool = True
    axes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, repr=False)
class Layer:
    """A node of a spec. A subclass says what it holds and what it does to the shape that flows by.

    A layer checks its settings when it is made, and stores numbers as Python's. What a method promises here, it
    promises in every subclass.

    natives: by the name of each parameter, how Flax spells and stores it.
    inputs: the least and the greatest number of arrays that a call takes.
    container: whether it holds layers, and nothing else.

    Raises:
        SpecError: settings that do not hold together; its path is empty, since a layer does not know where it will be.
        InitializerError: an initializer that is none or does not fit; its path is the parameter's name.
    """

    natives: ClassVar[Mapping[str, Native]] = {}
    inputs: ClassVar[tuple[int, int]] = (1, 1)
    container: ClassVar[bool] = False

    @property
    def kind(self) -> str:
        """The layer's word in tables and rules: the class's name."""
        return type(self).__name__

    def parameters(self) -> tuple[ParameterSpec, ...]:
        """What the layer itself holds, in PyTorch's order of registration."""
        return ()

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features | tuple[Features, ...]:
        """The shape of the output for inputs of these shapes, without the batch, or the shapes of several outputs.

        Raises:
            SpecError: the layer at `path` cannot take such inputs.
        """
        return self.out(inputs[0], path)

    def out(self, features: Features, path: str) -> Features:
        """As `outs`, for a layer with one input and one output.

        Raises:
            SpecError: the layer at `path` cannot take such an input.
        """
        return features

    def given(self, features: Features) -> Layer:
        """This layer with an unknown width filled in from its input; itself if nothing is unknown."""
        return self

    def children(self) -> tuple[tuple[str, Layer], ...]:
        """The layers that a container holds, each with its name, in order of registration."""
        return ()

    def with_children(self, children: Sequence[tuple[str, Layer]]) -> Layer:
        """This container with other children under the same names."""
        return self

    @property
    def program(self) -> Program | None:
        """How a container calls its children; None for a leaf, and for a container that is never called itself."""
        return None

    @classmethod
    def native_of(cls, name: str) -> Native | None:
        """How Flax spells and stores the parameter `name`; None for one that the layer does not have."""
        return cls.natives.get(name)

    @classmethod
    def names_in(cls, present: Mapping[str, tuple[int, ...]]) -> list[str]:
        """The parameters, in PyTorch's order, all of whose native names are among `present`.

        present: the native shape of each array that a live layer holds, by its dotted name.
        """
        return [name for name, native in cls.natives.items() if all(part in present for part in native.parts)]

    def __repr__(self) -> str:
        """The code that builds this layer, what is at its default left out."""
        shown = []
        for each in fields(self):
            value = getattr(self, each.name)
            if each.default is MISSING:
                shown.append(repr(value))
            elif value != each.default:
                shown.append(f"{each.name}={value!r}")
        return f"{self.kind}({', '.join(shown)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """The same code where IPython or hypothesis prints a spec, which would list its fields."""
        printer.text(repr(self))


def width(features: Features, layer: Layer, path: str) -> int | None:
    """The length of the last axis, None if unknown.

    Raises:
        SpecError: there is no axis at all.
    """
    if not features:
        raise SpecError(path, f"an input with at least one axis for {layer.kind}", "a scalar", "Drop the layer before.")
    return None if features[-1] is Ellipsis else features[-1]


def with_width(features: Features, size: int) -> Features:
    """`features` with its last axis replaced."""
    return (*features, size) if features == UNKNOWN else (*features[:-1], size)


def flat(features: Features) -> Features:
    """All axes but the batch merged into one; of unknown length if one of them is."""
    if Ellipsis in features:
        return UNKNOWN
    return (None,) if None in features else (math.prod(features),)


def positive(layer: Layer, **sizes: int) -> None:
    """Store sizes as ints, since NumPy's would show in the repr.

    Raises:
        SpecError: a size that is no positive whole number; its path is empty.
    """
    for name, size in sizes.items():
        if not isinstance(size, Integral) or isinstance(size, bool) or size < 1:
            raise SpecError("", f"{layer.kind}.{name} as a positive whole number", repr(size))
        object.__setattr__(layer, name, int(size))
