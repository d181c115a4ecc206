"""Stored tensors: a live model's as its framework has them, no layer of ours known, and saved and loaded again.

A map is about these. A path is the framework's own, dotted: `h.0.attn.c_attn.weight` in PyTorch,
`params.h_0.attn.c_attn.kernel` in Linen (the collection first), `h.0.attn.c_attn.kernel` in NNX.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..errors import NotExpressibleError, ParitreeError, WeightsError, unfit
from ..trees import is_array


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a live model, under the first of its paths.

    array: what it holds, as a NumPy array that is not to be written to.
    trainable: whether it is a parameter; buffers and statistics are none.
    saved: whether the framework saves it with the model.
    aliases: the other paths of the same tensor.
    keys: the components of the path as the framework has them; a list's are whole numbers.
    frozen: a parameter that the framework was told to leave alone in training.
    """

    path: str
    array: np.ndarray
    trainable: bool
    saved: bool = True
    aliases: tuple[str, ...] = ()
    keys: tuple[str | int, ...] = ()
    frozen: bool = False

    @property
    def is_floating(self) -> bool:
        """Whether it holds floating-point numbers, bfloat16 and its like included, which NumPy has from elsewhere."""
        return "float" in self.array.dtype.name


def check_fit(shapes: Mapping[str, tuple[int, ...]], arrays: Mapping[str, Any]) -> None:
    """Refuse arrays that are for none of a model's owners, whose shapes are given, or not of its owner's shape.

    Raises:
        WeightsError: one message for all of them.
    """
    if not isinstance(arrays, Mapping):
        raise WeightsError("", "a mapping from paths to arrays", type(arrays).__name__)
    faults = [f"{path} {misfit}" for path, array in arrays.items() if (misfit := _misfit(shapes.get(path), array))]
    if faults:
        raise WeightsError(
            "",
            "arrays for owners of the model, in their native shapes",
            unfit(faults),
            "Nothing was changed.",
        )


def _misfit(shape: tuple[int, ...] | None, array: Any) -> str:
    """What is wrong with an array for an owner of that shape; empty if nothing is."""
    if shape is None:
        return "is no owner's path"
    if not is_array(array):
        return f"is no array but {type(array).__name__}"
    if tuple(array.shape) != tuple(shape):
        return f"has shape {tuple(array.shape)} and needs {tuple(shape)}"
    return ""


class RoundTrip(NamedTuple):
    """What came back of a model that was saved and loaded again in one of the ways of its framework's users.

    way: how it was saved and loaded: `state_dict`, `split and merge`, `safetensors`.
    stored tensors: all tensors of the model that was loaded, as the wing's `stored_tensors` tells them, ties included.
    """

    way: str
    stored_tensors: dict[str, StoredTensor]


def unlike(array: Any) -> np.ndarray:
    """An array of the same shape and dtype that differs in every entry: what was not loaded over it shows."""
    held = np.asarray(array)
    return np.asarray(held != 1).astype(held.dtype)


def all_unlike(stored_tensors: Mapping[str, StoredTensor]) -> dict[str, np.ndarray]:
    """For each tensor one that differs in every entry, by path."""
    return {path: unlike(native.array) for path, native in stored_tensors.items()}


def has_safetensors() -> bool:
    """Whether the package is there; its way of saving is left out where it is not."""
    return importlib.util.find_spec("safetensors") is not None


def through_safetensors(stored_tensors: Mapping[str, StoredTensor]) -> dict[str, np.ndarray]:
    """The arrays by path, written to a file of safetensors and read from it. Nothing stays on disk.

    Raises:
        NotExpressibleError, WeightsError: safetensors refuses to write or to read one, such as 4-bit numbers.
    """
    # Late, since nothing else that this room is imported for needs them.
    from tempfile import TemporaryDirectory

    from safetensors.numpy import load_file, save_file

    with TemporaryDirectory() as folder:
        file = f"{folder}/model.safetensors"
        with saving("safetensors"):
            # It writes memory as it lies: an array with other strides would come back in another order.
            save_file({path: np.asarray(native.array, order="C") for path, native in stored_tensors.items()}, file)
        with loading("safetensors"):
            return load_file(file)


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
