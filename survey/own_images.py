"""One's own images as the training scripts read them: JPEGs of 424x424 pixels, named by a number.

A JPEG of that size is taken as it is. Of anything else the largest square around the middle is resized, so that the
galaxy has to be there, framed as Kaggle's are: its Petrosian radius spans about 50 pixels of the 424. 16 bits a sample
become their upper 8; what is transparent is black; grey gives three equal channels.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import simplejpeg

from galaxy import jpeg
from galaxy.affine import IMAGE_SHAPE
from machine.files import DataError, link_or_copy, replacing
from survey.own_labels import IMAGE_SUFFIXES

# A square of 8192 pixels: a mosaic of a survey is no cutout.
MAX_PIXELS, MAX_BYTES = 2**26, 2**29
JPEG_QUALITY = 95
_PNG, _TIFF = b"\x89PNG\r\n\x1a\n", {b"II*\0": "<", b"MM\0*": ">"}
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257


def find_images(folder: Path, left_out: Path) -> dict[str, Path]:
    """Return the images below a folder by their names without ending, but for those below `left_out`.

    Raises DataError where there are none, or two of a name.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder of images, but {folder} is {'none' if folder.exists() else 'missing'}")
    found: dict[str, Path] = {}
    others = []
    for path in _files(folder, left_out):
        if not path.name.lower().endswith(IMAGE_SUFFIXES):
            others.append(path)
        elif path.stem in found:
            raise DataError(
                f"expected one image of each name, got {str(found[path.stem])!r} and {str(path)!r}; rename one"
            )
        else:
            found[path.stem] = path
    if not found:
        raise DataError(f"{folder}: expected images that end with {', '.join(IMAGE_SUFFIXES)}, found none")
    if others:
        print(f"{folder}: left out {len(others)} other files, {others[0].name!r} for one")
    return found


def _files(folder: Path, left_out: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            name for name in folders if name[0] != "." and Path(place, name).resolve() != left_out.resolve()
        )
        yield from (path for name in sorted(names) if name[0] != "." and (path := Path(place, name)).is_file())


def bring(source: Path, target: Path) -> None:
    """Write an image as the JPEG `target`, unless it is there: what is made of a file has its time.

    Raises ValueError for an image that can not be used, with a reason that goes after its name.
    """
    time = source.stat().st_mtime_ns
    if target.exists() and target.stat().st_mtime_ns == time:
        return
    try:
        jpeg.decode_image(source)
    except ValueError:
        image = framed(decode(source))
    else:
        link_or_copy(source, target)
        return
    with replacing(target, durable=False) as temporary:
        temporary.write_bytes(simplejpeg.encode_jpeg(image, quality=JPEG_QUALITY, colorspace="RGB"))
        os.utime(temporary, ns=(time, time))


def may_be_linked(source: Path, folder: Path) -> bool:
    """Say whether an image may get a second name below a folder, which takes no room: a JPEG on the same disk."""
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
    """Decode a JPEG, PNG or TIFF of any size into (rows, columns, 3) uint8, RGB.

    Raises ValueError for anything else, with a reason that goes after the image's name; its size is looked at before
    room is made for pixels.
    """
    try:
        with path.open("rb") as file:
            if (size := os.fstat(file.fileno()).st_size) > MAX_BYTES:
                raise ValueError(f"is too large: expected at most {MAX_BYTES} bytes, got {size}")
            data = file.read()
    except OSError as error:
        raise ValueError(f"can not be read ({error.strerror})") from None
    if data.startswith(b"\xff\xd8\xff"):
        return _decode_jpeg(data)
    size = _png_size(data) if data.startswith(_PNG) else _tiff_size(data)
    if size is None:
        raise ValueError("can not be decoded (it is no JPEG, PNG or TIFF image)")
    _refuse_large(*size)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError(f"can not be decoded ({error.err})") from None
    if image is None:
        raise ValueError("can not be decoded")
    return _to_rgb(image)


def _refuse_large(columns: int, rows: int) -> None:
    if not 0 < columns * rows <= MAX_PIXELS:
        raise ValueError(f"is too large: expected at most {MAX_PIXELS} pixels, got {columns}x{rows}")


def _decode_jpeg(data: bytes) -> np.ndarray:
    try:
        rows, columns, colours, _ = simplejpeg.decode_jpeg_header(data, strict=True)
        _refuse_large(columns, rows)
        if colours in ("CMYK", "YCCK"):
            raise ValueError(f"expected RGB, got {colours}")
        if data.count(b"\xff\xda") > jpeg.MAX_SCANS:
            raise ValueError(f"expected at most {jpeg.MAX_SCANS} scans")
        return simplejpeg.decode_jpeg(data, strict=True, colorspace="RGB", fastdct=False, fastupsample=False)
    except (ValueError, KeyError) as error:
        raise ValueError(f"can not be decoded as a JPEG ({error})") from None


def _to_rgb(image: np.ndarray) -> np.ndarray:
    """Turn what OpenCV decodes, grey or (blue, green, red, perhaps alpha), into (rows, columns, 3) uint8, RGB."""
    if image.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"has samples of {image.dtype}: expected 8 or 16 bits; scale it to these")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.ndim == 2:
        return np.repeat(image[:, :, None], 3, axis=2)
    channels = image.shape[2]
    if channels not in (3, 4):
        raise ValueError(f"has {channels} channels: expected grey, three colours, or these and an alpha")
    colours = image[:, :, 2::-1]
    if channels == 4:
        colours = (colours * (image[:, :, 3:] / np.float32(255))).round().astype(np.uint8)
    return np.ascontiguousarray(colours)


def _png_size(data: bytes) -> tuple[int, int] | None:
    """Return the columns and rows that a PNG's header names."""
    return struct.unpack(">II", data[16:24]) if len(data) >= 24 else None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    """Return the columns and rows that the first directory of a TIFF names, None where it has none."""
    order = _TIFF.get(data[:4])
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, start)
        found: dict[int, int] = {}
        for place in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", data, place)
            (value,) = struct.unpack_from(f"{order}{'H' if kind == 3 else 'I'}", data, place + 8)
            found[tag] = max(value, found.get(tag, 0))  # whichever of two a decoder believes
        return found[_TIFF_WIDTH], found[_TIFF_HEIGHT]
    except (struct.error, KeyError):
        return None
