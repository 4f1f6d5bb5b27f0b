"""The classes of objects in the picture of a field, and the picture itself."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from catalogue.field_picture import COLOURS, appearances, whole_picture, write_picture
from catalogue.field_tiles import Field

# Most likely paths, and their appearance.
LOOKS = {
    "smooth, completely round": "round",
    "smooth, in between, odd, merger": "in between",
    "smooth, cigar-shaped": "cigar-shaped",
    "smooth": "smooth",
    "star or artifact": "no galaxy",
    "features or disk, edge-on, boxy bulge": "edge-on",
    "features or disk, not edge-on, no bar, spiral, 2 arms": "spiral",
    "features or disk, not edge-on, bar, no spiral": "disk",
    "features or disk, not edge-on": "disk",
    "": "not judged",
}


def test_the_most_detailed_answer_of_a_path_is_the_appearance():
    rows = {"object": np.array(["galaxy"] * len(LOOKS)), "most_likely_path": np.array(list(LOOKS), object)}
    assert appearances(rows) == list(LOOKS.values())
    assert set(LOOKS.values()) | {"star", "tiny"} == set(COLOURS)
    assert appearances({"object": np.array(["galaxy"]), "most_likely_path": np.array([None])}) == ["not judged"]


@pytest.mark.parametrize("name", ["star", "tiny"])
def test_stars_and_tiny_objects_keep_their_class(name: str):
    rows = {"object": np.array([name]), "most_likely_path": np.array(["smooth, completely round"])}
    assert appearances(rows) == [name]


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
    rows |= {"a": np.array([20.0]), "b": np.array([10.0]), "flag": np.array([0])}
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


def test_an_object_that_is_not_trusted_is_dashed_and_the_legend_counts_it(tmp_path: Path):
    row = {"x": 800.0, "y": 100.0, "a": 20.0, "b": 10.0, "theta": 0.0}
    areas = []
    for flag in (0, 32):
        rows = {name: np.array([value]) for name, value in row.items()} | {"flag": np.array([flag])}
        write_picture(tmp_path / "field.png", field_of(np.zeros((400, 1600, 3), np.uint8)), rows, ["spiral"], None)
        image = cv2.imread(str(tmp_path / "field.png"))
        areas.append([(part.sum(axis=2) > 200).sum() for part in (image[:400], image[400:])])
    assert areas[1][0] < 0.6 * areas[0][0] and areas[1][1] > 0 and areas[0][1] != areas[1][1]
