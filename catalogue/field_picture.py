"""A field as a picture: each object marked by its appearance, in the words of the decision tree, with a legend.

Pictures of FITS files show their first row at the bottom, as on the sky. Large fields are averaged down.
"""

from pathlib import Path

import cv2
import numpy as np

from catalogue.answer_columns import FRACTIONS
from catalogue.field_compass import draw_compass, sky_directions, to_picture, turned
from catalogue.field_tiles import Field
from galaxy.stretch import composite
from machine.files import replacing

# Pixels of the larger side: larger fields are averaged down to MAX_SIDE, smaller ones enlarged to MIN_SIDE.
MAX_SIDE, MIN_SIDE = 4000, 1600
# Appearances of objects, and their colours, RGB.
COLOURS = {
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


def appearances(rows: dict[str, np.ndarray]) -> list[str]:
    """Return the appearance of each row (n,) of a field's catalogue, one of COLOURS."""
    fractions = {name.removesuffix("_fraction"): rows[name] for name in FRACTIONS}
    return [
        object_class
        if object_class in ("star", "tiny")
        else _appearance({name: float(values[index]) for name, values in fractions.items()})
        for index, object_class in enumerate(rows["object"])
    ]


def _appearance(fractions: dict[str, float]) -> str:
    def likeliest(question: str, *answers: str) -> int:
        votes = [fractions[f"{question}_{answer}"] for answer in answers]
        return int(np.argmax(np.nan_to_num(votes, nan=-1)))

    if np.isnan(fractions["smooth_or_featured_smooth"]):
        return "not judged"
    first = likeliest("smooth_or_featured", "smooth", "featured_or_disk", "artifact")
    if first == 2:
        return "no galaxy"
    if first == 0:
        answers = "round", "in_between", "cigar"
        return ("round", "in between", "cigar-shaped")[likeliest("how_rounded", *answers)]
    if likeliest("disk_edge_on", "yes", "no") == 0:
        return "edge-on"
    return ("spiral", "disk")[likeliest("has_spiral_arms", "yes", "no")]


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
) -> None:
    """Write the picture of a field with its objects as a JPEG, with a compass where there are sky coordinates.

    `rows` has x, y, a, b (pixels of the file) and theta (degrees) of each object, `looks` its appearance. `north_up`
    turns the picture north up, east left.
    """
    image, scale = whole_picture(field, stretch)
    matrix, sky = to_picture(field, scale), sky_directions(field)
    if sky and north_up:
        image, matrix = turned(image, matrix, *sky[:2])
    # Tiny objects and stars first: galaxies are drawn over them.
    for look in ("tiny", "star", *COLOURS):
        for index in [index for index, own in enumerate(looks) if own == look]:
            row = {name: float(rows[name][index]) for name in ("x", "y", "a", "b", "theta")}
            if np.isfinite(list(row.values())).all():
                _mark(image, row, matrix, look)
    if sky:
        draw_compass(image, matrix, *sky)
    image = np.concatenate([image, _legend(image.shape[1], looks)])
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


def _mark(image: np.ndarray, row: dict[str, float], matrix: np.ndarray, look: str) -> None:
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
        cv2.ellipse(image, _sixteenths(middle), _sixteenths(axes), angle, 0, 360, colour, 2, cv2.LINE_AA, 4)


def _sixteenths(values: tuple[float, float]) -> tuple[int, int]:
    return round(16 * values[0]), round(16 * values[1])


def _legend(width: int, looks: list[str]) -> np.ndarray:
    """Return a strip (rows, width, 3) with the colour, name and count of each appearance."""
    present = [look for look in COLOURS if look in looks]
    size = max(0.5, width / 2200)
    step, height = width // max(1, len(present)), round(46 * size)
    strip = np.full((height, width, 3), 24, np.uint8)
    for index, look in enumerate(present):
        left, middle = index * step + round(14 * size), height // 2
        cv2.circle(strip, (left + round(9 * size), middle), round(9 * size), COLOURS[look], -1, cv2.LINE_AA)
        text = f"{look} {looks.count(look)}"
        at = (left + round(26 * size), middle + round(8 * size))
        cv2.putText(
            strip, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.75 * size, (230, 230, 230), max(1, round(size)), cv2.LINE_AA
        )
    return strip
