"""Image files that only tests write: truncated, empty, of other kinds, and such as promise far more than they hold."""

import io
import os
import signal
import struct
import zlib
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

# What is written, and what its reason says.
BAD = {
    "missing": "is missing",
    "a folder": "is not a file",
    "a pipe": "is not a file",
    "empty": "is empty",
    "text": "got text",
    "a web page": "got a web page",
    "a GIF": "got a GIF image",
    "zeros": "got zeros",
    "noise": "got something else",
    "half a JPEG": "cannot be decoded as a JPEG",
    "the start of a JPEG": "cannot be decoded as a JPEG",
    "half a PNG": "ends early",
    "a changed PNG": "a checksum is wrong",
    "a PNG without pixels": "cannot be decoded as a PNG",
    "half a TIFF": "cannot be decoded as a TIFF",
    "half a packed TIFF": "cannot be decoded as a TIFF",
    "the start of a TIFF": "cannot be decoded as a TIFF",
    "half a FITS": "it ends early",
    "a FITS table": "has no image",
    "a FITS header without end": "does not end",
    "a FITS header of many blocks": "does not end",
    "a cube of many planes": "cube of 7 planes",
    "a small PNG": "expected 30 to 20,000",
    "a JPEG of 65,000 pixels": "expected 30 to 20,000",
    "a PNG of 2^31 pixels": "expected 30 to 20,000",
    "a TIFF of 2^31 pixels": "expected 30 to 20,000",
    "a FITS of 30,000 pixels": "expected 30 to 20,000",
    "a large FITS without pixels": "it ends early",
    "CMYK": "got CMYK",
    "half a gzip": "cannot be unpacked",
}


def fits_header(**cards: object) -> bytes:
    """Return a FITS header of one or more blocks."""
    values = {"SIMPLE": "T", **cards}
    lines = [f"{name:8}= {value:>20}".ljust(80) for name, value in values.items()] + ["END".ljust(80)]
    text = "".join(lines).encode()
    return text + b" " * (-len(text) % 2880)


def _encoded(kind: str, size: int = 100, mode: str = "RGB", **options: object) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (size, size, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def png(columns: int, rows: int, pixels: bytes) -> bytes:
    """Return a grey PNG that promises a size, whatever its pixels are."""
    header = struct.pack(">IIBBBBB", columns, rows, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(pixels)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_png_chunk(*chunk) for chunk in chunks)


def tiff(columns: int, rows: int) -> bytes:
    """Return a grey TIFF that promises a size."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.zeros((40, 48), np.uint8))
    content = bytearray(buffer.getvalue())
    for tag, old, new in ((256, 48, columns), (257, 40, rows)):
        for kind, form in ((4, "<I"), (3, "<H")):
            entry = struct.pack("<HHI", tag, kind, 1) + struct.pack(form, old).ljust(4, b"\0")
            if entry in content:
                place = content.index(entry)
                content[place : place + 12] = struct.pack("<HHII", tag, 4, 1, new)
    return bytes(content)


def jpeg(columns: int, rows: int) -> bytes:
    """Return a JPEG that promises a size."""
    content = bytearray(_encoded("JPEG"))
    place = content.index(b"\xff\xc0")
    content[place + 5 : place + 9] = struct.pack(">HH", rows, columns)
    return bytes(content)


def _fits_table() -> bytes:
    from astropy.io import fits

    buffer = io.BytesIO()
    columns = [fits.Column("a", "E", array=np.zeros(3, np.float32))]
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns(columns)]).writeto(buffer)
    return buffer.getvalue()


def _tiff(**options: object) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, np.random.default_rng(0).integers(0, 255, (100, 100), dtype=np.uint8), **options)
    return buffer.getvalue()


def _half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _changed_png() -> bytes:
    content = bytearray(_encoded("PNG"))
    content[len(content) // 2] ^= 255
    return bytes(content)


_CONTENT = {
    "empty": lambda: b"",
    "text": lambda: b"id,ra,dec\n1,2,3\n",
    "a web page": lambda: b"<html><script>alert(1)</script></html>",
    "a GIF": lambda: _encoded("GIF", mode="P"),
    "zeros": lambda: bytes(1000),
    "noise": lambda: b"\x07\x81" + np.random.default_rng(5).bytes(1000),
    "half a JPEG": lambda: _half(_encoded("JPEG")),
    "the start of a JPEG": lambda: _encoded("JPEG")[:20],
    "half a PNG": lambda: _half(_encoded("PNG")),
    "a changed PNG": _changed_png,
    "a PNG without pixels": lambda: png(100, 100, b"\0"),
    "half a TIFF": lambda: _half(_tiff()),
    "half a packed TIFF": lambda: _half(_tiff(compression="zlib")),
    "the start of a TIFF": lambda: _tiff()[:12],
    "half a FITS": lambda: fits_header(BITPIX=-32, NAXIS=2, NAXIS1=100, NAXIS2=100) + bytes(20000),
    "a FITS table": _fits_table,
    "a FITS header without end": lambda: b"SIMPLE  =                    T".ljust(80) * 36,
    "a FITS header of many blocks": lambda: b"SIMPLE  =                    T".ljust(80) * 36 * 500,
    "a cube of many planes": lambda: fits_header(BITPIX=8, NAXIS=3, NAXIS1=100, NAXIS2=100, NAXIS3=7) + bytes(72000),
    "a small PNG": lambda: _encoded("PNG", size=29),
    "a JPEG of 65,000 pixels": lambda: jpeg(65000, 65000),
    "a PNG of 2^31 pixels": lambda: png(2**31 - 1, 2**31 - 1, bytes(1000)),
    "a TIFF of 2^31 pixels": lambda: tiff(2**31, 2**31),
    "a FITS of 30,000 pixels": lambda: fits_header(BITPIX=8, NAXIS=2, NAXIS1=30000, NAXIS2=30000),
    "a large FITS without pixels": lambda: fits_header(BITPIX=-64, NAXIS=2, NAXIS1=20000, NAXIS2=20000),
    "CMYK": lambda: _encoded("JPEG", mode="CMYK"),
    "half a gzip": lambda: b"\x1f\x8b\x08" + bytes(7) + b"\x07" * 90,
}


def kill_or_frame(target: object, recipe: object) -> object:
    """Stand in for `read_ahead.frame_target` where a library of image formats crashes on a file."""
    if target.path.name == "killer.png":
        os.kill(os.getpid(), signal.SIGKILL)
    return target.frame(recipe)


def write_bad(case: str, folder: Path, name: str = "a.jpg") -> Path:
    """Write one of the BAD files."""
    path = folder / name
    if case == "a folder":
        path.mkdir()
    elif case == "a pipe":
        os.mkfifo(path)
    elif case != "missing":
        path.write_bytes(_CONTENT[case]())
    return path
