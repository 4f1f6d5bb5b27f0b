"""Augmentation of 2014 that the 17 models do not use: gamma, noise, brightness, other scales, polar views.

The generators of gamma and noise wrap a generator of chunks, like `post_augment_brightness_gen`, and change its views
in place. Processors are passed to a generator as `processor_class`.

In a polar view, rows are radii and columns are angles, so rotating the galaxy shifts the view. The columns are
periodic; `tried.cc_layers.CudaConvnetCircularConv2DLayer` convolves them. `ds_transforms` map a frame with the
galaxy's centre at (0, 0) to the image: `build_ds_transform(3.0, target_size=(1, 1))` downsamples by 3.

Source: documentation of 2014, 6.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import cv2
import numpy as np
from skimage.transform import AffineTransform

import realtime_augmentation as ra
from galaxy.warping import warp_views
from survey.draws import Stream, generator

Chunks = Iterator[tuple[list[np.ndarray], int]]

# Views of one size at several scales, the finest first.
ds_transforms_multiscale = [ra.build_ds_transform(factor, target_size=(69, 69)) for factor in (1.5, 3.0, 6.0)]
target_sizes_multiscale = [(69, 69)] * 3

# The two views of the 17 models at twice their resolution, for a first convolution with stride 2.
_strided = ra.build_ds_transform(1.5, target_size=(138, 138))
ds_transforms_strided = [_strided, _strided + ra.build_augmentation_transform(rotation=45)]
target_sizes_strided = [(138, 138)] * 2

# A polar view: 34 radii of 3 image pixels each, 120 angles of 3 degrees each.
ds_transforms_polar = [ra.build_ds_transform(3.0, target_size=(1, 1))]
target_sizes_polar = [(34, 120)]


def _post_augment(
    data_gen: Iterable[tuple[list[np.ndarray], int]],
    stream: Stream,
    change: Callable[[list[np.ndarray], np.random.Generator], None],
    seed: int | None,
) -> Chunks:
    """Change the views of each image in place with `change`, then clip them to [0, 1]."""
    seed = ra.any_seed() if seed is None else seed
    for chunk, (target_arrays, chunk_size) in enumerate(data_gen):
        *views, _ = target_arrays
        for position in range(len(views[0])):
            change([view[position] for view in views], generator(stream, seed, chunk, position))
        for view in views:
            np.clip(view, 0, 1, out=view)
        yield target_arrays, chunk_size


def _change_gamma(views: list[np.ndarray], rng: np.random.Generator, std: float) -> None:
    gamma = np.float32(np.exp(rng.normal(0, std)))
    for view in views:
        np.power(np.clip(view, 0, 1, out=view), gamma, out=view)


def _add_noise(views: list[np.ndarray], rng: np.random.Generator, std: float) -> None:
    if len(shapes := {view.shape for view in views}) > 1:
        raise ValueError(f"expected views of one size, to add the same noise to all, got {sorted(shapes)}")
    noise = np.float32(std) * rng.standard_normal(views[0].shape, dtype=np.float32)
    for view in views:
        view += noise


def _add_separate_noise(views: list[np.ndarray], rng: np.random.Generator, std: float) -> None:
    for view in views:
        _add_noise([view], rng, std)


def post_augment_gamma_gen(
    data_gen: Iterable[tuple[list[np.ndarray], int]], std: float = 0.5, *, seed: int | None = None
) -> Chunks:
    """Raise the views of each chunk to a power: exp(normal(0, std)), one draw per image for all its views."""
    return _post_augment(data_gen, Stream.GAMMA, partial(_change_gamma, std=std), seed)


def post_augment_gaussian_noise_gen(
    data_gen: Iterable[tuple[list[np.ndarray], int]], std: float = 0.1, *, seed: int | None = None
) -> Chunks:
    """Add noise to the views of each chunk, one draw per pixel, the same in all views of an image; clip to [0, 1]."""
    return _post_augment(data_gen, Stream.NOISE, partial(_add_noise, std=std), seed)


def post_augment_gaussian_noise_gen_separate(
    data_gen: Iterable[tuple[list[np.ndarray], int]], std: float = 0.1, *, seed: int | None = None
) -> Chunks:
    """Add noise to the views of each chunk, one draw per pixel and view; clip to [0, 1]."""
    return _post_augment(data_gen, Stream.NOISE_SEPARATE, partial(_add_separate_noise, std=std), seed)


def normalise_brightness(img: np.ndarray) -> np.ndarray:
    """Scale an image (424, 424, 3) so that 1 % of its central 207x207 pixels are brighter than 1, clip to [0, 1].

    Brightness is the mean of the channels. All channels have the same factor. An image with a black centre is returned
    unchanged.
    """
    middle = tuple(slice((size - 207) // 2, (size - 207) // 2 + 207) for size in img.shape[:2])
    white = np.percentile(img[middle].mean(axis=2), 99)
    return np.clip(img / np.float32(white), 0, 1) if white > 0 else img


def brightness_norm_views(
    img: np.ndarray, region: Sequence[int], matrices: np.ndarray, outs: Sequence[np.ndarray]
) -> None:
    """Normalise the brightness of an image, then write its views like `warp_views`."""
    warp_views(normalise_brightness(img / np.float32(255)), region, matrices, outs)


class LoadAndProcessBrightnessNorm(ra.LoadAndProcess):
    """`LoadAndProcess` of an image with normalised brightness."""

    warp = staticmethod(brightness_norm_views)


class LoadAndProcessFixedBrightnessNorm(ra.LoadAndProcessFixed):
    """`LoadAndProcessFixed` of an image with normalised brightness."""

    warp = staticmethod(brightness_norm_views)


def polar_warp(img: np.ndarray, tf: AffineTransform, output_shape: tuple[int, int]) -> np.ndarray:
    """Sample a float image (rows, columns[, channels]) bilinearly in polar coordinates -> float32 (radii, angles, ..).

    Row i has the radius i + 1/2 about the origin of the frame that `tf` maps to the image's pixels. Column j of n has
    the angle 360 j / n degrees, from the x axis towards the y axis.
    """
    radii, angles = output_shape
    radius = np.arange(radii)[:, None] + 0.5
    angle = np.arange(angles) * (2 * np.pi / angles)
    frame = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1)
    positions = tf(frame.reshape(-1, 2)).reshape(radii, angles, 2).astype(np.float32)
    img = np.asarray(img, dtype=np.float32)
    return cv2.remap(img, positions, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)


def polar_views(img: np.ndarray, region: Sequence[int], matrices: np.ndarray, outs: Sequence[np.ndarray]) -> None:
    """Write the polar views (radii, angles, 3) of an image; same arguments as `warp_views`."""
    img = img / np.float32(255) if img.dtype == np.uint8 else img
    for view, out in enumerate(outs):
        for matrix, dst in zip(matrices[:, view], out, strict=True):
            dst[:] = polar_warp(img, AffineTransform(matrix=matrix), dst.shape[:2])


class LoadAndProcessPolar(ra.LoadAndProcess):
    """Load training image `img_index` and perturb it at random: one polar view (radii, angles, 3) per ds_transform."""

    warp = staticmethod(polar_views)


class LoadAndProcessFixedPolar(ra.LoadAndProcessFixed):
    """Load image `img_index` of a subset under fixed transforms: polar views [transform][ds_transform]."""

    warp = staticmethod(polar_views)
