"""A field with known contents: real galaxies at known positions and scales, stars with and without spikes, noise.

Pixel values are those of the galaxies' JPEGs, with their stretch; neighbours of the galaxies are removed.
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
# Stars with a brighter peak than this get spikes.
SPIKES_FROM = 400.0


@dataclass(frozen=True, eq=False)
class Stamp:
    """A galaxy: light (rows, columns, 3) float32 without sky, centre and Petrosian radius in pixels."""

    light: np.ndarray
    x: float
    y: float
    radius: float


def stamp_of(pixels: np.ndarray) -> Stamp | None:
    """Cut out the galaxy in the middle of an image (rows, columns, 3) uint8; None without an object."""
    image = pixels.astype(np.float32)
    sky = np.median(image.reshape(-1, 3), axis=0)
    light = image - sky
    grey = cv2.GaussianBlur(np.ascontiguousarray(light.mean(axis=2)), (0, 0), BLUR)
    noise = max(0.5, 1.4826 * float(np.median(np.abs(grey[grey <= 0]))))
    objects, segmentation = detect(grey, noise, THRESHOLD)
    if not len(objects):
        return None
    middle = (len(grey) - 1) / 2
    distance = np.hypot(objects["x"] - middle, objects["y"] - middle) / len(grey)
    best = int(np.argmax(objects["a"] * objects["b"] * np.exp(-((distance / 0.12) ** 2) / 2)))
    own = segmentation == best + 1
    x, y, a, b, theta = (float(objects[name][best]) for name in ("x", "y", "a", "b", "theta"))
    around = cv2.dilate(((segmentation > 0) & ~own).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    source = Source(grey, own, around & ~own, x, y, a, b, theta)
    radius = petrosian_radius(source) * a
    half = flux_radius(source, kron_radius(source))
    x_window, y_window, failed = sep.winpos(without_neighbours(source), [x], [y], [2 * half / 2.3548])
    if failed[0]:
        return None
    # Neighbours are replaced by the pixels opposite the centre.
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


def draw_stars(field: np.ndarray, positions: np.ndarray, peaks: np.ndarray, angle: float = 0.4) -> None:
    """Add stars with Moffat's profile at positions (n, 2: x, y), bright ones with four spikes."""
    core = STAR_FWHM / 2 / np.sqrt(2 ** (1 / 3) - 1)
    for (x, y), peak in zip(positions, peaks, strict=True):
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


def positions_apart(radii: np.ndarray, side: int, rng: np.random.Generator, near: float, border: int) -> np.ndarray:
    """Return positions (n, 2: x, y) of galaxies, the largest first, at least `near` sums of radii apart.

    Every tenth is moved onto the nearest line of x or y that is a multiple of `border`.
    """
    positions = np.empty((len(radii), 2))
    for n, radius in enumerate(radii):
        for _ in range(10_000):
            position = rng.uniform(0.5 * radius, side - 0.5 * radius, 2)
            if n % 10 == 0:
                axis = n // 10 % 2
                position[axis] = np.clip(round(position[axis] / border), 1, side // border) * border - 0.5
            if (np.hypot(*(positions[:n] - position).T) > near * (radii[:n] + radius)).all():
                break
        positions[n] = position
    return positions


def make_field(
    root: Path, side: int, num_galaxies: int, num_stars: int, rng: np.random.Generator, border: int
) -> tuple[np.ndarray, pandas.DataFrame, pandas.DataFrame]:
    """Return a field (side, side, 3) uint8, its galaxies (GalaxyID, x, y, radius, ...) and stars (x, y, peak).

    A tenth of the galaxies lies on the borders of tiles, every `border` pixels. Scales are log-uniform from LEAST_SCALE
    to 1.
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
    positions = positions_apart(radii, side, rng, 0.6, border)
    field = np.zeros((side, side, 3), np.float32)
    for (x, y), each in zip(positions, order, strict=True):
        rows[each] |= _paste(field, stamps[each], rows[each]["scale"], float(x), float(y))
    peaks = 10 * rng.pareto(0.9, num_stars).clip(0, 500) + 15
    stars = rng.uniform(0, side, (num_stars, 2))
    draw_stars(field, stars, peaks)
    noise = rng.normal(0, NOISE, field.shape)
    pixels = np.clip(np.rint(field + SKY + noise), 0, 255).astype(np.uint8)
    return pixels, pandas.DataFrame(rows), pandas.DataFrame({"x": stars[:, 0], "y": stars[:, 1], "peak": peaks})


def _paste(field: np.ndarray, stamp: Stamp, scale: float, x: float, y: float) -> dict[str, float]:
    """Add a galaxy with its centre at (x, y); return the position and the signal over the noise."""
    half = int(np.ceil(1.6 * stamp.radius * scale)) + 2
    left, top = int(x) - half, int(y) - half
    # A blur before the reduction prevents aliasing.
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
