"""Pixels that carry no data: not finite, areas of one exact value, sentinels, and what a quality plane marks.

Mosaics, rotated images, survey edges and chip gaps are often filled with one value in place of NaN. It is told
from sky by its exact repetition: noise never repeats a value over a large connected area. An area as bright as the top
of the image is a saturated star, and data. A model without noise has an exactly constant sky, which is data as well:
there the pixels at the border of the area continue its value.

All comparisons are relative to the noise of the image, so the result does not depend on units.
"""

import functools

import cv2
import numpy as np

# Values that repeat are sought among these many; real files have one or two fill values.
_MAX_VALUES = 6
# Quantised noise (small integers) repeats values by chance. A value is isolated where the adjacent values are rarer
# than this part of it; then an area needs few pixels.
_ISOLATED, _LEAST_AREA = 0.002, 24
# Else the least area is above the clusters that a value of this frequency forms by chance.
_LEAST_AREAS = ((0.15, 200), (0.3, 800))
# A value that is much more frequent than the adjacent ones fills an area only where it fills blocks of this side.
_DOMINANT, _SOLID_BLOCK = 0.4, 16
# Brightness, in sigma of the sky, above which an area of one value is a saturated object.
_SATURATED = 5.0
# Deviations, in sigma, that no detector produces: sentinels such as -32768 below and 1e30 above.
_BELOW, _ABOVE = 200.0, 1e8
# The noise is estimated from at most this many pixels.
_SAMPLE = 2**18
# Values are counted among at least this many pixels.
_COUNTED = 2**20
# A model without noise fades into its constant sky: light at the first distance (pixels) from the area is fainter than
# at the second by this factor. Resampling at the edge of real data reaches no farther than the first distance.
_NEAR, _FAR, _FADES = (3, 6), (9, 14), 0.8
# Of pictures: channels up to this value are black in an area without data (JPEG's ripple included), grown by one block.
_BLACK, _JPEG_BLOCK = 4, 8
# Almost-black pixels beside an area of exact zeros, per pixel of its outline: 0.1 without ripple, 0.9 to 2.2 in JPEGs.
_RIPPLE = 0.5
# Beside an area without data, up to 24 pixels away, less of the picture is black than beside a clipped sky.
_BESIDE, _MAX_BLACK_BESIDE = 24, 0.05
# Resampling mixes the pixels at the border of an area with its fill value, over at most this many pixels. The lower
# quartile of a line of mixed pixels is nearer to the fill than that of pixels at these distances, by this factor.
_RESAMPLED, _UNMIXED, _MIXED = 2, (4, 6), 0.75


def missing_pixels(bands: np.ndarray, quality: np.ndarray | None = None) -> np.ndarray:
    """Return where an image carries no data, (rows, columns) bool.

    `bands` is (bands, rows, columns), linear, of any real type; `quality` (rows, columns) is True for pixels that the
    file itself marks as bad. A pixel without data in one band has none in any, except where only that band is filled.
    """
    missing = missing_by_band(bands).all(axis=0)
    missing |= ~np.isfinite(bands).any(axis=0)
    return missing if quality is None else missing | quality


def missing_by_band(bands: np.ndarray) -> np.ndarray:
    """Return where each band (bands, rows, columns) carries no data, bool of the same shape."""
    return np.stack([_of_band(band) for band in bands])


def _of_band(band: np.ndarray) -> np.ndarray:
    finite = np.isfinite(band) if band.dtype.kind == "f" else np.ones(band.shape, bool)
    missing = ~finite
    areas = _constant_areas(band, finite)
    if areas and _is_sky_of_model(band, finite, *areas[0]):
        return missing
    for value, area in areas:
        if not _is_bright(band, finite & ~missing & ~area, value):
            missing |= _with_mixed(band, finite, area, value)
    return missing | _sentinels(band, ~missing)


def missing_in_picture(pixels: np.ndarray) -> np.ndarray:
    """Return where a picture (rows, columns, 3) uint8, or float32 from 0 to 1, carries no data, (rows, columns) bool.

    These are large black areas, including JPEG's ripple in 8 bits; in finer steps, the sky itself may be that dark. A
    sky that is clipped to black is data: its black is patchy.
    """
    black = _BLACK if pixels.dtype == np.uint8 else 0
    brightest = brightest_channel(pixels)
    dark = brightest <= black
    if not cv2.erode(dark.astype(np.uint8), np.ones((_SOLID_BLOCK, _SOLID_BLOCK), np.uint8)).any():
        return np.zeros(dark.shape, bool)
    solid = _opened(dark)
    area = _grown(solid, _JPEG_BLOCK)
    beside = _grown(area, _BESIDE) & ~area
    if not beside.any() or dark[beside].mean() > _MAX_BLACK_BESIDE:
        return np.zeros(dark.shape, bool)
    zero = brightest == 0
    filled = _opened(zero)
    if (dark & ~zero & _grown(filled, _JPEG_BLOCK)).sum() < _RIPPLE * (filled & ~_shrunk(filled)).sum():
        return _with_mixed(brightest, np.ones(zero.shape, bool), filled | (_grown(filled, _JPEG_BLOCK) & zero), 0)
    return solid | (area & (brightest <= 16 * black))


def brightest_channel(pixels: np.ndarray) -> np.ndarray:
    """Return the highest channel of each pixel (rows, columns, 3) uint8 or float32, twenty times as fast as max."""
    return functools.reduce(np.maximum, cv2.split(pixels))


def _constant_areas(band: np.ndarray, finite: np.ndarray) -> list[tuple[float, np.ndarray]]:
    """Return values that repeat over connected areas, and the masks of these areas, the most frequent value first."""
    across = (band[:, 1:] == band[:, :-1]) & finite[:, 1:]
    along = (band[1:] == band[:-1]) & finite[1:]
    if across.sum() + along.sum() < _LEAST_AREA:
        return []
    repeated, pairs = np.unique(np.concatenate([band[:, 1:][across], band[1:][along]]), return_counts=True)
    areas = []
    step = max(1, band.size // _COUNTED)
    values, counts = np.unique(band[finite][::step], return_counts=True)
    for value in repeated[np.argsort(-pairs)[:_MAX_VALUES]]:
        index = int(np.searchsorted(values, value))
        after = int(np.searchsorted(values, value, side="right"))
        adjacent = int(max([counts[i] for i in (index - 1, after) if 0 <= i < len(values)], default=0))
        count = int(counts[index:after].sum())
        equal = (band == value).astype(np.uint8)
        least = _LEAST_AREA
        if adjacent > max(2, _ISOLATED * count):
            frequency = adjacent * step / band.size
            least = next((area for limit, area in _LEAST_AREAS if frequency <= limit), _SOLID_BLOCK**2)
            if adjacent < _DOMINANT * count or frequency > _LEAST_AREAS[-1][0]:
                equal = _opened(equal).astype(np.uint8)
        _, labels, stats, _ = cv2.connectedComponentsWithStats(equal, connectivity=4)
        large = stats[:, cv2.CC_STAT_AREA] >= least
        large[0] = False
        if large.any():
            areas.append((value, large[labels]))
    return areas


def _is_bright(band: np.ndarray, rest: np.ndarray, value: float) -> bool:
    """Tell whether an area of one value is part of bright objects: saturated, or a contour of coarse steps."""
    values = band[rest].astype(np.float64)
    if not len(values):
        return False
    sky = float(np.median(values))
    noise = 1.4826 * float(np.median(sky - values[values <= sky]))
    above = float(value) - sky
    return _SATURATED * noise < above <= _ABOVE * max(noise, np.finfo(float).tiny)


def _is_sky_of_model(band: np.ndarray, finite: np.ndarray, value: float, area: np.ndarray) -> bool:
    """Tell whether the largest area of one value is the sky of a model without noise: all light fades into it."""
    rest = finite & ~area
    if area.mean() < 0.3 or not rest.any() or (band[rest] < value).mean() > 0.001:
        return False
    near, far = (_ring(area, *distances) & rest for distances in (_NEAR, _FAR))
    if not near.any() or not far.any():
        return False
    light = [float(np.median(band[ring].astype(np.float64) - value)) for ring in (near, far)]
    return light[0] < _FADES * light[1]


def _with_mixed(band: np.ndarray, finite: np.ndarray, area: np.ndarray, value: float) -> np.ndarray:
    """Return an area of one value and the pixels at its border that resampling mixed with it."""

    def deviation(inner: int, outer: int) -> float:
        pixels = band[_ring(area, inner, outer) & finite].astype(np.float64)
        return float(np.percentile(np.abs(pixels - value), 25)) if len(pixels) else 0.0

    unmixed = deviation(*_UNMIXED)
    widths = (width for width in range(_RESAMPLED, 0, -1) if deviation(width, width) < _MIXED * unmixed)
    return _grown(area, next(widths, 0)) if unmixed else _grown(area, _RESAMPLED)


def _ring(mask: np.ndarray, inner: int, outer: int) -> np.ndarray:
    return _grown(mask, outer) & ~_grown(mask, inner - 1)


def _sentinels(band: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Return pixels far beyond anything that light and noise produce, (rows, columns) bool."""
    values = band[data].ravel()
    values = values[:: max(1, len(values) // _SAMPLE)].astype(np.float64)
    if not len(values):
        return np.zeros(band.shape, bool)
    sky = float(np.median(values))
    noise = 1.4826 * float(np.median(np.abs(values - sky)))
    if noise == 0:
        noise = float(np.abs(values - sky).mean())
    if noise == 0:
        return np.zeros(band.shape, bool)
    # Limits beyond the range of the type exclude nothing.
    with np.errstate(over="ignore"):
        lowest, highest = (np.float64(sky + sigma * noise) for sigma in (-_BELOW, _ABOVE))
        if band.dtype.kind == "f":
            lowest, highest = band.dtype.type(lowest), band.dtype.type(highest)
    return data & ((band < lowest) | (band > highest))


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    side = 2 * pixels + 1
    return cv2.dilate(mask.astype(np.uint8), np.ones((side, side), np.uint8)) > 0


def _opened(mask: np.ndarray) -> np.ndarray:
    """Keep the pixels of a mask that lie in a square of _SOLID_BLOCK pixels of it."""
    return cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_OPEN, np.ones((_SOLID_BLOCK, _SOLID_BLOCK), np.uint8)) > 0


def _shrunk(mask: np.ndarray) -> np.ndarray:
    return cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
