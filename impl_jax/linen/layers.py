"""The modules that the spec needs and linen does not have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
from flax import linen

from ..draws import NativeInit


@dataclass(frozen=True)
class Members:
    """Modules that a field carries unseen.

    Linen adopts a module that it finds in a field at once, under a name of its own making. Kept in here, each is
    adopted in `setup`, under the name that is set there; and one that stands in two places is adopted once, which is
    what a tie is in Linen.
    """

    pairs: tuple[tuple[str, Any], ...]


class Block(linen.Module):
    """Named children that the forward pass calls in the order of `calls`, some of them repeatedly."""

    members: Members
    calls: tuple[str, ...]

    def setup(self) -> None:
        for name, child in self.members.pairs:
            setattr(self, name, child)

    def __call__(self, x: jax.Array) -> jax.Array:
        for name in self.calls:
            x = getattr(self, name)(x)
        return x


class Sequence(Block):
    """A Block whose children have linen.Sequential's names, `layers_0`, `layers_1`, ...

    linen.Sequential itself holds its children in a field, where one that also stands in another container would be
    adopted twice.
    """


class Decoder(linen.Module):
    """Logits x E^T + b, with E read where the Embed holds it: `attend` needs no transposed copy."""

    owner: Members
    use_bias: bool
    bias_init: Callable[..., Any]
    param_dtype: Any

    def setup(self) -> None:
        ((_, self.embed),) = self.owner.pairs
        if self.use_bias:
            self.bias = self.param("bias", self.bias_init, (self.embed.num_embeddings,), self.param_dtype)

    def __call__(self, x: jax.Array) -> jax.Array:
        logits = self.embed.attend(x)
        return logits + self.bias if self.use_bias else logits


class FixedLinear(linen.Module):
    """y = x W + shift with W in the collection `buffers`: it travels with the model and is not trained."""

    in_features: int
    out_features: int
    shift: float
    kernel_init: NativeInit
    param_dtype: Any

    def setup(self) -> None:
        shape = (self.in_features, self.out_features)
        self.kernel = self.variable(
            "buffers", "kernel", lambda: self.kernel_init(self.make_rng("params"), shape, self.param_dtype)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        return x @ self.kernel.value + self.shift


class Dropout(linen.Module):
    """Dropout that is active when `apply` is given a `dropout` key, and the identity when it is not."""

    rate: float

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return linen.Dropout(self.rate, deterministic=not self.has_rng("dropout"))(x)
