"""Sources: what a conversion reads, one interface over every kind of checkpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ...common.errors import CheckpointError, listed, shown
from ...common.reading import read_json
from ...common.safetensors import MappedTensors, TensorEntry, check_size, read_header
from ...common.tables import counted
from ...common.trees import is_array, leaves
from ...common.wing import Box, whole
from .npz import NpzFile

INDEX = ".index.json"
TORCH = (".pt", ".pth", ".bin", ".ckpt")
NUMPY, FLAX = ".npz", ".msgpack"
# What transformers calls a model's weights in their folder, in the order in which it looks for them.
WHOLE, INDEXED = "model.safetensors", f"model.safetensors{INDEX}"
WITHIN = (WHOLE, INDEXED, "pytorch_model.bin", f"pytorch_model.bin{INDEX}", f"flax_model{FLAX}")
KINDS = (
    f"a .safetensors file, a torch checkpoint ({', '.join(TORCH)}), a {INDEX} of shards, a {NUMPY} or {FLAX} file, "
    "a folder with one of these as transformers names it, or a folder of Orbax or of torch.distributed.checkpoint"
)
# Where a training script keeps the model's weights beside its optimizer's, in the order in which they are tried.
WEIGHTS = ("state_dict", "model_state_dict", "model")
# What every Orbax checkpoint has, what a CheckpointManager calls the only item of a step, and what an nnx.State adds.
ORBAX_FILE, ORBAX_ITEM, STATE_VALUE = "_METADATA", "default", ".value"
# What every folder of torch.distributed.checkpoint has.
DCP_FILE = ".metadata"


class Parted(Protocol):
    """An array of which boxes can be read. chunk: the shape of what is read at once; None for no more than is asked."""

    chunk: tuple[int, ...] | None

    def read(self, box: Box) -> np.ndarray: ...


# Where an entry's values can be read in parts: see `Source.place`.
Place = tuple[Path, int] | Parted | None


class Source(Protocol):
    """A checkpoint that is open for reading. No tensor of a mapped file is in memory until it is looked at.

    entries: each tensor once, in the order in which it is best read.
    aliases: further paths of an entry, where the checkpoint itself says that the two are one tensor.
    others: what it holds besides tensors.
    files: those that it is read from.
    """

    @property
    def entries(self) -> Mapping[str, TensorEntry]: ...
    @property
    def aliases(self) -> Mapping[str, str]: ...
    @property
    def others(self) -> tuple[str, ...]: ...
    @property
    def files(self) -> tuple[Path, ...]: ...

    def array(self, path: str) -> np.ndarray:
        """An entry's values, of its shape and dtype, not to be written to."""
        ...

    def release(self, path: str) -> None:
        """Give back an entry's memory as far as it is the source's to give. It may be asked for again."""
        ...

    def place(self, path: str) -> Place:
        """The file in which an entry's values lie as they lie in memory, in C order, and the first of their bytes.

        Or what reads boxes of it; None where its values can only be had by `array`.
        """
        ...


def open_source(checkpoint: Path) -> Source:
    """A source by the name of its file or folder.

    Raises:
        CheckpointError: there is none, or it is of no kind that is read, cut short or damaged.
    """
    with readable(checkpoint):
        if not checkpoint.is_dir():
            return _open_weights(checkpoint)
        weights = next((checkpoint / name for name in WITHIN if (checkpoint / name).is_file()), None)
        if weights is not None:
            return _open_weights(weights)
        return DcpFolder(checkpoint) if (checkpoint / DCP_FILE).is_file() else OrbaxFolder(checkpoint)


@contextmanager
def readable(checkpoint: Path) -> Iterator[None]:
    """For the time in which it is read.

    Raises:
        CheckpointError: there is none, or the system cannot read it.
    """
    try:
        if not checkpoint.exists():
            raise CheckpointError(str(checkpoint), KINDS, "nothing there", "Give its path from here.")
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        remedy = "Look at its permissions." if isinstance(error, PermissionError) else "Give another, or copy it again."
        raise CheckpointError(str(checkpoint), "what can be read", reason, remedy) from None


def _open_weights(file: Path) -> Source:
    return Shards(file) if file.name.endswith(INDEX) else _open_file(file)


def _open_file(file: Path) -> Source:
    if file.suffix == ".safetensors":
        return SafetensorsFile(file)
    if file.suffix in TORCH:
        return TorchCheckpoint(file)
    if file.suffix == NUMPY:
        return NpzFile(file)
    if file.suffix == FLAX:
        return FlaxFile(file)
    found = f"a file that ends in {file.suffix!r}" if file.suffix else "a file without an ending"
    raise CheckpointError(str(file), KINDS, found, "A file's name says what it is: rename it if it is one of these.")


class SafetensorsFile(MappedTensors):
    """See `Source`. Metadata `{alias: canonical}`, as `safetensors.torch.save_model` writes it, is read as ties."""

    others: tuple[str, ...] = ()

    def __init__(self, file: Path) -> None:
        """Raises CheckpointError: the file is cut short or damaged."""
        self.files: tuple[Path, ...] = (file,)
        header = read_header(file)
        check_size(file, header)
        super().__init__(file, header)
        self.entries: Mapping[str, TensorEntry] = {
            path: header.entries[path] for path in sorted(header.entries, key=header.offsets.__getitem__)
        }
        self.aliases: Mapping[str, str] = {
            alias: path for alias, path in header.metadata.items() if path in self.entries and alias not in self.entries
        }
        self._file = file
        self._offsets = header.offsets

    def place(self, path: str) -> tuple[Path, int]:
        return self._file, self._offsets[path]


class TorchCheckpoint:
    """See `Source`. A file of torch.save, by way of the torch wing. Tensors that share their memory are one tensor.

    The weights are the mapping in the file, or, if no entry of it is a tensor, the one under the first of `WEIGHTS`
    that is there. Nested mappings are joined with dots.
    """

    def __init__(self, file: Path) -> None:
        """Raises CheckpointError as the torch wing's `files.read` does, and if the file holds no tensor."""
        self._file = file
        self.files: tuple[Path, ...] = (file,)
        self._arrays: dict[str, Any] | None = None
        weights, beside = _weights(self._read(), file)
        found = _by_path(weights, file)
        self.others: tuple[str, ...] = (*beside, *(path for path, value in found.items() if not is_array(value)))
        arrays = {path: value for path, value in found.items() if is_array(value)}
        if not arrays:
            raise _no_weights(file, weights)
        self.aliases: Mapping[str, str] = _shared(arrays)
        self._arrays = {path: array for path, array in arrays.items() if path not in self.aliases}
        self.entries: Mapping[str, TensorEntry] = _entries(self._arrays)

    def array(self, path: str) -> np.ndarray:
        if self._arrays is None:
            weights, _ = _weights(self._read(), self._file)
            self._arrays = {name: value for name, value in leaves(weights) if name in self.entries}
        return self._arrays[path].read()

    def release(self, path: str) -> None:
        if self._arrays is not None:
            self._arrays[path].release()

    def place(self, path: str) -> Place:
        return None

    def close(self) -> None:
        """Unmap the file, unless an array of it is still in use. `array` maps it again."""
        self._arrays = None

    def _read(self) -> Any:
        return import_module("...impl_torch.files", __package__).read(self._file)


class DcpFolder(TorchCheckpoint):
    """See `Source`. A folder of torch.distributed.checkpoint, by way of the torch wing, tensor by tensor.

    The weights are found as in a file of torch.save, also below what alone is at the top, as an application's state is.
    """

    def place(self, path: str) -> Place:
        return None if self._arrays is None else self._arrays[path].boxes

    def _read(self) -> Any:
        tree = import_module("...impl_torch.dcp", __package__).read(self._file)
        while len(tree) == 1 and not tree.keys() & {*WEIGHTS} and isinstance(inner := next(iter(tree.values())), dict):
            if not any(isinstance(value, dict) for value in inner.values()):
                break
            tree = inner
        return tree


def _by_path(tree: Any, file: Path) -> dict[str, Any]:
    """Raises CheckpointError for two entries of one path, of which one would be lost."""
    found: dict[str, Any] = {}
    for path, value in leaves(tree):
        if path in found:
            raise CheckpointError(f"{file}: {path}", "one entry of each path", "two", "Rename one of them.")
        found[path] = value
    return found


def _entries(arrays: Mapping[str, Any]) -> dict[str, TensorEntry]:
    return {path: TensorEntry(array.shape, array.dtype) for path, array in arrays.items()}


def _weights(content: Any, file: Path) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """The mapping with the weights, and the keys beside it."""
    if not isinstance(content, Mapping):
        raise _no_weights(file, content)
    if any(is_array(value) for value in content.values()):
        return content, ()
    for key in WEIGHTS:
        if isinstance(content.get(key), Mapping):
            return content[key], tuple(str(each) for each in content if each != key)
    return content, ()


def _no_weights(file: Path, content: Any) -> CheckpointError:
    if is_array(content):
        found = "one tensor"
    elif isinstance(content, Mapping):
        found = "one without tensors: " + (listed([shown(key) for key in content], separator=", ") or "it is empty")
    else:
        found = type(content).__name__
    remedy = "Save `model.state_dict()`, alone or under the key 'state_dict'."
    return CheckpointError(str(file), "a mapping from paths to tensors", found, remedy)


def _shared(arrays: Mapping[str, Any]) -> dict[str, str]:
    """Further paths of tensors that lie in one place with one shape and one order."""
    owners: dict[Any, str] = {}
    found = {}
    for path, array in arrays.items():
        owner = owners.setdefault(array.memory, path) if 0 not in array.shape else path
        if owner != path:
            found[path] = owner
    return found


class _Tree:
    """See `Source`. The arrays of a tree by its paths."""

    aliases: Mapping[str, str] = {}

    def __init__(self, tree: Any, place: Path) -> None:
        self.files: tuple[Path, ...] = (place,)
        found = _by_path(tree, place)
        arrays = {path: value for path, value in found.items() if is_array(value)}
        self.others: tuple[str, ...] = tuple(path for path in found if path not in arrays)
        # An nnx.State that was saved as it is has a Variable, and so a node, about every array.
        is_state = bool(arrays) and all(path.endswith(STATE_VALUE) for path in arrays)
        self._arrays = {path.removesuffix(STATE_VALUE) if is_state else path: array for path, array in arrays.items()}
        self.entries: Mapping[str, TensorEntry] = _entries(self._arrays)

    def array(self, path: str) -> np.ndarray:
        return np.asarray(self._arrays[path])

    def release(self, path: str) -> None:
        """What was read with the file is not read again."""

    def place(self, path: str) -> Place:
        return None


class OrbaxFolder(_Tree):
    """See `Source`. An Orbax checkpoint, by way of the JAX wings; what is stored in chunks can be read in parts."""

    def __init__(self, folder: Path) -> None:
        """Raises CheckpointError: it is no Orbax checkpoint, or damaged."""
        super().__init__(import_module("...impl_jax.files", __package__).listed(orbax_checkpoint(folder)), folder)
        self._read: dict[str, np.ndarray] = {}

    def array(self, path: str) -> np.ndarray:
        if path not in self._read:
            self._read[path] = self._arrays[path].read(whole(self.entries[path].shape))
        return self._read[path]

    def release(self, path: str) -> None:
        self._read.pop(path, None)

    def place(self, path: str) -> Place:
        stored = self._arrays[path]
        return stored if stored.chunk != stored.shape else None


class FlaxFile(_Tree):
    """See `Source`. A file of `flax.serialization.to_bytes`, by way of the JAX wings."""

    def __init__(self, file: Path) -> None:
        """Raises CheckpointError: it is damaged or no such file."""
        super().__init__(import_module("...impl_jax.files", __package__).read_msgpack(file), file)


def orbax_checkpoint(folder: Path) -> Path:
    """The folder itself, or the item of a CheckpointManager's step."""
    for candidate in (folder, folder / ORBAX_ITEM):
        if (candidate / ORBAX_FILE).is_file():
            return candidate
    inside = sorted(each.name for each in folder.iterdir())
    found = f"a folder with {listed([repr(each) for each in inside], 6, ', ')}"
    remedy = "Give the step's own folder, or the file itself if there is one in it."
    expected = f"an Orbax checkpoint, which has a file {ORBAX_FILE}, or {listed(WITHIN, separator=', ')}"
    raise CheckpointError(str(folder), expected, found if inside else "an empty folder", remedy)


class Shards:
    """See `Source`. `NAME.index.json`, whose `weight_map` says which file beside it holds which tensor.

    One shard after the other: where the conversion can, it reads in the order of `entries`.
    """

    def __init__(self, index: Path) -> None:
        """Raises CheckpointError: the index or a shard is damaged or missing, or the two differ."""
        homes = weight_map(index)
        self._shards: dict[str, Source] = {}
        self._current = ""
        for name in dict.fromkeys(homes.values()):
            _check_beside(index, name)
            self._shards[name] = _open_file(index.parent / name)
            self._leave(name)
        _check_held(homes, self._shards, index)
        self._homes = {path: name for name, shard in self._shards.items() for path in shard.entries}
        self.entries: Mapping[str, TensorEntry] = {
            path: entry for shard in self._shards.values() for path, entry in shard.entries.items()
        }
        self.aliases: Mapping[str, str] = {
            alias: path
            for shard in self._shards.values()
            for alias, path in shard.aliases.items()
            if alias not in self.entries
        }
        self.others: tuple[str, ...] = tuple(other for shard in self._shards.values() for other in shard.others)
        self.files: tuple[Path, ...] = (index, *(index.parent / name for name in self._shards))

    def array(self, path: str) -> np.ndarray:
        name = self._homes[path]
        if name != self._current:
            self._leave(self._current)
            self._current = name
        return self._shards[name].array(path)

    def release(self, path: str) -> None:
        self._shards[self._homes[path]].release(path)

    def place(self, path: str) -> Place:
        return self._shards[self._homes[path]].place(path)

    def _leave(self, name: str) -> None:
        shard = self._shards.get(name)
        if isinstance(shard, TorchCheckpoint):
            shard.close()


def weight_map(index: Path) -> dict[str, str]:
    """The tensors of an index, each with the name of the file beside it that holds it.

    Raises:
        CheckpointError: it is damaged, or names what is not beside it.
    """
    expected = "JSON with a 'weight_map' from paths to files"
    try:
        content: Any = read_json(index)
    except ValueError as error:
        raise CheckpointError(str(index), expected, f"no JSON ({error})", "Copy the index again.") from None
    homes = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(homes, dict) or not homes or not all(isinstance(name, str) for name in homes.values()):
        raise CheckpointError(str(index), expected, "another content", "Copy the index again.")
    # A name that leads elsewhere would read a file that the index has no business with.
    strays = [name for name in homes.values() if Path(name).name != name or name in ("", "..")]
    if strays:
        raise CheckpointError(str(index), "the names of files beside it", repr(strays[0]), "Copy the index again.")
    return homes


def _check_beside(index: Path, name: str) -> None:
    """A shard is where its index is, or both are links to one folder, as in the cache of a hub.

    Raises:
        CheckpointError: it is not there, or leads elsewhere.
    """
    shard, remedy = index.parent / name, "Put all shards beside the index."
    if not shard.exists():
        raise CheckpointError(str(index), f"the shard {name!r} beside it", "no such file", remedy)
    if shard.resolve().parent not in (index.parent.resolve(), index.resolve().parent):
        found = f"a link to {str(shard.resolve())!r}"
        raise CheckpointError(str(index), f"the shard {name!r} beside it", found, remedy)


def _check_held(homes: Mapping[str, str], shards: Mapping[str, Source], index: Path) -> None:
    """Every tensor of the index is where it says, and no tensor is in two shards."""
    faults = [
        f"{path} is not in {name}"
        for path, name in homes.items()
        if path not in shards[name].entries and path not in shards[name].aliases
    ]
    seen: dict[str, str] = {}
    for name, shard in shards.items():
        faults += [f"{path} is in {seen[path]} and in {name}" for path in shard.entries if path in seen]
        seen |= dict.fromkeys(shard.entries, name)
    if faults:
        found = f"{counted(len(faults), 'difference')}: " + listed(faults, 20)
        raise CheckpointError(str(index), "shards that hold what it says", found, "Copy index and shards again.")
