"""Orbax's folders and Flax's files of arrays, read and written as NumPy arrays. No device is asked for room."""

from __future__ import annotations

import logging
import os
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore
from flax import nnx, serialization
from orbax.checkpoint import type_handlers

from ..common.errors import CheckpointError
from ..common.reading import check_folder, opened, read_json
from ..common.trees import leaves
from ..common.wing import Box

# Of a box of an array its path, the box, and what makes its values.
MadeBox = tuple[str, Box, Callable[[], np.ndarray]]
# So many bytes of an Orbax checkpoint are kept, of chunks that are read in parts.
CACHED = 256 << 20
# So many boxes are written at once.
MOST_WAITING = 8


class Chunked(NamedTuple):
    """An array that is to be stored in chunks, all of one shape but for those at its ends."""

    shape: tuple[int, ...]
    dtype: np.dtype
    chunk: tuple[int, ...]


@dataclass(frozen=True)
class StoredArray:
    """An array of an Orbax checkpoint, of which parts can be read.

    chunk: the shape of what is read at once, however little of it is asked for.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    folder: Path
    store: Any
    chunk: tuple[int, ...]

    def read(self, box: Box) -> np.ndarray:
        """The values in a box of it.

        Raises:
            CheckpointError: it is damaged.
        """
        try:
            part = self.store[tuple(slice(*each) for each in box)] if box else self.store
            return np.asarray(part.read(order="C").result())
        except Exception as error:
            raise _unreadable(self.folder, _first_line(error)) from None


def listed(folder: Path) -> Any:
    """The tree of an Orbax checkpoint, a StoredArray for each array.

    Raises:
        CheckpointError: it is damaged or no checkpoint.
        OSError: it leads out of its folder, or to what is no regular file.
    """
    check_folder(folder)
    try:
        with _quiet(), ocp.PyTreeCheckpointer() as checkpointer:
            found = checkpointer.metadata(folder.absolute())
        found = getattr(found, "item_metadata", found)
        if found is None:
            raise _unreadable(folder, "it does not say what it holds")
        said = read_json(folder / "_METADATA")
        # What has been read of chunks stays for other parts of them.
        context = tensorstore.Context({"cache_pool": {"total_bytes_limit": CACHED}})
        return jax.tree.map(lambda leaf: _stored(folder, leaf, said, context), found.tree)
    except CheckpointError:
        raise
    except Exception as error:
        # Orbax holds little of its metadata against what it needs of it.
        raise _unreadable(folder, _first_line(error)) from None


def _stored(folder: Path, leaf: Any, said: Mapping[str, Any], context: Any) -> Any:
    """An array by what Orbax tells of it; anything else as it is."""
    if getattr(leaf, "shape", None) is None or getattr(leaf, "dtype", None) is None:
        return leaf
    place = {"driver": "file", "path": f"{folder.absolute()}/{leaf.name}/"}
    if said.get("use_ocdbt"):
        place = {"driver": "ocdbt", "base": f"file://{folder.absolute()}/", "path": f"{leaf.name}/"}
    spec = {
        "driver": "zarr3" if said.get("use_zarr3") else "zarr",
        "kvstore": place,
        # A chunk that is lost must not be read as zeros, if chunks of zeros are there.
        "fill_missing_data_reads": not said.get("store_array_data_equal_to_fill_value", False),
    }
    is_whole = tuple(getattr(leaf.storage, "chunk_shape", None) or leaf.shape) == tuple(leaf.shape)
    store = tensorstore.open(spec, open=True, read=True, context=None if is_whole else context).result()
    shape, dtype = tuple(store.shape), np.dtype(store.dtype.numpy_dtype)
    if shape != tuple(leaf.shape) or dtype != np.dtype(leaf.dtype):
        raise _unreadable(folder, f"{leaf.name} is {dtype.name} {shape} and not {leaf.dtype} {tuple(leaf.shape)}")
    read = zip(store.chunk_layout.read_chunk.shape or shape, shape, strict=True)
    chunk = tuple(length or whole for length, whole in read)
    return StoredArray(shape, dtype, folder, store, chunk)


def write(folder: Path, tree: Any) -> None:
    """Save nested mappings, or another tree, of arrays as an Orbax checkpoint in a folder that is not there yet.

    Raises:
        CheckpointError: Orbax cannot write it. OSError: the system cannot.
    """
    # Orbax would copy every array first, against changes in the meantime, and compress what hardly gets smaller.
    arrays = _WritingAll(deepcopy_host_arrays=False)
    with _writing(folder):
        _save(folder, tree, (np.ndarray, arrays))
        for error in arrays.failed:
            raise error


def write_boxes(folder: Path, number: int, arrays: Mapping[str, Chunked], boxes: Iterable[MadeBox]) -> None:
    """Write what one of several processes has of arrays, box by box, into a folder beside which Orbax' is to be.

    number: that of the process, which no other one has. boxes: each of whole chunks.

    Raises:
        CheckpointError, OSError: as `write`.
    """
    context = tensorstore.Context()
    pending: deque[Any] = deque()
    with _writing(folder):
        for path, box, make in boxes:
            store = _created(folder, number, path, arrays[path], context)
            part = store[tuple(slice(*each) for each in box)] if box else store
            pending.append(part.write(make(), can_reference_source_data_indefinitely=True))
            if len(pending) > MOST_WAITING:
                pending.popleft().result()
        while pending:
            pending.popleft().result()


def finish_boxes(
    folder: Path, parts: Path, number: int, arrays: Mapping[str, Chunked], tree: Mapping[str, Any]
) -> None:
    """Make an Orbax checkpoint, in a folder that is not there yet, of what all processes have written beside it.

    number: that of this process. tree: the arrays' paths, nested as they are to be.

    Raises:
        CheckpointError, OSError: as `write`.
    """
    context = tensorstore.Context()
    with _writing(folder):
        # What nobody had a box of is there, too: it has no entries.
        for path, array in arrays.items():
            _created(parts, number, path, array, context)
        _save(folder, jax.tree.map(_Written, tree), (_Written, _WrittenHandler(parts)))


class _Written:
    """Stands for an array that was written already."""

    def __init__(self, path: str) -> None:
        self.path = path


class _WrittenHandler(type_handlers.NumpyHandler):
    """Moves what was written to where Orbax looks for it, to make one store of all processes'."""

    def __init__(self, parts: Path) -> None:
        super().__init__()
        self._parts = parts

    async def serialize(self, values: Any, infos: Any, args: Any = None) -> Any:
        for part in [*self._parts.iterdir()]:
            part.rename(Path(infos[0].parent_dir) / part.name)
        return []

    def memory_size(self, values: Any) -> Any:
        return [(0, 0) for _ in values]


def _created(folder: Path, number: int, path: str, array: Chunked, context: Any) -> Any:
    """A process' own store of an array, open to be written to."""
    store = {"driver": "ocdbt", "base": f"file://{folder.absolute()}/ocdbt.process_{number}/", "path": f"{path}/"}
    spec = {
        "driver": "zarr",
        "kvstore": store,
        "store_data_equal_to_fill_value": True,
        "metadata": {"shape": array.shape, "chunks": array.chunk, "compressor": None},
        "dtype": array.dtype.name,
    }
    return tensorstore.open(spec, create=True, open=True, context=context).result()


def _save(folder: Path, tree: Mapping[str, Any], *handlers: Any) -> None:
    registry = type_handlers.create_type_handler_registry(*handlers, (jax.Array, type_handlers.ArrayHandler()))
    # Whatever other processes JAX knows, they take no part.
    here = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(primary_host=here, active_processes={here}, barrier_sync_key_prefix="p")
    handler = ocp.PyTreeCheckpointHandler(
        use_compression=False, type_handler_registry=registry, multiprocessing_options=alone
    )
    with _quiet(), ocp.Checkpointer(handler, multiprocessing_options=alone) as checkpointer:
        checkpointer.save(folder.absolute(), tree)


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Raises CheckpointError or OSError for what TensorStore raises while it writes."""
    try:
        yield
    except ValueError as error:
        # What the system said is in the text alone.
        code = re.search(r"os_error_code='(\d+)'", str(error))
        if code:
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(folder)) from None
        raise CheckpointError(str(folder), "to write an Orbax checkpoint", _first_line(error)) from None


class _WritingAll(type_handlers.NumpyHandler):
    """Waits for every array when the disk refuses one.

    Orbax would leave the others behind with the first, and of each that ends later Python prints that nobody waits.

    failed: why arrays were not written.
    """

    failed: list[ValueError]

    def __init__(self, *, deepcopy_host_arrays: bool) -> None:
        super().__init__(deepcopy_host_arrays=deepcopy_host_arrays)
        self.failed = []

    async def _open_and_write(self, *arguments: Any, **named: Any) -> None:
        try:
            await super()._open_and_write(*arguments, **named)
        except ValueError as error:
            self.failed.append(error)


def read_msgpack(file: Path) -> Any:
    """The tree of a file of `flax.serialization.to_bytes`, arrays as NumPy arrays. Nothing in it is run.

    Raises:
        CheckpointError: it is damaged or no such file.
        OSError: it cannot be read, or is no regular file.
    """
    with opened(file) as stream:
        content = stream.read()
    try:
        found = serialization.msgpack_restore(content)
        # To its ends, which may be deeper than Python goes.
        deque(leaves(found), 0)
    except Exception as error:
        # Flax holds arrays against nothing, and there is no end to what msgpack and NumPy raise of wrong ones.
        reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'the file ends'}"
        raise _no_msgpack(file, f"what it cannot read ({reason})") from None
    if not isinstance(found, dict):
        raise _no_msgpack(file, f"{type(found).__name__} in it, where a mapping should be")
    return found


def write_msgpack(file: Path, tree: Any) -> None:
    """Save a tree as `flax.serialization.to_bytes` does, of each nnx.State its pure dict, all of it on the disk.

    Raises:
        OSError: the system cannot.
    """
    pure = jax.tree.map(
        lambda node: nnx.to_pure_dict(node) if isinstance(node, nnx.State) else node,
        tree,
        is_leaf=lambda node: isinstance(node, nnx.State),
    )
    with file.open("wb") as stream:
        stream.write(serialization.to_bytes(pure))
        stream.flush()
        os.fsync(stream.fileno())


def _no_msgpack(file: Path, found: str) -> CheckpointError:
    return CheckpointError(str(file), "a file of flax.serialization", found, "It is damaged: copy or save it again.")


@contextmanager
def _quiet() -> Iterator[None]:
    """Orbax warns of what it will also raise."""
    logger = logging.getLogger("absl")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _unreadable(folder: Path, reason: str) -> CheckpointError:
    return CheckpointError(str(folder), "an Orbax checkpoint", f"what Orbax cannot read ({reason})", "Copy it again.")
