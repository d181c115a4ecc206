"""The reference models: every network of the study's catalogue, as a spec with inputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import UsageError, nearest
from ..initializers import Ones
from ..layers import Decoder, Embedding, FixedLinear, Halve, Linear, ReLU, Sum, Tanh
from ..seeding import generator
from ..spec import Block, Layer, Sequential, Shared, flow, table_of
from ..tables import Row, Table


@dataclass(frozen=True)
class ReferenceModel:
    """A spec and what it takes.

    input_shape: with the batch axis in front.
    vocabulary: inputs are tokens below this number; None for inputs that are N(0, 1).
    rows: the rows of the study catalogue that use it.
    """

    name: str
    title: str
    spec: Layer
    input_shape: tuple[int, ...]
    vocabulary: int | None = None
    rows: tuple[str, ...] = ()

    @property
    def resolved(self) -> Layer:
        """The spec with the widths that the inputs give, which a lazy layer does not know."""
        return flow(self.spec, self.input_shape[1:])[0]

    def table(self, dtype: str = "float32") -> Table:
        return table_of(self.resolved, dtype)

    def inputs(self, seed: int = 0, dtype: str = "float32") -> tuple[np.ndarray, ...]:
        """Neutral inputs, the same for one seed in every process; tokens are int32."""
        random = generator(seed, f"inputs of {self.name}")
        if self.vocabulary is not None:
            return (random.integers(0, self.vocabulary, self.input_shape, np.int32),)
        # Rounded to float32 first, so that a float64 run sees the very same numbers.
        return (random.normal(size=self.input_shape).astype(np.float32).astype(dtype),)


def neutral_weights(rows: Table, seed: int = 0, dtype: str = "float32") -> dict[str, np.ndarray]:
    """Distinct values for every owner, by path, scaled so that a deep model neither dies nor explodes.

    Fresh normals, not an initializer's: at an initialization many parameters are alike (zero biases, constants), and a
    swap of two such parameters would change nothing that a test could see. They are multiples of 2^-12, so that any
    floating-point type down to float32 holds them exactly. A buffer that starts at one stays positive, and one of whole
    numbers keeps those that it starts with.
    """
    return {row.path: _neutral(row, generator(seed, row.path), dtype) for row in rows.owners}


def _neutral(row: Row, random: np.random.Generator, dtype: str) -> np.ndarray:
    shape, initializer = row.sizes, row.initializer
    if row.kind == "buffer" and initializer is not None and initializer.deterministic:
        if np.issubdtype(np.dtype(row.dtype), np.integer):
            return np.asarray(initializer.draw(shape)).astype(row.dtype)  # type: ignore[attr-defined]
        if isinstance(initializer, Ones):
            # What starts at one is a variance or a scale, and stays positive.
            return (1 + np.round(random.uniform(0, 1, shape) * 4096) / 4096).astype(dtype)
    fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 4
    values = random.normal(size=shape) / np.sqrt(fan_in)
    return (np.round(values * 4096) / 4096).astype(dtype)


def _small_block() -> Layer:
    return Sequential(Linear(4, 8), ReLU(), Linear(8, 4), ReLU())


def _wide_block() -> Layer:
    return Sequential(Linear(16, 32), ReLU(), Linear(32, 16), ReLU())


_ALL = (
    ReferenceModel(
        "mlp", "4-8-1 with a ReLU", Sequential(Linear(4, 8), ReLU(), Linear(8, 1)), (2, 4), rows=("A1", "I1")
    ),
    ReferenceModel(
        "named",
        "20-256-10 with named layers and no biases",
        Block({"Linear_1": Linear(20, 256, bias=False), "relu": ReLU(), "Linear_2": Linear(256, 10, bias=False)}),
        (2, 20),
        rows=("A13", "I7", "N4"),
    ),
    ReferenceModel(
        "nested-spaces",
        "four blocks, named with a space, and a linear layer",
        Sequential(Block({f"block {i}": _small_block() for i in range(4)}), Linear(4, 1)),
        (2, 4),
        rows=("N1", "N3", "N5"),
    ),
    ReferenceModel(
        "nested",
        "four blocks, named without a space, and a linear layer",
        Sequential(Block({f"block{i}": _small_block() for i in range(4)}), Linear(4, 1)),
        (2, 4),
        rows=("N1", "N3"),
    ),
    ReferenceModel(
        "nested-named",
        "the nested net with a name for every container",
        Block(
            {
                "model": Block({f"block{i}": _wide_block() for i in range(4)}),
                "Last_linear_layer": Linear(16, 10),
            }
        ),
        (2, 16),
        rows=("N2", "N3"),
    ),
    ReferenceModel(
        "shared-layer",
        "4-8-8-8-1 with one layer in slots 2 and 4",
        Sequential(Linear(4, 8), ReLU(), Linear(8, 8), ReLU(), Shared("2"), ReLU(), Linear(8, 1)),
        (2, 4),
        rows=("W1", "W2", "W4", "E1"),
    ),
    ReferenceModel(
        "shared-block",
        "a block with named children in slots 2 and 3",
        Sequential(
            Linear(4, 8),
            ReLU(),
            Block({"linear_shared": Linear(8, 8), "relu_shared": ReLU()}),
            Shared("2"),
            Linear(8, 1),
        ),
        (2, 4),
        rows=("W8",),
    ),
    ReferenceModel(
        "ones", "one 1x1 layer used twice", Sequential(Linear(1, 1, bias=False), Shared("0")), (1, 1), rows=("W6", "W7")
    ),
    ReferenceModel(
        "lazy",
        "an 8-1 net that learns its width from its input",
        Sequential(Linear(None, 8), ReLU(), Linear(None, 1)),
        (2, 4),
        rows=("L1", "L2"),
    ),
    ReferenceModel(
        "fancy-mlp",
        "a layer called twice, a weight that is not trained, a loop on values",
        Block(
            {
                "linear": Linear(20, 20),
                "constant": FixedLinear(20, 20, shift=1.0),
                "relu": ReLU(),
                "halve": Halve(1.0),
                "sum": Sum(),
            },
            calls=("linear", "constant", "relu", "linear", "halve", "sum"),
        ),
        (2, 20),
        rows=("E2", "W9"),
    ),
    ReferenceModel(
        "language-model",
        "an embedding, a hidden layer, and the embedding transposed as the decoder",
        Block(
            {
                "embedding": Embedding(32, 16),
                "hidden": Linear(16, 16),
                "tanh": Tanh(),
                "decoder": Decoder("embedding", bias=True),
            }
        ),
        (2, 5),
        vocabulary=32,
        rows=("W11",),
    ),
)

MODELS: dict[str, ReferenceModel] = {model.name: model for model in _ALL}


def reference_model(name: str) -> ReferenceModel:
    """The reference model of that name; raises UsageError naming the nearest one."""
    if name not in MODELS:
        raise UsageError(name, "the name of a reference model", "none of that name", nearest(name, MODELS))
    return MODELS[name]
