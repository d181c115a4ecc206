"""The outcomes of the catalogue, each row run once for all tests that ask for it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest

from paritree.study import Outcome, outcome


@pytest.fixture(scope="session")
def ran() -> Callable[[str], Outcome]:
    """The outcome of a row, by its id."""
    return cache(outcome)
