"""TIFF files: tags are read with tifffile, pixels with OpenCV; large uncompressed files are averaged by strips."""

from pathlib import Path

import cv2
import numpy as np
import tifffile

from galaxy.image_formats import Unreadable, read_content
from galaxy.opencv_images import read_encoded
from galaxy.pictures import Picture, Request, check_decoded_bytes, is_large, picture_of_pixels, without_alpha
from machine.files import first_line

# Bytes of a file that is read as a whole.
MAX_FILE_BYTES = 2**30
# Bytes of a strip of rows.
_STRIP_BYTES = 2**25


def read_tiff(path: Path, request: Request) -> Picture:
    """Read the first page of a TIFF; raises Unreadable."""
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            rows, columns, samples = page.imagelength, page.imagewidth, page.samplesperpixel
            width = (page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)) / 8
            plain, tile = page.is_memmappable and page.dtype is not None, max(page.tilewidth * page.tilelength, 1)
    except Exception as error:  # a damaged file can raise anything
        raise Unreadable(f"cannot be decoded as a TIFF ({first_line(error)})") from None
    reduction = request.choose_reduction(rows, columns)
    if samples not in (1, 2, 3, 4):
        raise Unreadable(f"has {samples} values a pixel: expected 1 to 4")
    num_bytes = int(rows * columns * samples * max(width, 1))
    if plain and reduction > 1 and is_large(num_bytes):
        pixels = without_alpha(_average_strips(path, reduction))
        return picture_of_pixels(pixels, "TIFF", (rows, columns), reduction, request.stretch)
    check_decoded_bytes(num_bytes)
    check_decoded_bytes(int(tile * samples * max(width, 1)))
    return read_encoded(read_content(path, MAX_FILE_BYTES), "TIFF", (rows, columns), num_bytes, request)


def _average_strips(path: Path, reduction: int) -> np.ndarray:
    """Average an uncompressed TIFF down, a strip of rows at a time, to (rows, columns, samples)."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        dtype, start = np.dtype(f"{file.byteorder}{page.dtype.char}"), page.dataoffsets[0]
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
        shape = columns // reduction, (last - first) // reduction
        averaged = cv2.resize(strip[:, : shape[0] * reduction], shape, interpolation=cv2.INTER_AREA)
        strips.append(averaged.reshape(*shape[::-1], samples))
    return np.concatenate(strips)
