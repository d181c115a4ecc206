"""The inner nodes of a spec: `Sequential` and `List` name their children by number, a `Block` by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

from .. import paths
from ..errors import ChildNameError, PathError, SpecError, nearest
from .layer import Layer
from .program import Program, chain, read
from .shape_flow import flow


@dataclass(frozen=True, init=False, repr=False)
class Numbered(Layer):
    """A container whose children are named by their index.

    Raises:
        SpecError: a child that is no layer.
    """

    container: ClassVar[bool] = True

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer) -> None:
        object.__setattr__(self, "layers", tuple(layers))
        _check_layers(self.children())

    def __repr__(self) -> str:
        return f"{self.kind}({', '.join(map(repr, self.layers))})"

    def children(self) -> tuple[tuple[str, Layer], ...]:
        """The layers under their indices, as text."""
        return tuple((str(index), layer) for index, layer in enumerate(self.layers))

    def with_children(self, children: Sequence[tuple[str, Layer]]) -> Layer:
        return type(self)(*(child for _, child in children))


class Sequential(Numbered):
    """Layers in a row, named by their index as in `torch.nn.Sequential`.

    Raises:
        SpecError: a child that is no layer, or two neighbours whose widths do not chain.
    """

    def __init__(self, *layers: Layer) -> None:
        super().__init__(*layers)
        flow(self, check_references=False)

    @cached_property
    def program(self) -> Program:
        return chain([name for name, _ in self.children()])


class List(Numbered):
    """Layers that the program of a Block around them calls, named by their index as in `torch.nn.ModuleList`."""


@dataclass(frozen=True, init=False, repr=False)
class Block(Layer):
    """Named children, applied in order, or in the order of `calls` (a name may occur repeatedly), or as `forward` says.

    children: a mapping, or pairs, from a name to a layer. Parameters and Buffers come first, as PyTorch lists them.
    calls: the names in the order in which the forward pass calls them; each child once if None.
    forward: the text of a function whose names are inputs, values and children; see common/spec/program.py.

    Raises:
        ChildNameError: a name that is empty, dotted or taken.
        SpecError: neighbours in the order of calls whose widths do not chain, children that are none, or a `forward`
            that cannot be read.
        PathError: `calls` or `forward` names no child.
    """

    container: ClassVar[bool] = True

    named: tuple[tuple[str, Layer], ...]
    calls: tuple[str, ...] | None = field(default=None)
    forward: str | None = field(default=None)

    def __init__(
        self,
        children: Mapping[str, Layer] | Sequence[tuple[str, Layer]],
        calls: Sequence[str] | None = None,
        forward: str | None = None,
    ) -> None:
        pairs = _pairs(children)
        paths.check_child_names((name for name, _ in pairs), "")
        _check_layers(pairs)
        _check_order(pairs)
        if calls is not None and forward is not None:
            raise SpecError("", "calls or forward", "both", "Write the order of calls in forward.")
        calls = None if calls is None else _checked_calls(calls, dict(pairs))
        object.__setattr__(self, "named", pairs)
        object.__setattr__(self, "calls", calls)
        object.__setattr__(self, "forward", forward)
        flow(self, check_references=False)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name!r}: {layer!r}" for name, layer in self.named)
        how = "" if self.calls is None else f", calls={self.calls!r}"
        how += "" if self.forward is None else f", forward={self.forward!r}"
        return f"Block({{{inside}}}{how})"

    def children(self) -> tuple[tuple[str, Layer], ...]:
        """The layers under their names, Parameters and Buffers first."""
        return self.named

    def with_children(self, children: Sequence[tuple[str, Layer]]) -> Layer:
        return Block(children, self.calls, self.forward)

    @cached_property
    def program(self) -> Program:
        if self.forward is not None:
            return read(self.forward, dict(self.named))
        return chain(tuple(name for name, _ in self.named) if self.calls is None else self.calls)


def _pairs(children: Any) -> tuple[tuple[str, Layer], ...]:
    try:
        return tuple((name, layer) for name, layer in (children.items() if isinstance(children, Mapping) else children))
    except (TypeError, ValueError):
        raise SpecError("", "children as a mapping, or as pairs of a name and a layer", repr(children)) from None


def _check_layers(pairs: Sequence[tuple[str, Any]]) -> None:
    for name, layer in pairs:
        if not isinstance(layer, Layer):
            raise SpecError(name, "a layer", f"{layer!r}", "Children are specs: Linear(4, 8), ReLU(), ...")


def _check_order(pairs: Sequence[tuple[str, Layer]]) -> None:
    """Refuse a bare array behind what is none: PyTorch lists a module's own arrays before those of its children."""
    kinds = [layer.parameters()[0].kind if layer.inputs == (0, 0) else "layer" for _, layer in pairs]
    ranks = [("parameter", "buffer", "layer").index(kind) for kind in kinds]
    for (name, layer), rank, highest in zip(pairs[1:], ranks[1:], _running_max(ranks), strict=True):
        if rank < highest:
            remedy = f"Move {name!r} to the front."
            raise ChildNameError(name, "Parameters, then Buffers, then layers", f"a {layer.kind} behind", remedy)


def _running_max(values: Sequence[int]) -> list[int]:
    return [max(values[: end + 1]) for end in range(len(values) - 1)]


def _checked_calls(calls: Any, names: Mapping[str, Layer]) -> tuple[str, ...]:
    if isinstance(calls, str):
        raise SpecError("", "calls as a sequence of names", repr(calls), f"Write calls=({calls!r},).")
    calls = tuple(calls)
    for name in calls:
        if name not in names:
            raise PathError(str(name), "the name of a child in calls", "none of that name", nearest(str(name), names))
    return calls
