"""Zips from the internet: the whole table of contents is checked before a file is unpacked.

A zip is refused as a whole if it holds a path outside its folder, a link, a device, an encrypted file, a name twice,
overlapping files or sizes as in a zip bomb. The caller chooses the names under which files are unpacked; names in the
zip are not used as paths. `zipfile` checks encryption, compression and overlap only when it opens a file, and overlap
only since Python 3.11.8.
"""

import contextlib
import io
import re
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipInfo

from machine.files import DataError, first_line, open_file, replacing

# Twice the files of the competition with macOS's companion files, and three times its bytes.
MAX_FILES, MAX_BYTES, MAX_CONTENTS_BYTES = 2**19, 2**33, 2**26
# Deflate shrinks a table of equal numbers to 1/100, zeros to 1/1000. Files up to MIN_BOMB_BYTES are harmless.
MAX_RATIO, MIN_BOMB_BYTES = 200, 2**20
_HEADER_BYTES = 30  # of a file's local header, before its name
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_HINT = "download it again, from a source that you trust"


class _Reader(io.BufferedReader):
    """A file whose reads are limited to the size of a table of contents."""

    def read(self, size: int | None = -1) -> bytes:
        if size is not None and size > MAX_CONTENTS_BYTES:
            raise ValueError(f"its table of contents takes {size} bytes")
        return super().read(size)


@dataclass(frozen=True)
class Archive:
    """An open zip that has been checked: its name in messages, and its files in the order of their bytes."""

    name: str
    files: list[ZipInfo]
    _zip: zipfile.ZipFile

    def unpack(self, member: ZipInfo, target: Path) -> None:
        """Write one file as `target`, whole or not at all; raises DataError for a damaged file."""
        with replacing(target, durable=False) as temporary, temporary.open("wb") as sink:
            try:
                source = self._zip.open(member)
            except Exception as error:  # a damaged header can raise anything
                raise self._damaged(member, error) from None
            with source:
                while chunk := self._read(source, member):
                    sink.write(chunk)
            if sink.tell() != member.file_size:
                raise self._damaged(member, EOFError("it ends early"))

    def _read(self, source: io.BufferedIOBase, member: ZipInfo) -> bytes:
        try:
            return source.read(2**20)
        except Exception as error:  # damaged data, a wrong checksum, a fault of the disk
            raise self._damaged(member, error) from None

    def _damaged(self, member: ZipInfo, error: Exception) -> DataError:
        name = quoted(member.filename)
        return DataError(f"{self.name}: {name} cannot be unpacked ({first_line(error)}); {_HINT}")


@contextlib.contextmanager
def opened(path: Path, name: str | None = None) -> Iterator[Archive]:
    """Open a zip during the block; `name` replaces its path in messages.

    Raises DataError for a file that is not a zip, and for a zip that is not safe to unpack.
    """
    name = name or str(path)
    with _Reader(open_file(path, "download it").detach()) as file:
        try:
            archive = zipfile.ZipFile(file)
        except Exception as error:  # a damaged table of contents can raise anything
            raise DataError(f"{name} cannot be read as a zip ({first_line(error)}); {_HINT}") from None
        with archive:
            if reason := _fault(archive):
                raise DataError(f"{name} is refused: {reason}; {_HINT}")
            members = sorted(archive.infolist(), key=lambda member: member.header_offset)
            yield Archive(name, [member for member in members if not member.is_dir()], archive)


def quoted(name: str) -> str:
    """Return the start of a name, quoted, as printable text."""
    return repr(name if len(name) <= 80 else f"{name[:77]}...")


def _fault(archive: zipfile.ZipFile) -> str | None:
    """Return the reason to refuse a zip, or None."""
    members = archive.infolist()
    if len(members) > MAX_FILES:
        return f"expected at most {MAX_FILES} files, it holds {len(members)}"
    for member in members:
        if reason := _fault_of_name(member.orig_filename) or _fault_of_member(member):
            return f"{quoted(member.orig_filename)} {reason}"
    if (total := sum(member.file_size for member in members)) > MAX_BYTES:
        return f"expected at most {MAX_BYTES} bytes when unpacked, it holds {total}"
    names = set()
    for member in members:
        # Many file systems do not distinguish upper and lower case.
        if (name := member.filename.casefold()) in names:
            return f"{quoted(member.filename)} occurs twice"
        names.add(name)
    return _overlap(archive)


def _fault_of_name(name: str) -> str | None:
    parts = re.split(r"[/\\]", name)
    if not parts[0] or re.match("[A-Za-z]:", name):
        return "is an absolute path"
    if ".." in parts:
        return "leads out of the folder"
    return "is not a file name" if "\0" in name else None


def _fault_of_member(member: ZipInfo) -> str | None:
    file_type = stat.S_IFMT(member.external_attr >> 16)
    if file_type not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "is a link" if file_type == stat.S_IFLNK else "is a device, a pipe or a socket"
    if member.flag_bits & _ENCRYPTED:
        return "is encrypted"
    if member.compress_type not in _METHODS:
        return "is compressed with an unusual method"
    if member.is_dir() and member.file_size:
        return "is a folder, but has bytes"
    if member.compress_type == zipfile.ZIP_STORED and member.file_size != member.compress_size:
        return f"is stored as {member.compress_size} bytes, but its header says {member.file_size}"
    if member.file_size > max(MIN_BOMB_BYTES, MAX_RATIO * member.compress_size):
        return f"would grow from {member.compress_size} bytes to {member.file_size}, as a bomb does"
    return None


def _overlap(archive: zipfile.ZipFile) -> str | None:
    """Return the name of a file that overlaps the next one, in words, or None."""
    members = sorted(archive.infolist(), key=lambda member: member.header_offset)
    starts = [*(member.header_offset for member in members[1:]), archive.start_dir]
    for member, following in zip(members, starts, strict=False):
        num_bytes = _HEADER_BYTES + len(member.orig_filename) + member.compress_size
        if not 0 <= member.header_offset <= following - num_bytes:
            return f"{quoted(member.filename)} shares its bytes with another file, as in a bomb"
    return None
