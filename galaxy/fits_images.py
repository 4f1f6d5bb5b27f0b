"""Images and cubes in FITS files, read a strip of rows at a time: a large one is averaged down as it comes.

Rows stand as in the file, the lowest first.

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

# A header's blocks of 2,880 bytes: real ones have a few.
_BLOCK, MAX_HEADER_BLOCKS = 2880, 400
# Of what a gzip file unpacks to.
MAX_UNPACKED = 2**29
# What is read of all planes together, and what a tile of a compressed image may take.
_STRIP_BYTES, MAX_TILE_PIXELS = 2**25, 2**24
MAX_HDUS = 100
# Of a cube: one band, or red, green, blue.
PLANES = (1, 3)
Image = fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU


def read_bands(path: Path, choose_reduction: Callable[[int, int], int]) -> tuple[np.ndarray, int, tuple[int, int]]:
    """Read the first image of a file: bands (1 or 3, rows, columns) float32, how far reduced, shape in the file.

    `choose_reduction` is given rows and columns, and says over how many pixels a side is averaged; it may raise
    Unreadable, which is raised here for whatever is no image, with a reason that goes after the file's name.
    """
    with opened(path) as hdu:
        planes, rows, columns = shape_of(hdu)
        reduction = choose_reduction(rows, columns)
        return _averaged(hdu, planes, rows, columns, reduction), reduction, (rows, columns)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image]:
    """Yield the first image of a file, its pixels unread; raises Unreadable, whatever the block meets in it."""
    try:
        source = _unpacked(path) if is_gzip(path) else path
        _check_header(source)
        with warnings.catch_warnings():
            # Headers in use break many a rule; astropy says so of each.
            warnings.simplefilter("ignore")
            with fits.open(source, memmap=None if isinstance(source, Path) else False, lazy_load_hdus=True) as hdus:
                yield _first_image(hdus)
    except Unreadable:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise Unreadable(f"can not be decoded as FITS ({_words(error)})") from None


def read_part(hdu: Image, rows: slice, columns: slice) -> np.ndarray:
    """Read a part of all planes: (planes, rows, columns) float32."""
    planes, _, _ = shape_of(hdu)
    leading = hdu.shape[: len(hdu.shape) - 2]
    places = [tuple(plane if length == planes else 0 for length in leading) for plane in range(planes)]
    return np.stack([np.asarray(hdu.section[(*place, rows, columns)], dtype=np.float32) for place in places])


def _words(error: Exception) -> str:
    text = first_line(error)
    return "it ends early" if "buffer is too small" in text else text


def is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _unpacked(path: Path) -> io.BytesIO:
    try:
        with gzip.open(path) as file:
            content = file.read(MAX_UNPACKED + 1)
    except (OSError, EOFError, gzip.zlib.error) as error:
        raise Unreadable(f"can not be unpacked ({first_line(error)})") from None
    if len(content) > MAX_UNPACKED:
        raise Unreadable(f"is too large: it unpacks to more than {MAX_UNPACKED} bytes; unpack it, and name the result")
    return io.BytesIO(content)


def _check_header(source: Path | io.BytesIO) -> None:
    """Raise Unreadable where the first header does not end soon, before anything is made of it."""
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source.getbuffer()) as file:
        if file.read(6) != b"SIMPLE":
            raise Unreadable("can not be decoded as FITS (it does not start with SIMPLE)")
        file.seek(0)
        for block in iter(lambda: file.read(_BLOCK), b""):
            if any(block[start : start + 8] == b"END     " for start in range(0, _BLOCK, 80)):
                return
            if file.tell() > MAX_HEADER_BLOCKS * _BLOCK:
                break
    raise Unreadable("can not be decoded as FITS (its header does not end)")


def _first_image(hdus: fits.HDUList) -> Image:
    for number in itertools.count():
        try:
            hdu = hdus[number]
        except IndexError:
            raise Unreadable("has no image in it") from None
        if number == MAX_HDUS:
            raise Unreadable(f"has no image among its first {MAX_HDUS} parts")
        if hdu.is_image and hdu.header.get("NAXIS", 0) >= 2 and hdu.shape and min(hdu.shape) > 0:
            return hdu


def shape_of(hdu: Image) -> tuple[int, int, int]:
    """Return planes, rows and columns; axes of length 1 do not count."""
    *outer, rows, columns = hdu.shape
    planes = int(np.prod(outer, dtype=object)) if outer else 1
    if planes not in PLANES or (planes > 1 and max(outer) != planes):
        raise Unreadable(f"is a cube of {planes} planes: expected 1, or 3 (red, green, blue); write three to a file")
    for tile in (getattr(hdu, "tile_shape", None),):
        if tile is not None and int(np.prod(tile, dtype=object)) > MAX_TILE_PIXELS:
            raise Unreadable(f"is packed in tiles of {tile} pixels: expected at most {MAX_TILE_PIXELS} in each")
    return planes, rows, columns


def _averaged(hdu: Image, planes: int, rows: int, columns: int, reduction: int) -> np.ndarray:
    """Read all planes (planes, rows, columns) float32, averaged over squares of pixels; NaN where none is finite."""
    # A file can end long before what its header promises.
    size = abs(hdu.header["BITPIX"]) // 8
    strip = max(1, _STRIP_BYTES // (columns * max(size, 4)) // reduction) * reduction
    out = np.empty((planes, rows // reduction, columns // reduction), np.float32)
    leading = len(hdu.shape) - 2
    for plane in range(planes):
        place = tuple(plane if length == planes else 0 for length in hdu.shape[:leading])
        for start in range(0, out.shape[1] * reduction, strip):
            stop = min(start + strip, out.shape[1] * reduction)
            part = np.asarray(hdu.section[(*place, slice(start, stop), slice(0, columns))], dtype=np.float32)
            out[plane, start // reduction : stop // reduction] = _block_means(part, reduction)
    return out


def _block_means(part: np.ndarray, reduction: int) -> np.ndarray:
    """Average an array (rows, columns) over squares, of what is finite in them."""
    if reduction == 1:
        return part
    rows, columns = part.shape[0] // reduction, part.shape[1] // reduction
    blocks = part[: rows * reduction, : columns * reduction].reshape(rows, reduction, columns, reduction)
    finite = np.isfinite(blocks)
    totals = np.where(finite, blocks, 0).sum(axis=(1, 3))
    counts = finite.sum(axis=(1, 3))
    return np.where(counts > 0, totals / np.maximum(counts, 1), np.nan).astype(np.float32)
