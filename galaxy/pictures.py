"""Pictures: pixels of any type of number, averaged down, as RGB from 0 to 1; and how large they may be.

Large images are averaged down to MAX_PIXELS: a galaxy that fills its cutout keeps all that a network can see.
"""

import contextlib
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from galaxy.image_formats import Unreadable
from galaxy.missing_pixels import brightest_channel, missing_in_picture, missing_pixels

MIN_SIDE, MAX_SIDE = 30, 20_000
# A larger image is averaged down to at most this many pixels.
MAX_PIXELS = 2**22
# Bytes of the pixels of a file before they are averaged down.
MAX_DECODED_BYTES = 1_300_000_000
# Images with more bytes are decoded one at a time.
LARGE_BYTES = 2**26

Lock = Callable[[], contextlib.AbstractContextManager]


@dataclass(frozen=True, eq=False)
class Picture:
    """An image: `pixels` (rows, columns, 3) RGB, uint8 as in the file, or float32 from 0 to 1.

    `reduction` x `reduction` pixels of the file were averaged to one; `size` is (rows, columns) in the file.
    `saturated` (rows, columns) is True where a pixel, or half of those that were averaged, has the highest value that
    the file can hold. `is_stretched` says that the file held linear light. `note` says what of the file was not read.
    `missing` (rows, columns) is True for pixels without data; None if there are none. `upward` says that the first row
    is the lowest, as in FITS.
    """

    pixels: np.ndarray
    saturated: np.ndarray
    format: str
    size: tuple[int, int]
    reduction: int = 1
    is_stretched: bool = False
    note: str = ""
    missing: np.ndarray | None = None
    upward: bool = False


def choose_reduction(rows: int, columns: int) -> int:
    """Return the side of the squares of pixels that are averaged to one; raises Unreadable for a wrong size."""
    if not (min(rows, columns) >= MIN_SIDE and max(rows, columns) <= MAX_SIDE):
        raise Unreadable(
            f"has {columns}x{rows} pixels: expected {MIN_SIDE} to {MAX_SIDE:,} a side"
            + ("" if min(rows, columns) < MIN_SIDE else "; cut the galaxy out, or average the image down")
        )
    reduction = 1
    while (rows // reduction) * (columns // reduction) > MAX_PIXELS:
        reduction += 1
    return reduction


@dataclass(frozen=True)
class Request:
    """How an image is read.

    `stretch` is a name of galaxy.stretch.STRETCHES, or None; `lock()` is a block in which large images are decoded;
    `choose_reduction(rows, columns)` returns a reduction, or raises Unreadable.
    """

    stretch: str | None = None
    lock: Lock = contextlib.nullcontext
    choose_reduction: Callable[[int, int], int] = choose_reduction

    def lock_for(self, num_bytes: int) -> contextlib.AbstractContextManager:
        """Return the block in which an image of this size is decoded."""
        return self.lock() if is_large(num_bytes) else contextlib.nullcontext()


def is_large(num_bytes: int) -> bool:
    """Return whether an image of this size is decoded alone."""
    return num_bytes > LARGE_BYTES


def check_decoded_bytes(num_bytes: int) -> None:
    """Raise Unreadable where pixels take too much memory."""
    if num_bytes > MAX_DECODED_BYTES:
        raise Unreadable(f"is too large: its pixels take {num_bytes:,} bytes, expected at most {MAX_DECODED_BYTES:,}")


def picture_of_pixels(
    pixels: np.ndarray,
    format_name: str,
    size: tuple[int, int],
    reduction: int,
    stretch: str | None,
    note: str = "",
) -> Picture:
    """Make a picture of decoded pixels (rows, columns[, 3]) RGB, of any type of number, reduced or not.

    The range of integers becomes 0..1: from 0 up, or from the lowest value of the type where pixels lie in the lower
    half of the negative numbers (an offset). Other negative integers are noise about the sky: these, floating point,
    and integers above 8 bits with a `stretch` are linear light.
    """
    lowest = _lowest(pixels)
    saturated = _at_highest(pixels)
    shape = size[1] // reduction, size[0] // reduction
    if pixels.shape[1::-1] != shape:
        pixels = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
        saturated = cv2.resize(saturated.astype(np.uint8), shape, interpolation=cv2.INTER_AREA) > 0
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, axis=2)
    is_linear = lowest is None or (stretch is not None and pixels.dtype != np.uint8)
    if is_linear:
        pixels, missing = _stretched(np.moveaxis(pixels, 2, 0), stretch)
    elif pixels.dtype != np.uint8:
        highest = np.iinfo(pixels.dtype).max
        pixels = (pixels.astype(np.float32) - np.float32(lowest)) / np.float32(highest - lowest)
    if not is_linear:
        missing = missing_in_picture(pixels)
    missing = missing if missing.any() else None
    return Picture(np.ascontiguousarray(pixels), saturated, format_name, size, reduction, is_linear, note, missing)


def picture_of_bands(
    bands: np.ndarray,
    stretch: str | None,
    size: tuple[int, int],
    reduction: int = 1,
    missing: np.ndarray | None = None,
    quality: np.ndarray | None = None,
    note: str = "",
) -> Picture:
    """Make a picture of linear light of a FITS file, bands (1 or 3, rows, columns), red first.

    `missing` (rows, columns) marks pixels without data; None: they are sought, beside those that `quality` marks.
    """
    pixels, missing = _stretched(bands, stretch, missing, quality)
    with_data = np.isfinite(bands) & ~missing
    highest = bands.max(initial=-np.inf, where=with_data)
    at_highest = ((bands == highest) & with_data).any(axis=0) & (highest > 0)
    # Saturation is one level that several pixels share, not the single brightest pixel.
    is_saturation = at_highest.sum() >= 5 and at_highest.mean() < 0.1
    saturated = at_highest if is_saturation else np.zeros(at_highest.shape, bool)
    missing = missing if missing.any() else None
    return Picture(pixels, saturated, "FITS", size, reduction, True, note, missing, upward=True)


def without_alpha(pixels: np.ndarray) -> np.ndarray:
    """Return grey (rows, columns) or colour (rows, columns, 3), on black, of pixels with or without an alpha channel.

    An alpha channel of zeros alone is ignored.
    """
    if pixels.ndim == 2 or pixels.shape[2] == 3:
        return pixels
    if pixels.shape[2] == 1:
        return pixels[..., 0]
    colours = pixels[..., 0] if pixels.shape[2] == 2 else np.ascontiguousarray(pixels[..., :3])
    alpha = pixels[..., -1]
    opaque = np.iinfo(alpha.dtype).max if np.issubdtype(alpha.dtype, np.integer) else 1
    hidden = alpha < opaque
    if hidden.any() and not (alpha == 0).all():
        weight = (alpha[hidden] / opaque).astype(np.float64)
        colours[hidden] = (colours[hidden] * (weight if colours.ndim == 2 else weight[:, None])).astype(colours.dtype)
    return colours


def _lowest(pixels: np.ndarray) -> int | None:
    """Return the integer that becomes 0; None for linear light."""
    if not np.issubdtype(pixels.dtype, np.integer):
        return None
    lowest, limit = int(pixels.min()), int(np.iinfo(pixels.dtype).min)
    return 0 if lowest >= 0 else limit if lowest < limit / 2 else None


def _at_highest(pixels: np.ndarray) -> np.ndarray:
    """Return where (rows, columns) any channel has the highest value of its type; nowhere for floating point."""
    if not np.issubdtype(pixels.dtype, np.integer):
        return np.zeros(pixels.shape[:2], bool)
    highest = np.iinfo(pixels.dtype).max
    if pixels.ndim == 2:
        return pixels == highest
    if pixels.dtype == np.uint8:
        return brightest_channel(pixels) == highest
    saturated = pixels[..., 0] == highest
    for channel in range(1, pixels.shape[2]):
        saturated |= pixels[..., channel] == highest
    return saturated


def _stretched(
    bands: np.ndarray, stretch: str | None, missing: np.ndarray | None = None, quality: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the composite image (rows, columns, 3) of linear bands, and the mask of its pixels without data."""
    # A folder of JPEGs does not need this module.
    from galaxy.stretch import composite

    if missing is None:
        missing = missing_pixels(bands, quality)
    # An image of one value throughout is black.
    bands = np.where(missing, np.nan, bands) if missing.any() and not missing.all() else bands
    return composite(bands, stretch or "asinh"), missing
