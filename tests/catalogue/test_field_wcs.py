"""Sky positions of pixels against astropy's, and headers without usable world coordinates."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.utils.data import get_pkg_data_filename
from astropy.wcs import WCS
from fields import sky_header

from catalogue.field_wcs import north, pixel_positions, sky_positions
from galaxy.image_formats import Unreadable


def write(path: Path, header: fits.Header) -> Path:
    fits.PrimaryHDU(np.zeros((500, 600), np.float32), header).writeto(path)
    return path


@pytest.mark.parametrize("kind", ["CD", "PC", "SIP"])
def test_sky_positions_are_astropy_s(kind: str, tmp_path: Path):
    header = sky_header(kind)
    fits.PrimaryHDU(np.zeros((500, 600), np.float32), header).writeto(tmp_path / "a.fits")
    x, y = np.array([0, 299, 580.25]), np.array([10, 249, 480.75])
    ra, dec = sky_positions(tmp_path / "a.fits", x, y)
    expected_ra, expected_dec = WCS(header).all_pix2world(x, y, 0)
    # The frame is ICRS where the header names none.
    np.testing.assert_allclose(ra, expected_ra, rtol=0, atol=1e-3 / 3600)
    np.testing.assert_allclose(dec, expected_dec, rtol=0, atol=1e-3 / 3600)


def test_without_sky_coordinates_positions_are_nan_and_broken_ones_are_refused(tmp_path: Path):
    for kind in ("none", "broken"):
        fits.PrimaryHDU(np.zeros((500, 600), np.float32), sky_header(kind)).writeto(tmp_path / f"{kind}.fits")
    ra, dec = sky_positions(tmp_path / "none.fits", np.zeros(2), np.zeros(2))
    assert np.isnan(ra).all() and np.isnan(dec).all()
    with pytest.raises(Unreadable, match="has no usable sky coordinates") as refused:
        sky_positions(tmp_path / "broken.fits", np.zeros(2), np.zeros(2))
    assert "\n" not in str(refused.value)


def test_the_reference_pixel_is_at_the_reference_position(tmp_path: Path):
    path = write(tmp_path / "a.fits", sky_header("CD"))
    # Headers count pixels from 1.
    ra, dec = sky_positions(path, np.array([299.0]), np.array([249.0]))
    np.testing.assert_allclose([ra[0], dec[0]], [150.1, 2.2], rtol=0, atol=1e-9)


def test_galactic_positions_become_icrs(tmp_path: Path):
    header = sky_header("CD")
    header["CTYPE1"], header["CTYPE2"] = "GLON-TAN", "GLAT-TAN"
    ra, dec = sky_positions(write(tmp_path / "a.fits", header), np.array([299.0]), np.array([249.0]))
    expected = SkyCoord(l=150.1, b=2.2, unit="deg", frame="galactic").icrs
    np.testing.assert_allclose([ra[0], dec[0]], [expected.ra.deg, expected.dec.deg], rtol=0, atol=1e-9)


def test_a_field_without_objects_has_no_positions(tmp_path: Path):
    ra, dec = sky_positions(write(tmp_path / "a.fits", sky_header("CD")), np.empty(0), np.empty(0))
    assert len(ra) == len(dec) == 0


def positions(path: Path) -> list[float]:
    ra, dec = sky_positions(path, np.array([299.0]), np.array([249.0]))
    return [ra[0], dec[0]]


def test_a_cube_with_sip_and_a_wcs_in_the_primary_header_have_positions(tmp_path: Path):
    header = sky_header("SIP")
    fits.PrimaryHDU(np.zeros((3, 500, 600), np.float32), header).writeto(tmp_path / "cube.fits")
    expected = positions(write(tmp_path / "a.fits", header))
    np.testing.assert_allclose(positions(tmp_path / "cube.fits"), expected, atol=1e-9)
    primary, image = fits.PrimaryHDU(header=sky_header("CD")), fits.ImageHDU(np.zeros((500, 600), np.float32))
    fits.HDUList([primary, image]).writeto(tmp_path / "primary.fits")
    np.testing.assert_allclose(positions(tmp_path / "primary.fits"), [150.1, 2.2], atol=1e-9)


def test_lookup_tables_of_the_file_count():
    path = Path(get_pkg_data_filename("data/dist_lookup.fits.gz", package="astropy.wcs.tests"))
    x, y = np.array([10.0, 2000.0]), np.array([20.0, 900.0])
    with fits.open(path) as hdus, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = WCS(hdus[1].header, hdus).all_pix2world(x, y, 0)
        without = WCS(hdus[1].header, hdus).wcs_pix2world(x, y, 0)
    icrs = SkyCoord(*expected, unit="deg", frame="fk5").icrs
    np.testing.assert_allclose(sky_positions(path, x, y), [icrs.ra.deg, icrs.dec.deg], atol=1e-8)
    assert np.abs(np.subtract(expected, without)).max() > 1e-5


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"CRVAL1": "150.0"}, "expected a number as CRVAL1, got '150.0'"),
        ({"CD1_1": None, "CD1_2": None, "CD2_1": None, "CD2_2": None}, "expected a scale, CDELT or CD, got none"),
        ({"CD1_1": 2.0, "CD2_2": 2.0}, "expected a scale from 0.001 to 3600 arcsec per pixel"),
        (
            {"CD1_1": 1e-8, "CD1_2": 0.0, "CD2_1": 0.0, "CD2_2": 1e-8},
            "expected a scale from 0.001 to 3600 arcsec per pixel",
        ),
        ({"CTYPE1": "", "CTYPE2": ""}, "no celestial axes"),
        ({"CTYPE1": None, "CRVAL1": None, "CD1_1": None, "AMDX1": 67.2}, "only the plate solution of the DSS"),
        ({"CTYPE1": "RA---TNX", "CTYPE2": "DEC--TNX"}, "TNX, a projection of IRAF.*TPV or SIP"),
    ],
)
def test_world_coordinates_that_make_no_sense_are_refused_in_one_line(changes: dict, says: str, tmp_path: Path):
    header = sky_header("CD")
    for key, value in changes.items():
        if value is None:
            header.remove(key, ignore_missing=True)
        else:
            header[key] = value
    with pytest.raises(Unreadable, match=says) as refused:
        positions(write(tmp_path / "a.fits", header))
    assert "\n" not in str(refused.value)


def test_pixels_of_sky_positions_are_the_inverse(tmp_path: Path):
    path = write(tmp_path / "a.fits", sky_header("SIP"))
    x, y = np.array([10.0, 299, 580.25]), np.array([10.0, 249, 480.75])
    ra, dec = sky_positions(path, x, y)
    np.testing.assert_allclose(pixel_positions(path, ra, dec), [x, y], atol=1e-3)
    assert np.isnan(pixel_positions(path, np.array([330.1]), np.array([-2.2]))).all()  # the opposite side of the sky
    with pytest.raises(Unreadable, match="has no sky coordinates; give x and y"):
        pixel_positions(write(tmp_path / "none.fits", sky_header("none")), ra, dec)


def test_north_and_east_follow_the_header(tmp_path: Path):
    header = sky_header("CD")
    scale = 0.2 / 3600
    # North is to the right, east is up.
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = 0.0, scale, scale, 0.0
    up, east, per_pixel = north(write(tmp_path / "a.fits", header), 299.0, 249.0)
    np.testing.assert_allclose([*up, *east], [1, 0, 0, 1], atol=1e-3)
    assert per_pixel == pytest.approx(scale, rel=1e-3)
    assert north(write(tmp_path / "none.fits", sky_header("none")), 0, 0) is None
