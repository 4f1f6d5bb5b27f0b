"""What headers of JPEG and PNG files promise, read before any decoder is.

Source: ITU-T T.81, annex B; W3C, Portable Network Graphics, 5.
"""

import struct
import zlib

from galaxy.jpeg import Unreadable

# PNG's chunks of text and the like.
MAX_CHUNKS = 100_000


def jpeg_frame(data: bytes) -> tuple[int, int, int, bool]:
    """Return rows, columns, components and whether it is progressive, of a JPEG's frame header."""
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            rows, columns, components = struct.unpack_from(">xHHB", data, place + 4)
            return rows, columns, components, marker in (0xC2, 0xC6, 0xCA, 0xCE)
        if marker == 0xDA:
            break
        place += 2 + (0 if marker == 0x01 or 0xD0 <= marker <= 0xD8 else struct.unpack_from(">H", data, place + 2)[0])
    raise Unreadable("can not be decoded as a JPEG (it has no frame header)")


def png_header(data: bytes) -> tuple[int, int, int]:
    """Return rows, columns and bytes a decoded pixel; raises Unreadable unless all chunks are whole, to the last."""
    place, number = 8, 0
    found = None
    view = memoryview(data)
    while place + 12 <= len(data) and number < MAX_CHUNKS:
        length, name = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            raise Unreadable("can not be decoded as a PNG (it ends early)")
        if zlib.crc32(view[place + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise Unreadable("can not be decoded as a PNG (a checksum is wrong)")
        if number == 0:
            if name != b"IHDR" or length != 13:
                break
            columns, rows, depth, colour = struct.unpack_from(">IIBB", data, place + 8)
            # OpenCV makes colour of whatever has a palette or transparency.
            found = rows, columns, {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}.get(colour, 4) * (2 if depth == 16 else 1)
        elif name == b"tRNS" and found is not None:
            found = (*found[:2], 4 * (2 if depth == 16 else 1))
        elif name == b"IEND" and found is not None:
            return found
        place, number = end, number + 1
    raise Unreadable("can not be decoded as a PNG (it ends early)" if found else "can not be decoded as a PNG")
