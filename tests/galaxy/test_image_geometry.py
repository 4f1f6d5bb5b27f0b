"""Places of galaxies: the middle of a view is the galaxy, and its pixels are smaller by the scale."""

import numpy as np

from galaxy.image_geometry import CENTRE, IMAGE_SHAPE, place_matrices


def test_the_middle_of_a_placed_image_is_the_galaxy():
    x, y, scale = np.array([100.5, 300.0]), np.array([250.0, 17.25]), np.array([1.0, 2.5])
    middle = place_matrices(x, y, scale) @ np.array([(IMAGE_SHAPE[1] - 1) / 2, (IMAGE_SHAPE[0] - 1) / 2, 1])
    np.testing.assert_allclose(middle, np.stack([x, y, np.ones(2)], axis=1))


def test_an_enlarged_galaxy_has_more_pixels():
    [[x, y, _], [middle_x, middle_y, _]] = (
        place_matrices(30.0, 40.0, 2.0) @ np.array([column, CENTRE, 1]) for column in (CENTRE + 8, CENTRE)
    )
    assert (x - middle_x, y - middle_y) == (4, 0)
