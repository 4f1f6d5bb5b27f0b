"""Seals: a text with a checksum inside a file, by which the project recognises a file that it wrote and nobody changed.

A writer puts `blank(source)` into its file where the format has room for a comment; `press` then writes the checksum of
all other bytes in its place. `source` stands for the inputs and options of a product.
"""

import hashlib
import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_NAME = b"galaxyseal"
_SOURCE_DIGITS, _DIGITS = 12, 32
_SEAL = re.compile(rb"%s:([0-9a-f]{%d}):([0-9a-f]{%d})" % (_NAME, _SOURCE_DIGITS, _DIGITS))
# A seal ends its block in a PNG, and four bytes of checksum follow; the seal's own checksum leaves them out everywhere.
_FOLLOWING = 4
# Bytes at the start and at the end of a file in which a seal is looked for.
_SEARCHED = 2**20
_BLOCK_BYTES = 2**20
_PNG = b"\x89PNG\r\n\x1a\n"
NO_SOURCE = "0" * _SOURCE_DIGITS


@dataclass(frozen=True)
class Seal:
    """The seal of a file: a checksum of its inputs and options, and whether its bytes are those that were written."""

    source: str
    is_whole: bool = True


def source_of(*texts: str | bytes) -> str:
    """Return the checksum of inputs and options that a seal holds, 12 digits."""
    parts = [text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text for text in texts]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:_SOURCE_DIGITS]


def blank(source: str = NO_SOURCE) -> str:
    """Return a seal without its checksum, 56 ASCII characters, to be put into a file."""
    return f"{_NAME.decode()}:{source}:{'0' * _DIGITS}"


def in_jpeg(content: bytes, source: str = NO_SOURCE) -> bytes:
    """Return a JPEG with a blank seal as its comment."""
    text = blank(source).encode()
    return b"%b\xff\xfe%b%b%b" % (content[:2], (len(text) + 2).to_bytes(2, "big"), text, content[2:])


def in_html(text: str, source: str = NO_SOURCE) -> str:
    """Return a page with a blank seal as the name of its generator."""
    head = '<meta charset="utf-8">'
    return text.replace(head, f'{head}\n<meta name="generator" content="{blank(source)}">', 1)


def press(path: Path) -> None:
    """Write the checksum into the blank seal of a file; raises ValueError without one."""
    with path.open("r+b") as file:
        found = _find(file)
        if found is None:
            raise ValueError(f"{path} has no seal")
        _, start, _ = found
        digits = _checksum(file, start)
        file.seek(start)
        file.write(digits)
        file.seek(0)
        if file.read(len(_PNG)) == _PNG:
            _mend_png(file, start + _DIGITS)


def read(path: Path) -> Seal | None:
    """Return the seal of a regular file; None for a file without one, and for one that cannot be read."""
    try:
        if not path.is_file():  # to open a pipe would block
            return None
        with path.open("rb") as file:
            found = _find(file)
            if found is None:
                return None
            source, start, digits = found
            return Seal(source, _checksum(file, start) == digits)
    except OSError:
        return None


def _find(file: BinaryIO) -> tuple[str, int, bytes] | None:
    """Return the source, the position of the checksum and the checksum of a file's seal."""
    file.seek(0)
    head = file.read(_SEARCHED)
    if match := _SEAL.search(head):
        return match[1].decode(), match.start(2), match[2]
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _SEARCHED)
    file.seek(start)
    matches = list(_SEAL.finditer(file.read(_SEARCHED)))
    return (matches[-1][1].decode(), start + matches[-1].start(2), matches[-1][2]) if matches else None


def _checksum(file: BinaryIO, start: int) -> bytes:
    """Return the checksum of a file's bytes, without the digits at `start` and the four bytes after them."""
    digest = hashlib.blake2b(digest_size=_DIGITS // 2)
    file.seek(0)
    left = start
    while left and (block := file.read(min(left, _BLOCK_BYTES))):
        digest.update(block)
        left -= len(block)
    file.seek(start + _DIGITS + _FOLLOWING)
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest().encode()


def _mend_png(file: BinaryIO, end: int) -> None:
    """Write the checksum of the block of a PNG that ends at `end`."""
    position = len(_PNG)
    while position < end:
        file.seek(position)
        length = int.from_bytes(file.read(4), "big")
        if position + 8 + length == end:
            checksum = zlib.crc32(file.read(4 + length))
            file.seek(end)
            file.write(checksum.to_bytes(4, "big"))
            return
        position += 12 + length
    raise ValueError("the seal of a PNG does not end its block")
