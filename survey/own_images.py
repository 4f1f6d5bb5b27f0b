"""Your own images as the training scripts read them: JPEGs of 424x424 pixels, named by a number.

A JPEG of that size is taken as it is. Any other image is decoded as the catalogue decodes it (`galaxy.image_files`).
The largest square around its middle is resized. So the galaxy must lie there, framed as Kaggle's are: its Petrosian
radius spans about 50 of the 424 pixels. Of 16 bits per sample, the upper 8 are kept; transparent pixels become black;
grey gives three equal channels.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
import simplejpeg

from galaxy import jpeg
from galaxy.image_files import read
from galaxy.image_formats import Unreadable
from galaxy.image_geometry import IMAGE_SHAPE
from machine.files import DataError, link_or_copy, replacing, shown
from survey.own_labels import IMAGE_SUFFIXES

# A square of 8192 pixels: a larger image is a mosaic, not a cutout.
MAX_PIXELS, MAX_BYTES = 2**26, 2**29
JPEG_QUALITY = 95


def find_images(folder: Path, left_out: Path) -> dict[str, Path]:
    """Return the images below a folder by their names without suffix, except those below `left_out`.

    Raises DataError where there are no images, or two with one name.
    """
    if not folder.is_dir():
        state = "is not a folder" if folder.exists() else "is missing"
        raise DataError(f"expected a folder of images, but {folder} {state}")
    images: dict[str, Path] = {}
    others = []
    for path in _files(folder, left_out):
        if not path.name.lower().endswith(IMAGE_SUFFIXES):
            others.append(path)
        elif path.stem in images:
            raise DataError(
                f"expected one image of each name, got {str(images[path.stem])!r} and {str(path)!r}; rename one"
            )
        else:
            images[path.stem] = path
    if not images:
        raise DataError(f"{folder}: expected images that end with {', '.join(IMAGE_SUFFIXES)}, found none")
    if others:
        print(f"{folder}: left out {len(others)} other files, {others[0].name!r} for one")
    return images


def _files(folder: Path, left_out: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=_refuse_folder):
        folders[:] = sorted(
            name for name in folders if name[0] != "." and Path(parent, name).resolve() != left_out.resolve()
        )
        yield from (path for name in sorted(names) if name[0] != "." and (path := Path(parent, name)).is_file())


def _refuse_folder(error: OSError) -> NoReturn:
    raise DataError(f"{shown(error.filename)} cannot be read ({error.strerror}); allow reading, or move it away")


def bring(source: Path, target: Path) -> None:
    """Write an image as the JPEG `target`, unless that is up to date: it has the time of its source.

    Raises Unreadable, a ValueError, for an image that cannot be used; the message is a reason, to be written after the
    file's name.
    """
    time = source.stat().st_mtime_ns
    if target.exists() and target.stat().st_mtime_ns == time:
        return
    try:
        jpeg.decode_image(source)
    except Unreadable:
        image = framed(decode(source))
    else:
        link_or_copy(source, target)
        return
    with replacing(target, durable=False) as temporary:
        temporary.write_bytes(simplejpeg.encode_jpeg(image, quality=JPEG_QUALITY, colorspace="RGB"))
        os.utime(temporary, ns=(time, time))


def may_be_linked(source: Path, folder: Path) -> bool:
    """Return whether an image may get a second name below a folder: it is a JPEG on the same disk."""
    return source.suffix.lower() in (".jpg", ".jpeg") and source.stat().st_dev == folder.stat().st_dev


def framed(image: np.ndarray) -> np.ndarray:
    """Resize the largest square around the middle of an image (rows, columns, 3) to (424, 424, 3)."""
    rows, columns, _ = image.shape
    side = min(rows, columns)
    top, left = (rows - side) // 2, (columns - side) // 2
    square = image[top : top + side, left : left + side]
    method = cv2.INTER_AREA if side > IMAGE_SHAPE[0] else cv2.INTER_CUBIC
    return np.ascontiguousarray(cv2.resize(square, IMAGE_SHAPE[:2], interpolation=method))


def decode(path: Path) -> np.ndarray:
    """Decode an image of any size, of 8 or 16 bits per sample, to (rows, columns, 3) uint8, RGB; raises Unreadable."""
    if (size := path.stat().st_size) > MAX_BYTES:
        raise Unreadable(f"is too large: expected at most {MAX_BYTES} bytes, got {size}")
    picture = read(path, choose_reduction=_refuse_large)
    if picture.is_stretched:  # how to stretch a training set is a scientific choice
        raise Unreadable("holds linear light in floating point: expected 8 or 16 bits; scale it to these")
    if picture.pixels.dtype == np.uint8:
        return picture.pixels
    # The upper 8 of 16 bits: the floating point numbers are multiples of 1 / 65535.
    return (np.rint(picture.pixels * np.float32(65535)).astype(np.uint16) >> 8).astype(np.uint8)


def _refuse_large(rows: int, columns: int) -> int:
    if not 0 < columns * rows <= MAX_PIXELS:
        raise Unreadable(f"is too large: expected at most {MAX_PIXELS} pixels, got {columns}x{rows}")
    return 1
