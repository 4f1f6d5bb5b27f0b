"""The objects of a field, cut out at their own scales and framed as if each had its own image.

Pixels of a neighbour are replaced by the pixels opposite, mirrored through the object's centre: in crowds, neighbours
neither widen the frame nor are predicted.
"""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from catalogue.field_tiles import MISSING, Field, Tile, open_field, segments_of
from catalogue.flags import NO_OBJECT, NOT_JUDGED
from catalogue.framing import REACH, SIDE, Frame, Measurement, cut, frame_of, measure, trimmed
from catalogue.targets import Lock, Recipe, Rejected, framed_or_rejected
from galaxy.image_names import parse
from galaxy.pictures import MIN_SIDE, Picture

# A neighbour's light reaches this far beyond its segment, pixels.
HALO = 2
# Where the object that `measure` picks lies farther off, in Petrosian radii, it is a neighbour.
NEAR = 0.5
# The largest side of a cutout, pixels.
MAX_CUTOUT = 6000


@dataclass(frozen=True, eq=False)
class FieldObject:
    """An object of a field: its tile, the tile's segmentation map and its label there, centre and radius in pixels.

    Label 0 is a position without a detected object.
    `reason` says why it is not judged; empty where it is.
    """

    field: Field
    tile: Tile
    segmentation: Path
    label: int
    x: float
    y: float
    radius: float
    reason: str = ""

    def frame(self, recipe: Recipe, lock: Lock = nullcontext) -> Frame | Rejected:
        """Cut the object out and frame it; stars and tiny objects are rejected."""
        if self.reason:
            return Rejected(NOT_JUDGED, "; ".join(filter(None, (self.reason, self.field.note))))
        return framed_or_rejected(lambda: trimmed(frame_object(self, recipe.stretch, recipe.radius), recipe.reach))


def cut_out(target: FieldObject, stretch: str | None, radius: float, masked: bool = True) -> Picture:
    """Return an object in the middle of an image, with sky beyond the border of the field; raises Unreadable.

    `radius` is the Petrosian radius of training images, pixels of 424. `masked`: neighbours are replaced.
    """
    field = target.field
    half = int(np.clip(np.ceil(REACH * SIDE / radius * target.radius) + 1, (MIN_SIDE + 1) // 2, MAX_CUTOUT // 2))
    top, left = round(target.y) - half, round(target.x) - half
    rows = slice(max(0, top), min(top + 2 * half + 1, field.rows))
    columns = slice(max(0, left), min(left + 2 * half + 1, field.columns))
    segmentation, outside = _segmentation(target, rows, columns)
    missing = segmentation == MISSING
    if outside.any():
        missing |= outside & field.missing_in(field.bands(rows, columns), rows, columns)
    picture = field.picture(rows, columns, stretch, missing)
    background = (segmentation == 0) & ~missing
    with_data = ~missing if not missing.all() else np.ones_like(missing)
    colours = picture.pixels[background] if background.any() else picture.pixels[with_data]
    sky = np.median(colours[:: max(1, len(colours) // 10_000)], axis=0)
    sky = sky.round() if picture.pixels.dtype == np.uint8 else sky
    pixels = np.empty((2 * half + 1, 2 * half + 1, 3), picture.pixels.dtype)
    pixels[:] = sky
    inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
    pixels[inside] = np.where(missing[..., None], sky.astype(pixels.dtype), picture.pixels)
    saturated, own, neighbours, without_data = np.zeros((4, *pixels.shape[:2]), bool)
    saturated[inside], without_data[inside] = picture.saturated, missing
    if masked:
        own[inside] = segmentation == target.label
        # The light opposite replaces also pixels without data.
        neighbours[inside] = ((segmentation > 0) & (segmentation != target.label)) | missing
        _replace_neighbours(pixels, saturated, neighbours, own, sky)
    without_data = without_data if without_data.any() else None
    size = pixels.shape[:2]
    return Picture(pixels, saturated, picture.format, size, missing=without_data, upward=field.linear, note=field.note)


def _segmentation(target: FieldObject, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
    """Return the segmentation map of a region, 0 outside the object's tile, and the mask of that outside."""
    region = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.int32)
    outside = np.ones(region.shape, bool)
    tile = target.tile.seen
    low = [max(wanted.start, seen.start) for wanted, seen in zip((rows, columns), tile, strict=True)]
    high = [min(wanted.stop, seen.stop) for wanted, seen in zip((rows, columns), tile, strict=True)]
    inside = slice(low[0] - rows.start, high[0] - rows.start), slice(low[1] - columns.start, high[1] - columns.start)
    region[inside] = segments_of(target.segmentation)[
        low[0] - tile[0].start : high[0] - tile[0].start, low[1] - tile[1].start : high[1] - tile[1].start
    ]
    outside[inside] = False
    return region, outside


def _replace_neighbours(
    pixels: np.ndarray, saturated: np.ndarray, neighbours: np.ndarray, own: np.ndarray, sky: np.ndarray
) -> None:
    """Replace neighbours' pixels by those opposite, through the middle; by sky where those are neighbours' too."""
    halo = np.ones((2 * HALO + 1, 2 * HALO + 1), np.uint8)
    neighbours = (cv2.dilate(neighbours.astype(np.uint8), halo) > 0) & ~own
    opposite = pixels[::-1, ::-1][neighbours]
    both = neighbours[::-1, ::-1][neighbours]
    pixels[neighbours] = np.where(both[:, None], sky.astype(pixels.dtype), opposite)
    saturated[neighbours] = False


def frame_object(target: FieldObject, stretch: str | None, radius: float, masked: bool = True) -> Frame:
    """Cut out an object of a field and frame it; x and y of the frame are pixels of the field. Raises Unreadable."""
    picture = cut_out(target, stretch, radius)
    middle = (len(picture.pixels) - 1) / 2
    measured, region = measure(picture)
    if measured is None or np.hypot(measured.x - middle, measured.y - middle) > NEAR * target.radius:
        sky = tuple(float(value) for value in np.median(picture.pixels.reshape(-1, 3), axis=0))
        flags = measured.flags if measured else 0
        flags |= NO_OBJECT if target.label == 0 else 0
        measured = Measurement(middle, middle, target.radius, sky, flags)
        region = slice(0, len(picture.pixels)), slice(0, len(picture.pixels))
    if not masked:
        picture = cut_out(target, stretch, radius, masked=False)
    frame = frame_of(picture, measured, region, "auto", radius)
    return replace(frame, x=frame.x + (round(target.x) - middle), y=frame.y + (round(target.y) - middle))


def show(path: Path, x: float, y: float, scale: float, stretch: str | None = None) -> np.ndarray:
    """Return the cutout of a row of a field's catalogue: (424, 424, 3) uint8, or float32 in [0, 1], RGB.

    The row's `file_loc`, `x`, `y` and `frame_scale`; neighbours stay visible, the first row is the highest. Raises
    Unreadable.
    """
    field = _opened(path, parse(path).path.stat().st_mtime_ns)
    half = int(np.ceil(0.5 * SIDE / scale)) + 1
    rows, columns = (
        slice(max(0, round(at) - half), max(1, min(round(at) + half + 1, length)))
        for at, length in ((y, field.rows), (x, field.columns))
    )
    picture = field.picture(rows, columns, stretch)
    region = slice(0, picture.size[0]), slice(0, picture.size[1])
    pixels, frame_to_image = cut(picture.pixels, region, x - columns.start, y - rows.start, scale, None)
    shown = cv2.warpAffine(pixels, frame_to_image[:2], (SIDE, SIDE), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return shown[::-1] if field.linear else shown


@lru_cache(maxsize=1)
def _opened(path: Path, time: int) -> Field:
    return open_field(path)
