"""The exceptions: what they say, what they can be caught as, and that they survive a process boundary."""

from __future__ import annotations

import copy
import pickle

import pytest

from paritree.common import errors
from paritree.common.errors import ParitreeError, listed, nearest, shown, unfit

FAMILY = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, ParitreeError)]

PARENTS = {
    "ParitreeError": Exception,
    "PathError": LookupError,
    "ShapeError": ValueError,
    "DtypeError": TypeError,
    "TieError": ValueError,
    "ChildNameError": ValueError,
    "InitializerError": ValueError,
    "SpecError": ValueError,
    "WeightsError": ValueError,
    "MapError": ValueError,
    "CheckpointError": ValueError,
    "NotExpressibleError": NotImplementedError,
    "DeviceError": RuntimeError,
    "ProcessError": RuntimeError,
    "UsageError": Exception,
}


def test_every_class_is_listed_with_what_it_can_be_caught_as():
    assert {kind.__name__ for kind in FAMILY} == set(PARENTS)


@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_a_class_can_be_caught_as_its_family_and_as_its_builtin(kind):
    assert issubclass(kind, ParitreeError)
    assert issubclass(kind, PARENTS[kind.__name__])


@pytest.mark.parametrize(
    ("path", "remedy", "text"),
    [
        ("0.weight", "Transpose it.", "0.weight: expected shape (8, 4), found shape (4, 8). Transpose it."),
        ("0.weight", "", "0.weight: expected shape (8, 4), found shape (4, 8)."),
        ("", "Transpose it.", "expected shape (8, 4), found shape (4, 8). Transpose it."),
        ("", "", "expected shape (8, 4), found shape (4, 8)."),
    ],
)
def test_the_text_says_path_then_expected_then_found_then_remedy(path, remedy, text):
    error = ParitreeError(path, "shape (8, 4)", "shape (4, 8)", remedy)
    assert str(error) == text
    assert (error.path, error.expected, error.found, error.remedy) == (path, "shape (8, 4)", "shape (4, 8)", remedy)


@pytest.mark.parametrize("again", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize("kind", FAMILY, ids=lambda kind: kind.__name__)
def test_an_error_survives_pickling_and_copying(kind, again):
    error = kind("0.block 0.weight", "one thing", "another", "Do this.")
    other = again(error)
    assert type(other) is kind
    assert vars(other) == vars(error)
    assert str(other) == str(error) == "0.block 0.weight: expected one thing, found another. Do this."


@pytest.mark.parametrize(
    ("name", "names", "text"),
    [
        ("0.wieght", ["0.bias", "0.weight"], "Did you mean '0.weight'?"),
        ("zzz", [], "There are none."),
        ("zzz", ["", ""], "There are none."),
        ("zzz", ["a"], "There is 'a'."),
        ("zzz", ["a", "", "b"], "There are 'a', 'b'."),
        ("zzz", "abcdef", "There are 'a', 'b', 'c', 'd', 'e', 'f'."),
        ("zzz", "abcdefg", "There are 'a', 'b', 'c', 'd', 'e', 'f', ..."),
    ],
)
def test_nearest_suggests_the_closest_name_or_lists_the_first_six(name, names, text):
    assert nearest(name, iter(names)) == text


def test_a_list_says_how_many_more_there_are():
    assert listed(["a", "b"], 2) == "a; b"
    assert listed([str(each) for each in range(1_000_000)], 2, ", ") == "0, 1, and 999,998 more"
    assert unfit(["a is missing"]) == "1 that does not fit: a is missing"
    assert unfit(["a"] * 1_000_000).endswith("a; and 999,980 more")


def test_no_message_is_longer_than_a_page():
    error = ParitreeError("p" * 10**6, "e", "f" * 10**7, "r")
    assert len(str(error)) < 25_000
    assert "f ... (10,000,000 characters). r" in str(error)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"a": [1, 2.5, None]}, "{'a': [1, 2.5, None]}"),
        (1 << 100_000, "<a number of 100,001 bits>"),
        ([[[[[[[1]]]]]]], "[[[[[...]]]]]"),
        (list(range(10)), "[0, 1, 2, 3, 4, 5, 6, 7, ...]"),
        ("a" * 200, f"'{'a' * 47}...{'a' * 48}'"),
    ],
    ids=range(5),
)
def test_a_value_that_was_read_is_shown_in_part(value, text):
    assert shown(value) == text


def test_the_nearest_of_a_million_names_is_not_looked_for_in_all():
    names = [f"name {number}" for number in range(1_000_000)]
    assert nearest("name 7x", names).startswith("Did you mean ")
    assert nearest("x" * 10**6, ["y" * 10**6, "b"]).startswith("There are ")
