"""What surrounds every entrance of the interface: the modes that its caller may be in, put aside and given back.

A mode may make a port right that is wrong: in PyTorch's inference mode nothing has a gradient, so that one that is cut
off is as good as any other. And it may make a right one wrong, as autocast does.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import cast

import numpy as np

from ..common.errors import UsageError
from ..common.wing import Accident, Modes, PairError

# By the framework that has modes where they are known, below the package.
_HOMES = {"torch": "impl_torch.modes", "jax": "impl_jax.modes"}
# As NumPy has it when nobody has said otherwise.
_ERRORS = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


def _loaded() -> Iterator[Modes]:
    """Of the frameworks that somebody has imported: nobody is in a mode of another one."""
    for framework, home in _HOMES.items():
        if framework in sys.modules:
            yield cast(Modes, import_module(f"..{home}", __package__))


@contextmanager
def ordinary() -> Iterator[None]:
    """Whatever is made or read of a model: in no mode of the caller's, and all generators as they were afterwards.

    A factory seeds them, which is our doing and none of the caller's.
    """
    with ExitStack() as stack:
        stack.callback(random.setstate, random.getstate())
        stack.callback(np.random.set_state, np.random.get_state())
        stack.enter_context(np.errstate(**_ERRORS))  # type: ignore[arg-type]
        for modes in _loaded():
            stack.enter_context(modes.ordinary())
            stack.enter_context(modes.random_kept())
        yield


@contextmanager
def measuring() -> Iterator[None]:
    """The same for whatever runs a model.

    Raises:
        UsageError: the caller is inside of what cannot be put aside. PairError: an Accident of a side.
    """
    with ordinary():
        for modes in _loaded():
            hindrance = modes.hindrance()
            if hindrance:
                expected = "a call from where arrays have values and operations are the framework's own"
                raise UsageError("", expected, f"one from inside of {hindrance}", "Call it outside of that.")
        try:
            yield
        except Accident as error:
            raise PairError(error.path, error.expected, error.found, error.remedy) from error.__cause__
