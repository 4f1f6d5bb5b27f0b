"""The objects of a part of the sky, found and measured with `sep`: background, threshold, deblending, masks.

The background is a mesh, estimated anew where the objects of a first pass are masked: a large galaxy does not become
sky. An object's radii are measured on the light that is left when its neighbours' pixels are those opposite instead.

Source: Bertin & Arnouts 1996; the SExtractor manual (windowed positions); Barbary 2016 (sep).
"""

from dataclasses import dataclass

import cv2
import numpy as np
import sep

from galaxy.photometry import Source, flux_radius, fwhm, kron_radius, petrosian_radius, without_neighbours

# Pixels a side of the background's mesh.
MESH = 128
# In sigma of the light convolved with a Gaussian of KERNEL_FWHM pixels: about 1.1 sigma a pixel for what is extended.
THRESHOLD, FIRST_THRESHOLD = 5.0, 3.0
KERNEL_FWHM, MIN_AREA = 3.0, 9
# Where more of an image than that belongs to objects, they are not masked to find the background.
CROWDED = 0.5
# Parts of one object that sep has room for.
_PARTS = 2**14
# The noise of an image without noise, part of a step of whole numbers.
LEAST_NOISE = 0.5
# Of a telescope's spikes: angles, and the rings that they are sought in, in radii of the object's area.
_ANGLES = 240
_RINGS = ((0.4, 0.8), (0.6, 1.2), (0.9, 1.8))

OBJECT = np.dtype(
    [(name, np.float64) for name in ("x", "y", "a", "b", "theta", "flux", "signal", "half_light_radius")]
    + [(name, np.float64) for name in ("petrosian_radius", "fwhm", "edge", "spikes", "peak_x", "peak_y")]
    + [("number", np.int32), ("border", bool), ("blended", bool), ("saturated", bool)]
)


@dataclass(frozen=True, eq=False)
class Scene:
    """Light without sky (rows, columns) float32, the noise of its pixels, whose each is (from 1), and its objects.

    `objects` is an array of OBJECT: positions, radii and axes in pixels, `theta` in degrees from x towards y; `flux` is
    within the Kron ellipse, `signal` the light of the object's pixels over its noise; `edge` is how far it is from the
    brightest pixels to half of their light, `spikes` how far arms at equal angles stand out.
    """

    light: np.ndarray
    noise: np.ndarray
    whose: np.ndarray
    objects: np.ndarray


def _kernel() -> np.ndarray:
    line = cv2.getGaussianKernel(7, KERNEL_FWHM / 2.3548).ravel()
    return np.outer(line, line).astype(np.float32)


def _extract(light: np.ndarray, noise: np.ndarray, bad: np.ndarray, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Return sep's table of objects and its segments; what has more parts than there is room for is left whole."""
    kept = sep.get_extract_pixstack(), sep.get_sub_object_limit()
    sep.set_sub_object_limit(_PARTS)
    options = {"err": noise, "mask": bad, "minarea": MIN_AREA, "filter_kernel": _kernel(), "segmentation_map": True}
    # Room for all pixels of an image costs much memory, and is seldom needed.
    attempts = [(light.size // 8, 32), (light.size + 1, 32), (light.size + 1, 1)]
    try:
        for room, levels in attempts:
            sep.set_extract_pixstack(max(room, kept[0]))
            try:
                return sep.extract(light, threshold, deblend_nthresh=levels, **options)
            except Exception as error:  # sep raises nothing more special
                reason = error
                if "deblending" not in str(error) and "pixel" not in str(error):
                    raise
        raise reason
    finally:
        sep.set_extract_pixstack(kept[0])
        sep.set_sub_object_limit(kept[1])


def _background(image: np.ndarray, mask: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    found = sep.Background(image, mask=mask, bw=MESH, bh=MESH)
    return image - found.back(), np.maximum(found.rms(), np.float32(least))


def find_objects(image: np.ndarray, saturated: np.ndarray, whole_numbers: bool) -> Scene:
    """Find the objects of an image (rows, columns) float32 whose pixels without a value are not finite.

    `saturated` (rows, columns) is True where the file can count no higher; `whole_numbers` says that it counts steps.
    """
    bad = ~np.isfinite(image)
    image = np.ascontiguousarray(np.where(bad, 0, image), dtype=np.float32)
    scale = float(np.abs(image).max())
    least = LEAST_NOISE if whole_numbers else max(1e-6 * scale, 1e-30)
    if bad.all() or scale == 0:
        return Scene(image, np.ones_like(image), np.zeros(image.shape, np.int32), np.empty(0, OBJECT))
    light, noise = _background(image, bad, least)
    _, whose = _extract(light, noise, bad, FIRST_THRESHOLD)
    mask = cv2.dilate((whose > 0).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    if (mask | bad).mean() <= CROWDED:
        light, noise = _background(image, mask | bad, least)
    light[bad] = 0
    found, whose = _extract(light, noise, bad, THRESHOLD)
    objects = np.zeros(len(found), OBJECT)
    for number, row in enumerate(found):
        source, corner = source_of(light, whose, row, number + 1)
        objects[number] = _measured(source, corner, row, number + 1, noise)
        rows, columns = (slice(start, start + length) for start, length in zip(corner, source.own.shape, strict=True))
        around = cv2.dilate(source.own.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        edges = (corner[0] == 0, corner[1] == 0, rows.stop == image.shape[0], columns.stop == image.shape[1])
        lines = source.own[0], source.own[:, 0], source.own[-1], source.own[:, -1]
        cut = any(edge and line.any() for edge, line in zip(edges, lines, strict=True))
        objects[number]["border"] = cut or bool(bad[rows, columns][around].any())
        objects[number]["saturated"] = saturated[rows, columns][source.own].sum() >= 3
    return Scene(light, noise, whose, objects)


def source_of(light: np.ndarray, whose: np.ndarray, row: np.void, number: int) -> tuple[Source, tuple[int, int]]:
    """Return object `number` within six of its ellipses (x, y, a, b, theta of `row`), and the part's (row, column)."""
    half = int(np.ceil(6 * row["a"])) + 3
    top, left = max(0, int(row["y"]) - half), max(0, int(row["x"]) - half)
    part = slice(top, int(row["y"]) + half + 1), slice(left, int(row["x"]) + half + 1)
    own = whose[part] == number
    place = float(row["x"]) - left, float(row["y"]) - top
    shape = (float(row[name]) for name in ("a", "b", "theta"))
    source = Source(np.ascontiguousarray(light[part]), own, (whose[part] > 0) & ~own, *place, *shape)
    return source, (top, left)


def _measured(source: Source, corner: tuple[int, int], row: np.void, number: int, noise: np.ndarray) -> np.void:
    """Return the measurements of a source, in pixels of the whole image."""
    alone = without_neighbours(source)
    kron = kron_radius(source)
    half = flux_radius(source, kron)
    half = half if np.isfinite(half) and half > 0 else source.a
    flux, _, _ = sep.sum_ellipse(alone, *source.ellipse, kron, subpix=1)
    x, y, failed = sep.winpos(alone, [source.x], [source.y], [2 * half / 2.3548])
    if failed[0] or np.hypot(x[0] - source.x, y[0] - source.y) > source.a:
        x, y = [source.x], [source.y]
    light = source.light[source.own]
    of_pixel = float(noise[int(row["ypeak"]), int(row["xpeak"])])
    measured = np.zeros((), OBJECT)
    measured["x"], measured["y"] = x[0] + corner[1], y[0] + corner[0]
    measured["a"], measured["b"], measured["theta"] = source.a, source.b, np.degrees(source.theta)
    measured["flux"], measured["half_light_radius"] = flux[0], half
    measured["signal"] = light.sum() / (of_pixel * np.sqrt(len(light)))
    measured["petrosian_radius"] = petrosian_radius(source) * source.a
    measured["fwhm"] = fwhm(source)
    brightest = light.max()
    measured["edge"] = np.sqrt((light > 0.5 * brightest).sum() / np.pi) - np.sqrt(
        (light > 0.95 * brightest).sum() / np.pi
    )
    measured["spikes"] = spikes(source, float(x[0]), float(y[0]), of_pixel)
    measured["peak_x"], measured["peak_y"] = row["xcpeak"], row["ycpeak"]
    measured["number"], measured["blended"] = number, bool(row["flag"] & sep.OBJ_MERGED)
    return measured


def spikes(source: Source, x: float, y: float, noise: float) -> float:
    """Return how many times the light around an object its four or six arms at equal angles are, at their faintest.

    A galaxy's arms and bars are not alike in all of four directions at right angles, nor of six; a telescope's are.
    0 where nothing stands out of the noise.
    """
    size = np.sqrt(source.own.sum() / np.pi)
    if size < 4:
        return 0.0
    angles = np.arange(_ANGLES) * (2 * np.pi / _ANGLES)
    light = np.where(source.neighbours, 0, source.light).astype(np.float32)
    most = 0.0
    for inner, outer in _RINGS:
        radii = np.linspace(inner * size, outer * size, max(5, int((outer - inner) * size)))[:, None]
        places = (x + radii * np.cos(angles)).astype(np.float32), (y + radii * np.sin(angles)).astype(np.float32)
        turned = np.median(cv2.remap(light, *places, cv2.INTER_LINEAR), axis=0)
        around = float(np.median(turned))
        # Spikes do not meet exactly in the centre that is measured.
        near = np.max([np.roll(turned, shift) for shift in (-1, 0, 1)], axis=0)
        for arms in (4, 6):
            faintest = float(near.reshape(arms, -1).min(axis=0).max())
            if faintest - around > 1.5 * noise:
                most = max(most, faintest / max(around, noise))
    return most
