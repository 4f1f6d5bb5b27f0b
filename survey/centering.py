"""Where the galaxy lies in its image, and how large it is: transforms made of SExtractor's measurements.

A catalogue holds a row of measurements for each galaxy, in the order of the ids. Its files, those of 2014 as well as
those of `extract_pysex_params_*.py`, are read on first use, once in a process.

Source: documentation of 2014, 2.1.5.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from skimage.transform import AffineTransform

from galaxy.affine import place_matrices
from machine.files import DataError, load_array
from survey import folders, images
from survey.folders import Folders

MAX_RESCALING = 1.5
# What the Petrosian radius is brought to, pixels.
TARGET_RADIUS = 160.0


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
        return folders.current.data / f"pysex_params_{self.name}_{subset}.npy.gz"

    def load(self, subset: str) -> np.ndarray:
        """Load the measurements of a subset, (n, columns) float64; raises DataError unless they fit its ids."""
        path = self.path(subset)
        expected = (len(images.load_ids(subset)), len(self.columns))
        rows = load_array(path, self.script, expected, np.floating)
        positions = rows[:, [self.columns.index("x"), self.columns.index("y")]]
        if not np.isfinite(positions).all():
            row = np.flatnonzero(~np.isfinite(positions).all(axis=1))[0]
            raise DataError(
                f"{path}: expected a position in each row, got none in row {row}; delete it and run {self.script} again"
            )
        return rows.astype(np.float64)


GEN2_CATALOGUE = Catalogue("gen2", 2, ("x", "y", "a", "b", "theta", "petro_radius"))
EXTRA_CATALOGUE = Catalogue(
    "extra", 10, ("x", "y", "a", "b", "theta", "flux_radius", "kron_radius", "petro_radius", "fwhm")
)


@functools.lru_cache(maxsize=4)
def _load(catalogue: Catalogue, subset: str, _: Folders) -> np.ndarray:
    """Load a catalogue once for the folders in use."""
    return catalogue.load(subset)


@dataclass(frozen=True)
class Placement:
    """Where galaxies lie in their images, by a catalogue: they are centred, and rescaled unless the radius is None."""

    catalogue: Catalogue
    # What the Petrosian radius is brought to, pixels, by a factor of 1.5 at most.
    target_radius: float | None = TARGET_RADIUS

    def matrices(self, indices: ArrayLike, subset: str) -> np.ndarray:
        """Return the matrices (n, 3, 3) that place the galaxies of some images (n,)."""
        rows = _load(self.catalogue, subset, folders.current)[indices]
        column = {name: rows[..., number] for number, name in enumerate(self.catalogue.columns)}
        if self.target_radius is None:
            return place_matrices(column["x"], column["y"])
        with np.errstate(divide="ignore"):  # a radius of 0 is enlarged as much as any may be
            scale = self.target_radius / (column["petro_radius"] * column["a"])
        # What was not found or not measured keeps its size.
        scale = np.where(np.isnan(scale), 1.0, np.clip(scale, 1 / MAX_RESCALING, MAX_RESCALING))
        return place_matrices(column["x"], column["y"], scale)


# Centred as found at 2 sigma; centred and rescaled by what is seen at 2 sigma; and at 10.
CENTRED = Placement(GEN2_CATALOGUE, None)
GEN2 = Placement(GEN2_CATALOGUE)
GEN1 = Placement(EXTRA_CATALOGUE)


def build_pysex_center_transform(img_index: int, subset: str = "train") -> AffineTransform:
    """Build the transform that centres a galaxy, as found at 2 sigma."""
    return AffineTransform(matrix=CENTRED.matrices(img_index, subset))


def build_pysex_center_rescale_transform(
    img_index: int, subset: str = "train", target_radius: float = TARGET_RADIUS
) -> AffineTransform:
    """Build the transform that centres a galaxy and brings its Petrosian radius (at 2 sigma) to `target_radius`.

    It enlarges or shrinks by a factor of 1.5 at most.
    """
    return AffineTransform(matrix=Placement(GEN2_CATALOGUE, target_radius).matrices(img_index, subset))


def build_pysexgen1_center_rescale_transform(
    img_index: int, subset: str = "train", target_radius: float = TARGET_RADIUS
) -> AffineTransform:
    """Build what `build_pysex_center_rescale_transform` does from what is seen at 10 sigma."""
    return AffineTransform(matrix=Placement(EXTRA_CATALOGUE, target_radius).matrices(img_index, subset))
