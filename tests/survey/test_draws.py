"""Random draws: generators, indices, noise, slices of a draw; the colour component of a survey's images."""

import numpy as np
import pytest

from survey.draws import (
    Draw,
    Stream,
    add_colour,
    colour_channel_weights,
    colour_component,
    draw_colour,
    draw_gamma,
    draw_noise,
    generator,
    select_indices,
)


def test_a_generator_depends_on_each_number_of_its_key():
    keys = [(Stream.INDICES, 1, 2, 3), (Stream.COLOUR, 1, 2, 3), (Stream.INDICES, 2, 1, 3), (Stream.INDICES, 1, 2, 0)]
    first = [generator(*key).random() for key in keys]
    assert len(set(first)) == len(keys)
    assert [generator(*key).random() for key in keys] == first
    assert len({int(stream) for stream in Stream}) == len(Stream)


@pytest.mark.parametrize(("num", "num_selected"), [(7, 3), (7, 7), (7, 24), (7, 0)])
def test_indices_repeat_only_in_whole_passes(num: int, num_selected: int):
    selected = select_indices(num, num_selected, np.random.default_rng(0))
    assert len(selected) == num_selected
    counts = np.bincount(selected, minlength=num)
    assert counts.max() - counts.min() <= 1
    for start in range(0, num_selected, num):
        one_pass = selected[start : start + num]
        assert len(set(one_pass.tolist())) == len(one_pass)


def test_colour_noise_is_a_multiple_of_the_component_and_has_the_std():
    noise = draw_colour(seed=3, chunk=1, num=20_000, std=0.5)
    assert noise.shape == (20_000, 3) and noise.dtype == np.float32
    alpha = noise / colour_channel_weights
    np.testing.assert_allclose(alpha, np.repeat(alpha[:, :1], 3, axis=1), rtol=1e-5)
    assert alpha.std() == pytest.approx(0.5, rel=0.03)
    np.testing.assert_array_equal(draw_colour(3, 1, 20_000, 0.5), noise)
    assert not np.array_equal(draw_colour(3, 2, 20_000, 0.5), noise)


def test_colour_is_added_to_every_pixel_of_all_views_and_clipped():
    rng = np.random.default_rng(4)
    outs = [rng.random((2, *shape, 3), dtype=np.float32) for shape in ((4, 5), (3, 3))]
    noise = np.array([[0.3, -0.2, 0.1], [-0.5, 0.0, 0.7]], np.float32)
    expected = [np.clip(out + noise[:, None, None, :], 0, 1) for out in outs]
    add_colour(outs, noise)
    for out, slow in zip(outs, expected, strict=True):
        np.testing.assert_array_equal(out, slow)


def test_gamma_and_pixel_noise_of_a_position_do_not_depend_on_the_others():
    np.testing.assert_array_equal(draw_gamma(1, 2, 5, 0.3), draw_gamma(1, 2, 9, 0.3)[:5])
    assert np.log(draw_gamma(1, 2, 4000, 0.3)).std() == pytest.approx(0.3, rel=0.05)
    key = np.array([Stream.NOISE, 1, 2, 3])
    noise = draw_noise(key, (60, 60, 3), 0.02)
    assert noise.dtype == np.float32 and noise.std() == pytest.approx(0.02, rel=0.05)
    np.testing.assert_array_equal(draw_noise(key, (60, 60, 3), 0.02), noise)


def test_a_slice_of_a_draw_has_the_same_rows_of_every_field():
    draw = Draw(np.arange(6), np.arange(54.0).reshape(6, 1, 3, 3), colour=np.arange(18.0).reshape(6, 3))
    piece = draw[2:5]
    assert (len(draw), len(piece)) == (6, 3)
    np.testing.assert_array_equal(piece.indices, [2, 3, 4])
    np.testing.assert_array_equal(piece.perturbations, draw.perturbations[2:5])
    np.testing.assert_array_equal(piece.colour, draw.colour[2:5])
    assert piece.gamma is None and piece.noise_keys is None


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


def test_images_of_any_size_are_read_one_by_one():
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, size=(rows, 7, 3), dtype=np.uint8) for rows in (5, 9, 2)]
    expected = colour_component([np.concatenate(images) / np.float32(255)])
    np.testing.assert_allclose(colour_component(image for image in images), expected, rtol=1e-4)


def test_the_component_has_the_sign_of_the_challenge_s():
    pixels = np.random.default_rng(2).random((50, 50, 1)) * [0.5, 0.4, 0.3]
    assert (np.sign(colour_component([pixels])) == np.sign(colour_channel_weights)).all()
    np.testing.assert_allclose(colour_component([1 - pixels]), colour_component([pixels]), rtol=1e-5)


def test_a_component_needs_images():
    with pytest.raises(ValueError, match="expected images, got none"):
        colour_component([])
