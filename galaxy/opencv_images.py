"""Images decoded with OpenCV, huge ones at a fraction of their size, as RGB or grey."""

import contextlib
from collections.abc import Iterator

import cv2
import numpy as np

from galaxy.image_formats import Unreadable
from galaxy.pictures import Picture, Request, picture_of_pixels, without_alpha
from machine.files import first_line

# OpenCV holds two copies of a whole image. Beyond this size it decodes half, a quarter or an eighth of the rows and
# columns.
HUGE_BYTES = 5 * 10**8
_FRACTIONS = (8, cv2.IMREAD_REDUCED_COLOR_8), (4, cv2.IMREAD_REDUCED_COLOR_4), (2, cv2.IMREAD_REDUCED_COLOR_2)


def read_encoded(data: bytes, format_name: str, size: tuple[int, int], num_bytes: int, request: Request) -> Picture:
    """Decode the content of a file of `size` (rows, columns), whose pixels take `num_bytes`; raises Unreadable."""
    reduction = request.choose_reduction(*size)
    with request.lock_for(num_bytes), _quiet():
        pixels = _decode(data, format_name, size, reduction if num_bytes > HUGE_BYTES else 1)
        del data
        if reduction > 1:  # before any copy
            shape = size[1] // reduction, size[0] // reduction
            if pixels.dtype not in (np.uint8, np.uint16, np.int16, np.float32, np.float64):
                raise Unreadable(f"is too large for pixels of type {pixels.dtype}")
            pixels = cv2.resize(pixels, shape, interpolation=cv2.INTER_AREA)
        if pixels.ndim == 3 and pixels.shape[2] > 2:  # from BGR
            pixels[..., [0, 2]] = pixels[..., [2, 0]]
        return picture_of_pixels(without_alpha(pixels), format_name, size, reduction, request.stretch)


def _decode(data: bytes, format_name: str, size: tuple[int, int], max_fraction: int) -> np.ndarray:
    """Decode all pixels, or a fraction 1 / n of rows and columns, n at most `max_fraction`: (rows, columns[, BGRA])."""
    allowed = (pair for pair in _FRACTIONS if pair[0] <= max_fraction)
    fraction, flag = next(allowed, (1, cv2.IMREAD_UNCHANGED))
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flag)
    except cv2.error as error:
        raise Unreadable(f"cannot be decoded as a {format_name} ({first_line(error)})") from None
    if pixels is None:
        raise Unreadable(f"cannot be decoded as a {format_name} (it is damaged, or of a rare kind)")
    decoded = pixels.shape[:2]
    if any(abs(side * fraction - expected) >= fraction for side, expected in zip(decoded, size, strict=True)):
        raise Unreadable(f"cannot be decoded as a {format_name} (its size is not what its header says)")
    return pixels


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep OpenCV's complaints from stderr."""
    before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)
