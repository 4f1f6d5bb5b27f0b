"""Any image file as an array: JPEG, PNG, TIFF, FITS, read with suspicion.

What a header promises is compared with what memory allows before room is made for pixels, and large images are averaged
down as early as the format allows, to MAX_PIXELS: of a galaxy that fills its cutout, nothing that a network could see
is lost. What can not be read raises Unreadable, with a reason that goes after the file's name.
"""

import contextlib
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import simplejpeg
import tifffile

from galaxy.image_headers import jpeg_frame, png_header
from galaxy.jpeg import MAX_SCANS, Unreadable
from machine.files import first_line

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "TIFF": (".tif", ".tiff"),
    "FITS": (".fits", ".fit", ".fts", ".fz", ".fits.gz", ".fit.gz"),
}
_SIGNATURES = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"SIMPLE": "FITS",
    b"\x1f\x8b": "FITS",
}
_OTHERS = {
    b"GIF8": "a GIF image",
    b"BM": "a BMP image",
    b"RIFF": "a WebP image",
    b"%PDF": "a PDF document",
    b"PK": "a zip archive",
    b"<": "a web page",
    b"\0\0\0\0": "zeros",
}
MIN_SIDE, MAX_SIDE = 30, 20_000
# Pixels that are kept; an image of more is averaged down.
MAX_PIXELS = 2**22
# Bytes of a file that is read whole, and of its pixels before they are averaged down.
MAX_FILE_BYTES, MAX_DECODED_BYTES = 2**30, 1_300_000_000
# What is decoded beside others; more is decoded alone.
LARGE_BYTES = 2**26
# Beyond, OpenCV is asked for an eighth, a quarter or half of the image: of a whole one it holds two copies.
HUGE_BYTES = 5 * 10**8


@dataclass(frozen=True, eq=False)
class Picture:
    """An image: `pixels` (rows, columns, 3) RGB, uint8 as in the file, or float32 from 0 to 1.

    `reduction` pixels a side of the file were averaged; `size` is (rows, columns) in the file. `saturated` (rows,
    columns) is True where the file could count no higher.
    """

    pixels: np.ndarray
    saturated: np.ndarray
    kind: str
    size: tuple[int, int]
    reduction: int = 1


@dataclass(frozen=True)
class Wanted:
    """What is wanted of a reader: its stretch, a block for large images, how many pixels are kept."""

    stretch: str | None
    alone: Callable
    max_pixels: int | None


def no_lock() -> contextlib.AbstractContextManager:
    """Return what lets images of any size be decoded side by side."""
    return contextlib.nullcontext()


def read(path: Path, stretch: str | None = None, alone: Callable = no_lock, max_pixels: int | None = None) -> Picture:
    """Read an image; large ones in the block `alone()`, and averaged down to `max_pixels` (None: MAX_PIXELS).

    `stretch` brings light that is counted linearly to 0..1; None: asinh for FITS and floating point, no stretch for
    whole numbers of other formats, whose range is 0..1.
    """
    kind, size = kind_of(path)
    try:
        return _READERS[kind](path, size, Wanted(stretch, alone, max_pixels))
    except Unreadable:
        raise
    except Exception as error:  # a damaged file can raise anything
        raise Unreadable(f"can not be read ({first_line(error)})") from None


def kind_of(path: Path) -> tuple[str, int]:
    """Return the format of an image file, by its first bytes, and its size in bytes; raises Unreadable."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # to open a pipe would wait for ever
            raise Unreadable("is no file")
        with path.open("rb") as file:
            start = file.read(16)
    except FileNotFoundError:
        raise Unreadable("is missing") from None
    except OSError as error:
        raise Unreadable(f"can not be read ({error.strerror})") from None
    if not start:
        raise Unreadable("is empty")
    kind = next((kind for signature, kind in _SIGNATURES.items() if start.startswith(signature)), None)
    if kind is None:
        raise Unreadable(f"is no image that can be read: expected JPEG, PNG, TIFF or FITS, got {_what(start)}")
    return kind, status.st_size


def _what(start: bytes) -> str:
    kind = next((kind for signature, kind in _OTHERS.items() if start.startswith(signature)), None)
    return kind or ("text" if all(9 <= byte < 127 for byte in start) else "something else")


def choose_reduction(rows: int, columns: int, max_pixels: int | None = None) -> int:
    """Return over how many pixels a side an image is averaged; raises Unreadable for one that is too small or large."""
    if not (min(rows, columns) >= MIN_SIDE and max(rows, columns) <= MAX_SIDE):
        raise Unreadable(
            f"has {columns}x{rows} pixels: expected {MIN_SIDE} to {MAX_SIDE:,} a side"
            + ("" if min(rows, columns) < MIN_SIDE else "; cut the galaxy out, or average the image down")
        )
    reduction = 1
    while (rows // reduction) * (columns // reduction) > (max_pixels or MAX_PIXELS):
        reduction += 1
    return reduction


def _check_bytes(num_bytes: int) -> None:
    if num_bytes > MAX_DECODED_BYTES:
        raise Unreadable(f"is too large: its pixels take {num_bytes:,} bytes, expected at most {MAX_DECODED_BYTES:,}")


def _content(path: Path, size: int) -> bytes:
    if size > MAX_FILE_BYTES:
        raise Unreadable(f"is too large: expected at most {MAX_FILE_BYTES:,} bytes, got {size:,}")
    return path.read_bytes()


def _finish(pixels: np.ndarray, kind: str, size: tuple[int, int], wanted: Wanted) -> Picture:
    """Make a picture of decoded pixels (rows, columns[, 3]) RGB, of any type of number."""
    reduction = choose_reduction(*size, wanted.max_pixels)
    whole = np.issubdtype(pixels.dtype, np.integer)
    highest = np.iinfo(pixels.dtype).max if whole else np.inf
    shape = size[1] // reduction, size[0] // reduction
    already = pixels.shape[1::-1] == shape
    if pixels.ndim == 3:
        saturated = np.any([_equal(pixels[..., channel], highest) for channel in range(3)], axis=0)
    else:
        saturated = _equal(pixels, highest)
    if not already:
        pixels = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
        saturated = cv2.resize(saturated.astype(np.uint8), shape, interpolation=cv2.INTER_AREA) > 0
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    if not whole or (wanted.stretch is not None and pixels.dtype != np.uint8):
        pixels = _stretched(np.moveaxis(pixels.astype(np.float32), 2, 0), wanted.stretch)
    elif pixels.dtype != np.uint8:
        lowest = np.iinfo(pixels.dtype).min
        pixels = ((pixels.astype(np.float32) - lowest) / np.float32(highest - lowest)).astype(np.float32)
    return Picture(np.ascontiguousarray(pixels), saturated, kind, size, reduction)


def _equal(channel: np.ndarray, highest: float) -> np.ndarray:
    return channel == highest if np.isfinite(highest) else np.zeros(channel.shape, bool)


def _stretched(bands: np.ndarray, stretch: str | None) -> np.ndarray:
    # What knows only FITS and floating point need not be there for a folder of JPEGs.
    from galaxy.stretch import composite

    return composite(bands, stretch or "asinh")


def _read_jpeg(path: Path, size: int, wanted: Wanted) -> Picture:
    data = _content(path, size)
    rows, columns, components, progressive = jpeg_frame(data)
    reduction = choose_reduction(rows, columns, wanted.max_pixels)
    if components not in (1, 3):
        raise Unreadable("has the wrong colours: expected RGB or grey, got CMYK")
    pixels = rows * columns
    scans = data.count(b"\xff\xda")
    if scans > max(20, min(MAX_SCANS, MAX_SCANS * MAX_PIXELS // pixels)):
        raise Unreadable(f"is too laborious: it has {scans} scans")
    # All coefficients of a progressive image are in memory, two bytes each; otherwise no more than what is kept.
    _check_bytes(2 * components * pixels if progressive else 0)
    large = (components * pixels * 2 if progressive else 12 * pixels // reduction**2) > LARGE_BYTES
    with wanted.alone() if large else contextlib.nullcontext():
        smallest = {"min_height": rows // reduction, "min_width": columns // reduction} if reduction > 1 else {}
        try:
            decoded = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True, **smallest)
        except ValueError as error:
            raise Unreadable(f"can not be decoded as a JPEG ({first_line(error)})") from None
        except KeyError:  # simplejpeg has no name for every kind of subsampling that libjpeg reads
            raise Unreadable("can not be decoded as a JPEG (unknown subsampling)") from None
        return _finish(decoded, "JPEG", (rows, columns), wanted)


def _read_png(path: Path, size: int, wanted: Wanted) -> Picture:
    data = _content(path, size)
    rows, columns, bytes_a_pixel = png_header(data)
    choose_reduction(rows, columns, wanted.max_pixels)
    num_bytes = rows * columns * bytes_a_pixel
    _check_bytes(num_bytes)
    return _decoded(data, "PNG", (rows, columns), num_bytes, wanted)


def _read_tiff(path: Path, size: int, wanted: Wanted) -> Picture:
    try:
        with tifffile.TiffFile(path) as file:
            page = file.pages[0]
            rows, columns, samples = page.imagelength, page.imagewidth, page.samplesperpixel
            width = (page.bitspersample if isinstance(page.bitspersample, int) else max(page.bitspersample)) / 8
            plain, tile = page.is_memmappable and page.dtype is not None, max(page.tilewidth * page.tilelength, 1)
    except Exception as error:  # a damaged file can raise anything
        raise Unreadable(f"can not be decoded as a TIFF ({first_line(error)})") from None
    reduction = choose_reduction(rows, columns, wanted.max_pixels)
    if samples not in (1, 2, 3, 4):
        raise Unreadable(f"has {samples} values a pixel: expected 1 to 4")
    num_bytes = int(rows * columns * samples * max(width, 1))
    if plain and reduction > 1 and num_bytes > LARGE_BYTES:
        return _finish(_plain_tiff(path, reduction), "TIFF", (rows, columns), wanted)
    _check_bytes(num_bytes)
    _check_bytes(int(tile * samples * max(width, 1)))
    return _decoded(_content(path, size), "TIFF", (rows, columns), num_bytes, wanted)


def _plain_tiff(path: Path, reduction: int) -> np.ndarray:
    """Average an uncompressed TIFF down, a strip of rows at a time."""
    with tifffile.TiffFile(path) as file:
        page = file.pages[0]
        kind, start = np.dtype(f"{file.byteorder}{page.dtype.char}"), page.dataoffsets[0]
        separate = page.planarconfig == tifffile.PLANARCONFIG.SEPARATE and page.samplesperpixel > 1
        rows, columns, samples = page.imagelength, page.imagewidth, page.samplesperpixel
    planes, within = (samples, 1) if separate else (1, samples)
    row_bytes = columns * within * kind.itemsize
    step = max(1, 2**25 // (row_bytes * reduction)) * reduction
    strips = []
    for first in range(0, rows // reduction * reduction, step):
        last = min(first + step, rows // reduction * reduction)
        # A map a strip: of one of the whole file, every page would stay.
        parts = [
            np.memmap(path, kind, "r", start + (plane * rows + first) * row_bytes, (last - first, columns, within))
            for plane in range(planes)
        ]
        strip = np.concatenate(parts, axis=2).astype(kind.newbyteorder("="), copy=False)
        shape = columns // reduction, (last - first) // reduction
        averaged = cv2.resize(strip[:, : shape[0] * reduction], shape, interpolation=cv2.INTER_AREA)
        strips.append(averaged.reshape(*shape[::-1], samples))
    return _opaque(np.concatenate(strips))


def _decoded(data: bytes, kind: str, size: tuple[int, int], num_bytes: int, wanted: Wanted) -> Picture:
    """Decode a PNG or TIFF with OpenCV, whose complaints are not printed."""
    with wanted.alone() if num_bytes > LARGE_BYTES else contextlib.nullcontext(), _quiet():
        reduction = choose_reduction(*size, wanted.max_pixels)
        scale, flag = next(
            (each for each in _REDUCED if num_bytes > HUGE_BYTES and each[0] <= reduction), (1, cv2.IMREAD_UNCHANGED)
        )
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
        except cv2.error as error:
            raise Unreadable(f"can not be decoded as a {kind} ({first_line(error)})") from None
        del data
        if pixels is None:
            raise Unreadable(f"can not be decoded as a {kind} (it is damaged, or of a rare kind)")
        if any(abs(length * scale - expected) >= scale for length, expected in zip(pixels.shape, size, strict=False)):
            raise Unreadable(f"can not be decoded as a {kind} (its size is not what its header says)")
        if reduction > 1:  # before anything is copied
            shape = size[1] // reduction, size[0] // reduction
            if pixels.dtype not in (np.uint8, np.uint16, np.int16, np.float32, np.float64):
                raise Unreadable(f"is too large for pixels of type {pixels.dtype}")
            pixels = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
        if pixels.ndim == 3 and pixels.shape[2] > 2:  # from BGR
            pixels[..., [0, 2]] = pixels[..., [2, 0]]
        return _finish(_opaque(pixels), kind, size, wanted)


_REDUCED = (8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2)


def _opaque(pixels: np.ndarray) -> np.ndarray:
    """Return grey (rows, columns) or colour (rows, columns, 3) of what may have an alpha channel, on black."""
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels
    if pixels.shape[2] == 1:
        return pixels[..., 0]
    colours = pixels[..., 0] if pixels.shape[2] == 2 else np.ascontiguousarray(pixels[..., :3])
    alpha = pixels[..., -1]
    highest = np.iinfo(alpha.dtype).max if np.issubdtype(alpha.dtype, np.integer) else 1
    hidden = alpha < highest
    if hidden.any() and not (alpha == 0).all():
        weight = (alpha[hidden] / highest).astype(np.float64)
        colours[hidden] = (colours[hidden] * (weight if colours.ndim == 2 else weight[:, None])).astype(colours.dtype)
    return colours


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


def _read_fits(path: Path, size: int, wanted: Wanted) -> Picture:
    from galaxy.fits_images import read_bands

    with wanted.alone() if size > LARGE_BYTES or path.suffix == ".gz" else contextlib.nullcontext():
        bands, reduction, shape = read_bands(path, lambda *shape: choose_reduction(*shape, wanted.max_pixels))
        return picture_of_bands(bands, wanted.stretch, shape, reduction)


def picture_of_bands(bands: np.ndarray, stretch: str | None, shape: tuple[int, int], reduction: int = 1) -> Picture:
    """Make a picture of light that is counted linearly, bands (1 or 3, rows, columns), red first."""
    highest = np.nanmax(np.where(np.isfinite(bands), bands, -np.inf))
    at_top = (bands == highest).any(axis=0) & (highest > 0)
    # A level at which several pixels stop; the single brightest one is no such thing.
    saturated = at_top if at_top.sum() >= 5 and at_top.mean() < 0.1 else np.zeros(at_top.shape, bool)
    return Picture(_stretched(bands, stretch), saturated, "FITS", shape, reduction)


_READERS: dict[str, Callable[[Path, int, Wanted], Picture]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "TIFF": _read_tiff,
    "FITS": _read_fits,
}
