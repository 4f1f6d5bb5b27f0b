"""Light, counted linearly, as an image between 0 and 1: asinh, log or linear, and colour from three bands.

The sky becomes 0. Brightness is stretched, and the ratios of the bands are kept, so that the colour of a pixel does not
depend on how bright it is.

Source: Lupton et al. 2004 (PASP 116, 133), of which SDSS's images are made.
"""

from collections.abc import Callable

import numpy as np

from galaxy.image_formats import Unreadable

# Below so many sigma of the sky's noise, asinh is linear.
SOFTENING = 3.0
# What becomes white is as bright as this percentile of the pixels, but no less than so many times the softening.
WHITE_PERCENTILE, LEAST_RANGE = 99.9, 5.0
# At most so many pixels are looked at to find levels.
_SAMPLE = 2**20

# What a brightness in units of the softening becomes, before it is divided by what white becomes.
STRETCHES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "asinh": np.arcsinh,
    "log": np.log1p,
    "linear": lambda x: x,
}


def sky_and_noise(band: np.ndarray) -> tuple[float, float]:
    """Return the median of a band (rows, columns) and the noise around it, of finite pixels; 0, 0 where none is."""
    values = band.ravel()[:: max(1, band.size // _SAMPLE)]
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 0.0
    sky = float(np.median(values))
    # The lower half of the pixels holds no light of galaxies.
    below = values[values <= sky]
    return sky, 1.4826 * float(np.median(sky - below))


def composite(bands: np.ndarray, stretch: str) -> np.ndarray:
    """Return the image (rows, columns, 3) float32 of bands (1 or 3, rows, columns), red first.

    Pixels that are not finite are as dark as the sky. Raises Unreadable where no pixel of any band is finite.
    """
    light = np.array(bands, dtype=np.float32)
    noises = []
    for band in light:
        sky, noise = sky_and_noise(band)
        band -= np.float32(sky)
        band[~np.isfinite(band)] = 0
        noises.append(noise)
    if not np.isfinite(bands).any():
        raise Unreadable("has no finite pixel")
    intensity = light.mean(axis=0)
    white = float(np.percentile(intensity.ravel()[:: max(1, intensity.size // _SAMPLE)], WHITE_PERCENTILE))
    white = white if white > 0 else float(intensity.max())
    if white <= 0:
        return np.zeros((*intensity.shape, 3), np.float32)
    noise = float(np.sqrt(np.mean(np.square(noises)) / len(noises)))
    # Without noise, the faintest thousandth of what is seen is the softening.
    softening = max(SOFTENING * noise, white / 1000)
    white = max(white, LEAST_RANGE * softening)
    apply = STRETCHES[stretch]
    bright = np.maximum(intensity, 0)
    factor = apply(bright / np.float32(softening)) / np.float32(apply(white / softening))
    factor /= np.maximum(bright, np.float32(1e-30))
    image = np.maximum(light, 0) * factor
    # A pixel that is too bright keeps its colour.
    image /= np.maximum(image.max(axis=0), 1)
    image = np.moveaxis(np.broadcast_to(image, (3, *intensity.shape)), 0, 2)
    return np.ascontiguousarray(image, dtype=np.float32)
