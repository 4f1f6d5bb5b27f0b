"""The colour component of images of one's own; warps and colour noise are tested where views are made."""

import numpy as np
import pytest

from survey.draws import colour_channel_weights, colour_component


def test_the_colour_component_is_the_direction_of_most_variance_times_the_variance():
    rng = np.random.default_rng(0)
    direction = np.array([2.0, 1.0, 2.0]) / 3
    across = np.array([1.0, 0.0, -1.0]) / 2**0.5
    pixels = 0.5 + 0.1 * rng.normal(size=(30000, 1)) * direction + 0.02 * rng.normal(size=(30000, 1)) * across
    component = colour_component(pixels.reshape(3, 100, 100, 3))
    assert component.dtype == np.float32
    np.testing.assert_allclose(component, -direction * 0.1**2, rtol=0.03)
    # As one would compute it of all pixels at once.
    eigenvalues, vectors = np.linalg.eigh(np.cov(pixels.T, bias=True))
    np.testing.assert_allclose(component, -np.abs(vectors[:, -1]) * eigenvalues[-1], rtol=1e-5)


def test_images_may_be_of_any_size_bytes_or_floats_and_come_one_by_one():
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, size=(rows, 7, 3), dtype=np.uint8) for rows in (5, 9, 2)]
    expected = colour_component([np.concatenate(images) / np.float32(255)])
    np.testing.assert_allclose(colour_component(image for image in images), expected, rtol=1e-4)


def test_its_sign_is_that_of_the_challenge_s():
    pixels = np.random.default_rng(2).random((50, 50, 1)) * [0.5, 0.4, 0.3]
    assert (np.sign(colour_component([pixels])) == np.sign(colour_channel_weights)).all()
    np.testing.assert_allclose(colour_component([1 - pixels]), colour_component([pixels]), rtol=1e-5)


def test_without_images_there_is_none():
    with pytest.raises(ValueError, match="expected images, got none"):
        colour_component([])
