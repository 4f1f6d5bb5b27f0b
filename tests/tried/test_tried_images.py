import numpy as np
import pytest

from tried import images


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).random((12, 16, 3))


def test_a_turn_is_anticlockwise_about_the_centre():
    square = np.random.default_rng(0).random((9, 9, 3))
    np.testing.assert_allclose(images.im_rotate(square, 90), np.rot90(square), atol=1e-9)
    turned = images.im_rotate(square, 30)
    cos, sin = np.cos(np.pi / 6), np.sin(np.pi / 6)
    for row, column in np.ndindex(5, 5):  # the middle, so that no neighbour lies past the border
        x, y = column - 2, row - 2
        assert_interpolated(turned[row + 2, column + 2], square, 4 + cos * x - sin * y, 4 + sin * x + cos * y)


def assert_interpolated(value: np.ndarray, image: np.ndarray, x: float, y: float) -> None:
    """Assert that a pixel is the bilinear interpolation of an image at (x, y)."""
    left, top = int(np.floor(x)), int(np.floor(y))
    right, below = x - left, y - top
    expected = (1 - below) * ((1 - right) * image[top, left] + right * image[top, left + 1])
    expected += below * ((1 - right) * image[top + 1, left] + right * image[top + 1, left + 1])
    np.testing.assert_allclose(value, expected, atol=1e-6)


@pytest.mark.parametrize(("flip_h", "flip_v"), [(False, False), (True, False), (False, True), (True, True)])
def test_a_flip_exchanges_pixels(image, flip_h, flip_v):
    flipped = images.im_flip(image, flip_h, flip_v)
    for row, column in np.ndindex(12, 16):
        source = image[11 - row if flip_v else row, 15 - column if flip_h else column]
        np.testing.assert_array_equal(flipped[row, column], source)


def test_a_translation_moves_right_and_down(image):
    moved = images.im_translate(image, 3, 2)
    np.testing.assert_allclose(moved[2:, 3:], image[:-2, :-3], atol=1e-9)
    between = images.im_translate(image, -0.25, 1.5)
    assert_interpolated(between[7, 7], image, 7.25, 5.5)


def test_rescaling_interpolates_between_pixel_centres(image):
    larger = images.im_rescale(image, 2)
    assert larger.shape == (24, 32, 3)
    for row, column in np.ndindex(22, 30):
        assert_interpolated(larger[row + 1, column + 1], image, (column + 1.5) / 2 - 0.5, (row + 1.5) / 2 - 0.5)
    smaller = images.im_rescale(image[:, :, 0], 0.5)
    assert smaller.shape == (6, 8)
    assert smaller.std() < image.std() / 2  # smoothed


def test_a_crop_is_the_middle(image):
    np.testing.assert_array_equal(images.im_crop(image, (4, 6)), image[4:8, 5:11])
    np.testing.assert_array_equal(images.im_crop(image[:, :, 0], (12, 16)), image[:, :, 0])
    with pytest.raises(ValueError, match=r"at least \(13, 4\) pixels, got \(12, 16, 3\)"):
        images.im_crop(image, (13, 4))


def test_downsampling_averages_blocks(image):
    small = images.im_downsample(image, 4)
    assert small.shape == (3, 4, 3)
    for row, column in np.ndindex(3, 4):
        block = image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4]
        np.testing.assert_allclose(small[row, column], sum(block.reshape(16, 3)) / 16)
    assert images.im_downsample(image[:, :, 0], 2).shape == (6, 8)
    with pytest.raises(ValueError, match="multiples of 5 as rows and columns"):
        images.im_downsample(image, 5)


def blur(channel: np.ndarray, sigma: float) -> np.ndarray:
    """Weigh each pixel's neighbours by a Gaussian, cut off at four sigmas, of the image mirrored at its edges."""
    reach = int(4 * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * sigma**2))
    padded = np.pad(channel, reach, mode="symmetric")
    out = np.zeros_like(channel)
    for row, column in np.ndindex(*channel.shape):
        window = padded[row : row + 2 * reach + 1, column : column + 2 * reach + 1]
        out[row, column] = (window * weights).sum() / weights.sum()
    return out


def test_local_contrast_is_normalised_channel_by_channel(image):
    normalised = images.im_lcn(image, sigma_mean=1.5, sigma_std=2.0)
    for channel in range(3):
        centred = image[:, :, channel] - blur(image[:, :, channel], 1.5)
        std = np.sqrt(blur(centred**2, 2.0))
        np.testing.assert_allclose(normalised[:, :, channel], centred / np.maximum(std, std.mean()), atol=1e-9)
    np.testing.assert_allclose(images.im_lcn(image[:, :, 1], 1.5, 2.0), normalised[:, :, 1], atol=1e-9)
    flat = images.im_lcn(np.full((8, 8, 3), 0.3, np.float32))
    assert np.abs(flat).max() < 0.01  # rounding is not taken for contrast


def test_yuv_is_luma_and_two_differences(image):
    red, green, blue = np.moveaxis(image, 2, 0)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    expected = [luma, 0.436 / (1 - 0.114) * (blue - luma), 0.615 / (1 - 0.299) * (red - luma)]
    np.testing.assert_allclose(images.rgb2yuv(image), np.stack(expected, axis=2), atol=1e-4)


def test_a_histogram_counts_the_values_of_each_channel(image):
    counts = images.im_histogram(image, num_bins=10)
    expected = np.zeros((3, 10), dtype=int)
    for row, column, channel in np.ndindex(*image.shape):
        expected[channel, int(image[row, column, channel] * 10)] += 1
    np.testing.assert_array_equal(counts, expected)
    np.testing.assert_array_equal(images.im_histogram(image[:, :, 1], 10), expected[1:2])


def test_equalisation_makes_values_ranks(image):
    dark = image[:, :, 0] ** 2
    ranks = dark.ravel().argsort().argsort() + 1
    equalised = images.im_equalise_histogram(dark, num_bins=10000)
    np.testing.assert_allclose(equalised.ravel(), ranks / dark.size, atol=0.02)
