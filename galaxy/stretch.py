"""Stretch of linear fluxes to an image between 0 and 1 (asinh, log, linear); colour composite of three bands.

The sky becomes 0. The stretch applies to the mean of the bands and keeps their ratios, so the colour of a pixel does
not depend on its brightness.

Source: Lupton et al. 2004 (PASP 116, 133), the method of SDSS's colour images.
"""

from collections.abc import Callable

import numpy as np

from galaxy.image_formats import Unreadable
from galaxy.light_units import exponent_of, scaled

# asinh is about linear below this many sigma of the sky's noise.
SOFTENING = 3.0
# The white point is this percentile of the pixels, and at least LEAST_RANGE times the softening.
WHITE_PERCENTILE, LEAST_RANGE = 99.9, 5.0
# Levels are estimated from at most this many pixels.
_SAMPLE = 2**20

# Stretch of brightness in units of the softening, before division by the stretched white point.
STRETCHES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "asinh": np.arcsinh,
    "log": np.log1p,
    "linear": lambda x: x,
}


def sky_and_noise(band: np.ndarray) -> tuple[float, float]:
    """Return the median of a band (rows, columns) and the noise around it, from finite pixels; 0, 0 without any."""
    values = band.ravel()[:: max(1, band.size // _SAMPLE)]
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 0.0
    sky = float(np.median(values))
    # Galaxies brighten the upper half of the pixels only.
    below = values[values <= sky]
    return sky, 1.4826 * float(np.median(sky - below))


def composite(bands: np.ndarray, stretch: str) -> np.ndarray:
    """Compose the image (rows, columns, 3) float32 of bands (1 or 3, rows, columns), red first.

    Pixels that are not finite become sky. Raises Unreadable if all pixels of all bands are not finite.
    """
    data_sub = scaled(bands, exponent_of(bands))
    if not np.isfinite(data_sub).any():
        raise Unreadable("has no finite pixel")
    noises = []
    for band in data_sub:
        sky, noise = sky_and_noise(band)
        band -= np.float32(sky)
        band[~np.isfinite(band)] = 0
        noises.append(noise)
    intensity = data_sub.mean(axis=0)
    white = float(np.percentile(intensity.ravel()[:: max(1, intensity.size // _SAMPLE)], WHITE_PERCENTILE))
    white = white if white > 0 else float(intensity.max())
    if white <= 0:
        return np.zeros((*intensity.shape, 3), np.float32)
    noise = float(np.sqrt(np.mean(np.square(noises)) / len(noises)))
    # An image without noise is softened at a thousandth of the white point.
    softening = max(SOFTENING * noise, white / 1000)
    white = max(white, LEAST_RANGE * softening)
    apply = STRETCHES[stretch]
    bright = np.maximum(intensity, 0)
    factor = apply(bright / np.float32(softening)) / np.float32(apply(white / softening))
    np.divide(factor, bright, out=factor, where=bright > 0)
    image = np.maximum(data_sub, 0) * factor
    # An overexposed pixel is dimmed in all bands, which keeps its colour.
    image /= np.maximum(image.max(axis=0), 1)
    image = np.moveaxis(np.broadcast_to(image, (3, *intensity.shape)), 0, 2)
    return np.ascontiguousarray(image, dtype=np.float32)
