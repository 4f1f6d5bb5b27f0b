"""Headers that are written byte by byte, with known answers; and those of other libraries' files."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from galaxy.image_formats import Unreadable
from galaxy.image_headers import MAX_CHUNKS, jpeg_frame, png_header

PIXELS = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", 2 + len(content)) + content


def frame(marker: int, rows: int = 600, columns: int = 800, components: int = 3) -> bytes:
    return segment(marker, struct.pack(">BHHB", 8, rows, columns, components) + bytes(3 * components))


def chunk(name: bytes, content: bytes = b"") -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(*chunks: bytes, depth: int = 8, colour: int = 2) -> bytes:
    """Return a PNG of 7 rows and 9 columns."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 9, 7, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks)


@pytest.mark.parametrize("marker", [0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA, 0xCF])
def test_a_jpeg_s_frame_follows_other_segments(marker: int):
    before = segment(0xE0, b"JFIF\0") + b"\xff\xff" + segment(0xFE, b"\xff\xc0 in a comment")[1:]
    tables = segment(0xC4, bytes(20)) + segment(0xC8, b"") + segment(0xCC, b"") + b"\xff\x01"
    progressive = marker in (0xC2, 0xCA)
    assert jpeg_frame(b"\xff\xd8" + before + tables + frame(marker)) == (600, 800, 3, progressive)


@pytest.mark.parametrize(
    "content",
    [b"", segment(0xDA, bytes(9)) + frame(0xC0), b"\0" + frame(0xC0), segment(0xE0, bytes(9)), frame(0xC0)[:6]],
    ids=["nothing", "a scan first", "a gap", "no frame", "half a frame"],
)
def test_a_jpeg_without_frame_is_refused(content: bytes):
    with pytest.raises(Unreadable, match="no frame header"):
        jpeg_frame(b"\xff\xd8" + content)


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_s_frame_is_that_of_pillow(mode: str, progressive: bool):
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(buffer, "JPEG", progressive=progressive)
    assert jpeg_frame(buffer.getvalue()) == (40, 50, len(mode), progressive)


@pytest.mark.parametrize(
    ("colour", "depth", "expected"),
    [(0, 8, 1), (0, 16, 2), (2, 8, 3), (2, 16, 6), (3, 8, 4), (4, 8, 4), (4, 16, 8), (6, 8, 4), (6, 16, 8), (0, 1, 1)],
)
def test_a_png_s_colour_type_and_depth_tell_the_bytes_of_a_pixel(colour: int, depth: int, expected: int):
    assert png_header(png(chunk(b"IDAT"), chunk(b"IEND"), depth=depth, colour=colour)) == (7, 9, expected)


def test_transparency_adds_an_alpha_channel():
    assert png_header(png(chunk(b"tRNS", bytes(6)), chunk(b"IEND"), depth=16)) == (7, 9, 8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_the_bytes_of_a_png_s_pixel_are_those_that_opencv_decodes(dtype: type, channels: int):
    pixels = np.zeros((40, 50, channels), dtype)
    rows, columns, num_bytes = png_header(cv2.imencode(".png", pixels)[1].tobytes())
    assert (rows, columns, num_bytes) == (40, 50, channels * np.dtype(dtype).itemsize)


def test_a_png_s_metadata_may_be_wrong():
    assert png_header(png(chunk(b"gAMA", b"x"), chunk(b"iCCP", b"abc"), chunk(b"IEND"))) == (7, 9, 3)


def test_content_after_the_end_of_a_png_does_not_matter():
    assert png_header(png(chunk(b"IEND")) + b"\xff" * 20) == (7, 9, 3)


def flipped(data: bytes, offset: int) -> bytes:
    return data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :]


WHOLE = png(chunk(b"IDAT", bytes(99)), chunk(b"tEXt", b"a\0b"), chunk(b"IEND"))


@pytest.mark.parametrize("length", [8, 20, 32, 33, 60, len(WHOLE) - 12, len(WHOLE) - 1])
def test_a_png_that_ends_early_is_refused(length: int):
    with pytest.raises(Unreadable, match="cannot be decoded as a PNG"):
        png_header(WHOLE[:length])


@pytest.mark.parametrize("offset", [20, 29, 60, len(WHOLE) - 16, len(WHOLE) - 1])
def test_a_wrong_bit_in_any_chunk_of_a_png_is_refused(offset: int):
    with pytest.raises(Unreadable, match="a checksum is wrong"):
        png_header(flipped(WHOLE, offset))


def test_a_png_starts_with_its_header():
    with pytest.raises(Unreadable, match=r"cannot be decoded as a PNG$"):
        png_header(b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT") + chunk(b"IEND"))


def test_the_chunks_of_a_png_are_counted():
    with pytest.raises(Unreadable, match="it ends early"):
        png_header(png(chunk(b"tEXt") * MAX_CHUNKS, chunk(b"IEND")))
