"""Region files, and the appearance of a row: known rows, known words and numbers."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from catalogue import field_overlays
from catalogue.field_overlays import overlay_paths, overlays_beside, write_overlays, write_regions
from catalogue.field_picture import COLOURS, whole_picture
from catalogue.field_sources import FieldRows
from catalogue.field_tiles import Field

ROW = {"x": 10.0, "y": 4.5, "a": 2.0, "b": 1.0, "theta": 30.0, "flag": 0}


@pytest.mark.parametrize(("height", "expected"), [(0, "ellipse(11.000,5.500,6.000,3.000,30.00)"),
                                                  (20, "ellipse(11.000,15.500,6.000,3.000,-30.00)")],
                         ids=["FITS, rows upward", "other images, rows downward"])  # fmt: skip
def test_a_region_has_ds9_s_pixels(height: int, expected: str, tmp_path: Path):
    write_regions(tmp_path / "a.reg", {name: np.array([value]) for name, value in ROW.items()},
                  [("spiral", "#5ac8ff")], height)  # fmt: skip
    lines = (tmp_path / "a.reg").read_text().splitlines()
    assert lines[0] == "# Region file format: DS9 version 4.1" and lines[2] == "image"
    assert lines[3:-1] == [f"{expected} # color=#5ac8ff text={{spiral}} tag={{spiral}}"]


def test_the_region_of_an_object_that_is_not_trusted_is_dashed(tmp_path: Path):
    rows = {name: np.array([value, value]) for name, value in ROW.items()} | {"flag": np.array([1, 33])}
    write_regions(tmp_path / "a.reg", rows, [("spiral", "#5ac8ff"), ("spiral", "#5ac8ff")])
    trusted, other = (tmp_path / "a.reg").read_text().splitlines()[3:-1]
    assert other == f"{trusted} dash=1 tag={{not trusted}}"


def test_each_field_has_its_own_rows_and_its_own_name(tmp_path: Path):
    (tmp_path / "a").mkdir()
    dark = np.zeros((40, 60, 3), np.uint8)
    fields = [
        FieldRows(Field(path, dark, 3, 40, 60, False), rows, index)
        for index, path, rows in ((0, tmp_path / "m31.png", slice(0, 2)), (2, tmp_path / "a" / "m31.png", slice(2, 3)))
    ]
    overlays = overlay_paths(
        tmp_path / "out.csv", [tmp_path / "m31.png", tmp_path / "none", tmp_path / "a" / "m31.png"]
    )
    columns = {name: np.array([value, value + 1, value + 2]) for name, value in ROW.items()}
    columns |= {"flag": [64, 128, 0], "object": ["star", "tiny", "galaxy"]}
    columns["most_likely_path"] = pa.array([None] * 3, pa.string())
    write_overlays(overlays, fields, pa.table(columns), None)
    words = {
        path.name: [line.partition("text={")[2].partition("}")[0] for line in path.read_text().splitlines()[3:-1]]
        for path in tmp_path.glob("*.reg")
    }
    assert words == {"out.m31.reg": ["star", "tiny"], "out.m31_2.reg": ["not judged"]}
    assert {path.name for path in overlays_beside(tmp_path / "out.csv")} == {
        f"out.{stem}{suffix}" for stem in ("m31", "m31_2") for suffix in (".reg", ".jpg")
    }
    (tmp_path / "out.of_a_user.jpg").write_bytes(b"\xff\xd8 mine")
    assert len(overlays_beside(tmp_path / "out.csv")) == 4
    assert overlays_beside(tmp_path / "other.csv") == []
    with Image.open(tmp_path / "out.m31.jpg") as picture:
        # Enlarged to at least 1600 pixels, with a legend below.
        assert picture.width == 60 * 27 and picture.height > 40 * 27
        red, green, blue = np.asarray(picture)[:1080].max(axis=(0, 1))
    assert min(red, green, blue) > 150  # the white cross of a star


def test_the_columns_of_the_overlays_are_those_of_a_catalogue_of_fields():
    from catalogue.columns import Choices, schema_of

    assert set(field_overlays.COLUMNS) <= set(schema_of([], Choices(detect=True), []).names)
    assert set(COLOURS) >= {"star", "tiny", "not judged"}


def test_a_large_field_is_averaged_down_and_a_linear_one_is_turned(tmp_path: Path):
    steps = np.zeros((4100, 30, 3), np.uint8)
    steps[1::2] = 200
    image, scale = whole_picture(Field(tmp_path / "a.png", steps, 3, 4100, 30, False), None)
    assert image.shape == (2050, 15, 3) and scale == 0.5 and (image == 100).all()
    light = np.zeros((1600, 40, 3), np.float32)
    light[:100] = 50
    image, scale = whole_picture(Field(tmp_path / "a.fits", light, 3, 1600, 40, True), "linear")
    assert scale == 1 and image[-50:].mean() > image[:50].mean()
