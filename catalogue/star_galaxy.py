"""Stars told from galaxies as well as one band allows: by their width, which is that of every point, and their spikes.

Points of light have one half-light radius, however bright they are: many objects of the same small radius are stars,
and give away the telescope's width. Where no such crowd stands out, only spikes and sharp saturated edges tell.
"""

import numpy as np

# Objects that may show what a point looks like: round, alone, this far above the noise.
ROUND, CLEAR = 1.3, 20.0
# The crowd: so many objects within so much of a factor, and how many times more than just below and above.
CROWD, WITHIN, DENSER = 10, 1.12, 3.0
# Up to so many times that radius an object is no wider than a point; a saturated one with a sharp edge, whose light
# is cut, may be wider.
NARROW, SHARP = 1.25, 0.7
# How far spikes stand out: of galaxies less than 2.1, of stars with spikes more than 2.3 (doc/fields.md).
SPIKES, SPIKES_SATURATED = 2.5, 2.0
# Galaxies narrower than that, in half-light radii of a point and in pixels of the Petrosian radius, show no shape.
RESOLVED, LEAST_RADIUS = 1.6, 14.0


def point_radius(objects: np.ndarray) -> float:
    """Return the half-light radius of points, pixels, of objects (n,) of `detection.OBJECT`; NaN where none is seen."""
    fit = (objects["a"] < ROUND * objects["b"]) & (objects["signal"] > CLEAR)
    fit &= ~(objects["border"] | objects["blended"] | objects["saturated"])
    radii = np.sort(objects["half_light_radius"][fit])
    if len(radii) < CROWD:
        return np.nan

    def number(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.searchsorted(radii, high, side="right") - np.searchsorted(radii, low)

    inside = number(radii, radii * WITHIN)
    below, above = number(radii / WITHIN**2, radii / WITHIN), number(radii * WITHIN**2, radii * WITHIN**3)
    stands_out = (inside >= CROWD) & (inside >= DENSER * np.maximum(below, above))
    if not stands_out.any():
        return np.nan
    # The narrowest crowd that is as rich as any, to within a half.
    first = int(np.argmax(stands_out & (inside >= 0.5 * inside[stands_out].max())))
    start = radii[first]
    return float(np.median(radii[(radii >= start) & (radii <= start * WITHIN)]))


def are_stars(objects: np.ndarray, of_point: float) -> np.ndarray:
    """Return which objects (n,) are points of light, given a point's half-light radius (NaN: unknown)."""
    spiked = objects["spikes"] > np.where(objects["saturated"], SPIKES_SATURATED, SPIKES)
    if not np.isfinite(of_point):
        return spiked
    narrow = objects["half_light_radius"] < NARROW * of_point
    sharp = objects["saturated"] & (objects["edge"] < SHARP * of_point) & (objects["a"] < ROUND * objects["b"])
    return spiked | narrow | sharp


def are_tiny(objects: np.ndarray, of_point: float) -> np.ndarray:
    """Return which objects (n,) are too small to have a visible shape."""
    least = RESOLVED * of_point if np.isfinite(of_point) else 0.0
    return (objects["petrosian_radius"] < LEAST_RADIUS) | (objects["half_light_radius"] < least)
