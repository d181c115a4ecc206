"""Random specs of every layer type, for hypothesis: nesting, ties, widths, several inputs and outputs of a layer.

A strategy grows a spec along a shape: what may come next depends on the axes that there are, and on sizes. A spec that
fails is printed as the code that builds it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hypothesis import reject
from hypothesis import strategies as st

from paritree.common import layers as ls
from paritree.common.errors import ParitreeError, SpecError
from paritree.common.initializers import Normal
from paritree.common.spec import Block, Layer, List, Sequential, Shared, flow
from paritree.common.spec.expansion import table_of

Shape = tuple[int, ...]
Draw = Callable[..., Any]
VOCABULARY = 7
LARGEST = 600

ANY = (
    *(ls.Identity(), ls.Dropout(0.5), ls.ReLU(), ls.ReLU6(), ls.LeakyReLU(0.2), ls.PReLU(), ls.ELU(1.5), ls.SELU()),
    *(ls.CELU(0.7), ls.SiLU(), ls.GELU(), ls.GELU("tanh"), ls.Mish(), ls.Hardswish(), ls.Hardsigmoid(), ls.Hardtanh()),
    *(ls.Tanh(), ls.Sigmoid(), ls.LogSigmoid(), ls.Softsign(), ls.Softplus(), ls.Softmax(), ls.LogSoftmax()),
    *(ls.Flatten(), ls.Halve(3.0)),
)


@dataclass(frozen=True)
class Generated:
    """A spec and the shape of its input, the batch axis aside; tokens if the shape is that of an index."""

    spec: Layer
    shape: Shape
    tokens: bool


def pointwise(draw: Draw, shape: Shape) -> Layer:
    return draw(st.sampled_from(ANY))


def last_axis(draw: Draw, shape: Shape) -> Layer:
    """Layers that act on the last axis."""
    width, other, bias = shape[-1], draw(st.integers(2, 6)), draw(st.booleans())
    options = [
        ls.Linear(width, other, bias=bias),
        ls.Linear(None, other, bias=bias),
        ls.TransposedLinear(width, other, bias=bias),
        ls.FixedLinear(width, other, shift=0.5),
        ls.LayerNorm(width, bias=bias),
        ls.RMSNorm(width),
    ]
    if width % 2 == 0:
        options.append(ls.GLU())
    return draw(st.sampled_from(options))


def vector(draw: Draw, shape: Shape) -> Layer:
    (width,) = shape
    return draw(st.sampled_from([ls.BatchNorm1d(width), ls.PReLU(width), ls.LayerNorm(width, affine=False)]))


def sequence(draw: Draw, shape: Shape) -> Layer:
    """(time, width)."""
    width = shape[-1]
    hidden, layers, both = draw(st.integers(2, 4)), draw(st.integers(1, 2)), draw(st.booleans())
    options: list[Layer] = [make(width, hidden, layers, bidirectional=both) for make in (ls.RNN, ls.LSTM, ls.GRU)]
    options += [ls.Take(draw(st.integers(-1, 1)), 1), ls.Rearrange("b t c -> b (t c)"), ls.Rearrange("b t c -> b c t")]
    heads = draw(st.sampled_from([each for each in (1, 2, 3) if width % each == 0]))
    options.append(ls.MultiheadAttention(width, heads, bias=draw(st.booleans())))
    attend = Block(
        {"project": ls.Linear(width, 3 * width), "split": ls.Split(3), "attend": ls.Attention(heads, causal=both)},
        forward="""
        def forward(x):
            q, k, v = split(project(x))
            return attend(q, k, v)
        """,
    )
    return draw(st.sampled_from([*options, attend]))


def image(draw: Draw, shape: Shape) -> Layer:
    """(channels, *spatial)."""
    channels, rank = shape[0], len(shape) - 1
    n = f"{rank}d"
    out, kernel = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    stride, padding = draw(st.integers(1, 2)), draw(st.integers(0, 1))
    groups = draw(st.sampled_from([each for each in (1, 2, 3) if channels % each == 0]))
    settings = {"stride": stride, "padding": padding, "bias": draw(st.booleans())}
    options = [
        getattr(ls, f"Conv{n}")(channels, out * groups, kernel, groups=groups, **settings),
        getattr(ls, f"Conv{n}")(channels, out, kernel, dilation=2, padding=2),
        getattr(ls, f"ConvTranspose{n}")(channels, out, kernel, **settings),
        getattr(ls, f"BatchNorm{n}")(channels),
        getattr(ls, f"InstanceNorm{n}")(channels, affine=draw(st.booleans())),
        ls.GroupNorm(groups, channels),
        ls.PReLU(channels),
        *(getattr(ls, f"{how}Pool{n}")(2, stride=stride) for how in ("Max", "Avg")),
        *(getattr(ls, f"Adaptive{how}Pool{n}")(draw(st.integers(1, 2))) for how in ("Max", "Avg")),
    ]
    return draw(st.sampled_from(options))


def leaf(draw: Draw, shape: Shape) -> Layer:
    """A layer that takes an array of that shape."""
    families = [pointwise, last_axis]
    if len(shape) == 1:
        families.append(vector)
    if len(shape) == 2:
        families += [sequence] * 3
    if len(shape) > 1:
        families += [image] * 3
    for _ in range(8):
        layer = draw(st.sampled_from(families))(draw, shape)
        try:
            _, out = flow(layer, shape)
        except SpecError:
            continue
        if 0 < math.prod(out) <= LARGEST and len(out) > 0:
            return layer
    return ls.Identity()


class Growing:
    """A spec that grows child by child. `complete` holds the layers that a Shared may stand for, with their shapes."""

    def __init__(self, draw: Draw) -> None:
        self.draw = draw
        self.complete: list[tuple[str, Shape]] = []

    def layer(self, shape: Shape, depth: int, path: str) -> tuple[Layer, Shape]:
        """A layer for inputs of that shape, and the shape of what it gives."""
        how = self.draw(st.sampled_from(["leaf", "leaf", "sequential", "block", "residual", "scaled"]))
        if depth == 0 or how == "leaf":
            return self._leaf(shape, path)
        if how == "residual":
            return self._residual(shape), shape
        if how == "scaled":
            return self._scaled(shape), shape
        names = [str(index) for index in range(self.draw(st.integers(1, 3)))]
        if how == "block":
            names = self.draw(st.permutations(["a", "b c", "norm", "0", "if"]))[: len(names)]
        children: list[tuple[str, Layer]] = []
        for name in names:
            child, shape = self.layer(shape, depth - 1, f"{path}.{name}" if path else name)
            children.append((name, child))
        return Sequential(*(child for _, child in children)) if how == "sequential" else Block(children), shape

    def _leaf(self, shape: Shape, path: str) -> tuple[Layer, Shape]:
        again = [place for place, of in self.complete if of == shape]
        if again and self.draw(st.booleans()):
            return Shared(self.draw(st.sampled_from(again))), shape
        layer = leaf(self.draw, shape)
        _, out = flow(layer, shape)
        # Only what keeps the shape is shared, so that a second use fits wherever the shape does.
        if path and out == shape and layer.parameters():
            self.complete.append((path, shape))
        return layer, out

    def _residual(self, shape: Shape) -> Layer:
        inner = leaf(self.draw, shape)
        if flow(inner, shape)[1] != shape:
            return Block({"down": ls.Linear(shape[-1], 3), "act": ls.Tanh(), "up": ls.Transposed("down")})
        return Block(
            {"layers": List(inner, ls.Tanh())},
            forward="""
            def forward(x):
                for layer in layers:
                    x = x + layer(x) * 0.5
                return x - layers[1](x)
            """,
        )

    def _scaled(self, shape: Shape) -> Layer:
        bare = (1, *shape)
        return Block(
            {"scale": ls.Parameter(bare, Normal()), "shift": ls.Buffer(bare, Normal()), "act": ls.Tanh()},
            forward="def forward(x): return act(x * scale + shift)",
        )


@st.composite
def specs(draw: Any) -> Generated:
    """A random spec: of tokens with a tied decoder, or of an array of up to four axes."""
    if draw(st.integers(0, 3)) == 0:
        return language_model(draw)
    shape = tuple(draw(st.integers(2, 5)) for _ in range(draw(st.integers(1, 4))))
    try:
        spec, _ = Growing(draw).layer(shape, 3, "")
        table_of(flow(spec, shape)[0])
    except ParitreeError:
        # A Shared whose path means another layer where it stands.
        reject()
    return Generated(spec, shape, False)


def language_model(draw: Draw) -> Generated:
    """Tokens, an embedding, something that keeps the shape, and the embedding again."""
    time, width = draw(st.integers(2, 4)), draw(st.sampled_from([2, 4, 6]))
    shape = (time, width)
    body = [each for each in (leaf(draw, shape) for _ in range(3)) if flow(each, shape)[1] == shape]
    padding = draw(st.sampled_from([None, 0, -1]))
    children: dict[str, Layer] = {
        "offset": ls.Parameter((VOCABULARY,), Normal()),
        "wte": ls.Embedding(VOCABULARY, width, padding_idx=padding),
        "wpe": ls.Embedding(time, width),
        "positions": ls.Positions(),
        "body": Sequential(*body),
        "norm": ls.LayerNorm(width),
        "again": Shared("norm"),
        "decoder": ls.Decoder("wte", bias=draw(st.sampled_from([False, True, "offset"])), scale=0.5),
    }
    forward = """
    def forward(tokens):
        x = wte(tokens) * 2 + wpe(positions(tokens))
        return decoder(again(norm(body(x))))
    """
    return Generated(Block(children, forward=forward), (time,), True)
