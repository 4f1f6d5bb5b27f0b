"""Small pictures of galaxies for pages, which are bounded in size: the more there are, the smaller each."""

import cv2
import numpy as np

# All pictures of a page together, bytes of its text: base64 makes four of three.
TOTAL_BYTES = 6_500_000
# The largest and the smallest side, and what is tried on the way from one to the other.
SIDES = (256, 192, 144, 112, 88, 64, 48)
QUALITIES = (82, 70, 55, 35)
MAX_BYTES = 20_000
# Of the frame of 424 pixels, what a picture shows: the galaxy, and some sky.
CROP = 108


def share(num_pictures: int) -> int:
    """Return how many bytes each of so many pictures may take."""
    return min(MAX_BYTES, TOTAL_BYTES * 3 // 4 // max(1, num_pictures))


def encode(pixels: np.ndarray, max_bytes: int) -> bytes | None:
    """Return a picture (rows, columns, 3), uint8 or floats in [0, 1], as WebP of at most so many bytes.

    It is as large as fits; None where no size does.
    """
    pixels = as_bytes(pixels)
    # What a quality costs grows about as the area.
    start = next((place for place, side in enumerate(SIDES) if side * side <= 16 * max_bytes), len(SIDES) - 1)
    for side in SIDES[start:]:
        side = min(side, *pixels.shape[:2])
        small = cv2.resize(np.ascontiguousarray(pixels[:, :, ::-1]), (side, side), interpolation=cv2.INTER_AREA)
        for quality in QUALITIES:
            _, coded = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, quality])
            if len(coded) <= max_bytes:
                return coded.tobytes()
    return None


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Return pixels, uint8 or floats in [0, 1], as uint8."""
    if pixels.dtype == np.uint8:
        return pixels
    return (np.clip(np.nan_to_num(pixels), 0, 1) * 255).round().astype(np.uint8)


def middle(pixels: np.ndarray, place: np.ndarray | None = None, side: int = 424) -> np.ndarray:
    """Return what pages show of a frame of `side` pixels, (216, 216, 3) of 424: its middle.

    `place` (3, 3) maps pixels of the frame to those of `pixels`; without it they are the same.
    """
    length = side - 2 * CROP
    place = np.eye(3) if place is None else place
    matrix = (place @ np.array([[1, 0, CROP], [0, 1, CROP], [0, 0, 1.0]]))[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.ascontiguousarray(pixels), matrix, (length, length), flags=flags)
