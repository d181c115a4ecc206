"""A small model as torch and Flax have it, for the tests of conversion: a map with everything that a map can have."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors.numpy import load_file, save_file

from paritree.pairs.maps import Map, MapRow
from paritree.pairs.maps.pieces import parsed

SHAPES: dict[str, tuple[int, ...]] = {
    "embed.weight": (7, 4),
    "in_proj.weight": (12, 4),
    "conv.weight": (6, 5, 3, 2),
    "norm.weight": (4,),
    "cell.bias_ih": (8,),
    "cell.bias_hh": (8,),
    "scale": (),
}


def row(reference: str, port: str, shape: tuple[int, ...], layout: str, **others: object) -> MapRow:
    port_shape = others.pop("port_shape", shape)
    return MapRow(reference, port, shape, port_shape, layout, "rule", **others)  # type: ignore[arg-type]


def example() -> Map:
    """A tie, a projection of three pieces with heads, a convolution, a transform, a sum, and one that is aside."""
    heads = {"port_shape": (4, 2, 2), "sizes": (("h", 2), ("d", 2))}
    return Map(
        (
            row("embed.weight", "params.embed.embedding", (7, 4), "v d -> v d", reference_aliases=("head.weight",)),
            *(
                row(
                    "in_proj.weight",
                    f"params.{name}.kernel",
                    (12, 4),
                    "(h d) i -> i h d",
                    reference_piece=parsed(f"[{4 * number}:{4 * number + 4}]"),
                    **heads,
                )
                for number, name in enumerate(("query", "key", "value"))
            ),
            row("conv.weight", "params.conv.kernel", (6, 5, 3, 2), "o i h w -> h w i o", port_shape=(3, 2, 5, 6)),
            row("norm.weight", "params.norm.scale", (4,), "a -> a", transform="x - 1"),
            row("cell.bias_ih", "params.cell.bias", (8,), "a -> a", summed=True),
            row("cell.bias_hh", "params.cell.bias", (8,), "a -> a", summed=True),
            row("scale", "params.scale", (), "->"),
        ),
        ("torch", "linen"),
        aside_reference=("steps",),
        aside_port=("batch_stats.count",),
    )


def weights(seed: int = 0, dtype: type = np.float32) -> dict[str, np.ndarray]:
    """The torch side's tensors, of which the first is also the head's."""
    generator = np.random.default_rng(seed)
    found = {path: np.asarray(generator.normal(size=shape).astype(dtype)) for path, shape in SHAPES.items()}
    return {**found, "steps": np.asarray(3)}


def saved(file: Path, arrays: dict[str, np.ndarray], metadata: dict[str, str] | None = None) -> Path:
    """As safetensors itself saves them."""
    save_file({path: array.copy(order="C") for path, array in arrays.items()}, file, metadata)
    return file


def loaded(file: Path) -> dict[str, np.ndarray]:
    """As safetensors itself loads them."""
    return load_file(file)


def assert_equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """The same paths, dtypes, shapes and bits."""
    assert sorted(found) == sorted(expected)
    for path, array in expected.items():
        assert (path, found[path].dtype, found[path].shape) == (path, array.dtype, array.shape)
        assert found[path].tobytes() == np.ascontiguousarray(array).tobytes(), path


BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
