"""Fingerprints: candidates whatever the order of the axes, and the orders that a shuffled axis may have."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from paritree.migration.align.fingerprints import (
    FingerprintMatch,
    Order,
    Shape,
    Shuffle,
    assigned,
    fingerprint_matches,
    orders,
    permuted,
    reordered,
    shuffles,
)

LIMIT = 1e-5


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize(
    ("shape", "port_shape", "expected"),
    [
        ((2, 3), (3, 2), [(1, 0)]),
        ((2, 3), (2, 3), [(0, 1)]),
        ((3, 3), (3, 3), [(0, 1), (1, 0)]),
        ((2, 3, 3), (3, 2, 3), [(1, 0, 2), (2, 0, 1)]),
        ((4, 1, 5), (5, 4), [(1, 0)]),
        ((1, 1), (), [()]),
        ((2, 3), (6,), []),
        ((2, 3), (2, 4), []),
    ],
)
def test_the_orders_of_the_axes_that_are_longer_than_one(
    shape: Shape, port_shape: Shape, expected: list[tuple[int, ...]]
) -> None:
    found = orders(shape, port_shape)
    assert list(found) == [Order(axes) for axes in expected]
    for order in found:
        assert reordered(np.zeros(shape), order, port_shape).shape == port_shape


def test_six_entries_have_two_other_orders() -> None:
    assert list(shuffles(6)) == [((2, 3), (1, 0)), ((3, 2), (1, 0))]
    assert permuted(Shuffle(0, (2, 3), (1, 0))).tolist() == [0, 3, 1, 4, 2, 5]


@pytest.mark.parametrize("length", [1, 2, 7])
def test_a_length_without_factors_has_no_other_order(length: int) -> None:
    assert list(shuffles(length)) == []


@pytest.mark.parametrize("length", [4, 8, 12, 36])
def test_shuffles_are_all_unlike_and_none_leaves_the_entries_where_they_are(length: int) -> None:
    found = [tuple(permuted(Shuffle(0, *each)).tolist()) for each in shuffles(length)]
    assert len(set(found)) == len(found)
    assert tuple(range(length)) not in found
    assert all(sorted(places) == list(range(length)) for places in found)
    assert all(prod(lengths) == length for lengths, _ in shuffles(length))


def test_channels_first_and_last_are_a_shuffle() -> None:
    places = np.arange(24).reshape(2, 3, 4).transpose(1, 2, 0).ravel()
    assert any(np.array_equal(permuted(Shuffle(0, *each)), places) for each in shuffles(24))


def test_a_partner_is_found_whatever_the_order_of_its_axes() -> None:
    ours = {f"a{number}": drawn(3, 4, 5, seed=number) for number in range(20)}
    theirs = {f"b{name}": array.transpose(2, 0, 1) for name, array in reversed(ours.items())}
    found = assigned(fingerprint_matches(ours, theirs, LIMIT))
    assert {name: (each.path, each.order) for name, each in found.items()} == {
        name: (f"b{name}", Order((2, 0, 1))) for name in ours
    }


def test_equal_gradients_are_candidates_of_each_other_and_not_assigned() -> None:
    gradient = drawn(6)
    found = fingerprint_matches({"a": gradient, "b": gradient}, {"c": gradient, "d": gradient}, LIMIT)
    assert {name: {each.path for each in several} for name, several in found.items()} == {
        "a": {"c", "d"},
        "b": {"c", "d"},
    }
    assert assigned(found) == {}


def test_a_symmetric_gradient_has_both_orders_and_is_not_assigned() -> None:
    gradient = drawn(4, 4)
    found = fingerprint_matches({"a": gradient + gradient.T}, {"b": gradient + gradient.T}, LIMIT)
    assert [each.order for each in found["a"]] == [Order((0, 1)), Order((1, 0))]
    assert assigned(found) == {}


def test_what_two_would_take_is_assigned_for_neither() -> None:
    one = FingerprintMatch("c", Order((0,)), 0.0)
    assert assigned({"a": [one], "b": [one]}) == {}


def test_a_gradient_that_is_rounded_more_is_found_and_another_one_is_not() -> None:
    gradient, noise = drawn(50), drawn(50, seed=1)
    rounded, other = gradient * (1 + 1e-4 * noise), gradient * (1 + 0.1 * noise)
    assert [each.path for each in fingerprint_matches({"a": gradient}, {"b": rounded}, LIMIT)["a"]] == ["b"]
    assert fingerprint_matches({"a": gradient}, {"b": other}, LIMIT) == {"a": []}
    assert fingerprint_matches({"a": gradient}, {"b": rounded, "c": gradient}, LIMIT)["a"][0].path == "c"


def test_no_gradients_on_one_side_are_no_candidates() -> None:
    assert fingerprint_matches({}, {"b": drawn(3)}, LIMIT) == {}
    assert fingerprint_matches({"a": drawn(3)}, {}, LIMIT) == {"a": []}


def test_shuffled_entries_are_found_where_that_length_may_be() -> None:
    gradient = drawn(5, 12)
    other = gradient.reshape(5, 3, 4).swapaxes(1, 2).reshape(5, 12).T
    assert fingerprint_matches({"a": gradient}, {"b": other}, LIMIT) == {"a": []}
    (found,) = fingerprint_matches({"a": gradient}, {"b": other}, LIMIT, {12})["a"]
    assert found.order == Order((1, 0), Shuffle(1, (3, 4), (1, 0)))
    np.testing.assert_array_equal(reordered(gradient, found.order, other.shape), other)


def test_many_of_one_shape_are_matched_in_little_time() -> None:
    random = np.random.default_rng(0)
    ours = {str(number): each for number, each in enumerate(random.normal(size=(2000, 4, 5)).astype(np.float32))}
    theirs = {name: array.T for name, array in ours.items()}
    found = assigned(fingerprint_matches(ours, theirs, LIMIT))
    assert all(found[name].path == name for name in ours)
