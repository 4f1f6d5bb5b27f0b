"""A field as a picture: each object marked by its appearance, in the words of the decision tree, with a legend.

Pictures of FITS files show their first row at the bottom, as on the sky. Large fields are averaged down.
"""

from pathlib import Path

import cv2
import numpy as np

from catalogue.field_compass import draw_compass, sky_directions, to_picture, turned
from catalogue.field_tiles import Field
from catalogue.flags import are_trusted
from galaxy.stretch import composite
from machine import seals
from machine.files import replacing

# Pixels of the larger side: larger fields are averaged down to MAX_SIDE, smaller ones enlarged to MIN_SIDE.
MAX_SIDE, MIN_SIDE = 4000, 1600
# Appearances of objects, and their colours, RGB.
COLOURS = {
    "smooth": (255, 200, 140),
    "round": (255, 176, 66),
    "in between": (255, 221, 102),
    "cigar-shaped": (255, 120, 90),
    "edge-on": (220, 130, 255),
    "spiral": (90, 200, 255),
    "disk": (120, 235, 190),
    "no galaxy": (255, 80, 160),
    "star": (240, 240, 240),
    "tiny": (120, 120, 120),
    "not judged": (150, 110, 70),
}
# Appearances of objects without answers.
NO_ANSWERS = ("star", "tiny", "not judged")
# Appearance by answer, the most detailed answers first.
LOOKS = {
    "completely round": "round",
    "in between": "in between",
    "cigar-shaped": "cigar-shaped",
    "edge-on": "edge-on",
    "spiral": "spiral",
    "not edge-on": "disk",
    "smooth": "smooth",
    "features or disk": "disk",
    "star or artifact": "no galaxy",
}


def appearances(rows: dict[str, np.ndarray]) -> list[str]:
    """Return the appearance of each row (n,) of a field's catalogue, one of COLOURS."""
    pairs = zip(rows["object"], rows["most_likely_path"], strict=True)
    return [name if name in ("star", "tiny") else _appearance(path or "") for name, path in pairs]


def _appearance(path: str) -> str:
    """Return the appearance for a most likely path: the most detailed answer that it contains."""
    answers = path.split(", ")
    for answer, look in LOOKS.items():
        if answer in answers:
            return look
    return "not judged"


def whole_picture(field: Field, stretch: str | None) -> tuple[np.ndarray, float]:
    """Return a field (rows, columns, 3) uint8 RGB, and the picture's pixels per pixel of the file."""
    reduction = -(-max(field.rows, field.columns) // MAX_SIDE)
    rows, columns = field.rows // reduction, field.columns // reduction
    light = np.empty((field.planes, rows, columns), np.float32)
    # Rows that are read at a time: 64 MB per plane.
    step = max(1, 2**24 // (field.columns * reduction))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        bands = field.bands(slice(start * reduction, stop * reduction), slice(0, columns * reduction))
        blocks = bands.reshape(field.planes, stop - start, reduction, columns, reduction)
        light[:, start:stop] = blocks.mean(axis=(2, 4))
    if field.linear:
        image = 255 * composite(light, stretch or "asinh")[::-1]
    else:
        image = np.moveaxis(light, 0, 2) * (1 if field.counts_steps else 255)
    image = np.ascontiguousarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    enlargement = max(1, -(-MIN_SIDE // max(image.shape[:2])))
    if enlargement > 1:
        image = cv2.resize(image, None, fx=enlargement, fy=enlargement, interpolation=cv2.INTER_CUBIC)
    return image, enlargement / reduction


def write_picture(
    path: Path,
    field: Field,
    rows: dict[str, np.ndarray],
    looks: list[str],
    stretch: str | None,
    north_up: bool = False,
    source: str = seals.NO_SOURCE,
) -> None:
    """Write the picture of a field with its objects as a JPEG, with a compass where there are sky coordinates.

    `rows` has x, y, a, b (pixels of the file), theta (degrees) and flag of each object, `looks` its appearance. Objects
    that are not trusted are dashed. `north_up` turns the picture north up, east left.
    """
    image, scale = whole_picture(field, stretch)
    matrix, sky = to_picture(field, scale), sky_directions(field)
    if sky and north_up:
        image, matrix = turned(image, matrix, *sky[:2])
    trusted = are_trusted(rows["flag"])
    # Tiny objects and stars first, trusted galaxies last, over the others.
    order = {look: rank for rank, look in enumerate(dict.fromkeys(("tiny", "star", *COLOURS)))}
    for index in sorted(
        range(len(looks)), key=lambda index: (trusted[index] and order[looks[index]] > 1, order[looks[index]])
    ):
        row = {name: float(rows[name][index]) for name in ("x", "y", "a", "b", "theta")}
        if np.isfinite(list(row.values())).all():
            _mark(image, row, matrix, looks[index], bool(trusted[index]))
    if sky:
        draw_compass(image, matrix, *sky)
    image = np.concatenate([image, _legend(image.shape[1], looks, trusted)])
    content = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    with replacing(path, sealed=True) as temporary:
        temporary.write_bytes(seals.in_jpeg(content, source))


def _mark(image: np.ndarray, row: dict[str, float], matrix: np.ndarray, look: str, trusted: bool) -> None:
    middle = tuple(matrix[:2] @ (row["x"], row["y"], 1))
    scale = np.sqrt(abs(np.linalg.det(matrix[:2, :2])))
    theta = np.radians(row["theta"])
    along = matrix[:2, :2] @ (np.cos(theta), np.sin(theta))
    colour = COLOURS[look]
    if look == "tiny":
        cv2.circle(image, _sixteenths(middle), round(16 * max(3.0, 3 * scale * row["a"])), colour, 1, cv2.LINE_AA, 4)
    elif look == "star":
        arm = max(5.0, 2 * scale * row["a"])
        for down, across in ((1, 1), (1, -1)):
            ends = [(middle[0] + sign * arm * down, middle[1] + sign * arm * across) for sign in (-1, 1)]
            cv2.line(image, *map(_sixteenths, ends), colour, 1, cv2.LINE_AA, 4)
    else:
        axes = tuple(max(4.0, 3.3 * scale * row[name]) for name in ("a", "b"))
        angle = float(np.degrees(np.arctan2(along[1], along[0])))
        arcs, width = ([(0, 360)], 2) if trusted else ([(start, start + 15) for start in range(0, 360, 30)], 1)
        for start, end in arcs:
            cv2.ellipse(image, _sixteenths(middle), _sixteenths(axes), angle, start, end, colour, width, cv2.LINE_AA, 4)


def _sixteenths(values: tuple[float, float]) -> tuple[int, int]:
    return round(16 * values[0]), round(16 * values[1])


def _legend(width: int, looks: list[str], trusted: np.ndarray) -> np.ndarray:
    """Return a strip (rows, width, 3): colour, name and counts of each appearance, trusted and in all."""
    present = [look for look in COLOURS if look in looks]
    entries = []
    for look in present:
        own = np.array([each == look for each in looks])
        counts = f"{own.sum()}" if look in NO_ANSWERS else f"{(own & trusted).sum()} of {own.sum()}"
        entries.append((COLOURS[look], f"{look} {counts}"))
    entries.append(((230, 230, 230), "solid, 1st count: trusted; dashed: not"))
    size = max(0.5, width / 2600)
    step, height = width // (len(entries) + 1), round(46 * size)
    strip = np.full((height, width, 3), 24, np.uint8)
    for index, (colour, text) in enumerate(entries):
        left, middle = index * step + round(14 * size), height // 2
        at = (left + round(26 * size), middle + round(8 * size))
        if index < len(entries) - 1:
            cv2.circle(strip, (left + round(9 * size), middle), round(9 * size), colour, -1, cv2.LINE_AA)
        cv2.putText(
            strip, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.75 * size, (230, 230, 230), max(1, round(size)), cv2.LINE_AA
        )
    return strip
