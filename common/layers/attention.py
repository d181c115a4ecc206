"""Attention in several heads: one packed matrix in PyTorch, a kernel for each of query, key and value in Flax."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from ..errors import SpecError
from ..initializers import FLAX_KERNEL, TORCH_WEIGHT, Xavier, Zeros
from ..layouts import Layout
from ..spec import Features, Layer, Native, ParameterSpec, positive
from .checks import axes, check_bias, check_number, fits

_PARTS = ("query", "key", "value")
_SPLIT = Layout("(h d) e -> e h d")


@dataclass(frozen=True, repr=False)
class MultiheadAttention(Layer):
    """softmax(q k^T / sqrt(d)) v in `heads` heads of width d = features / heads (Vaswani et al. 2017, section 3.2).

    Inputs: (query), (query, key), (query, key, value) or (query, key, value, mask), where a key that is None is the
    query and a value that is None is the key. They are (batch, T, features), (batch, S, kdim) and (batch, S, vdim).
    The output is (batch, T, features), without the weights.

    mask: True or 1 where a query may attend to a key, as in Flax and the opposite of `torch.nn.MultiheadAttention`;
        broadcastable to (batch, T, S). A query that may attend to nothing gets zeros from every head, as in PyTorch,
        so that the output there is the bias of `out_proj`; Flax's own classes attend to all keys alike.
    dropout: of single weights, in training only; Flax's default would drop a position in all heads and samples at once.
    kdim, vdim: widths of key and value, `features` if None. With another one PyTorch has three matrices in the place
        of the packed one.
    """

    natives: ClassVar[Mapping[str, Native]] = {
        "in_proj_weight": Native(
            tuple(f"{part}.kernel" for part in _PARTS), Layout("(p h d) e -> p e h d"), initializer=FLAX_KERNEL
        ),
        "q_proj_weight": Native("query.kernel", _SPLIT, initializer=FLAX_KERNEL),
        "k_proj_weight": Native("key.kernel", _SPLIT, initializer=FLAX_KERNEL),
        "v_proj_weight": Native("value.kernel", _SPLIT, initializer=FLAX_KERNEL),
        "in_proj_bias": Native(
            tuple(f"{part}.bias" for part in _PARTS), Layout("(p h d) -> p h d"), initializer=Zeros()
        ),
        "out_proj.weight": Native("out.kernel", Layout("e (h d) -> h d e"), initializer=FLAX_KERNEL),
        "out_proj.bias": Native("out.bias", initializer=Zeros()),
    }
    inputs: ClassVar[tuple[int, int]] = (1, 4)

    features: int
    heads: int
    bias: bool = True
    dropout: float = 0.0
    kdim: int | None = None
    vdim: int | None = None

    def __post_init__(self) -> None:
        positive(self, features=self.features, heads=self.heads)
        positive(self, **{name: getattr(self, name) for name in ("kdim", "vdim") if getattr(self, name) is not None})
        if self.features % self.heads:
            expected = f"MultiheadAttention.features as a multiple of its {self.heads} heads"
            raise SpecError("", expected, str(self.features))
        check_bias(self, self.bias, None)
        check_number(self, "dropout", lambda rate: 0 <= rate < 1, "in [0, 1)")

    @property
    def widths(self) -> tuple[int, int, int]:
        """The widths of query, key and value."""
        return (self.features, self.kdim or self.features, self.vdim or self.features)

    @property
    def packed(self) -> bool:
        """Whether PyTorch has one matrix for query, key and value."""
        return set(self.widths) == {self.features}

    @classmethod
    def names_in(cls, present: Mapping[str, tuple[int, ...]]) -> list[str]:
        """As for any layer: packed are arrays of one shape, and what is packed is not listed separately, too."""
        found = [name for name in super().names_in(present) if len({present[part] for part in _parts(cls, name)}) == 1]
        separate = [f"{part[0]}_proj_weight" for part in _PARTS] if "in_proj_weight" in found else []
        return [name for name in found if name not in separate]

    def parameters(self) -> tuple[ParameterSpec, ...]:
        heads, axes = (("h", self.heads),), (("p", 3), ("h", self.heads))
        found = [ParameterSpec("in_proj_weight", (3 * self.features, self.features), Xavier("uniform"), axes=axes)]
        if not self.packed:
            found = [
                ParameterSpec(f"{part[0]}_proj_weight", (self.features, width), Xavier("uniform"), axes=heads)
                for part, width in zip(_PARTS, self.widths, strict=True)
            ]
        if self.bias:
            found.append(ParameterSpec("in_proj_bias", (3 * self.features,), Zeros(), axes=axes))
        found.append(ParameterSpec("out_proj.weight", (self.features, self.features), TORCH_WEIGHT, axes=heads))
        if self.bias:
            found.append(ParameterSpec("out_proj.bias", (self.features,), Zeros()))
        return tuple(found)

    def outs(self, inputs: tuple[Features, ...], path: str) -> Features:
        query, key, value, *_ = (*inputs, *[None] * 3)
        # A key that is left out in front of a mask has a shape that is not known, and fits.
        key = query if key is None else key
        value = key if value is None else value
        times = self._time("query", query, path), self._time("key", key, path), self._time("value", value, path)
        if not fits(times[1:2], times[2:]):
            raise SpecError(path, "a key and a value of one length", f"{times[1]} and {times[2]}")
        return (times[0], self.features)

    def _time(self, part: str, features: Any, path: str) -> int | None:
        """The length of the query, key or value; raises SpecError for another number of axes or another width."""
        time, found = axes(features, self, path, "time", "width")
        name, width = {"query": "features", "key": "kdim", "value": "vdim"}[part], self.widths[_PARTS.index(part)]
        if found not in (None, width):
            remedy = f"Set {name} to {found}, or change the layer before."
            raise SpecError(path, f"a {part} of width {width} ({name})", f"width {found}", remedy)
        return time


def _parts(layer: type[Layer], name: str) -> tuple[str, ...]:
    return layer.natives[name].parts
