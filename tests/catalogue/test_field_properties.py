"""Properties of detection and framing: units, number types, byte order, flips, and footprints do not matter."""

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogue.field_tiles import open_field
from catalogue.framing import frame
from galaxy.detection import find_objects
from galaxy.image_files import read

SIDE = 220
ROWS, COLUMNS = np.mgrid[:SIDE, :SIDE]
GALAXIES = ((60, 70, 5), (150, 60, 7), (110, 160, 6))  # x, y, scale length, pixels
FOOTPRINTS = {
    "slanted": (COLUMNS - 0.4 * ROWS) > 165,
    "round": np.hypot(COLUMNS - 110, ROWS - 105) > 108,
    "gap": (ROWS >= 108) & (ROWS < 114),
    "corner": (ROWS < 30) & (COLUMNS < 60),
}
examples = settings(max_examples=12, deadline=None, derandomize=True)


@cache
def light() -> np.ndarray:
    image = np.random.default_rng(3).normal(0, 1, (SIDE, SIDE))
    for x, y, length in GALAXIES:
        image += 80 * np.exp(-np.hypot(COLUMNS - x, (ROWS - y) / 0.7) / length)
    return image


def objects_of(pixels: np.ndarray) -> np.ndarray:
    """Return the objects of pixels in a FITS file, by their columns and rows."""
    with tempfile.TemporaryDirectory() as folder:
        fits.PrimaryHDU(pixels).writeto(Path(folder, "a.fits"))
        field = open_field(Path(folder, "a.fits"))
        found = find_objects(
            *field.intensity(slice(0, field.rows), slice(0, field.columns)), field.counts_steps
        ).objects
    return np.sort(found, order=["x", "y"])


def same(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert len(found) == len(expected)
    for name in ("x", "y", "petrosian_radius", "half_light_radius"):
        np.testing.assert_allclose(found[name], expected[name], rtol=tolerance, atol=tolerance)


@examples
@given(
    exponent=st.floats(-35, 30),
    dtype=st.sampled_from(["<f4", ">f4", "<f8", ">f8"]),
    offset=st.sampled_from([0.0, -20.0, 300.0]),
)
def test_units_types_and_offsets_do_not_change_objects(exponent: float, dtype: str, offset: float):
    unit = 10.0**exponent
    found = objects_of(((light() + offset) * unit).astype(dtype))
    same(found, objects_of(light() + offset), 2e-2)
    np.testing.assert_allclose(found["flux"], unit * objects_of(light() + offset)["flux"], rtol=1e-2)


@examples
@given(exponent=st.floats(-35, 30), dtype=st.sampled_from([">f4", "<f8"]))
def test_units_do_not_change_the_frame_of_a_galaxy(exponent: float, dtype: str):
    image = light()[10:130, :120]
    frames = []
    with tempfile.TemporaryDirectory() as folder:
        for name, pixels in (("a", image), ("b", (image * 10.0**exponent).astype(dtype))):
            fits.PrimaryHDU(pixels).writeto(Path(folder, f"{name}.fits"))
            frames.append(frame(read(Path(folder, f"{name}.fits")), "auto", 80.0))
    assert frames[0].flags == frames[1].flags
    assert frames[1].radius == pytest.approx(frames[0].radius, rel=1e-3)
    np.testing.assert_allclose(frames[1].pixels, frames[0].pixels, atol=1e-3)


@examples
@given(
    footprint=st.sampled_from(sorted(FOOTPRINTS)),
    fill=st.sampled_from([0.0, -999.0, -32768.0, 1e30, -3.4e38]),
    sky=st.sampled_from([0.0, 100.0]),
    dtype=st.sampled_from(["<f4", ">f4", ">f8"]),
)
def test_areas_without_data_give_the_objects_of_nan(footprint: str, fill: float, sky: float, dtype: str):
    outside = FOOTPRINTS[footprint]
    image = (light() + sky).astype(dtype)
    found, expected = (objects_of(np.where(outside, np.array(value, dtype), image)) for value in (fill, np.nan))
    assert len(found) == len(expected)
    np.testing.assert_allclose(found["x"], expected["x"], atol=1.5)
    np.testing.assert_allclose(found["y"], expected["y"], atol=1.5)
    np.testing.assert_array_equal(found["border"], expected["border"])


@examples
@given(flip_rows=st.booleans(), flip_columns=st.booleans(), turn=st.booleans())
def test_flips_move_objects_and_keep_their_sizes(flip_rows: bool, flip_columns: bool, turn: bool):
    image = light()
    image = image[::-1] if flip_rows else image
    image = image[:, ::-1] if flip_columns else image
    image = image.T if turn else image
    found, expected = objects_of(np.ascontiguousarray(image)), objects_of(light())
    assert len(found) == len(expected)
    x, y = (found["y"], found["x"]) if turn else (found["x"], found["y"])
    x = SIDE - 1 - x if flip_columns else x
    y = SIDE - 1 - y if flip_rows else y
    order = np.lexsort((y, x))
    np.testing.assert_allclose(np.stack([x, y])[:, order], [expected["x"], expected["y"]], atol=0.3)
    np.testing.assert_allclose(found["petrosian_radius"][order], expected["petrosian_radius"], rtol=0.1)


def test_a_galaxy_cut_by_a_gap_is_at_a_border():
    image = light().astype(np.float32)
    image[155:161] = 0
    cut = [row for row in objects_of(image) if abs(row["x"] - 110) < 10 and 130 < row["y"] < 190]
    assert cut and all(row["border"] for row in cut)


def test_a_tile_without_any_data_has_no_objects():
    assert len(objects_of(np.zeros((SIDE, SIDE), np.float32))) == 0
    assert len(objects_of(np.full((SIDE, SIDE), np.nan))) == 0


def test_a_band_that_is_not_filled_everywhere_makes_no_objects_at_its_edge():
    bands = np.stack([light() + 100, light() + 80, light() + 60]).astype(np.float32)
    expected = bands.copy()
    bands[1][FOOTPRINTS["slanted"]] = 0
    expected[:, FOOTPRINTS["slanted"]] = np.nan
    found, wanted = objects_of(bands), objects_of(expected)
    np.testing.assert_allclose(found["x"], wanted["x"], atol=1.5)
