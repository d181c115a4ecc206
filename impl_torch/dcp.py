"""Folders of `torch.distributed.checkpoint`, read and written by it, without running what is in them.

One process writes all, or several write their boxes, each into a file of its own, and the first of them the metadata.

Its metadata is a pickle, which it would run. Here only the classes are made that it writes itself, and what they say is
held against the folder: PyTorch would leave what no chunk covers as it finds it in memory.
"""

from __future__ import annotations

import io
import os
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, TypeGuard

import ml_dtypes
import numpy as np
import torch
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.filesystem import FileSystemReader, FileSystemWriter, _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)
from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.checkpoint.storage import WriteResult

from ..common.arrays import as_numpy
from ..common.errors import CheckpointError, shown
from ..common.reading import MOST_BYTES, Slice, are_lengths, check_folder, is_shape, opened, read_box
from ..common.wing import Box, lengths
from .files import StoredArray

# A whole array's shape and dtype; and of a box of one its path, the box, and what makes its values.
Shape = tuple[tuple[int, ...], np.dtype]
MadeBox = tuple[str, Box, Callable[[], np.ndarray]]
METADATA = ".metadata"
_ANEW = "It is damaged: copy or save it again."
# Each is held against each.
_MOST_CHUNKS = 1 << 14
_PLACE = "torch.distributed.checkpoint"
_CLASSES = {
    (f"{_PLACE}.metadata", name)
    for name in (
        *("BytesStorageMetadata", "ChunkStorageMetadata", "Metadata", "MetadataIndex", "StorageMeta"),
        *("TensorProperties", "TensorStorageMetadata", "_MEM_FORMAT_ENCODING"),
    )
} | {
    (f"{_PLACE}.filesystem", "_StorageInfo"),
    ("torch", "Size"),
    ("torch.serialization", "_get_layout"),
    # Python 3.13 has its paths in a module within.
    *(
        (module, name)
        for module in ("pathlib", "pathlib._local")
        for name in ("Path", "PosixPath", "PurePosixPath", "PureWindowsPath", "WindowsPath")
    ),
    *(("torch", str(each).removeprefix("torch.")) for each in vars(torch).values() if isinstance(each, torch.dtype)),
}


def read(folder: Path) -> dict[str, Any]:
    """What was saved, nested as it was, with a StoredArray for every tensor and None for all else.

    Raises:
        CheckpointError: it is damaged, has what would have to be unpickled, or a type that NumPy does not have.
        OSError: it cannot be read, or leads out of its folder.
    """
    check_folder(folder)
    reader = _Reader(folder)
    tree: dict[str, Any] = {}
    places = reader.known.planner_data if isinstance(reader.known.planner_data, dict) else {}
    for name, entry in reader.known.state_dict_metadata.items():
        keys = places.get(name)
        *parents, last = [str(key) for key in keys] if _are_keys(keys) else [name]
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise _damaged(f"{folder}: {name}", "mappings or values under each key", "both")
        if last in node:
            raise _damaged(f"{folder}: {name}", "one value under each key", "two")
        node[last] = reader.stored(name, entry) if isinstance(entry, TensorStorageMetadata) else None
    return tree


def _are_keys(keys: Any) -> TypeGuard[tuple[Any, ...]]:
    """Whether they are a path in what was saved: names and positions."""
    return isinstance(keys, tuple) and bool(keys) and all(isinstance(key, str) or are_lengths([key]) for key in keys)


def write(folder: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Save arrays by their paths in a folder that is not there yet. Several paths may have one array.

    Raises:
        CheckpointError: a type that PyTorch does not have. OSError: the system cannot write it.
    """
    tensors = {path: _tensor(path, array) for path, array in arrays.items()}
    folder.mkdir()
    with _writing(folder):
        save(tensors, storage_writer=FileSystemWriter(folder), no_dist=True)


def write_boxes(folder: Path, number: int, shapes: Mapping[str, Shape], boxes: Iterable[MadeBox]) -> list[Any]:
    """Write what one of several processes has of arrays, box by box, in a folder that is there.

    number: that of the process, which no other one has. shapes: of the whole arrays, with their dtypes.
    Returns what `finish_boxes` is to be told of it, as JSON has it.

    Raises:
        CheckpointError, OSError: as `write`.
    """
    items, made = [], {}
    for path, box, make in boxes:
        shape, dtype = shapes[path]
        index = MetadataIndex(path, torch.Size([start for start, _ in box]))
        chunk = ChunkStorageMetadata(index.offset or torch.Size(), torch.Size(lengths(box)))
        data = TensorWriteData(chunk, TensorProperties(_type(path, dtype)), torch.Size(shape))
        items.append(WriteItem(index, WriteItemType.SHARD, tensor_data=data))
        made[index] = make
    writer = FileSystemWriter(folder)
    plan = writer.prepare_global_plan([SavePlan([])] * number + [SavePlan(items)])[number]
    with _writing(folder):
        results = writer.write_data(plan, _Boxes(made)).value() or []
    sizes = {item.index: [*item.tensor_data.chunk.sizes] for item in items}
    return [
        [each.index.fqn, [*(each.index.offset or ())], sizes[each.index], info.relative_path, info.offset, info.length]
        for each in results
        for info in [each.storage_data]
    ]


def finish_boxes(folder: Path, shapes: Mapping[str, Shape], aliases: Mapping[str, str], told: Iterable[Any]) -> None:
    """Write the metadata of what all processes have written. told: the entries of what `write_boxes` has returned.

    Raises:
        OSError: the system cannot write it.
    """
    chunks: dict[str, list[ChunkStorageMetadata]] = {name: [] for name in (*shapes, *aliases)}
    names: dict[str, list[str]] = {path: [path] for path in shapes}
    for alias, path in aliases.items():
        names[path].append(alias)
    results = []
    for path, offsets, sizes, file, offset, length in told:
        for name in names[path]:
            # One piece of the file under all of its names.
            index = MetadataIndex(name, torch.Size(offsets))
            chunks[name].append(ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes)))
            results.append(WriteResult(index, length, _StorageInfo(file, offset, length)))
    entries: dict[str, Any] = {
        name: TensorStorageMetadata(TensorProperties(_type(path, dtype)), torch.Size(shape), chunks[name])
        for path, (shape, dtype) in shapes.items()
        for name in names[path]
    }
    FileSystemWriter(folder).finish(Metadata(entries, {name: (name,) for name in entries}), [results])


class _Boxes(DefaultSavePlanner):
    """Makes each box when it is written."""

    def __init__(self, made: Mapping[MetadataIndex, Callable[[], np.ndarray]]) -> None:
        super().__init__()
        self._made = made

    def resolve_data(self, write_item: WriteItem) -> torch.Tensor:
        return _tensor(write_item.index.fqn, self._made[write_item.index]())


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Raises CheckpointError or OSError for what PyTorch raises while it writes."""
    try:
        with warnings.catch_warnings():
            # That there is one process, and that NumPy's memory is not to be written to.
            warnings.simplefilter("ignore")
            yield
    except (RuntimeError, CheckpointException) as error:
        cause = _cause(error)
        if isinstance(cause, OSError | KeyboardInterrupt):
            raise cause from None
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise CheckpointError(str(folder), "to write a folder of torch.distributed.checkpoint", reason) from None


def _cause(error: BaseException) -> BaseException:
    """What was raised in this process, whatever came of it. What PyTorch tells it in is no Exception."""
    failures = error.failures if isinstance(error, CheckpointException) else {}
    found: BaseException = next((each[0] for each in failures.values()), error)
    behind: BaseException | None = found
    while behind is not None and not isinstance(behind, OSError):
        # An archive that cannot be ended hides why.
        behind = behind.__cause__ or behind.__context__
    return behind or found


class _Reader(FileSystemReader):
    """PyTorch's reader of a folder, whose metadata is read once and held against the folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folder = folder
        self.known = _metadata(folder / METADATA)
        self._sizes = {each.name: each.stat().st_size for each in folder.iterdir() if each.is_file()}
        self._firsts: dict[MetadataIndex, int] = {}

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        return self.known

    def stored(self, name: str, entry: TensorStorageMetadata) -> StoredArray:
        """A tensor, all of which lies in the folder."""
        where = f"{self._folder}: {name}"
        shape, torch_type = tuple(entry.size), entry.properties.dtype
        kind = str(torch_type).removeprefix("torch.")
        try:
            dtype = np.dtype(getattr(ml_dtypes, kind, kind))
        except TypeError:
            remedy = "Save it as such."
            raise CheckpointError(where, "tensors of a type that NumPy has", str(torch_type), remedy) from None
        if not is_shape(shape):
            raise _damaged(where, "the lengths of its axes", shown(shape))
        self._check_chunks(name, entry, shape, dtype.itemsize, where)
        values = partial(self._values, name, shape, torch_type)
        # One place of a file under several names is one tensor.
        places = (self.known.storage_data[MetadataIndex(name, each.offsets)] for each in entry.chunks)
        memory = (shape, dtype, *((each.relative_path, each.offset) for each in places))
        return StoredArray(shape, dtype, memory, values, lambda: None, _Ranges(self, name, entry, dtype))

    def _values(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> np.ndarray:
        state = {name: torch.empty(shape, dtype=dtype)}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                load(state, storage_reader=self, no_dist=True)
        except (Exception, CheckpointException) as error:
            # A tensor's own bytes are a pickle beside others, and there is no end to what a wrong one makes it raise.
            cause = _cause(error)
            if isinstance(cause, KeyboardInterrupt):
                raise cause from None
            reason = f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else 'the file ends'}"
            raise _damaged(f"{self._folder}: {name}", "a tensor", f"what it cannot read ({reason})") from None
        return as_numpy(state[name])

    def part(self, index: MetadataIndex, sizes: Sequence[int], box: Box, dtype: np.dtype) -> np.ndarray:
        """A box of a chunk, of whose file no other bytes are read if it lies there as PyTorch saves it."""
        where = f"{self._folder}: {index.fqn}"
        info = self.known.storage_data[index]
        try:
            with opened(self._folder / info.relative_path) as stream:
                if index not in self._firsts:
                    self._firsts[index] = _first_byte(
                        Slice(stream, info.offset, info.length), tuple(sizes), dtype, where
                    )
                first = info.offset + self._firsts[index]
                if first + int(np.prod(sizes, dtype=np.int64)) * dtype.itemsize > info.offset + info.length:
                    raise _damaged(where, "a chunk within its part of the file", f"one that begins at {first:,}")
                return read_box(stream, first, sizes, box, dtype)
        except OSError as error:
            raise _damaged(where, "a chunk that can be read", error.strerror or str(error)) from None

    def _check_chunks(
        self, name: str, entry: TensorStorageMetadata, shape: tuple[int, ...], itemsize: int, where: str
    ) -> None:
        """Together they are the tensor, each entry once, and as long as the files are."""
        if len(entry.chunks) > _MOST_CHUNKS:
            raise _damaged(where, f"at most {_MOST_CHUNKS:,} chunks", f"{len(entry.chunks):,}")
        spans = np.array([[tuple(each.offsets), tuple(each.sizes)] for each in entry.chunks], np.int64)
        spans = spans.reshape(len(entry.chunks), 2, len(shape))
        begins, ends = spans[:, 0], spans[:, 0] + spans[:, 1]
        counts = spans[:, 1].prod(1)
        full = counts > 0
        is_within = bool(((spans >= 0) & (spans <= shape)).all() and (ends <= shape).all())
        meets = (
            ((begins[number] < ends[full]) & (ends[number] > begins[full])).all(1).sum()
            for number in np.flatnonzero(full)
        )
        if not is_within or counts.sum() != np.prod(shape, dtype=np.int64) or any(each > 1 for each in meets):
            raise _damaged(where, "chunks that are all of it, each entry once", f"{len(spans):,} that are not")
        for chunk, count in zip(entry.chunks, counts.tolist(), strict=True):
            info = self.known.storage_data.get(MetadataIndex(name, chunk.offsets))
            place: list[Any] = [getattr(info, key, None) for key in ("relative_path", "offset", "length")]
            file, offset, length = place
            if getattr(info, "transform_descriptors", None):
                raise CheckpointError(
                    where, "a tensor as it is", f"one by {shown(info.transform_descriptors)}", "Save it so."
                )
            # A path that leads elsewhere would read a file that the folder has no business with.
            if file not in self._sizes or not are_lengths((offset, length)) or offset + length > self._sizes[file]:
                found = f"bytes {shown(offset)} to {shown(offset)} + {shown(length)} of {shown(file)}"
                raise _damaged(where, "a part of a file in the folder", found)
            if length < count * itemsize:
                raise _damaged(where, f"at least the {count * itemsize:,} bytes of a chunk", f"{length:,}")


class _Ranges:
    """Reads boxes of a tensor from the chunks that they lie in. chunk: none is read as a whole."""

    chunk = None

    def __init__(self, reader: _Reader, name: str, entry: TensorStorageMetadata, dtype: np.dtype) -> None:
        self._reader, self._name, self._chunks, self._dtype = reader, name, entry.chunks, dtype

    def read(self, box: Box) -> np.ndarray:
        """The values in a box.

        Raises:
            CheckpointError: a chunk is damaged.
        """
        found = np.empty(lengths(box), self._dtype)
        for chunk in self._chunks:
            begin = [*chunk.offsets]
            ends = [at + size for at, size in zip(begin, chunk.sizes, strict=True)]
            both = [(max(a, b), min(c, d)) for (a, c), b, d in zip(box, begin, ends, strict=True)]
            if any(start >= stop for start, stop in both):
                continue
            inside = tuple((start - at, stop - at) for (start, stop), at in zip(both, begin, strict=True))
            there = tuple(slice(start - at, stop - at) for (start, stop), (at, _) in zip(both, box, strict=True))
            index = MetadataIndex(self._name, chunk.offsets)
            found[there] = self._reader.part(index, [*chunk.sizes], inside, self._dtype)
        return found


def _first_byte(stream: Any, shape: tuple[int, ...], dtype: np.dtype, where: str) -> int:
    """Where in what `torch.save` has written of a tensor its values begin, one after the other.

    Raises:
        CheckpointError: it is damaged, or no plain tensor of that shape and dtype.
    """
    expected = f"a tensor of {dtype.name} {shape}, as PyTorch saves it"
    try:
        # No storage is read onto the meta device; PyTorch notes where it is.
        tensor = torch.load(stream, map_location="meta", weights_only=True)
        offset = int(getattr(tensor.untyped_storage(), "_checkpoint_offset", 0))
        stream.seek(0)
        with zipfile.ZipFile(stream) as archive:
            stored = [each for each in archive.infolist() if each.compress_type == zipfile.ZIP_STORED]
    except Exception as error:
        # A tensor's own bytes are a pickle beside others, and there is no end to what a wrong one makes it raise.
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'the file ends'}"
        raise _damaged(where, expected, f"what it cannot read ({reason})") from None
    is_plain = tuple(tensor.shape) == shape and tensor.is_contiguous() and tensor.storage_offset() == 0
    is_alike = str(tensor.dtype) == str(_type(where, dtype)) and not tensor.is_conj() and not tensor.is_neg()
    needed = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    # The member's own header stands between the two.
    is_there = any(each.header_offset < offset and each.file_size >= needed for each in stored)
    if not (is_plain and is_alike and is_there):
        raise _damaged(where, expected, f"one of {tensor.dtype} {tuple(tensor.shape)} that lies otherwise")
    return offset


def _metadata(file: Path) -> Metadata:
    with opened(file) as stream:
        # Python makes room for all that it is asked to read.
        content = stream.read(min(os.fstat(stream.fileno()).st_size, MOST_BYTES) + 1)
    expected = "metadata of torch.distributed.checkpoint"
    if len(content) > MOST_BYTES:
        raise CheckpointError(str(file), expected, f"more than {MOST_BYTES:,} bytes", _ANEW)
    try:
        found = _Unpickler(io.BytesIO(content), file).load()
        _check(found)
    except CheckpointError:
        raise
    except Exception as error:
        # A pickle is a program.
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'the file ends'}"
        raise _damaged(str(file), expected, f"what it cannot read ({reason})") from None
    found.storage_meta = StorageMeta()
    return found


def _check(found: Any) -> None:
    """Raises TypeError for what is not what PyTorch writes."""
    if not isinstance(found, Metadata) or not isinstance(found.storage_data, dict):
        raise TypeError(f"{type(found).__name__} in it")
    for name, entry in found.state_dict_metadata.items():
        if not isinstance(name, str) or not isinstance(entry, TensorStorageMetadata | BytesStorageMetadata):
            raise TypeError(f"{type(entry).__name__} under {shown(name)}")
        if isinstance(entry, TensorStorageMetadata):
            parts = [entry.size, *(part for each in entry.chunks for part in (each.offsets, each.sizes))]
            if not all(isinstance(part, torch.Size) and len(part) == len(entry.size) for part in parts):
                raise TypeError(f"sizes of {shown(name)} that are none")
            if not isinstance(entry.properties.dtype, torch.dtype):
                raise TypeError(f"a dtype of {shown(name)} that is none")


class _Unpickler(pickle._Unpickler):  # type: ignore[name-defined]
    """Makes nothing but what PyTorch writes into the metadata.

    In Python's own code: that in C makes room for as many objects as a number in the file says.
    """

    def __init__(self, stream: io.BytesIO, file: Path) -> None:
        super().__init__(stream)
        self._file = file

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _CLASSES:
            return super().find_class(module, name)
        self._refuse(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        self._refuse("an object of its own")

    def _refuse(self, what: str) -> NoReturn:
        raise CheckpointError(
            str(self._file),
            "metadata of torch.distributed.checkpoint, which can be read without running code",
            f"{what}, which would have to be unpickled",
            "Where you trust it, load it with the code that wrote it and save `model.state_dict()` alone.",
        )


def _type(path: str, dtype: np.dtype) -> torch.dtype:
    """Raises CheckpointError for a type that PyTorch does not have."""
    found = getattr(torch, dtype.name, None)
    if dtype == np.bool_:
        return torch.bool
    if not isinstance(found, torch.dtype) or re.fullmatch(r"u?int[124]", dtype.name):
        raise CheckpointError(path, "a dtype that PyTorch has", dtype.name, "Cast it with dtype.")
    return found


def _tensor(path: str, array: np.ndarray) -> torch.Tensor:
    """The same memory."""
    found = _type(path, array.dtype)
    if array.dtype.isbuiltin == 1:
        return torch.from_numpy(array)
    carrier = array.view(np.int16 if array.dtype.itemsize == 2 else np.uint8)
    return torch.from_numpy(carrier).view(found)


def _damaged(where: str, expected: str, found: str) -> CheckpointError:
    return CheckpointError(where, expected, found, _ANEW)
