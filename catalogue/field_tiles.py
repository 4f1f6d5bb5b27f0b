"""An image of many galaxies, gone through in tiles: each object is found once, by the tile that its peak lies in.

Tiles overlap, so that an object is whole in its own. FITS files are read a part at a time; other formats are unpacked
once, and mapped. What was found in a tile is kept on disk: a run that is killed goes on with the next one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from galaxy.detection import MESH, OBJECT, find_objects
from galaxy.fits_images import is_gzip, opened, read_bands, read_part, shape_of
from galaxy.image_files import read
from galaxy.image_formats import Unreadable, format_of
from galaxy.pictures import MIN_SIDE, Picture, picture_of_bands
from machine.files import replacing

# Pixels a side of a tile without its overlap, and of the overlap; whole meshes of the background, so that it is one.
CORE, OVERLAP = 12 * MESH, 2 * MESH
MAX_FIELD_SIDE = 100_000
# Of formats that are decoded whole.
MAX_DECODED_PIXELS = 2**27


@dataclass(frozen=True, eq=False)
class Field:
    """An image of many galaxies: the file as it was named, and its pixels, which are read a part at a time.

    `pixels` is the FITS file itself, or an array (rows, columns, 3), or the `.npy` file of one. `linear` says that
    light is counted linearly, in `planes` bands.
    """

    path: Path
    pixels: Path | np.ndarray
    planes: int
    rows: int
    columns: int
    linear: bool

    def bands(self, rows: slice, columns: slice) -> np.ndarray:
        """Read a part: (planes, rows, columns) float32; raises Unreadable."""
        if isinstance(self.pixels, Path) and self.pixels.suffix != ".npy":
            with opened(self.pixels) as hdu:
                return read_part(hdu, rows, columns)
        return np.moveaxis(self._array()[rows, columns], 2, 0).astype(np.float32)

    def light(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Return the mean of the bands of a part (rows, columns) float32, and where it can be no brighter."""
        if self.linear:
            bands = self.bands(rows, columns)
            return bands.mean(axis=0), _stopped(bands)
        pixels = self._array()[rows, columns]
        return pixels.mean(axis=2, dtype=np.float32), _full(pixels)

    @property
    def counts_steps(self) -> bool:
        """Whether pixels are whole numbers up to 255."""
        return not self.linear and self._array().dtype == np.uint8

    def picture(self, rows: slice, columns: slice, stretch: str | None = None) -> Picture:
        """Read a part as networks see it; raises Unreadable."""
        size = rows.stop - rows.start, columns.stop - columns.start
        if self.linear:
            return picture_of_bands(self.bands(rows, columns), stretch, size)
        pixels = np.ascontiguousarray(self._array()[rows, columns])
        return Picture(pixels, _full(pixels), "field", size)

    def _array(self) -> np.ndarray:
        return np.load(self.pixels, mmap_mode="r") if isinstance(self.pixels, Path) else self.pixels


def _full(pixels: np.ndarray) -> np.ndarray:
    """Return where (rows, columns) a channel of an image is as bright as its kind of number allows."""
    return (pixels == (255 if pixels.dtype == np.uint8 else 1)).any(axis=2)


def open_field(path: Path, folder: Path | None = None) -> Field:
    """Open an image of any format; `folder` takes what has to be unpacked, None: memory does. Raises Unreadable."""
    format_name, _ = format_of(path)
    if format_name == "FITS" and not is_gzip(path):
        with opened(path) as hdu:
            planes, rows, columns = shape_of(hdu)
        if not (min(rows, columns) >= MIN_SIDE and max(rows, columns) <= MAX_FIELD_SIDE):
            raise Unreadable(f"has {columns}x{rows} pixels: expected {MIN_SIDE} to {MAX_FIELD_SIDE:,} a side")
        return Field(path, path, planes, rows, columns, True)
    linear = format_name == "FITS"
    if linear:
        bands, _, _ = read_bands(path, lambda rows, columns: _whole(rows, columns))
        pixels = np.moveaxis(bands, 0, 2)
    else:
        pixels = read(path, choose_reduction=_whole).pixels
    rows, columns, planes = pixels.shape
    if folder is None:
        return Field(path, pixels, planes, rows, columns, linear)
    with replacing(folder / "pixels.npy", durable=False) as temporary, temporary.open("wb") as file:
        np.save(file, pixels)
    return Field(path, folder / "pixels.npy", planes, rows, columns, linear)


def _whole(rows: int, columns: int) -> int:
    if rows * columns > MAX_DECODED_PIXELS or min(rows, columns) < MIN_SIDE:
        raise Unreadable(
            f"has {columns}x{rows} pixels: expected {MIN_SIDE} or more a side, {MAX_DECODED_PIXELS:,} in all; "
            "larger fields are read from FITS that is not packed"
        )
    return 1


@dataclass(frozen=True)
class Tile:
    """A tile: the rows and columns that are its own, and those that it sees."""

    own: tuple[slice, slice]
    seen: tuple[slice, slice]


def tiles_of(rows: int, columns: int) -> list[Tile]:
    """Return the tiles of a field, strip by strip."""

    def cut(length: int) -> Iterator[tuple[slice, slice]]:
        for start in range(0, length, CORE):
            stop = min(start + CORE, length)
            yield slice(start, stop), slice(max(0, start - OVERLAP), min(stop + OVERLAP, length))

    return [Tile((r, c), (seen_r, seen_c)) for r, seen_r in cut(rows) for c, seen_c in cut(columns)]


def tile_path(folder: Path, number: int) -> Path:
    """Return where what was found in a tile is kept."""
    return folder / f"tile-{number:06d}.npz"


def find_in_tile(field: Field, tile: Tile, path: Path) -> None:
    """Find the objects of a tile, and keep those that it owns, with the segments of all, in a file."""
    scene = find_objects(*field.light(*tile.seen), field.counts_steps)
    objects = scene.objects
    objects["x"] += tile.seen[1].start
    objects["y"] += tile.seen[0].start
    objects["peak_x"] += tile.seen[1].start
    objects["peak_y"] += tile.seen[0].start
    own = np.ones(len(objects), bool)
    for name, part in (("peak_y", tile.own[0]), ("peak_x", tile.own[1])):
        own &= (objects[name] >= part.start) & (objects[name] < part.stop)
    with replacing(path, durable=False) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, objects=objects[own], whose=scene.whose)


def _stopped(bands: np.ndarray) -> np.ndarray:
    """Return where (rows, columns) bands that are counted linearly stop at one highest value."""
    full = np.zeros(bands.shape[1:], bool)
    for band in bands:
        highest = np.nanmax(np.where(np.isfinite(band), band, -np.inf))
        at_top = band == highest
        # The single brightest pixel is no such level.
        if highest > 0 and 5 <= at_top.sum() < 0.1 * band.size:
            full |= at_top
    return full


def objects_of(folder: Path, number: int) -> np.ndarray:
    """Return the objects (n,) of `detection.OBJECT` that a tile owns."""
    with np.load(tile_path(folder, number)) as file:
        return file["objects"].astype(OBJECT)


@lru_cache(maxsize=2)
def segments_of(path: Path) -> np.ndarray:
    """Return whose each pixel of a tile is (rows, columns), from 1."""
    with np.load(path) as file:
        return file["whose"]
