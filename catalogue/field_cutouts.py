"""The galaxies of a field, cut out at their own scales: the present framing takes each as if it were an image.

Other objects' pixels become those opposite of them, seen from the galaxy: neighbours in crowds neither widen the frame
nor are they judged.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from catalogue.field_tiles import Field, Tile, open_field, segments_of
from catalogue.framing import REACH, SIDE, Frame, Measurement, cut, frame_of, measure
from galaxy.pictures import MIN_SIDE, Picture

# Neighbours' light reaches beyond their segments, pixels.
HALO = 2
# The object that the framing finds is the field's unless it lies farther off, in Petrosian radii.
NEAR = 0.5
# Beyond, pixels a side, a cutout is not read.
MAX_CUTOUT = 6000


@dataclass(frozen=True, eq=False)
class Place:
    """An object of a field: its tile, whose file has its segment under `number`, and where it lies, pixels.

    A place with a `reason` is not judged; one without a field is a file that can not be read.
    """

    field: Field | None
    tile: Tile | None
    segments: Path | None
    number: int
    x: float
    y: float
    radius: float
    reason: str = ""


def cut_out(place: Place, stretch: str | None, radius: float, masked: bool = True) -> Picture:
    """Return an object of a field in the middle of an image, sky beyond the field's border; raises Unreadable.

    `radius` is the Petrosian radius of training images, pixels of 424. Its neighbours are taken out where `masked`.
    """
    field = place.field
    half = int(np.clip(np.ceil(REACH * SIDE / radius * place.radius) + 1, (MIN_SIDE + 1) // 2, MAX_CUTOUT // 2))
    top, left = round(place.y) - half, round(place.x) - half
    rows = slice(max(0, top), min(top + 2 * half + 1, field.rows))
    columns = slice(max(0, left), min(left + 2 * half + 1, field.columns))
    picture = field.picture(rows, columns, stretch)
    whose = _segments(place, rows, columns)
    free = picture.pixels[whose == 0] if (whose == 0).any() else picture.pixels.reshape(-1, 3)
    sky = np.median(free[:: max(1, len(free) // 10_000)], axis=0)
    sky = sky.round() if picture.pixels.dtype == np.uint8 else sky
    pixels = np.empty((2 * half + 1, 2 * half + 1, 3), picture.pixels.dtype)
    pixels[:] = sky
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    pixels[inside] = picture.pixels
    saturated, others = np.zeros((2, *pixels.shape[:2]), bool)
    saturated[inside] = picture.saturated
    if masked:
        others[inside] = (whose > 0) & (whose != place.number)
        ours = np.zeros_like(others)
        ours[inside] = whose == place.number
        _take_out(pixels, saturated, others, ours, sky)
    return Picture(pixels, saturated, picture.format, pixels.shape[:2])


def _segments(place: Place, rows: slice, columns: slice) -> np.ndarray:
    """Return whose pixels of a part of the field are, as the object's tile sees them; nobody's beyond it."""
    whose = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.int32)
    seen = place.tile.seen
    low = [max(part.start, tile.start) for part, tile in zip((rows, columns), seen, strict=True)]
    high = [min(part.stop, tile.stop) for part, tile in zip((rows, columns), seen, strict=True)]
    whose[low[0] - rows.start : high[0] - rows.start, low[1] - columns.start : high[1] - columns.start] = segments_of(
        place.segments
    )[low[0] - seen[0].start : high[0] - seen[0].start, low[1] - seen[1].start : high[1] - seen[1].start]
    return whose


def _take_out(pixels: np.ndarray, saturated: np.ndarray, others: np.ndarray, ours: np.ndarray, sky: np.ndarray) -> None:
    """Put the pixels opposite, seen from the middle, where others' are; sky where those are others' too."""
    reach = np.ones((2 * HALO + 1, 2 * HALO + 1), np.uint8)
    others = (cv2.dilate(others.astype(np.uint8), reach) > 0) & ~ours
    opposite = pixels[::-1, ::-1][others]
    pixels[others] = np.where(others[::-1, ::-1][others][:, None], sky.astype(pixels.dtype), opposite)
    saturated[others] = False


def framed(place: Place, stretch: str | None, radius: float, masked: bool = True) -> Frame:
    """Cut an object of a field out, and frame it; positions of the frame are the field's. Raises Unreadable."""
    picture = cut_out(place, stretch, radius)
    middle = (len(picture.pixels) - 1) / 2
    found, part = measure(picture)
    if found is None or np.hypot(found.x - middle, found.y - middle) > NEAR * place.radius:
        sky = tuple(float(value) for value in np.median(picture.pixels.reshape(-1, 3), axis=0))
        found = Measurement(middle, middle, place.radius, sky, found.flags if found else 0)
        part = slice(0, len(picture.pixels)), slice(0, len(picture.pixels))
    if not masked:
        picture = cut_out(place, stretch, radius, masked=False)
    frame = frame_of(picture, found, part, "auto", radius)
    shift = round(place.x) - middle, round(place.y) - middle
    return replace(frame, x=frame.x + shift[0], y=frame.y + shift[1])


def show(path: Path, x: float, y: float, scale: float, stretch: str | None = None) -> np.ndarray:
    """Return the cutout of a row of a field's catalogue: (424, 424, 3) uint8, or float32 from 0 to 1, RGB.

    The row's `file_loc`, `x`, `y` and `frame_scale`; neighbours are left in. Raises Unreadable.
    """
    field = _opened(path, path.stat().st_mtime_ns)
    half = int(np.ceil(0.5 * SIDE / scale)) + 1
    rows, columns = (
        slice(max(0, round(at) - half), max(1, min(round(at) + half + 1, length)))
        for at, length in ((y, field.rows), (x, field.columns))
    )
    picture = field.picture(rows, columns, stretch)
    part = slice(0, picture.size[0]), slice(0, picture.size[1])
    pixels, place = cut(picture.pixels, part, x - columns.start, y - rows.start, scale, None)
    return cv2.warpAffine(pixels, place[:2], (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


@lru_cache(maxsize=1)
def _opened(path: Path, time: int) -> Field:
    return open_field(path)
