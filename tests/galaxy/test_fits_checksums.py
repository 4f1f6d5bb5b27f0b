"""DATASUM and CHECKSUM, as astropy writes them, against changed bytes."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from galaxy.fits_images import read_bands
from galaxy.image_formats import Unreadable

PIXELS = np.random.default_rng(0).normal(size=(60, 70)).astype(np.float32)


def write(path: Path, hdu: fits.ImageHDU | fits.CompImageHDU, checksum: bool | str = True) -> Path:
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(path, checksum=checksum)
    return path


def change(path: Path, text: bytes, offset: int) -> None:
    """Flip a bit of the byte at an offset after the last place of a text."""
    content = bytearray(path.read_bytes())
    content[content.rindex(text) + offset] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("hdu", [fits.ImageHDU(PIXELS), fits.CompImageHDU(PIXELS), fits.ImageHDU(PIXELS.astype("i2"))])
def test_right_sums_are_accepted_and_a_changed_pixel_is_refused(hdu: fits.ImageHDU, tmp_path: Path):
    path = write(tmp_path / "a.fits", hdu.copy())
    read_bands(path, lambda *_: 1)
    content = bytearray(path.read_bytes())
    header_end = content.rindex(b"END" + b" " * 77)
    content[-(-(header_end + 80) // 2880) * 2880 + 500] ^= 4
    path.write_bytes(content)
    with pytest.raises(Unreadable, match="is damaged: the pixels of 1 do not have the DATASUM"):
        read_bands(path, lambda *_: 1)


def test_an_edited_header_does_not_matter_where_the_pixels_have_their_sum(tmp_path: Path):
    hdu = fits.ImageHDU(PIXELS)
    hdu.header["OBJECT"] = "M 51"
    path = write(tmp_path / "a.fits", hdu)
    change(path, b"M 51", 3)
    bands, *_ = read_bands(path, lambda *_: 1)
    np.testing.assert_array_equal(bands[0], PIXELS)


def test_a_checksum_alone_covers_header_and_pixels(tmp_path: Path):
    path = write(tmp_path / "a.fits", fits.ImageHDU(PIXELS))
    content = path.read_bytes()
    path.write_bytes(content.replace(b"DATASUM ", b"DATASUN "))  # now its own checksum is wrong
    with pytest.raises(Unreadable, match="1 does not have the CHECKSUM of its header; if you edited it"):
        read_bands(path, lambda *_: 1)
    fits.setval(path, "CHECKSUM", value=0, ext=1)  # unknown
    read_bands(path, lambda *_: 1)


def test_files_without_sums_are_accepted(tmp_path: Path):
    read_bands(write(tmp_path / "a.fits", fits.ImageHDU(PIXELS), False), lambda *_: 1)
