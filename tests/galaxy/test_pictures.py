"""Pixels of any type become RGB from 0 to 1, and sizes have limits."""

import numpy as np
import pytest

from galaxy import pictures
from galaxy.image_formats import Unreadable
from galaxy.pictures import choose_reduction, picture_of_bands, picture_of_pixels, without_alpha


def picture(pixels: np.ndarray, reduction: int = 1, stretch: str | None = None) -> pictures.Picture:
    return picture_of_pixels(pixels, "PNG", pixels.shape[:2], reduction, stretch)


@pytest.mark.parametrize(
    ("size", "expected"), [((30, 30), 1), ((2048, 2048), 1), ((2049, 2048), 2), ((20_000, 20_000), 10)]
)
def test_the_smallest_reduction_that_fits_is_chosen(size: tuple[int, int], expected: int):
    assert choose_reduction(*size) == expected


@pytest.mark.parametrize("size", [(29, 100), (100, 29), (20_001, 100), (100, 20_001), (0, 0)])
def test_a_side_that_is_too_short_or_too_long_is_refused(size: tuple[int, int]):
    with pytest.raises(Unreadable, match=f"has {size[1]}x{size[0]} pixels: expected 30 to 20,000 a side"):
        choose_reduction(*size)


@pytest.mark.parametrize(
    ("dtype", "value", "expected"),
    [(np.uint16, 0, 0), (np.uint16, 65535, 1), (np.uint16, 257, 1 / 255), (np.int16, -32768, 0), (np.int16, 32767, 1)],
)
def test_the_range_of_integers_becomes_0_to_1(dtype: type, value: int, expected: float):
    result = picture(np.full((4, 5), value, dtype)).pixels
    assert result.shape == (4, 5, 3) and result.dtype == np.float32
    np.testing.assert_allclose(result, expected, atol=1e-7)


def test_bytes_stay_as_they_are():
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    np.testing.assert_array_equal(picture(pixels, stretch="log").pixels, pixels)


def test_saturation_of_any_channel_and_of_half_of_the_averaged_pixels_counts():
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[0, 0, 2], pixels[3, 5, 0], pixels[0, 3] = 255, 255, 254
    expected = np.zeros((4, 6), bool)
    expected[0, 0] = expected[3, 5] = True
    np.testing.assert_array_equal(picture(pixels).saturated, expected)
    pixels[0, 1, 1] = pixels[3, 4, 2] = pixels[2, 4, 0] = 255
    np.testing.assert_array_equal(picture(pixels, reduction=2).saturated, [[1, 0, 0], [0, 0, 1]])


def test_a_reduced_picture_holds_the_means_of_squares():
    pixels = np.random.default_rng(0).integers(0, 65535, (6, 8, 3), np.uint16)
    expected = pixels.reshape(3, 2, 4, 2, 3).mean(axis=(1, 3)) / 65535
    np.testing.assert_allclose(picture(pixels, reduction=2).pixels, expected, atol=1 / 65535)


def test_saturated_light_is_a_level_that_several_pixels_share():
    light = np.random.default_rng(0).random((1, 30, 30)).astype(np.float32)
    assert not picture_of_bands(light, "linear", (30, 30)).saturated.any()
    light[0, :2, :3] = 5
    assert picture_of_bands(light, "linear", (30, 30)).saturated.sum() == 6
    light[:] = 5
    assert not picture_of_bands(light, "linear", (30, 30)).saturated.any()


def test_transparent_pixels_are_laid_on_black():
    rgba = np.array([[[200, 100, 50, 255], [200, 100, 50, 0], [200, 100, 50, 51]]], np.uint8)
    np.testing.assert_array_equal(without_alpha(rgba), [[[200, 100, 50], [0, 0, 0], [40, 20, 10]]])
    np.testing.assert_array_equal(without_alpha(rgba[..., [0, 3]]), [[200, 0, 40]])
    np.testing.assert_array_equal(without_alpha(rgba[:, 1:2]), [[[200, 100, 50]]])
    assert without_alpha(rgba[..., :3]).shape == (1, 3, 3) and without_alpha(rgba[..., :1]).shape == (1, 3)
