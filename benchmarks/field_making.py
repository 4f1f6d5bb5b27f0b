"""A field with known contents: real galaxies at places and scales that are noted, stars with and without spikes, noise.

Light is counted in 255ths, as in the galaxies' JPEGs, whose light is stretched; their neighbours are left out.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas
import sep
import simplejpeg

from catalogue.framing import BLUR, THRESHOLD
from galaxy.photometry import Source, detect, flux_radius, kron_radius, petrosian_radius, without_neighbours

SKY, NOISE = 12.0, 3.0
STAR_FWHM = 3.5
LEAST_SCALE = 0.2
# Stars brighter than so many 255ths at their peak are drawn with spikes.
SPIKES_FROM = 400.0


@dataclass(frozen=True, eq=False)
class Stamp:
    """A galaxy of its own: light (rows, columns, 3) float32 without sky, its centre and Petrosian radius, pixels."""

    light: np.ndarray
    x: float
    y: float
    radius: float


def stamp_of(pixels: np.ndarray) -> Stamp | None:
    """Cut the galaxy in the middle of an image (rows, columns, 3) uint8 out; None where there is none."""
    image = pixels.astype(np.float32)
    sky = np.median(image.reshape(-1, 3), axis=0)
    light = image - sky
    grey = cv2.GaussianBlur(np.ascontiguousarray(light.mean(axis=2)), (0, 0), BLUR)
    noise = max(0.5, 1.4826 * float(np.median(np.abs(grey[grey <= 0]))))
    objects, whose = detect(grey, noise, THRESHOLD)
    if not len(objects):
        return None
    middle = (len(grey) - 1) / 2
    distance = np.hypot(objects["x"] - middle, objects["y"] - middle) / len(grey)
    best = int(np.argmax(objects["a"] * objects["b"] * np.exp(-((distance / 0.12) ** 2) / 2)))
    own = whose == best + 1
    x, y, a, b, theta = (float(objects[name][best]) for name in ("x", "y", "a", "b", "theta"))
    around = cv2.dilate(((whose > 0) & ~own).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    source = Source(grey, own, around & ~own, x, y, a, b, theta)
    radius = petrosian_radius(source) * a
    half = flux_radius(source, kron_radius(source))
    x_window, y_window, failed = sep.winpos(without_neighbours(source), [x], [y], [2 * half / 2.3548])
    if failed[0]:
        return None
    # Where another object stands, what stands opposite.
    rows, columns = np.nonzero(source.neighbours)
    opposite = np.floor(2 * y - rows + 0.5).astype(int), np.floor(2 * x - columns + 0.5).astype(int)
    inside = (opposite[0] >= 0) & (opposite[0] < len(grey)) & (opposite[1] >= 0) & (opposite[1] < len(grey))
    clean = light.copy()
    clean[rows, columns] = 0
    clean[rows[inside], columns[inside]] = light[opposite[0][inside], opposite[1][inside]]
    across, down = np.arange(len(grey)) - x, np.arange(len(grey))[:, None] - y
    along = np.cos(theta) * across + np.sin(theta) * down
    beside = np.cos(theta) * down - np.sin(theta) * across
    reach = np.hypot(along, beside * min(a / b, 2.0)) / radius
    faded = clean * np.clip((1.1 - reach) / 0.3, 0, 1)[..., None].astype(np.float32)
    return Stamp(faded, float(x_window[0]), float(y_window[0]), radius)


def draw_stars(field: np.ndarray, places: np.ndarray, peaks: np.ndarray, angle: float = 0.4) -> None:
    """Add stars of Moffat's profile at places (n, 2: x, y) with peaks (n,), bright ones with four spikes."""
    core = STAR_FWHM / 2 / np.sqrt(2 ** (1 / 3) - 1)
    for (x, y), peak in zip(places, peaks, strict=True):
        half = int(np.clip(core * (peak / 0.2) ** (1 / 6), 6, 400)) + (60 if peak > SPIKES_FROM else 0)
        left, top = max(0, int(x) - half), max(0, int(y) - half)
        part = field[top : int(y) + half + 1, left : int(x) + half + 1]
        across, down = np.arange(part.shape[1]) + left - x, np.arange(part.shape[0])[:, None] + top - y
        light = peak * (1 + (across**2 + down**2) / core**2) ** -3.0
        if peak > SPIKES_FROM:
            distance = np.hypot(across, down)
            for turn in (0, np.pi / 2):
                beside = np.cos(angle + turn) * down - np.sin(angle + turn) * across
                reach = half / 3
                light = light + 0.05 * peak * np.exp(-(beside**2) / 2 - distance / reach) / (1 + distance / 8)
        part += light[..., None].astype(np.float32)


def places_apart(
    radii: np.ndarray, shape: tuple[int, int], rng: np.random.Generator, near: float, border: int
) -> np.ndarray:
    """Return places (n, 2: x, y) of galaxies that keep `near` of the sum of their radii apart, the largest first.

    Every tenth is moved onto the nearest line of x or y that is a multiple of `border`.
    """
    places = np.empty((len(radii), 2))
    for number, radius in enumerate(radii):
        for _ in range(10_000):
            place = rng.uniform(0.5 * radius, np.array(shape[::-1]) - 0.5 * radius)
            if number % 10 == 0:
                axis = number // 10 % 2
                place[axis] = np.clip(round(place[axis] / border), 1, shape[1 - axis] // border) * border - 0.5
            if (np.hypot(*(places[:number] - place).T) > near * (radii[:number] + radius)).all():
                break
        places[number] = place
    return places


def make_field(
    root: Path, side: int, num_galaxies: int, num_stars: int, rng: np.random.Generator, border: int
) -> tuple[np.ndarray, pandas.DataFrame, pandas.DataFrame]:
    """Return a field (side, side, 3) uint8, its galaxies (GalaxyID, x, y, radius, ...) and stars (x, y, peak).

    A tenth of the galaxies lies on lines every `border` pixels, where tiles meet. Scales are between LEAST_SCALE and 1,
    evenly in their logarithm.
    """
    table = pandas.read_csv(root / "classes.csv")
    chosen = table.iloc[rng.permutation(len(table))]
    rows, stamps = [], []
    for number in chosen["GalaxyID"]:
        path = root / "data" / "raw" / "images_train_rev1" / f"{number}.jpg"
        stamp = stamp_of(simplejpeg.decode_jpeg(path.read_bytes())) if path.is_file() else None
        if stamp is not None:
            scale = float(np.exp(rng.uniform(np.log(LEAST_SCALE), 0)))
            rows.append({"GalaxyID": number, "scale": scale, "radius": stamp.radius * scale})
            stamps.append(stamp)
        if len(rows) == num_galaxies:
            break
    order = np.argsort([-row["radius"] for row in rows])
    radii = np.array([rows[each]["radius"] for each in order])
    places = places_apart(radii, (side, side), rng, 0.6, border)
    field = np.zeros((side, side, 3), np.float32)
    for (x, y), each in zip(places, order, strict=True):
        rows[each] |= _lay(field, stamps[each], rows[each]["scale"], float(x), float(y))
    peaks = 10 * rng.pareto(0.9, num_stars).clip(0, 500) + 15
    stars = rng.uniform(0, side, (num_stars, 2))
    draw_stars(field, stars, peaks)
    noise = rng.normal(0, NOISE, field.shape)
    pixels = np.clip(np.rint(field + SKY + noise), 0, 255).astype(np.uint8)
    return pixels, pandas.DataFrame(rows), pandas.DataFrame({"x": stars[:, 0], "y": stars[:, 1], "peak": peaks})


def _lay(field: np.ndarray, stamp: Stamp, scale: float, x: float, y: float) -> dict[str, float]:
    """Add a galaxy, its centre at (x, y); return where it is, and how clear it is beside the noise."""
    half = int(np.ceil(1.6 * stamp.radius * scale)) + 2
    left, top = int(x) - half, int(y) - half
    # Averaged, not sampled: blurred before it is shrunk.
    blurred = cv2.GaussianBlur(stamp.light, (0, 0), 0.45 / scale) if scale < 1 else stamp.light
    matrix = np.array([[1 / scale, 0, stamp.x - (x - left) / scale], [0, 1 / scale, stamp.y - (y - top) / scale]])
    light = cv2.warpAffine(blurred, matrix, (2 * half + 1, 2 * half + 1), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    rows, columns = slice(max(0, top), top + 2 * half + 1), slice(max(0, left), left + 2 * half + 1)
    part = field[rows, columns]
    start = rows.start - top, columns.start - left
    part += light[start[0] : start[0] + part.shape[0], start[1] : start[1] + part.shape[1]]
    grey = light.mean(axis=2)
    bright = grey > 0.2 * grey.max()
    signal = float(grey[bright].sum() / (NOISE / np.sqrt(3) * np.sqrt(bright.sum())))
    return {"x": x, "y": y, "signal": signal, "surface": float(grey[bright].mean() / NOISE * np.sqrt(3))}
