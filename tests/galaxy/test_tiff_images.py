"""Every TIFF of one scene gives the same picture, whatever its layout; pages that are not read are noted."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from tiny import draw_blob

from galaxy import pictures
from galaxy.image_files import read
from galaxy.image_formats import Unreadable

COLOUR = draw_blob(np.random.default_rng(1))[100:300, 90:320].astype(np.uint16) * 257
GREY = COLOUR[..., 1]
ALPHA = np.broadcast_to(np.linspace(0, 65535, 230).astype(np.uint16), GREY.shape)
ON_BLACK = COLOUR * (ALPHA[..., None] / 65535)


def save(folder: Path, *pages: np.ndarray, **options: object) -> Path:
    with tifffile.TiffWriter(folder / "a.tif") as file:
        for page in pages:
            file.write(page, contiguous=False, **options)
    return folder / "a.tif"


SAME = {
    "planes": (np.moveaxis(COLOUR, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}, COLOUR),
    "planes, deflate": (
        np.moveaxis(COLOUR, 2, 0),
        {"photometric": "rgb", "planarconfig": "separate", "compression": "zlib", "predictor": 2},
        COLOUR,
    ),
    "white is zero": (65535 - GREY, {"photometric": "miniswhite"}, GREY),
    "white is zero, 8 bits": (255 - (GREY >> 8).astype(np.uint8), {"photometric": "miniswhite"}, GREY),
    "signed from 0 up": ((GREY >> 1).astype(np.int16), {"photometric": "minisblack"}, GREY),
    "signed from the lowest up": ((GREY.astype(int) - 32768).astype(np.int16), {"photometric": "minisblack"}, GREY),
    "signed white is zero": (~(GREY >> 1).astype(np.int16), {"photometric": "miniswhite"}, GREY),
    "32 bits": (GREY.astype(np.uint32) * 65537, {"photometric": "minisblack"}, GREY),
    "alpha": (np.dstack([COLOUR, ALPHA]), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, ON_BLACK),
    "alpha on black": (
        np.dstack([ON_BLACK.astype(np.uint16), ALPHA]),
        {"photometric": "rgb", "extrasamples": ["assocalpha"]},
        ON_BLACK,
    ),
    "another channel": (np.dstack([COLOUR, ALPHA]), {"photometric": "rgb", "extrasamples": ["unspecified"]}, COLOUR),
    "grey with alpha": (
        np.dstack([GREY, ALPHA]),
        {"photometric": "minisblack", "planarconfig": "contig", "extrasamples": ["unassalpha"]},
        ON_BLACK[..., 1],
    ),
}


@pytest.mark.parametrize("case", SAME)
def test_a_layout_does_not_change_the_picture(case: str, tmp_path: Path):
    pixels, options, expected = SAME[case]
    picture = read(save(tmp_path, pixels, **options))
    expected = np.broadcast_to(expected[..., None], picture.pixels.shape) if expected.ndim == 2 else expected
    top = 255 if picture.pixels.dtype == np.uint8 else 1
    np.testing.assert_allclose(picture.pixels / top, expected / 65535, atol=1 / 255 if top == 255 else 4e-5)
    assert not picture.note and not picture.is_stretched


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floating_point_and_noise_about_zero_are_linear_light(dtype: type, tmp_path: Path):
    light = GREY / 65535 * 300 + np.random.default_rng(0).normal(0, 2, GREY.shape)
    picture = read(save(tmp_path, light.astype(dtype), photometric="minisblack"))
    assert picture.is_stretched
    signed = read(save(tmp_path, (light * 10).astype(np.int16), photometric="minisblack"))
    assert signed.is_stretched
    np.testing.assert_allclose(signed.pixels, picture.pixels, atol=0.02)


def test_a_palette_gives_its_colours(tmp_path: Path):
    palette = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    indices = (GREY >> 8).astype(np.uint8)
    picture = read(save(tmp_path, indices, photometric="palette", colormap=palette * 257))
    np.testing.assert_array_equal(picture.pixels, np.moveaxis(palette[:, indices], 0, 2))


def test_three_pages_of_one_size_are_red_green_and_blue(tmp_path: Path):
    picture = read(save(tmp_path, *np.moveaxis(COLOUR, 2, 0), photometric="minisblack"))
    np.testing.assert_allclose(picture.pixels, COLOUR / 65535, atol=1e-6)
    assert picture.note == "three pages were read as red, green, blue"


def test_the_first_of_the_largest_pages_is_read_and_the_others_are_noted(tmp_path: Path):
    path = save(tmp_path, COLOUR[::4, ::4], COLOUR, COLOUR // 2, photometric="rgb")
    picture = read(path)
    assert picture.size == GREY.shape and picture.note == "page 2 of 3 was read"
    np.testing.assert_allclose(picture.pixels, COLOUR / 65535, atol=1e-6)
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        file.write(np.repeat(COLOUR, 2, axis=0), photometric="rgb", subfiletype=1)
        file.write(COLOUR, photometric="rgb", contiguous=False)
    assert read(tmp_path / "b.tif").note == "page 2 of 2 was read"


@pytest.mark.parametrize("case", ["planes", "white is zero", "signed from 0 up", "alpha"])
def test_a_large_file_is_averaged_to_the_same_picture(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pixels, options, _ = SAME[case]
    monkeypatch.setattr(pictures, "MAX_PIXELS", GREY.size // 4)
    whole = read(save(tmp_path, pixels, **options))
    monkeypatch.setattr(pictures, "LARGE_BYTES", 1000)
    strips = read(tmp_path / "a.tif")
    assert strips.reduction == whole.reduction == 2
    np.testing.assert_allclose(strips.pixels, whole.pixels, atol=2e-5)


@pytest.mark.parametrize("photometric", [8, 32803], ids=["CIELAB", "CFA"])
def test_other_kinds_of_colour_are_refused_by_name(photometric: int, tmp_path: Path):
    path = save(tmp_path, (COLOUR >> 8).astype(np.uint8) if photometric == 8 else GREY, photometric=photometric)
    with pytest.raises(Unreadable, match="expected grey, RGB or a palette"):
        read(path)
