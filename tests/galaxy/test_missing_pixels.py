"""Pixels without data: fill values of many kinds are found, in any units; sky, saturated stars and models are data."""

import cv2
import numpy as np
import pytest

from galaxy.missing_pixels import missing_in_picture, missing_pixels

ROWS, COLUMNS = np.mgrid[:300, :300]
SLANTED = (COLUMNS - 0.35 * ROWS) > 120
ROUND = (COLUMNS - 150) ** 2 + (ROWS - 150) ** 2 > 120**2
GAP = (ROWS >= 147) & (ROWS < 153)
BAD_COLUMN = COLUMNS == 40
NOTHING = np.zeros((300, 300), bool)


def field(noise: float = 1.0, sky: float = 0.0) -> np.ndarray:
    """Draw three exponential discs on noise."""
    image = np.random.default_rng(7).normal(sky, noise, (300, 300)) if noise else np.full((300, 300), float(sky))
    for x, y in ((60, 60), (75, 220), (50, 150)):
        radius = np.hypot(COLUMNS - x, ROWS - y)
        image += 100 * np.exp(-radius / 5) * (radius < 48)
    return image


def check(image: np.ndarray, area: np.ndarray) -> None:
    """All of the area is missing; beside it, no more than the pixels that resampling may have mixed."""
    found = missing_pixels(image if image.ndim == 3 else image[None])
    assert not (area & ~found).any()
    beside = cv2.dilate(area.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert not (found & ~beside).any()


@pytest.mark.parametrize("area", [SLANTED, ROUND, GAP, BAD_COLUMN], ids=["slanted", "round", "gap", "column"])
@pytest.mark.parametrize("fill", [0, -999, -32768, 1e30, -3.4e38, np.nan])
@pytest.mark.parametrize("sky", [0, 100])
def test_filled_areas(area: np.ndarray, fill: float, sky: float):
    check(np.where(area, fill, field(sky=sky)).astype(np.float32), area)


@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">f8"])
@pytest.mark.parametrize("scale", [1e-35, 1e-20, 1, 1e20, 1e30])
def test_units_do_not_matter(dtype: str, scale: float):
    image = field() * scale
    check(image.astype(dtype), NOTHING)
    check(np.where(ROUND, 0, image).astype(dtype), ROUND)


@pytest.mark.parametrize("noise, sky", [(0.3, 100), (0.5, 100), (1, 100), (3, 0), (5, 100), (20, 1000)])
def test_quantised_noise_is_data(noise: float, sky: float):
    image = np.round(field(noise, sky)).astype(np.int16)
    check(image, NOTHING)
    check(np.where(SLANTED, np.int16(-32768), image), SLANTED)


def test_single_zeros_are_data():
    image = field()
    image[::7, ::5] = 0
    check(image, NOTHING)


@pytest.mark.parametrize("sky", [0, 10])
def test_the_constant_sky_of_a_model_is_data(sky: float):
    check(field(0, sky).astype(np.float32), NOTHING)


def test_a_saturated_star_is_data():
    image = np.minimum(field() * 30, 1500)
    assert (image == 1500).sum() > 50
    check(image, NOTHING)
    check(np.where(SLANTED, 0, image), SLANTED)


@pytest.mark.parametrize("fill", [-999, -32768, 1e30])
def test_scattered_sentinels(fill: float):
    scattered = np.random.default_rng(0).random((300, 300)) < 0.002
    found = missing_pixels(np.where(scattered, fill, field(sky=100))[None])
    np.testing.assert_array_equal(found, scattered)


def test_a_pixel_of_a_cube_is_missing_where_all_bands_are():
    cube = np.stack([field(), field() * 2, field() * 3])
    cube[0][GAP] = 0
    assert not missing_pixels(cube).any()
    cube[:, GAP] = 0
    check(cube, GAP)


@pytest.mark.parametrize("sky", [0, 100])
@pytest.mark.parametrize("mixed", [True, False], ids=["linear", "nearest"])
def test_pixels_that_resampling_mixed_with_the_fill_are_missing_and_no_others(mixed: bool, sky: float):
    turn = cv2.getRotationMatrix2D((149.5, 149.5), 30, 1) + np.array([[0, 0, 75], [0, 0, 75]])
    flags = cv2.INTER_LINEAR if mixed else cv2.INTER_NEAREST
    image = cv2.warpAffine(field(sky=sky).astype(np.float32), turn, (450, 450), flags=flags)
    weight = cv2.warpAffine(np.ones((300, 300), np.float32), turn, (450, 450), flags=flags)
    missing = missing_pixels(image[None])
    without_data = weight < 0.999
    assert not (without_data & ~missing).any()
    # Squares of 3 x 3 pixels cover a little more than a slanted line.
    assert (missing & ~without_data).sum() <= (0.6 * 4 * 300 if mixed else 0)


def test_the_quality_plane_counts():
    quality = np.random.default_rng(1).random((300, 300)) < 0.1
    np.testing.assert_array_equal(missing_pixels(field()[None], quality), quality)


@pytest.mark.parametrize("quality", [None, 95, 75], ids=["png", "jpeg 95", "jpeg 75"])
def test_a_rotated_picture(quality: int | None):
    grey = np.clip(field(3, 12), 0, 255)
    picture = np.repeat(np.where(SLANTED, 0, grey)[..., None], 3, axis=2).astype(np.uint8)
    if quality:
        picture = cv2.imdecode(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], 1)
    found = missing_in_picture(picture)
    assert (found & SLANTED).sum() > 0.99 * SLANTED.sum()
    beside = cv2.dilate(SLANTED.astype(np.uint8), np.ones((33, 33), np.uint8)) > 0
    assert not (found & ~beside).any()


def test_a_dark_sky_in_sixteen_bits_is_data_and_zeros_beside_it_are_not():
    grey = np.where(SLANTED, 0, np.clip(field(10, 300), 1, 65535)) / 65535
    missing = missing_in_picture(np.repeat(grey[..., None], 3, axis=2).astype(np.float32))
    np.testing.assert_array_equal(missing, SLANTED)


def test_a_sky_clipped_to_black_is_data():
    grey = np.clip(field(4, -6), 0, 255)
    assert not missing_in_picture(np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)).any()
