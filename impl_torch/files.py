"""Files that `torch.save` wrote, read without running what is in them."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from ..common.arrays import as_numpy
from ..common.errors import CheckpointError


def read(file: Path) -> Any:
    """What a checkpoint holds, tensors as NumPy arrays that lie in the file: they are read when they are looked at.

    Each has its tensor's shape and dtype, bfloat16 and float8 as ml_dtypes has them. Two paths of one tensor give
    arrays at one address. The file is opened with `weights_only=True`.

    Raises:
        CheckpointError: something in it would have to be unpickled, it is cut short or no checkpoint, or a tensor is
            sparse or of a type that NumPy does not have.
    """
    return _arrays(_loaded(file), file)


def _loaded(file: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # It warns of pickles that it may not read; what it cannot read, it also raises.
            warnings.simplefilter("ignore", UserWarning)
            # Files from before PyTorch 1.6 are no archives, and cannot be mapped.
            return torch.load(file, map_location="cpu", weights_only=True, mmap=_is_archive(file))
    except UnpicklingError as error:
        raise _refused(file, str(error)) from None
    except (RuntimeError, EOFError, KeyError, ValueError, AttributeError, IndexError, OverflowError) as error:
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'the file ends'}"
        raise CheckpointError(
            str(file), "a checkpoint of torch.save", f"what it cannot read ({reason})", _ANEW
        ) from None


_ANEW = "It is cut short or no checkpoint: copy or save it again."


def _is_archive(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04"


def _refused(file: Path, reason: str) -> CheckpointError:
    """torch's reason in a sentence: it names the class, between advice that fits another reader."""
    named = re.search(r"(?:GLOBAL|type) ([\w.]+)", reason)
    if named is None:
        found = reason.rpartition("WeightsUnpickler error: ")[2] or reason
        return CheckpointError(str(file), "a checkpoint of torch.save", found.splitlines()[0].rstrip(". "), _ANEW)
    return CheckpointError(
        str(file),
        "tensors and plain containers, which can be read without running code",
        f"{named[1]}, which would have to be unpickled",
        "Where you trust the file, load it with the code that wrote it and save `model.state_dict()` alone.",
    )


def _arrays(content: Any, file: Path) -> Any:
    if isinstance(content, torch.Tensor):
        return _array(content, file)
    if isinstance(content, dict):
        return {key: _arrays(value, file) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_arrays(value, file) for value in content]
    return content


def _array(tensor: torch.Tensor, file: Path) -> np.ndarray:
    try:
        return as_numpy(tensor)
    except (TypeError, RuntimeError) as error:
        found = f"one of {tensor.dtype}, {tensor.layout} ({error})"
        raise CheckpointError(str(file), "dense tensors of a type that NumPy has", found, "Save it as such.") from None
