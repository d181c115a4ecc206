"""Round trips: a model saved and loaded again, in one of the ways that its framework's users do it."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from ..errors import NotExpressibleError, ParitreeError, WeightsError
from .stored import Native


class RoundTrip(NamedTuple):
    """What came back.

    way: how it was saved and loaded: `state_dict`, `split and merge`, `safetensors`.
    natives: all tensors of the model that was loaded, as the wing's `natives` tells them, ties included.
    """

    way: str
    natives: dict[str, Native]


def unlike(array: Any) -> np.ndarray:
    """An array of the same shape and dtype that differs in every entry: what was not loaded over it shows."""
    held = np.asarray(array)
    return np.asarray(held != 1).astype(held.dtype)


def has_safetensors() -> bool:
    """Whether the package is there; its way of saving is left out where it is not."""
    return importlib.util.find_spec("safetensors") is not None


@contextmanager
def saving(way: str) -> Iterator[None]:
    """What the framework raises while it saves as a NotExpressibleError of ours that names the way."""
    try:
        yield
    except ParitreeError:
        raise
    # A model's own hooks may raise anything; nothing is swallowed, since each error goes on with its own words.
    except Exception as error:
        raise NotExpressibleError(way, "a model that can be saved in this way", _said(error)) from error


@contextmanager
def loading(way: str) -> Iterator[None]:
    """What the framework raises while it loads as a WeightsError that names the way."""
    try:
        yield
    except ParitreeError:
        raise
    except Exception as error:
        raise WeightsError(way, "what was saved to load into a copy of the model", _said(error)) from error


def _said(error: Exception) -> str:
    """An exception's type and what it says: PyTorch names the keys in the second line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ": ".join([type(error).__name__, " ".join(lines[:2])]).rstrip(":. ")
