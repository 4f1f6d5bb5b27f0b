"""Small pictures: bounded, and of the middle of the frame."""

import cv2
import numpy as np
import pytest
from tiny import draw_blob

from galaxy import thumbnails


def side_of(coded: bytes) -> int:
    image = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape[0] == image.shape[1]
    return image.shape[0]


@pytest.mark.parametrize("most", [20_000, 3_000, 1_000, 400])
def test_even_noise_fits(most: int):
    noise = np.random.default_rng(1).integers(0, 256, (216, 216, 3), dtype=np.uint8)
    assert len(thumbnails.encode(noise, most) or b"") <= most
    assert len(thumbnails.encode(draw_blob(np.random.default_rng(1)), most)) <= most


def test_the_more_room_the_larger():
    galaxy = draw_blob(np.random.default_rng(2))[108:-108, 108:-108]
    sides = [side_of(thumbnails.encode(galaxy, most)) for most in (20_000, 2_000, 600, 250)]
    assert sides == sorted(sides, reverse=True) and sides[0] > 2 * sides[-1]


def test_what_fits_nowhere_is_none():
    noise = np.random.default_rng(1).integers(0, 256, (216, 216, 3), dtype=np.uint8)
    assert thumbnails.encode(noise, 100) is None


def test_colours_are_kept_and_floats_are_those_of_bytes():
    red = np.zeros((100, 100, 3), np.uint8)
    red[..., 0] = 200
    coded = thumbnails.encode(red, 20_000)
    blue, green, shown = cv2.imdecode(np.frombuffer(coded, np.uint8), cv2.IMREAD_COLOR)[50, 50]
    assert abs(int(shown) - 200) < 12 and max(blue, green) < 12
    assert thumbnails.encode((red / 255).astype(np.float32), 20_000) == coded
    with_unknown = (red / 255).astype(np.float32)
    with_unknown[:, :, 1] = np.nan
    assert thumbnails.encode(with_unknown, 20_000) == coded


def test_the_middle_of_a_frame_is_found_wherever_it_lies():
    image = draw_blob(np.random.default_rng(3))
    np.testing.assert_array_equal(thumbnails.middle(image), image[108:-108, 108:-108])
    larger = cv2.copyMakeBorder(image, 30, 0, 50, 0, cv2.BORDER_CONSTANT)
    place = np.array([[1, 0, 50], [0, 1, 30], [0, 0, 1.0]])
    np.testing.assert_array_equal(thumbnails.middle(larger, place), image[108:-108, 108:-108])


def test_all_together_are_bounded():
    for number in (1, 100, 5_000):
        assert number * thumbnails.share(number) * 4 / 3 <= thumbnails.TOTAL_BYTES * 1.001
