"""Sky positions of pixels against astropy's, and headers without usable world coordinates."""

from pathlib import Path

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from fields import sky_header

from catalogue.field_wcs import sky_positions
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
