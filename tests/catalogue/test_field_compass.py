"""Pictures of fields: pixels of the file on the picture, the turn to north up, the scale bar."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from fields import sky_header

from catalogue.field_compass import bar_length, bar_text, draw_compass, sky_directions, to_picture, turned
from catalogue.field_picture import whole_picture
from catalogue.field_tiles import open_field

SCALE = 0.2 / 3600  # degrees per pixel


@pytest.mark.parametrize("turns", [(0, SCALE, SCALE, 0), (SCALE, 0, 0, SCALE), (-SCALE, 0, 0, -SCALE)])
def test_a_turned_picture_has_north_up_east_left_and_its_objects_in_place(turns: tuple, tmp_path: Path):
    light = np.random.default_rng(0).normal(0, 1, (300, 400)).astype(np.float32)
    light[40:44, 60:64] += 500
    header = sky_header("CD")
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = turns
    fits.PrimaryHDU(light, header).writeto(tmp_path / "a.fits")
    field = open_field(tmp_path / "a.fits")
    up, east, degrees = sky_directions(field)
    image, scale = whole_picture(field, None)
    assert degrees == pytest.approx(SCALE, rel=1e-3)
    image, matrix = turned(image, to_picture(field, scale), up, east)
    np.testing.assert_allclose(matrix[:2, :2] @ up / scale, [0, -1], atol=1e-3)
    np.testing.assert_allclose(matrix[:2, :2] @ east / scale, [-1, 0], atol=1e-3)
    x, y, _ = matrix @ (61.5, 41.5, 1)
    rows, columns = np.nonzero(image[..., 0] > 200)
    assert np.hypot(columns.mean() - x, rows.mean() - y) < 2
    draw_compass(image, matrix, up, east, degrees)


def test_a_picture_without_sky_coordinates_has_no_compass(tmp_path: Path):
    fits.PrimaryHDU(np.zeros((50, 60), np.float32)).writeto(tmp_path / "a.fits")
    assert sky_directions(open_field(tmp_path / "a.fits")) is None


@pytest.mark.parametrize(
    ("most", "text"), [(75, "1 arcmin"), (59, "50 arcsec"), (7.0, "5 arcsec"), (3 * 3600, "2 deg"), (0.3, "200 mas")]
)
def test_the_scale_bar_has_a_round_length(most: float, text: str):
    assert bar_text(bar_length(most)) == text
