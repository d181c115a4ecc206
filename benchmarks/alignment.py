"""Aligning two models: against compiling and running each of them once, and as the number of tensors grows.

What grows is a mixture of experts: tensors of one shape, on the port's side in another order and transposed. A side is
a few lines of NumPy here, so that nearly all of the time is the alignment's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import paritree
from paritree import Linear, Map, Pair, ReLU, Sequential
from paritree.common.models.architectures.gpt2 import GPT2Config, gpt2
from paritree.common.spec import Layer
from paritree.common.wing.runs import Cotangents, Probe
from paritree.common.wing.stored import StoredTensor
from paritree.migration import aligned
from paritree.migration.align.matching import matched, offer_zero_gradients
from paritree.migration.align.points import Hypothesis, SymmetricPoint, run
from paritree.migration.align.proof import prove
from paritree.migration.align.rows import map_of
from paritree.migration.align.tie_breaking import assign_by_module, assign_by_name, assign_by_value
from paritree.pairs.comparison import Bound
from paritree.pairs.precision import STRICT
from paritree.pairs.side import Side
from paritree.pairs.values import cotangents
from paritree.pairs.wings import side_wing

from .measure import Action, ratio, row

FEW = 5_000
# An expert's shape on the reference's side.
SHAPE = (8, 4)
PAIRS = 5


class Case(NamedTuple):
    """A model in both frameworks."""

    name: str
    spec: Layer
    inputs: tuple[np.ndarray, ...]


def cases() -> list[Case]:
    generator = np.random.default_rng(0)
    config = GPT2Config(vocab_size=1000, n_positions=64, n_embd=256, n_layer=6, n_head=4)
    tokens = generator.integers(0, 1000, (2, 64))
    mlp = Sequential(*(layer for _ in range(4) for layer in (Linear(256, 256), ReLU())), Linear(256, 10))
    return [
        Case("GPT-2, 6 layers of width 256, 64 tokens", gpt2(config), (tokens,)),
        Case("MLP, 5 layers of width 256", mlp, (generator.normal(size=(64, 256)).astype(np.float32),)),
    ]


def once(models: Sequence[Any], inputs: tuple[np.ndarray, ...]) -> None:
    """Make each side ready to run and run it forward and backward once, at its own values."""
    for model in models:
        wing = side_wing(model)
        with wing.running("cpu", "float32"):
            wing.prober(model, inputs)({}, cotangents)


def against_one_pass() -> None:
    print("align over compiling, and one forward and backward pass, on each side (<= 2)")
    for case in cases():
        for port in ("linen", "nnx"):
            models = paritree.build(case.spec, "torch"), paritree.build(case.spec, port, seed=1)
            align = partial(paritree.align, Pair(*models, case.inputs))
            assert align().verified
            row(f"{case.name}, {port}", ratio(align, partial(once, models, case.inputs), pairs=PAIRS))


class Experts:
    """tanh(x_i W_i) for each expert i, with an x_i of its own: its parameters by path, and a run of it.

    names: each expert's path. order: for each of them which x_i it has. transposed: how W_i is stored.
    together: so many experts that follow one another are added.
    """

    def __init__(
        self, names: Sequence[str], inputs: np.ndarray, order: np.ndarray, transposed: bool, together: int
    ) -> None:
        self.names, self.transposed = names, transposed
        self.inputs = inputs[order].astype(np.float32)
        self.places = order // together

    def __call__(self, weights: Mapping[str, Any], cotangents: Cotangents, **_: Any) -> Probe:
        values = {**self.own, **weights}
        stacked = np.stack([values[name] for name in self.names])
        gradients, output = self.run(stacked, cotangents)
        return Probe({"": output}, dict(zip(self.names, gradients, strict=True)))

    def run(self, stacked: np.ndarray, cotangents: Cotangents) -> tuple[np.ndarray, np.ndarray]:
        """The gradients of all experts and the output."""
        kernels = stacked.swapaxes(1, 2) if self.transposed else stacked
        found = np.tanh(np.einsum("ni,nio->no", self.inputs, kernels))
        output = np.zeros((self.places.max() + 1, SHAPE[1]), np.float32)
        np.add.at(output, self.places, found)
        (weighted,) = cotangents([output.shape])
        slope = (1 - found**2) * weighted.astype(np.float32)[self.places]
        gradients = self.inputs[:, :, None] * slope[:, None, :]
        return np.ascontiguousarray(gradients.swapaxes(1, 2)) if self.transposed else gradients, output

    @property
    def own(self) -> dict[str, np.ndarray]:
        return dict.fromkeys(self.names, np.ones(SHAPE[::-1] if self.transposed else SHAPE, np.float32))

    def side(self, role: str) -> Side:
        tensors = {path: StoredTensor(path, array, trainable=True) for path, array in self.own.items()}
        wing: Any = SimpleNamespace(
            NAME="torch" if role == "reference" else "pytree",
            stored_tensors=lambda model: tensors,
            prober=lambda *given, dtype: self,
            running=lambda *setting: nullcontext(),
        )
        return Side(role, wing, self, self, ())


class Stacked(Experts):
    """The same with one tensor, which the experts are the entries of."""

    def __call__(self, weights: Mapping[str, Any], cotangents: Cotangents, **_: Any) -> Probe:
        ((path, own),) = self.own.items()
        gradients, output = self.run(weights.get(path, own), cotangents)
        return Probe({"": output}, {path: gradients})

    @property
    def own(self) -> dict[str, np.ndarray]:
        return {"params.experts.kernel": np.ones((len(self.names), *SHAPE[::-1]), np.float32)}


Sides = tuple[Side, Side]


def experts(count: int, kind: str) -> Sides:
    """Both sides of a mixture of so many experts.

    kind: `distinct`; `stacked`, where the port has one tensor for all of them; `alike`, in which two with one x_i are
        added, so that their gradients are equal; or `silent`, in which nine of ten get no token, and so no gradient.
    """
    generator = np.random.default_rng(0)
    inputs = generator.normal(size=(count, SHAPE[0]))
    if kind == "silent":
        inputs[np.arange(count) % 10 != 0] = 0
    order, together = np.arange(count), 1
    if kind == "alike":
        inputs[1::2], together = inputs[::2], 2
    ours = [f"layers.{each // 10}.experts.{each % 10}.weight" for each in order]
    shuffled = generator.permutation(count)
    theirs = [f"params.layers_{each // 10}.experts_{each % 10}.kernel" for each in shuffled]
    return (
        Experts(ours, inputs, order, False, together).side("reference"),
        (Stacked if kind == "stacked" else Experts)(theirs, inputs, shuffled, True, together).side("port"),
    )


def limit_of(sides: Sides) -> float:
    return STRICT.allowed(len(sides[0].tensors))


def point_of(sides: Sides) -> SymmetricPoint:
    return run(Hypothesis(), *sides)


def matching(sides: Sides) -> Action:
    point = point_of(sides)
    return lambda: matched(point, *sides, limit_of(sides))


def tie_breaking(sides: Sides) -> Action:
    """All of what comes after the gradients, up to a map; matching itself is in it too."""
    point = point_of(sides)
    values = [{path: native.array for path, native in side.tensors.items()} for side in sides]

    def assign() -> Map:
        candidates = offer_zero_gradients(matched(point, *sides, limit_of(sides)), *sides)
        assign_by_module(candidates)
        assign_by_value(candidates, values[0], values[1])
        assign_by_module(candidates)
        assign_by_name(candidates)
        return map_of(candidates, point.hypothesis, *sides)

    return assign


def proving(sides: Sides) -> Action:
    found = aligned(*sides).map
    return lambda: prove(Bound(*sides, found).comparison(STRICT))


def aligning(sides: Sides) -> Action:
    return lambda: aligned(*sides)


# Each with the kind of experts and how many there are.
STEPS = {
    "matching": (matching, "distinct", (10_000, 20_000, 50_000)),
    "all of the alignment": (aligning, "distinct", (20_000, 50_000)),
    "the same, stacked on one side": (aligning, "stacked", (20_000,)),
    "the proof alone": (proving, "distinct", (20_000,)),
    "two equal gradients each, to the map": (tie_breaking, "alike", (20_000,)),
    "nine of ten silent, to the map": (tie_breaking, "silent", (20_000,)),
}


def growing() -> None:
    print(f"Time for a tensor of so many of one shape over that of {FEW:,}; linear is 1")
    for name, (step, kind, counts) in STEPS.items():
        few = step(experts(FEW, kind))
        for count in counts:
            many = step(experts(count, kind))
            # As many tensors in either.
            row(f"{name}, {count:,}", ratio(many, lambda few=few, times=count // FEW: [few() for _ in range(times)], 3))


def main() -> None:
    against_one_pass()
    growing()
