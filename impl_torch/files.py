"""Files that `torch.save` wrote, read without running what is in them.

PyTorch reads what a file says of its tensors, and not their values: it takes an archive's members for stored as they
are, and a tensor for no longer than its storage. An archive's values are read here, each range held against its member.
"""

from __future__ import annotations

import io
import os
import pickletools
import re
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from pickle import UnpicklingError
from typing import IO, Any

import ml_dtypes
import numpy as np
import torch

from ..common.archives import MAGIC, Archive
from ..common.arrays import as_numpy
from ..common.errors import CheckpointError
from ..common.reading import opened

_DENSE = "dense tensors of a type that NumPy has"
_ANEW = "It is cut short or no checkpoint: copy or save it again."
# No weights lie deeper. What is deeper would only be walked until Python gives up.
_DEEPEST = 100


@dataclass(frozen=True)
class StoredArray:
    """A tensor of a checkpoint, whose values are read when they are asked for.

    memory: equal for two paths of one tensor.
    read: its values, of its shape and dtype, not to be written to. release: gives back what they take.
    boxes: what reads boxes of it, where that is less.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    memory: tuple[Any, ...]
    read: Callable[[], np.ndarray] = field(repr=False)
    release: Callable[[], None] = field(repr=False)
    boxes: Any = field(default=None, repr=False)


def read(file: Path) -> Any:
    """What a checkpoint holds, with a StoredArray for every tensor, bfloat16 and float8 as ml_dtypes has them.

    It is read with `weights_only=True`.

    Raises:
        CheckpointError: something in it would have to be unpickled, it is cut short, damaged or no checkpoint, a tensor
            reaches past its storage, is sparse or on the meta device, or is of a type that NumPy does not have.
        OSError: it cannot be read.
    """
    with opened(file) as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            # Files from before PyTorch 1.6 are no archives. PyTorch holds their lengths against each other itself.
            size = stream.seek(0, io.SEEK_END)
            stream.seek(0)
            # Magic number, version, system, content and the storages' keys.
            for _ in range(5):
                _check_nesting(stream, file)
            stream.seek(0)
            return _Tree(file, size, _in_memory).of(_loaded(stream, file, "cpu"))
    return _Archived(Archive(file), file).content()


def write(file: Path, content: Any) -> None:
    """Save what is made of mappings, lists, numbers and tensors, all of it on the disk.

    Raises:
        OSError: the system cannot.
    """
    with file.open("wb") as stream:
        torch.save(content, stream)
        stream.flush()
        os.fsync(stream.fileno())


def _loaded(stream: IO[bytes], file: Path, location: str) -> Any:
    try:
        with warnings.catch_warnings():
            # It warns of pickles that it may not read; what it cannot read, it also raises.
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(stream, map_location=location, weights_only=True)
    except UnpicklingError as error:
        raise _refused(file, str(error)) from None
    except NotImplementedError as error:
        # Since 2.14 PyTorch looks into sparse tensors as it reads them, which have no values on the meta device.
        raise CheckpointError(str(file), _DENSE, f"a sparse one ({error})", "Save it as such.") from None
    except Exception as error:
        # A pickle is a program, and there is no end to what a wrong one makes its interpreter raise.
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'the file ends'}"
        raise CheckpointError(
            str(file), "a checkpoint of torch.save", f"what it cannot read ({reason})", _ANEW
        ) from None


def _check_nesting(stream: IO[bytes], file: Path) -> None:
    """Refuse a pickle with tuples in tuples without end, before it is read: Python crashes when it hashes such a key.

    Raises:
        CheckpointError: see above.
    """
    try:
        is_deep = any(depth > _DEEPEST for depth in _depths(stream))
    except (ValueError, IndexError, EOFError):
        # It is no pickle, which PyTorch will say.
        return
    if is_deep:
        found = f"tuples more than {_DEEPEST} deep"
        raise CheckpointError(str(file), "containers as a model has them", found, _ANEW)


def _depths(stream: IO[bytes]) -> Iterator[int]:
    """How deep a tuple each operation of a pickle gives; its interpreter's stack is followed with no more on it."""
    stack: list[int | None] = []
    memo: dict[Any, int] = {}
    for code, argument, _ in pickletools.genops(stream):
        if code.name == "MARK":
            stack.append(None)
        elif code.name in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            memo[len(memo) if argument is None else argument] = stack[-1] or 0
        else:
            taken = _taken(stack, code)
            depth = memo.get(argument, 0) if code.name in ("GET", "BINGET", "LONG_BINGET") else 0
            if "TUPLE" in code.name:
                depth = 1 + max(taken, default=0)
            stack += [depth] * len(code.stack_after)
            yield depth


def _taken(stack: list[int | None], code: pickletools.OpcodeInfo) -> list[int]:
    """What an operation takes from the stack."""
    taken = []
    for each in reversed(code.stack_before):
        if each is pickletools.markobject or each is pickletools.stackslice:
            while each is pickletools.stackslice and stack[-1] is not None:
                taken.append(stack.pop() or 0)
            if each is pickletools.markobject:
                stack.pop()
        else:
            taken.append(stack.pop() or 0)
    return taken


def _refused(file: Path, reason: str) -> CheckpointError:
    """torch's reason in a sentence: it names the class, between advice that fits another reader."""
    named = re.search(r"(?:GLOBAL|type) ([\w.]+)", reason)
    if named is None:
        found = reason.rpartition("WeightsUnpickler error: ")[2] or reason
        told = next((line.rstrip(". ") for line in found.splitlines() if line.strip(". ")), "what it cannot read")
        return CheckpointError(str(file), "a checkpoint of torch.save", told, _ANEW)
    return CheckpointError(
        str(file),
        "tensors and plain containers, which can be read without running code",
        f"{named[1]}, which would have to be unpickled",
        "Where you trust the file, load it with the code that wrote it and save `model.state_dict()` alone.",
    )


class _Archived:
    """The tensors of an archive. PyTorch reads its pickle, beside members that are empty, and gives no values."""

    def __init__(self, archive: Archive, file: Path) -> None:
        self._archive, self._file = archive, file
        pickles = [name for name in archive.members if re.fullmatch(r"[^/]*/data\.pkl", name)]
        if len(pickles) != 1:
            names = ", ".join(map(repr, list(archive.members)[:6])) or "nothing"
            raise CheckpointError(str(file), "a checkpoint of torch.save, with one NAME/data.pkl in it", names, _ANEW)
        self._pickle, self._root = pickles[0], pickles[0].removesuffix("data.pkl")
        order = f"{self._root}byteorder"
        self._is_swapped = order in archive.members and bytes(archive.read(order)) != sys.byteorder.encode()
        # The tensors that lie in a member, until they are released.
        self._users: dict[str, set[tuple[Any, ...]]] = {}

    def content(self) -> Any:
        _check_nesting(io.BytesIO(self._archive.read(self._pickle)), self._file)
        skeleton, self._names = self._skeleton()
        found = _loaded(skeleton, self._file, "meta")
        return _Tree(self._file, self._archive.members[self._pickle].size, self._stored).of(found)

    def _skeleton(self) -> tuple[IO[bytes], dict[int, str]]:
        """The archive without values, and the name of each member by the offset at which PyTorch will find it."""
        stream = io.BytesIO()
        told = {self._pickle, f"{self._root}version"}
        with zipfile.ZipFile(stream, "w") as made:
            for name in self._archive.members:
                if name in told:
                    made.writestr(name, self._archive.read(name))
                elif name.startswith(f"{self._root}data/") or name == f"{self._root}constants.pkl":
                    made.writestr(name, b"")
        stream.seek(0)
        return stream, {each.header_offset + len(each.FileHeader()): each.filename for each in made.infolist()}

    def _stored(self, tensor: torch.Tensor, where: str) -> StoredArray:
        dtype = _dtype(tensor, where)
        name = self._names.get(getattr(tensor.untyped_storage(), "_checkpoint_offset", -1))
        if name is None:
            raise CheckpointError(where, "a tensor with values", "one on the meta device", "Save it with its values.")
        size, needed = self._archive.members[name].size, tensor.untyped_storage().nbytes()
        if needed != size:
            found = f"{size:,} in {name}"
            raise CheckpointError(where, f"the {needed:,} bytes of its storage", found, _ANEW)
        strides = tuple(stride * dtype.itemsize for stride in tensor.stride())
        memory = (name, tensor.storage_offset() * dtype.itemsize, tuple(tensor.shape), strides, dtype)
        self._users.setdefault(name, set()).add(memory)
        return StoredArray(memory[2], dtype, memory, lambda: self._values(memory), lambda: self._release(memory))

    def _values(self, memory: tuple[Any, ...]) -> np.ndarray:
        name, offset, shape, strides, dtype = memory
        content: Any = self._archive.read(name)
        if self._is_swapped:
            width = dtype.itemsize // (2 if dtype.kind == "c" else 1)
            content = np.frombuffer(content, f"u{width}").byteswap()
            content.flags.writeable = False
        # NumPy, too, holds the range against the bytes that are there.
        return np.ndarray(shape, dtype, content, offset, strides)

    def _release(self, memory: tuple[Any, ...]) -> None:
        users, name = self._users[memory[0]], memory[0]
        users.discard(memory)
        # Pages come back by themselves; to unpack a member again for each of many tensors in it would take long.
        if not users or not self._archive.members[name].is_packed:
            self._archive.release(name)


def _in_memory(tensor: torch.Tensor, where: str) -> StoredArray:
    dtype = _dtype(tensor, where)
    try:
        array = as_numpy(tensor)
    except (TypeError, RuntimeError) as error:
        raise _not_held(tensor, where, str(error)) from None
    memory = (array.__array_interface__["data"][0], array.shape, array.strides, dtype)
    return StoredArray(array.shape, dtype, memory, lambda: array, lambda: None)


def _dtype(tensor: torch.Tensor, where: str) -> np.dtype:
    """Raises CheckpointError for a tensor that is no plain array of a type that NumPy has."""
    name = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or tensor.is_conj() or tensor.is_neg() or tensor.is_nested:
        raise _not_held(tensor, where, "neither conjugate nor nested")
    try:
        return np.dtype(getattr(ml_dtypes, name, name))
    except TypeError as error:
        raise _not_held(tensor, where, str(error)) from None


def _not_held(tensor: torch.Tensor, where: str, reason: str) -> CheckpointError:
    found = f"one of {tensor.dtype}, {tensor.layout} ({reason})"
    return CheckpointError(where, _DENSE, found, "Save it as such.")


class _Tree:
    """The containers of a checkpoint, with what a function makes of each tensor.

    most: a tree has no more entries than its pickle has bytes. Containers that hold one another may have more.
    """

    def __init__(self, file: Path, most: int, stored: Callable[[torch.Tensor, str], StoredArray]) -> None:
        self._file, self._left, self._stored = file, most, stored

    def of(self, content: Any, keys: tuple[Any, ...] = ()) -> Any:
        """Raises CheckpointError for a tensor that cannot be had, and containers within containers without end."""
        self._left -= 1
        if len(keys) > _DEEPEST or self._left < 0:
            found = f"some more than {_DEEPEST} deep, or that hold one another without end"
            raise CheckpointError(self._where(keys[:3]), "containers as a model has them", found, _ANEW)
        if isinstance(content, torch.Tensor):
            return self._stored(content, self._where(keys))
        if isinstance(content, dict):
            return {key: self.of(value, (*keys, key)) for key, value in content.items()}
        if isinstance(content, list | tuple):
            return [self.of(value, (*keys, number)) for number, value in enumerate(content)]
        return content

    def _where(self, keys: tuple[Any, ...]) -> str:
        return f"{self._file}: {'.'.join(map(str, keys))}" if keys else str(self._file)
