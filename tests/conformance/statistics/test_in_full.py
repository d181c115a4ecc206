"""Every row that the tests give for some samples, and every scheme that is named, as they were read and found right.

A number that moves is a change of the statistics: look whether it is meant, and write the file again by
`python -m tests.conformance.statistics.test_in_full`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from paritree.common.initializers import (
    Initializer,
    Kaiming,
    LeCun,
    Masked,
    Normal,
    Orthogonal,
    Sparse,
    TruncatedNormal,
    Uniform,
    Xavier,
    ZeroRow,
    Zeros,
)
from paritree.common.initializers.base import ShapeFree
from paritree.conformance.statistics import Evidence, across, compare, copies, examine, judge, likeliest

from .samples import Draw, by_rows, cut, haar, half, normal, padded, side, uniform

FILE = Path(__file__).with_name("in_full.txt")
SHAPE = (24, 16)


def drawn(draw: Draw, shape: tuple[int, ...] = SHAPE, draws: int = 6, seed: int = 0) -> np.ndarray:
    return draw(np.random.default_rng(seed), (draws, *shape))


def sparse(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """In each column a third of the rows is zero."""
    values = 0.01 * rng.standard_normal(shape)
    order = rng.permuted(np.broadcast_to(np.arange(shape[1])[:, None], shape), axis=1)
    return np.where(order < np.ceil(0.3 * shape[1]), 0, values).astype(np.float32)


def masked(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    values = rng.uniform(-10, 10, shape)
    return np.where(values < 5, 0, values).astype(np.float32)


def repeated(draw: Draw) -> Draw:
    """The same for each seed, but for one entry."""

    def made(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        values = np.array(np.broadcast_to(draw(rng, (1, *shape[1:])), shape))
        values[:, 0, 0] = rng.standard_normal(shape[0])
        return values

    return made


def at_its_ends(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A uniform draw may be its lower bound itself."""
    values = rng.uniform(-1, 1, shape).astype(np.float32)
    values[:, :2] = -1, 1
    return values


ONE_SIDE: dict[str, tuple[Draw, Initializer, tuple[int, ...]]] = {
    "normal": (normal(), Normal(0.0, 0.02), SHAPE),
    "normal, too wide": (normal(0.03), Normal(0.0, 0.02), SHAPE),
    "normal for uniform": (normal(0.1), Uniform(-0.1, 0.1), SHAPE),
    "uniform": (uniform(), Uniform(-1.0, 1.0), (3, 4, 5, 6)),
    "uniform, at its ends": (at_its_ends, Uniform(-1.0, 1.0), (300,)),
    "uniform, too narrow": (uniform(0.98), Uniform(-1.0, 1.0), (900,)),
    "by rows": (by_rows, Normal(10.0, 10.0), SHAPE),
    "cut": (cut(0.02), TruncatedNormal(0.0, 0.0227, cut="sigma"), SHAPE),
    "in half": (half(normal()), Normal(0.0, 0.02), SHAPE),
    "padded": (padded(normal()), ZeroRow(Normal(0.0, 0.02), 0), SHAPE),
    "sparse": (sparse, Sparse(sparsity=0.3, std=0.01), SHAPE),
    "sparse, too little": (sparse, Sparse(sparsity=0.6, std=0.01), SHAPE),
    "masked": (masked, Masked(Uniform(-10.0, 10.0), 5.0), SHAPE),
    "masked, too little": (masked, Masked(Uniform(-10.0, 10.0), 2.0), SHAPE),
    "orthogonal": (haar(), Orthogonal(), (8, 6)),
    "orthogonal, signs not fixed": (haar(False), Orthogonal(), (8, 6)),
    "orthogonal, gain": (haar(gain=1.1), Orthogonal(), (8, 6)),
    "normal for orthogonal": (normal(), Orthogonal(), (8, 6)),
    "repeated": (repeated(normal()), Normal(0.0, 0.02), SHAPE),
}
TWO_SIDES: dict[str, tuple[Draw, Draw, tuple[int, ...]]] = {
    "alike": (normal(), normal(), SHAPE),
    "another std": (normal(), normal(0.03), SHAPE),
    "another family": (normal(0.577), uniform(), SHAPE),
    "cut": (normal(), cut(0.02), (40, 40)),
    "by rows": (by_rows, normal(10.0), SHAPE),
    "one in half": (normal(), half(normal()), SHAPE),
    "both in half": (half(normal()), half(normal(0.04)), SHAPE),
    "one padded": (padded(normal()), normal(), SHAPE),
    "both padded": (padded(normal()), padded(normal()), SHAPE),
    "sparse": (sparse, masked, SHAPE),
    "one repeated": (normal(), repeated(normal()), SHAPE),
    "orthogonal": (haar(), haar(False), (8, 6)),
    "orthogonal, gain": (haar(), haar(gain=1.2), (8, 6)),
    "one orthogonal": (normal(), haar(), (8, 6)),
    "wide": (normal(), normal(0.0205), (16, 3, 4, 5)),
    "vectors": (uniform(), uniform(1.05), (300,)),
}
SCHEMES: dict[str, Initializer] = {
    "normal": Normal(0.0, 0.02),
    "normal with a mean": Normal(0.5, 0.1),
    "normal of depth": Normal(0.0, 0.02 / 12**0.5),
    "uniform": Uniform(-0.05, 0.05),
    "uniform on one side": Uniform(0.0, 1.0),
    "cut": TruncatedNormal(0.0, 0.02, cut="sigma"),
    "LeCun": LeCun(),
    "Xavier": Xavier(),
    "Kaiming": Kaiming(),
    "Kaiming, fan_out": Kaiming(mode="fan_out"),
    "orthogonal": Orthogonal(gain=1.41),
}
CONSTANTS = {
    "zeros": np.zeros((5, 4)),
    "ones": np.ones(5),
    "a quarter": np.full((2, 3), 0.25),
    "identity": np.eye(5, 4),
    "a ramp": np.linspace(-1, 2, 20).reshape(5, 4),
    "a ramp of one axis": np.linspace(-1, 2, 20),
    "identity of three axes": np.eye(4)[None],
}
# What the fans of several blocks together are, where each is drawn alone, and the other way round.
FUSED = (2, 3, 4)
SHAPES = ((48, 32), (32, 48), (16, 8, 3, 3), (3, 3, 8, 16), (16, 4, 12))


def rows(name: str, evidence: Iterable[Evidence]) -> Iterator[str]:
    for judged in judge(list(evidence), 1e-6, 0.01):
        found = judged.evidence
        yield f"{name}: {judged.status} n={found.n} statistic={found.statistic:.4g} {judged.message}"


def lines() -> Iterator[str]:
    for name, (draw, initializer, shape) in ONE_SIDE.items():
        draws = 40 if "orthogonal" in name else 6
        yield from rows(name, examine(drawn(draw, shape, draws), initializer, shape, path="w"))
    for name, (one, other, shape) in TWO_SIDES.items():
        draws = 40 if "orthogonal" in name else 6
        yield from rows(name, compare(drawn(one, shape, draws), drawn(other, shape, draws, 1), path="w"))
    reference, port = side(0), side(1)
    for name, changed in {
        "own": {},
        "a key twice": {"b.weight": port["a.weight"]},
        "a key twice, scaled": {"b.weight": 2 * port["a.weight"]},
        "a prefix": {"c.weight": np.resize(port["a.weight"], (4, 40, 30))},
        "turned": {"b.weight": -port["a.weight"]},
    }.items():
        yield from rows(f"copies, {name}", copies(reference, {**port, **changed}, [("a.bias", "a.weight")]))
        laws = {path: Zeros() if path.endswith("bias") else Normal(0.0, 0.02) for path in port}
        yield from rows(f"across, {name}", across({**port, **changed}, laws, [("c.weight", "a.weight")]))
    for name, initializer in SCHEMES.items():
        is_free = isinstance(initializer, ShapeFree)
        for shape in SHAPES[:1] if is_free else SHAPES:
            for fans in (None,) if is_free else (None, "out in", "in out"):
                yield f"{name} {shape} {fans}: {scheme(initializer, shape, fans)}"

    for name, array in CONSTANTS.items():
        found = likeliest(np.stack([array] * 3), array.shape)
        yield f"{name}: {found.words}; {found.family}, std {found.std:.4g}, mean {found.mean:.2g}" if found else name
    for parts in FUSED:
        yield f"of {parts} blocks: {scheme(Xavier(), (48, 40), 'out in', (48 * parts, 40))}"
        yield f"of one of {parts} blocks: {scheme(Xavier(), (48, 40), 'out in', (48 // parts, 40))}"


def scheme(
    initializer: Initializer, shape: tuple[int, ...], fans: str | None, of: tuple[int, ...] | None = None
) -> str:
    """of: the shape whose law is drawn from, where it is another one."""
    generator = np.random.default_rng(3)
    if isinstance(initializer, Orthogonal):
        values = drawn(haar(gain=initializer.gain), (shape[0], math.prod(shape[1:]))).reshape(6, *shape)
    else:
        values = np.asarray(initializer.law(of or shape).ppf(generator.uniform(size=(6, *shape)))).astype(np.float32)
    found = likeliest(values, shape, fans=fans)
    if found is None:
        return "none"
    return f"{found.words}; {found.family}, std {found.std:.4g}, mean {found.mean:.2g}, {found.fan!r}, {found.named}"


def test_every_row_is_as_it_was() -> None:
    expected, found = FILE.read_text().splitlines(), list(lines())
    assert [each for each in found if each not in expected] == []
    assert found == expected


if __name__ == "__main__":
    FILE.write_text("\n".join(lines()) + "\n")
