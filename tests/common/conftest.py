"""How the tests of this room hold an error, and how hypothesis draws its examples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

from paritree.common.errors import ParitreeError

# The same examples in every run, and no verdict by the clock: a slow machine is no fault of the code.
settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("repeatable")


@contextmanager
def refused(kind: type[ParitreeError], text: str) -> Iterator[None]:
    """An error of just this class, not of one that derives from it, that says just this."""
    with pytest.raises(ParitreeError) as caught:
        yield
    assert str(caught.value) == text
    assert type(caught.value) is kind
