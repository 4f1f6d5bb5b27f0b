"""Images and cubes in FITS files, read in strips of rows: a large image is downsampled strip by strip.

Rows are in the order of the file: the lowest row of the sky first.

Source: Pence et al. 2010 (FITS 3.0); astropy.io.fits.
"""

import contextlib
import gzip
import io
import itertools
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from astropy.io import fits

from galaxy.image_formats import Unreadable
from machine.files import first_line

# Bytes of a header block, and blocks of a header; real headers have a few.
_BLOCK, MAX_HEADER_BLOCKS = 2880, 400
# Bytes of an unpacked gzip file.
MAX_UNPACKED = 2**29
# Bytes of a strip over all planes, and pixels of a tile in a compressed image.
_STRIP_BYTES, MAX_TILE_PIXELS = 2**25, 2**24
MAX_HDUS = 100
# Planes of a cube: one band, or red, green, blue.
PLANES = (1, 3)
Image = fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU


def read_bands(path: Path, choose_reduction: Callable[[int, int], int]) -> tuple[np.ndarray, int, tuple[int, int]]:
    """Read the first image of a file: bands (1 or 3, rows, columns) float32, reduction, (rows, columns) in the file.

    `choose_reduction(rows, columns)` returns the side of the squares of pixels that are averaged; it may raise
    Unreadable. Raises Unreadable for a file without a readable image; the reason follows the file's name in a message.
    """
    with opened(path) as hdu:
        planes, rows, columns = shape_of(hdu)
        reduction = choose_reduction(rows, columns)
        return _averaged(hdu, planes, rows, columns, reduction), reduction, (rows, columns)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image]:
    """Open the first image of a file without reading its pixels; errors within the block become Unreadable."""
    try:
        source = _unpacked(path) if is_gzip(path) else path
        _check_header(source)
        with warnings.catch_warnings():
            # Many real headers violate the standard; astropy warns about each violation.
            warnings.simplefilter("ignore")
            with fits.open(source, memmap=None if isinstance(source, Path) else False, lazy_load_hdus=True) as hdus:
                yield _first_image(hdus)
    except Unreadable:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise Unreadable(f"cannot be decoded as FITS ({_words(error)})") from None


def read_region(hdu: Image, rows: slice, columns: slice) -> np.ndarray:
    """Read a region of all planes: (planes, rows, columns) float32."""
    planes, _, _ = shape_of(hdu)
    return np.stack([_read_plane(hdu, plane, planes, rows, columns) for plane in range(planes)])


def _read_plane(hdu: Image, plane: int, planes: int, rows: slice, columns: slice) -> np.ndarray:
    leading = tuple(plane if length == planes else 0 for length in hdu.shape[:-2])
    return np.asarray(hdu.section[(*leading, rows, columns)], dtype=np.float32)


def _words(error: Exception) -> str:
    text = first_line(error)
    return "it ends early" if "buffer is too small" in text else text


def is_gzip(path: Path) -> bool:
    """Return whether a file starts with gzip's signature."""
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _unpacked(path: Path) -> io.BytesIO:
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, gzip.zlib.error) as error:
        raise Unreadable(f"cannot be unpacked ({first_line(error)})") from None
    if len(content) > MAX_UNPACKED:
        raise Unreadable(f"is too large: it unpacks to more than {MAX_UNPACKED} bytes; unpack it, and name the result")
    return io.BytesIO(content)


def _check_header(source: Path | io.BytesIO) -> None:
    """Raise Unreadable if the first header does not end within MAX_HEADER_BLOCKS, before astropy parses it."""
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source.getbuffer()) as file:
        if file.read(6) != b"SIMPLE":
            raise Unreadable("cannot be decoded as FITS (it does not start with SIMPLE)")
        file.seek(0)
        for block in iter(lambda: file.read(_BLOCK), b""):
            if any(block[start : start + 8] == b"END     " for start in range(0, _BLOCK, 80)):
                return
            if file.tell() > MAX_HEADER_BLOCKS * _BLOCK:
                break
    raise Unreadable("cannot be decoded as FITS (its header does not end)")


def _first_image(hdus: fits.HDUList) -> Image:
    for index in itertools.count():
        try:
            hdu = hdus[index]
        except IndexError:
            raise Unreadable("has no image in it") from None
        if index == MAX_HDUS:
            raise Unreadable(f"has no image among its first {MAX_HDUS} parts")
        if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2 and hdu.shape and min(hdu.shape) > 0:
            return hdu


def shape_of(hdu: Image) -> tuple[int, int, int]:
    """Return planes, rows and columns; ignores axes of length 1; raises Unreadable for other cubes."""
    *outer, rows, columns = hdu.shape
    planes = int(np.prod(outer, dtype=object)) if outer else 1
    if planes not in PLANES or (planes > 1 and max(outer) != planes):
        raise Unreadable(f"is a cube of {planes} planes: expected 1, or 3 (red, green, blue); write three to a file")
    tile = getattr(hdu, "tile_shape", None)
    if tile is not None and int(np.prod(tile, dtype=object)) > MAX_TILE_PIXELS:
        raise Unreadable(f"is compressed in tiles of {tile} pixels: expected at most {MAX_TILE_PIXELS} pixels a tile")
    return planes, rows, columns


def _averaged(hdu: Image, planes: int, rows: int, columns: int, reduction: int) -> np.ndarray:
    """Read all planes (planes, rows, columns) float32, averaged over squares of pixels; NaN if none is finite."""
    size = abs(hdu.header["BITPIX"]) // 8
    strip = max(1, _STRIP_BYTES // (columns * max(size, 4)) // reduction) * reduction
    out = np.empty((planes, rows // reduction, columns // reduction), np.float32)
    for plane in range(planes):
        for start in range(0, out.shape[1] * reduction, strip):
            stop = min(start + strip, out.shape[1] * reduction)
            pixels = _read_plane(hdu, plane, planes, slice(start, stop), slice(0, columns))
            out[plane, start // reduction : stop // reduction] = _block_means(pixels, reduction)
    return out


def _block_means(pixels: np.ndarray, reduction: int) -> np.ndarray:
    """Average the finite pixels of an array (rows, columns) over squares."""
    if reduction == 1:
        return pixels
    rows, columns = pixels.shape[0] // reduction, pixels.shape[1] // reduction
    blocks = pixels[: rows * reduction, : columns * reduction].reshape(rows, reduction, columns, reduction)
    finite = np.isfinite(blocks)
    totals = np.where(finite, blocks, 0).sum(axis=(1, 3))
    counts = finite.sum(axis=(1, 3))
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan).astype(np.float32)
