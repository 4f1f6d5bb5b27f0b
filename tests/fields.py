"""A field with known contents, drawn: smooth galaxies, stars, one of them with spikes, noise."""

import numpy as np
from astropy.io import fits

# x, y, scale length, axis ratio, angle, peak; x and y of columns and rows, from 0.
GALAXIES = (
    (90.3, 80.6, 7.0, 0.9, 0.0, 150.0),
    (255.5, 255.5, 6.0, 0.4, 0.7, 160.0),
    (400.2, 130.9, 9.0, 0.6, 2.0, 140.0),
    (150.8, 400.1, 5.0, 1.0, 0.0, 170.0),
    (511.7, 300.2, 8.0, 0.3, 1.2, 150.0),
)
SPIKED = (330.4, 420.2)
TINY = (60.0, 250.0)


def draw_field(rows: int = 520, columns: int = 640, stars: int = 30, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return a field (rows, columns) float32 in 255ths on a sky of 20, and the places (n, 2: x, y) of its stars."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    light = rng.normal(20, 2, (rows, columns)).astype(np.float32)
    for left, top, length, ratio, angle, peak in GALAXIES:
        along = np.cos(angle) * (x - left) + np.sin(angle) * (y - top)
        across = (np.cos(angle) * (y - top) - np.sin(angle) * (x - left)) / ratio
        light += peak * np.exp(-np.sqrt(along**2 + across**2 + 4) / length)
    places = []
    while len(places) < stars:
        place = rng.uniform(12, (columns - 12, rows - 12))
        others = [each[:2] for each in (*GALAXIES, SPIKED, TINY, *places)]
        if min(np.hypot(*(place - each)) for each in others) > 40:
            places.append(place)
    for place in places:
        light += rng.uniform(60, 180) * _point(x, y, *place)
    across, down = x - SPIKED[0], y - SPIKED[1]
    distance = np.hypot(across, down)
    light += 900 * _point(x, y, *SPIKED)
    for beside in (across, down):
        light += 200 * np.exp(-(beside**2) / 2 - distance / 20)
    light += 120 * np.exp(-((x - TINY[0]) ** 2 + (y - TINY[1]) ** 2) / 2)
    return light, np.array(places)


def _point(x: np.ndarray, y: np.ndarray, left: float, top: float) -> np.ndarray:
    return (1 + ((x - left) ** 2 + (y - top) ** 2) / 9) ** -3


def sky_header(kind: str) -> fits.Header:
    """Return a header with world coordinates: "CD", "PC", "SIP", "none" or "broken"."""
    header = fits.Header()
    if kind == "none":
        return header
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = 150.1, 2.2
    header["CRPIX1"], header["CRPIX2"] = 300.0, 250.0
    turned = {"1_1": -8e-5, "1_2": 3e-5, "2_1": 3e-5, "2_2": 8e-5}
    if kind == "PC":
        header["CDELT1"] = header["CDELT2"] = 1e-4
    for place, value in turned.items():
        header[f"{'PC' if kind == 'PC' else 'CD'}{place}"] = 1e4 * value if kind == "PC" else value
    if kind == "SIP":
        header["CTYPE1"], header["CTYPE2"] = "RA---TAN-SIP", "DEC--TAN-SIP"
        header["A_ORDER"] = header["B_ORDER"] = 2
        header["A_2_0"], header["B_0_2"], header["A_1_1"] = 2e-5, -3e-5, 1e-5
    if kind == "broken":
        header["CTYPE2"] = "DEC--XYZ"
    return header
