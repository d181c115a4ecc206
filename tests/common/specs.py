"""Nested specs for hypothesis, whose widths chain and whose references are known to the generator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

from hypothesis import strategies as st

from paritree.common import initializers, layers, paths, spec
from paritree.common.initializers import Normal, Uniform, Xavier, Zeros
from paritree.common.layers import GELU, Dropout, FixedLinear, Flatten, LeakyReLU, Linear, ReLU, Tanh
from paritree.common.spec import Block, Layer, Sequential, Shared

# What the repr of a spec may name.
NAMES: dict[str, Any] = {
    name: getattr(room, name) for room in (spec, layers, initializers) for name in dir(room) if name[0].isupper()
}

WIDTHS = st.integers(1, 3)
NUMBERS = st.floats(-2, 2, allow_nan=False)
TEXT = st.text(max_size=3).filter(lambda text: "." not in text)
WEIGHT_INITS = st.sampled_from([None, Normal(0.0, 0.01), Uniform(-1.0, 1.0), Xavier("normal", 2.0)])
BIAS_INITS = st.sampled_from([None, Zeros(), Normal()])


class Generated(NamedTuple):
    """A spec, the widths of its input and output, and for each Shared's path the path that it was made to mean."""

    spec: Layer
    width: int
    out: int
    targets: dict[str, str]


class Child(NamedTuple):
    """A complete layer that a later Shared may name."""

    path: str
    width: int
    out: int


@st.composite
def generated(draw: Any, depth: int = 3) -> Generated:
    width = draw(WIDTHS)
    grower = _Grower(draw)
    layer, out = grower.container("", width, depth, {})
    return Generated(layer, width, out, grower.targets)


class _Grower:
    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.names = 0
        self.targets: dict[str, str] = {}

    def container(self, path: str, width: int, depth: int, visible: dict[str, Child]) -> tuple[Layer, int]:
        # An index may be shadowed further inside; a Block's names are unlike all others, and cannot.
        known = {name: child for name, child in visible.items() if not name.isdigit()}
        is_block = self.draw(st.booleans())
        pairs: list[tuple[str, Layer]] = []
        calls: list[str] = []
        for place in range(self.draw(st.integers(0, 4))):
            self.names += 1
            name = f"{self.names} {self.draw(TEXT)}" if is_block else str(place)
            at = paths.join(path, name)
            layer, out = self.child(at, width, depth - 1, known)
            pairs.append((name, layer))
            known[name] = Child(at, width, out)
            calls.extend([name] * (self.draw(st.integers(1, 2)) if width == out else 1))
            width = out
        if not is_block:
            return Sequential(*(layer for _, layer in pairs)), width
        needed = len(calls) > len(pairs)
        return Block(pairs, calls if needed or self.draw(st.booleans()) else None), width

    def child(self, path: str, width: int, depth: int, visible: dict[str, Child]) -> tuple[Layer, int]:
        fitting = [name for name, child in visible.items() if child.width == width]
        kinds = ["leaf"] * 2 + ["container"] * 2 * (depth > 0) + ["shared"] * 2 * bool(fitting)
        kind = self.draw(st.sampled_from(kinds))
        if kind == "container":
            return self.container(path, width, depth, visible)
        if kind == "shared":
            name = self.draw(st.sampled_from(fitting))
            self.targets[path] = visible[name].path
            return Shared(name), visible[name].out
        return self.leaf(width)

    def leaf(self, width: int) -> tuple[Layer, int]:
        out = self.draw(WIDTHS)
        match self.draw(st.sampled_from(["linear", "linear", "fixed", "other"])):
            case "linear":
                bias = self.draw(st.booleans())
                bias_init = self.draw(BIAS_INITS) if bias else None
                return Linear(width, out, bias, self.draw(WEIGHT_INITS), bias_init), out
            case "fixed":
                return FixedLinear(width, out, self.draw(NUMBERS)), out
        others = [ReLU(), Tanh(), Flatten(), GELU("tanh"), Dropout(0.25), LeakyReLU(self.draw(NUMBERS))]
        return self.draw(st.sampled_from(others)), width


def lazy(layer: Layer) -> Layer:
    """The spec with every width of a Linear's input forgotten."""
    if isinstance(layer, Linear):
        return replace(layer, in_features=None)
    if isinstance(layer, Sequential):
        return Sequential(*map(lazy, layer.layers))
    if isinstance(layer, Block):
        return Block([(name, lazy(child)) for name, child in layer.named], layer.calls)
    return layer
