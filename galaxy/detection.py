"""Detection and measurement of the objects in a region of the sky, with `sep`.

The background is a mesh. It is estimated twice; the second time, the objects of the first pass are masked, so that a
large galaxy does not become sky. Radii are measured after each neighbour's pixel is replaced by its point reflection
about the object.

Source: Bertin & Arnouts 1996; the SExtractor manual (windowed positions); Barbary 2016 (sep).
"""

import functools
from dataclasses import dataclass, field

import cv2
import numpy as np
import sep

from galaxy.light_units import exponent_of, scaled
from galaxy.photometry import Source, flux_radius, fwhm, kron_radius, petrosian_radius, without_neighbours
from machine.files import first_line

# Side of a mesh of the background, pixels.
MESH = 128
# Sigma of the image convolved with a Gaussian of KERNEL_FWHM pixels: about 1.1 sigma per pixel for extended objects.
THRESHOLD, FIRST_THRESHOLD = 5.0, 3.0
KERNEL_FWHM, MIN_AREA = 3.0, 9
# If objects cover a larger fraction of the pixels with data, they are not masked in the background.
CROWDED = 0.5
# Limit of sep on the number of peaks within one object.
_MAX_SUB_OBJECTS = 2**14
# Least noise of an image of whole numbers, in steps.
LEAST_NOISE = 0.5
# Search for diffraction spikes: number of angles, and rings in units of the radius of the object's area.
_ANGLES = 240
_RINGS = ((0.4, 0.8), (0.6, 1.2), (0.9, 1.8))

OBJECT = np.dtype(
    [(name, np.float64) for name in ("x", "y", "a", "b", "theta", "flux", "snr", "half_light_radius")]
    + [(name, np.float64) for name in ("petrosian_radius", "fwhm", "profile_width", "spikes", "peak_x", "peak_y")]
    + [("label", np.int32), ("border", bool), ("blended", bool), ("saturated", bool)]
)


@dataclass(frozen=True, eq=False)
class Scene:
    """Sky-subtracted image and noise (rows, columns) float32, segmentation map (labels from 1, 0 is sky), objects (n,).

    `data_sub` and `noise` are in units of `unit`, a power of two near the noise; `objects` are in the image's unit.
    `missing` (rows, columns) marks pixels without data.
    `objects` has the dtype OBJECT. Positions, radii and axes are in pixels, `theta` in degrees from x towards y. `flux`
    is within the Kron ellipse. `snr` is the flux of the object's segment over its noise. `profile_width` is the
    distance from the brightest pixels to half of their brightness. `spikes` is the contrast of arms at equal angles.
    `label` is the object's label in the segmentation map. `failures` are the reasons by label of objects that could not
    be measured: these have a position, and NaN as flux, snr and radii.
    """

    data_sub: np.ndarray
    noise: np.ndarray
    segmentation: np.ndarray
    missing: np.ndarray
    objects: np.ndarray
    unit: float = 1.0
    failures: dict[int, str] = field(default_factory=dict)


def _kernel() -> np.ndarray:
    line = cv2.getGaussianKernel(7, KERNEL_FWHM / 2.3548).ravel()
    return np.outer(line, line).astype(np.float32)


def _extract(
    data_sub: np.ndarray, noise: np.ndarray, bad: np.ndarray, threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return sep's table of objects and the segmentation map; objects beyond sep's limits are not deblended."""
    limits = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    sep.set_sub_object_limit(_MAX_SUB_OBJECTS)
    options = {"err": noise, "mask": bad, "minarea": MIN_AREA, "filter_kernel": _kernel(), "segmentation_map": True}
    # A stack for all pixels takes much memory and is seldom needed: (pixels in the stack, levels of deblending).
    attempts = [(data_sub.size // 8, 32), (data_sub.size + 1, 32), (data_sub.size + 1, 1)]
    try:
        for stack, levels in attempts:
            sep.set_extract_pixstack(max(stack, limits[0]))
            try:
                return sep.extract(data_sub, threshold, deblend_nthresh=levels, **options)
            except Exception as error:  # sep has no exceptions of its own
                reason = error
                if "deblending" not in str(error) and "pixel" not in str(error):
                    raise
        raise reason
    finally:
        sep.set_extract_pixstack(limits[0])
        sep.set_sub_object_limit(limits[1])


def _subtract_background(image: np.ndarray, mask: np.ndarray, least_noise: float) -> tuple[np.ndarray, np.ndarray]:
    background = sep.Background(image, mask=mask, bw=MESH, bh=MESH)
    return image - background.back(), np.maximum(background.rms(), np.float32(least_noise))


def find_objects(image: np.ndarray, saturated: np.ndarray, whole_numbers: bool) -> Scene:
    """Detect and measure the objects of an image (rows, columns) of any type; those that are not finite are masked.

    `saturated` (rows, columns) marks pixels at the file's highest value. `whole_numbers` is True for whole numbers.
    """
    exponent = exponent_of(image)
    unit = 2.0**exponent
    image = scaled(image, exponent)
    bad = ~np.isfinite(image)
    image = np.ascontiguousarray(np.where(bad, np.float32(0), image))
    largest = float(np.abs(image).max(initial=0))
    if bad.all() or largest == 0:
        return Scene(image, np.ones_like(image), np.zeros(image.shape, np.int32), bad, np.empty(0, OBJECT), unit)
    least_noise = LEAST_NOISE / unit if whole_numbers else 1e-6 * largest
    data_sub, noise = _subtract_background(image, bad, least_noise)
    _, segmentation = _extract(data_sub, noise, bad, FIRST_THRESHOLD)
    mask = cv2.dilate((segmentation > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if (mask & ~bad).sum() <= CROWDED * (~bad).sum():
        data_sub, noise = _subtract_background(image, mask | bad, least_noise)
    data_sub[bad] = 0
    detections, segmentation = _extract(data_sub, noise, bad, THRESHOLD)
    objects, failures = np.zeros(len(detections), OBJECT), {}
    for index, row in enumerate(detections):
        _round_off(row)
        source, corner = source_of(data_sub, segmentation, row, index + 1, bad)
        try:
            objects[index] = _measured(source, corner, row, index + 1, noise)
        except Exception as error:  # sep has no exceptions of its own
            objects[index] = _unmeasured(row, index + 1)
            failures[index + 1] = first_line(error)
        rows, columns = (slice(start, start + length) for start, length in zip(corner, source.own.shape, strict=True))
        objects[index]["border"] = _is_cut(source.own, rows, columns, bad)
        objects[index]["saturated"] = saturated[rows, columns][source.own].sum() >= 3
    objects["flux"] *= unit
    return Scene(data_sub, noise, segmentation, bad, objects, unit, failures)


def _round_off(row: np.void) -> None:
    """Give an object of sep without finite axes those of a circle of its area, and a finite position."""
    if not (np.isfinite([row["a"], row["b"], row["theta"]]).all() and row["b"] > 0):
        row["a"] = row["b"] = max(0.5, np.sqrt(row["npix"] / np.pi) / 2)
        row["theta"] = 0
    for name, peak in (("x", "xcpeak"), ("y", "ycpeak")):
        if not np.isfinite(row[name]):
            row[name] = row[peak]


def _unmeasured(row: np.void, label: int) -> np.void:
    """Return the measurements of an object that cannot be measured: its position and axes."""
    measured = np.zeros((), OBJECT)
    for name in ("flux", "snr", "half_light_radius", "petrosian_radius", "fwhm", "profile_width"):
        measured[name] = np.nan
    measured["x"], measured["y"], measured["a"], measured["b"] = (row[name] for name in ("x", "y", "a", "b"))
    measured["theta"] = np.degrees(row["theta"])
    measured["peak_x"], measured["peak_y"] = row["xcpeak"], row["ycpeak"]
    measured["label"], measured["blended"] = label, bool(row["flag"] & sep.OBJ_MERGED)
    return measured


def _is_cut(own: np.ndarray, rows: slice, columns: slice, bad: np.ndarray) -> bool:
    """Return whether an object's pixels `own`, a region of the image, touch its border or a bad pixel."""
    at_border = (rows.start == 0, columns.start == 0, rows.stop == bad.shape[0], columns.stop == bad.shape[1])
    lines = own[0], own[:, 0], own[-1], own[:, -1]
    if any(border and line.any() for border, line in zip(at_border, lines, strict=True)):
        return True
    around = cv2.dilate(own.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    return bool(bad[rows, columns][around].any())


def source_of(
    data_sub: np.ndarray, segmentation: np.ndarray, row: np.void, label: int, missing: np.ndarray | None = None
) -> tuple[Source, tuple[int, int]]:
    """Cut out the object `label` within 6 of its ellipses (x, y, a, b, theta of `row`); return it and (row, column).

    (row, column) is the first pixel of the cutout in the image. Pixels without data (`missing`) are treated as a
    neighbour's: the light opposite replaces them.
    """
    half = int(np.ceil(6 * row["a"])) + 3
    top, left = max(0, int(row["y"]) - half), max(0, int(row["x"]) - half)
    region = slice(top, int(row["y"]) + half + 1), slice(left, int(row["x"]) + half + 1)
    own = segmentation[region] == label
    centre = float(row["x"]) - left, float(row["y"]) - top
    shape = (float(row[name]) for name in ("a", "b", "theta"))
    others = (segmentation[region] > 0) & ~own
    if missing is not None:
        others |= missing[region]
    source = Source(np.ascontiguousarray(data_sub[region]), own, others, *centre, *shape)
    return source, (top, left)


def _measured(source: Source, corner: tuple[int, int], row: np.void, label: int, noise: np.ndarray) -> np.void:
    """Measure a source; positions are in pixels of the whole image."""
    alone = without_neighbours(source)
    kron = kron_radius(source)
    half = flux_radius(source, kron)
    half = half if np.isfinite(half) and half > 0 else source.a
    flux, _, _ = sep.sum_ellipse(alone, *source.ellipse, kron, subpix=1)
    x, y, failed = sep.winpos(alone, [source.x], [source.y], [2 * half / 2.3548])
    if failed[0] or np.hypot(x[0] - source.x, y[0] - source.y) > source.a:
        x, y = [source.x], [source.y]
    segment = source.data_sub[source.own]
    pixel_noise = float(noise[int(row["ypeak"]), int(row["xpeak"])])
    measured = np.zeros((), OBJECT)
    measured["x"], measured["y"] = x[0] + corner[1], y[0] + corner[0]
    measured["a"], measured["b"], measured["theta"] = source.a, source.b, np.degrees(source.theta)
    measured["flux"], measured["half_light_radius"] = flux[0], half
    measured["snr"] = segment.sum() / (pixel_noise * np.sqrt(len(segment)))
    measured["petrosian_radius"] = petrosian_radius(source) * source.a
    measured["fwhm"] = fwhm(source)
    # Radii of the circles with the areas brighter than half, and than 95 %, of the peak.
    half_peak, peak = (np.sqrt((segment > level * segment.max()).sum() / np.pi) for level in (0.5, 0.95))
    measured["profile_width"] = half_peak - peak
    measured["spikes"] = spikes(source, float(x[0]), float(y[0]), pixel_noise)
    measured["peak_x"], measured["peak_y"] = row["xcpeak"], row["ycpeak"]
    measured["label"], measured["blended"] = label, bool(row["flag"] & sep.OBJ_MERGED)
    return measured


@functools.cache
def _directions() -> tuple[np.ndarray, np.ndarray]:
    """Return the cosines and sines of the angles of a ring, both (angles, 1)."""
    angles = np.arange(_ANGLES)[:, None] * (2 * np.pi / _ANGLES)
    return np.cos(angles), np.sin(angles)


def _medians(values: np.ndarray) -> np.ndarray:
    """Return the medians along the last axis, as np.median does, for finite values; its checks take longer."""
    number = values.shape[-1]
    middle = [(number - 1) // 2, number // 2]
    low, high = np.moveaxis(np.partition(values, middle, axis=-1)[..., middle], -1, 0)
    return (low + high) / 2


def spikes(source: Source, x: float, y: float, noise: float) -> float:
    """Return the contrast of diffraction spikes: the faintest of 4 or 6 arms at equal angles over the median of a ring.

    A galaxy's arms and bar differ in four directions at right angles, and in six; a telescope's spikes are alike.
    Brightness is the median along a ring's radius. Returns 0 if the faintest arm is within 1.5 sigma of the median.
    """
    size = np.sqrt(source.own.sum() / np.pi)
    if size < 4:
        return 0.0
    cosines, sines = _directions()
    light = np.where(source.neighbours, np.float32(0), source.data_sub)
    contrast = 0.0
    for inner, outer in _RINGS:
        radii = np.linspace(inner * size, outer * size, max(5, int((outer - inner) * size)))
        positions = (x + radii * cosines).astype(np.float32), (y + radii * sines).astype(np.float32)
        # An angle is a row, so that its median reads adjacent numbers.
        profile = _medians(cv2.remap(light, *positions, cv2.INTER_LINEAR))  # (angles,)
        typical = float(_medians(profile))
        # Spikes can miss the measured centre by a little: take the brightest of three adjacent angles.
        around = np.concatenate([profile[-1:], profile, profile[:1]])
        near = np.maximum(np.maximum(around[:-2], profile), around[2:])
        for arms in (4, 6):
            faintest = float(near.reshape(arms, -1).min(axis=0).max())
            if faintest - typical > 1.5 * noise:
                contrast = max(contrast, faintest / max(typical, noise))
    return contrast
