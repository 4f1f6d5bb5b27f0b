"""Transforms that centre a galaxy and rescale it to one size, from SExtractor's measurements.

A catalogue holds one row of measurements per galaxy, in the order of the ids. Its files are those of
`extract_pysex_params_*.py` or those of 2014. Each file is read on first use, once per process.

Source: documentation of 2014, 2.1.5.
"""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike
from skimage.transform import AffineTransform

from galaxy.image_geometry import place_matrices
from machine.arrays import load_array
from machine.files import DataError
from survey import folders, images
from survey.folders import Folders

MAX_RESCALING = 1.5
# The Petrosian radius after rescaling, pixels.
TARGET_RADIUS = 160.0


@dataclass(frozen=True)
class PysexParams:
    """A catalogue of SExtractor: its name, the detection threshold in sigma of the background, and the columns."""

    name: str
    threshold: float
    columns: tuple[str, ...]

    @property
    def script(self) -> str:
        """The script that writes the catalogue's files."""
        return f"extract_pysex_params_{self.name}.py"

    def path(self, subset: str) -> Path:
        """Return the catalogue's file of 'train' or 'test'."""
        return folders.current.data / f"pysex_params_{self.name}_{subset}.npy.gz"

    def load(self, subset: str) -> np.ndarray:
        """Load the measurements of a subset, (n, columns) float64.

        Raises DataError if the shape does not fit the ids, or a position is not finite.
        """
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


GEN2_PARAMS = PysexParams("gen2", 2, ("x", "y", "a", "b", "theta", "petro_radius"))
EXTRA_PARAMS = PysexParams(
    "extra", 10, ("x", "y", "a", "b", "theta", "flux_radius", "kron_radius", "petro_radius", "fwhm")
)


@functools.lru_cache(maxsize=4)
def _load(catalogue: PysexParams, subset: str, _: Folders) -> np.ndarray:
    """Load a catalogue, once per folders in use."""
    return catalogue.load(subset)


@dataclass(frozen=True)
class Placement:
    """The position and size of galaxies in their images, from a catalogue.

    Galaxies are centred, and rescaled unless `target_radius` is None.
    """

    catalogue: PysexParams
    # The Petrosian radius after rescaling by a factor of at most 1.5, pixels.
    target_radius: float | None = TARGET_RADIUS

    def matrices(self, indices: ArrayLike, subset: str) -> np.ndarray:
        """Return the matrices (n, 3, 3) from pixels of the centred images to those of the images `indices` (n,)."""
        rows = _load(self.catalogue, subset, folders.current)[indices]
        column = {name: rows[..., position] for position, name in enumerate(self.catalogue.columns)}
        if self.target_radius is None:
            return place_matrices(column["x"], column["y"])
        with np.errstate(divide="ignore"):  # a radius of 0 gets the largest scale
            scale = self.target_radius / (column["petro_radius"] * column["a"])
        # A galaxy without measurements keeps its size.
        scale = np.where(np.isnan(scale), 1.0, np.clip(scale, 1 / MAX_RESCALING, MAX_RESCALING))
        return place_matrices(column["x"], column["y"], scale)


# Centred, from detections at 2 sigma; centred and rescaled, at 2 sigma; centred and rescaled, at 10 sigma.
CENTRED = Placement(GEN2_PARAMS, None)
GEN2 = Placement(GEN2_PARAMS)
GEN1 = Placement(EXTRA_PARAMS)


def build_pysex_center_transform(img_index: int, subset: str = "train") -> AffineTransform:
    """Build the transform that centres a galaxy detected at 2 sigma."""
    return AffineTransform(matrix=CENTRED.matrices(img_index, subset))


def build_pysex_center_rescale_transform(
    img_index: int, subset: str = "train", target_radius: float = TARGET_RADIUS
) -> AffineTransform:
    """Build the transform that centres a galaxy and rescales its Petrosian radius (at 2 sigma) to `target_radius`.

    The scale is limited to a factor of 1.5 in both directions.
    """
    return AffineTransform(matrix=Placement(GEN2_PARAMS, target_radius).matrices(img_index, subset))


def build_pysexgen1_center_rescale_transform(
    img_index: int, subset: str = "train", target_radius: float = TARGET_RADIUS
) -> AffineTransform:
    """Build the transform of `build_pysex_center_rescale_transform` from measurements at 10 sigma."""
    return AffineTransform(matrix=Placement(EXTRA_PARAMS, target_radius).matrices(img_index, subset))
