"""Gzip files whose bytes depend on their content alone: the header has no time and no name, and a seal as its comment.

Source: RFC 1952.
"""

import zlib
from typing import BinaryIO

from machine import seals

# Deflate, a comment, no time, no extra flags, unknown system.
_HEADER = b"\x1f\x8b\x08\x10\0\0\0\0\0\xff"
_LEVEL = 6


class GzipWriter:
    """Compresses what is written to an open file; the end of the block writes checksum and length."""

    def __init__(self, file: BinaryIO, source: str = seals.NO_SOURCE):
        self._file = file
        self._compressor = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        self._checksum, self._length = 0, 0
        file.write(_HEADER + seals.blank(source).encode() + b"\0")

    def write(self, content: bytes | memoryview) -> int:
        """Compress bytes; return their number."""
        content = memoryview(content).cast("B")
        self._checksum = zlib.crc32(content, self._checksum)
        self._length += len(content)
        self._file.write(self._compressor.compress(content))
        return len(content)

    def __enter__(self) -> "GzipWriter":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        if error is None:
            self._file.write(self._compressor.flush())
            self._file.write(self._checksum.to_bytes(4, "little"))
            self._file.write((self._length % 2**32).to_bytes(4, "little"))
