"""Paths: how they are put together and taken apart, and which names a child may have."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paritree.common import paths
from paritree.common.errors import ChildNameError

from .conftest import refused

COMPONENTS = st.text(min_size=1, max_size=5).filter(lambda text: "." not in text)


@given(st.lists(COMPONENTS, max_size=5))
def test_split_undoes_join(components):
    path = paths.join(*components)
    assert paths.split(path) == tuple(components)
    if components:
        assert paths.join(paths.parent(path), paths.leaf(path)) == path
        assert paths.leaf(path) == components[-1]
    assert list(paths.scopes(path)) == [paths.join(*components[:end]) for end in reversed(range(len(components)))]


def test_the_root_is_empty_and_vanishes_in_a_join():
    assert paths.join("", "0", "", "weight") == "0.weight"
    assert paths.join() == paths.join("") == ""
    assert paths.split("") == ()
    assert (paths.parent("weight"), paths.leaf("weight")) == ("", "weight")
    assert list(paths.scopes("")) == []


@pytest.mark.parametrize(
    ("path", "prefix", "expected"),
    [
        ("0.weight", "", True),
        ("", "", True),
        ("0.weight", "0", True),
        ("0.weight", "0.weight", True),
        ("10.weight", "1", False),
        ("0.weight_v", "0.weight", False),
        ("0", "0.weight", False),
        ("", "0", False),
    ],
)
def test_a_path_lies_under_its_own_components_only(path, prefix, expected):
    assert paths.is_under(path, prefix) is expected


@given(st.lists(COMPONENTS, unique=True, max_size=5))
def test_any_text_without_a_dot_is_a_child_name(names):
    paths.check_child_names(names, "0")


EMPTY = "expected a child name of at least one character, found {}. Name every child of a Block."
DOTTED = (
    "expected a child name without a dot, found {}. "
    "A dot separates the components of a path; nest a Block, or use another sign."
)
TAKEN = "expected every child name once, found {} twice. Rename one, or use Shared for a second use."


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["a", ""], EMPTY.format("''")),
        ([3], EMPTY.format("3")),
        ([None], EMPTY.format("None")),
        (["a", "a.b"], DOTTED.format("'a.b'")),
        (["."], DOTTED.format("'.'")),
        (["a", "b", "a"], TAKEN.format("'a'")),
    ],
)
@pytest.mark.parametrize(("container", "where"), [("", ""), ("0.block 1", "0.block 1: ")])
def test_a_child_name_is_refused(names, text, container, where):
    with refused(ChildNameError, where + text):
        paths.check_child_names(names, container)
