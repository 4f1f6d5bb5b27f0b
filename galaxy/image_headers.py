"""Headers of JPEG and PNG files: the size and type of the pixels, known before a decoder runs.

Pillow reads headers, too, but does not keep these promises: it gives a PNG of 3 x 16 bits the mode 'RGB', as one of
3 x 8 bits (half of the memory); it refuses images because of their metadata (a short gAMA, a damaged iCCP), which
OpenCV decodes; its limit on pixels is one number of the whole process.

Source: ITU-T T.81, annex B; W3C, Portable Network Graphics, 5.
"""

import struct
import zlib

from galaxy.image_formats import Unreadable

# A PNG with text chunks has at most a few hundred.
MAX_CHUNKS = 100_000


def jpeg_frame(data: bytes) -> tuple[int, int, int, bool]:
    """Return rows, columns, components and whether it is progressive, from a JPEG's frame header; raises Unreadable."""
    offset = 2
    while offset + 10 <= len(data) and data[offset] == 0xFF:
        marker = data[offset + 1]
        if marker == 0xFF:  # a fill byte
            offset += 1
            continue
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            rows, columns, components = struct.unpack_from(">xHHB", data, offset + 4)
            return rows, columns, components, marker in (0xC2, 0xC6, 0xCA, 0xCE)
        if marker == 0xDA:
            break
        alone = marker == 0x01 or 0xD0 <= marker <= 0xD8  # these markers have no segment
        offset += 2 + (0 if alone else struct.unpack_from(">H", data, offset + 2)[0])
    raise Unreadable("cannot be decoded as a JPEG (it has no frame header)")


def png_header(data: bytes) -> tuple[int, int, int]:
    """Return rows, columns and bytes per decoded pixel of a PNG.

    Raises Unreadable unless all chunks are complete, up to IEND, with the right checksums.
    """
    offset = 8
    header = None
    view = memoryview(data)
    for index in range(MAX_CHUNKS):
        if offset + 12 > len(data):
            break
        length, name = struct.unpack_from(">I4s", data, offset)
        end = offset + 12 + length
        if end > len(data):
            raise Unreadable("cannot be decoded as a PNG (it ends early)")
        if zlib.crc32(view[offset + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise Unreadable("cannot be decoded as a PNG (a checksum is wrong)")
        if index == 0:
            if name != b"IHDR" or length != 13:
                break
            columns, rows, depth, colour = struct.unpack_from(">IIBB", data, offset + 8)
            # OpenCV decodes palettes and transparency as four channels.
            header = rows, columns, {0: 1, 2: 3, 3: 4, 4: 4, 6: 4}.get(colour, 4) * (2 if depth == 16 else 1)
        elif name == b"tRNS":
            header = rows, columns, 4 * (2 if depth == 16 else 1)
        elif name == b"IEND":
            return header
        offset = end
    raise Unreadable("cannot be decoded as a PNG (it ends early)" if header else "cannot be decoded as a PNG")
