"""Every initializer in every wing: what one draw must be, and that it is the framework's own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from inspect import isabstract
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen as linen_module
from jax.nn import initializers as flax_init
from scipy import stats
from torch.nn import init as torch_init

from paritree import impl_torch
from paritree.common import initializers
from paritree.common import initializers as init
from paritree.common.draws import STREAMS, Stream
from paritree.common.errors import InitializerError
from paritree.common.initializers import Continuous, Initializer, Law, fans
from paritree.common.layers import Linear
from paritree.common.seeding import path_seed, path_words
from paritree.common.spec import expansion
from paritree.impl_jax import linen, nnx

from .conftest import exactly
from .specs import SPECS

MATRIX, CONVOLUTION, VECTOR = (24, 40), (6, 4, 5), (300,)
DRAWS: list[tuple[Initializer, tuple[int, ...]]] = [
    *[(init.Uniform(-1, 2), MATRIX), (init.Normal(0.5, 0.02), MATRIX), (init.Normal(), VECTOR), (init.Normal(), ())],
    *[(init.TruncatedNormal(std=0.02, low=-0.03, high=0.05), MATRIX)],
    *[(init.TruncatedNormal(0.1, 0.02, -1.0, 3.0, cut="sigma"), VECTOR)],
    *[(init.Constant(0.1), VECTOR), (init.Zeros(), VECTOR), (init.Ones(), MATRIX), (init.Eye(), (3, 5))],
    *[(init.Dirac(), CONVOLUTION), (init.Dirac(groups=2), (6, 3, 4, 3))],
    *[(init.VarianceScaling(1 / 3, mode, "uniform"), MATRIX) for mode in init.FAN_MODES],
    *[(init.VarianceScaling(2.0, "fan_avg", "normal"), CONVOLUTION), (init.VarianceScaling(), CONVOLUTION)],
    *[(init.Xavier(kind, gain=5 / 3), MATRIX) for kind in init.DISTRIBUTIONS],
    *[(init.Kaiming(kind, a=math.sqrt(5)), MATRIX) for kind in init.DISTRIBUTIONS],
    *[(init.Kaiming("uniform", mode="fan_avg"), MATRIX), (init.Kaiming("normal", mode="fan_out"), CONVOLUTION)],
    *[(init.LeCun(kind), MATRIX) for kind in init.DISTRIBUTIONS],
    *[(init.Orthogonal(2**0.5), MATRIX), (init.Orthogonal(), (40, 24)), (init.Orthogonal(), CONVOLUTION)],
    *[(init.DeltaOrthogonal(2.0), CONVOLUTION), (init.DeltaOrthogonal(), (4, 4, 3, 4))],
    *[(init.Sparse(1.0), MATRIX), (init.Sparse(0.3), MATRIX), (init.Masked(init.Uniform(-10, 10), below=5.0), MATRIX)],
    *[(init.ZeroRow(init.Normal(), 3), MATRIX), (init.Arange(), (1, 7)), (init.LowerTriangle(), (1, 1, 5, 5))],
    (init.InverseFrequencies(10000.0), (6,)),
]
CASES = [pytest.param(initializer, shape, id=f"{initializer!r} {shape}") for initializer, shape in DRAWS]


def neutral(array: Any) -> np.ndarray:
    return array.numpy() if isinstance(array, torch.Tensor) else np.asarray(array)


def test_the_draws_cover_every_family() -> None:
    classes = {each for each in vars(initializers).values() if isinstance(each, type) and issubclass(each, Initializer)}
    families = {each for each in classes if not isabstract(each) and each.__name__ != "Deterministic"}
    assert {type(initializer) for initializer, _ in DRAWS} == families


def test_the_flax_wings_draw_alike() -> None:
    assert nnx.draw is linen.draw
    assert nnx.sample is linen.sample


@pytest.fixture(params=[impl_torch, linen], ids=["torch", "flax"])
def drawing(request: pytest.FixtureRequest) -> Any:
    """A wing of each framework, since the two Flax wings draw alike."""
    return request.param


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(("initializer", "shape"), CASES)
def test_a_draw_is_of_its_law(drawing: Any, initializer: Initializer, shape: tuple[int, ...], stream: Stream) -> None:
    array = neutral(drawing.draw(initializer, shape, seed=3, path="a.weight", stream=stream))
    assert (array.shape, array.dtype) == (shape, np.float32)
    assert initializer.violation(array) is None
    law = initializer.law(shape)
    low, high = (np.float32(bound) for bound in law.support)
    # A bound is not always a float32, and a sum may round once.
    assert np.nextafter(low, np.float32(-np.inf)) <= array.min()
    assert array.max() <= np.nextafter(high, np.float32(np.inf))
    if initializer.independent and array.size > 1:
        continuous = array[array != 0].astype("f8")
        mass = dict(law.point_masses).get(0.0, 0.0)
        assert stats.binomtest(int((array == 0).sum()), array.size, mass).pvalue > 1e-6
        assert stats.kstest(continuous, lambda x: (law.cdf(x) - mass * (x >= 0)) / (1 - mass)).pvalue > 1e-6


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize(("initializer", "shape"), CASES)
def test_a_draw_is_addressed_by_seed_and_path(
    drawing: Any, initializer: Initializer, shape: tuple[int, ...], stream: Stream
) -> None:
    def bits(seed: int, path: str) -> bytes:
        return neutral(drawing.draw(initializer, shape, seed=seed, path=path, stream=stream)).tobytes()

    first = bits(3, "a.weight")
    # Whatever was drawn between, and whatever the global generator is at.
    torch.manual_seed(99)
    assert bits(3, "a.weight") == first
    same = initializer.deterministic or initializer == init.Sparse(1.0)
    assert (bits(4, "a.weight") == first) == same
    assert (bits(3, "b.weight") == first) == same


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("seed", [-1, 2**31, 2**32 + 5])
def test_any_whole_number_is_a_seed(drawing: Any, seed: int, stream: Stream) -> None:
    drawn = neutral(drawing.draw(init.Normal(), (4,), seed=seed, path="w", stream=stream))
    assert np.isfinite(drawn).all()
    assert not np.array_equal(drawn, neutral(drawing.draw(init.Normal(), (4,), seed=0, path="w", stream=stream)))


ONE_EACH = {type(initializer): (initializer, shape) for initializer, shape in DRAWS if shape != ()}


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
@pytest.mark.parametrize("family", ONE_EACH)
def test_a_draw_in_another_dtype(drawing: Any, family: type, dtype: str, stream: Stream) -> None:
    initializer, shape = ONE_EACH[family]
    with drawing.running(dtype=dtype):
        array = drawing.draw(initializer, shape, path="w", dtype=dtype, stream=stream)
    assert str(array.dtype).removeprefix("torch.") == dtype
    stored = impl_torch.access.neutral(array) if drawing is impl_torch else np.asarray(array)
    assert initializer.violation(stored) is None


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("family", [init.Normal, init.TruncatedNormal, init.Orthogonal, init.Sparse, init.Masked])
def test_a_float32_draw_is_the_same_in_a_float64_run(drawing: Any, family: type, stream: Stream) -> None:
    for initializer, shape in (ONE_EACH[family], (LaplaceFanIn(), (3, 4))):
        expected = neutral(drawing.draw(initializer, shape, path="w", stream=stream))
        with drawing.running(dtype="float64"):
            np.testing.assert_array_equal(neutral(drawing.draw(initializer, shape, path="w", stream=stream)), expected)


def sparse(tensor: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        return torch_init.sparse_(tensor, 0.3, generator=generator)


Fill = Callable[[torch.Tensor, torch.Generator], torch.Tensor]
TORCHS_OWN: list[tuple[Initializer, Fill]] = [
    (init.Uniform(-1, 2), lambda t, g: torch_init.uniform_(t, -1, 2, g)),
    (init.Normal(0.5, 0.02), lambda t, g: torch_init.normal_(t, 0.5, 0.02, g)),
    (init.TruncatedNormal(0.1, 2.0), lambda t, g: torch_init.trunc_normal_(t, 0.1, 2.0, generator=g)),
    (init.Constant(0.1), lambda t, g: torch_init.constant_(t, 0.1)),
    (init.Zeros(), lambda t, g: torch_init.zeros_(t)),
    (init.Ones(), lambda t, g: torch_init.ones_(t)),
    (init.Eye(), lambda t, g: torch_init.eye_(t)),
    (init.Dirac(groups=2), lambda t, g: torch_init.dirac_(t, 2)),
    (init.Xavier(gain=2.0), lambda t, g: torch_init.xavier_uniform_(t, 2.0, g)),
    (init.Xavier("normal"), lambda t, g: torch_init.xavier_normal_(t, generator=g)),
    (init.Kaiming(a=math.sqrt(5)), lambda t, g: torch_init.kaiming_uniform_(t, math.sqrt(5), generator=g)),
    (
        init.Kaiming("normal", mode="fan_out", nonlinearity="relu"),
        lambda t, g: torch_init.kaiming_normal_(t, mode="fan_out", nonlinearity="relu", generator=g),
    ),
    (init.Orthogonal(2.0), lambda t, g: torch_init.orthogonal_(t, 2.0, g)),
    (init.Sparse(0.3), sparse),
]


@pytest.mark.parametrize("place", range(len(TORCHS_OWN)), ids=lambda place: repr(TORCHS_OWN[place][0]))
def test_torch_draws_with_torch_nn_init(place: int) -> None:
    initializer, fill = TORCHS_OWN[place]
    shape = CONVOLUTION if isinstance(initializer, init.Dirac) else MATRIX
    generator = torch.Generator().manual_seed(path_seed(3, "a.weight"))
    expected = fill(torch.empty(shape), generator)
    assert torch.equal(impl_torch.draw(initializer, shape, seed=3, path="a.weight", stream="native"), expected)


AXES = {"in_axis": 1, "out_axis": 0}
FLAXS_OWN: list[tuple[Initializer, Any]] = [
    (init.Uniform(0, 0.01), flax_init.uniform()),
    (init.Normal(std=0.02), flax_init.normal(0.02)),
    (init.TruncatedNormal(0, 0.02, -1, 3, cut="sigma"), flax_init.truncated_normal(0.02, lower=-1, upper=3)),
    (init.TruncatedNormal(0, 0.02, -0.02, 0.06), flax_init.truncated_normal(0.02, lower=-1, upper=3)),
    (init.Constant(0.1), flax_init.constant(0.1)),
    (init.Zeros(), flax_init.zeros),
    (init.Ones(), flax_init.ones),
    (init.VarianceScaling(2.0, "fan_out", "normal"), flax_init.variance_scaling(2.0, "fan_out", "normal", **AXES)),
    (init.Xavier(), flax_init.glorot_uniform(**AXES)),
    (init.Xavier("truncated_normal"), flax_init.glorot_normal(**AXES)),
    (init.Kaiming(nonlinearity="relu"), flax_init.he_uniform(**AXES)),
    (init.Kaiming("truncated_normal", nonlinearity="relu"), flax_init.he_normal(**AXES)),
    (init.LeCun("uniform"), flax_init.lecun_uniform(**AXES)),
    (init.LeCun(), flax_init.lecun_normal(**AXES)),
    (init.Orthogonal(2.0), flax_init.orthogonal(2.0, column_axis=0)),
]


def key_of(seed: int, path: str) -> jax.Array:
    key = jax.random.key(seed)
    for word in (0, *path_words(path)):  # the upper half of a small seed is 0
        key = jax.random.fold_in(key, word)
    return key


@pytest.mark.parametrize("place", range(len(FLAXS_OWN)), ids=lambda place: repr(FLAXS_OWN[place][0]))
def test_flax_draws_with_jax_nn_initializers(place: int) -> None:
    initializer, own = FLAXS_OWN[place]
    shape = CONVOLUTION if isinstance(initializer, init.VarianceScaling | init.LeCun) else MATRIX
    found = linen.draw(initializer, shape, seed=3, path="a.weight", stream="native")
    # The same operations, which two programs may fuse, and so round, in two ways.
    np.testing.assert_allclose(found, own(key_of(3, "a.weight"), shape, jnp.float32), rtol=1e-6)


def test_flax_draws_a_delta_orthogonal_one_in_its_own_layout() -> None:
    found = linen.draw(init.DeltaOrthogonal(2.0), (6, 4, 5), seed=3, path="w", stream="native")
    own = flax_init.delta_orthogonal(2.0)(key_of(3, "w"), (5, 4, 6))
    np.testing.assert_array_equal(found, np.transpose(own, (2, 1, 0)))


@pytest.mark.parametrize(
    ("initializer", "own"),
    [
        (init.Xavier("truncated_normal"), flax_init.glorot_normal()),
        (init.Kaiming(nonlinearity="relu"), flax_init.he_uniform()),
        (init.LeCun(), linen_module.Dense.kernel_init),
        (init.VarianceScaling(1 / 3, "fan_in", "uniform"), flax_init.variance_scaling(1 / 3, "fan_in", "uniform")),
    ],
    ids=["Xavier", "Kaiming", "LeCun", "VarianceScaling"],
)
def test_a_built_kernel_is_flaxs_own_draw_of_a_kernel(initializer: Initializer, own: Any) -> None:
    # In the native layout the axes are the last but one and the last, Flax's default.
    spec = Linear(12, 7, weight_init=initializer)
    _, variables = linen.build(spec, seed=3, stream="native")
    np.testing.assert_array_equal(variables["params"]["kernel"], own(key_of(3, "weight"), (12, 7)))


@pytest.mark.parametrize("stream", STREAMS)
@pytest.mark.parametrize("name", ["language-model", "fancy-mlp", "initializers of every sort"])
def test_a_sample_is_what_build_draws(wing: Any, name: str, stream: Stream) -> None:
    built = wing.weights(wing.build(SPECS[name], seed=2**32 + 1, stream=stream))
    for row in expansion.table_of(SPECS[name]).owners:
        sample = wing.sample(row, seeds=(0, 2**32 + 1), stream=stream)
        assert (sample.shape, sample.dtype) == ((2, *row.shape), np.float32)
        np.testing.assert_array_equal(sample[1], built[row.path], err_msg=row.path)


@dataclass(frozen=True)
class LaplaceFanIn(Initializer):
    """An initializer of one's own, of unbounded support."""

    scale: float = 1.0

    def law(self, shape: Any) -> Law:
        return Law(Continuous("laplace", (), 0.0, self.scale / fans(shape).fan_in))

    def validate(self, shape: Any, path: str = "") -> None:
        fans(shape, path)


def test_an_initializer_of_ones_own_is_drawn_from_its_quantiles(wing: Any) -> None:
    own = LaplaceFanIn(2.0)
    array = neutral(wing.draw(own, (60, 50), seed=1, path="w"))
    assert stats.kstest(array.ravel(), own.law((60, 50)).cdf).pvalue > 1e-6
    spec = Linear(50, 60, weight_init=own)
    weights = wing.weights(wing.build(spec, seed=1))
    row = expansion.table_of(spec)["weight"]
    np.testing.assert_array_equal(wing.sample(row, seeds=[1])[0], weights["weight"])
    assert stats.kstest(weights["weight"].ravel(), own.law((60, 50)).cdf).pvalue > 1e-6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_quantile_is_never_asked_at_0_or_1(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Where an unbounded law is infinite: JAX's uniform is exactly 0 once in 2^23 draws.
    for extreme in (0.0, 1.0 - np.finfo(dtype).eps):
        monkeypatch.setattr(jax.random, "uniform", lambda key, shape, kind, x=extreme: jnp.full(shape, x, kind))
        with linen.running(dtype=dtype):
            assert np.isfinite(linen.draw(LaplaceFanIn(), (3, 2), dtype=dtype, stream="native")).all()


def test_an_initializer_that_does_not_fit_draws_nothing(wing: Any) -> None:
    text = (
        "a.bias: expected a shape of at least 2 dimensions, to have fans, found shape (3,). "
        "Give a vector or scalar an initializer with its own scale, such as Uniform, Normal or Zeros."
    )
    for initializer in (init.Xavier(), LaplaceFanIn()):
        with pytest.raises(InitializerError, match=exactly(text)):
            wing.draw(initializer, (3,), path="a.bias")
