"""The classes of objects in the picture of a field, and the picture itself."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from catalogue.answer_columns import FRACTIONS
from catalogue.field_picture import COLOURS, appearances, whole_picture, write_picture
from catalogue.field_tiles import Field

# Fractions of one object (the others are NaN), and its class.
CLASSES = [
    ({"smooth_or_featured_smooth": 0.7, "smooth_or_featured_featured_or_disk": 0.2, "how_rounded_round": 0.8}, "round"),
    ({"smooth_or_featured_smooth": 0.7, "how_rounded_round": 0.3, "how_rounded_in_between": 0.6}, "in between"),
    ({"smooth_or_featured_smooth": 0.7, "how_rounded_in_between": 0.3, "how_rounded_cigar": 0.6}, "cigar-shaped"),
    ({"smooth_or_featured_smooth": 0.1, "smooth_or_featured_artifact": 0.8}, "no galaxy"),
    ({"smooth_or_featured_smooth": 0.2, "smooth_or_featured_featured_or_disk": 0.7, "disk_edge_on_yes": 0.6,
      "disk_edge_on_no": 0.4}, "edge-on"),
    ({"smooth_or_featured_smooth": 0.2, "smooth_or_featured_featured_or_disk": 0.7, "disk_edge_on_no": 0.9,
      "has_spiral_arms_yes": 0.8, "has_spiral_arms_no": 0.2}, "spiral"),
    ({"smooth_or_featured_smooth": 0.2, "smooth_or_featured_featured_or_disk": 0.7, "disk_edge_on_no": 0.9,
      "has_spiral_arms_yes": 0.3, "has_spiral_arms_no": 0.7}, "disk"),
    ({}, "not judged"),
]  # fmt: skip


def rows_of(*fractions: dict[str, float], objects: list[str] | None = None) -> dict[str, np.ndarray]:
    """Return the columns of a field's catalogue that classes depend on."""
    rows = {name: np.array([each.get(name.removesuffix("_fraction"), np.nan) for each in fractions])
            for name in FRACTIONS}  # fmt: skip
    return rows | {"object": np.array(objects or ["galaxy"] * len(fractions), object)}


def test_the_most_likely_answers_give_the_class():
    fractions, classes = zip(*CLASSES, strict=True)
    assert appearances(rows_of(*fractions)) == list(classes)
    assert set(classes) | {"star", "tiny"} == set(COLOURS)


@pytest.mark.parametrize("name", ["star", "tiny"])
def test_stars_and_tiny_objects_keep_their_class_whatever_their_fractions(name: str):
    assert appearances(rows_of(CLASSES[0][0], {}, objects=[name, name])) == [name, name]


def field_of(pixels: np.ndarray, linear: bool = False) -> Field:
    return Field(Path("field"), pixels, pixels.shape[2], pixels.shape[0], pixels.shape[1], linear)


def test_a_small_field_is_enlarged_and_keeps_its_colours():
    pixels = np.zeros((400, 500, 3), np.uint8)
    pixels[:, 250:] = (10, 120, 240)
    image, scale = whole_picture(field_of(pixels), None)
    assert scale == 4 and image.shape == (1600, 2000, 3)
    assert (image[:, 1010:] == (10, 120, 240)).all() and (image[:, :990] == 0).all()


def test_a_large_field_is_averaged_down():
    pixels = np.random.default_rng(0).integers(0, 256, (200, 9000, 3)).astype(np.uint8)
    image, scale = whole_picture(field_of(pixels), None)
    assert scale == pytest.approx(1 / 3) and image.shape == (66, 3000, 3)
    expected = pixels[:198].reshape(66, 3, 3000, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(image, expected, atol=0.51)


def test_linear_fields_have_their_first_row_below():
    pixels = np.zeros((400, 1600, 1), np.float32)
    pixels[:50] = 1000
    image, _ = whole_picture(field_of(pixels, linear=True), None)
    assert (image[-50:] == 255).all() and (image[:-50] == 0).all()


@pytest.mark.parametrize("linear", [False, True])
def test_an_object_is_marked_with_the_colour_of_its_class(linear: bool, tmp_path: Path):
    rows = {"x": np.array([800.0]), "y": np.array([100.0]), "theta": np.array([0.0])}
    rows |= {"a": np.array([20.0]), "b": np.array([10.0])}
    field = field_of(np.zeros((400, 1600, 3), np.float32), linear)
    write_picture(tmp_path / "field.jpg", field, rows, ["spiral"], None)
    image = cv2.imread(str(tmp_path / "field.jpg"))[:400, :, ::-1].astype(int)
    marked_rows, marked_columns = np.nonzero(image.sum(axis=2) > 200)
    middle = 399 - 100 if linear else 100
    # The ellipse is 3.3 second moments long.
    assert (marked_columns.min(), marked_columns.max()) == pytest.approx((800 - 66, 800 + 66), abs=3)
    assert (marked_rows.min(), marked_rows.max()) == pytest.approx((middle - 33, middle + 33), abs=3)
    colour = np.median(image[marked_rows, marked_columns], axis=0)
    nearest = min(
        COLOURS, key=lambda name: np.abs(np.array(COLOURS[name]) * colour.max() / max(COLOURS[name]) - colour).sum()
    )
    assert nearest == "spiral"
