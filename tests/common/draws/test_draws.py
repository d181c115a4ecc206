"""Portable draws by NumPy: the generator's published answers, quantiles, laws, parts, golden values, refusals."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from scipy.special import ndtri

from paritree.common import draws
from paritree.common import initializers as init
from paritree.common.draws import host
from paritree.common.draws.arithmetic import normal
from paritree.common.draws.on_host import NUMPY, quantile
from paritree.common.errors import InitializerError, UsageError
from paritree.common.initializers import Continuous, Initializer, Law
from paritree.conformance.statistics import examine, judge, replicates


def word(*values: int) -> np.ndarray:
    return np.array(values, np.uint32).view(np.int32)


# The known answers of Random123 1.14 for threefry2x32 of 20 rounds: counter, key, result.
KNOWN = [
    ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_the_generator_gives_the_published_answers(counter: Any, key: Any, expected: Any) -> None:
    found = draws.words(key, word(counter[0]), word(counter[1]), NUMPY.rotate)
    assert tuple(int(each.view(np.uint32)[0]) for each in found) == expected


def test_the_words_of_a_counter_are_those_of_two_neighbours() -> None:
    key = draws.key_of(5, "a.weight")
    even, odd = draws.words(key, word(0, 1, 2), word(0, 0, 0), NUMPY.rotate)
    expected = np.stack([even, odd], axis=1).ravel()
    np.testing.assert_array_equal(host.at(key, np.arange(6, dtype=np.int32)), expected)
    # The upper half of the indices too, which an int32 has as negative numbers.
    far = word(2**32 - 2, 2**32 - 1)
    even, odd = draws.words(key, word(2**31 - 1), word(0), NUMPY.rotate)
    np.testing.assert_array_equal(host.at(key, far), np.concatenate([even, odd]))


# Normal quantiles


def below_the_median(m: np.ndarray) -> np.ndarray:
    """The values for odd numbers m of m / 2^32, in float64."""
    return normal(NUMPY, m.astype(np.uint32).view(np.int32)).astype(np.float64)


@pytest.mark.parametrize(
    "m",
    [
        np.arange(1, 2**18, 2),
        np.random.default_rng(0).integers(0, 2**30, 2**18) * 2 + 1,
        2**31 - 1 - 2 * np.arange(2**18),
    ],
    ids=["the tail", "anywhere", "the middle"],
)
def test_a_normal_value_is_the_quantile_to_the_precision_of_float32(m: np.ndarray) -> None:
    found = below_the_median(m)
    assert np.abs(found - ndtri(m / 2**32)).max() < 5e-7
    assert (found < 0).all()


def test_no_two_segments_part_by_more_than_a_step_of_float32() -> None:
    borders = (2.0 ** np.arange(12, 31)[:, None] * (1 + np.arange(1024) / 1024)).ravel().astype(np.int64)
    one, other = below_the_median(borders - 1), below_the_median(borders + 1)
    assert (other - one).min() > -5e-7


def test_a_word_and_its_complement_have_opposite_values_and_none_is_0() -> None:
    some = np.random.default_rng(1).integers(0, 2**32, 2**16, dtype=np.uint32)
    some[:4] = 0, 2**31 - 1, 2**31 - 2, 2**31 - 63
    values = normal(NUMPY, some.view(np.int32))
    np.testing.assert_array_equal(values, -normal(NUMPY, (~some).view(np.int32)))
    assert (values != 0).all()
    assert (np.sign(values) == np.where(some < 2**31, -1, 1)).all()
    assert quantile(2**32 - 1) == -quantile(0) == pytest.approx(6.23, abs=0.001)


def test_the_frozen_knots_are_the_quantiles_rounded() -> None:
    octave, segment = np.divmod(np.arange(31 * 1024), 1024)
    m = np.append(2.0**octave * (1 + segment / 1024), 2.0**31)
    table = draws.quantiles()
    ends = (table.middle + 4096 * table.slope.astype(np.float64))[:-1]
    assert np.abs(ends - ndtri(m[1:] / 2**32)).max() < 4e-7


def test_a_product_of_a_slope_and_a_number_of_steps_is_exact() -> None:
    slope = draws.quantiles().slope
    mantissa = np.frexp(slope.astype(np.float64))[0] * 2**12
    np.testing.assert_array_equal(mantissa, np.rint(mantissa))


# Values

INDEPENDENT: list[Initializer] = [
    *[init.Uniform(-0.3, 0.3), init.Uniform(), init.Uniform(-1, 2), init.Uniform(1000, 1001), init.Normal()],
    *[init.Normal(0.0, 0.02), init.Normal(1.0, 0.1), init.Normal(-100.0, 0.5), init.TruncatedNormal()],
    *[init.TruncatedNormal(std=0.02, low=-0.03, high=0.05), init.TruncatedNormal(0.5, 0.02, -1, 3, cut="sigma")],
    *[init.TruncatedNormal(low=1.0, high=3.0), init.TruncatedNormal(low=-9.0, high=9.0)],
    *[init.Xavier(each, 2.0) for each in init.DISTRIBUTIONS],
    *[init.Kaiming(each, mode="fan_out") for each in init.DISTRIBUTIONS],
    *[init.LeCun(each) for each in init.DISTRIBUTIONS],
    *[init.VarianceScaling(1 / 3, "fan_geo_avg", each) for each in init.DISTRIBUTIONS],
    *[init.Masked(init.Normal(), 0.5), init.Masked(init.Masked(init.Uniform(-1, 1), 0.2), 0.1)],
]
SHAPE = (24, 16)


def test_every_family_has_its_law() -> None:
    evidence = []
    whole = [init.Orthogonal(2.0), init.Sparse(0.25, std=0.1), init.ZeroRow(init.Normal(), 3)]
    for initializer in [*INDEPENDENT, *whole]:
        count = replicates(SHAPE, initializer=initializer)
        path = repr(initializer)
        samples = np.stack([draws.drawn(initializer, SHAPE, seed=seed, path=path) for seed in range(count)])
        evidence += examine(samples, initializer, SHAPE, path=path)
    assert [verdict.message for verdict in judge(evidence) if not verdict.passed] == []


def test_a_scale_that_is_a_tenth_off_is_seen() -> None:
    for initializer in INDEPENDENT[4:6]:
        samples = np.stack([draws.drawn(initializer, SHAPE, seed=seed, path="w") for seed in range(100)])
        assert not all(each.passed for each in judge(examine(samples * np.float32(1.1), initializer, SHAPE, path="w")))


@dataclass(frozen=True)
class Laplace(Initializer):
    """An initializer of one's own, of unbounded support."""

    def law(self, shape: Any) -> Law:
        return Law(Continuous("laplace", (), 0.0, 1.0))


EVERY = [
    *INDEPENDENT,
    *[init.ZeroRow(init.Normal(), 3), init.Orthogonal(), init.Sparse(0.3), init.Eye(), Laplace()],
    *[init.Masked(Laplace(), 0.5), init.ZeroRow(Laplace(), 3)],
]
BOXES = [
    (slice(0, 24), slice(0, 16)),
    (slice(3, 11), slice(5, 6)),
    (slice(2, 2), slice(0, 16)),
    (slice(4, 24), slice(1, 15)),
]


@pytest.mark.parametrize("initializer", EVERY, ids=repr)
def test_a_part_has_the_values_that_it_has_in_the_whole(initializer: Initializer) -> None:
    whole = draws.drawn(initializer, SHAPE, seed=2, path="w")
    assert (whole.shape, whole.dtype) == (SHAPE, np.float32)
    for box in BOXES:
        part = draws.drawn(initializer, SHAPE, seed=2, path="w", box=box)
        assert part.tobytes() == whole[box].tobytes()


def test_the_indices_of_a_part_go_beyond_an_int32() -> None:
    found = draws.indices((2**16, 2**16), (slice(2**16 - 1, 2**16), slice(2**16 - 2, 2**16)))
    np.testing.assert_array_equal(found.view(np.uint32), [[2**32 - 2, 2**32 - 1]])


@pytest.mark.parametrize("shape", [(), (1,), (7,), (0, 3), (2, 3, 5)])
def test_any_shape_is_drawn(shape: tuple[int, ...]) -> None:
    found = draws.drawn(init.Normal(), shape, seed=0, path="w")
    assert found.shape == shape
    # The values are those of the flat indices, whatever the shape.
    np.testing.assert_array_equal(found.ravel(), draws.drawn(init.Normal(), (64,), seed=0, path="w")[: found.size])


def test_an_array_of_many_blocks_and_threads_is_what_its_parts_are() -> None:
    count = host._THREADED + 12345
    whole = draws.drawn(init.Normal(), (count,), seed=1, path="w")
    for start in (0, host._BLOCK - 3, count - 1000):
        box = (slice(start, start + 1000),)
        np.testing.assert_array_equal(draws.drawn(init.Normal(), (count,), seed=1, path="w", box=box), whole[box])


def test_values_stay_within_their_bounds() -> None:
    for initializer in INDEPENDENT:
        values = draws.drawn(initializer, (512, 512), seed=0, path="w").astype(np.float64)
        low, high = initializer.law((512, 512)).support
        assert values.min() >= np.nextafter(np.float32(low), np.float32(-math.inf))
        assert values.max() <= np.nextafter(np.float32(high), np.float32(math.inf))
        assert initializer.violation(values) is None


def test_what_is_masked_is_a_positive_zero() -> None:
    values = draws.drawn(init.Masked(init.Normal(), 0.5), (64, 64), seed=0, path="w")
    assert not np.signbit(values[values == 0]).any()
    assert 0.3 < (values == 0).mean() < 0.5


# Golden values. They change only with the definition, which would be another stream under another name.

GOLDEN: dict[str, tuple[Initializer, list[str]]] = {
    "uniform": (
        init.Uniform(low=-0.25, high=0.25),
        [
            "0x1.bdd6c40000000p-4",
            "0x1.8040a80000000p-5",
            "-0x1.3e623c0000000p-4",
            "-0x1.8086ec0000000p-4",
            "-0x1.9e36d60000000p-3",
            "-0x1.57d5860000000p-3",
        ],
    ),
    "uniform, not symmetric": (
        init.Uniform(low=-1.0, high=2.0),
        [
            "-0x1.633dd00000000p-2",
            "-0x1.6fe7c80000000p-1",
            "0x1.889b2c0000000p+0",
            "0x1.6fcd640000000p+0",
            "0x1.92adb80000000p-1",
            "0x1.fc3fb80000000p-1",
        ],
    ),
    "normal": (
        init.Normal(mean=0.0, std=0.02),
        [
            "-0x1.ff2ea80000000p-7",
            "-0x1.afc3e00000000p-6",
            "0x1.4c08ee0000000p-6",
            "0x1.2263120000000p-6",
            "0x1.3ccd480000000p-8",
            "0x1.15e2ce0000000p-7",
        ],
    ),
    "normal with a mean": (
        init.Normal(mean=1.0, std=0.1),
        [
            "0x1.d8105a0000000p-1",
            "0x1.bc89640000000p-1",
            "0x1.19f0b20000000p+0",
            "0x1.16afbe0000000p+0",
            "0x1.0630020000000p+0",
            "0x1.0adadc0000000p+0",
        ],
    ),
    "truncated normal": (
        init.TruncatedNormal(mean=0.0, std=0.02, low=-0.03, high=0.05, cut="absolute"),
        [
            "-0x1.9460e60000000p-7",
            "-0x1.4e5d800000000p-6",
            "0x1.532b920000000p-6",
            "0x1.2ba0160000000p-6",
            "0x1.8c56fc0000000p-8",
            "0x1.3728c40000000p-7",
        ],
    ),
    "truncated normal with a mean": (
        init.TruncatedNormal(mean=0.5, std=0.02, low=-1.0, high=3.0, cut="sigma"),
        [
            "0x1.f7a3340000000p-2",
            "0x1.f15dec0000000p-2",
            "0x1.0b70e60000000p-1",
            "0x1.0a39000000000p-1",
            "0x1.0431260000000p-1",
            "0x1.05dd7c0000000p-1",
        ],
    ),
    "xavier": (
        init.Xavier(distribution="uniform", gain=1.0),
        [
            "0x1.e864600000000p-2",
            "0x1.a4ed780000000p-3",
            "-0x1.5cc59c0000000p-2",
            "-0x1.a53a700000000p-2",
            "-0x1.c5bfba0000000p-1",
            "-0x1.78a6c00000000p-1",
        ],
    ),
    "kaiming": (
        init.Kaiming(distribution="normal", a=0.0, mode="fan_in", nonlinearity="relu"),
        [
            "-0x1.8f5c740000000p-1",
            "-0x1.5151080000000p+0",
            "0x1.0366fa0000000p+0",
            "0x1.c5bace0000000p-1",
            "0x1.ef00c20000000p-3",
            "0x1.b232640000000p-2",
        ],
    ),
    "lecun": (
        init.LeCun(distribution="truncated_normal"),
        [
            "-0x1.2f5d8e0000000p-1",
            "-0x1.f3d5c60000000p-1",
            "0x1.86df300000000p-1",
            "0x1.5784640000000p-1",
            "0x1.7b7b4e0000000p-3",
            "0x1.4c3e080000000p-2",
        ],
    ),
    "masked": (
        init.Masked(of=init.Normal(mean=0.0, std=1.0), below=0.5),
        [
            "-0x1.8f5c740000000p-1",
            "-0x1.5151080000000p+0",
            "0x1.0366fa0000000p+0",
            "0x1.c5bace0000000p-1",
            "0x0.0p+0",
            "0x0.0p+0",
        ],
    ),
    "sparse": (
        init.Sparse(sparsity=0.5, std=0.01),
        ["0x0.0p+0", "0x0.0p+0", "0x0.0p+0", "0x0.0p+0", "0x1.3ccd480000000p-9", "0x1.15e2ce0000000p-8"],
    ),
}


def hexadecimal(array: np.ndarray) -> list[str]:
    return [float(each).hex() for each in array]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_bits_are_those_that_they_always_were(name: str) -> None:
    initializer, expected = GOLDEN[name]
    assert hexadecimal(draws.drawn(initializer, (3, 2), seed=0, path="0.weight").ravel()) == expected


def test_the_table_is_the_one_that_it_always_was() -> None:
    table = draws.quantiles()
    digest = hashlib.sha256(table.middle.astype("<f4").tobytes() + table.slope.astype("<f4").tobytes()).hexdigest()
    assert digest == "219f912532565498830a4f8c638024880af4044dbf9edafe4faa735e5897542a"


# Refusals

REMEDY = 'Use stream="native", which draws with the framework\'s own generator.'
FOR = ", for the same bits in every framework"
REFUSED: list[tuple[Initializer, str]] = [
    (init.TruncatedNormal(low=5.0, high=6.0), "bounds with a probability of at least 2^-16"),
    (init.Normal(0.0, 1e-35), "a scale within the range of float32"),
    (init.Normal(0.0, 1e38), "a scale within the range of float32"),
    (init.Uniform(-1e39, 1e39), "a scale within the range of float32"),
    (init.Uniform(1e6, 1e6 + 1), "an interval with many numbers of float32"),
    (init.Masked(init.Normal(), 1e-38), "a scale within the range of float32"),
    (init.ZeroRow(init.TruncatedNormal(low=5.0, high=6.0), 0), "bounds with a probability of at least 2^-16"),
]


@pytest.mark.parametrize(("initializer", "expected"), REFUSED, ids=lambda each: repr(each))
def test_bits_that_cannot_be_portable_are_refused(initializer: Initializer, expected: str) -> None:
    owner = initializer.of if isinstance(initializer, init.ZeroRow) else initializer
    with pytest.raises(InitializerError) as caught:
        draws.drawn(initializer, (4, 4), seed=0, path="a.weight")
    assert str(caught.value) == f"a.weight: expected {expected}{FOR}, found {owner!r}. {REMEDY}"


def test_a_parameter_of_more_entries_than_words_is_refused() -> None:
    text = f"w: expected a parameter of at most 2^32 entries, to be portable, found (65537, 65536). {REMEDY}"
    with pytest.raises(InitializerError) as caught:
        draws.drawn(init.Normal(), (2**16 + 1, 2**16), seed=0, path="w", box=(slice(0, 1), slice(0, 1)))
    assert str(caught.value) == text


RANGE = (
    "seed: expected an integer from -2^63 to 2^64 - 1, found {}. "
    "Any integer of 64 bits, with a sign or without, is a seed."
)


@pytest.mark.parametrize(
    ("seed", "found"),
    [
        (0.0, "0.0, a float"),
        ("0", "'0', a str"),
        (None, "None, a NoneType"),
        (True, "True, a bool"),
        (2**64, "one of 65 bits"),
        (-(2**63) - 1, "one of 64 bits"),
        (1 << 20000, "one of 20001 bits"),
    ],
    ids=lambda each: str(each) if isinstance(each, str) else "",
)
def test_what_is_no_seed_is_refused(seed: Any, found: str) -> None:
    with pytest.raises(UsageError) as caught:
        draws.drawn(init.Normal(), (2,), seed=seed, path="w")
    assert str(caught.value) == RANGE.format(found)


def test_any_integer_of_64_bits_is_a_seed() -> None:
    seeds = [-(2**63), -1, 0, 2**63, 2**64 - 1, np.int32(7), np.uint64(2**64 - 5)]
    found = {draws.drawn(init.Normal(), (2,), seed=seed, path="w").tobytes() for seed in seeds}
    assert len(found) == len(seeds)
    assert draws.key_of(np.int64(7), "w") == draws.key_of(7, "w")


def test_a_stream_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UsageError) as caught:
        draws.check_stream("portabel")
    assert str(caught.value) == "stream: expected one of portable, native, found 'portabel'. Did you mean 'portable'?"
