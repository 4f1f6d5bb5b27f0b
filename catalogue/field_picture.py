"""A field as a picture: each object marked by what it is, in the words of the decision tree, with a legend.

FITS files stand as on the sky, their first row below. Large fields are averaged down.
"""

from pathlib import Path

import cv2
import numpy as np

from catalogue.answer_columns import FRACTIONS
from catalogue.field_tiles import Field
from galaxy.stretch import composite
from machine.files import replacing

# Pixels a side of a picture at most; smaller fields are enlarged until one side has LEAST.
MOST, LEAST = 4000, 1600
# What objects are, and their colours, RGB.
KINDS = {
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


def kinds_of(rows: dict[str, np.ndarray]) -> list[str]:
    """Return what each row (n,) of a field's catalogue is, one of KINDS."""
    fraction = {name.removesuffix("_fraction"): rows[name] for name in FRACTIONS}
    kinds = []
    for number, kind in enumerate(rows["object"]):
        known = {name: float(values[number]) for name, values in fraction.items()}
        kinds.append(kind if kind in ("star", "tiny") else _kind(known))
    return kinds


def _kind(known: dict[str, float]) -> str:
    def likeliest(question: str, *answers: str) -> int:
        votes = [known[f"{question}_{answer}"] for answer in answers]
        return int(np.argmax(np.nan_to_num(votes, nan=-1)))

    if np.isnan(known["smooth_or_featured_smooth"]):
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
    """Return a field (rows, columns, 3) uint8 as a person sees it, and its pixels a pixel of the file."""
    most = max(field.rows, field.columns)
    times = -(-most // MOST)
    rows, columns = field.rows // times, field.columns // times
    light = np.empty((field.planes, rows, columns), np.float32)
    step = max(1, 2**24 // (field.columns * times))
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        bands = field.bands(slice(start * times, stop * times), slice(0, columns * times))
        light[:, start:stop] = bands.reshape(field.planes, stop - start, times, columns, times).mean(axis=(2, 4))
    if field.linear:
        image = 255 * composite(light, stretch or "asinh")[::-1]
    else:
        image = np.moveaxis(light, 0, 2) * (1 if field.counts_steps else 255)
    image = np.ascontiguousarray(np.clip(np.rint(image), 0, 255).astype(np.uint8))
    enlarged = max(1, -(-LEAST // max(image.shape[:2])))
    if enlarged > 1:
        image = cv2.resize(image, None, fx=enlarged, fy=enlarged, interpolation=cv2.INTER_CUBIC)
    return image, enlarged / times


def write_picture(path: Path, field: Field, rows: dict[str, np.ndarray], kinds: list[str], stretch: str | None) -> None:
    """Write the picture of a field with its objects (columns x, y, a, b, theta; what each is), as a JPEG."""
    image, scale = whole_picture(field, stretch)
    for wanted in ("tiny", "star", *KINDS):
        for number in [number for number, kind in enumerate(kinds) if kind == wanted]:
            _mark(
                image, {name: float(rows[name][number]) for name in ("x", "y", "a", "b", "theta")}, field, scale, wanted
            )
    image = np.concatenate([image, _legend(image.shape[1], kinds)])
    with replacing(path) as temporary:
        temporary.write_bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())


def _mark(image: np.ndarray, row: dict[str, float], field: Field, scale: float, kind: str) -> None:
    y, theta = (field.rows - 1 - row["y"], -row["theta"]) if field.linear else (row["y"], row["theta"])
    middle = (scale * (row["x"] + 0.5) - 0.5, scale * (y + 0.5) - 0.5)
    colour = KINDS[kind]
    if kind == "tiny":
        cv2.circle(image, _sixteenths(middle), round(16 * max(3.0, 3 * scale * row["a"])), colour, 1, cv2.LINE_AA, 4)
    elif kind == "star":
        arm = max(5.0, 2 * scale * row["a"])
        for along, across in ((1, 1), (1, -1)):
            ends = [(middle[0] + sign * arm * along, middle[1] + sign * arm * across) for sign in (-1, 1)]
            cv2.line(image, *map(_sixteenths, ends), colour, 1, cv2.LINE_AA, 4)
    else:
        axes = tuple(max(4.0, 3.3 * scale * row[name]) for name in ("a", "b"))
        cv2.ellipse(image, _sixteenths(middle), _sixteenths(axes), theta, 0, 360, colour, 2, cv2.LINE_AA, 4)


def _sixteenths(values: tuple[float, float]) -> tuple[int, int]:
    return round(16 * values[0]), round(16 * values[1])


def _legend(width: int, kinds: list[str]) -> np.ndarray:
    """Return a strip (rows, width, 3) with the colour, name and number of each kind."""
    present = [kind for kind in KINDS if kind in kinds]
    size = max(0.5, width / 2200)
    step, height = width // max(1, len(present)), round(46 * size)
    strip = np.full((height, width, 3), 24, np.uint8)
    for place, kind in enumerate(present):
        left, middle = place * step + round(14 * size), height // 2
        cv2.circle(strip, (left + round(9 * size), middle), round(9 * size), KINDS[kind], -1, cv2.LINE_AA)
        text = f"{kind} {kinds.count(kind)}"
        at = (left + round(26 * size), middle + round(8 * size))
        cv2.putText(
            strip, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.75 * size, (230, 230, 230), max(1, round(size)), cv2.LINE_AA
        )
    return strip
