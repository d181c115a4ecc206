"""An index with shards as a source: `NAME.index.json`, whose `weight_map` says which file holds which tensor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ....common.errors import CheckpointError
from ....common.tables import counted
from ..headers import Entry
from .source import Source
from .torch import TorchCheckpoint


class Shards:
    """See `Source`. One shard after the other: where the conversion can, it reads in the order of `entries`."""

    def __init__(self, index: Path, opened_file: Callable[[Path], Source]) -> None:
        """opened_file: a source of one file.

        Raises:
            CheckpointError: the index or a shard is damaged or missing, or the two differ.
        """
        homes = _weight_map(index)
        self._shards: dict[str, Source] = {}
        self._current = ""
        for name in dict.fromkeys(homes.values()):
            if not (index.parent / name).is_file():
                remedy = "Put all shards beside the index."
                raise CheckpointError(str(index), f"the shard {name!r} beside it", "no such file", remedy)
            self._shards[name] = opened_file(index.parent / name)
            self._leave(name)
        _check_held(homes, self._shards, index)
        self._homes = {path: name for name, shard in self._shards.items() for path in shard.entries}
        self.entries: Mapping[str, Entry] = {
            path: entry for shard in self._shards.values() for path, entry in shard.entries.items()
        }
        self.aliases: Mapping[str, str] = {
            alias: path
            for shard in self._shards.values()
            for alias, path in shard.aliases.items()
            if alias not in self.entries
        }
        self.others: tuple[str, ...] = tuple(other for shard in self._shards.values() for other in shard.others)

    def array(self, path: str) -> np.ndarray:
        name = self._homes[path]
        if name != self._current:
            self._leave(self._current)
            self._current = name
        return self._shards[name].array(path)

    def release(self, path: str) -> None:
        self._shards[self._homes[path]].release(path)

    def _leave(self, name: str) -> None:
        shard = self._shards.get(name)
        if isinstance(shard, TorchCheckpoint):
            shard.close()


def _weight_map(index: Path) -> dict[str, str]:
    expected = "JSON with a 'weight_map' from paths to files"
    try:
        content: Any = json.loads(index.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(str(index), expected, f"no JSON ({error})", "Copy the index again.") from None
    homes = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(homes, dict) or not homes or not all(isinstance(name, str) for name in homes.values()):
        raise CheckpointError(str(index), expected, "another content", "Copy the index again.")
    # A name that leads elsewhere would read a file that the index has no business with.
    strays = [name for name in homes.values() if Path(name).name != name]
    if strays:
        raise CheckpointError(str(index), "the names of files beside it", repr(strays[0]), "Copy the index again.")
    return homes


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
        found = f"{counted(len(faults), 'difference')}: " + "; ".join(faults)
        raise CheckpointError(str(index), "shards that hold what it says", found, "Copy index and shards again.")
