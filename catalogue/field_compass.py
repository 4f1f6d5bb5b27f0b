"""Compass and scale bar on the picture of a field, and the turn that brings north up and east left."""

import cv2
import numpy as np

from catalogue.field_tiles import Field

# Length of the compass's arms, and of the scale bar at most, in widths of the picture; their colour, RGB.
ARM, BAR = 0.04, 0.2
COLOUR = (255, 255, 255)
# Units of the scale bar in arcsec, the largest first.
_UNITS = ((3600, "deg"), (60, "arcmin"), (1, "arcsec"), (1e-3, "mas"))


def to_picture(field: Field, scale: float) -> np.ndarray:
    """Return the matrix (3, 3) from pixels of a field to those of its picture, whose first row is the highest."""
    matrix = np.array([[scale, 0, 0.5 * scale - 0.5], [0, scale, 0.5 * scale - 0.5], [0, 0, 1]])
    if field.linear:
        matrix = matrix @ np.array([[1, 0, 0], [0, -1, field.rows - 1], [0, 0, 1.0]])
    return matrix


def sky_directions(field: Field) -> tuple[np.ndarray, np.ndarray, float] | None:
    """Return the directions of north and east (x, y) in the middle of a field, and degrees per pixel; None without."""
    if not field.linear:
        return None
    from catalogue.field_wcs import north

    return north(field.path, (field.columns - 1) / 2, (field.rows - 1) / 2)


def turned(image: np.ndarray, matrix: np.ndarray, up: np.ndarray, east: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn a picture (rows, columns, 3), mirrored where needed, so that north is up and east left.

    `matrix` (3, 3) maps pixels of the field to the picture; returns the picture and its new matrix.
    """
    directions = matrix[:2, :2] @ np.stack([east, up], axis=1)
    left, _, right = np.linalg.svd(-np.linalg.inv(directions))
    turn = np.eye(3)
    turn[:2, :2] = left @ right  # the nearest rotation, or reflection
    rows, columns = image.shape[:2]
    corners = turn[:2, :2] @ np.array([[0, columns - 1, 0, columns - 1], [0, 0, rows - 1, rows - 1]])
    turn[:2, 2] = -corners.min(axis=1)
    size = tuple(int(np.ceil(length)) + 1 for length in np.ptp(corners, axis=1))
    return cv2.warpAffine(image, turn[:2], size, flags=cv2.INTER_LINEAR), turn @ matrix


def draw_compass(image: np.ndarray, matrix: np.ndarray, up: np.ndarray, east: np.ndarray, degrees: float) -> None:
    """Draw the directions of north and east, and a scale bar, on a picture; `degrees` per pixel of the field."""
    width = image.shape[1]
    size, thickness = max(0.5, width / 2200), max(1, round(width / 1100))
    arm = ARM * width
    origin = np.array([2.2 * arm, image.shape[0] - 2.2 * arm])
    for name, direction in (("N", up), ("E", east)):
        along = matrix[:2, :2] @ direction
        along = along / np.linalg.norm(along)
        tip = origin + arm * along
        cv2.arrowedLine(image, _point(origin), _point(tip), COLOUR, thickness, cv2.LINE_AA, tipLength=0.25)
        _write(image, name, origin + 1.45 * arm * along, size, thickness)
    per_pixel = 3600 * degrees / np.sqrt(abs(np.linalg.det(matrix[:2, :2])))  # arcsec per pixel of the picture
    arcsec = bar_length(BAR * width * per_pixel)
    end = np.array([width - arm, image.shape[0] - arm])
    start = end - [arcsec / per_pixel, 0]
    cv2.line(image, _point(start), _point(end), COLOUR, 2 * thickness, cv2.LINE_AA)
    _write(image, bar_text(arcsec), (start + end) / 2 - [0, 0.5 * arm], size, thickness)


def bar_length(most: float) -> float:
    """Return the longest length of 1, 2 or 5 in a unit of angle, at most `most` arcsec."""
    unit = next((unit for unit, _ in _UNITS if unit <= most), _UNITS[-1][0])
    power = 10.0 ** np.floor(np.log10(most / unit))
    return unit * power * next(step for step in (5, 2, 1) if step * power * unit <= most * (1 + 1e-9))


def bar_text(arcsec: float) -> str:
    """Return a length in its unit, such as "2 arcmin"."""
    unit, name = next((each for each in _UNITS if each[0] <= arcsec * (1 + 1e-9)), _UNITS[-1])
    return f"{arcsec / unit:g} {name}"


def _point(position: np.ndarray) -> tuple[int, int]:
    return round(float(position[0])), round(float(position[1]))


def _write(image: np.ndarray, text: str, middle: np.ndarray, size: float, thickness: int) -> None:
    (width, height), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, thickness)
    at = _point(middle + np.array([-width / 2, height / 2]))
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, size, COLOUR, thickness, cv2.LINE_AA)
