"""Star-galaxy separation in one band: stars have the width of a point source, or diffraction spikes.

All point sources have the same half-light radius at any brightness. So a crowd of objects with one small radius is the
stars, and its radius is the width of the point spread function. Without such a crowd only spikes identify stars.
"""

import numpy as np

# Objects that can show the width of a point source: axis ratio below ROUND, snr above CLEAR, isolated.
ROUND, CLEAR = 1.3, 20.0
# A crowd: at least CROWD objects with radii within a factor WITHIN, and DENSER times as many as just below and above.
CROWD, WITHIN, DENSER = 10, 1.12, 3.0
# Stars are narrower than NARROW point sources. The saturated core of a star is cut off, which widens its half-light
# radius; its profile still falls within SHARP of a point source's radius.
NARROW, SHARP = 1.25, 0.7
# Contrast of spikes: below 2.1 for galaxies, above 2.3 for stars with spikes (doc/fields.md).
SPIKES, SPIKES_SATURATED = 2.5, 2.0
# Galaxies below RESOLVED half-light radii of a point source, or below LEAST_RADIUS pixels of the Petrosian radius, show
# no shape.
RESOLVED, LEAST_RADIUS = 1.6, 14.0


def point_radius(objects: np.ndarray) -> float:
    """Estimate the half-light radius of point sources, pixels, of objects (n,) of `detection.OBJECT`; NaN if unseen."""
    clear = (objects["a"] < ROUND * objects["b"]) & (objects["snr"] > CLEAR)
    clear &= ~(objects["border"] | objects["blended"] | objects["saturated"])
    radii = np.sort(objects["half_light_radius"][clear])
    if len(radii) < CROWD:
        return np.nan

    def count(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.searchsorted(radii, high, side="right") - np.searchsorted(radii, low)

    inside = count(radii, radii * WITHIN)
    below, above = count(radii / WITHIN**2, radii / WITHIN), count(radii * WITHIN**2, radii * WITHIN**3)
    stands_out = (inside >= CROWD) & (inside >= DENSER * np.maximum(below, above))
    if not stands_out.any():
        return np.nan
    # The narrowest crowd with at least half as many objects as the richest one.
    start = radii[np.argmax(stands_out & (inside >= 0.5 * inside[stands_out].max()))]
    return float(np.median(radii[(radii >= start) & (radii <= start * WITHIN)]))


def are_stars(objects: np.ndarray, psf_radius: float) -> np.ndarray:
    """Return which objects (n,) are stars; `psf_radius` is the half-light radius of point sources (NaN: unknown)."""
    spiked = objects["spikes"] > np.where(objects["saturated"], SPIKES_SATURATED, SPIKES)
    if not np.isfinite(psf_radius):
        return spiked
    narrow = objects["half_light_radius"] < NARROW * psf_radius
    sharp = objects["saturated"] & (objects["profile_width"] < SHARP * psf_radius)
    return spiked | narrow | (sharp & (objects["a"] < ROUND * objects["b"]))


def are_tiny(objects: np.ndarray, psf_radius: float) -> np.ndarray:
    """Return which objects (n,) are too small for a visible shape; `psf_radius` as in `are_stars`."""
    least = RESOLVED * psf_radius if np.isfinite(psf_radius) else 0.0
    return (objects["petrosian_radius"] < LEAST_RADIUS) | (objects["half_light_radius"] < least)
