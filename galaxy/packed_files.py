"""Files packed with gzip, bzip2, xz or compress (.Z), unpacked in memory up to a limit.

Source: compress(1): codes of 9 to 16 bits, lowest bit first, in groups of eight; 256 clears the table.
"""

import bz2
import gzip
import io
import lzma
import zlib
from pathlib import Path

from galaxy.image_formats import Unreadable
from machine.files import first_line
from machine.shared_folders import is_of_system

# Bytes of an unpacked file.
MAX_UNPACKED = 2**29
# Bytes that a decoder of xz may use; the dictionary of its highest level has 64 MiB.
_MAX_XZ_MEMORY = 2**27
_GZIP, _BZIP2, _XZ, _COMPRESS = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x1f\x9d"
_CLEAR, _BLOCK_MODE = 256, 0x80


def is_packed(path: Path) -> bool:
    """Return whether a file starts with the signature of gzip, bzip2, xz or compress."""
    with path.open("rb") as file:
        return file.read(len(_XZ)).startswith((_GZIP, _BZIP2, _XZ, _COMPRESS))


def unpack(path: Path) -> io.BytesIO:
    """Unpack a file in memory; raises Unreadable for a damaged one, and beyond MAX_UNPACKED bytes."""
    with path.open("rb") as file:
        start = file.read(len(_XZ))
    try:
        if start.startswith(_COMPRESS):
            content = _uncompress(path.read_bytes())
        elif start == _XZ:
            content = _decompress_xz(path.read_bytes())
        else:
            with bz2.open(path) if start.startswith(_BZIP2) else gzip.open(path) as packed:
                content = packed.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError) as error:
        if is_of_system(error):
            raise
        raise Unreadable(f"cannot be unpacked ({first_line(error)})") from None
    if len(content) > MAX_UNPACKED:
        raise Unreadable(f"is too large: it unpacks to more than {MAX_UNPACKED} bytes; unpack it, and name the result")
    return io.BytesIO(content)


def _decompress_xz(data: bytes) -> bytes:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ, _MAX_XZ_MEMORY)
    content = decoder.decompress(data, MAX_UNPACKED + 1)
    if not decoder.eof and len(content) <= MAX_UNPACKED:
        raise EOFError("it ends early")
    return content


def _uncompress(data: bytes) -> bytes:
    """Decode LZW as compress(1) writes it."""
    if len(data) < 3:
        raise ValueError("it ends early")
    max_bits, block_mode = data[2] & 0x1F, bool(data[2] & _BLOCK_MODE)
    if not 9 <= max_bits <= 16:
        raise ValueError(f"codes of {max_bits} bits")
    first_free = _CLEAR + block_mode
    table = [bytes([value]) for value in range(256)] + [b""] * block_mode
    out, size = [], 0
    bits, previous = 9, b""
    position, end = 24, 8 * len(data)
    group = position  # codes of one width come in groups of eight, padded when the width changes
    while position + bits <= end:
        byte = position >> 3
        code = int.from_bytes(data[byte : byte + 4], "little") >> (position & 7) & ((1 << bits) - 1)
        position += bits
        if block_mode and code == _CLEAR:
            del table[first_free:]
            position = group + -(-(position - group) // (8 * bits)) * 8 * bits
            bits, previous, group = 9, b"", position
            continue
        if code < len(table):
            entry = table[code]
        elif code == len(table) and previous:
            entry = previous + previous[:1]
        else:
            raise ValueError("a code is wrong")
        out.append(entry)
        size += len(entry)
        if size > MAX_UNPACKED:
            break
        if previous and len(table) < 1 << max_bits:
            table.append(previous + entry[:1])
        previous = entry
        if len(table) >= 1 << bits and bits < max_bits:
            position = group + -(-(position - group) // (8 * bits)) * 8 * bits
            bits, group = bits + 1, position
    return b"".join(out)
