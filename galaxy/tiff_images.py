"""TIFF files, read as their tags say: pages, planes, photometric interpretation, type of the samples, alpha.

Of several pages, three grey ones of one size are red, green and blue; otherwise the first of the largest is read.

Source: Adobe, TIFF revision 6.0; tifffile.
"""

from pathlib import Path

import cv2
import numpy as np
import tifffile

from galaxy.image_formats import Unreadable
from galaxy.pictures import Picture, Request, check_decoded_bytes, is_large, picture_of_pixels, without_alpha
from galaxy.tiff_segments import read_samples
from machine.files import first_line
from machine.shared_folders import is_of_system

MAX_PAGES = 100
# Bytes of a strip of rows.
_STRIP_BYTES = 2**25
_RESIZABLE = (np.uint8, np.uint16, np.int16, np.float32, np.float64)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR, _LINEAR_RAW = 0, 1, 2, 3, 5, 6, 34892
# ExtraSamples: alpha that the colours were multiplied by already, and alpha that they were not.
_ASSOCIATED, _UNASSOCIATED = 1, 2


def read_tiff(path: Path, request: Request) -> Picture:
    """Read the image in a TIFF; raises Unreadable."""
    try:
        with tifffile.TiffFile(path) as file:
            pages, note = _choose_pages(file)
            return _read_pages(path, pages, note, request)
    except Unreadable:
        raise
    except Exception as error:  # a damaged file can raise anything
        if is_of_system(error):
            raise
        raise Unreadable(f"cannot be decoded as a TIFF ({first_line(error)})") from None


def _choose_pages(file: tifffile.TiffFile) -> tuple[list[tifffile.TiffPage], str]:
    """Return the pages of the image, one, or three grey ones; and a note where there are others."""
    pages = [file.pages[0]]
    for index in range(1, MAX_PAGES):
        try:
            pages.append(file.pages[index])
        except IndexError:
            break
    images = [page for page in pages if not page.is_reduced and not page.is_mask] or pages
    kinds = {(page.shape, page.dtype, page.photometric) for page in images}
    if len(images) == 3 and len(kinds) == 1 and images[0].samplesperpixel == 1:
        return images, "three pages were read as red, green, blue"
    chosen = max(images, key=lambda page: page.imagelength * page.imagewidth)  # the first of the largest
    stack = (file.imagej_metadata or {}).get("images", 1) if file.is_imagej else 1
    num_pages = max(len(pages), stack)
    return [chosen], f"page {pages.index(chosen) + 1} of {num_pages} was read" if num_pages > 1 else ""


def _read_pages(path: Path, pages: list[tifffile.TiffPage], note: str, request: Request) -> Picture:
    page = pages[0]
    rows, columns, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    reduction = request.choose_reduction(rows, columns)
    if samples not in (1, 2, 3, 4):
        raise Unreadable(f"has {samples} values a pixel: expected 1 to 4")
    itemsize = max(page.bitspersample / 8, 1) if isinstance(page.bitspersample, int) else 1
    num_bytes = int(rows * columns * samples * itemsize) * len(pages)
    plain = page.is_memmappable and page.dtype is not None and page.photometric != _PALETTE and page.fillorder == 1
    if plain and len(pages) == 1 and reduction > 1 and is_large(num_bytes):
        pixels = _interpret(page, _average_strips(path, page, reduction))
        return picture_of_pixels(pixels, "TIFF", (rows, columns), reduction, request.stretch, note)
    check_decoded_bytes(num_bytes)
    check_decoded_bytes(int(max(page.tilewidth * page.tilelength, 1) * samples * itemsize))
    with request.lock_for(num_bytes):
        planes = [_interpret(each, _reduced(read_samples(each), reduction)) for each in pages]
        pixels = planes[0] if len(planes) == 1 else np.dstack(planes)
        return picture_of_pixels(pixels, "TIFF", (rows, columns), reduction, request.stretch, note)


def _reduced(samples: np.ndarray, reduction: int) -> np.ndarray:
    """Average samples (rows, columns, samples) over squares of pixels."""
    if reduction == 1:
        return samples
    samples = samples.astype(np.float32) if samples.dtype == np.float16 else samples
    if samples.dtype not in _RESIZABLE:
        raise Unreadable(f"is too large for pixels of type {samples.dtype}")
    shape = samples.shape[1] // reduction, samples.shape[0] // reduction
    return cv2.resize(samples, shape, interpolation=cv2.INTER_AREA).reshape(*shape[::-1], -1)


def _interpret(page: tifffile.TiffPage, samples: np.ndarray) -> np.ndarray:
    """Return grey (rows, columns) or colour (rows, columns, 3) of samples (rows, columns, samples), by the tags."""
    samples = samples.astype(np.float32) if samples.dtype == np.float16 else samples
    bits = page.bitspersample
    if page.photometric == _PALETTE:
        return _palette(page, samples[..., 0])
    if samples.dtype.kind == "b" or (samples.dtype.kind == "u" and bits != 8 * samples.itemsize):
        highest = 255 if bits <= 8 else 65535
        samples = (samples.astype(np.uint32) * highest // (2**bits - 1)).astype(np.uint8 if bits <= 8 else np.uint16)
    if page.photometric == _WHITE_IS_ZERO:
        if samples.dtype.kind == "f":
            raise Unreadable("is white where it is zero, in floating point: expected black; invert it")
        samples = ~samples
    elif page.photometric == _CMYK and samples.shape[2] == 4 and samples.dtype == np.uint8:
        inks = samples.astype(np.uint16)
        samples = ((255 - inks[..., :3]) * (255 - inks[..., 3:]) // 255).astype(np.uint8)
    elif page.photometric not in (_BLACK_IS_ZERO, _RGB, _LINEAR_RAW) and not (
        page.photometric == _YCBCR and page.compression == 7
    ):
        name = getattr(page.photometric, "name", page.photometric)
        raise Unreadable(f"has colours of kind {name}: expected grey, RGB or a palette")
    return _without_extra(page, samples)


def _palette(page: tifffile.TiffPage, indices: np.ndarray) -> np.ndarray:
    colours = np.asarray(page.colormap)
    colours = (colours >> 8 if colours.max() > 255 else colours).astype(np.uint8)
    if indices.dtype.kind != "u" or indices.max() >= colours.shape[1]:
        raise Unreadable("cannot be decoded as a TIFF (its palette is too short)")
    return np.moveaxis(colours[:, indices], 0, 2)


def _without_extra(page: tifffile.TiffPage, samples: np.ndarray) -> np.ndarray:
    """Return samples without extra ones: only alpha that the colours were not multiplied by counts."""
    count = samples.shape[2]
    extra = page.extrasamples[0] if page.extrasamples else None
    if count in (2, 4) and extra in (None, _UNASSOCIATED):
        return without_alpha(samples)
    return np.ascontiguousarray(samples[..., :3]) if count >= 3 else samples[..., 0]


def _average_strips(path: Path, page: tifffile.TiffPage, reduction: int) -> np.ndarray:
    """Average an uncompressed page down, a strip of rows at a time, to (rows, columns, samples)."""
    dtype, start = np.dtype(f"{page.parent.byteorder}{page.dtype.char}"), page.dataoffsets[0]
    separate = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1
    rows, columns, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    planes, within = (samples, 1) if separate else (1, samples)
    row_bytes = columns * within * dtype.itemsize
    step = max(1, _STRIP_BYTES // (row_bytes * reduction)) * reduction
    strips = []
    for first in range(0, rows // reduction * reduction, step):
        last = min(first + step, rows // reduction * reduction)
        # One memory map per strip: the pages of a map of the whole file would stay in memory.
        maps = [
            np.memmap(path, dtype, "r", start + (plane * rows + first) * row_bytes, (last - first, columns, within))
            for plane in range(planes)
        ]
        strip = np.concatenate(maps, axis=2).astype(dtype.newbyteorder("="), copy=False)
        strips.append(_reduced(strip[:, : columns // reduction * reduction], reduction))
    return np.concatenate(strips)
