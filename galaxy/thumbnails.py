"""Small pictures of galaxies for pages, bounded in size: the more pictures a page shows, the smaller each is."""

import cv2
import numpy as np

# A page shows at most this many pictures.
MAX_PICTURES = 5_000
# One in which galaxies are labelled.
MAX_LABELLED = 20_000
# Bytes of all pictures of a page, as base64 text (4 bytes for 3).
TOTAL_BYTES = 6_500_000
# Sides (pixels) and WebP qualities that `encode` tries, the largest first.
SIDES = (256, 192, 144, 112, 88, 64, 48)
QUALITIES = (82, 70, 55, 35)
MAX_BYTES = 20_000
# Pixels cut from each side of the frame (424 pixels): a picture shows the galaxy and a little sky.
CROP = 108
# Farthest pixel of a picture from the middle of the frame, in x or y, and one more.
REACH = 424 / 2 - CROP + 1


def most_shown(with_labels: bool) -> int:
    """Return how many pictures a page shows at most."""
    return MAX_LABELLED if with_labels else MAX_PICTURES


def share(num_pictures: int, most: int = MAX_PICTURES) -> int:
    """Return the bytes that each of a page's pictures may take; the page shows at most `most`."""
    shown = min(max(1, num_pictures), most)
    return min(MAX_BYTES, TOTAL_BYTES * most // MAX_PICTURES * 3 // 4 // shown)


def encode(pixels: np.ndarray, max_bytes: int) -> bytes | None:
    """Encode pixels (rows, columns, 3) RGB, uint8 or floats in [0, 1], as WebP of at most `max_bytes`.

    The picture has the largest side that fits; None where no side fits.
    """
    pixels = as_bytes(pixels)
    # The bytes of a picture grow about as its area.
    start = next((index for index, side in enumerate(SIDES) if side * side <= 16 * max_bytes), len(SIDES) - 1)
    for side in SIDES[start:]:
        side = min(side, *pixels.shape[:2])
        small = cv2.resize(np.ascontiguousarray(pixels[:, :, ::-1]), (side, side), interpolation=cv2.INTER_AREA)
        for quality in QUALITIES:
            _, coded = cv2.imencode(".webp", small, [cv2.IMWRITE_WEBP_QUALITY, quality])
            if len(coded) <= max_bytes:
                return coded.tobytes()
    return None


def decode(picture: bytes) -> np.ndarray:
    """Decode a picture of `encode`: (rows, columns, 3) uint8 RGB."""
    return cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    """Return pixels, uint8 or floats in [0, 1], as uint8."""
    if pixels.dtype == np.uint8:
        return pixels
    return (np.clip(np.nan_to_num(pixels), 0, 1) * 255).round().astype(np.uint8)


def middle(pixels: np.ndarray, frame_to_image: np.ndarray | None = None, side: int = 424) -> np.ndarray:
    """Cut the middle, which pages show, out of a frame of `side` pixels: (216, 216, 3) of 424.

    `frame_to_image` (3, 3) maps pixels of the frame to those of `pixels`; None: they are the same.
    """
    length = side - 2 * CROP
    frame_to_image = np.eye(3) if frame_to_image is None else frame_to_image
    matrix = (frame_to_image @ np.array([[1, 0, CROP], [0, 1, CROP], [0, 0, 1.0]]))[:2]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(np.ascontiguousarray(pixels), matrix, (length, length), flags=flags)
