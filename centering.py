"""Where the galaxy lies in its image, and how large it is: transforms made of SExtractor's measurements.

A catalogue holds a row of measurements for each galaxy, in the order of the ids. Its files, those of 2014 as well as
those of `extract_pysex_params_*.py`, are read on first use, once in a process.

Source: documentation of 2014, 2.1.5.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.transform import AffineTransform

import load_data

# The middle of an image, to which galaxies are moved; as in 2014, the positions that SExtractor counts from 1 are
# compared with the middle that arrays count from 0.
CENTRE = 211.5
MAX_RESCALING = 1.5


@dataclass(frozen=True)
class Catalogue:
    """What is measured of every galaxy: detection threshold in sigma of the background, and columns of a row."""

    name: str
    threshold: float
    columns: tuple[str, ...]

    @property
    def script(self) -> str:
        """The script that makes the catalogue's files."""
        return f"extract_pysex_params_{self.name}.py"

    def path(self, subset: str) -> Path:
        """Return the file of 'train' or 'test'."""
        return load_data.folders.data / f"pysex_params_{self.name}_{subset}.npy.gz"

    def load(self, subset: str) -> np.ndarray:
        """Load the measurements of a subset, (n, columns) float64; raises DataError unless they fit its ids."""
        path = self.path(subset)
        rows = load_data.load_array(path, self.script)
        expected = (len(load_data.load_ids(subset)), len(self.columns))
        if rows.shape != expected or not np.issubdtype(rows.dtype, np.floating):
            raise load_data.DataError(
                f"{path}: expected numbers {expected}, a row for each {subset} id, got {rows.dtype} {rows.shape}; "
                f"delete it and run {self.script} again"
            )
        positions = rows[:, [self.columns.index("x"), self.columns.index("y")]]
        if not np.isfinite(positions).all():
            row = np.flatnonzero(~np.isfinite(positions).all(axis=1))[0]
            raise load_data.DataError(
                f"{path}: expected a position in each row, got none in row {row}; delete it and run {self.script} again"
            )
        return rows.astype(np.float64)


GEN2 = Catalogue("gen2", 2, ("x", "y", "a", "b", "theta", "petro_radius"))
GEN1 = Catalogue("extra", 10, ("x", "y", "a", "b", "theta", "flux_radius", "kron_radius", "petro_radius", "fwhm"))


@functools.lru_cache(maxsize=4)
def _load(catalogue: Catalogue, subset: str, folders: load_data.Folders) -> np.ndarray:
    """Load a catalogue once; `folders` are a part of the key, so that other folders give other rows."""
    return catalogue.load(subset)


def _measured(catalogue: Catalogue, img_index: int, subset: str) -> dict[str, float]:
    row = _load(catalogue, subset, load_data.folders)[img_index]
    return dict(zip(catalogue.columns, row, strict=True))


def build_place_transform(x: float, y: float, scale: float = 1.0) -> AffineTransform:
    """Build the transform that moves (x, y) to the centre and enlarges by `scale`: output pixel -> input pixel."""
    return AffineTransform(scale=1 / scale, translation=(x - CENTRE / scale, y - CENTRE / scale))


def _rescale(measured: dict[str, float], target_radius: float) -> AffineTransform:
    with np.errstate(divide="ignore"):  # a radius of 0 is enlarged as much as any may be
        scale = target_radius / np.float64(measured["petro_radius"] * measured["a"])
    # What was not found or not measured keeps its size.
    scale = 1.0 if np.isnan(scale) else np.clip(scale, 1 / MAX_RESCALING, MAX_RESCALING)
    return build_place_transform(measured["x"], measured["y"], scale)


def build_pysex_center_transform(img_index: int, subset: str = "train") -> AffineTransform:
    """Build the transform that centres a galaxy, as found at 2 sigma."""
    measured = _measured(GEN2, img_index, subset)
    return build_place_transform(measured["x"], measured["y"])


def build_pysex_center_rescale_transform(
    img_index: int, subset: str = "train", target_radius: float = 160.0
) -> AffineTransform:
    """Build the transform that centres a galaxy and brings its Petrosian radius (at 2 sigma) to `target_radius`.

    It enlarges or shrinks by a factor of 1.5 at most.
    """
    return _rescale(_measured(GEN2, img_index, subset), target_radius)


def build_pysexgen1_center_rescale_transform(
    img_index: int, subset: str = "train", target_radius: float = 160.0
) -> AffineTransform:
    """Build what `build_pysex_center_rescale_transform` does from what is seen at 10 sigma."""
    return _rescale(_measured(GEN1, img_index, subset), target_radius)


class PysexCentering:
    """A processor that centres each galaxy."""

    def place(self, img_index: int, subset: str) -> AffineTransform:
        return build_pysex_center_transform(img_index, subset)


class PysexCenteringRescaling:
    """A processor that centres and rescales each galaxy."""

    def place(self, img_index: int, subset: str) -> AffineTransform:
        return build_pysex_center_rescale_transform(img_index, subset)


class PysexGen1CenteringRescaling:
    """A processor that centres and rescales each galaxy by what is seen at 10 sigma."""

    def place(self, img_index: int, subset: str) -> AffineTransform:
        return build_pysexgen1_center_rescale_transform(img_index, subset)
