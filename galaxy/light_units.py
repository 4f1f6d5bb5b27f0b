"""Light in units of its noise, in single precision, whatever the unit of the file.

The divisor is a power of two: the division is exact, so results do not depend on the unit. Squares and sums of light in
physical units (1e-20 erg/s/cm2) leave the range of single precision.
"""

import numpy as np

# The noise is estimated from at most this many pixels.
_SAMPLE = 2**16


def exponent_of(light: np.ndarray) -> int:
    """Return the power of two nearest below the noise of light of any shape; 0 without a finite pixel.

    Light without noise has the mean deviation from its median, else its highest value, in place of noise.
    """
    values = light.ravel()[:: max(1, light.size // _SAMPLE)].astype(np.float64)
    values = values[np.isfinite(values)]
    if not len(values):
        return 0
    deviations = np.abs(values - np.median(values))
    largest = np.abs(values).max()
    with np.errstate(over="ignore"):
        candidates = np.median(deviations), deviations.mean(), largest
    # Smaller deviations are rounding errors of a constant.
    unit = next((each for each in candidates if 1e-7 * largest < each < np.inf), 0)
    return int(np.frexp(unit)[1]) - 1 if unit > 0 else 0


def scaled(light: np.ndarray, exponent: int) -> np.ndarray:
    """Divide light by 2**exponent; return float32 of the same shape, in native byte order."""
    light = light.astype(light.dtype.newbyteorder("="), copy=False)
    if light.dtype.kind != "f":
        light = light.astype(np.float64)
    # Sentinels beyond the range of single precision become infinite: no data.
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        return np.ldexp(light, -exponent).astype(np.float32, copy=False)
