"""The shape of the survey's images, and the matrices that place a galaxy in their middle.

Only NumPy is imported: worker processes of catalogues start with this module, and `galaxy.affine` takes a second.

Source: documentation of 2014, 2.1.5.
"""

import numpy as np
from numpy.typing import ArrayLike

IMAGE_SHAPE = (424, 424, 3)
IMAGE_HEIGHT, IMAGE_WIDTH, _ = IMAGE_SHAPE
# The middle of an image, counted from 0. As in 2014, positions of SExtractor, counted from 1, are compared with it.
CENTRE = (IMAGE_SHAPE[0] - 1) / 2


def place_matrices(x: ArrayLike, y: ArrayLike, scale: ArrayLike = 1.0) -> np.ndarray:
    """Return the matrices (n, 3, 3) that move (x, y) to the centre and enlarge by `scale`: output -> input pixel."""
    scale = np.broadcast_to(scale, np.shape(x))
    places = np.zeros((*np.shape(x), 3, 3))
    places[..., 0, 0] = places[..., 1, 1] = 1 / scale
    places[..., 0, 2], places[..., 1, 2] = x - CENTRE / scale, y - CENTRE / scale
    places[..., 2, 2] = 1
    return places
