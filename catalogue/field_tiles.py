"""Detection in a field (an image of many galaxies) by tiles: the tile with an object's peak owns the object.

Tiles overlap, so that an object is complete in its own tile. FITS files are read region by region; other formats are
decoded once and memory-mapped. The objects of each tile are saved: a killed run resumes with the next tile.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np

from catalogue.reading import read
from galaxy.detection import MESH, OBJECT, find_objects
from galaxy.image_formats import Unreadable, format_of
from galaxy.image_names import parse
from galaxy.missing_pixels import missing_by_band
from galaxy.packed_files import is_packed
from galaxy.pictures import MIN_SIDE, Picture, picture_of_bands
from machine import seals
from machine.arrays import write_array
from machine.files import load_named, replacing, save_named

# Sides of a tile without its overlap, and of the overlap, pixels: whole meshes, so that tiles share one background.
CORE, OVERLAP = 12 * MESH, 2 * MESH
MAX_FIELD_SIDE = 100_000
# Label of pixels without data in the segmentation map of a tile.
MISSING = -1
# Limit for formats that are decoded as a whole.
MAX_DECODED_PIXELS = 2**27


@dataclass(frozen=True, eq=False)
class Field:
    """An image of many galaxies: its file, and its pixels, which are read region by region.

    `pixels` is the FITS file itself, an array (rows, columns, planes), or the `.npy` file of such an array. `linear` is
    True for linear fluxes (FITS) in `planes` bands. `missing` (rows, columns), an array or its `.npy` file, marks
    pixels without data of a format that is decoded as a whole; None: there are none. `note` says what of the file was
    not read.
    """

    path: Path
    pixels: Path | np.ndarray
    planes: int
    rows: int
    columns: int
    linear: bool
    missing: Path | np.ndarray | None = None
    note: str = ""

    def bands(self, rows: slice, columns: slice) -> np.ndarray:
        """Read a region: (planes, rows, columns), linear light in the file's precision; raises Unreadable."""
        if isinstance(self.pixels, Path) and self.pixels.suffix != ".npy":
            with _fits_images().opened(self.pixels) as image:
                return image.read(rows, columns)
        return np.moveaxis(self._array()[rows, columns], 2, 0)

    def missing_in(self, bands: np.ndarray, rows: slice, columns: slice) -> np.ndarray:
        """Return where a region has no data, (rows, columns) bool; `bands` are its pixels."""
        if self.linear:
            return _missing_in_any(bands)[0]
        if self.missing is None:
            return np.zeros(bands.shape[1:], bool)
        return np.array(_loaded(self.missing)[rows, columns])

    def intensity(self, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray]:
        """Read a region for detection; raises Unreadable.

        Returns the mean of the bands (rows, columns), NaN without data, and the mask of the saturated pixels.
        """
        bands = self.bands(rows, columns)
        if self.linear:
            missing, used = _missing_in_any(bands)
            bands = np.where(missing, np.nan, bands[used]) if missing.any() else bands
            # Sums of light in physical units leave the range of single precision.
            with np.errstate(over="ignore", invalid="ignore"):
                intensity = bands[0] if len(bands) == 1 else _mean(bands)
            return intensity, _saturated_linear(bands)
        missing = self.missing_in(bands, rows, columns)
        intensity = bands.mean(axis=0, dtype=np.float32)
        intensity[missing] = np.nan
        return intensity, _saturated(np.moveaxis(bands, 0, 2)) & ~missing

    @property
    def counts_steps(self) -> bool:
        """Whether pixels are whole numbers from 0 to 255."""
        return not self.linear and self._array().dtype == np.uint8

    def picture(
        self, rows: slice, columns: slice, stretch: str | None = None, missing: np.ndarray | None = None
    ) -> Picture:
        """Read a region as a picture for networks; raises Unreadable.

        `missing` (rows, columns) marks pixels without data; None: they are sought in the region.
        """
        size = rows.stop - rows.start, columns.stop - columns.start
        bands = self.bands(rows, columns)
        if self.linear:
            return picture_of_bands(bands, stretch, size, missing=missing)
        if missing is None:
            missing = self.missing_in(bands, rows, columns)
        pixels = np.ascontiguousarray(np.moveaxis(bands, 0, 2))
        return Picture(pixels, _saturated(pixels), "field", size, missing=missing if missing.any() else None)

    def _array(self) -> np.ndarray:
        return _loaded(self.pixels)


def _fits_images() -> ModuleType:
    from galaxy import fits_images  # astropy takes long to import, and JPEGs do not need it

    return fits_images


def _missing_in_any(bands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where any band (bands, rows, columns) lacks data, and which bands have some: others do not count."""
    by_band = missing_by_band(bands)
    used = ~by_band.all(axis=(1, 2))
    return (by_band[used].any(axis=0), used) if used.any() else (by_band.all(axis=0), ~used)


def _loaded(array: Path | np.ndarray) -> np.ndarray:
    return np.load(array, mmap_mode="r") if isinstance(array, Path) else array


def _mean(bands: np.ndarray) -> np.ndarray:
    """Return the mean of bands (planes, rows, columns), of values up to the limit of their type."""
    if bands.dtype.kind != "f":
        return bands.mean(axis=0)
    return (bands / bands.dtype.type(len(bands))).sum(axis=0)


def _saturated(pixels: np.ndarray) -> np.ndarray:
    """Return where (rows, columns) a channel has the highest value of its data type: 255, or 1 for float."""
    return (pixels == (255 if pixels.dtype == np.uint8 else 1)).any(axis=2)


def open_field(path: Path, folder: Path | None = None) -> Field:
    """Open an image of any format; decoded pixels go to `folder`, or to memory (None). Raises Unreadable."""
    file = parse(path).path
    linear = format_of(file)[0] == "FITS"
    if linear and not is_packed(file):
        with _fits_images().opened(path, verify=True) as image:
            planes, rows, columns = image.shape
            note = image.note
        if not (min(rows, columns) >= MIN_SIDE and max(rows, columns) <= MAX_FIELD_SIDE):
            raise Unreadable(f"has {columns}x{rows} pixels: expected {MIN_SIDE} to {MAX_FIELD_SIDE:,} a side")
        return Field(path, path, planes, rows, columns, True, note=note)
    missing = None
    if linear:
        bands, _, _, note = _fits_images().read_bands(path, _check_decoded)
        pixels = np.moveaxis(bands, 0, 2)
    else:
        picture = read(path, choose_reduction=_check_decoded)
        pixels, missing, note = picture.pixels, picture.missing, picture.note
    rows, columns, planes = pixels.shape
    if folder is None:
        return Field(path, pixels, planes, rows, columns, linear, missing, note)
    saved = {}
    for name, array in (("pixels", pixels), ("missing", missing)):
        if array is not None:
            saved[name] = folder / f"{name}.npy"
            with replacing(saved[name], durable=False) as temporary, temporary.open("wb") as file:
                write_array(file, array)
    return Field(path, saved["pixels"], planes, rows, columns, linear, saved.get("missing"), note)


def light_unit(paths: Iterable[Path]) -> str:
    """Return the unit of light (BUNIT) that FITS files share; empty where they differ or do not tell."""
    units = set()
    for path in paths:
        try:
            with _fits_images().opened(path) as hdu:
                units.add(str(hdu.header.get("BUNIT", "")).strip())
        except (Unreadable, OSError):
            units.add("")
    return units.pop() if len(units) == 1 else ""


def _check_decoded(rows: int, columns: int) -> int:
    """Raise Unreadable for a field that cannot be decoded as a whole; return 1, its reduction."""
    if rows * columns > MAX_DECODED_PIXELS or min(rows, columns) < MIN_SIDE:
        raise Unreadable(
            f"has {columns}x{rows} pixels: expected {MIN_SIDE} or more a side, {MAX_DECODED_PIXELS:,} in all; "
            "save a larger field as uncompressed FITS"
        )
    return 1


@dataclass(frozen=True)
class Tile:
    """A tile: its own rows and columns, and those that it reads (`seen`), which overlap with its neighbours'."""

    own: tuple[slice, slice]
    seen: tuple[slice, slice]


def tiles_of(rows: int, columns: int) -> list[Tile]:
    """Return the tiles of a field, row by row."""

    def cut(length: int) -> Iterator[tuple[slice, slice]]:
        for start in range(0, length, CORE):
            stop = min(start + CORE, length)
            yield slice(start, stop), slice(max(0, start - OVERLAP), min(stop + OVERLAP, length))

    return [Tile((r, c), (seen_r, seen_c)) for r, seen_r in cut(rows) for c, seen_c in cut(columns)]


def tile_path(folder: Path, index: int) -> Path:
    """Return the file with the objects of a tile."""
    return folder / f"tile-{index:06d}.npz"


def find_in_tile(field: Field, tile: Tile, path: Path) -> None:
    """Detect the objects of a tile; save its own objects, and the segmentation map of the whole tile, in a file."""
    scene = find_objects(*field.intensity(*tile.seen), field.counts_steps)
    objects = scene.objects
    scene.segmentation[scene.missing] = MISSING
    objects["x"] += tile.seen[1].start
    objects["y"] += tile.seen[0].start
    objects["peak_x"] += tile.seen[1].start
    objects["peak_y"] += tile.seen[0].start
    own = np.ones(len(objects), bool)
    for name, pixels in (("peak_y", tile.own[0]), ("peak_x", tile.own[1])):
        own &= (objects[name] >= pixels.start) & (objects[name] < pixels.stop)
    reasons = [scene.failures.get(int(label), "") for label in objects["label"][own]]
    _save_tile(path, objects[own], scene.segmentation, reasons)


def save_failure(tile: Tile, path: Path, reason: str) -> None:
    """Save a tile that could not be searched: no objects, and the reason."""
    shape = tuple(pixels.stop - pixels.start for pixels in tile.seen)
    _save_tile(path, np.empty(0, OBJECT), np.zeros(shape, np.int32), [], reason)


def _save_tile(
    path: Path, objects: np.ndarray, segmentation: np.ndarray, reasons: list[str], failure: str = ""
) -> None:
    arrays = {"objects": objects, "segmentation": segmentation, "reasons": np.array(reasons, dtype=str)}
    save_named(path, durable=False, compressed=True, failure=np.array(failure), **arrays)


def _saturated_linear(bands: np.ndarray) -> np.ndarray:
    """Return where (rows, columns) a band with linear fluxes has its highest value, if several pixels share it."""
    saturated = np.zeros(bands.shape[1:], bool)
    for band in bands:
        highest = band.max(initial=-np.inf, where=np.isfinite(band))
        at_top = band == highest
        # The brightest pixel of an unsaturated band is alone.
        if highest > 0 and 5 <= at_top.sum() < 0.1 * band.size:
            saturated |= at_top
    return saturated


def is_saved(folder: Path, index: int) -> bool:
    """Return whether the file of a tile exists and is whole."""
    seal = seals.read(tile_path(folder, index))
    return seal is not None and seal.is_whole


def objects_of(folder: Path, index: int) -> tuple[np.ndarray, list[str], str]:
    """Load the objects (n,) of `detection.OBJECT` that a tile owns.

    Also return why each of them was not measured, and why the tile was not searched; else empty texts.
    """
    file = load_named(tile_path(folder, index))
    return file["objects"].astype(OBJECT), file["reasons"].tolist(), str(file["failure"])


@lru_cache(maxsize=2)
def segments_of(path: Path) -> np.ndarray:
    """Load the segmentation map of a tile (rows, columns), labels from 1, 0 is sky, MISSING has no data."""
    return load_named(path)["segmentation"]
