"""Shared by the figures: colours, the simulated galaxy, its views and parts."""

import functools
from collections.abc import Sequence

import numpy as np
import torch
from skimage.transform import AffineTransform

import layers
import realtime_augmentation as ra
import simulate_galaxies
from try_convnet_cc_multirotflip_3x69r45_maxout2048_extradense import EXPERIMENT

INK, GREY, PALE = "#1f2733", "#7b8794", "#dfe4ea"
RED, CORAL, BLUE, SKY = "#c8322b", "#f2a08a", "#1f6fb4", "#8cc3ea"
GREEN, GOLD, PURPLE, TEAL = "#2f8f6b", "#d9952b", "#8a4fa3", "#2ba6bd"

# A spiral without symmetry, so that mirrored and turned views differ.
GALAXY = {"survey": simulate_galaxies.Survey(seed=1), "subset": "train", "index": 103}


def galaxy() -> np.ndarray:
    """Return the simulated galaxy of all figures, (424, 424, 3) float32 in [0, 1]."""
    image, *_ = simulate_galaxies.simulate(**GALAXY)
    return image.astype(np.float32) / 255


def crops(image: np.ndarray, tform: AffineTransform = ra.tform_identity) -> list[np.ndarray]:
    """Return the best model's two views (rows, columns, 3) of an image."""
    recipe = EXPERIMENT.views
    [views] = ra.augment_fixed_and_dscrop(image, recipe.ds_transforms, [tform], recipe.target_sizes)
    return views


def slices(views: Sequence[np.ndarray], part_size: int) -> np.ndarray:
    """Cut views (rows, columns, channels) with the network's own layer, (parts, part_size, part_size, channels)."""
    tensors = [torch.from_numpy(np.ascontiguousarray(view)).permute(2, 0, 1)[None] for view in views]
    inputs = [layers.Input2DLayer(*tensor.shape) for tensor in tensors]
    sliced = layers.MultiRotSliceLayer(inputs, part_size=part_size, include_flip=True)(*tensors)
    return sliced.permute(0, 2, 3, 1).numpy()


@functools.cache
def best_network() -> tuple[list[layers.Layer], layers.Layer]:
    """Return the input layers and the output layer of the best model; its parameters have shapes but no values."""
    with torch.device("meta"):
        return EXPERIMENT.build_network(1)
