"""SExtractor's measurements of one galaxy, with `sep`: position, ellipse and radii.

All settings but the detection threshold are SExtractor's defaults. `sep` provides SExtractor's detection, Kron radius
and growth curve. This module adds the Petrosian radius, the width and the masking of neighbours (MASK_TYPE CORRECT).
Undocumented settings were fitted to the catalogue of 2014; these functions reproduce its numbers.

Source: documentation of 2014, 2.1.5 and 3.4; Bertin & Arnouts 1996; the SExtractor manual; Barbary 2016 (sep).
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import sep

from galaxy.image_geometry import CENTRE

# Width of the prior exp(-d^2 / sigma^2) on the distance d to the centre, pixels squared; no factor 2, as in 2014.
PRIOR_SIGMA_SQUARED = 5000
# Kron and Petrosian radii are searched within 6 times the ellipse of the second moments; the result is at least 3.5.
MAX_RADIUS, MIN_RADIUS = 6.0, 3.5
KRON_FACTOR, PETROSIAN_FACTOR = 2.5, 2.0
# At the Petrosian radius an annulus has a fifth of the mean brightness within its middle. The outer radius of an
# annulus is 1.2 times its inner radius; the scan stops at the last annulus that ends within MAX_RADIUS.
PETROSIAN_RATIO = 0.2
ANNULUS_END = 1.2
ANNULUS_MIDDLE = (1 + ANNULUS_END) / 2
PETROSIAN_SCAN = MAX_RADIUS / 20 * np.arange(1, 17)


@dataclass(frozen=True)
class Source:
    """A detected object: its sky-subtracted image, the masks of its own and its neighbours' pixels, its ellipse.

    `x` counts columns and `y` rows from 0; `a` and `b` are in pixels, `theta` in radians from x towards y.
    """

    data_sub: np.ndarray  # (rows, columns) float32
    own: np.ndarray  # (rows, columns) bool
    neighbours: np.ndarray  # (rows, columns) bool
    x: float
    y: float
    a: float
    b: float
    theta: float

    @property
    def ellipse(self) -> np.ndarray:
        """x, y, a, b, theta as arrays of one object, as sep expects them: (5, 1)."""
        return np.array([[self.x], [self.y], [self.a], [self.b], [self.theta]])


def detect(data_sub: np.ndarray, sigma: float, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return sep's table of the objects above `threshold` sigma, and the segmentation map (labels from 1, 0 is sky)."""
    extract = partial(sep.extract, data_sub, threshold, err=sigma, segmentation_map=True)
    try:
        return extract()
    except Exception as error:  # sep has no exceptions of its own
        if "deblending" not in str(error):
            raise
        return extract(deblend_nthresh=1)  # an object with too many peaks is not deblended


def find_galaxy(channel: np.ndarray, threshold: float) -> Source | None:
    """Find the most salient object of an image (rows, columns): large and near the centre; None without objects."""
    image = np.ascontiguousarray(channel, dtype=np.float32)
    sky = sep.Background(image)
    data_sub = image - sky.back()
    objects, segmentation = detect(data_sub, sky.globalrms, threshold)
    if not len(objects):
        return None
    squared_distance = (objects["x"] + 1 - CENTRE) ** 2 + (objects["y"] + 1 - CENTRE) ** 2
    salience = np.pi * objects["a"] * objects["b"] * np.exp(-squared_distance / PRIOR_SIGMA_SQUARED)
    best = int(np.argmax(salience))
    own = segmentation == best + 1
    ellipse = (float(objects[name][best]) for name in ("x", "y", "a", "b", "theta"))
    return Source(data_sub, own, (segmentation > 0) & ~own, *ellipse)


def petrosian_radius(source: Source) -> float:
    """Return PETRO_RADIUS, in units of `a`: twice the radius where the surface brightness falls to a fifth of its mean.

    If the brightness stays above a fifth, the last radius of the scan counts. Neighbours' pixels are masked.
    """
    cxx, cyy, cxy = sep.ellipse_coeffs(source.a, source.b, source.theta)
    # No pixel farther than MAX_RADIUS semi-major axes counts.
    reach = MAX_RADIUS * source.a
    region = tuple(
        slice(max(0, int(middle - reach)), max(1, int(middle + reach) + 2)) for middle in (source.y, source.x)
    )
    light, neighbours = source.data_sub[region], source.neighbours[region]
    y, x = (
        np.arange(part.start, part.start + size) - middle
        for part, size, middle in zip(region, light.shape, (source.y, source.x), strict=True)
    )
    squared_radius = cxx * x**2 + cyy * y[:, None] ** 2 + cxy * x * y[:, None]  # (rows, columns)
    counts = ~neighbours & (squared_radius <= MAX_RADIUS**2)

    edges = np.multiply.outer(PETROSIAN_SCAN, (1, ANNULUS_MIDDLE, ANNULUS_END))  # (scan, 3)
    levels = np.unique(edges)
    ring = np.searchsorted(levels, np.sqrt(squared_radius[counts]))  # levels[ring - 1] < radius <= levels[ring]
    within = np.searchsorted(levels, edges)
    area = np.cumsum(np.bincount(ring, minlength=len(levels)))[within]
    flux = np.cumsum(np.bincount(ring, light[counts], minlength=len(levels)))[within]
    with np.errstate(divide="ignore", invalid="ignore"):  # an annulus without pixels does not stop the scan
        brightness = (flux[:, 2] - flux[:, 0]) / (area[:, 2] - area[:, 0])
        faint = brightness < PETROSIAN_RATIO * flux[:, 1] / area[:, 1]
    radius = PETROSIAN_SCAN[np.argmax(faint)] if faint.any() else PETROSIAN_SCAN[-1]
    return max(MIN_RADIUS, float(PETROSIAN_FACTOR * ANNULUS_MIDDLE * radius))


def kron_radius(source: Source) -> float:
    """Return KRON_RADIUS, in units of `a`: 2.5 times the flux-weighted mean radius. Neighbours' pixels are masked."""
    radius, _ = sep.kron_radius(source.data_sub, *source.ellipse, MAX_RADIUS, mask=source.neighbours)
    return max(MIN_RADIUS, KRON_FACTOR * float(radius[0]))


def without_neighbours(source: Source) -> np.ndarray:
    """Return the image (rows, columns) with each neighbour's pixel replaced by its point reflection about (x, y).

    The replacement is 0 where the reflected pixel is outside the image or belongs to a neighbour too.
    """
    light = source.data_sub.copy()
    rows, columns = np.nonzero(source.neighbours)
    opposite_rows = np.floor(2 * source.y - rows + 0.5).astype(int)
    opposite_columns = np.floor(2 * source.x - columns + 0.5).astype(int)
    inside = (opposite_rows >= 0) & (opposite_rows < light.shape[0])
    inside &= (opposite_columns >= 0) & (opposite_columns < light.shape[1])
    light[rows, columns] = 0
    opposite = opposite_rows[inside], opposite_columns[inside]
    light[rows[inside], columns[inside]] = np.where(source.neighbours[opposite], 0, source.data_sub[opposite])
    return light


def flux_radius(source: Source, kron: float) -> float:
    """Return FLUX_RADIUS, in pixels: the radius of the circle with half of the flux within the Kron ellipse."""
    light = without_neighbours(source)
    flux, _, _ = sep.sum_ellipse(light, *source.ellipse, kron, subpix=1)
    x, y, a, _, _ = source.ellipse
    radius, _ = sep.flux_radius(light, x, y, MAX_RADIUS * a, 0.5, normflux=flux, subpix=5)
    return float(radius[0])


def fwhm(source: Source) -> float:
    """Return FWHM_IMAGE, in pixels: the full width at half maximum of a round Gaussian fitted to the bright pixels.

    The fit is a line: log(brightness) against squared distance, weighted by the squared brightness. It uses the pixels
    that are brighter than a fifth of the brightest. Its sigma is at most sqrt(6.5 a b).
    """
    rows, columns = np.nonzero(source.own)
    light = source.data_sub[rows, columns].astype(np.float64)
    bright = light > max(light.max() / 5, 0)
    light = light[bright]
    squared_distance = (columns[bright] - source.x) ** 2 + (rows[bright] - source.y) ** 2
    weights = light**2 / np.sum(light**2)
    offset = squared_distance - weights @ squared_distance
    spread = weights @ offset**2
    slope = (weights * offset) @ np.log(light) / spread if spread > 0 else 0
    widest = 6.5 * source.a * source.b
    variance = min(-0.5 / slope, widest) if slope < 0 else widest
    return float(np.sqrt(8 * np.log(2) * variance))
