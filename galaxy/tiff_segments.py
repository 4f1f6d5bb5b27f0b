"""Strips and tiles of a TIFF page as samples, each decompressed with checks: a damaged one is refused.

tifffile reads the tags. Without further libraries it decompresses only some of TIFF's compressions, and OpenCV accepts
damaged strips. Deflate has a checksum; libtiff (through Pillow) checks the codes of LZW, PackBits and Zstandard;
libjpeg's warnings are errors.

Source: Adobe, TIFF revision 6.0, sections 8, 9, 13, 14, 15, 22; TIFF technical notes 2 and 3.
"""

import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import simplejpeg
import tifffile

from galaxy.image_formats import Unreadable

_JPEG = 7
_DEFLATE = (8, 32946)
# Decoded by libtiff: LZW, PackBits, LZMA, Zstandard.
_LIBTIFF = (5, 32773, 34925, 50000)
COMPRESSIONS = (1, _JPEG, *_DEFLATE, *_LIBTIFF)


def read_samples(page: tifffile.TiffPage) -> np.ndarray:
    """Return the samples (rows, columns, samples) of a page, in native byte order; raises Unreadable."""
    if page.compression not in COMPRESSIONS:
        name = getattr(page.compression, "name", page.compression)
        raise Unreadable(f"is compressed with {name}: expected LZW, deflate, PackBits, Zstandard, JPEG or nothing")
    if page.fillorder != 1:
        raise Unreadable("has its bits in reverse order (FillOrder 2); save it again")
    samples = np.empty((page.imagelength, page.imagewidth, page.samplesperpixel), _dtype(page).newbyteorder("="))
    for (top, left, first), segment in _segments(page):
        segment = segment[: page.imagelength - top, : page.imagewidth - left]  # tiles reach beyond the image
        rows, columns, within = segment.shape
        samples[top : top + rows, left : left + columns, first : first + within] = segment
    return samples


def _dtype(page: tifffile.TiffPage) -> np.dtype:
    """Return the type of a sample in the file's byte order; that of the next whole byte for odd numbers of bits."""
    if page.dtype is None:
        raise Unreadable(f"has samples of an unknown type: {page.bitspersample} bits, format {page.sampleformat}")
    return np.dtype(page.dtype).newbyteorder(page.parent.byteorder)


def _segments(page: tifffile.TiffPage) -> Iterator[tuple[tuple[int, int, int], np.ndarray]]:
    """Yield the first row, column and sample of each strip or tile, and its samples (rows, columns, samples)."""
    height, width = (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)
    height = min(height, page.imagelength) if not page.is_tiled else height
    separate = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1
    within = 1 if separate else page.samplesperpixel
    corners = [
        (top, left, sample)
        for sample in range(page.samplesperpixel if separate else 1)
        for top in range(0, page.imagelength, height)
        for left in range(0, page.imagewidth, width)
    ]
    if min(len(page.dataoffsets), len(page.databytecounts)) < len(corners):
        raise Unreadable("cannot be decoded as a TIFF (it ends early)")
    file = page.parent.filehandle
    for corner, offset, num_bytes in zip(corners, page.dataoffsets, page.databytecounts, strict=False):
        file.seek(offset)
        data = file.read(num_bytes)
        if len(data) < num_bytes or not data:
            raise Unreadable("cannot be decoded as a TIFF (it ends early)")
        rows = height if page.is_tiled else min(height, page.imagelength - corner[0])
        shape = rows, width, within
        yield corner, _jpeg(page, data, shape) if page.compression == _JPEG else _unpacked(page, data, shape, height)


def _unpacked(page: tifffile.TiffPage, data: bytes, shape: tuple[int, int, int], height: int) -> np.ndarray:
    rows, columns, within = shape
    row_bytes = (columns * within * page.bitspersample + 7) // 8
    content = _decompressor(page.compression)(data, rows * row_bytes, height * row_bytes)
    if len(content) < rows * row_bytes:
        raise Unreadable("cannot be decoded as a TIFF (it ends early)")
    lines = np.frombuffer(content, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
    dtype = _dtype(page)
    if page.predictor == 3:
        return _undo_floating_predictor(lines, dtype, within).reshape(shape)
    if page.bitspersample == 8 * dtype.itemsize:
        samples = lines.view(dtype).reshape(shape).astype(dtype.newbyteorder("="))
    else:
        samples = _from_bits(lines, columns * within, page.bitspersample, dtype).reshape(shape)
    if page.predictor == 2:
        view = samples.view(f"u{samples.itemsize}")
        samples = np.cumsum(view, axis=1, dtype=view.dtype).view(samples.dtype)
    elif page.predictor != 1:
        raise Unreadable(f"cannot be decoded as a TIFF (predictor {page.predictor}: expected none, 2 or 3)")
    return samples


def _from_bits(lines: np.ndarray, count: int, bits: int, dtype: np.dtype) -> np.ndarray:
    """Return the first `count` integers of `bits` bits each of lines (rows, bytes), highest bit first."""
    if dtype.kind not in "bu" or bits > 16:
        raise Unreadable(f"has samples of {bits} bits: expected at most 16, or whole bytes")
    samples = np.zeros((len(lines), count), np.uint8 if bits <= 8 else np.uint16)
    unpacked = np.unpackbits(lines, axis=1)[:, : count * bits].reshape(len(lines), count, bits)
    for bit in range(bits):
        samples = (samples << 1) | unpacked[..., bit]
    return samples


def _undo_floating_predictor(lines: np.ndarray, dtype: np.dtype, within: int) -> np.ndarray:
    """Return floating point (rows, columns * samples) of byte differences, sorted by significance within a row."""
    rows, row_bytes = lines.shape
    differences = lines.reshape(rows, row_bytes // within, within)
    planes = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, -1)
    return np.ascontiguousarray(planes.swapaxes(1, 2)).view(dtype.newbyteorder(">")).astype(dtype.newbyteorder("="))


def _decompressor(compression: int) -> Callable[[bytes, int, int], bytes]:
    """Return a function of compressed bytes, the least and the most number of bytes that they hold."""
    if compression == 1:
        return lambda data, least, most: data
    if compression in _DEFLATE:
        return _inflate
    return lambda data, least, most: _libtiff(data, int(compression), least)


def _inflate(data: bytes, least: int, most: int) -> bytes:
    decoder = zlib.decompressobj()
    try:
        content = decoder.decompress(data, most)
        rest = b"" if decoder.eof else decoder.decompress(decoder.unconsumed_tail, 1)
    except zlib.error as error:
        raise Unreadable(f"cannot be decoded as a TIFF (it is damaged: {error})") from None
    if rest or not decoder.eof:
        raise Unreadable("cannot be decoded as a TIFF (it is damaged: a strip has a wrong length)")
    return content


def _libtiff(data: bytes, compression: int, num_bytes: int) -> bytes:
    """Decompress a strip as one row of bytes of a TIFF made for it, which Pillow gives to libtiff."""
    from PIL.TiffImagePlugin import TiffImageFile

    # The plugin is called directly: the limit on pixels is that of the process, and is checked here before.
    columns, rows = _factors(num_bytes)
    tags = {256: columns, 257: rows, 258: 8, 259: compression, 262: 1, 273: 122, 277: 1, 278: rows, 279: len(data)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + struct.pack("<I", 0)
    try:
        with TiffImageFile(io.BytesIO(header + data)) as image:
            return image.tobytes()
    except Exception as error:  # Pillow has no exception of its own for damaged data
        raise Unreadable(f"cannot be decoded as a TIFF (it is damaged: {error})") from None


def _factors(num_bytes: int) -> tuple[int, int]:
    """Return columns and rows whose product is `num_bytes`, columns at most 65,535 if there are such factors."""
    rows = next((rows for rows in range(-(-num_bytes // 65_535), 4096) if num_bytes % rows == 0), 1)
    return num_bytes // rows, rows


def _jpeg(page: tifffile.TiffPage, data: bytes, shape: tuple[int, int, int]) -> np.ndarray:
    """Decode a strip or tile in JPEG, with the page's tables; the photometric tag tells its colour space."""
    if page.jpegtables:
        data = data[:2] + page.jpegtables[2:-2] + data[2:]
    if shape[2] == 3:  # Adobe's marker: 0 is RGB, 1 is YCbCr
        transform = 1 if page.photometric == tifffile.PHOTOMETRIC.YCBCR else 0
        data = data[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\0\0\0\0" + bytes([transform]) + data[2:]
    if shape[2] not in (1, 3) or page.bitspersample != 8:
        raise Unreadable("cannot be decoded as a TIFF (JPEG with alpha, inks or more than 8 bits)")
    colours = "RGB" if shape[2] == 3 else "GRAY"
    try:
        pixels = simplejpeg.decode_jpeg(data, colours, fastdct=False, fastupsample=False, strict=True)
    except (ValueError, KeyError) as error:
        raise Unreadable(f"cannot be decoded as a TIFF (it is damaged: {error})") from None
    if pixels.shape[1] != shape[1] or pixels.shape[0] < shape[0]:
        raise Unreadable("cannot be decoded as a TIFF (a strip has a wrong size)")
    return pixels[: shape[0]]
