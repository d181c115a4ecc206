"""Hugging Face's layout: a folder with `model-00001-of-0000N.safetensors` and an index, or with one file."""

from __future__ import annotations

import json
import os
import re
import threading
from collections import deque
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ...common.drafts import finished_of, sync
from ...common.errors import UsageError
from ...common.safetensors import TensorEntry
from .readers import INDEXED, WHOLE
from .writers import SafetensorsWriter, header_of

# Whoever fills a shard waits for the disk when so many are full: they are open until the disk has them.
MOST_WAITING = 4
# As huggingface_hub reads sizes: powers of ten, and of two where an i says so.
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([kmgt]i?)?b?", re.IGNORECASE | re.ASCII)


def shard_size(size: int | str) -> int:
    """A shard's greatest size in bytes: a whole number, or a text such as `5GB`.

    Raises:
        UsageError: it is neither, or less than a byte.
    """
    found = 0
    if isinstance(size, str):
        matched = _SIZE.fullmatch(size)
        found = int(float(matched[1]) * _UNITS[(matched[2] or "").lower()]) if matched else 0
    elif isinstance(size, int) and not isinstance(size, bool):
        found = size
    if found < 1:
        expected = "a size such as '5GB', '500MB' or a number of bytes"
        raise UsageError("max_shard_size", expected, repr(size), "KB, MB, GB and TB are powers of ten, KiB of two.")
    return found


def parted(entries: Mapping[str, TensorEntry], most: int) -> dict[str, dict[str, TensorEntry]]:
    """The shards by their names, each of the next tensors that fit in it, and of a greater one alone."""
    parts: list[dict[str, TensorEntry]] = [{}]
    size = 0
    for path, entry in entries.items():
        if parts[-1] and size + entry.nbytes > most:
            parts.append({})
            size = 0
        parts[-1][path] = entry
        size += entry.nbytes
    if len(parts) == 1:
        return {WHOLE: parts[0]}
    return {f"model-{number:05d}-of-{len(parts):05d}.safetensors": part for number, part in enumerate(parts, 1)}


class Finished:
    """The shards in a draft that are on the disk as a whole, by their names, in a file beside them.

    Its first line is the fingerprint of what they are made from; with another one none is known.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._file = finished_of(folder)
        self._fingerprint = fingerprint
        lines = self._file.read_text().splitlines() if self._file.is_file() else []
        # A line that was cut short by a power cut is no shard's name.
        self.names = {*lines[1:]} if lines[:1] == [fingerprint] else set()
        if not self.names:
            self._file.unlink(missing_ok=True)

    def add(self, name: str) -> None:
        """Note a shard that is on the disk."""
        text = f"{name}\n" if self._file.exists() else f"{self._fingerprint}\n{name}\n"
        with self._file.open("a") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())


class ShardsWriter:
    """See `Destination`. Every shard is brought to the disk and closed as soon as its last byte was written.

    A tie is written once, under its owner's path: who loads the folder ties the others to it, as transformers does.
    """

    def __init__(
        self, folder: Path, entries: Mapping[str, TensorEntry], framework: str, most: int, fingerprint: str
    ) -> None:
        """fingerprint: of what they are made from, by which those that are there already are known to be these.

        Raises OSError if there is no room for the files, all of which is asked for at once.
        """
        self._folder = folder
        self._entries = entries
        self._lock = threading.Lock()
        self._disk = ThreadPoolExecutor(1, "paritree-shards")
        self._ended: dict[str, Future[None]] = {}
        self._waiting: deque[Future[None]] = deque()
        self._shards: dict[str, SafetensorsWriter] = {}
        self._homes: dict[str, str] = {}
        self._left: dict[str, int] = {}
        self._finished = Finished(folder, fingerprint)
        there: set[str] = set()
        folder.mkdir(exist_ok=True)
        parts = parted(entries, most)
        whole = {
            name for name in self._finished.names & parts.keys() if _is_whole(folder / name, parts[name], framework)
        }
        for file in folder.iterdir():
            if file.name not in whole:
                file.unlink()
        for name, part in parts.items():
            self._homes |= dict.fromkeys(part, name)
            if name in whole:
                there |= part.keys()
                continue
            self._shards[name] = SafetensorsWriter(folder / name, part, {}, framework)
            self._left[name] = sum(entry.nbytes for entry in part.values())
        self.there: Collection[str] = there

    def write(self, path: str, start: int, values: np.ndarray) -> None:
        name = self._homes[path]
        self._shards[name].write(path, start, values)
        behind = None
        with self._lock:
            self._left[name] -= values.nbytes
            if not self._left[name] and name not in self._ended:
                self._ended[name] = self._disk.submit(self._end, name)
                self._waiting.append(self._ended[name])
                behind = self._waiting.popleft() if len(self._waiting) > MOST_WAITING else None
        if behind is not None:
            behind.result()

    def finish(self) -> None:
        for name in self._shards:
            if name not in self._ended:
                self._end(name)
        for ended in self._ended.values():
            ended.result()
        if WHOLE not in self._homes.values():
            self._write_index()
        sync(self._folder)

    def close(self) -> None:
        self._disk.shutdown(cancel_futures=True)
        for shard in self._shards.values():
            shard.close()

    def _end(self, name: str) -> None:
        self._shards[name].finish()
        self._shards[name].close()
        self._finished.add(name)

    def _write_index(self) -> None:
        total = sum(entry.nbytes for entry in self._entries.values())
        content = {"metadata": {"total_size": total}, "weight_map": self._homes}
        with (self._folder / INDEXED).open("x", encoding="utf-8") as stream:
            json.dump(content, stream, ensure_ascii=False, indent=2, sort_keys=True)
            stream.write("\n")
            stream.flush()
            os.fsync(stream.fileno())


def _is_whole(file: Path, part: Mapping[str, TensorEntry], framework: str) -> bool:
    start, header = header_of(part, {}, framework)
    if not file.is_file() or file.stat().st_size != header.size:
        return False
    with file.open("rb") as stream:
        return stream.read(len(start)) == start
