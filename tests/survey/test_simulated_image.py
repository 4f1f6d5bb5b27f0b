"""Pixels of a simulated galaxy show its traits: shape, arms, colour, sky."""

from dataclasses import replace

import cv2
import numpy as np

from survey.simulated_image import Traits, render

DISK = Traits(resolution=26, brightness=0.04, age=0.4, angle=30, inclination=20, disk=0.85, bulge_size=0.13)
SPHEROID = Traits(resolution=26, brightness=0.04, age=0.75, angle=30, bulge_index=1.6, bulge_size=0.42)


def seen(traits, seed=0):
    """Return what a network sees, (69, 69, 3) float: the centre 207x207, three times smaller."""
    image = render(traits, np.random.default_rng(seed))[108:315, 108:315].astype(np.float32)
    return cv2.resize(image, (69, 69), interpolation=cv2.INTER_AREA)


def axis_ratio(traits):
    """Measure a galaxy's axis ratio by its second moments within 100 pixels of the centre."""
    light = np.mean([seen(traits, seed).mean(axis=-1) for seed in range(4)], axis=0)
    light = np.maximum(light - 20, 0)
    rows, columns = np.mgrid[-34:35, -34:35]
    light[np.hypot(rows, columns) > 33] = 0
    widths = np.linalg.eigvalsh(np.cov(np.stack([rows.ravel(), columns.ravel()]), aweights=light.ravel()))
    return np.sqrt(widths[0] / widths[1])


def test_an_image_depends_on_the_generator_s_seed_alone():
    first, again, other = (render(DISK, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert first.shape == (424, 424, 3) and first.dtype == np.uint8
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_a_bright_star_saturates_the_image():
    for seed in range(2):
        with_star, without = (
            (render(replace(SPHEROID, star=star), np.random.default_rng(seed)).max(axis=-1) > 240).sum()
            for star in (1.0, 0.0)
        )
        assert with_star > 8 * without and with_star > 1000


def test_shape_of_the_image_is_that_of_the_traits():
    ratios = [axis_ratio(replace(DISK, inclination=inclination)) for inclination in (0, 60, 88)]
    assert ratios[0] > 0.85
    assert 0.45 < ratios[1] < 0.7
    assert ratios[2] < 0.35
    assert axis_ratio(SPHEROID) > 0.85
    assert axis_ratio(replace(SPHEROID, bulge_axis_ratio=0.5)) < 0.65


def test_arms_show_as_waves_around_the_centre():
    def wave(traits):
        # The strongest harmonic of the brightness along circles through the disk.
        polar = cv2.warpPolar(
            seen(traits).mean(axis=-1), (34, 64), (34, 34), 34, cv2.WARP_POLAR_LINEAR
        )  # angle, radius
        spectrum = np.abs(np.fft.rfft(polar[:, 9:20], axis=0)) / polar[:, 9:20].sum(axis=0)
        return np.argmax(spectrum[1:7].mean(axis=1)) + 1, spectrum[1:7].mean(axis=1).max()

    plain = wave(replace(DISK, inclination=0))[1]
    for num_arms in (2, 3, 4):
        strongest, height = wave(replace(DISK, inclination=0, arm_contrast=0.9, num_arms=num_arms, pitch=22))
        assert strongest == num_arms
        assert height > 2.5 * plain


def test_old_galaxies_are_redder_and_the_sky_is_dark():
    young, old = (render(replace(SPHEROID, age=age), np.random.default_rng(1)).astype(float) for age in (0.0, 1.0))
    core = slice(182, 242)
    redness = [image[core, core, 0].mean() / image[core, core, 2].mean() for image in (young, old)]
    assert redness[0] < 1.1
    assert redness[1] > 1.35
    assert np.median(old[:60]) < 12
    assert old[207:217, 207:217].mean() > 100
