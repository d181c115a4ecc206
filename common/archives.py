"""Zip archives of arrays, as torch.save writes them and others pack them anew, read by their directory.

What lies in the file as it is gets mapped, and is read when it is looked at; what is compressed is unpacked whole. The
directory is held against the file before anything is read by it, and what is read against its checksum: a range that
leads past its member has other members' bytes in it, and no reader after this one would notice.
"""

from __future__ import annotations

import mmap
import struct
import zipfile
import zlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from .errors import CheckpointError
from .reading import opened

MAGIC = b"PK\x03\x04"
_ANEW = "It is cut short or damaged: copy it again."
# A member's own header: the lengths of its name and of what else stands before its bytes are the last two fields.
_HEADER = struct.Struct("<4s22xHH")
_ENCRYPTED = 1


class Member(NamedTuple):
    """One member: where its bytes lie in the file, how many there are, and of how many they are made."""

    start: int
    stored: int
    size: int
    is_packed: bool
    crc: int


class Archive:
    """The members of a file by their names, in the order of its directory."""

    def __init__(self, file: Path, made_by: str = "torch.save") -> None:
        """Raises CheckpointError: it is no archive, cut short or damaged; OSError: it cannot be read."""
        self._file, self._made_by = file, made_by
        self._sound: set[str] = set()
        self._unpacked: dict[str, bytes] = {}
        with opened(file) as stream:
            try:
                with zipfile.ZipFile(stream) as archive:
                    entries, end = archive.infolist(), archive.start_dir
            except (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error) as error:
                raise self._damaged(
                    f"a checkpoint of {made_by}", f"no zip archive that can be read ({error})"
                ) from None
            self._map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self.members: Mapping[str, Member] = self._members(entries, end)

    def read(self, name: str) -> memoryview:
        """A member's bytes, mapped if they lie in the file as they are.

        Raises:
            CheckpointError: they are not those that were packed, by their checksum or their number.
        """
        member = self.members[name]
        content = memoryview(self._map)[member.start : member.start + member.stored]
        if member.is_packed:
            if name not in self._unpacked:
                self._unpacked[name] = self._unpack(name, content)
            content = memoryview(self._unpacked[name])
        # PyTorch can be told to write no checksums, and then writes 0.
        if member.crc and name not in self._sound and zlib.crc32(content) != member.crc:
            raise self._damaged(f"the checksum {member.crc:08x}", f"{zlib.crc32(content):08x}", name)
        self._sound.add(name)
        return content

    def release(self, name: str) -> None:
        """Give a member's memory back. The pages of a mapped file count as ours, and stay in the system's cache."""
        self._unpacked.pop(name, None)
        member = self.members[name]
        start = member.start // mmap.PAGESIZE * mmap.PAGESIZE
        if member.stored and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED, start, member.start + member.stored - start)

    def _members(self, entries: list[zipfile.ZipInfo], end: int) -> dict[str, Member]:
        found = {}
        for entry in entries:
            if entry.filename in found:
                raise self._damaged("one member of each name", "two", entry.filename)
            found[entry.filename] = self._member(entry)
        # A member ends where the next one's header begins, or before.
        begins = sorted((entry.header_offset, entry.filename) for entry in entries)
        for (_, name), (following, _) in pairwise([*begins, (end, "")]):
            if found[name].start + found[name].stored > following:
                fault = f"bytes {found[name].start:,} to {found[name].start + found[name].stored:,}"
                raise self._damaged(f"bytes that end before the next member, at {following:,}", fault, name)
        return found

    def _member(self, entry: zipfile.ZipInfo) -> Member:
        name, packed = entry.filename, entry.compress_type != zipfile.ZIP_STORED
        if (packed and entry.compress_type != zipfile.ZIP_DEFLATED) or entry.flag_bits & _ENCRYPTED:
            found = "an encrypted one" if entry.flag_bits & _ENCRYPTED else f"method {entry.compress_type} of zip"
            remedy = f"Save it anew with {self._made_by}."
            raise CheckpointError(f"{self._file}: {name}", "a member that is stored or deflated", found, remedy)
        header = self._map[entry.header_offset : entry.header_offset + _HEADER.size]
        if len(header) < _HEADER.size or not header.startswith(MAGIC):
            raise self._damaged(f"a member's header at byte {entry.header_offset:,}", "none", name)
        start = entry.header_offset + _HEADER.size + sum(_HEADER.unpack(header)[1:])
        if not packed and entry.compress_size != entry.file_size:
            sizes = f"{entry.compress_size:,} of {entry.file_size:,}"
            raise self._damaged("all bytes of a member that is not compressed", sizes, name)
        return Member(start, entry.compress_size, entry.file_size, packed, entry.CRC)

    def _unpack(self, name: str, content: memoryview) -> bytes:
        size = self.members[name].size
        stream = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            # One byte more than there should be shows that there are more.
            made = stream.decompress(content, size + 1)
        except zlib.error as error:
            raise self._damaged("a member that can be unpacked", str(error), name) from None
        if len(made) != size or not stream.eof:
            found = f"{len(made):,}" if len(made) <= size else "more"
            raise self._damaged(f"{size:,} bytes in it, as the archive says", found, name)
        return made

    def _damaged(self, expected: str, found: str, member: str = "") -> CheckpointError:
        where = f"{self._file}: {member}" if member else str(self._file)
        return CheckpointError(where, expected, found, _ANEW)
