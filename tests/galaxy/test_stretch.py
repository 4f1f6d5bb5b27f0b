"""Stretches and colour composites of images with known sky, noise and fluxes."""

import numpy as np
import pytest

from galaxy import stretch
from galaxy.image_formats import Unreadable
from galaxy.stretch import LEAST_RANGE, SOFTENING, STRETCHES, composite, sky_and_noise

SHAPE = 200, 240
SKY, NOISE = 100.0, 2.0


def scene(colour: tuple[float, ...] = (1.0,), peak: float = 500, seed: int = 0, scale: float = 12) -> np.ndarray:
    """Return bands (bands, rows, columns) with a round galaxy in the middle, its colour, sky and noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    galaxy = peak * np.exp(-np.hypot(x - 120, y - 100) / scale)
    return np.stack([SKY + ratio * galaxy + rng.normal(0, NOISE, SHAPE) for ratio in colour])


def test_sky_and_noise_of_a_band_with_a_galaxy():
    sky, noise = sky_and_noise(scene(scale=4)[0])
    assert sky == pytest.approx(SKY, abs=0.1 * NOISE) and noise == pytest.approx(NOISE, rel=0.15)


def test_noise_is_the_standard_deviation_of_gaussian_noise():
    band = np.random.default_rng(1).normal(-3, 0.5, (1000, 1000))
    assert sky_and_noise(band) == pytest.approx((-3, 0.5), rel=0.01)


def test_pixels_that_are_not_finite_have_no_sky_and_no_noise():
    band = np.full(SHAPE, 7.0)
    band[:90] = np.nan
    band[90:99] = np.inf
    assert sky_and_noise(band) == (7.0, 0.0)
    assert sky_and_noise(np.full(SHAPE, np.nan)) == (0.0, 0.0)


@pytest.mark.parametrize("name", STRETCHES)
def test_a_composite_follows_its_stretch(name: str):
    """The oracle is the formula of Lupton et al., pixel by pixel, without noise."""
    light = np.zeros(SHAPE)
    light[:2] = 1000.0  # the white point: more than a thousandth of the pixels
    light[10, :4] = 0.5, 1, 30, 999
    image = composite(light[None], name)
    softening = 1.0  # a thousandth of the white point
    function = {"asinh": np.arcsinh, "log": lambda x: np.log(1 + x), "linear": lambda x: x}[name]
    np.testing.assert_allclose(image[10, :4, 0], function(light[10, :4] / softening) / function(1000.0), rtol=1e-5)
    assert (image[:2] == 1).all() and (image[20:] == 0).all()


def test_noise_sets_the_softening():
    bands = scene(peak=5000)
    image = composite(bands, "asinh")
    sky, noise = sky_and_noise(bands[0])
    light = np.maximum(bands[0] - sky, 0)
    white = np.percentile(bands[0] - sky, stretch.WHITE_PERCENTILE)
    expected = np.arcsinh(light / (SOFTENING * noise)) / np.arcsinh(white / (SOFTENING * noise))
    np.testing.assert_allclose(image[..., 0], np.minimum(expected, 1), atol=1e-5)


def test_the_noise_of_three_bands_is_that_of_their_mean():
    bands = scene(colour=(1.0, 1.0, 1.0), peak=5000)
    levels = [sky_and_noise(band) for band in bands]
    light = np.mean([band - sky for band, (sky, _) in zip(bands, levels, strict=True)], axis=0)
    softening = SOFTENING * np.sqrt(np.mean([noise**2 for _, noise in levels]) / 3)
    white = np.percentile(light, stretch.WHITE_PERCENTILE)
    # One pixel of moderate brightness: the sum of its channels is that of its stretched mean.
    expected = np.arcsinh(light[100, 150] / softening) / np.arcsinh(white / softening)
    assert composite(bands, "asinh")[100, 150].mean() == pytest.approx(expected, rel=1e-4)


def test_an_image_of_noise_stays_dark():
    image = composite(np.random.default_rng(2).normal(SKY, NOISE, (1, *SHAPE)), "linear")
    # The white point is at least LEAST_RANGE times the softening: 15 sigma.
    assert image.max() < 6 / (SOFTENING * LEAST_RANGE) and np.median(image) == pytest.approx(0, abs=0.02)


def test_one_band_is_grey_and_three_bands_keep_their_ratios_at_any_brightness():
    grey = composite(scene(), "asinh")
    assert grey.shape == (*SHAPE, 3) and grey.dtype == np.float32 and grey.flags.c_contiguous
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()
    colour = composite(scene(colour=(1.0, 0.6, 0.3), peak=5000), "asinh")
    for pixel in (colour[100, 120], colour[100, 140], colour[110, 150]):  # overexposed, bright, fainter
        np.testing.assert_allclose(pixel / pixel[0], (1.0, 0.6, 0.3), atol=0.03)
    assert colour[100, 120, 0] == pytest.approx(1)


@pytest.mark.parametrize("unit", [1e-20, 1e-3, 1e6])
@pytest.mark.parametrize("name", STRETCHES)
def test_units_and_an_offset_of_the_sky_do_not_change_the_image(name: str, unit: float):
    bands = scene(colour=(1.0, 0.5, 0.8)) - SKY
    expected = composite(bands, name)
    np.testing.assert_allclose(composite(bands * unit, name), expected, atol=1e-4)
    np.testing.assert_allclose(composite(bands + 50, name), expected, atol=1e-4)


def test_pixels_that_are_not_finite_are_sky():
    bands = scene(colour=(1.0, 1.0, 1.0))
    bands[0, 100, 120], bands[:, 50, 60] = np.nan, np.inf
    image = composite(bands, "asinh")
    assert np.isfinite(image).all() and (image[50, 60] == 0).all()
    assert image[100, 120, 0] == 0 and image[100, 120, 1] > 0.5


def test_a_constant_image_is_black_and_one_without_finite_pixels_is_refused():
    assert (composite(np.full((3, *SHAPE), 9.0), "asinh") == 0).all()
    with pytest.raises(Unreadable, match="has no finite pixel"):
        composite(np.full((1, *SHAPE), np.nan), "asinh")
