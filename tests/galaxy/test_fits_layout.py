"""Planes of cubes and of files, in any order, become grey or red, green, blue; pixels without data become NaN."""

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from galaxy.fits_images import images_in, opened, read_bands
from galaxy.image_formats import Unreadable

RNG = np.random.default_rng(0)
CUBE = (np.array([1, 2, 3, 4, 5])[:, None, None] * 100 + RNG.normal(size=(5, 40, 50))).astype(np.float32)
EXPECTED = dict(zip("grizy", CUBE, strict=True))


def write(path: Path, data: np.ndarray, **header: object) -> Path:
    fits.PrimaryHDU(data, fits.Header(header)).writeto(path)
    return path


def read(path: Path | str) -> tuple[np.ndarray, str]:
    bands, _, _, note = read_bands(Path(path), lambda *_: 1)
    return bands, note


@pytest.mark.parametrize(("names", "expected"), [("grz", "zrg"), ("zrg", "zrg"), ("rzg", "zrg")])
def test_the_reddest_plane_is_red(names: str, expected: str, tmp_path: Path):
    data = np.stack([EXPECTED[name] for name in names])
    bands, note = read(write(tmp_path / "a.fits", data, BANDS=names))
    np.testing.assert_array_equal(bands, [EXPECTED[name] for name in expected])
    assert not note


@pytest.mark.parametrize("names", ["griz", "grizy", "yzirg"])
def test_of_four_or_five_bands_three_are_read_and_named(names: str, tmp_path: Path):
    bands, note = read(write(tmp_path / "a.fits", np.stack([EXPECTED[name] for name in names]), BANDS=names))
    np.testing.assert_array_equal(bands, [EXPECTED[name] for name in "irg"])
    assert note == f"bands i, r, g of {', '.join(names)} were read"


@pytest.mark.parametrize(
    ("name", "expected"),
    [("[bands=y,z,g]", "yzg"), ("[bands=5,4,1]", "yzg"), ("[bands=r]", "r"), ("[0][bands=z,i,r]", "zir")],
)
def test_users_choose_bands(name: str, expected: str, tmp_path: Path):
    path = write(tmp_path / "a.fits", CUBE, BANDS="grizy")
    np.testing.assert_array_equal(read(f"{path}{name}")[0], [EXPECTED[band] for band in expected])


@pytest.mark.parametrize("name", ["[bands=y,z]", "[bands=q,r,g]", "[bands=6,1,2]"])
def test_bands_that_are_not_there_are_refused(name: str, tmp_path: Path):
    path = write(tmp_path / "a.fits", CUBE, BANDS="grizy")
    with pytest.raises(Unreadable, match="expected one or three of g, r, i, z, y"):
        read(f"{path}{name}")


@pytest.mark.parametrize("count", [2, 4, 5])
def test_a_cube_of_unknown_bands_is_refused_unless_three_are_chosen(count: int, tmp_path: Path):
    path = write(tmp_path / "a.fits", CUBE[:count])
    with pytest.raises(Unreadable, match=f"is a cube of {count} planes: expected 1, or 3"):
        read(path)
    np.testing.assert_array_equal(read(f"{path}[bands=2]")[0], CUBE[1:2])


def test_planes_on_the_last_axis_are_planes(tmp_path: Path):
    bands, _ = read(write(tmp_path / "a.fits", np.moveaxis(CUBE[:3], 0, 2)))
    np.testing.assert_array_equal(bands, CUBE[:3])
    with opened(tmp_path / "a.fits") as image:
        assert image.shape == (3, 40, 50)
        np.testing.assert_array_equal(image.read(slice(3, 9), slice(8, 20)), CUBE[:3, 3:9, 8:20])


@pytest.mark.parametrize("error", [np.ones((40, 50)), RNG.uniform(1, 2, (40, 50))], ids=["flat", "of each pixel"])
@pytest.mark.parametrize("mask", [np.zeros((40, 50)), RNG.integers(0, 40, (40, 50)) * (RNG.random((40, 50)) < 0.1)])
def test_light_error_and_mask_in_a_cube_are_light(error: np.ndarray, mask: np.ndarray, tmp_path: Path):
    bands, note = read(write(tmp_path / "a.fits", np.stack([CUBE[0], error, mask]).astype(np.float32)))
    np.testing.assert_array_equal(bands, CUBE[:1])
    assert note == "plane 1 of 3 was read: the others are not light"


def test_counts_and_a_band_of_zeros_with_a_name_stay_colours(tmp_path: Path):
    counts = RNG.poisson(0.3, (3, 40, 50)).astype(np.float32)
    assert len(read(write(tmp_path / "a.fits", counts))[0]) == 3
    cube = np.stack([CUBE[0], CUBE[1], np.zeros((40, 50), np.float32)])
    assert len(read(write(tmp_path / "b.fits", cube, BANDS="grz"))[0]) == 3


def test_asinh_of_pan_starrs_is_undone(tmp_path: Path):
    light, softening, offset = CUBE[0].astype(float), 3.5, 20.0
    stored = 2.5 / np.log(10) * np.arcsinh((light - offset) / (2 * softening))
    bands, _ = read(write(tmp_path / "a.fits", stored.astype(np.float32), BSOFTEN=softening, BOFFSET=offset))
    np.testing.assert_allclose(bands[0], light, rtol=1e-5)


def chips(path: Path, **flags: np.ndarray) -> Path:
    hdus: list[fits.ImageHDU] = []
    for version in (1, 2):
        hdus.append(fits.ImageHDU(CUBE[version], name="SCI", ver=version))
        hdus += [fits.ImageHDU(data, name=name, ver=version) for name, data in flags.items()]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path)
    return path


def test_every_chip_is_an_image_with_a_name(tmp_path: Path):
    path = chips(tmp_path / "a.fits", ERR=CUBE[0])
    assert images_in(path) == [f"{path}[SCI,1]", f"{path}[SCI,2]"]
    for version, name in enumerate(images_in(path), 1):
        bands, note = read(name)
        np.testing.assert_array_equal(bands, CUBE[version : version + 1])
        assert not note and images_in(Path(name)) == [name]
    assert read(path)[1] == "image SCI,1 of 2 was read"


def test_a_single_image_has_its_own_name_and_a_note_on_the_others(tmp_path: Path):
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(CUBE[0], name="VARIANCE"), fits.ImageHDU(CUBE[1], name="IMAGE")]
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    assert images_in(tmp_path / "a.fits") == [str(tmp_path / "a.fits")]
    bands, note = read(tmp_path / "a.fits")
    np.testing.assert_array_equal(bands, CUBE[1:2])
    assert note == "IMAGE was read, not VARIANCE"


@pytest.mark.parametrize("name", ["DQ", "MASK", "WHT", "IVAR"])
def test_flagged_pixels_and_pixels_without_weight_are_nan(name: str, tmp_path: Path):
    flagged = np.zeros((40, 50), bool)
    flagged[:, :7] = True
    flags = flagged.astype(np.int16) if name in ("DQ", "MASK") else (~flagged).astype(np.float32) * 9
    bands, _ = read(chips(tmp_path / "a.fits", **{name: flags}))
    np.testing.assert_array_equal(np.isnan(bands[0]), flagged)
    np.testing.assert_array_equal(bands[0][~flagged], CUBE[1][~flagged])
    with opened(tmp_path / "a.fits") as image:
        assert np.isnan(image.read(slice(0, 3), slice(0, 9)))[0, :, :7].all()


def test_a_mask_that_flags_almost_everything_is_not_used(tmp_path: Path):
    bands, _ = read(chips(tmp_path / "a.fits", MASK=np.ones((40, 50), np.int16)))
    np.testing.assert_array_equal(bands[0], CUBE[1])


def test_three_files_of_one_band_are_one_image(tmp_path: Path):
    for band in "gri":
        write(tmp_path / f"a_{band}.fits", EXPECTED[band])
    bands, _ = read(tmp_path / "a_{i,r,g}.fits")
    np.testing.assert_array_equal(bands, [EXPECTED[band] for band in "irg"])
    write(tmp_path / "a_z.fits", EXPECTED["z"][:30])
    with pytest.raises(Unreadable, match="bands of different shapes"):
        read(tmp_path / "a_{z,r,g}.fits")
