"""Objects of a field, cut out: made-up fields and segmentation maps with known answers."""

import pickle
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from catalogue.field_cutouts import HALO, FieldObject, cut_out, frame_object
from catalogue.field_tiles import Field, Tile
from catalogue.flags import NOT_JUDGED, UNREADABLE
from catalogue.framing import REACH, SIDE, Frame
from catalogue.targets import Recipe, Rejected
from machine.arrays import save_named

ROWS, COLUMNS, SKY = 200, 240, 20
RADIUS = 160.0  # pixels of 424, of training images


def field_object(
    tmp_path: Path,
    pixels: np.ndarray,
    segmentation: np.ndarray,
    centre: tuple[float, float],
    radius: float = 12.0,
    reason: str = "",
) -> FieldObject:
    """Return object 1 of a field that is one tile."""
    path = tmp_path / "tile.npz"
    save_named(path, segmentation=segmentation)
    whole = slice(0, pixels.shape[0]), slice(0, pixels.shape[1])
    field = Field(tmp_path / "field.png", pixels, 3, *pixels.shape[:2], False)
    return FieldObject(field, Tile(whole, whole), path, 1, *centre, radius, reason)


def ellipse(x: float, y: float, a: float) -> np.ndarray:
    rows, columns = np.mgrid[:ROWS, :COLUMNS]
    return np.hypot(columns - x, rows - y) <= a


@pytest.fixture
def crowd(tmp_path: Path) -> FieldObject:
    """Return a galaxy of 120 at (100, 90), a neighbour of 250 to the right of it, both on a sky of 20."""
    pixels, segmentation = np.full((ROWS, COLUMNS, 3), SKY, np.uint8), np.zeros((ROWS, COLUMNS), np.int32)
    for label, (x, value) in enumerate(((100, 120), (125, 250)), start=1):
        inside = ellipse(x, 90, 10)
        pixels[inside], segmentation[inside] = value, label
    return field_object(tmp_path, pixels, segmentation, (100.0, 90.0))


def test_the_object_is_in_the_middle_of_its_cutout(crowd: FieldObject):
    picture = cut_out(crowd, None, RADIUS)
    half = int(np.ceil(REACH * SIDE / RADIUS * 12) + 1)
    assert picture.pixels.shape == (2 * half + 1, 2 * half + 1, 3)
    rows, columns = np.nonzero(picture.pixels[..., 0] == 120)
    assert (rows.mean(), columns.mean()) == (half, half) and len(rows) == ellipse(100, 90, 10).sum()


def test_a_neighbour_becomes_the_pixels_opposite(crowd: FieldObject):
    masked, whole = cut_out(crowd, None, RADIUS), cut_out(crowd, None, RADIUS, masked=False)
    assert (whole.pixels == 250).any() and not (masked.pixels == 250).any()
    # Opposite of the neighbour there is only sky: what is left is the galaxy.
    assert set(np.unique(masked.pixels)) == {SKY, 120}


def test_where_a_neighbour_is_opposite_of_another_there_is_sky(tmp_path: Path):
    pixels, segmentation = np.full((ROWS, COLUMNS, 3), SKY, np.uint8), np.zeros((ROWS, COLUMNS), np.int32)
    for label, (x, value) in enumerate(((100, 120), (125, 250), (75, 200)), start=1):
        inside = ellipse(x, 90, 8)
        pixels[inside], segmentation[inside] = value, label
    masked = cut_out(field_object(tmp_path, pixels, segmentation, (100.0, 90.0)), None, RADIUS)
    assert set(np.unique(masked.pixels)) == {SKY, 120}


def test_the_halo_of_a_neighbour_is_replaced_but_no_pixel_of_the_object(tmp_path: Path):
    pixels, segmentation = np.full((ROWS, COLUMNS, 3), SKY, np.uint8), np.zeros((ROWS, COLUMNS), np.int32)
    own, neighbour = ellipse(100, 90, 10), ellipse(121, 90, 10)
    # Light of the neighbour, 60, one pixel around its segment.
    pixels[cv2.dilate(neighbour.astype(np.uint8), np.ones((2 * HALO - 1,) * 2, np.uint8)) > 0] = 60
    pixels[neighbour], segmentation[neighbour] = 250, 2
    pixels[own], segmentation[own] = 120, 1
    masked = cut_out(field_object(tmp_path, pixels, segmentation, (100.0, 90.0)), None, RADIUS)
    assert not np.isin(masked.pixels, (60, 250)).any()
    assert (masked.pixels[..., 0] == 120).sum() >= own.sum()


def test_beyond_the_border_of_the_field_there_is_sky(tmp_path: Path):
    pixels, segmentation = np.full((ROWS, COLUMNS, 3), SKY, np.uint8), np.zeros((ROWS, COLUMNS), np.int32)
    inside = ellipse(3, 2, 8)
    pixels[inside], segmentation[inside] = 255, 1
    picture = cut_out(field_object(tmp_path, pixels, segmentation, (3.0, 2.0)), None, RADIUS)
    half = len(picture.pixels) // 2
    assert (picture.pixels[: half - 2] == SKY).all() and (picture.pixels[:, : half - 3] == SKY).all()
    assert (picture.pixels[half, half] == 255).all()
    assert picture.saturated.sum() == inside.sum()


def test_positions_of_a_frame_are_pixels_of_the_field(crowd: FieldObject):
    frame = frame_object(crowd, None, RADIUS)
    assert (frame.x, frame.y) == pytest.approx((100, 90), abs=0.5)
    assert frame.scale == pytest.approx(RADIUS / frame.radius)


def test_an_object_answers_with_its_frame_or_with_why_it_has_none(crowd: FieldObject, tmp_path: Path):
    recipe = Recipe(None, "auto", RADIUS)
    assert isinstance(pickle.loads(pickle.dumps(crowd)).frame(recipe), Frame)
    blank = np.full((ROWS, COLUMNS, 3), SKY, np.uint8)
    star = field_object(tmp_path, blank, np.zeros((ROWS, COLUMNS), np.int32), (9.0, 9.0), reason="a star")
    assert star.frame(recipe) == Rejected(NOT_JUDGED, "a star")
    star, crowd = (replace(each, field=replace(each.field, note="SCI was read, not ERR")) for each in (star, crowd))
    assert star.frame(recipe).reason == "a star; SCI was read, not ERR"
    assert crowd.frame(recipe).note == "SCI was read, not ERR"
    assert Rejected(UNREADABLE, "is empty").frame(recipe) == Rejected(UNREADABLE, "is empty")
