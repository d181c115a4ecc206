"""How the tests of this room hold an error: by its class, not a parent's, and by the whole of its text."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from paritree.common.errors import ParitreeError


@contextmanager
def refused(kind: type[ParitreeError], text: str) -> Iterator[None]:
    with pytest.raises(ParitreeError) as caught:
        yield
    assert str(caught.value) == text
    assert type(caught.value) is kind
